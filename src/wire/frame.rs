//! What a link carries that concerns anycast: ARP, neighbour discovery, and the UDP around our
//! own messages, as views over etherparse.
//!
//! [`Frame::parse`] makes the checks that RFC 826, RFC 4861 §7.1 and our specification ask for
//! before a frame may be used; what fails one is an [`Ignored`] with the reason. The functions
//! that build frames return whole Ethernet frames with their checksums.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::icmpv6::{
    Icmpv6PayloadSlice, NdpOptionSlice, NdpOptionsIterator, NeighborAdvertisementHeader,
};
use etherparse::{
    ArpEthIpv4Packet, ArpOperation, Icmpv6Type, NetSlice, PacketBuilder, SlicedPacket,
    TransportSlice, UdpHeader,
};

use super::{GROUP_IPV4, GROUP_IPV6, HOP_LIMIT, PORT};
use crate::addr::{ipv4_multicast_mac, ipv6_multicast_mac};

/// A link-layer address.
pub type Mac = [u8; 6];

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
        //= docs/spec/link.md#answers
        //# A request or an answer whose stated link-layer address is not that of its frame MUST be
        //# ignored.
        if arp.sender_mac != mac {
            return Err(Ignored::ForeignMac);
        }
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

/// The answer of the host `mac`, whose own IPv6 address is `own`, to `request`: unicast, Override
/// clear (RFC 4861 §7.2.4: anycast).
pub fn answer(request: &Request, mac: Mac, own: Option<Ipv6Addr>) -> Option<Vec<u8>> {
    match (request.target, request.source) {
        (IpAddr::V4(target), IpAddr::V4(source)) => Some(arp(
            ArpOperation::REPLY,
            request.mac,
            (mac, target),
            (request.mac, source),
        )),
        (IpAddr::V6(target), IpAddr::V6(source)) => {
            let flags = NeighborAdvertisementHeader {
                router: false,
                solicited: true,
                //= docs/spec/link.md#answers
                //# The Override flag of an answer MUST be clear (RFC 4861 §7.2.4).
                r#override: false,
            };
            Some(advertisement(
                flags,
                (request.mac, source),
                (mac, own?),
                target,
            ))
        }
        _ => None,
    }
}

/// Tells the whole link that `target` is at `mac` now: a gratuitous ARP request (RFC 5227 §3), or
/// an unsolicited advertisement with Override set.
///
/// Override is the one documented exception to RFC 4861 §7.2.7: a REACHABLE entry would keep the
/// dead member's address otherwise (§7.2.5).
pub fn announcement(target: IpAddr, mac: Mac, own: Option<Ipv6Addr>) -> Option<Vec<u8>> {
    announcement_to(BROADCAST, target, mac, own)
}

fn announcement_to(to: Mac, target: IpAddr, mac: Mac, own: Option<Ipv6Addr>) -> Option<Vec<u8>> {
    match target {
        IpAddr::V4(target) => Some(arp(
            ArpOperation::REQUEST,
            to,
            (mac, target),
            ([0; 6], target),
        )),
        IpAddr::V6(target) => {
            let flags = NeighborAdvertisementHeader {
                router: false,
                solicited: false,
                r#override: true,
            };
            let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            Some(advertisement(
                flags,
                (ipv6_multicast_mac(all_nodes), all_nodes),
                (mac, own?),
                target,
            ))
        }
    }
}

/// A datagram to our group of the source's family, from `mac` and `source`.
pub fn message(mac: Mac, source: IpAddr, payload: &[u8]) -> Vec<u8> {
    match source {
        IpAddr::V4(source) => {
            let mut ip = etherparse::Ipv4Header {
                source: source.octets(),
                destination: GROUP_IPV4.octets(),
                //= docs/spec/membership.md#transport
                //# A node MUST send every message with a TTL or hop limit of 255.
                time_to_live: HOP_LIMIT,
                //= docs/spec/membership.md#transport
                //# A message MUST NOT be fragmented; records that do not fit one datagram are split
                //# over several.
                dont_fragment: true,
                ..Default::default()
            };
            // RFC 3376 §4: membership messages travel as internetwork control (0xc0).
            ip.dscp = etherparse::IpDscp::CS6;
            let step = PacketBuilder::ethernet2(mac, ipv4_multicast_mac(GROUP_IPV4));
            let step = step.ip(etherparse::IpHeaders::Ipv4(ip, Default::default()));
            build(payload.len(), |out| {
                step.udp(PORT, PORT).write(out, payload)
            })
        }
        IpAddr::V6(source) => {
            let step = PacketBuilder::ethernet2(mac, ipv6_multicast_mac(GROUP_IPV6));
            //= docs/spec/membership.md#transport
            //# A node MUST send every message with a TTL or hop limit of 255.
            let step = step.ipv6(source.octets(), GROUP_IPV6.octets(), HOP_LIMIT);
            build(payload.len(), |out| {
                step.udp(PORT, PORT).write(out, payload)
            })
        }
    }
}

/// A request for `target`'s link-layer address by a stock host, for tests and tools.
pub fn request(mac: Mac, source: IpAddr, target: IpAddr) -> Option<Vec<u8>> {
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => Some(arp(
            ArpOperation::REQUEST,
            BROADCAST,
            (mac, source),
            ([0; 6], target),
        )),
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let group = crate::addr::solicited_node(target);
            let mut body = target.octets().to_vec();
            body.extend([1, 1]);
            body.extend(mac);
            let step = PacketBuilder::ethernet2(mac, ipv6_multicast_mac(group));
            let step = step.ipv6(source.octets(), group.octets(), HOP_LIMIT);
            let step = step.icmpv6(Icmpv6Type::NeighborSolicitation);
            Some(build(body.len(), |out| step.write(out, &body)))
        }
        _ => None,
    }
}

fn arp(
    operation: ArpOperation,
    destination: Mac,
    (sender_mac, sender): (Mac, Ipv4Addr),
    (target_mac, target): (Mac, Ipv4Addr),
) -> Vec<u8> {
    let arp = ArpEthIpv4Packet {
        operation,
        sender_mac,
        sender_ipv4: sender.octets(),
        target_mac,
        target_ipv4: target.octets(),
    };
    let step = PacketBuilder::ethernet2(sender_mac, destination).arp(arp.into());
    build(0, |out| step.write(out))
}

fn advertisement(
    flags: NeighborAdvertisementHeader,
    (destination_mac, destination): (Mac, Ipv6Addr),
    (mac, own): (Mac, Ipv6Addr),
    target: Ipv6Addr,
) -> Vec<u8> {
    let mut body = target.octets().to_vec();
    // The target link-layer address option (§4.6.1), required in answers to multicast (§7.2.4).
    body.extend([2, 1]);
    body.extend(mac);
    let step = PacketBuilder::ethernet2(mac, destination_mac);
    let step = step.ipv6(own.octets(), destination.octets(), HOP_LIMIT);
    let step = step.icmpv6(Icmpv6Type::NeighborAdvertisement(flags));
    build(body.len(), |out| step.write(out, &body))
}

fn build<E>(payload: usize, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Vec<u8> {
    let mut out = Vec::with_capacity(62 + payload);
    // A payload too long for an IP packet is the one failure; an empty frame is then not sent.
    if write(&mut out).is_err() {
        out.clear();
    }
    out
}
