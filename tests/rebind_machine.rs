//! The cases of TCP to an anycast address, against the machine in virtual time.

mod rebind;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use hamp::addr::Class;
use hamp::proto::rebind::{Flags, Rebind, Segment, Verdict};
use hamp::time::Instant;
use rebind::{CASES, Names, Seen, World};

const ACK: Flags = Flags::ACK;

/// A host's TCP, as little of RFC 9293 as the cases ask for.
#[derive(Debug)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    seen: Seen,
    next: u32,
    expected: u32,
    readable: usize,
    closed: bool,
}

/// The machine between such a TCP and a case's network.
struct Virtual {
    names: Names,
    now: Instant,
    machine: Rebind,
    sockets: Vec<Socket>,
    out: VecDeque<Segment>,
}

impl Virtual {
    fn new(v6: bool) -> Self {
        Self {
            names: Names::of(v6, 40_000),
            now: Instant::ZERO,
            machine: Rebind::new(Class::default()),
            sockets: Vec::new(),
            out: VecDeque::new(),
        }
    }

    /// TCP sends; the machine says where to.
    fn transmit(&mut self, mut segment: Segment) {
        match self.machine.handle_outgoing(self.now, &segment) {
            Verdict::Pass => {}
            Verdict::Rewrite {
                source,
                destination,
            } => (segment.source, segment.destination) = (source, destination),
            verdict => panic!("{verdict:?} for {segment:?}"),
        }
        self.out.push_back(segment);
    }

    fn emit(&mut self, connection: usize, flags: Flags, length: u16) {
        let socket = &mut self.sockets[connection];
        let segment = Segment {
            source: socket.local,
            destination: socket.remote,
            flags,
            sequence: socket.next,
            acknowledgement: socket.expected,
            length,
        };
        let control = flags.as_byte() & Flags::SYN.and(Flags::FIN).as_byte() != 0;
        socket.next = socket
            .next
            .wrapping_add(u32::from(length) + u32::from(control));
        self.transmit(segment);
    }

    fn find(&self, segment: &Segment) -> Option<usize> {
        self.has(segment.destination, segment.source)
    }

    fn has(&self, local: SocketAddr, remote: SocketAddr) -> Option<usize> {
        let ends = (local, remote);
        let mut sockets = self.sockets.iter().enumerate();
        let found = sockets.find(|(_, s)| !s.closed && (s.local, s.remote) == ends);
        found.map(|(index, _)| index)
    }

    fn receive(&mut self, segment: &Segment) {
        let has = |flags: Flags| segment.flags.as_byte() & flags.as_byte() != 0;
        let Some(connection) = self.find(segment) else {
            if !has(Flags::RST) {
                self.transmit(Segment {
                    source: segment.destination,
                    destination: segment.source,
                    flags: Flags::RST,
                    sequence: segment.acknowledgement,
                    acknowledgement: 0,
                    length: 0,
                });
            }
            return;
        };
        let socket = &mut self.sockets[connection];
        let acknowledges = segment.acknowledgement == socket.next;
        match socket.seen {
            Seen::Connecting if has(Flags::RST) && acknowledges => {
                (socket.seen, socket.closed) = (Seen::Refused, true);
            }
            Seen::Connecting if has(Flags::SYN) && acknowledges => {
                socket.seen = Seen::Connected;
                socket.expected = segment.sequence.wrapping_add(1);
                self.emit(connection, ACK, 0);
            }
            Seen::Connected if has(Flags::RST) && segment.sequence == socket.expected => {
                (socket.seen, socket.closed) = (Seen::Reset, true);
            }
            Seen::Connected if segment.sequence == socket.expected => {
                socket.readable += usize::from(segment.length);
                let used = u32::from(segment.length) + u32::from(has(Flags::FIN));
                socket.expected = socket.expected.wrapping_add(used);
                if used > 0 {
                    self.emit(connection, ACK, 0);
                }
            }
            // Old, or nonsense: say where we are (RFC 9293 §3.10.7.4).
            Seen::Connected => self.emit(connection, ACK, 0),
            _ => {}
        }
    }
}

impl World for Virtual {
    fn names(&self) -> Names {
        self.names
    }

    fn connect_from(&mut self, local: SocketAddr, to: SocketAddr) -> usize {
        let connection = self.sockets.len();
        self.sockets.push(Socket {
            local,
            remote: to,
            seen: Seen::Connecting,
            // The first SYN takes the last number there is.
            next: u32::MAX.wrapping_add(u32::try_from(connection).unwrap() * 1_000_000),
            expected: 0,
            readable: 0,
            closed: false,
        });
        self.emit(connection, Flags::SYN, 0);
        connection
    }

    fn seen(&mut self, connection: usize) -> Seen {
        self.sockets[connection].seen
    }

    fn write(&mut self, connection: usize) {
        self.emit(connection, ACK, 1);
    }

    fn readable(&mut self, connection: usize) -> usize {
        self.sockets[connection].readable
    }

    fn close(&mut self, connection: usize, reset: bool) {
        let connected = self.sockets[connection].seen == Seen::Connected;
        if !reset {
            self.emit(connection, Flags::FIN.and(ACK), 0);
        } else if connected {
            self.emit(connection, Flags::RST.and(ACK), 0);
        }
        self.sockets[connection].closed = reset;
    }

    fn sent(&mut self, repeated: bool) -> Segment {
        if repeated {
            self.now += Duration::from_secs(1);
            self.machine.handle_timeout(self.now);
            for connection in 0..self.sockets.len() {
                let socket = &mut self.sockets[connection];
                if socket.seen == Seen::Connecting && !socket.closed {
                    socket.next = socket.next.wrapping_sub(1);
                    self.emit(connection, Flags::SYN, 0);
                }
            }
        }
        self.out.pop_front().expect("a segment")
    }

    fn silent(&mut self) {
        assert!(self.out.is_empty(), "{:?}", self.out);
    }

    fn deliver(&mut self, mut segment: Segment) {
        self.now += Duration::from_millis(1);
        let ends = self.machine.as_delivered(&segment);
        let before = ends.is_some_and(|(local, remote)| self.has(local, remote).is_some());
        let other = self.find(&segment).is_some() && !before;
        match self.machine.handle_incoming(self.now, &segment, other) {
            Verdict::Pass => {}
            Verdict::Rewrite {
                source,
                destination,
            } => (segment.source, segment.destination) = (source, destination),
            Verdict::Drop(_) => return,
        }
        self.receive(&segment);
    }

    // A machine in a program lives and dies with its connections.
    fn restart(&mut self) {}
}

#[test]
fn the_machine_passes_every_case() {
    for v6 in [false, true] {
        for (name, case) in CASES {
            println!("{name}, {}", if v6 { "IPv6" } else { "IPv4" });
            case(&mut Virtual::new(v6));
        }
    }
}
