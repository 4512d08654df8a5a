//! One Ethernet segment in virtual time, with nodes on it and everything that is sent recorded.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its part of this module"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hamp::addr::Prefix;
use hamp::node::{Config, Event, JoinOptions, LinkId, LinkState, Node};
use hamp::proto::Reason;
use hamp::proto::random::Random;
use hamp::time::{Duration, Instant};
use hamp::wire::Message;
use hamp::wire::frame::{self, Frame, Mac};

/// The link's number on every host.
pub const LINK: LinkId = LinkId(2);
/// What a frame takes from host to host.
pub const LATENCY: Duration = Duration::from_micros(50);
/// The test addresses.
pub const V4: &str = "198.18.0.1";
pub const V6: &str = "2001:2:0:1546::1";

/// One host's place on the segment.
pub struct Host {
    pub node: Node,
    pub state: LinkState,
    /// Killed or frozen: it neither hears nor acts.
    pub stopped: bool,
    /// Frames that wait in a frozen host's socket.
    pub backlog: Vec<Vec<u8>>,
    /// The cable is in.
    pub plugged: bool,
}

/// A frame that was sent.
#[derive(Clone)]
pub struct Sent {
    pub at: Instant,
    pub host: usize,
    pub frame: Vec<u8>,
}

/// One segment.
pub struct Net {
    pub now: Instant,
    pub hosts: Vec<Host>,
    pub sent: Vec<Sent>,
    pub events: Vec<(Instant, usize, Event)>,
    /// A frame to a host is lost with this probability in percent.
    pub loss: u64,
    pub random: Random,
    flying: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    serial: u64,
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

impl Net {
    pub fn new(seed: u64) -> Self {
        Self {
            now: Instant::from_micros(1_000_000),
            hosts: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
            loss: 0,
            random: Random::new(seed),
            flying: BTreeMap::new(),
            serial: 0,
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
        let mut config = Config {
            name: format!("s{number}"),
            client,
            ..Config::default()
        };
        config.timing.hello = hello;
        let node = Node::new(config, [number; 32], 1_000 + self.now.as_millis());
        let state = host_state(number);
        let backlog = Vec::new();
        self.hosts.push(Host {
            node,
            state,
            stopped: false,
            backlog,
            plugged: true,
        });
        let host = self.hosts.len() - 1;
        self.hosts[host]
            .node
            .handle_link(self.now, LINK, Some(state));
        self.drain(host);
        host
    }

    pub fn join(&mut self, host: usize, prefix: &str) {
        let prefix = prefix
            .parse()
            .or_else(|_| prefix.parse::<IpAddr>().map(Prefix::from));
        self.hosts[host]
            .node
            .join(self.now, prefix.unwrap(), JoinOptions::default())
            .unwrap();
        self.drain(host);
    }

    pub fn leave(&mut self, host: usize, address: &str) {
        self.hosts[host]
            .node
            .leave(self.now, ip(address).into())
            .unwrap();
        self.drain(host);
    }

    pub fn set_link(&mut self, host: usize, up: bool) {
        self.hosts[host].plugged = up;
        let state = up.then_some(self.hosts[host].state);
        self.hosts[host].node.handle_link(self.now, LINK, state);
        self.drain(host);
    }

    /// The host wakes up and finds what its socket kept.
    pub fn thaw(&mut self, host: usize) {
        self.hosts[host].stopped = false;
        for frame in std::mem::take(&mut self.hosts[host].backlog) {
            self.hosts[host]
                .node
                .handle_frame(self.now, LINK, &frame, false);
            self.drain(host);
        }
        self.hosts[host].node.handle_timeout(self.now);
        self.drain(host);
    }

    /// Puts a frame on the link as if `from` had sent it; everybody it is meant for gets it.
    pub fn inject(&mut self, from: Option<usize>, bytes: &[u8]) {
        let Some(destination) = bytes.first_chunk::<6>() else {
            return;
        };
        for host in 0..self.hosts.len() {
            let meant = frame::is_group(*destination) || *destination == self.hosts[host].state.mac;
            if Some(host) == from || !self.hosts[host].plugged || !meant {
                continue;
            }
            if self.random.next_u64() % 100 < self.loss {
                continue;
            }
            self.serial += 1;
            self.flying
                .insert((self.now + LATENCY, self.serial), (host, bytes.to_vec()));
        }
    }

    /// A stock host asks for `target`.
    pub fn ask(&mut self, mac: Mac, target: &str) {
        let source = if target.contains(':') {
            "fd00::99"
        } else {
            "10.0.0.99"
        };
        let request = frame::request(mac, ip(source), ip(target)).unwrap();
        self.inject(None, &request);
    }

    /// The client's own kernel asks for `target`: the node sees it, and so does the link.
    pub fn kernel_asks(&mut self, host: usize, target: &str) {
        let state = self.hosts[host].state;
        let source: IpAddr = if target.contains(':') {
            state.ipv6.unwrap().into()
        } else {
            state.ipv4.unwrap().into()
        };
        let request = frame::request(state.mac, source, ip(target)).unwrap();
        self.hosts[host]
            .node
            .handle_frame(self.now, LINK, &request, true);
        self.inject(Some(host), &request);
        self.drain(host);
    }

    pub fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let frame = self.flying.keys().next().map(|(at, _)| *at);
            let running = self.hosts.iter().filter(|host| !host.stopped);
            let timer = running.filter_map(|host| host.node.poll_timeout()).min();
            let Some(next) = frame.into_iter().chain(timer).min().filter(|at| *at <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if frame == Some(next) {
                let (_, (host, bytes)) = self.flying.pop_first().unwrap();
                if self.hosts[host].stopped {
                    self.hosts[host].backlog.push(bytes);
                } else {
                    self.hosts[host]
                        .node
                        .handle_frame(self.now, LINK, &bytes, false);
                    self.drain(host);
                }
                continue;
            }
            for host in 0..self.hosts.len() {
                if !self.hosts[host].stopped {
                    self.hosts[host].node.handle_timeout(self.now);
                    self.drain(host);
                }
            }
        }
        self.now = end;
    }

    /// Whoever thinks it owns `address`, among the hosts that run and are plugged in.
    pub fn owners(&self, address: &str) -> Vec<usize> {
        let owns = |host: &Host| {
            let (_, link) = host.node.links().next().unwrap();
            link.ranks(ip(address))
                .first()
                .is_some_and(|first| first.own)
        };
        let acts = |host: &Host| !host.stopped && host.plugged && owns(host);
        (0..self.hosts.len())
            .filter(|host| acts(&self.hosts[*host]))
            .collect()
    }

    /// The one owner of `address`.
    pub fn owner(&self, address: &str) -> usize {
        let owners = self.owners(address);
        assert_eq!(owners.len(), 1, "owners of {address}: {owners:?}");
        owners[0]
    }

    /// Frames sent since `since`, parsed: who, and what.
    pub fn sent_since(&self, since: Instant) -> impl Iterator<Item = (&Sent, Frame<'_>)> {
        self.sent
            .iter()
            .filter(move |sent| sent.at >= since)
            .map(|sent| (sent, Frame::parse(&sent.frame).unwrap()))
    }

    /// Messages sent since `since`, decoded.
    pub fn messages_since(&self, since: Instant) -> Vec<(Instant, usize, Message)> {
        self.sent_since(since)
            .filter_map(|(sent, frame)| match frame {
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
        self.sent_since(since)
            .filter(|(_, frame)| {
                matches!(frame, Frame::Answer(answer)
                    if answer.target == ip(target) && answer.announcement == announcement)
            })
            .map(|(sent, _)| (sent.at, sent.host))
            .collect()
    }

    pub fn ignored(&self, host: usize, reason: Reason) -> u64 {
        self.hosts[host].node.counters().ignored_for(reason)
    }

    fn drain(&mut self, host: usize) {
        while let Some(transmit) = self.hosts[host].node.poll_transmit() {
            assert_eq!(transmit.link, LINK);
            self.sent.push(Sent {
                at: self.now,
                host,
                frame: transmit.frame.clone(),
            });
            if self.hosts[host].plugged {
                self.inject(Some(host), &transmit.frame);
            }
        }
        while let Some(event) = self.hosts[host].node.poll_event() {
            self.events.push((self.now, host, event));
        }
    }
}
