//! What a link carries that concerns anycast: ARP, neighbour discovery, and the UDP around our
//! own messages, as views over etherparse.
//!
//! [`Frame::parse`] makes the checks that RFC 826, RFC 4861 §7.1 and our specification ask for
//! before a frame may be used; what fails one is an [`Ignored`] with the reason. The functions
//! that build frames return whole Ethernet frames with their checksums.

mod build;
mod stray;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use build::{
    announcement, announcement_to, answer, message, probe, request, second_answer, unicast_answer,
};

pub use stray::{Stray, stray};

use etherparse::icmpv6::{Icmpv6PayloadSlice, NdpOptionSlice, NdpOptionsIterator};
use etherparse::{
    ArpEthIpv4Packet, ArpOperation, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice, UdpHeader,
};

use super::{GROUP_IPV4, GROUP_IPV6, HOP_LIMIT, PORT};

/// A link-layer address.
pub type Mac = [u8; 6];

/// A link-layer address as everybody writes it: pairs of digits between colons.
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The broadcast link-layer address.
pub const BROADCAST: Mac = [0xff; 6];

/// A frame that concerns anycast, its protocol's rules checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Somebody asks for the link-layer address of `target` (ARP request, neighbour
    /// solicitation).
    Request(Request),
    /// Somebody states the link-layer address of `target` (ARP reply, neighbour advertisement,
    /// gratuitous ARP).
    Answer(Answer),
    /// A message of ours.
    Message {
        /// The frame's source.
        mac: Mac,
        /// The datagram's source.
        source: IpAddr,
        /// Undecoded.
        payload: &'a [u8],
    },
}

/// An ARP request or a neighbour solicitation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The asker's link-layer address.
    pub mac: Mac,
    /// The asker's address, of the target's family; unspecified in a probe for duplicates.
    pub source: IpAddr,
    /// The address asked for.
    pub target: IpAddr,
    /// The frame's destination: a group, or one host in an unreachability probe.
    pub destination: Mac,
}

impl Request {
    /// Whether the request went to one host: it asks whether that one still lives.
    pub fn is_probe(&self) -> bool {
        !is_group(self.destination)
    }

    /// Whether the asker looks whether somebody has the address, since it wants it for itself: a
    /// probe for duplicates (RFC 5227 §2.1.1, RFC 4862 §5.4.2).
    pub fn is_for_duplicates(&self) -> bool {
        self.source.is_unspecified()
    }
}

/// An ARP reply, a gratuitous ARP or a neighbour advertisement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// The frame's source.
    pub mac: Mac,
    /// The address spoken of.
    pub target: IpAddr,
    /// The link-layer address stated for it; `None` when the advertisement has none.
    pub stated: Option<Mac>,
    /// Told to all: a gratuitous ARP or an unsolicited advertisement.
    pub announcement: bool,
    /// It replaces what is known: every ARP, and an advertisement with Override (RFC 4861 §4.4).
    pub overrides: bool,
}

/// Why a frame was not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ignored {
    /// Not ARP, neighbour discovery or UDP to our port and group.
    NotOurs,
    /// Lengths that do not fit, or an unexpected hardware or protocol type.
    Malformed,
    /// A wrong IPv4, UDP or ICMPv6 checksum.
    Checksum,
    /// TTL or hop limit below 255 (RFC 4861 §7.1, RFC 5082).
    HopLimit,
    /// The sender's link-layer address in the packet is not the frame's.
    ForeignMac,
    /// A fragment; our messages are never fragmented.
    Fragment,
}

type Parsed<T> = Result<T, Ignored>;

impl<'a> Frame<'a> {
    /// Reads an Ethernet frame.
    ///
    /// # Errors
    /// Why the frame may not be used.
    pub fn parse(bytes: &'a [u8]) -> Parsed<Self> {
        let packet = SlicedPacket::from_ethernet(bytes).map_err(|_| Ignored::Malformed)?;
        let (destination, mac) = match bytes.first_chunk::<12>() {
            Some([d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5]) => (
                [*d0, *d1, *d2, *d3, *d4, *d5],
                [*s0, *s1, *s2, *s3, *s4, *s5],
            ),
            None => return Err(Ignored::Malformed),
        };
        // Nobody speaks as a group (IEEE 802.3 §3.2.3); an answer to it would go to many.
        if is_group(mac) {
            return Err(Ignored::Malformed);
        }
        if !packet.link_exts.is_empty() {
            return Err(Ignored::NotOurs);
        }
        match (&packet.net, &packet.transport) {
            (Some(NetSlice::Arp(arp)), _) => {
                let arp = arp
                    .to_packet()
                    .try_eth_ipv4()
                    .map_err(|_| Ignored::Malformed)?;
                Self::from_arp(destination, mac, &arp)
            }
            (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) => {
                let header = ip.header();
                if header.hop_limit() != HOP_LIMIT {
                    return Err(Ignored::HopLimit);
                }
                if !icmp.is_checksum_valid(header.source(), header.destination()) {
                    return Err(Ignored::Checksum);
                }
                let payload = icmp.payload_slice().map_err(|_| Ignored::Malformed)?;
                let source = header.source_addr();
                Self::from_ndp(destination, mac, source, icmp.icmp_type(), &payload)
            }
            (
                Some(net @ (NetSlice::Ipv4(_) | NetSlice::Ipv6(_))),
                Some(TransportSlice::Udp(udp)),
            ) => Self::from_udp(mac, net, &udp.to_header(), udp.payload()),
            (Some(NetSlice::Ipv4(ip)), None) if ip.payload().fragmented => Err(Ignored::Fragment),
            (Some(NetSlice::Ipv6(ip)), None) if ip.payload().fragmented => Err(Ignored::Fragment),
            _ => Err(Ignored::NotOurs),
        }
    }

    fn from_arp(destination: Mac, mac: Mac, arp: &ArpEthIpv4Packet) -> Parsed<Self> {
        let sender = arp.sender_ipv4_addr();
        let target = arp.target_ipv4_addr();
        // RFC 1122 §3.2.1.3: a group or the broadcast address is never a source; nobody resolves
        // one either (§3.3.1).
        if [sender, target]
            .iter()
            .any(|ip| ip.is_multicast() || ip.is_broadcast())
        {
            return Err(Ignored::Malformed);
        }
        match arp.operation {
            // RFC 5227 §3: an announcement is a request whose sender and target are the same.
            //= docs/spec/link.md#answers
            //# A request or an answer whose stated link-layer address is not that of its frame MUST
            //# be ignored.
            ArpOperation::REQUEST if sender != target && arp.sender_mac != mac => {
                Err(Ignored::ForeignMac)
            }
            ArpOperation::REQUEST if sender != target => Ok(Self::Request(Request {
                mac,
                source: sender.into(),
                target: target.into(),
                destination,
            })),
            ArpOperation::REQUEST | ArpOperation::REPLY => Ok(Self::Answer(Answer {
                mac,
                target: sender.into(),
                stated: Some(arp.sender_mac),
                announcement: is_group(destination) || sender == target,
                overrides: true,
            })),
            _ => Err(Ignored::NotOurs),
        }
    }

    fn from_ndp(
        destination: Mac,
        mac: Mac,
        source: Ipv6Addr,
        kind: Icmpv6Type,
        payload: &Icmpv6PayloadSlice<'_>,
    ) -> Parsed<Self> {
        // RFC 4291 §2.7: a group is never a source.
        if source.is_multicast() {
            return Err(Ignored::Malformed);
        }
        let target_of = |target: Ipv6Addr| {
            // RFC 4861 §7.1.1, §7.1.2: the target is never a group.
            if target.is_multicast() {
                Err(Ignored::Malformed)
            } else {
                Ok(IpAddr::V6(target))
            }
        };
        match (kind, payload) {
            (_, Icmpv6PayloadSlice::NeighborSolicitation(ns)) => {
                let stated = link_layer_option(ns.options_iterator(), true)?;
                // §7.1.1: a solicitation from nobody states no source link-layer address.
                if source.is_unspecified() && stated.is_some() {
                    return Err(Ignored::Malformed);
                }
                //= docs/spec/link.md#answers
                //# A request or an answer whose stated link-layer address is not that of its frame
                //# MUST be ignored.
                if stated.is_some_and(|stated| stated != mac) {
                    return Err(Ignored::ForeignMac);
                }
                Ok(Self::Request(Request {
                    mac,
                    source: source.into(),
                    target: target_of(ns.target_address())?,
                    destination,
                }))
            }
            (
                Icmpv6Type::NeighborAdvertisement(flags),
                Icmpv6PayloadSlice::NeighborAdvertisement(na),
            ) => {
                // §7.1.2: an advertisement to a group is never a solicited one.
                if is_group(destination) && flags.solicited {
                    return Err(Ignored::Malformed);
                }
                Ok(Self::Answer(Answer {
                    mac,
                    target: target_of(na.target_address())?,
                    stated: link_layer_option(na.options_iterator(), false)?,
                    announcement: !flags.solicited,
                    overrides: flags.r#override,
                }))
            }
            _ => Err(Ignored::NotOurs),
        }
    }

    fn from_udp(mac: Mac, net: &NetSlice<'_>, udp: &UdpHeader, payload: &'a [u8]) -> Parsed<Self> {
        if udp.destination_port != PORT {
            return Err(Ignored::NotOurs);
        }
        let (source, hop_limit, to_group, checksum): (IpAddr, _, _, _) = match net {
            NetSlice::Ipv4(ip) => {
                let header = ip.header().to_header();
                if header.calc_header_checksum() != header.header_checksum {
                    return Err(Ignored::Checksum);
                }
                let source = header.source;
                let checksum = udp.calc_checksum_ipv4_raw(source, header.destination, payload);
                let group = header.destination == GROUP_IPV4.octets();
                (
                    Ipv4Addr::from(source).into(),
                    header.time_to_live,
                    group,
                    checksum,
                )
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                let (source, destination) = (header.source(), header.destination());
                let checksum = udp.calc_checksum_ipv6_raw(source, destination, payload);
                let group = destination == GROUP_IPV6.octets();
                (
                    header.source_addr().into(),
                    header.hop_limit(),
                    group,
                    checksum,
                )
            }
            NetSlice::Arp(_) => return Err(Ignored::NotOurs),
        };
        if !to_group {
            return Err(Ignored::NotOurs);
        }
        //= docs/spec/membership.md#transport
        //# A node MUST ignore a message whose TTL or hop limit is not 255.
        if hop_limit != HOP_LIMIT {
            return Err(Ignored::HopLimit);
        }
        //= docs/spec/membership.md#transport
        //# A node MUST ignore a message whose IP or UDP checksum is wrong, or that has no UDP checksum.
        if checksum != Ok(udp.checksum) {
            return Err(Ignored::Checksum);
        }
        Ok(Self::Message {
            mac,
            source,
            payload,
        })
    }
}

/// Whether `mac` names a group (multicast or broadcast).
pub fn is_group(mac: Mac) -> bool {
    mac[0] & 1 != 0
}

fn link_layer_option(options: NdpOptionsIterator<'_>, source: bool) -> Parsed<Option<Mac>> {
    let mut found = None;
    for option in options {
        // RFC 4861 §7.1: an option of length zero spoils the whole packet.
        let address = match option.map_err(|_| Ignored::Malformed)? {
            NdpOptionSlice::SourceLinkLayerAddress(option) if source => option.link_layer_address(),
            NdpOptionSlice::TargetLinkLayerAddress(option) if !source => {
                option.link_layer_address()
            }
            _ => continue,
        };
        found = Some(address.try_into().map_err(|_| Ignored::Malformed)?);
    }
    Ok(found)
}
