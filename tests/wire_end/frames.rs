//! The frames between a host and a test, as segments and back.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    IpHeaders, NetSlice, PacketBuilder, PacketBuilderStep, SlicedPacket, TransportSlice,
};
use hamp::proto::rebind::{Flags, REBINDS, Segment};

/// The host's end.
pub(crate) const HOST: [u8; 6] = [2, 0x15, 0x46, 0, 0, 1];
/// The test's end: the next hop to everywhere.
pub(crate) const TEST: [u8; 6] = [2, 0x15, 0x46, 0, 0, 2];

/// What the host sent.
#[derive(Debug)]
pub(crate) enum Packet {
    Tcp(Segment),
    /// A datagram to this port.
    Udp(u16),
}

/// A segment on its way to the host.
pub(crate) fn segment(segment: &Segment) -> Vec<u8> {
    let step = to_host(segment.source.ip(), segment.destination.ip());
    let (source, destination) = (segment.source.port(), segment.destination.port());
    let mut tcp = step.tcp(source, destination, segment.sequence, 65_535);
    let has = |flag: Flags| segment.flags.as_byte() & flag.as_byte() != 0;
    if has(Flags::SYN) {
        tcp = tcp.syn();
    }
    if has(Flags::FIN) {
        tcp = tcp.fin();
    }
    if has(Flags::RST) {
        tcp = tcp.rst();
    }
    if has(Flags::ACK) {
        tcp = tcp.ack(segment.acknowledgement);
    }
    let mut frame = Vec::new();
    tcp.write(&mut frame, &vec![b'x'; segment.length.into()])
        .unwrap();
    frame
}

pub(crate) fn to_host(source: IpAddr, destination: IpAddr) -> PacketBuilderStep<IpHeaders> {
    let ethernet = PacketBuilder::ethernet2(TEST, HOST);
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            ethernet.ipv4(source.octets(), destination.octets(), 64)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            ethernet.ipv6(source.octets(), destination.octets(), 64)
        }
        _ => panic!("{source} to {destination}"),
    }
}

/// Fails unless the mark of a client is on its SYN to an anycast address, and on nothing else.
pub(crate) fn check_mark(frame: &[u8], segment: &Segment) {
    let anycast = hamp::addr::Class::default().contains(segment.destination.ip());
    let asks = anycast && segment.flags == Flags::SYN;
    // Linux answers with a RST in the way that it was asked.
    if segment.flags.has(Flags::RST) {
        return;
    }
    let code_point = match frame[14] >> 4 {
        4 => frame[15] >> 2,
        _ => (frame[14] & 0x0f) << 2 | frame[15] >> 6,
    };
    //= docs/spec/tcp.md#the-client
    //= type=test
    //# A client MUST send its SYN to an anycast address with the code point 001011 (RFC 2474), by
    //# which a member tells that it may answer from its unicast address.
    assert_eq!(code_point, if asks { REBINDS } else { 0 }, "{segment:?}");
}

/// What a frame of the host carries, if that concerns a test.
pub(crate) fn parse(frame: &[u8]) -> Option<Packet> {
    let packet = SlicedPacket::from_ethernet(frame).ok()?;
    let [source, destination] = match packet.net? {
        NetSlice::Ipv4(ip) => [ip.header().source(), ip.header().destination()].map(IpAddr::from),
        NetSlice::Ipv6(ip) => [ip.header().source(), ip.header().destination()].map(IpAddr::from),
        NetSlice::Arp(_) => return None,
    };
    match packet.transport? {
        TransportSlice::Udp(udp) => Some(Packet::Udp(udp.destination_port())),
        TransportSlice::Tcp(tcp) => Some(Packet::Tcp(Segment {
            source: SocketAddr::new(source, tcp.source_port()),
            destination: SocketAddr::new(destination, tcp.destination_port()),
            flags: Flags::from_byte(tcp.slice()[13]),
            sequence: tcp.sequence_number(),
            acknowledgement: tcp.acknowledgment_number(),
            length: u16::try_from(tcp.payload().len()).ok()?,
        })),
        _ => None,
    }
}
