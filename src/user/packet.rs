//! An IP packet: what the host reads of it between the link and TCP/IP, and the addresses that it
//! changes on the way.

use core::net::{IpAddr, SocketAddr};

use smoltcp::wire::{IpProtocol, Ipv4Packet, Ipv6Packet, TcpPacket};

use crate::proto::rebind::{Flags, REBINDS, Segment};

/// A packet without options that matter here: an extension header is its protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Packet {
    bytes: Vec<u8>,
    /// Its sender.
    pub(super) source: IpAddr,
    /// Its receiver.
    pub(super) destination: IpAddr,
    /// What it carries.
    pub(super) protocol: IpProtocol,
    header: usize,
}

impl Packet {
    /// Reads a packet; what follows it in the frame (padding) is left out. `None`: lengths that do
    /// not fit, a wrong IPv4 header checksum, or a fragment, which this host does not put together.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        match bytes.first()? >> 4 {
            4 => {
                let packet = Ipv4Packet::new_checked(bytes).ok()?;
                let fragment = packet.more_frags() || packet.frag_offset() != 0;
                if fragment || !packet.verify_checksum() {
                    return None;
                }
                Some(Self {
                    source: packet.src_addr().into(),
                    destination: packet.dst_addr().into(),
                    protocol: packet.next_header(),
                    header: packet.header_len().into(),
                    bytes: bytes.get(..packet.total_len().into())?.to_vec(),
                })
            }
            6 => {
                let packet = Ipv6Packet::new_checked(bytes).ok()?;
                let protocol = packet.next_header();
                if protocol == IpProtocol::Ipv6Frag {
                    return None;
                }
                Some(Self {
                    source: packet.src_addr().into(),
                    destination: packet.dst_addr().into(),
                    protocol,
                    header: packet.header_len(),
                    bytes: bytes.get(..packet.total_len())?.to_vec(),
                })
            }
            _ => None,
        }
    }

    /// All of it.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Bytes in all.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What is behind its header.
    pub(super) fn payload(&self) -> &[u8] {
        self.bytes.get(self.header..).unwrap_or_default()
    }

    /// What TCP says in it; `None` for what is no TCP segment with a right checksum.
    pub(super) fn segment(&self) -> Option<Segment> {
        if self.protocol != IpProtocol::Tcp {
            return None;
        }
        let bytes = self.payload();
        let tcp = TcpPacket::new_checked(bytes).ok()?;
        if !tcp.verify_checksum(&self.source.into(), &self.destination.into()) {
            return None;
        }
        Some(Segment {
            source: SocketAddr::new(self.source, tcp.src_port()),
            destination: SocketAddr::new(self.destination, tcp.dst_port()),
            flags: Flags::from_byte(*bytes.get(13)?),
            sequence: sequence(tcp.seq_number()),
            acknowledgement: sequence(tcp.ack_number()),
            length: u16::try_from(tcp.payload().len()).ok()?,
        })
    }

    /// Gives a TCP segment other ends.
    pub(super) fn set_ends(&mut self, source: SocketAddr, destination: SocketAddr) {
        if let Some(bytes) = self.bytes.get_mut(self.header..) {
            let mut tcp = TcpPacket::new_unchecked(bytes);
            tcp.set_src_port(source.port());
            tcp.set_dst_port(destination.port());
        }
        self.source = source.ip();
        self.destination = destination.ip();
        self.rewrite();
    }

    /// Gives a TCP segment another receiver.
    pub(super) fn set_destination(&mut self, destination: IpAddr) {
        self.destination = destination;
        self.rewrite();
    }

    /// Marks a SYN to an anycast address: its sender can rebind. TCP's own two bits stay (RFC 3168).
    //= docs/spec/tcp.md#the-client
    //# A client MUST send its SYN to an anycast address with the code point 001011 (RFC 2474), by
    //# which a member tells that it may answer from its unicast address.
    pub(super) fn mark(&mut self) {
        match self.destination {
            IpAddr::V4(_) => {
                let mut packet = Ipv4Packet::new_unchecked(&mut self.bytes);
                packet.set_dscp(REBINDS);
                packet.fill_checksum();
            }
            IpAddr::V6(_) => {
                let mut packet = Ipv6Packet::new_unchecked(&mut self.bytes);
                let ecn = packet.traffic_class() & 0b11;
                packet.set_traffic_class(REBINDS << 2 | ecn);
            }
        }
    }

    /// Whether its sender says that it can rebind.
    pub(super) fn is_marked(&self) -> bool {
        let point = match self.destination {
            IpAddr::V4(_) => Ipv4Packet::new_unchecked(&self.bytes).dscp(),
            IpAddr::V6(_) => Ipv6Packet::new_unchecked(&self.bytes).traffic_class() >> 2,
        };
        point == REBINDS
    }

    /// One router further; `None` when its life ends here (RFC 1812 §5.3.1, RFC 8200 §3).
    pub(super) fn forwarded(mut self) -> Option<Self> {
        match self.destination {
            IpAddr::V4(_) => {
                let mut packet = Ipv4Packet::new_unchecked(&mut self.bytes);
                packet.set_hop_limit(packet.hop_limit().checked_sub(1).filter(|left| *left > 0)?);
                packet.fill_checksum();
            }
            IpAddr::V6(_) => {
                let mut packet = Ipv6Packet::new_unchecked(&mut self.bytes);
                packet.set_hop_limit(packet.hop_limit().checked_sub(1).filter(|left| *left > 0)?);
            }
        }
        Some(self)
    }

    /// Puts the addresses into the bytes. The checksums were right before (see
    /// [`Packet::segment`]), so they are made anew.
    fn rewrite(&mut self) {
        match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let mut packet = Ipv4Packet::new_unchecked(&mut self.bytes);
                packet.set_src_addr(source);
                packet.set_dst_addr(destination);
                packet.fill_checksum();
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let mut packet = Ipv6Packet::new_unchecked(&mut self.bytes);
                packet.set_src_addr(source);
                packet.set_dst_addr(destination);
            }
            // Both are of the packet's family: nobody replaces one by one of the other.
            _ => return,
        }
        if let Some(bytes) = self.bytes.get_mut(self.header..) {
            TcpPacket::new_unchecked(bytes)
                .fill_checksum(&self.source.into(), &self.destination.into());
        }
    }
}

/// smoltcp's sequence numbers are signed, so that they compare as RFC 9293 §3.4 says.
const fn sequence(number: smoltcp::wire::TcpSeqNumber) -> u32 {
    number.0.cast_unsigned()
}
