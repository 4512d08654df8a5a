//! `hamp-lab measure`: what the testbed itself does, in figures.

use anyhow::Result;
use clap::Subcommand;
use testbed::impair::measure;
use testbed::sim::measure::{clocks, crowd, recovery};

use super::watch_signals;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Say how exact delay, jitter, loss and rate of links are on this machine
    Impairments(measure::Arguments),
    /// Let hosts whose clocks run apart understand each other for days
    Clocks(clocks::Arguments),
    /// Say what a router pays for many members that say hello often
    Crowd(crowd::Arguments),
    /// Say how soon a router that starts anew has its table back
    Recovery(recovery::Arguments),
}

/// Measures it.
pub(crate) fn run(what: &What) -> Result<u8> {
    match what {
        What::Impairments(arguments) => {
            // The namespace first: it must be entered before there are threads.
            testbed::enter(arguments.privilege)?;
            watch_signals()?;
            measure::run(arguments)?;
        }
        What::Clocks(arguments) => clocks::run(arguments)?,
        What::Crowd(arguments) => crowd::run(arguments)?,
        What::Recovery(arguments) => recovery::run(arguments)?,
    }
    Ok(0)
}
