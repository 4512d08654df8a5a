//! What a member must do with TCP to its anycast address, whoever does it: the machine, the kernel's
//! rules on a real link, or a host in user space. One table for all of them.

pub(crate) mod kernel;
pub(crate) mod machine;
pub(crate) mod user;

use std::net::{IpAddr, SocketAddr};

use hamp::proto::rebind::member::Mode;
use hamp::proto::rebind::{Flags, REBINDS, Segment};

pub(crate) const SERVICE: u16 = 80;
const SYN_ACK: Flags = Flags::SYN.and(Flags::ACK);

/// A client, a member's two addresses of one family, and another anycast address.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    pub(crate) client: SocketAddr,
    pub(crate) anycast: SocketAddr,
    pub(crate) unicast: SocketAddr,
    pub(crate) other_anycast: SocketAddr,
}

impl Names {
    pub(crate) fn of(v6: bool) -> Self {
        let at = |ipv4: &str, ipv6: &str, port| {
            let address: IpAddr = if v6 { ipv6 } else { ipv4 }.parse().unwrap();
            SocketAddr::new(address, port)
        };
        Self {
            client: at("192.0.2.9", "fd15:46:9::1", 40_000),
            anycast: at("198.18.0.1", "2001:2:0:1546::1", SERVICE),
            unicast: at("10.15.46.1", "fd15:46::1", SERVICE),
            other_anycast: at("198.18.0.2", "2001:2:0:1546::2", 40_000),
        }
    }
}

/// What the service is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listens {
    Everywhere,
    AtAnycast,
    AtUnicast,
    Nowhere,
}

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    Anycast,
    Unicast,
}

/// What a SYN is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Accepted(At),
    Refused(At),
}

/// A member, in the hands of a test that is everybody else.
pub(crate) trait World {
    fn names(&self) -> Names;
    /// Begins anew, so.
    fn serve(&mut self, mode: Mode, listens: Listens);
    /// A segment arrives; the first that answers it, `None` for silence.
    fn send(&mut self, segment: &Segment, marked: bool) -> Option<Segment>;
}

use Answer::{Accepted, Refused};
use At::{Anycast, Unicast};
use Listens::{AtAnycast, AtUnicast, Everywhere, Nowhere};

/// How TCP is taken, whether the SYN is marked, what listens: the answer.
pub(crate) const CASES: [(Mode, bool, Listens, Answer); 24] = [
    (Mode::Auto, true, Everywhere, Accepted(Unicast)),
    (Mode::Auto, true, AtAnycast, Accepted(Anycast)),
    (Mode::Auto, true, AtUnicast, Accepted(Unicast)),
    (Mode::Auto, true, Nowhere, Refused(Unicast)),
    (Mode::Auto, false, Everywhere, Accepted(Anycast)),
    (Mode::Auto, false, AtAnycast, Accepted(Anycast)),
    (Mode::Auto, false, AtUnicast, Refused(Anycast)),
    (Mode::Auto, false, Nowhere, Refused(Anycast)),
    (Mode::Rebind, true, Everywhere, Accepted(Unicast)),
    (Mode::Rebind, true, AtAnycast, Refused(Unicast)),
    (Mode::Rebind, true, AtUnicast, Accepted(Unicast)),
    (Mode::Rebind, true, Nowhere, Refused(Unicast)),
    (Mode::Rebind, false, Everywhere, Accepted(Unicast)),
    (Mode::Rebind, false, AtAnycast, Refused(Unicast)),
    (Mode::Rebind, false, AtUnicast, Accepted(Unicast)),
    (Mode::Rebind, false, Nowhere, Refused(Unicast)),
    (Mode::Plain, true, Everywhere, Accepted(Anycast)),
    (Mode::Plain, true, AtAnycast, Accepted(Anycast)),
    (Mode::Plain, true, AtUnicast, Refused(Anycast)),
    (Mode::Plain, true, Nowhere, Refused(Anycast)),
    (Mode::Plain, false, Everywhere, Accepted(Anycast)),
    (Mode::Plain, false, AtAnycast, Accepted(Anycast)),
    (Mode::Plain, false, AtUnicast, Refused(Anycast)),
    (Mode::Plain, false, Nowhere, Refused(Anycast)),
];

/// Runs every case in `world`.
pub(crate) fn every_case(world: &mut dyn World) {
    for case in CASES {
        println!("{case:?} {}", world.names().anycast);
        let (mode, marked, listens, answer) = case;
        world.serve(mode, listens);
        let syn = syn(world.names());
        let first = world.send(&syn, marked).expect("an answer");
        let (accepted, at) = match answer {
            Accepted(at) => (true, at),
            Refused(at) => (false, at),
        };
        let flags = if accepted {
            SYN_ACK
        } else {
            Flags::RST.and(Flags::ACK)
        };
        let source = match at {
            //= docs/spec/tcp.md#the-member
            //= type=test
            //# A member MUST treat a SYN that it rebinds as a SYN to its own unicast address, so that
            //# its SYN-ACK comes from U.
            Unicast => world.names().unicast,
            //= docs/spec/tcp.md#the-member
            //= type=test
            //# In mode auto a member MUST rebind a marked SYN and MUST serve any other one plain; a
            //# service that is bound to A itself MUST be served plain whatever the mark says.
            Anycast => world.names().anycast,
        };
        assert_eq!((first.flags, first.source), (flags, source));
        assert_eq!(first.acknowledgement, syn.sequence + 1);
        if accepted {
            // Its answer was lost: the same connection.
            let again = world.send(&syn, marked);
            if let Some(again) = again {
                assert_eq!((again.flags, again.source), (flags, source), "{again:?}");
            }
        }
        match answer {
            Accepted(Anycast) => talk(world, &first),
            // The half-open connection is over.
            Accepted(Unicast) => {
                let reset = Segment {
                    destination: source,
                    flags: Flags::RST,
                    sequence: 1_001,
                    ..syn
                };
                assert_eq!(world.send(&reset, false), None);
            }
            Refused(_) => {}
        }
        strangers(world);
    }
}

fn syn(names: Names) -> Segment {
    Segment {
        source: names.client,
        destination: names.anycast,
        flags: Flags::SYN,
        sequence: 1_000,
        acknowledgement: 0,
        length: 0,
    }
}

/// The client of a plain connection goes on, to A.
fn talk(world: &mut dyn World, syn_ack: &Segment) {
    let mut ack = Segment {
        flags: Flags::ACK,
        sequence: 1_001,
        acknowledgement: syn_ack.sequence.wrapping_add(1),
        ..syn(world.names())
    };
    assert_eq!(world.send(&ack, false), None);
    ack.length = 1;
    let taken = world.send(&ack, false).expect("an acknowledgement");
    assert_eq!((taken.flags, taken.source), (Flags::ACK, syn_ack.source));
    assert_eq!(taken.acknowledgement, 1_002);
    let reset = Segment {
        flags: Flags::RST,
        sequence: 1_002,
        length: 0,
        ..ack
    };
    assert_eq!(world.send(&reset, false), None);
}

/// Whoever has no connection meets silence.
fn strangers(world: &mut dyn World) {
    let names = world.names();
    let mut stranger = syn(names);
    stranger.source.set_port(41_000);
    stranger.acknowledgement = 77;
    for flags in [
        Flags::ACK,
        Flags::FIN.and(Flags::ACK),
        Flags::FIN,
        Flags::RST,
        Flags::RST.and(Flags::ACK),
        SYN_ACK,
        Flags::from_byte(0),
    ] {
        for length in [0, 5] {
            //= docs/spec/tcp.md#the-member
            //= type=test
            //# A member MUST answer no segment to A that belongs to no connection, but a SYN.
            //= docs/spec/tcp.md#the-member
            //= type=test
            //# In mode rebind a member MUST discard every TCP segment to A but a SYN without ACK.
            let stray = Segment {
                flags,
                length,
                ..stranger
            };
            assert_eq!(world.send(&stray, false), None, "{stray:?}");
        }
    }
    //= docs/spec/tcp.md#the-member
    //= type=test
    //# A member MUST discard a SYN from an anycast address, and MUST NOT answer a SYN-ACK that it
    //# has not asked for.
    for flags in [Flags::SYN, SYN_ACK] {
        for destination in [names.anycast, names.unicast] {
            let segment = Segment {
                source: names.other_anycast,
                destination,
                flags,
                ..stranger
            };
            assert_eq!(world.send(&segment, true), None, "{segment:?}");
        }
    }
}

/// Sets the mark in a frame, and the header's checksum with it (RFC 1624).
pub(crate) fn mark(frame: &mut [u8]) {
    if frame[14] >> 4 == 6 {
        frame[14] = 0x60 | REBINDS >> 2;
        frame[15] = REBINDS << 6;
        return;
    }
    frame[15] = REBINDS << 2;
    let sum = u32::from(!u16::from_be_bytes([frame[24], frame[25]])) + u32::from(frame[15]);
    let sum = !u16::try_from((sum & 0xffff) + (sum >> 16)).unwrap();
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
}
