//! Everything a report is made from.

use std::net::IpAddr;
use std::time::Duration;

use super::Run;
use crate::Topology;
use crate::capture::{Captured, Stamp};

/// A run of a scenario with what it was measured on.
#[derive(Clone, Debug)]
pub struct Story {
    /// One line about the scenario.
    pub about: String,
    /// The network it was played in.
    pub topology: Topology,
    /// The figures.
    pub run: Run,
    /// When it began; see [`Story::zero`].
    pub started: Stamp,
    /// How to do it again: a word or two, and a command line.
    pub commands: Vec<(String, String)>,
    /// The scenario as often as it was played, each time on links of its own.
    pub rounds: Vec<Round>,
}

impl Story {
    /// What the times of a round are counted from: its own beginning if it was simulated, because
    /// the clock of a simulation begins with it.
    pub fn zero(&self, round: &Round) -> Stamp {
        let simulated = round.marks.first().is_some_and(|m| m.from < self.started);
        if simulated { Stamp(0) } else { self.started }
    }
}

/// A scenario that was played once.
#[derive(Clone, Debug, Default)]
pub struct Round {
    /// What sets it apart from the others; empty if it is the only one.
    pub name: String,
    /// Hello interval of the members.
    pub hello: Duration,
    /// After this time without a hello a member is dead.
    pub dead: Duration,
    /// Dead time and slack: requests sent so soon after a fault may be lost.
    pub window: Duration,
    /// The anycast addresses.
    pub anycast: Vec<IpAddr>,
    /// Hosts that serve them.
    pub members: Vec<String>,
    /// Hosts without hamp, whose TCP connections are plain ones.
    pub stock: Vec<String>,
    /// What happened, in order.
    pub marks: Vec<Mark>,
    /// All requests, in the order they were sent.
    pub requests: Vec<Request>,
    /// The frames of all links.
    pub captured: Captured,
}

/// What a phase of a story may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing happens: nothing is lost and one member answers.
    Quiet,
    /// Something orderly happens: nothing is lost, and another member may become the one that
    /// answers.
    Orderly,
    /// Something breaks: requests sent in the window may be lost.
    Fault,
}

/// A phase of a story.
#[derive(Clone, Debug)]
pub struct Mark {
    /// What happened at its beginning.
    pub name: String,
    /// What it may cost.
    pub kind: Kind,
    /// The host it happened to.
    pub host: Option<String>,
    /// Its beginning: for a fault, stamped right before it.
    pub from: Stamp,
    /// From here to the end one member must answer, and each question draws one answer.
    pub settled: Stamp,
    /// Its end.
    pub to: Stamp,
}

/// A request and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The host that asked.
    pub host: String,
    /// What was asked: `http`, `dns`, ...
    pub service: String,
    /// 4 or 6.
    pub family: u8,
    /// When.
    pub sent: Stamp,
    /// When it was answered or given up.
    pub done: Stamp,
    /// Who answered, or what went wrong.
    pub outcome: Result<String, String>,
}
