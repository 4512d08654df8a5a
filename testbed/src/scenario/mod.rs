//! The labs that `hamp-lab run` knows.

mod campus;
mod course;
pub mod first_link;
mod hands;
mod intruder;
mod services;
mod words;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::Host;
use crate::report::Story;
use crate::script::World;
use crate::wait;

/// A lab with a story.
#[derive(Clone, Copy)]
pub struct Scenario {
    /// Name on the command line.
    pub name: &'static str,
    /// One line about it.
    pub about: &'static str,
    /// Whether it can be played in virtual time too.
    pub virtual_too: bool,
    /// Runs it.
    pub run: fn(&Options) -> Result<Story>,
}

/// All of them: the first link, the network around it, who should not be there, then the course.
pub fn all() -> impl Iterator<Item = &'static Scenario> {
    [&first_link::LAB, &campus::LAB, &intruder::LAB]
        .into_iter()
        .chain(course::ALL)
}

/// How a scenario is to be run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The short form, 20 s at most.
    pub quick: bool,
    /// Nothing happens, for so long: what is lost then is lost for nothing.
    pub undisturbed: Option<Duration>,
    /// Wait for a key before each event, and print a command to look with.
    pub step: bool,
    /// Leave a shell in the lab at the end.
    pub keep: bool,
    /// Directory for what was on the links, as pcapng: one file, or one for each link.
    pub pcap: Option<PathBuf>,
    /// In which world it is played, as far as it can.
    pub world: World,
    /// Draw over the terminal rather than print line by line.
    pub draw: bool,
    /// Tell the story on stderr, because stdout is for the figures.
    pub to_stderr: bool,
}

impl Options {
    /// Lets the lab run for a while, calling `tick` some ten times a second.
    pub fn stay(&self, time: Duration, mut tick: impl FnMut()) -> Result<()> {
        let start = Instant::now();
        while let Some(left) = time.checked_sub(start.elapsed()) {
            wait::go_on()?;
            tick();
            std::thread::sleep(left.min(Duration::from_millis(50)));
        }
        wait::go_on()
    }
}

/// What takes part, as it says itself: hamp, and the first line of what each of `programs` answers
/// to its command in `host`.
fn versions(host: &Host, programs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = ("hamp".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
    let others = programs.iter().map(|(name, ask)| {
        let said = host.sh(ask).unwrap_or_default();
        let first = said.lines().next().unwrap_or("").trim();
        ((*name).to_owned(), first.chars().take(80).collect())
    });
    std::iter::once(own).chain(others).collect()
}
