//! A whole host in user space, in virtual time.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use hamp::addr::Prefix;
use hamp::node::{Config, Event, JoinOptions, LinkId};
use hamp::proto::rebind::Segment;
use hamp::proto::rebind::member::Mode;
use hamp::time::Instant;
use hamp::user::{Host, Interface, Route};
use hamp::wire::frame::{Frame, unicast_answer};

use super::{Listens, Names, SERVICE, World, mark};
use crate::wire_end::Packet;
use crate::wire_end::frames::{HOST, TEST, parse, segment};

const LINK: LinkId = LinkId(2);
/// How long the host has to be silent: less than TCP takes to repeat anything.
const SILENCE: Duration = Duration::from_millis(500);
const START: Duration = Duration::from_secs(30);

pub(crate) struct User {
    names: Names,
    now: Instant,
    host: Host,
}

impl User {
    pub(crate) fn new(v6: bool) -> Self {
        Self {
            names: Names::of(v6),
            now: Instant::from_millis(1_000),
            host: Host::stock(1),
        }
    }

    /// Lets time pass, and hears the first segment.
    fn hear(&mut self, span: Duration) -> Option<Segment> {
        let end = self.now + span;
        loop {
            while let Some(transmit) = self.host.poll_transmit() {
                if let Ok(Frame::Request(request)) = Frame::parse(&transmit.frame) {
                    let answer = unicast_answer(&request, TEST).unwrap();
                    self.host.handle_frame(self.now, LINK, &answer);
                } else if let Some(Packet::Tcp(segment)) = parse(&transmit.frame) {
                    return Some(segment);
                }
            }
            let Some(at) = self.host.poll_timeout().filter(|at| *at <= end) else {
                self.now = end;
                return None;
            };
            self.now = self.now.max(at);
            self.host.handle_timeout(self.now);
        }
    }
}

impl World for User {
    fn names(&self) -> Names {
        self.names
    }

    fn serve(&mut self, tcp: Mode, listens: Listens) {
        let config = Config {
            tcp,
            ..Config::default()
        };
        self.host = Host::new(config, [7; 32], 1, 1546);
        let route = |via: &str, to: &str| Route {
            to: to.parse().unwrap(),
            via: Some(via.parse().unwrap()),
            link: None,
            metric: 0,
        };
        let routes = [
            route("10.15.46.254", "0.0.0.0/0"),
            route("fd15:46::fe", "::/0"),
        ];
        self.host.set_routes(routes.to_vec());
        let addresses = ["10.15.46.1/24", "fd15:46::1/64"];
        let interface = Interface {
            mac: HOST,
            addresses: addresses.map(|own| own.parse().unwrap()).to_vec(),
            mtu: 1500,
        };
        self.host.handle_link(self.now, LINK, Some(interface));
        let served = Prefix::from(self.names.anycast.ip());
        let options = JoinOptions::default();
        self.host.join(self.now, served, options).unwrap();
        let end = self.now + START;
        let leased = |host: &mut Host| {
            // All of them: what comes later is of the next wait.
            let events: Vec<_> = std::iter::from_fn(|| host.poll_event()).collect();
            events
                .iter()
                .any(|event| matches!(event, Event::Lease { .. }))
        };
        while !leased(&mut self.host) {
            assert!(self.now < end, "it serves");
            assert_eq!(self.hear(Duration::from_millis(10)), None);
        }
        let any = IpAddr::from(Ipv4Addr::UNSPECIFIED);
        let at = match listens {
            Listens::Everywhere => SocketAddr::new(any, SERVICE),
            Listens::AtAnycast => self.names.anycast,
            Listens::AtUnicast => self.names.unicast,
            Listens::Nowhere => return,
        };
        self.host.tcp_listen(at).unwrap();
    }

    fn send(&mut self, arrives: &Segment, marked: bool) -> Option<Segment> {
        let mut frame = segment(arrives);
        if marked {
            mark(&mut frame);
        }
        self.host.handle_frame(self.now, LINK, &frame);
        self.hear(SILENCE)
    }
}
