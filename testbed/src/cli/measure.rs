//! `hamp-lab measure`: what the testbed itself does, in figures.

use anyhow::Result;
use clap::Subcommand;
use testbed::impair::measure;
use testbed::sim::measure::clocks;

use super::watch_signals;

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Say how exact delay, jitter, loss and rate of links are on this machine
    Impairments(measure::Arguments),
    /// Let hosts whose clocks run apart understand each other for days
    Clocks(clocks::Arguments),
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
    }
    Ok(0)
}
