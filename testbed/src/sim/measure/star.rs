//! One router and many members on one link, for measuring the router.
//!
//! Everybody is the same `hamp::node` as everywhere; what is left out is that members hear each
//! other, which changes nothing of what they say and is most of the work. Frames to the router go
//! through one port with a rate and a buffer without end. A frame takes [`LATENCY`] besides, and so
//! nobody's output of a span of that length matters to anybody else in it: all that the router does
//! in one span is measured together.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use anyhow::{Context, Result};
use hamp::addr::Prefix;
use hamp::node::{Config, JoinOptions, Limits, LinkId, LinkState, Node, RouterConfig};
use hamp::proto::trust::Mode;
use hamp::proto::{Reason, Timing};
use hamp::time::{Duration, Instant};
use hamp::wire::Roles;
use nix::time::{ClockId, clock_gettime};

use crate::sim::{WALL, keys};

/// The only link of everybody.
const LINK: LinkId = LinkId(2);
/// What a frame takes besides its length: more than a switch does, and nothing beside what members
/// wait before they answer.
const LATENCY: Duration = Duration::from_millis(1);
/// The MTU of the link, in bytes.
const MTU: u16 = 1500;

/// What everybody is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) members: usize,
    pub(super) addresses: u32,
    pub(super) hello_ms: u32,
    pub(super) mode: Mode,
    /// Bits of frames per second of the router's port.
    pub(super) rate: u64,
}

/// Router and members.
pub(super) struct Star {
    kind: Kind,
    /// How far everything has happened.
    now: Instant,
    router: Node,
    members: Vec<Node>,
    /// When members have something to do.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    /// What comes to the router, in order.
    arriving: VecDeque<(Instant, Vec<u8>)>,
    /// When the port has sent all that it holds, in nanoseconds.
    idle_ns: u64,
    /// What the router says, and when members hear it.
    said: VecDeque<(Instant, Vec<u8>)>,
    pub(super) frames: u64,
    /// What the router's calls have taken of a processor.
    pub(super) used: Duration,
    /// When a router with this processor would be done with all that came.
    pub(super) busy_until: Instant,
}

impl Star {
    /// Members that begin one after the other within a second; the router does not run yet.
    pub(super) fn new(kind: Kind) -> Result<Self> {
        let mut star = Self {
            kind,
            now: Instant::ZERO,
            router: Node::new(Config::default(), [0; 32], 1),
            members: Vec::new(),
            timers: BinaryHeap::new(),
            arriving: VecDeque::new(),
            idle_ns: 0,
            said: VecDeque::new(),
            frames: 0,
            used: Duration::ZERO,
            busy_until: Instant::ZERO,
        };
        for number in 0..kind.members {
            star.members.push(star.member(number)?);
            let at = Instant::from_micros((number * 1_000_000 / kind.members) as u64);
            star.timers.push(Reverse((at, number)));
        }
        Ok(star)
    }

    fn config(&self, number: usize, router: bool) -> Config {
        let enforces = self.kind.mode == Mode::Enforce;
        let roles = Roles {
            member: !router,
            router,
        };
        let trust = enforces.then(|| keys::enforcing(number as u64 + 1, roles));
        let trust = trust.unwrap_or_default();
        Config {
            name: format!("h{number}"),
            timing: Timing {
                hello: Duration::from_millis(self.kind.hello_ms.into()),
                dead_hellos: 3,
            },
            limits: Limits::ROUTER,
            router: router.then(RouterConfig::default),
            credentials: trust.credentials,
            trust: trust.mode,
            authorities: trust.authorities,
            ..Config::default()
        }
    }

    fn node(&self, number: usize, router: bool, epoch: u64) -> Node {
        let mut secret = [7; 32];
        secret[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let mut node = Node::new(self.config(number, router), secret, epoch);
        node.set_wall(self.now, WALL + self.now.as_millis());
        node
    }

    fn member(&self, number: usize) -> Result<Node> {
        let mut node = self.node(number, false, 1000);
        for index in 0..self.kind.addresses {
            let address = std::net::Ipv4Addr::from(0xc612_0000 + index);
            let prefix = Prefix::from(std::net::IpAddr::from(address));
            node.join(Instant::ZERO, prefix, JoinOptions::default())
                .with_context(|| format!("{address}"))?;
        }
        Ok(node)
    }

    fn state(number: usize) -> LinkState {
        let [.., high, low] = (number as u64 + 1).to_be_bytes();
        LinkState {
            mac: [2, 0, 0, 0, high, low],
            ipv4: Some([10, 0, high, low].into()),
            ipv6: None,
            mtu: MTU,
        }
    }

    /// The router begins a new life without a table.
    pub(super) fn restart_router(&mut self) {
        let number = self.kind.members;
        self.router = self.node(number, true, 2000 + self.now.as_millis());
        let state = Self::state(number);
        self.used = Duration::ZERO;
        self.frames = 0;
        self.busy_until = self.now;
        self.router.handle_link(self.now, LINK, Some(state));
        self.drain_router(self.now);
    }

    /// What the router knows.
    pub(super) fn router(&self) -> &Node {
        &self.router
    }

    /// Until when everything has happened.
    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// Messages that the router has refused, by reason.
    pub(super) fn refused(&self) -> impl Iterator<Item = (Reason, u64)> {
        self.router.counters().ignored()
    }

    /// Lets a span of [`LATENCY`] pass.
    pub(super) fn step(&mut self) -> Result<()> {
        let end = self.now + LATENCY;
        self.run_members(end);
        let before = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        self.run_router(end);
        let after = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
        let used = Duration::from(after).saturating_sub(Duration::from(before));
        self.used += used;
        self.busy_until = self.busy_until.max(end) + used;
        self.now = end;
        Ok(())
    }

    fn run_members(&mut self, end: Instant) {
        while self.said.front().is_some_and(|(at, _)| *at < end) {
            let Some((at, frame)) = self.said.pop_front() else {
                return;
            };
            for number in 0..self.members.len() {
                if self.members[number].links().next().is_some() {
                    self.members[number].handle_frame(at, LINK, &frame, false);
                    self.settle(at, number);
                }
            }
        }
        while let Some(Reverse((at, number))) = self.timers.peek().copied()
            && at < end
        {
            self.timers.pop();
            let node = &mut self.members[number];
            if node.links().next().is_none() {
                node.handle_link(at, LINK, Some(Self::state(number)));
            } else if node.poll_timeout().is_some_and(|due| due <= at) {
                node.handle_timeout(at);
            } else {
                continue;
            }
            self.settle(at, number);
        }
    }

    /// Takes what a member has to say, and plans its next timer.
    fn settle(&mut self, at: Instant, number: usize) {
        let node = &mut self.members[number];
        while node.poll_event().is_some() {}
        while let Some(transmit) = node.poll_transmit() {
            let bits = 8 * transmit.frame.len() as u64;
            let leaves = (at + LATENCY).as_micros() * 1000;
            self.idle_ns = self.idle_ns.max(leaves) + bits * 1_000_000_000 / self.kind.rate;
            let arrives = Instant::from_micros(self.idle_ns / 1000);
            self.arriving.push_back((arrives, transmit.frame));
        }
        if let Some(due) = node.poll_timeout() {
            self.timers.push(Reverse((due.max(at), number)));
        }
    }

    fn run_router(&mut self, end: Instant) {
        loop {
            let timer = self.router.poll_timeout().map(|due| due.max(self.now));
            let arrival = self.arriving.front().map(|(at, _)| (*at).max(self.now));
            let Some(at) = timer
                .into_iter()
                .chain(arrival)
                .min()
                .filter(|at| *at < end)
            else {
                return;
            };
            if arrival == Some(at)
                && let Some((_, frame)) = self.arriving.pop_front()
            {
                self.frames += 1;
                self.router.handle_frame(at, LINK, &frame, false);
            } else {
                self.router.handle_timeout(at);
            }
            self.drain_router(at);
        }
    }

    fn drain_router(&mut self, at: Instant) {
        while self.router.poll_event().is_some() {}
        while let Some(transmit) = self.router.poll_transmit() {
            self.said.push_back((at + LATENCY, transmit.frame));
        }
    }
}
