//! Members and clients on one switch: the simulator of the testbed, by numbers instead of names.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its part of this module"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hamp::addr::Prefix;
use hamp::node::{Event, JoinOptions, LinkId, LinkState, Node};
use hamp::proto::Reason;
use hamp::proto::random::Random;
use hamp::time::{Duration, Instant};
use hamp::wire::Message;
use hamp::wire::frame::{self, Frame, Mac};
use testbed::sim::{SWITCHING, Sim};
use testbed::topology::{End, Link};
use testbed::{Impairment, Topology};

/// The link's number on every host.
pub const LINK: LinkId = LinkId(2);
/// What a frame takes from host to host.
pub const LATENCY: Duration = SWITCHING;
/// The test addresses.
pub const V4: &str = "198.18.0.1";
pub const V6: &str = "2001:2:0:1546::1";

/// The hosts that there may be.
const NUMBERS: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 50, 51, 100];
/// A host without hamp, which says what others would not.
const STRANGER: &str = "stranger";

/// A frame that was sent.
pub struct Sent {
    pub at: Instant,
    pub host: usize,
    pub frame: Vec<u8>,
}

/// One switch. Hosts are numbered in the order they were added.
pub struct Net {
    pub sim: Sim,
    /// For what a test draws itself.
    pub random: Random,
    hosts: Vec<u8>,
    plugged: Vec<bool>,
    /// When cables were pulled, and whose.
    pub pulled: Vec<(Instant, usize)>,
    loss: Impairment,
}

pub fn host_state(number: u8) -> LinkState {
    LinkState {
        mac: [2, 0, 0, 0, 0, number],
        ipv4: Some(Ipv4Addr::new(10, 0, 0, number)),
        ipv6: Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into())),
        mtu: 1500,
    }
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn name(number: u8) -> String {
    format!("s{number}")
}

fn topology() -> Topology {
    let mut lan = Topology::new("lan").switch("sw").host(STRANGER);
    for number in NUMBERS {
        lan = lan.host(&name(number));
    }
    for (node, number) in std::iter::once(0xfe).chain(NUMBERS).enumerate() {
        let state = host_state(number);
        let (ipv4, ipv6) = (state.ipv4.unwrap(), state.ipv6.unwrap());
        let own = End {
            node: node + 1,
            interface: "eth0".into(),
            mac: state.mac,
            addresses: vec![
                format!("{ipv4}/24").parse().unwrap(),
                format!("{ipv6}/64").parse().unwrap(),
            ],
            sends: Impairment::default(),
        };
        let port = End {
            node: 0,
            interface: lan.nodes[node + 1].name.clone(),
            mac: [6, 0, 0, 0, 0, number],
            addresses: Vec::new(),
            sends: Impairment::default(),
        };
        lan.links.push(Link { ends: [own, port] });
    }
    lan
}

impl Net {
    /// A switch without anybody, off the start of time.
    pub fn new(seed: u64) -> Self {
        let mut sim = Sim::new(&topology(), seed).unwrap();
        sim.record();
        sim.run_for(Duration::from_secs(1));
        Self {
            sim,
            random: Random::new(seed),
            hosts: Vec::new(),
            plugged: Vec::new(),
            pulled: Vec::new(),
            loss: Impairment::default(),
        }
    }

    /// `members` hosts that serve both test addresses, then one client; settled.
    pub fn first_link(seed: u64, members: u8, hello: Duration) -> Self {
        let mut net = Self::new(seed);
        for number in 1..=members {
            let host = net.add(number, hello, false);
            net.join(host, V4);
            net.join(host, V6);
        }
        net.add(100, hello, true);
        net.run_for(Duration::from_secs(3));
        net
    }

    pub fn add(&mut self, number: u8, hello: Duration, client: bool) -> usize {
        let name = name(number);
        let hello = hello.as_millis();
        let text = format!("[node]\nhello_ms = {hello}\n[client]\nenabled = {client}\n");
        self.sim.configure(&name, &text).unwrap();
        self.sim
            .impair(&name, "eth0", self.loss, Impairment::default())
            .unwrap();
        self.sim.start(&name).unwrap();
        self.hosts.push(number);
        self.plugged.push(true);
        self.hosts.len() - 1
    }

    pub fn now(&self) -> Instant {
        self.sim.now()
    }

    /// How many hosts there are.
    pub fn count(&self) -> usize {
        self.hosts.len()
    }

    pub fn node(&self, host: usize) -> &Node {
        self.sim.node(&self.name(host)).unwrap().unwrap()
    }

    /// The host's only link.
    pub fn link(&self, host: usize) -> &hamp::node::Link {
        self.node(host).links().next().unwrap().1
    }

    /// Where the host is on the switch, as it was added.
    pub fn state(&self, host: usize) -> LinkState {
        host_state(self.hosts[host])
    }

    /// The host with this link-layer address.
    pub fn with_mac(&self, mac: Mac) -> usize {
        let mut all = self.hosts.iter();
        all.position(|number| host_state(*number).mac == mac)
            .unwrap()
    }

    /// Does something with a host's node, and what follows from it.
    pub fn act<T>(&mut self, host: usize, what: impl FnOnce(&mut Node, Instant) -> T) -> T {
        self.sim.act(&self.name(host), what).unwrap()
    }

    pub fn join(&mut self, host: usize, prefix: &str) {
        self.join_with(host, prefix, JoinOptions::default());
    }

    pub fn join_with(&mut self, host: usize, prefix: &str, options: JoinOptions) {
        let prefix = prefix
            .parse()
            .or_else(|_| prefix.parse::<IpAddr>().map(Prefix::from));
        self.act(host, |node, now| node.join(now, prefix.unwrap(), options))
            .unwrap();
    }

    pub fn leave(&mut self, host: usize, address: &str) {
        self.sim.leave(&self.name(host), address).unwrap();
    }

    /// Pulls the host's cable, or plugs it in.
    pub fn set_link(&mut self, host: usize, up: bool) {
        self.plugged[host] = up;
        if !up {
            self.pulled.push((self.now(), host));
        }
        self.sim.carrier(&self.name(host), "eth0", up).unwrap();
    }

    pub fn is_plugged(&self, host: usize) -> bool {
        self.plugged[host]
    }

    /// The host loses its IPv6 address.
    pub fn drop_ipv6(&mut self, host: usize) {
        let ipv4 = self.state(host).ipv4.unwrap();
        let left = [format!("{ipv4}/24").parse().unwrap()];
        self.sim.readdress(&self.name(host), "eth0", &left).unwrap();
    }

    /// The host neither hears nor acts; its socket keeps what comes.
    pub fn freeze(&mut self, host: usize) {
        self.sim.freeze(&self.name(host)).unwrap();
    }

    pub fn is_frozen(&self, host: usize) -> bool {
        !self.sim.acts(&self.name(host)).unwrap()
    }

    /// The host wakes up and finds what its socket kept.
    pub fn thaw(&mut self, host: usize) {
        self.sim.thaw(&self.name(host)).unwrap();
    }

    /// A frame to a host is lost with this probability in percent.
    pub fn set_loss(&mut self, percent: u32) {
        self.loss.loss = f64::from(percent) / 100.0;
        for number in &self.hosts {
            let name = name(*number);
            self.sim
                .impair(&name, "eth0", self.loss, Impairment::default())
                .unwrap();
        }
    }

    /// A stranger puts a frame on the link; everybody it is meant for gets it.
    pub fn inject(&mut self, bytes: &[u8]) {
        self.sim.send(STRANGER, "eth0", bytes.to_vec()).unwrap();
    }

    /// A stock host asks for `target`.
    pub fn ask(&mut self, mac: Mac, target: &str) {
        let source = if target.contains(':') {
            "fd00::99"
        } else {
            "10.0.0.99"
        };
        let request = frame::request(mac, ip(source), ip(target)).unwrap();
        self.inject(&request);
    }

    /// The client's own kernel asks for `target`: the node sees it, and so does the link.
    pub fn kernel_asks(&mut self, host: usize, target: &str) {
        let name = self.name(host);
        self.sim.resolve(&name, "eth0", ip(target)).unwrap();
    }

    pub fn run_for(&mut self, span: Duration) {
        self.sim.run_for(span);
    }

    /// Whoever thinks it owns `address`, among the hosts that run and are plugged in.
    pub fn owners(&self, address: &str) -> Vec<usize> {
        let owners = self.sim.owners(address).unwrap();
        let known = |host: &usize| owners.contains(&self.name(*host).as_str());
        (0..self.hosts.len()).filter(known).collect()
    }

    /// The one owner of `address`.
    pub fn owner(&self, address: &str) -> usize {
        let owners = self.owners(address);
        assert_eq!(owners.len(), 1, "owners of {address}: {owners:?}");
        owners[0]
    }

    /// What the hosts' nodes have said so far: when, who, what.
    pub fn events(&self) -> Vec<(Instant, usize, Event)> {
        let events = self.sim.events().iter();
        let named = events.map(|e| (e.at, self.named(self.sim.name(e.host)), e.event.clone()));
        named.collect()
    }

    /// Frames that hosts have sent so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.sent_since(Instant::ZERO)
    }

    /// Frames that hosts have sent since `since`.
    pub fn sent_since(&self, since: Instant) -> Vec<Sent> {
        let captured = self.sim.frames().unwrap();
        let by_hosts = captured
            .frames
            .iter()
            .filter(|frame| frame.from_host && captured.links[frame.link].host != STRANGER);
        let sent = by_hosts.map(|frame| Sent {
            at: Instant::from_micros(frame.at.0 / 1000),
            host: self.named(&captured.links[frame.link].host),
            frame: frame.bytes.to_vec(),
        });
        sent.filter(|sent| sent.at >= since).collect()
    }

    /// Messages sent since `since`, decoded.
    pub fn messages_since(&self, since: Instant) -> Vec<(Instant, usize, Message)> {
        let sent = self.sent_since(since).into_iter();
        sent.filter_map(|sent| match sent.parsed() {
            Frame::Message { payload, .. } => {
                Some((sent.at, sent.host, Message::decode(payload).unwrap()))
            }
            _ => None,
        })
        .collect()
    }

    /// Answers for `target` sent since `since`: announcements, or those to one asker.
    pub fn answers_since(
        &self,
        since: Instant,
        target: &str,
        announcement: bool,
    ) -> Vec<(Instant, usize)> {
        let sent = self.sent_since(since).into_iter();
        let answers = sent.filter(|sent| {
            matches!(sent.parsed(), Frame::Answer(answer)
                if answer.target == ip(target) && answer.announcement == announcement)
        });
        answers.map(|sent| (sent.at, sent.host)).collect()
    }

    pub fn ignored(&self, host: usize, reason: Reason) -> u64 {
        self.node(host).counters().ignored_for(reason)
    }

    fn name(&self, host: usize) -> String {
        name(self.hosts[host])
    }

    fn named(&self, wanted: &str) -> usize {
        let mut all = self.hosts.iter();
        all.position(|number| name(*number) == wanted).unwrap()
    }
}

impl Sent {
    pub fn parsed(&self) -> Frame<'_> {
        Frame::parse(&self.frame).unwrap()
    }
}
