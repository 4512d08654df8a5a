//! Whole hosts in user space on segments where everybody hears every frame, in virtual time. A host
//! can also be a *server*: it answers its own number on UDP port 53 and TCP port 80.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its part of this module"
)]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hamp::node::{Config, Event, Heard, JoinOptions, LinkId};
use hamp::time::{Duration, Instant};
use hamp::user::{Datagram, Host, Interface, ListenHandle, Route, TcpHandle, TcpState, UdpHandle};

pub const LINK: LinkId = LinkId(2);
/// What a frame takes from host to host.
pub const LATENCY: Duration = Duration::from_micros(50);
pub const HELLO: Duration = Duration::from_millis(100);
/// Three hellos.
pub const DEAD: Duration = Duration::from_millis(300);
pub const V4: &str = "198.18.0.1";
pub const V6: &str = "2001:2:0:1546::1";
pub const BOTH: [&str; 2] = [V4, V6];

/// A host's place in the net.
pub struct Station {
    pub host: Host,
    pub number: u8,
    /// Its links, and the segment that each is on.
    links: Vec<(LinkId, u8)>,
    /// It neither hears nor acts.
    pub stopped: bool,
    server: Option<Server>,
}

struct Server {
    udp: UdpHandle,
    tcp: ListenHandle,
    open: Vec<TcpHandle>,
}

/// The segments and who is on them.
pub struct Net {
    pub now: Instant,
    pub stations: Vec<Station>,
    /// Every frame that was sent: when, by whom.
    pub sent: Vec<(Instant, usize, Vec<u8>)>,
    pub events: Vec<(Instant, usize, Event)>,
    /// Frames are read once for all who hear them.
    pub read_once: bool,
    flying: BTreeMap<(Instant, u64), (usize, LinkId, Vec<u8>)>,
    serial: u64,
}

pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub fn mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

/// The host's own address of `like`'s family.
pub fn unicast(number: u8, like: &str) -> IpAddr {
    if like.contains(':') {
        Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(10, 0, 0, number).into()
    }
}

pub fn interface(number: u8) -> Interface {
    Interface {
        mac: mac(number),
        addresses: vec![
            format!("10.0.0.{number}/24").parse().unwrap(),
            format!("fd00::{number:x}/64").parse().unwrap(),
        ],
        mtu: 1500,
    }
}

pub fn on_link(to: &str) -> Route {
    Route {
        to: to.parse().unwrap(),
        via: None,
        link: Some(LINK),
        metric: 0,
    }
}

impl Net {
    pub fn new() -> Self {
        Self {
            now: Instant::from_millis(1_000),
            stations: Vec::new(),
            sent: Vec::new(),
            events: Vec::new(),
            read_once: false,
            flying: BTreeMap::new(),
            serial: 0,
        }
    }

    /// Three members, which serve both test addresses, a client and a stock host that has the class
    /// on its link; settled.
    pub fn first_link() -> Self {
        Self::new().with_first_link()
    }

    pub fn with_first_link(mut self) -> Self {
        let net = &mut self;
        for number in 1..=3 {
            let member = net.add(number, false);
            net.serve(member);
        }
        net.add(100, true);
        let stock = net.add_host(200, Host::stock(200));
        let class = ["198.18.0.0/16", "2001:2:0:1546::/112"];
        net.stations[stock]
            .host
            .set_routes(class.map(on_link).to_vec());
        net.run_for(Duration::from_secs(3));
        self
    }

    pub fn add(&mut self, number: u8, client: bool) -> usize {
        let mut config = Config {
            name: format!("s{number}"),
            client,
            ..Config::default()
        };
        config.timing.hello = HELLO;
        let host = Host::new(config, [number; 32], 1_000, number.into());
        self.add_host(number, host)
    }

    pub fn add_host(&mut self, number: u8, host: Host) -> usize {
        self.stations.push(Station {
            host,
            number,
            links: Vec::new(),
            stopped: false,
            server: None,
        });
        let station = self.stations.len() - 1;
        self.attach(station, LINK, 0, interface(number));
        station
    }

    /// Puts a link of a host on a segment.
    pub fn attach(&mut self, station: usize, link: LinkId, segment: u8, interface: Interface) {
        self.stations[station]
            .links
            .retain(|(other, _)| *other != link);
        self.stations[station].links.push((link, segment));
        self.act(station, |host, now| {
            host.handle_link(now, link, Some(interface));
        });
    }

    /// The host becomes a member of both test addresses, and a server.
    pub fn serve(&mut self, station: usize) {
        self.act(station, |host, now| {
            for address in BOTH {
                let joined = host.join(now, ip(address).into(), JoinOptions::default());
                joined.unwrap();
            }
        });
        let host = &mut self.stations[station].host;
        let any = |port| SocketAddr::new(ip("::"), port);
        let udp = host.udp_bind(any(53)).unwrap();
        let tcp = host.tcp_listen(any(80)).unwrap();
        let open = Vec::new();
        self.stations[station].server = Some(Server { udp, tcp, open });
    }

    /// Something happens to a host, and what it sends goes out.
    pub fn act<R>(&mut self, station: usize, action: impl FnOnce(&mut Host, Instant) -> R) -> R {
        let result = action(&mut self.stations[station].host, self.now);
        self.drain(station);
        result
    }

    /// Hands a frame to a host, whatever its destination.
    pub fn deliver(&mut self, station: usize, frame: &[u8]) {
        self.act(station, |host, now| host.handle_frame(now, LINK, frame));
    }

    pub fn run_for(&mut self, span: Duration) {
        self.run_until(span, |_| false);
    }

    /// Runs until `done`, for `span` at most. Whether it is done.
    pub fn run_until(&mut self, span: Duration, done: impl Fn(&mut Self) -> bool) -> bool {
        let end = self.now + span;
        loop {
            if done(self) {
                return true;
            }
            let frame = self.flying.keys().next().map(|(at, _)| *at);
            let running = self.stations.iter().filter(|station| !station.stopped);
            let timer = running.filter_map(|s| s.host.poll_timeout()).min();
            let Some(next) = frame.into_iter().chain(timer).min().filter(|at| *at <= end) else {
                self.now = end;
                return false;
            };
            self.now = self.now.max(next);
            if frame == Some(next) {
                let (_, (station, link, frame)) = self.flying.pop_first().unwrap();
                if !self.stations[station].stopped {
                    let heard = self.read_once.then(|| Heard::read(&frame));
                    self.act(station, |host, now| match &heard {
                        Some(heard) => host.handle_heard(now, link, &frame, || heard),
                        None => host.handle_frame(now, link, &frame),
                    });
                }
                continue;
            }
            for station in 0..self.stations.len() {
                let due = self.stations[station].host.poll_timeout();
                if !self.stations[station].stopped && due.is_some_and(|at| at <= self.now) {
                    self.act(station, |host, now| host.handle_timeout(now));
                }
            }
        }
    }

    /// The one member that owns `address`.
    pub fn owner(&self, address: &str) -> usize {
        let owns = |station: &Station| {
            let link = station.host.node().links().next();
            let ranks = link.map(|(_, link)| link.ranks(ip(address)));
            ranks.is_some_and(|ranks| ranks.first().is_some_and(|first| first.own))
        };
        let stations = self.stations.iter().enumerate();
        let owners: Vec<_> = stations
            .filter(|(_, station)| !station.stopped && owns(station))
            .map(|(station, _)| station)
            .collect();
        assert_eq!(owners.len(), 1, "owners of {address}: {owners:?}");
        owners[0]
    }

    /// Asks the server at `address` by UDP. Its answer within `span`.
    pub fn ask(&mut self, station: usize, address: &str, span: Duration) -> Option<Datagram> {
        let any = SocketAddr::new(ip("::"), 0);
        let to = SocketAddr::new(ip(address), 53);
        let socket = self.stations[station].host.udp_bind(any).unwrap();
        self.act(station, |host, now| {
            host.udp_send(now, socket, None, to, b"who?").unwrap();
        });
        let end = self.now + span;
        loop {
            let answer = self.stations[station].host.udp_receive(socket);
            if answer.is_some() || self.now >= end {
                self.stations[station].host.udp_close(socket);
                return answer;
            }
            self.run_until(LATENCY, |_| false);
        }
    }

    pub fn connect(&mut self, station: usize, address: &str) -> TcpHandle {
        let to = SocketAddr::new(ip(address), 80);
        self.act(station, |host, now| {
            host.tcp_connect(now, None, to).unwrap()
        })
    }

    pub fn state(&self, station: usize, connection: TcpHandle) -> TcpState {
        self.stations[station].host.tcp_state(connection).unwrap()
    }

    /// Sends a request over a connection. Who answers within `span`.
    pub fn talk(&mut self, station: usize, connection: TcpHandle, span: Duration) -> Option<u8> {
        let open = |net: &mut Self| net.state(station, connection) != TcpState::Connecting;
        if !self.run_until(span, open) {
            return None;
        }
        self.act(station, |host, now| host.tcp_send(now, connection, b"who?"));
        let answered = |net: &mut Self| net.stations[station].host.tcp_readable(connection) > 0;
        self.run_until(span, answered);
        let answer = self.act(station, |host, now| host.tcp_receive(now, connection, 100));
        answer.first().copied()
    }

    fn drain(&mut self, station: usize) {
        self.run_server(station);
        while let Some(transmit) = self.stations[station].host.poll_transmit() {
            self.sent.push((self.now, station, transmit.frame.clone()));
            self.forward(station, transmit.link, &transmit.frame);
        }
        while let Some(event) = self.stations[station].host.poll_event() {
            self.events.push((self.now, station, event));
        }
    }

    fn forward(&mut self, from: usize, link: LinkId, frame: &[u8]) {
        let links = &self.stations[from].links;
        let segment = links.iter().find(|(own, _)| *own == link).unwrap().1;
        for (station, to) in self.stations.iter().enumerate() {
            for (link, _) in to.links.iter().filter(|(_, on)| *on == segment) {
                if station != from {
                    self.serial += 1;
                    let key = (self.now + LATENCY, self.serial);
                    self.flying.insert(key, (station, *link, frame.to_vec()));
                }
            }
        }
    }

    fn run_server(&mut self, station: usize) {
        let (now, station) = (self.now, &mut self.stations[station]);
        let (host, number) = (&mut station.host, station.number);
        let Some(server) = &mut station.server else {
            return;
        };
        while let Some(question) = host.udp_receive(server.udp) {
            let from = Some(question.to.ip());
            // There may be no way to whoever claims to ask.
            let _ = host.udp_send(now, server.udp, from, question.from, &[number]);
        }
        while let Some(connection) = host.tcp_accept(server.tcp) {
            server.open.push(connection);
        }
        server.open.retain(|connection| {
            if !host.tcp_receive(now, *connection, 1_000).is_empty() {
                host.tcp_send(now, *connection, &[number]);
            }
            let over = host.tcp_at_end(*connection);
            if over {
                host.tcp_close(now, *connection);
            }
            !over
        });
    }
}
