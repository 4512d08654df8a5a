//! The cases of TCP to an anycast address, against a whole host in user space: smoltcp's TCP with the
//! machine at its device, in virtual time.

#[allow(dead_code, reason = "each test file uses its part of the helpers")]
#[path = "wire_end/frames.rs"]
mod frames;
mod rebind;

use std::net::SocketAddr;
use std::time::Duration;

use frames::{HOST, Packet, TEST};
use hamp::node::{Config, LinkId};
use hamp::proto::rebind::{Flags, Segment};
use hamp::time::Instant;
use hamp::user::{End, Host, Interface, Route, TcpHandle, TcpState};
use hamp::wire::frame::{Frame, unicast_answer};
use rebind::{CASES, Names, Seen, World};

const LINK: LinkId = LinkId(2);
/// How long the host may take to say something.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it has to be silent: more than it delays an acknowledgement, less than a repetition.
const SILENCE: Duration = Duration::from_millis(500);

struct User {
    names: Names,
    now: Instant,
    host: Host,
    sockets: Vec<TcpHandle>,
    /// What was sent already and may come again.
    known: Vec<Segment>,
}

impl User {
    fn new(v6: bool) -> Self {
        let config = Config {
            client: true,
            ..Config::default()
        };
        let mut host = Host::new(config, [7; 32], 1, 1546);
        // The class too is behind the gateway: who its members are is no matter of these cases.
        let gateways = ["10.15.46.254", "fd15:46::fe"].map(|via| Some(via.parse().unwrap()));
        let route = |(to, via): (&str, _)| Route {
            to: to.parse().unwrap(),
            via,
            link: None,
            metric: 0,
        };
        let [ipv4, ipv6] = gateways;
        let routes = [
            ("0.0.0.0/0", ipv4),
            ("198.18.0.0/16", ipv4),
            ("::/0", ipv6),
            ("2001:2:0:1546::/112", ipv6),
        ];
        host.set_routes(routes.map(route).to_vec());
        let interface = Interface {
            mac: HOST,
            addresses: [
                "10.15.46.1/24",
                "fd15:46::1/64",
                "10.15.46.3/24",
                "fd15:46::1:0:1/64",
            ]
            .map(|a| a.parse().unwrap())
            .to_vec(),
            mtu: 1500,
        };
        let now = Instant::from_millis(1_000);
        host.handle_link(now, LINK, Some(interface));
        Self {
            names: Names::of(v6, 40_000),
            now,
            host,
            sockets: Vec::new(),
            known: Vec::new(),
        }
    }

    /// The next segment within `span` that was not seen before.
    fn next(&mut self, span: Duration, repeated: bool) -> Option<Segment> {
        let end = self.now + span;
        loop {
            while let Some(transmit) = self.host.poll_transmit() {
                if let Ok(Frame::Request(request)) = Frame::parse(&transmit.frame) {
                    let answer = unicast_answer(&request, TEST).unwrap();
                    self.host.handle_frame(self.now, LINK, &answer);
                } else if let Some(Packet::Tcp(segment)) = frames::parse(&transmit.frame) {
                    assert!(self.names.is_of(segment.source), "{segment:?}");
                    frames::check_mark(&transmit.frame, &segment);
                    let repeats = segment.length > 0
                        || segment.flags.as_byte() & Flags::SYN.and(Flags::FIN).as_byte() != 0;
                    let known = self.known.contains(&segment);
                    if repeats && !known {
                        self.known.push(segment);
                    }
                    if !known || repeated {
                        return Some(segment);
                    }
                }
            }
            let at = self.host.poll_timeout().filter(|at| *at <= end)?;
            self.now = self.now.max(at);
            self.host.handle_timeout(self.now);
        }
    }
}

impl World for User {
    fn names(&self) -> Names {
        self.names
    }

    fn connect_from(&mut self, local: SocketAddr, to: SocketAddr) -> usize {
        let socket = self.host.tcp_connect(self.now, Some(local), to);
        self.sockets.push(socket.unwrap());
        self.sockets.len() - 1
    }

    fn seen(&mut self, connection: usize) -> Seen {
        match self.host.tcp_state(self.sockets[connection]) {
            Some(TcpState::Connecting) => Seen::Connecting,
            Some(TcpState::Open) => Seen::Connected,
            Some(TcpState::Ended(End::Refused)) => Seen::Refused,
            Some(TcpState::Ended(End::Reset)) => Seen::Reset,
            other => panic!("{other:?}"),
        }
    }

    fn write(&mut self, connection: usize) {
        let sent = self.host.tcp_send(self.now, self.sockets[connection], b"x");
        assert_eq!(sent, 1);
    }

    fn readable(&mut self, connection: usize) -> usize {
        self.host.tcp_readable(self.sockets[connection])
    }

    fn close(&mut self, connection: usize, reset: bool) {
        let socket = self.sockets[connection];
        if reset {
            self.host.tcp_abort(self.now, socket);
        } else {
            self.host.tcp_close(self.now, socket);
        }
    }

    fn sent(&mut self, repeated: bool) -> Segment {
        self.next(PATIENCE, repeated).expect("a segment")
    }

    fn silent(&mut self) {
        assert_eq!(self.next(SILENCE, false), None);
    }

    fn deliver(&mut self, segment: Segment) {
        self.now += Duration::from_millis(1);
        self.host
            .handle_frame(self.now, LINK, &frames::segment(&segment));
    }

    // A host in a program lives and dies with its connections.
    fn restart(&mut self) {}
}

#[test]
fn the_host_passes_every_case() {
    for v6 in [false, true] {
        for (name, case) in CASES {
            println!("{name}, {}", if v6 { "IPv6" } else { "IPv4" });
            case(&mut User::new(v6));
        }
    }
}
