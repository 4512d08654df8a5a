//! What a client's TCP to an anycast address must do, whoever does it: the machine in virtual
//! time, or the kernel's rules on a real link. One table of cases for all of them (R19, R20, R21).
//!
//! A case plays the network. It sees every segment that leaves the client and makes up every one
//! that arrives there, so it is the members, and the forgers, at once.

mod ends;
mod plain;

use std::net::{IpAddr, SocketAddr};

use hamp::proto::rebind::{Flags, PORTS, Segment};

use ends::{
    direct_connection, direct_later, equal_low_bits, same_port, same_port_at_once,
    same_port_other_address, same_port_same_member,
};
use plain::{anycast_source, plain as plain_connection, plain_first, plain_refused};

const SERVICE: u16 = 80;
/// Any member's initial sequence number.
const MEMBER_ISN: u32 = 5_000;

/// The addresses of a family, and the client's port.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Names {
    pub(crate) client: SocketAddr,
    /// The same port of another address; of IPv6 the last 32 bits are equal.
    pub(crate) client2: SocketAddr,
    pub(crate) anycast: SocketAddr,
    pub(crate) anycast2: SocketAddr,
    pub(crate) one: SocketAddr,
    pub(crate) two: SocketAddr,
}

impl Names {
    pub(crate) fn of(v6: bool, port: u16) -> Self {
        let at =
            |ipv4: &str, ipv6: &str| -> IpAddr { if v6 { ipv6 } else { ipv4 }.parse().unwrap() };
        let service = |ipv4, ipv6| SocketAddr::new(at(ipv4, ipv6), SERVICE);
        Self {
            client: SocketAddr::new(at("10.15.46.1", "fd15:46::1"), port),
            client2: SocketAddr::new(at("10.15.46.3", "fd15:46::1:0:1"), port),
            anycast: service("198.18.0.1", "2001:2:0:1546::1"),
            anycast2: service("198.18.0.2", "2001:2:0:1546::2"),
            one: service("192.0.2.1", "fd15:46:1::1"),
            two: service("192.0.2.2", "fd15:46:2::1"),
        }
    }
}

#[allow(dead_code, reason = "the machine has no wire")]
impl Names {
    /// Whether a segment with this source may be one of the case's.
    pub(crate) fn is_of(&self, source: SocketAddr) -> bool {
        let clients = [self.client, self.client2];
        clients.contains(&source)
            || PORTS.contains(&source.port()) && clients.map(|c| c.ip()).contains(&source.ip())
    }
}

/// What a program sees of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    Connecting,
    Connected,
    Refused,
    Reset,
}

/// A client and its link.
pub(crate) trait World {
    fn names(&self) -> Names;
    /// A program connects. Gives a number for the connection.
    fn connect_from(&mut self, local: SocketAddr, to: SocketAddr) -> usize;
    /// The same from the client's port.
    fn connect(&mut self, to: SocketAddr) -> usize {
        self.connect_from(self.names().client, to)
    }
    fn seen(&mut self, connection: usize) -> Seen;
    /// The program writes one byte.
    fn write(&mut self, connection: usize);
    /// Bytes that the program can read.
    fn readable(&mut self, connection: usize) -> usize;
    /// The program closes: with a FIN, or with a RST.
    fn close(&mut self, connection: usize, reset: bool);
    /// The next segment that leaves the client, waiting for it. A repetition only if asked for.
    fn sent(&mut self, repeated: bool) -> Segment;
    /// Fails if a segment that was not seen leaves the client, repetitions aside.
    fn silent(&mut self);
    /// A segment arrives.
    fn deliver(&mut self, segment: Segment);
    /// The daemon starts again.
    fn restart(&mut self);
}

pub(crate) type Case = (&'static str, fn(&mut dyn World));

pub(crate) const CASES: &[Case] = &[
    ("a request and a clean close", request),
    (
        "two members answer: the first wins, the other is reset",
        two_answers,
    ),
    (
        "a lost SYN-ACK, and the repeated SYN reaches another member",
        lost_syn_ack,
    ),
    ("a member repeats its SYN-ACK", repeated_syn_ack),
    (
        "a SYN-ACK with a wrong acknowledgement decides nothing",
        forged_syn_ack,
    ),
    (
        "an anycast address that was not asked decides nothing",
        anycast_source,
    ),
    (
        "the anycast address itself answers: a plain connection",
        plain_connection,
    ),
    ("a plain connection is the first that answers", plain_first),
    ("the anycast address itself refuses at once", plain_refused),
    ("a closed port refuses at once", refused),
    (
        "a reset with a wrong acknowledgement refuses nothing",
        forged_reset,
    ),
    ("a reset ends the connection", reset),
    ("the same port again, and another member", same_port),
    (
        "the same port again, and the same member",
        same_port_same_member,
    ),
    ("a direct connection keeps its segments", direct_connection),
    (
        "a direct connection that comes later breaks nothing",
        direct_later,
    ),
    (
        "two anycast addresses on the same ports, and one member",
        same_port_other_address,
    ),
    (
        "two SYNs from the same port to two anycast addresses",
        same_port_at_once,
    ),
    (
        "two addresses of the client with equal low bits",
        equal_low_bits,
    ),
    ("the last FIN is repeated", repeated_fin),
    ("the daemon starts again in a connection", restart_connected),
    ("the daemon starts again before the answer", restart_asked),
];

/// An answer to the SYN: `flags`, from `member`, and `off` from the right acknowledgement.
fn answer(syn: &Segment, member: SocketAddr, flags: Flags, off: u32) -> Segment {
    let syn_ack = flags == Flags::SYN.and(Flags::ACK);
    Segment {
        source: member,
        destination: syn.source,
        flags,
        sequence: if syn_ack { MEMBER_ISN } else { 0 },
        acknowledgement: syn.sequence.wrapping_add(1).wrapping_add(off),
        length: 0,
    }
}

fn syn_ack(syn: &Segment, member: SocketAddr) -> Segment {
    answer(syn, member, Flags::SYN.and(Flags::ACK), 0)
}

/// The member's next segment after `from` the client.
fn reply(from: &Segment, flags: Flags, length: u16) -> Segment {
    let fin = u32::from(from.flags.as_byte() & Flags::FIN.as_byte());
    Segment {
        source: from.destination,
        destination: from.source,
        flags,
        sequence: from.acknowledgement,
        acknowledgement: from.sequence.wrapping_add(u32::from(from.length) + fin),
        length,
    }
}

fn connect(world: &mut dyn World) -> (usize, Segment) {
    let to = world.names().anycast;
    let connection = world.connect(to);
    let syn = world.sent(false);
    assert_eq!(syn.flags, Flags::SYN);
    assert_eq!((syn.source, syn.destination), (world.names().client, to));
    assert_eq!(world.seen(connection), Seen::Connecting);
    (connection, syn)
}

/// The member's SYN-ACK arrives and is taken.
fn accept(world: &mut dyn World, connection: usize, syn: &Segment, member: SocketAddr) -> Segment {
    world.deliver(syn_ack(syn, member));
    let ack = world.sent(false);
    assert_eq!((ack.flags, ack.destination), (Flags::ACK, member));
    assert_eq!(ack.sequence, syn.sequence.wrapping_add(1));
    assert_eq!(ack.acknowledgement, MEMBER_ISN + 1);
    assert_eq!(world.seen(connection), Seen::Connected);
    ack
}

/// A byte each way, with that member alone. Gives the client's last segment.
fn talk(world: &mut dyn World, connection: usize, member: SocketAddr) -> Segment {
    world.write(connection);
    let data = world.sent(false);
    //= docs/spec/tcp.md#the-client
    //= type=test
    //# A client MUST send to an anycast address no segment but a SYN without ACK, and those of a
    //# plain connection.
    assert_eq!((data.length, data.destination), (1, member));
    let before = world.readable(connection);
    world.deliver(reply(&data, Flags::ACK, 1));
    let ack = world.sent(false);
    assert_eq!((ack.flags, ack.destination), (Flags::ACK, member));
    assert_eq!(world.readable(connection), before + 1);
    world.silent();
    ack
}

/// The answer to `segment` is a RST to its sender, and nothing else.
fn is_reset(world: &mut dyn World, segment: Segment) {
    world.deliver(segment);
    let rst = world.sent(false);
    //= docs/spec/tcp.md#the-client
    //= type=test
    //# A SYN-ACK from another member MUST be answered with a reset to that member.
    assert_eq!((rst.flags, rst.destination), (Flags::RST, segment.source));
    assert_eq!(rst.sequence, segment.acknowledgement);
}

fn request(world: &mut dyn World) {
    let (connection, syn) = connect(world);
    let member = world.names().one;
    accept(world, connection, &syn, member);
    talk(world, connection, member);
    close(world, connection, member);
}

/// Closes from both ends. Gives the member's FIN.
fn close(world: &mut dyn World, connection: usize, member: SocketAddr) -> Segment {
    world.close(connection, false);
    let fin = world.sent(false);
    assert_eq!(fin.destination, member);
    assert_eq!(fin.flags, Flags::FIN.and(Flags::ACK));
    let last = reply(&fin, Flags::FIN.and(Flags::ACK), 0);
    world.deliver(last);
    let ack = world.sent(false);
    assert_eq!((ack.flags, ack.destination), (Flags::ACK, member));
    world.silent();
    last
}

//= docs/spec/tcp.md#the-client
//= type=test
//# After that every segment of the connection MUST go to that address, and the connection MUST NOT
//# move again.
fn two_answers(world: &mut dyn World) {
    let (connection, syn) = connect(world);
    let Names { one, two, .. } = world.names();
    accept(world, connection, &syn, one);
    is_reset(world, syn_ack(&syn, two));
    talk(world, connection, one);
    is_reset(world, syn_ack(&syn, two));
    talk(world, connection, one);
}

fn lost_syn_ack(world: &mut dyn World) {
    let (connection, syn) = connect(world);
    let Names {
        one, two, anycast, ..
    } = world.names();
    let again = world.sent(true);
    //= docs/spec/tcp.md#the-client
    //= type=test
    //# A SYN that is sent again before a SYN-ACK has come MUST go to the anycast address again.
    assert_eq!((again.flags, again.destination), (Flags::SYN, anycast));
    assert_eq!(again.sequence, syn.sequence);
    accept(world, connection, &syn, two);
    is_reset(world, syn_ack(&syn, one));
    talk(world, connection, two);
}

fn repeated_syn_ack(world: &mut dyn World) {
    let (connection, syn) = connect(world);
    let one = world.names().one;
    accept(world, connection, &syn, one);
    world.deliver(syn_ack(&syn, one));
    let ack = world.sent(false);
    assert_eq!((ack.flags, ack.destination), (Flags::ACK, one));
    talk(world, connection, one);
}

fn forged_syn_ack(world: &mut dyn World) {
    let (connection, syn) = connect(world);
    let Names { one, two, .. } = world.names();
    //= docs/spec/tcp.md#the-client
    //= type=test
    //# A SYN-ACK with a wrong acknowledgement number MUST NOT decide anything.
    for (forger, off) in [(two, 1), (one, 1_000), (one, u32::MAX)] {
        is_reset(world, answer(&syn, forger, Flags::SYN.and(Flags::ACK), off));
        assert_eq!(world.seen(connection), Seen::Connecting);
    }
    accept(world, connection, &syn, one);
    talk(world, connection, one);
}

//= docs/spec/tcp.md#the-client
//= type=test
//# A reset that answers the SYN MUST refuse the connection at once, as it does between unicast
//# addresses.
fn refused(world: &mut dyn World) {
    let (connection, syn) = connect(world);
    world.deliver(answer(
        &syn,
        world.names().one,
        Flags::RST.and(Flags::ACK),
        0,
    ));
    assert_eq!(world.seen(connection), Seen::Refused);
    world.silent();
}

fn forged_reset(world: &mut dyn World) {
    let (connection, syn) = connect(world);
    let Names { one, two, .. } = world.names();
    world.deliver(answer(&syn, two, Flags::RST.and(Flags::ACK), 77));
    assert_eq!(world.seen(connection), Seen::Connecting);
    accept(world, connection, &syn, one);
    world.deliver(answer(&syn, two, Flags::RST.and(Flags::ACK), 0));
    assert_eq!(world.seen(connection), Seen::Connected, "a loser's reset");
    talk(world, connection, one);
}

fn reset(world: &mut dyn World) {
    let (connection, syn) = connect(world);
    let one = world.names().one;
    let ack = accept(world, connection, &syn, one);
    world.deliver(reply(&ack, Flags::RST.and(Flags::ACK), 0));
    assert_eq!(world.seen(connection), Seen::Reset);
    world.silent();
}

fn end_by_reset(world: &mut dyn World, connection: usize, member: SocketAddr) {
    world.close(connection, true);
    let rst = world.sent(false);
    assert_eq!(rst.destination, member);
    assert_eq!(
        rst.flags.as_byte() & Flags::RST.as_byte(),
        Flags::RST.as_byte()
    );
}

fn repeated_fin(world: &mut dyn World) {
    let (connection, syn) = connect(world);
    let one = world.names().one;
    accept(world, connection, &syn, one);
    let fin = close(world, connection, one);
    world.deliver(fin);
    let ack = world.sent(false);
    assert_eq!((ack.flags, ack.destination), (Flags::ACK, one));
}

//= docs/spec/tcp.md#the-client
//= type=test
//# When a client's daemon ends or crashes, established connections MUST go on.
fn restart_connected(world: &mut dyn World) {
    let (connection, syn) = connect(world);
    let Names { one, two, .. } = world.names();
    accept(world, connection, &syn, one);
    world.restart();
    talk(world, connection, one);
    is_reset(world, syn_ack(&syn, two));
    world.restart();
    close(world, connection, one);
}

fn restart_asked(world: &mut dyn World) {
    let (connection, syn) = connect(world);
    world.restart();
    let one = world.names().one;
    accept(world, connection, &syn, one);
    talk(world, connection, one);
}
