//! Our codec of frames beside another one: pnet's.
//!
//! Each frame is read by pnet into fields and written by pnet again, with pnet's checksums. What
//! comes out must be the frame, byte by byte: the golden ones, and generated ones of every kind that
//! we build. And pnet must see the fields that we were told to write.

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use hamp::wire::frame::{self, BROADCAST, Mac, Request};
use hamp::wire::{GROUP_IPV4, GROUP_IPV6, PORT};
use pnet_packet::arp::{ArpOperations, ArpPacket, MutableArpPacket};
use pnet_packet::ethernet::{EtherTypes, EthernetPacket, MutableEthernetPacket};
use pnet_packet::icmpv6::ndp::{
    MutableNeighborAdvertPacket, MutableNeighborSolicitPacket, NdpOptionTypes,
    NeighborAdvertPacket, NeighborSolicitPacket,
};
use pnet_packet::icmpv6::{self, Icmpv6Packet, Icmpv6Types};
use pnet_packet::ip::IpNextHeaderProtocols;
use pnet_packet::ipv4::{self, Ipv4Packet, MutableIpv4Packet};
use pnet_packet::ipv6::{Ipv6Packet, MutableIpv6Packet};
use pnet_packet::udp::{self, MutableUdpPacket, UdpPacket};
use pnet_packet::{FromPacket, Packet};
use proptest::prelude::*;
use support::golden;

/// The frame as pnet writes what pnet has read.
fn again(frame: &[u8]) -> Vec<u8> {
    let mut ethernet = EthernetPacket::new(frame).expect("Ethernet").from_packet();
    let payload = &ethernet.payload;
    ethernet.payload = match ethernet.ethertype {
        EtherTypes::Arp => arp_again(payload),
        EtherTypes::Ipv4 => ipv4_again(payload),
        EtherTypes::Ipv6 => ipv6_again(payload),
        other => panic!("{other} is nothing that we send"),
    };
    let mut out = vec![0; frame.len()];
    MutableEthernetPacket::new(&mut out)
        .expect("room")
        .populate(&ethernet);
    out
}

fn arp_again(bytes: &[u8]) -> Vec<u8> {
    let arp = ArpPacket::new(bytes).expect("ARP").from_packet();
    let mut out = vec![0; bytes.len()];
    MutableArpPacket::new(&mut out)
        .expect("room")
        .populate(&arp);
    out
}

fn ipv4_again(bytes: &[u8]) -> Vec<u8> {
    let mut ip = Ipv4Packet::new(bytes).expect("IPv4").from_packet();
    assert_eq!(ip.next_level_protocol, IpNextHeaderProtocols::Udp);
    let (from, to) = (ip.source, ip.destination);
    ip.payload = udp_again(&ip.payload, |udp| udp::ipv4_checksum(udp, &from, &to));
    let mut out = vec![0; bytes.len()];
    let mut packet = MutableIpv4Packet::new(&mut out).expect("room");
    packet.populate(&ip);
    packet.set_checksum(ipv4::checksum(&packet.to_immutable()));
    out
}

fn ipv6_again(bytes: &[u8]) -> Vec<u8> {
    let mut ip = Ipv6Packet::new(bytes).expect("IPv6").from_packet();
    let (from, to) = (ip.source, ip.destination);
    ip.payload = match ip.next_header {
        IpNextHeaderProtocols::Udp => {
            udp_again(&ip.payload, |udp| udp::ipv6_checksum(udp, &from, &to))
        }
        IpNextHeaderProtocols::Icmpv6 => discovery_again(&ip.payload, from, to),
        other => panic!("{other} is nothing that we send"),
    };
    let mut out = vec![0; bytes.len()];
    MutableIpv6Packet::new(&mut out)
        .expect("room")
        .populate(&ip);
    out
}

fn udp_again(bytes: &[u8], checksum: impl FnOnce(&UdpPacket<'_>) -> u16) -> Vec<u8> {
    let udp = UdpPacket::new(bytes).expect("UDP").from_packet();
    let mut out = vec![0; bytes.len()];
    let mut packet = MutableUdpPacket::new(&mut out).expect("room");
    packet.populate(&udp);
    // RFC 768: a checksum that comes out as zero is sent as all ones.
    let checksum = checksum(&packet.to_immutable());
    packet.set_checksum(if checksum == 0 { 0xffff } else { checksum });
    out
}

fn discovery_again(bytes: &[u8], from: Ipv6Addr, to: Ipv6Addr) -> Vec<u8> {
    let mut out = vec![0; bytes.len()];
    match Icmpv6Packet::new(bytes).expect("ICMPv6").get_icmpv6_type() {
        Icmpv6Types::NeighborSolicit => {
            let read = NeighborSolicitPacket::new(bytes).expect("solicitation");
            let mut packet = MutableNeighborSolicitPacket::new(&mut out).expect("room");
            packet.populate(&read.from_packet());
        }
        Icmpv6Types::NeighborAdvert => {
            let read = NeighborAdvertPacket::new(bytes).expect("advertisement");
            let mut packet = MutableNeighborAdvertPacket::new(&mut out).expect("room");
            packet.populate(&read.from_packet());
        }
        other => panic!("{other:?} is nothing that we send"),
    }
    let checksum = icmpv6::checksum(&Icmpv6Packet::new(&out).expect("room"), &from, &to);
    out[2..4].copy_from_slice(&checksum.to_be_bytes());
    out
}

/// Of ARP or neighbour discovery: request or not, sender's or stated link-layer address, target.
fn asked(bytes: &[u8]) -> (bool, Mac, IpAddr) {
    let ethernet = EthernetPacket::new(bytes).expect("Ethernet");
    if ethernet.get_ethertype() == EtherTypes::Arp {
        let arp = ArpPacket::new(ethernet.payload())
            .expect("ARP")
            .from_packet();
        let is_request = arp.operation == ArpOperations::Request;
        // Of a reply, the address that is answered for is the sender's.
        let target = if is_request {
            arp.target_proto_addr
        } else {
            arp.sender_proto_addr
        };
        return (is_request, arp.sender_hw_addr.octets(), target.into());
    }
    let ip = Ipv6Packet::new(ethernet.payload())
        .expect("IPv6")
        .from_packet();
    assert_eq!(ip.hop_limit, 255);
    let (wanted, options, target) = match Icmpv6Packet::new(&ip.payload)
        .expect("ICMPv6")
        .get_icmpv6_type()
    {
        Icmpv6Types::NeighborSolicit => {
            let read = NeighborSolicitPacket::new(&ip.payload)
                .expect("it")
                .from_packet();
            (NdpOptionTypes::SourceLLAddr, read.options, read.target_addr)
        }
        _ => {
            let read = NeighborAdvertPacket::new(&ip.payload)
                .expect("it")
                .from_packet();
            (NdpOptionTypes::TargetLLAddr, read.options, read.target_addr)
        }
    };
    assert_eq!(options.len(), 1);
    assert_eq!((options[0].option_type, options[0].length), (wanted, 1));
    let mac = options[0]
        .data
        .as_slice()
        .try_into()
        .expect("a link-layer address");
    (wanted == NdpOptionTypes::SourceLLAddr, mac, target.into())
}

#[test]
fn golden_frames_are_the_same_to_another_codec() {
    for (name, frame) in golden::all() {
        assert_eq!(again(&frame), frame, "{name}");
    }
}

fn mac() -> impl Strategy<Value = Mac> {
    // Nobody's address is a group.
    any::<Mac>().prop_map(|[first, rest @ ..]| {
        let [a, b, c, d, e] = rest;
        [first & 0xfe, a, b, c, d, e]
    })
}

/// Two addresses of one family.
fn addresses() -> impl Strategy<Value = (IpAddr, IpAddr)> {
    prop_oneof![
        any::<(Ipv4Addr, Ipv4Addr)>().prop_map(|(a, b)| (a.into(), b.into())),
        any::<(Ipv6Addr, Ipv6Addr)>().prop_map(|(a, b)| (a.into(), b.into())),
    ]
}

proptest! {
    #[test]
    fn requests_and_answers_are_the_same_to_another_codec(
        asker in mac(), answerer in mac(), (source, target) in addresses(), own: Ipv6Addr,
    ) {
        let request = frame::request(asker, source, target).unwrap();
        let probe = frame::probe(answerer, asker, source, target).unwrap();
        for frame in [&request, &probe] {
            prop_assert_eq!(&again(frame), frame);
            prop_assert_eq!(asked(frame), (true, asker, target));
        }
        let asked_for = Request { mac: asker, source, target, destination: BROADCAST };
        let answer = frame::answer(&asked_for, answerer, Some(own)).unwrap();
        let unicast = frame::unicast_answer(&asked_for, answerer).unwrap();
        for frame in [&answer, &unicast] {
            prop_assert_eq!(&again(frame), frame);
            prop_assert_eq!(asked(frame), (false, answerer, target));
        }
        let announcement = frame::announcement(target, answerer, Some(own)).unwrap();
        prop_assert_eq!(&again(&announcement), &announcement);
        prop_assert_eq!(asked(&announcement).1, answerer);
        prop_assert_eq!(asked(&announcement).2, target);
    }

    #[test]
    fn datagrams_are_the_same_to_another_codec(
        mac in mac(), (source, _) in addresses(), payload in prop::collection::vec(any::<u8>(), 0..1400),
    ) {
        let frame = frame::message(mac, source, &payload);
        prop_assert_eq!(&again(&frame), &frame);
        let ethernet = EthernetPacket::new(&frame).unwrap();
        let (to, datagram) = match source {
            IpAddr::V4(_) => {
                let ip = Ipv4Packet::new(ethernet.payload()).unwrap().from_packet();
                prop_assert_eq!((ip.ttl, IpAddr::from(ip.source)), (255, source));
                (IpAddr::from(ip.destination), ip.payload)
            }
            IpAddr::V6(_) => {
                let ip = Ipv6Packet::new(ethernet.payload()).unwrap().from_packet();
                prop_assert_eq!((ip.hop_limit, IpAddr::from(ip.source)), (255, source));
                (IpAddr::from(ip.destination), ip.payload)
            }
        };
        let group = if source.is_ipv4() { GROUP_IPV4.into() } else { GROUP_IPV6.into() };
        let udp = UdpPacket::new(&datagram).unwrap().from_packet();
        prop_assert_eq!((to, udp.destination, udp.payload), (group, PORT, payload));
    }
}
