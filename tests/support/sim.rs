//! One link in virtual time: nodes, a wire with a delay, and faults. The same run for the same
//! seed, and an hour of it in milliseconds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use hamp::node::{Config, Event, JoinOptions, LinkId, LinkState, Node};
use hamp::proto::Reason;
use hamp::time::Instant;
use hamp::wire::Message;
use hamp::wire::frame::{self, Frame, Mac};

/// The link, as each node numbers it.
pub const LINK: LinkId = LinkId(2);
/// How long a frame takes.
pub const LATENCY: Duration = Duration::from_micros(50);

/// A frame that was sent.
#[derive(Debug, Clone)]
pub struct Sent {
    pub at: Instant,
    /// Which host; `None` for a frame that the test put on the wire.
    pub from: Option<usize>,
    pub frame: Vec<u8>,
}

impl Sent {
    /// The membership message in it.
    pub fn message(&self) -> Option<Message> {
        match Frame::parse(&self.frame) {
            Ok(Frame::Message { payload, .. }) => Message::decode(payload).ok(),
            _ => None,
        }
    }

    /// The ARP reply, neighbour advertisement or announcement in it.
    pub fn answer(&self) -> Option<frame::Answer> {
        match Frame::parse(&self.frame) {
            Ok(Frame::Answer(answer)) => Some(answer),
            _ => None,
        }
    }
}

/// A host on the link.
pub struct Host {
    pub node: Node,
    pub state: LinkState,
    pub events: Vec<(Instant, Event)>,
    /// Neither hears nor speaks nor looks at its clock: killed, or stopped for a while.
    pub frozen: bool,
}

/// Whether a frame gets lost on its way to a host.
pub type Loss = Box<dyn FnMut(&Sent, usize) -> bool>;

/// The link and all on it.
pub struct Sim {
    pub now: Instant,
    pub hosts: Vec<Host>,
    pub log: Vec<Sent>,
    pub loss: Loss,
    wire: BTreeMap<(Instant, u64), Sent>,
    serial: u64,
}

impl Sim {
    pub fn new() -> Self {
        Self {
            now: Instant::from_millis(1_000),
            hosts: Vec::new(),
            log: Vec::new(),
            loss: Box::new(|_, _| false),
            wire: BTreeMap::new(),
            serial: 0,
        }
    }

    /// Members with the default timers, all of `prefixes` joined, and everybody settled.
    pub fn members(count: usize, prefixes: &[&str]) -> Self {
        let mut sim = Self::new();
        for _ in 0..count {
            sim.add(Config::default());
        }
        for host in 0..count {
            for prefix in prefixes {
                sim.join(host, prefix);
            }
        }
        sim.run(Duration::from_secs(3));
        sim
    }

    /// Adds a host, its link up; its number comes back.
    pub fn add(&mut self, config: Config) -> usize {
        let host = self.hosts.len();
        let number = u8::try_from(host + 1).unwrap();
        let state = LinkState {
            mac: [2, 0x15, 0x46, 0, 0, number],
            ipv4: Some([10, 15, 46, number].into()),
            ipv6: Some(format!("fd15:46::{number:x}").parse().unwrap()),
            mtu: 1500,
        };
        let config = Config {
            name: format!("host {number}"),
            ..config
        };
        let node = Node::new(config, [number; 32], 1_795_176_000_000 + u64::from(number));
        self.hosts.push(Host {
            node,
            state,
            events: Vec::new(),
            frozen: false,
        });
        self.link(host, Some(state));
        host
    }

    /// Gives the host's link this state.
    pub fn link(&mut self, host: usize, state: Option<LinkState>) {
        self.hosts[host].node.handle_link(self.now, LINK, state);
        self.drain(host);
    }

    pub fn join(&mut self, host: usize, prefix: &str) {
        self.join_as(host, prefix, JoinOptions::default());
    }

    pub fn join_as(&mut self, host: usize, prefix: &str, options: JoinOptions) {
        let prefix = prefix.parse().unwrap();
        self.hosts[host]
            .node
            .join(self.now, prefix, options)
            .unwrap();
        self.drain(host);
    }

    pub fn leave(&mut self, host: usize, prefix: &str) {
        self.hosts[host]
            .node
            .leave(self.now, prefix.parse().unwrap())
            .unwrap();
        self.drain(host);
    }

    /// Stops the host at once, for good or until [`Self::thaw`].
    pub fn freeze(&mut self, host: usize) {
        self.hosts[host].frozen = true;
    }

    /// The host goes on, and finds out how late it is.
    pub fn thaw(&mut self, host: usize) {
        self.hosts[host].frozen = false;
        self.hosts[host].node.handle_timeout(self.now);
        self.drain(host);
    }

    /// Puts a frame on the wire, as somebody who is no host of ours.
    pub fn inject(&mut self, frame: Vec<u8>) {
        self.send(None, frame);
    }

    /// A stock host asks the link for `target`.
    pub fn ask(&mut self, asker: u8, target: &str) {
        let mac = [2, 0, 0, 0, 0x0a, asker];
        let target: IpAddr = target.parse().unwrap();
        let source = match target {
            IpAddr::V4(_) => [10, 15, 46, 200].into(),
            IpAddr::V6(_) => "fd15:46::c8".parse().unwrap(),
        };
        self.inject(frame::request(mac, source, target).unwrap());
    }

    /// Lets `span` pass.
    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let arrival = self.wire.keys().next().map(|(at, _)| *at);
            let awake = self.hosts.iter().filter(|host| !host.frozen);
            let timer = awake.filter_map(|host| host.node.poll_timeout()).min();
            let Some(next) = arrival
                .into_iter()
                .chain(timer)
                .min()
                .filter(|at| *at <= end)
            else {
                break;
            };
            // A timer that was due in the past is due now; one that stays due would never end.
            self.now = self.now.max(next);
            if arrival.is_some_and(|at| at <= self.now) {
                let (_, sent) = self.wire.pop_first().unwrap();
                self.deliver(&sent);
            } else {
                for host in 0..self.hosts.len() {
                    self.wake(host);
                }
            }
        }
        self.now = end;
    }

    fn wake(&mut self, host: usize) {
        let (now, sleeper) = (self.now, &mut self.hosts[host]);
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if sleeper.frozen || !due(sleeper.node.poll_timeout()) {
            return;
        }
        sleeper.node.handle_timeout(now);
        assert!(!due(sleeper.node.poll_timeout()), "host {host} spins");
        self.drain(host);
    }

    /// What was sent since `since`.
    pub fn since(&self, since: Instant) -> impl Iterator<Item = &Sent> {
        self.log.iter().filter(move |sent| sent.at >= since)
    }

    /// Which host answered for `target` (not announced it), and when.
    pub fn answers(&self, since: Instant, target: &str) -> Vec<(Instant, usize)> {
        self.stated(since, target, false)
    }

    /// Which host announced `target` to all, and when.
    pub fn announcements(&self, since: Instant, target: &str) -> Vec<(Instant, usize)> {
        self.stated(since, target, true)
    }

    fn stated(&self, since: Instant, target: &str, announced: bool) -> Vec<(Instant, usize)> {
        let target: IpAddr = target.parse().unwrap();
        let hit = |sent: &&Sent| {
            sent.answer()
                .is_some_and(|a| a.target == target && a.announcement == announced)
        };
        self.since(since)
            .filter(hit)
            .filter_map(|sent| Some((sent.at, sent.from?)))
            .collect()
    }

    /// How often the host ignored something for this reason.
    pub fn ignored(&self, host: usize, reason: Reason) -> u64 {
        let counters = self.hosts[host].node.counters();
        counters.ignored.get(&reason).copied().unwrap_or(0)
    }

    /// The hosts, best rank first, as `host` sees them.
    pub fn ranks(&self, host: usize, target: &str) -> Vec<usize> {
        let (_, link) = self.hosts[host].node.links().next().unwrap();
        let mac_of = |mac: Mac| {
            self.hosts
                .iter()
                .position(|host| host.state.mac == mac)
                .unwrap()
        };
        let ranks = link.ranks(target.parse().unwrap());
        ranks
            .iter()
            .map(|candidate| mac_of(candidate.mac))
            .collect()
    }

    /// The events of a host, without their times.
    pub fn events(&self, host: usize) -> impl Iterator<Item = &Event> {
        self.hosts[host].events.iter().map(|(_, event)| event)
    }

    /// Everything a host knows, except its counters.
    pub fn state(&self, host: usize) -> String {
        format!("{:?}", self.hosts[host].node.links().collect::<Vec<_>>())
    }

    fn deliver(&mut self, sent: &Sent) {
        for host in 0..self.hosts.len() {
            let own = sent.from == Some(host);
            if own || self.hosts[host].frozen || (self.loss)(sent, host) {
                continue;
            }
            self.hosts[host]
                .node
                .handle_frame(self.now, LINK, &sent.frame, false);
            self.drain(host);
        }
    }

    fn drain(&mut self, host: usize) {
        let now = self.now;
        while let Some(transmit) = self.hosts[host].node.poll_transmit() {
            assert_eq!(transmit.link, LINK);
            self.send(Some(host), transmit.frame);
        }
        while let Some(event) = self.hosts[host].node.poll_event() {
            self.hosts[host].events.push((now, event));
        }
    }

    fn send(&mut self, from: Option<usize>, frame: Vec<u8>) {
        let sent = Sent {
            at: self.now,
            from,
            frame,
        };
        self.log.push(sent.clone());
        self.serial += 1;
        self.wire.insert((self.now + LATENCY, self.serial), sent);
    }
}
