//! The labs of the course (`docs/labs`): each a question, a script, and what it shows.
//!
//! A lab's network is a file of `examples/labs`, so that it can also be built by hand with
//! `hamp-lab up`. A lab asks its question, plays its script while it tells what happens, and ends
//! with a table, the answer in short and checks: what a lab claims is asserted each time it runs.
//!
//! Files: one for each lab, `telling` the story on a terminal, `table` who was answered by whom,
//! `belief` what hosts take for true, from what they send.

mod arp;
mod belief;
mod cache;
mod no_router;
mod one_address;
mod table;
mod telling;
mod tie;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Options, Scenario};
use crate::capture::Stamp;
use crate::judge;
use crate::report::{Check, Round, Run, Story};
use crate::script::{Manner, Script, World};
use crate::topology::Topology;
use crate::wait::Stalls;
use telling::Telling;

/// Its labs, in the order in which they are taken.
pub(super) const ALL: &[Scenario] = &[
    one_address::LAB,
    arp::LAB,
    cache::LAB,
    no_router::LAB,
    tie::LAB,
];

/// The IPv4 address that is shared in most labs.
const A4: &str = "198.18.0.1";
/// The IPv6 address that is shared in most labs.
const A6: &str = "2001:2:0:1546::1";

/// What a lab says before anything happens.
struct Lesson {
    /// Name on the command line, and of its files.
    name: &'static str,
    /// One line about it.
    about: &'static str,
    /// What to answer before looking.
    question: &'static str,
    /// Its network, as in `examples/labs/NAME.toml`.
    network: &'static str,
    /// What steps mean: the name of each and a sentence or two.
    steps: &'static [(&'static str, &'static str)],
    /// The host in which `--keep` leaves a shell.
    shell: &'static str,
    /// Whether who answers is told request by request; of several addresses asked for in turn that
    /// would say nothing.
    tells_answers: bool,
}

/// A lab that is being run.
struct Course<'a> {
    options: &'a Options,
    lesson: &'a Lesson,
    started: Stamp,
    stalls: Stalls,
    telling: Telling<'a>,
    topology: Topology,
    run: Run,
    rounds: Vec<Round>,
}

impl<'a> Course<'a> {
    /// Asks the question.
    fn begin(lesson: &'a Lesson, options: &'a Options) -> Result<Self> {
        let started = Stamp::now();
        let file = format!("examples/labs/{}.toml", lesson.name);
        let topology = Topology::parse(lesson.network, &file)?;
        let mut run = Run::begin(lesson.name, options.quick, started);
        if let World::Virtual(seed) = options.world {
            run.seed = seed;
            run.privilege = "none".into();
        }
        run.versions
            .insert("hamp".into(), env!("CARGO_PKG_VERSION").into());
        let linux = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        run.versions.insert("linux".into(), linux.trim().into());
        let mut telling = Telling::new(lesson, options);
        telling.question(&file);
        Ok(Self {
            options,
            lesson,
            started,
            stalls: Stalls::watch()?,
            telling,
            topology,
            run,
            rounds: Vec::new(),
        })
    }

    /// The network with this hello interval on every host that runs hamp.
    fn network(&self, hello_ms: u32) -> Result<Topology> {
        let mut topology = self.topology.clone();
        for node in &mut topology.nodes {
            let Some(text) = &node.hamp else { continue };
            let mut whole: toml::Table = toml::from_str(text)?;
            let table = whole
                .entry("node")
                .or_insert_with(|| toml::Table::new().into());
            let table = table.as_table_mut().context("node is no table")?;
            table.insert("hello_ms".into(), hello_ms.into());
            node.hamp = Some(toml::to_string(&whole)?);
        }
        Ok(topology)
    }

    /// Plays a script, and tells it; `name` sets it apart from others of the lab.
    fn play(&mut self, name: &str, script: &Script) -> Result<Round> {
        let pcap = self.options.pcap.as_ref();
        let manner = Manner {
            pcap: pcap.map(|dir| dir.join(name.replace(' ', "-"))),
        };
        if let Some(dir) = &manner.pcap {
            std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        self.telling.round(name, script);
        let mut round = script.play_to(self.options.world, &manner, &mut self.telling)?;
        round.name = name.into();
        if round.members.is_empty() {
            let who = round
                .requests
                .iter()
                .filter_map(|r| r.outcome.as_ref().ok());
            round.members = BTreeSet::from_iter(who.cloned()).into_iter().collect();
        }
        // A simulation counts from zero, a kernel from 1970.
        let started = match self.options.world {
            World::Kernel => self.started,
            World::Virtual(_) => Stamp(0),
        };
        self.run.phases.extend(judge::phases(&round, started));
        if let Some(client) = script.clients.first() {
            let takeovers = judge::takeovers(&round, &client.host, started);
            self.run.takeovers.extend(takeovers);
        }
        self.run.checks.push(judge::whole(&round));
        if self.lesson.tells_answers {
            self.telling.lines(&table::answers(&round));
        }
        self.rounds.push(round.clone());
        Ok(round)
    }

    /// Asserts something.
    fn check(&mut self, check: Check) {
        self.run.checks.push(check);
    }

    /// Gives the answer in short, and the verdict.
    fn end(mut self, answer: &str) -> Story {
        self.run.end(self.started, &self.stalls);
        self.telling.answer(answer);
        self.telling.lines(&super::words::end(&self.run));
        let name = self.lesson.name;
        let by_hand = format!("hamp-lab up examples/labs/{name}.toml");
        Story {
            about: self.lesson.about.into(),
            topology: self.topology,
            run: self.run,
            started: self.started,
            commands: vec![("By hand".into(), by_hand)],
            rounds: self.rounds,
        }
    }
}

/// An address of ours.
fn address(text: &str) -> IpAddr {
    // NOTE(unwrap): our own constants are addresses.
    text.parse().unwrap()
}

/// The members that answered a host over both families in a phase, in the order of their first
/// answers; only requests sent so long after its beginning count.
fn answerers(round: &Round, phase: &str, host: &str, after: Duration) -> Vec<String> {
    let mut who: Vec<String> = Vec::new();
    for mark in round.marks.iter().filter(|mark| mark.name == phase) {
        let from = mark.from.plus(after);
        let sent = judge::requests_of(round, mark).filter(|r| r.sent >= from);
        for member in sent
            .filter(|r| r.host == host)
            .filter_map(|r| r.outcome.as_ref().ok())
        {
            if !who.contains(member) {
                who.push(member.clone());
            }
        }
    }
    who
}

/// Whether exactly this member answered a host in the settled part of a phase.
fn answered_by(id: &str, round: &Round, phase: &str, host: &str, member: &str) -> Check {
    let settled = round.marks.iter().find(|mark| mark.name == phase);
    let after = settled.and_then(|mark| mark.settled.since(mark.from));
    let who = answerers(round, phase, host, after.unwrap_or_default());
    let wrong = if who == [member] {
        Vec::new()
    } else {
        let who = if who.is_empty() {
            "nobody".into()
        } else {
            who.join(" and ")
        };
        vec![format!(
            "{host} is answered by {who}, not by {member}, in {phase:?}"
        )]
    };
    Check::none(id, &wrong, "failures")
}
