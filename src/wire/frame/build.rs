//! Frames to send, whole and with their checksums.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::icmpv6::NeighborAdvertisementHeader;
use etherparse::{ArpEthIpv4Packet, ArpOperation, Icmpv6Type, PacketBuilder};

use super::{BROADCAST, Mac, Request, is_group};
use crate::addr::{ipv4_multicast_mac, ipv6_multicast_mac};
use crate::wire::{GROUP_IPV4, GROUP_IPV6, HOP_LIMIT, PORT};

/// All nodes of a link (RFC 4291 §2.7.1).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The answer of the host `mac`, whose own IPv6 address is `own`, to `request`: Override clear
/// (RFC 4861 §7.2.4: anycast). It goes to the asker, or to all nodes where that probes for the
/// address by neighbour discovery and has none yet (RFC 4862 §5.4.3).
pub fn answer(request: &Request, mac: Mac, own: Option<Ipv6Addr>) -> Option<Vec<u8>> {
    //= docs/spec/link.md#answers
    //# The Override flag of an answer MUST be clear (RFC 4861 §7.2.4).
    answer_with(request, mac, own, false)
}

/// The same answer again, to an asker that a stranger has answered too: with Override, so that it
/// replaces what the stranger has said.
pub fn second_answer(request: &Request, mac: Mac, own: Option<Ipv6Addr>) -> Option<Vec<u8>> {
    answer_with(request, mac, own, true)
}

fn answer_with(
    request: &Request,
    mac: Mac,
    own: Option<Ipv6Addr>,
    overrides: bool,
) -> Option<Vec<u8>> {
    match (request.target, request.source) {
        (IpAddr::V4(target), IpAddr::V4(source)) => Some(arp(
            ArpOperation::REPLY,
            request.mac,
            (mac, target),
            (request.mac, source),
        )),
        (IpAddr::V6(target), IpAddr::V6(source)) => {
            let (solicited, to) = asker(request.mac, source);
            let flags = NeighborAdvertisementHeader {
                router: false,
                solicited,
                r#override: overrides,
            };
            Some(advertisement(flags, to, (mac, own?), target))
        }
        _ => None,
    }
}

/// Where an advertisement for one who asks from `source` goes, and whether it is a solicited one.
fn asker(mac: Mac, source: Ipv6Addr) -> (bool, (Mac, Ipv6Addr)) {
    if source.is_unspecified() {
        (false, (ipv6_multicast_mac(ALL_NODES), ALL_NODES))
    } else {
        (true, (mac, source))
    }
}

/// The answer of the host `mac` to `request` for one of its unicast addresses: with Override, and
/// to all nodes when the asker has no address yet (RFC 4861 §7.2.4).
pub fn unicast_answer(request: &Request, mac: Mac) -> Option<Vec<u8>> {
    let (IpAddr::V6(target), IpAddr::V6(source)) = (request.target, request.source) else {
        return answer(request, mac, None);
    };
    let (solicited, to) = asker(request.mac, source);
    let flags = NeighborAdvertisementHeader {
        router: false,
        solicited,
        r#override: true,
    };
    Some(advertisement(flags, to, (mac, target), target))
}

/// Tells the whole link that `target` is at `mac` now: a gratuitous ARP request (RFC 5227 §3), or
/// an unsolicited advertisement with Override set.
///
/// Override is the one documented exception to RFC 4861 §7.2.7: a REACHABLE entry would keep the
/// dead member's address otherwise (§7.2.5).
pub fn announcement(target: IpAddr, mac: Mac, own: Option<Ipv6Addr>) -> Option<Vec<u8>> {
    announcement_to(BROADCAST, target, mac, own)
}

/// The same to one host, `to`, alone.
pub fn announcement_to(
    to: Mac,
    target: IpAddr,
    mac: Mac,
    own: Option<Ipv6Addr>,
) -> Option<Vec<u8>> {
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
            Some(advertisement(
                flags,
                (ipv6_multicast_mac(ALL_NODES), ALL_NODES),
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

/// The request of the host `mac`, `source` for `target`'s link-layer address, to all who may have it.
pub fn request(mac: Mac, source: IpAddr, target: IpAddr) -> Option<Vec<u8>> {
    match (source, target) {
        (IpAddr::V4(_), _) => request_to(BROADCAST, mac, source, target),
        (IpAddr::V6(_), IpAddr::V6(v6)) => {
            let group = crate::addr::solicited_node(v6);
            request_to(ipv6_multicast_mac(group), mac, source, target)
        }
        _ => None,
    }
}

/// The same to one host, `to`: whether it is still there (RFC 1122 §2.3.2.1, RFC 4861 §7.3.3).
pub fn probe(to: Mac, mac: Mac, source: IpAddr, target: IpAddr) -> Option<Vec<u8>> {
    request_to(to, mac, source, target)
}

fn request_to(to: Mac, mac: Mac, source: IpAddr, target: IpAddr) -> Option<Vec<u8>> {
    match (source, target) {
        (IpAddr::V4(source), IpAddr::V4(target)) => Some(arp(
            ArpOperation::REQUEST,
            to,
            (mac, source),
            ([0; 6], target),
        )),
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            let destination = if is_group(to) {
                crate::addr::solicited_node(target)
            } else {
                target
            };
            let mut body = target.octets().to_vec();
            body.extend([1, 1]);
            body.extend(mac);
            let step = PacketBuilder::ethernet2(mac, to);
            let step = step.ipv6(source.octets(), destination.octets(), HOP_LIMIT);
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
