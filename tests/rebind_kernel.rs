//! The cases of TCP to an anycast address, against the client's rules in a real kernel.
//!
//! The client is this namespace, with the kernel's TCP on `eth0`. The other end of that link is a
//! packet socket in the hands of the case.

#[allow(dead_code, reason = "each test file uses its part of the helpers")]
mod netns;
mod rebind;
#[allow(dead_code, reason = "each test file uses its part of the helpers")]
mod wire_end;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use hamp::addr::Class;
use hamp::linux::nft::Tables;
use hamp::proto::rebind::{Flags, Segment};
use netns::{in_namespace, sh};
use rebind::{CASES, Names, Seen, World};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use wire_end::{Packet, WireEnd};

/// A port that marks a point in the stream of frames.
const MARK: u16 = 9;

struct Kernel {
    names: Names,
    wire: WireEnd,
    tables: Option<Tables>,
    sockets: Vec<(Option<Socket>, SocketAddr, Seen)>,
    /// What was sent already and may come again.
    known: Vec<Segment>,
    marker: UdpSocket,
}

impl Kernel {
    fn new(v6: bool, port: u16) -> Self {
        let names = Names::of(v6, port);
        let wire = WireEnd::new();
        let marker = UdpSocket::bind((names.client.ip(), 0)).unwrap();
        let mut kernel = Self {
            names,
            wire,
            tables: None,
            sockets: Vec::new(),
            known: Vec::new(),
            marker,
        };
        kernel.restart();
        kernel
    }

    /// The next segment that was not seen before; none before the mark, if there is one.
    fn next(&mut self, until_mark: bool, repeated: bool) -> Option<Segment> {
        loop {
            match self.wire.receive() {
                // Connections of other cases may still be ending.
                Packet::Tcp(segment) if !self.names.is_of(segment.source) => {}
                Packet::Tcp(segment) => {
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
                Packet::Udp(MARK) if until_mark => return None,
                Packet::Udp(_) => {}
            }
        }
    }
}

impl World for Kernel {
    fn names(&self) -> Names {
        self.names
    }

    fn connect_from(&mut self, local: SocketAddr, to: SocketAddr) -> usize {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP));
        let socket = socket.unwrap();
        socket.set_reuse_address(true).unwrap();
        socket.set_tcp_nodelay(true).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.bind(&local.into()).unwrap();
        let begun = socket.connect(&SockAddr::from(to)).unwrap_err();
        assert_eq!(
            begun.raw_os_error(),
            Some(nix::libc::EINPROGRESS),
            "{begun}"
        );
        self.sockets.push((Some(socket), to, Seen::Connecting));
        self.sockets.len() - 1
    }

    fn seen(&mut self, connection: usize) -> Seen {
        let (socket, remote, seen) = &mut self.sockets[connection];
        let socket = socket.as_ref().unwrap();
        match socket.take_error().unwrap().map(|error| error.kind()) {
            Some(ErrorKind::ConnectionRefused) => *seen = Seen::Refused,
            Some(ErrorKind::ConnectionReset) => *seen = Seen::Reset,
            Some(other) => panic!("{other}"),
            None => {}
        }
        if *seen == Seen::Connecting
            && let Ok(peer) = socket.peer_addr()
        {
            assert_eq!(
                peer.as_socket(),
                Some(*remote),
                "what the program asked for"
            );
            *seen = Seen::Connected;
        }
        *seen
    }

    fn write(&mut self, connection: usize) {
        self.sockets[connection]
            .0
            .as_ref()
            .unwrap()
            .write_all(b"x")
            .unwrap();
    }

    fn readable(&mut self, connection: usize) -> usize {
        let socket = self.sockets[connection].0.as_ref().unwrap();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        socket.peek(&mut buffer).unwrap_or_default()
    }

    fn close(&mut self, connection: usize, reset: bool) {
        let socket = self.sockets[connection].0.take().unwrap();
        if reset {
            socket.set_linger(Some(Duration::ZERO)).unwrap();
        }
        // What was not read would turn the FIN into a RST.
        let _ = (&socket).read(&mut [0; 4096]);
    }

    fn sent(&mut self, repeated: bool) -> Segment {
        self.next(false, repeated).expect("a segment")
    }

    fn silent(&mut self) {
        let mut mark = self.names.one;
        mark.set_port(MARK);
        self.marker.send_to(b"mark", mark).unwrap();
        let segment = self.next(true, false);
        assert_eq!(segment, None);
    }

    fn deliver(&mut self, segment: Segment) {
        self.wire.send(&segment);
    }

    fn restart(&mut self) {
        // The daemon before this one is gone, with its nft.
        self.tables = None;
        let mut tables = Tables::start(Class::default(), &[]).unwrap();
        tables.load_client().unwrap();
        self.tables = Some(tables);
    }
}

fn every_case(test: &str, v6: bool) {
    if !in_namespace(test) {
        return;
    }
    wire_end::link();
    sh("ip address add 10.15.46.3/24 dev eth0");
    sh("ip address add fd15:46::1:0:1/64 dev eth0 nodad");
    for ((name, case), port) in CASES.iter().zip(40_000..) {
        println!("{name}");
        case(&mut Kernel::new(v6, port));
        hamp::linux::nft::clean().unwrap();
    }
}

#[test]
fn the_rules_pass_every_case_over_ipv4() {
    every_case("the_rules_pass_every_case_over_ipv4", false);
}

#[test]
fn the_rules_pass_every_case_over_ipv6() {
    every_case("the_rules_pass_every_case_over_ipv6", true);
}
