//! The labs that `hamp-lab run` knows.

pub mod first_link;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::report::Run;

/// A lab with a story.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Name on the command line.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// Runs it.
    pub run: fn(&Options) -> Result<Run>,
}

/// All of them.
pub const ALL: &[Scenario] = &[Scenario {
    name: "first-link",
    about: "three members share one address on one link and lose one another in several ways",
    run: first_link::run,
}];

/// How a scenario is to be run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The short form, 20 s at most.
    pub quick: bool,
    /// Wait for a key before each event, and print a command to look with.
    pub step: bool,
    /// Leave a shell in the lab at the end.
    pub keep: bool,
    /// Directory for one pcapng file per link.
    pub pcap: Option<PathBuf>,
    /// Draw over the terminal rather than print line by line.
    pub draw: bool,
    /// Tell the story on stderr, because stdout is for the figures.
    pub to_stderr: bool,
    /// Set when the user or the end of our parent wants an end.
    pub interrupted: Arc<AtomicBool>,
}

/// The error of a run that was told to end.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

impl Options {
    /// Fails if the run was told to end.
    pub fn go_on(&self) -> Result<()> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Interrupted.into());
        }
        Ok(())
    }

    /// Lets the lab run for a while, calling `tick` some ten times a second.
    pub fn stay(&self, time: Duration, mut tick: impl FnMut()) -> Result<()> {
        let start = Instant::now();
        while let Some(left) = time.checked_sub(start.elapsed()) {
            self.go_on()?;
            tick();
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
        self.go_on()
    }
}
