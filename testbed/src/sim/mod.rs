//! The network of a topology in virtual time.
//!
//! A [`Sim`] is built from the same [`Topology`] as a kernel [`Lab`](crate::Lab), and runs the same
//! `hamp::node` code; but time is a number, frames are handed from machine to machine, and every
//! random draw comes from one seed. Two runs with the same topology, seed and commands are the same
//! to the byte: [`Sim::digest`] tells.
//!
//! ```
//! use std::time::Duration;
//! use testbed::{sim::Sim, topology::Topology};
//!
//! let hamp = "[member]\naddresses = [\"198.18.0.1\"]";
//! let topology = Topology::new("pair")
//!     .switch("lan")
//!     .host("a").link("lan", &["10.0.0.1/24"]).hamp(hamp)
//!     .host("b").link("lan", &["10.0.0.2/24"]).hamp(hamp);
//! let mut sim = Sim::new(&topology, 1)?;
//! sim.run_for(Duration::from_secs(2));
//! let first = sim.owner("198.18.0.1")?.expect("one of the two owns it").to_owned();
//! sim.kill(&first)?;
//! sim.run_for(Duration::from_millis(3100));
//! assert_ne!(sim.owner("198.18.0.1")?, Some(first.as_str()));
//! # Ok::<(), anyhow::Error>(())
//! ```
//!
//! **What is simulated.** A host of [`Sim::new`] is hamp alone: it answers for anycast addresses, and
//! for nothing else, and ten thousand of them fit a minute of a processor. A host of [`Sim::whole`]
//! is one in user space (`hamp::user`): it resolves addresses, forwards if it is a router, serves
//! its name if the topology starts the program `who` on it, and its programs speak TCP and UDP. A
//! cable takes no time beyond its impairments, a switch takes [`SWITCHING`]. The socket
//! of frozen hamp keeps [`BACKLOG`] frames.
//!
//! Files: `queue` what comes next, `host` lives of a host, `machine` what runs on it, `apps`
//! programs, `clock` what time a host has, `switch` learning, `packet` a frame that many hear, `traffic` its way, `fault` what is
//! done to the network, `look` what can be seen of it, `tape` frames recorded, `digest` two runs
//! compared, [`keys`] what hosts sign with, [`scale`] thousands of hosts, [`measure`] days, crowds and large
//! tables, [`seeds`] random tests.

mod apps;
mod clock;
mod digest;
mod fault;
mod host;
pub mod keys;
mod look;
mod machine;
pub mod measure;
mod packet;
mod queue;
pub mod scale;
pub mod seeds;
mod switch;
mod tape;
mod traffic;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use hamp::node::Event;
use hamp::proto::random::Random;
use hamp::time::Instant;

use crate::impair::{self, Direction};
use crate::report::Request;
use crate::topology::{Kind, Topology};
use clock::Clock;
use digest::Digest;
use host::{About, Host, Interface};
use queue::{Nanos, Planned, Queue};
use switch::Switch;
use tape::Tape;

pub use apps::Apps;
pub use host::{BACKLOG, Trust, WALL};
pub use look::Totals;

/// How long a switch takes to hand a frame on: about what a Linux bridge between two veth pairs
/// takes.
pub const SWITCHING: Duration = Duration::from_micros(20);

/// Something that hamp told the host it runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When.
    pub at: Instant,
    /// Where: an index into the topology's nodes; [`Sim::name`] tells the name.
    pub host: usize,
    /// What.
    pub event: Event,
}

/// A network in virtual time.
#[derive(Debug)]
pub struct Sim {
    now: Nanos,
    topology: Topology,
    /// Where each node is in the topology, by its name.
    nodes: BTreeMap<String, usize>,
    /// The port of each interface of each node.
    interfaces: BTreeMap<(usize, String), usize>,
    devices: Vec<Device>,
    /// Two for each cable of the topology: its ends, in order.
    ports: Vec<Port>,
    /// Whether each cable is in.
    carrier: Vec<bool>,
    /// Nodes hear those of their own group only.
    groups: Vec<u32>,
    /// Which part of the network each node belongs to.
    part_of: Vec<usize>,
    parts: Vec<Part>,
    random: Random,
    events: Option<Vec<Happened>>,
    tape: Option<Tape>,
    requests: Vec<Request>,
    totals: Totals,
}

/// Nodes that cables join, directly or by others. Nothing that happens in one part matters to
/// another, so parts run one after the other: a processor's caches hold a part, but not a network
/// of thousands of hosts.
#[derive(Debug, Default)]
struct Part {
    queue: Queue,
    digest: Digest,
}

/// What a cable can be plugged into.
#[derive(Debug)]
enum Device {
    Host(Box<Host>),
    Switch(Switch),
}

/// One end of a cable.
#[derive(Debug)]
struct Port {
    /// The node it belongs to.
    node: usize,
    /// Which of the node's interfaces or ports it is.
    at: usize,
    /// What happens to the frames it sends, drawn from `random`; nothing where it is `plain`.
    direction: Direction,
    random: Random,
    plain: bool,
}

impl Sim {
    /// The network of `topology` at time zero, with hamp alone on every host that has a `hamp` text,
    /// about to start. Whatever is random is drawn from `seed`.
    ///
    /// # Errors
    /// What [`Topology::check`] says.
    pub fn new(topology: &Topology, seed: u64) -> Result<Self> {
        Self::build(topology, seed, false)
    }

    /// The same with whole hosts, which speak TCP and UDP.
    ///
    /// # Errors
    /// What [`Topology::check`] says.
    pub fn whole(topology: &Topology, seed: u64) -> Result<Self> {
        Self::build(topology, seed, true)
    }

    fn build(topology: &Topology, seed: u64, whole: bool) -> Result<Self> {
        topology.check()?;
        let mut random = Random::new(seed);
        let mut plugs: Vec<Vec<usize>> = vec![Vec::new(); topology.nodes.len()];
        let mut ports = Vec::with_capacity(2 * topology.links.len());
        for (number, end) in topology
            .links
            .iter()
            .flat_map(|link| &link.ends)
            .enumerate()
        {
            plugs[end.node].push(number);
            ports.push(Port {
                node: end.node,
                at: plugs[end.node].len() - 1,
                direction: Direction::new(end.sends),
                random: impair::random(seed, number / 2, number % 2),
                plain: end.sends.is_none(),
            });
        }
        let part_of = parts(topology);
        let mut parts = Vec::new();
        parts.resize_with(
            part_of.iter().max().map_or(0, |last| last + 1),
            Part::default,
        );
        let mut devices = Vec::with_capacity(topology.nodes.len());
        for (index, node) in topology.nodes.iter().enumerate() {
            if node.kind == Kind::Switch {
                devices.push(Device::Switch(Switch::new(plugs[index].clone())));
                continue;
            }
            let end = |port: usize| &topology.links[port / 2].ends[port % 2];
            let interfaces = plugs[index].iter().map(|port| Interface {
                name: end(*port).interface.clone(),
                port: *port,
                mac: end(*port).mac,
                addresses: end(*port).addresses.clone(),
                carrier: true,
                speaks: false,
            });
            let text = topology.hamp_config(index)?;
            let secret = std::array::from_fn(|_| random.next_u64() as u8);
            let mut interfaces: Vec<_> = interfaces.collect();
            let about = About::new(node, text.as_deref(), &mut interfaces, secret, whole)?;
            let host = Host::new(about, interfaces, Clock::new(node.clock));
            if host.starts {
                let start = Planned::Start(index);
                parts[part_of[index]].queue.push(0, start);
            }
            devices.push(Device::Host(Box::new(host)));
        }
        let names = topology.nodes.iter().map(|node| node.name.clone());
        let ends = topology.links.iter().flat_map(|link| &link.ends);
        let interfaces = ends.map(|end| (end.node, end.interface.clone())).zip(0..);
        Ok(Self {
            now: 0,
            nodes: names.zip(0..).collect(),
            topology: topology.clone(),
            interfaces: interfaces.collect(),
            devices,
            carrier: vec![true; topology.links.len()],
            groups: vec![0; topology.nodes.len()],
            ports,
            part_of,
            parts,
            random,
            events: Some(Vec::new()),
            tape: None,
            requests: Vec::new(),
            totals: Totals::default(),
        })
    }

    /// Virtual time, which begins at zero; clocks of hosts may show another.
    pub fn now(&self) -> Instant {
        instant(self.now)
    }

    /// Lets `span` pass.
    pub fn run_for(&mut self, span: Duration) {
        self.run_to(self.now.saturating_add(nanos(span)));
    }

    /// Lets time pass until `at`; nothing if that is over.
    pub fn run_until(&mut self, at: Instant) {
        self.run_to(at.as_micros().saturating_mul(1000));
    }

    /// Lets time pass until `condition` holds, at most for `limit`; whether it does. The condition
    /// is looked at after everything that happens.
    pub fn run_while_not(
        &mut self,
        limit: Duration,
        mut condition: impl FnMut(&Self) -> bool,
    ) -> bool {
        let end = self.now.saturating_add(nanos(limit));
        while !condition(self) {
            let parts = self.parts.iter().zip(0..);
            let next = parts.filter_map(|(part, index)| Some((part.queue.next()?, index)));
            let Some((_, part)) = next.min().filter(|(at, _)| *at <= end) else {
                self.now = self.now.max(end);
                return condition(self);
            };
            self.step(part, end);
        }
        true
    }

    fn run_to(&mut self, end: Nanos) {
        let (begin, end) = (self.now, self.now.max(end));
        let events = self.events.as_ref().map_or(0, Vec::len);
        let frames = self.tape.as_ref().map_or(0, Tape::len);
        let requests = self.requests.len();
        for part in 0..self.parts.len() {
            self.now = begin;
            while self.step(part, end) {}
        }
        self.now = end;
        if self.parts.len() > 1 {
            if let Some(all) = &mut self.events {
                all[events..].sort_by_key(|happened| happened.at);
            }
            if let Some(tape) = &mut self.tape {
                tape.sort(frames);
            }
            self.requests[requests..].sort_by_key(|request| request.done);
        }
    }

    /// Does the next thing that happens in `part`, if that is no later than `end`.
    fn step(&mut self, part: usize, end: Nanos) -> bool {
        let next = self.parts[part].queue.pop(end);
        if let Some((at, planned)) = next {
            self.now = at;
            self.happen(planned);
            return true;
        }
        false
    }

    /// The part of the network that a node belongs to.
    fn part(&mut self, node: usize) -> &mut Part {
        &mut self.parts[self.part_of[node]]
    }
}

/// Numbers the parts of a network, in the order of their first nodes.
fn parts(topology: &Topology) -> Vec<usize> {
    let mut neighbours: Vec<Vec<usize>> = vec![Vec::new(); topology.nodes.len()];
    for link in &topology.links {
        let [a, b] = link.ends.each_ref().map(|end| end.node);
        neighbours[a].push(b);
        neighbours[b].push(a);
    }
    let mut part_of: Vec<Option<usize>> = vec![None; topology.nodes.len()];
    let mut count = 0;
    for node in 0..topology.nodes.len() {
        let mut reached = vec![node];
        let new = part_of[node].is_none();
        while let Some(node) = reached.pop() {
            if part_of[node].is_none() {
                part_of[node] = Some(count);
                reached.extend(&neighbours[node]);
            }
        }
        count += usize::from(new);
    }
    part_of.into_iter().flatten().collect()
}

/// The moment as hamp counts it: whole microseconds.
fn instant(at: Nanos) -> Instant {
    Instant::from_micros(at / 1000)
}

fn nanos(span: Duration) -> Nanos {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
