//! `hamp-lab measure clocks|crowd|recovery`: what the protocol does over days, with crowds and with
//! large tables, in virtual time, and what that takes of a processor.

pub mod clocks;
pub mod crowd;
pub mod recovery;
mod star;

use std::time::Duration;

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// What all threads of this process have used.
pub(super) fn processor_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// Prints figures as JSON.
fn print(figures: &impl Serialize) -> Result<()> {
    crate::outln!("{}", serde_json::to_string_pretty(figures)?);
    Ok(())
}
