//! The lab, who asks in it, and how an attack is mounted.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::attack::{At, Attack, ONE, TWO, Times};
use super::judge::Mounted;
use super::look::{WITNESSES, members, more};
use super::prepare::{harden_switches, settle_intruder};
use super::tool::{self, Tool};
use super::{A4, A6, keys};
use crate::capture::{Capture, Stamp};
use crate::load::{Ended, Load, Service, Stream};
use crate::report::{Kind, Mark, Request, Round, Run};
use crate::scenario::Options;
use crate::scenario::words::wrapped;
use crate::topology::{Node, Topology};
use crate::{Lab, judge, wait};

/// Its network.
const NETWORK: &str = include_str!("../../../../examples/labs/intruder.toml");
/// The intruder's link-layer address on the link without members.
const INTRUDER: &str = "02:00:00:00:01:66";
/// Who asks.
const CLIENTS: [&str; 5] = ["near", "desk", "client", "stock", "box"];
/// Hellos that may be missed.
const DEAD_HELLOS: u64 = 3;
/// How often one client asks one thing, in milliseconds.
const EVERY: u64 = 100;
/// How long the lab may take to be as before, beyond ten dead times, and a daemon to answer: where
/// nothing is verified, a flood of members keeps it busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(40);

/// What is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Nothing.
    Off,
    /// Everything.
    Enforce,
}

impl Mode {
    pub(super) const ALL: [Self; 2] = [Self::Off, Self::Enforce];

    /// As configurations and commands name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Enforce => "enforce",
        }
    }
}

/// The lab in which attacks are mounted.
pub(super) struct Stage<'a> {
    options: &'a Options,
    started: Stamp,
    times: Times,
    pub(super) dead: Duration,
    scapy: String,
    mode: Mode,
    marks: Vec<Mark>,
    mounted: Vec<Mounted>,
    rounds: Vec<Round>,
    intruder: Tool,
    tap: Tool,
    ended: Ended,
    loads: Vec<Load>,
    capture: Option<Capture>,
    // Last: everything above runs in its hosts.
    pub(super) lab: Lab,
}

impl<'a> Stage<'a> {
    /// Builds the lab and starts everything but the attacks.
    pub(super) fn build(options: &'a Options, started: Stamp) -> Result<Self> {
        let hello = if options.quick { 200 } else { 500 };
        let times = Times {
            hello,
            dead: hello * DEAD_HELLOS,
            rate: 5000,
        };
        let mut topology = Topology::parse(NETWORK, "examples/labs/intruder.toml")?;
        for node in &mut topology.nodes {
            let Some(text) = &node.hamp else { continue };
            let trust = keys::table(&node.name);
            let timers = format!("[node]\nhello_ms = {hello}\ndead_hellos = {DEAD_HELLOS}\n");
            let (before, after) = text.split_once("[node]\n").unwrap_or((text, ""));
            node.hamp = Some(format!("{before}\n{timers}{after}\n{trust}"));
        }
        let lab = Lab::new(&topology)?;
        let (python, scapy) = tool::python(lab.host("intruder"))?;
        harden_switches(&lab)?;
        settle_intruder(lab.host("intruder"))?;
        keys::hand_out(&lab, python)?;
        lab.start()?;
        let intruder = Tool::start(lab.host("intruder"), python, &["eth0", "eth1"])?;
        let tap = Tool::start(lab.host("tap"), python, &["one", "lan"])?;
        lab.agree(Duration::from_millis(times.dead * 5) + PATIENCE)?;
        let stage = Self {
            options,
            started,
            times,
            dead: Duration::from_millis(times.dead),
            scapy,
            mode: Mode::Off,
            marks: Vec::new(),
            mounted: Vec::new(),
            rounds: Vec::new(),
            intruder,
            tap,
            ended: Ended::default(),
            loads: Vec::new(),
            capture: None,
            lab,
        };
        stage.line("");
        Ok(stage)
    }

    /// What takes part.
    pub(super) fn versions(&self) -> BTreeMap<String, String> {
        let linux = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        [
            ("hamp", env!("CARGO_PKG_VERSION")),
            ("linux", linux.trim()),
            ("scapy", &self.scapy),
        ]
        .map(|(name, version)| (name.to_owned(), version.to_owned()))
        .into()
    }

    /// Has everybody verify so much from now on, and begins to ask and to record.
    pub(super) fn enter(&mut self, mode: Mode) -> Result<()> {
        self.mode = mode;
        // They began without.
        let speak = |node: &&Node| node.hamp.is_some() && mode != Mode::Off;
        for node in self.lab.topology().nodes.iter().filter(speak) {
            self.in_mode(&node.name)?;
        }
        let dir = self.options.pcap.as_ref().map(|dir| dir.join(mode.name()));
        if let Some(dir) = &dir {
            std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let file = dir.map(|dir| dir.join("lab.pcapng"));
        self.capture = Some(Capture::all(&self.lab, file.as_deref())?);
        self.rounds.push(Round {
            name: mode.name().into(),
            hello: Duration::from_millis(self.times.hello),
            dead: self.dead,
            window: self.dead * 2,
            anycast: [A4, A6].map(address).into(),
            members: ["one", "two"].map(String::from).into(),
            ..Round::default()
        });
        for (number, host) in (0u64..).zip(CLIENTS) {
            let mut streams = Vec::new();
            for (at, to) in (0u64..).zip([A4, A6]) {
                for (which, service) in (0u64..).zip([Service::Http, Service::Dns]) {
                    streams.push(Stream {
                        service,
                        to: SocketAddr::new(address(to), service.port()),
                        every: Duration::from_millis(EVERY),
                        offset: Duration::from_millis(3 + 7 * number + 50 * which + 25 * at),
                    });
                }
            }
            let load = Load::start(self.lab.host(host), streams, &self.ended)?;
            self.loads.push(load);
        }
        self.mark("undisturbed", Kind::Orderly, None);
        self.settle()
    }

    /// Begins a phase.
    fn mark(&mut self, name: &str, kind: Kind, host: Option<&str>) {
        let from = Stamp::now();
        if let Some(last) = self.marks.last_mut() {
            last.to = from;
        }
        self.marks.push(Mark {
            name: format!("{}: {name}", self.mode.name()),
            kind,
            host: host.map(Into::into),
            from,
            settled: from,
            to: from,
        });
    }

    /// Mounts an attack, and waits until all is as before.
    pub(super) fn mount(&mut self, attack: &'static Attack) -> Result<()> {
        if attack.flood {
            self.record()?;
        }
        if attack.poses {
            self.pose(ONE)?;
        }
        let before = self.refused()?;
        let cpu = self.cpu()?;
        let began = Instant::now();
        if !attack.anew {
            self.mark(attack.name, Kind::Fault, attack.kill_after.map(|_| "one"));
        }
        let mut given = Vec::new();
        for (at, words) in (attack.orders)(self.times) {
            given.push(self.tool(at).order(words)?);
        }
        if attack.anew {
            self.ask_anew()?;
            self.mark(attack.name, Kind::Fault, None);
        }
        let (mut killed, mut listed_ms) = (None, Vec::new());
        if let Some(after) = attack.kill_after {
            self.options.stay(self.dead.mul_f64(after), || {})?;
            let at = Stamp::now();
            killed = Some(at);
            self.lab.kill("one")?;
            let until = self.dead * 5;
            listed_ms = self.listed(at, until)?;
        }
        let mut frames = 0;
        for given in &given {
            let tool = [&self.intruder, &self.tap]
                .into_iter()
                .find(|tool| tool.has(given));
            let said = tool.context("whose order?")?.ended(&self.lab, given)?;
            frames += said["frames"].as_u64().unwrap_or(0);
        }
        let took = began.elapsed();
        let share = attack
            .flood
            .then(|| {
                self.cpu()
                    .map(|now| (now - cpu) / took.as_secs_f64() * 100.0)
            })
            .transpose()?;
        if attack.poses {
            self.pose(INTRUDER)?;
        }
        let refused = more(&before, &self.refused()?);
        let index = self.marks.len() - 1;
        self.mark(&format!("after {}", attack.name), Kind::Orderly, None);
        let mounted = Mounted {
            attack,
            mode: self.mode,
            mark: self.marks[index].clone(),
            frames,
            refused,
            killed,
            listed_ms,
            share,
            dead: self.dead,
        };
        if killed.is_some() {
            self.lab.start_host("one")?;
            if self.mode != Mode::Off {
                self.in_mode("one")?;
            }
        }
        // What was forged is forgotten after a dead time.
        self.options.stay(self.dead, || {})?;
        let settled = self.settle();
        self.told(&mounted);
        self.mounted.push(mounted);
        settled.with_context(|| format!("after {} in mode {}", attack.name, self.mode.name()))
    }

    /// Has `desk` begin anew, once what the intruder says had time to be heard, and waits until it has
    /// found somebody who answers.
    fn ask_anew(&self) -> Result<()> {
        self.options.stay(self.dead / 2, || {})?;
        self.lab.kill("desk")?;
        self.lab.host("desk").run(&["hamp", "clean"])?.ok()?;
        self.lab.start_host("desk")?;
        if self.mode != Mode::Off {
            self.in_mode("desk")?;
        }
        let since = Stamp::now();
        wait::until_ok("desk to be answered", self.dead * 2 + PATIENCE, || {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            for family in [4, 6] {
                let of = |r: &&Request| r.host == "desk" && r.family == family && r.sent > since;
                let answered = ended.iter().rev().filter(of).any(|r| r.outcome.is_ok());
                ensure!(answered, "nobody answers over IPv{family}");
            }
            Ok(())
        })
    }

    /// Has a host verify as much as this mode says.
    fn in_mode(&self, host: &str) -> Result<()> {
        let command = ["hamp", "trust", self.mode.name()];
        let switch = || self.lab.host(host).run(&command)?.ok();
        wait::until_ok(&command.join(" "), PATIENCE, switch).map(drop)
    }

    /// Gives the intruder this link-layer address on the link without members.
    fn pose(&self, mac: &str) -> Result<()> {
        let set = format!("ip link set dev eth1 address {mac}");
        self.lab.host("intruder").sh(&set).map(drop)
    }

    fn tool(&mut self, at: At) -> &mut Tool {
        match at {
            At::Intruder => &mut self.intruder,
            At::Tap => &mut self.tap,
        }
    }

    /// Nobody asks any more, and what was asked and seen becomes a round.
    pub(super) fn close(&mut self) -> Result<()> {
        self.loads.drain(..).try_for_each(Load::finish)?;
        if let Some(last) = self.marks.last_mut() {
            last.to = Stamp::now();
        }
        self.record()?;
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let mut requests = std::mem::take(&mut *ended);
        requests.sort_by_key(|request| request.sent);
        if let Some(round) = self.rounds.last_mut() {
            round.requests = requests;
            round.marks = std::mem::take(&mut self.marks);
        }
        Ok(())
    }

    /// Ends the capture: a flood would fill it.
    fn record(&mut self) -> Result<()> {
        if let (Some(capture), Some(round)) = (self.capture.take(), self.rounds.last_mut()) {
            round.captured = capture.finish()?;
        }
        Ok(())
    }

    /// Waits until every client is answered by a member again, by `one` where a router chooses, and
    /// nobody lists a member that is none.
    fn settle(&self) -> Result<()> {
        let since = Stamp::now();
        let limit = self.dead * 10 + PATIENCE;
        wait::until_ok("all to be as before", limit, || {
            let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
            let mut streams: BTreeMap<(String, String, u8), Vec<Result<String, String>>> =
                BTreeMap::new();
            for host in CLIENTS {
                for service in ["http", "dns"] {
                    for family in [4, 6] {
                        streams.insert((host.into(), service.into(), family), Vec::new());
                    }
                }
            }
            for request in ended.iter().rev().take_while(|r| r.done > since) {
                let key = (
                    request.host.clone(),
                    request.service.clone(),
                    request.family,
                );
                streams
                    .entry(key)
                    .or_default()
                    .push(request.outcome.clone());
            }
            drop(ended);
            for ((host, service, family), outcomes) in streams {
                let wanted: &[&str] = match host.as_str() {
                    "near" => &["one", "two"],
                    "box" => &["two"],
                    _ => &["one"],
                };
                let well = |outcome: &&Result<String, String>| {
                    outcome
                        .as_ref()
                        .is_ok_and(|who| wanted.contains(&who.as_str()))
                };
                let good = outcomes.iter().take_while(well).count();
                ensure!(
                    good >= 3,
                    "{service} v{family} of {host}: {:?}",
                    outcomes.first()
                );
            }
            for host in WITNESSES {
                let listed = members(self.lab.host(host))?;
                ensure!(
                    listed == [ONE, ONE, TWO, TWO],
                    "{host} lists {}",
                    listed.join(", ")
                );
            }
            Ok(())
        })
    }

    /// Figures and checks.
    pub(super) fn judge(&self, run: &mut Run) {
        for round in &self.rounds {
            run.checks.push(judge::whole(round));
            let mut attacks = round.clone();
            attacks.captured = Default::default();
            attacks.marks.retain(|mark| !mark.name.contains(": after "));
            run.phases.extend(judge::phases(&attacks, self.started));
        }
        for mounted in &self.mounted {
            let requests = self.requests(mounted.mode);
            run.checks.extend(mounted.checks(requests));
            run.attacks.push(mounted.figures(requests, self.started));
        }
    }

    fn requests(&self, mode: Mode) -> &[Request] {
        let found = self.rounds.iter().find(|round| round.name == mode.name());
        found.map_or(&[], |round| &round.requests)
    }

    /// The rounds, for a report.
    pub(super) fn rounds(self) -> Vec<Round> {
        self.rounds
    }

    /// An attack in words.
    fn told(&self, mounted: &Mounted) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = mounted.outcome(&ended);
        drop(ended);
        let attack = mounted.attack;
        let head = format!("{:8} {:20} ", mounted.mode.name(), attack.name);
        let indent = " ".repeat(head.len());
        for line in wrapped(&format!("{head}{}", mounted.summary(&outcome)), &indent) {
            self.line(&line);
        }
        let reasons = mounted.reasons();
        if !reasons.is_empty() {
            for line in wrapped(
                &format!("{indent}refused: {reasons}"),
                &format!("{indent}  "),
            ) {
                self.line(&line);
            }
        }
    }

    /// Lines of the story.
    pub(super) fn tell(&self, lines: &[String]) {
        lines.iter().for_each(|line| self.line(line));
    }

    fn line(&self, line: &str) {
        if self.options.to_stderr {
            eprintln!("{line}");
        } else {
            crate::outln!("{line}");
        }
    }
}

/// An address of ours.
fn address(text: &str) -> std::net::IpAddr {
    // NOTE(unwrap): our own constants are addresses.
    text.parse().unwrap()
}
