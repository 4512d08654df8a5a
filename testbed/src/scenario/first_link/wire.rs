//! What the captures say: answers to ARP and neighbour solicitations, and the segments of TCP.

use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use crate::capture::{Captured, Frame, Stamp};

/// A question who has the anycast address, or an answer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolution {
    /// When it passed.
    pub(super) at: Stamp,
    /// Index of the link.
    pub(super) link: usize,
    /// The host that asks or is answered.
    pub(super) host: [u8; 6],
    /// 4 for ARP, 6 for neighbour discovery.
    pub(super) family: u8,
    /// For answers: sender's link-layer address, and the Override flag.
    pub(super) answer: Option<([u8; 6], bool)>,
}

/// A question and how many answers it drew.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// The question.
    pub(super) question: Resolution,
    /// Its answers: after how many milliseconds, from whom, with Override or not.
    pub(super) answers: Vec<(f64, [u8; 6], bool)>,
}

/// Frames with something wrong, by rule.
#[derive(Clone, Debug, Default)]
pub(super) struct Segments {
    /// SYNs to the anycast address.
    pub(super) syns: usize,
    /// SYN-ACKs from a unicast address of a member.
    pub(super) unicast_syn_acks: usize,
    /// Everything else to or from the anycast address.
    pub(super) violations: Vec<String>,
}

/// Questions for the anycast addresses with their answers, as seen on the links of those who ask.
///
/// An answer belongs to the last question of the same host for the same address before it. Answers
/// to a group or to everybody (announcements of a takeover) belong to none.
pub(super) fn questions(captured: &Captured, anycast: [IpAddr; 2]) -> Vec<Asked> {
    let mut asked: Vec<Asked> = Vec::new();
    for frame in &captured.frames {
        let mac = captured.links[frame.link].mac;
        let Some(seen) = resolution(frame, mac, anycast) else {
            continue;
        };
        match seen.answer {
            None => asked.push(Asked {
                question: seen,
                answers: Vec::new(),
            }),
            Some((sender, overrides)) => {
                let same = |a: &&mut Asked| {
                    a.question.link == seen.link && a.question.family == seen.family
                };
                if let Some(to) = asked.iter_mut().rev().find(same) {
                    to.answers
                        .push((seen.at.ms_since(to.question.at), sender, overrides));
                }
            }
        }
    }
    asked
}

/// Reads a frame as a question of this link's host, or as an answer to it alone.
fn resolution(frame: &Frame, mac: [u8; 6], anycast: [IpAddr; 2]) -> Option<Resolution> {
    let bytes = &frame.bytes;
    let to = bytes.get(..6)?;
    let from: [u8; 6] = bytes.get(6..12)?.try_into().ok()?;
    let found = |family, answer| {
        let Frame { at, link, .. } = *frame;
        Some(Resolution {
            at,
            link,
            host: mac,
            family,
            answer,
        })
    };
    match bytes.get(12..14)? {
        // ARP (RFC 826): operation, then sender and target.
        [0x08, 0x06] => {
            let operation = *bytes.get(21)?;
            let sender: [u8; 4] = bytes.get(28..32)?.try_into().ok()?;
            let target: [u8; 4] = bytes.get(38..42)?.try_into().ok()?;
            if frame.from_host
                && operation == 1
                && IpAddr::from(target) == anycast[0]
                && sender != target
            {
                return found(4, None);
            }
            let ours = !frame.from_host && operation == 2 && to == mac;
            // ARP has no Override flag: what overrides is an announcement to everybody.
            if ours && IpAddr::from(sender) == anycast[0] {
                found(4, Some((from, false)))
            } else {
                None
            }
        }
        // Neighbour discovery (RFC 4861 §4.3, §4.4): ICMPv6 right after the IPv6 header.
        [0x86, 0xdd] if *bytes.get(20)? == 58 => {
            let kind = *bytes.get(54)?;
            let target: [u8; 16] = bytes.get(62..78)?.try_into().ok()?;
            if IpAddr::from(target) != anycast[1] {
                return None;
            }
            if frame.from_host && kind == 135 {
                return found(6, None);
            }
            let ours = !frame.from_host && kind == 136 && to == mac;
            if ours {
                found(6, Some((from, bytes.get(58)? & 0x20 != 0)))
            } else {
                None
            }
        }
        _ => None,
    }
}

/// Looks at every TCP segment once, where its sender's link carries it.
pub(super) fn segments(captured: &Captured, anycast: [IpAddr; 2], unicast: &[IpAddr]) -> Segments {
    let mut found = Segments::default();
    for frame in captured.frames.iter().filter(|f| f.from_host) {
        let Ok(packet) = LaxSlicedPacket::from_ethernet(&frame.bytes) else {
            continue;
        };
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
            continue;
        };
        let (source, destination): (IpAddr, IpAddr) = match &packet.net {
            Some(LaxNetSlice::Ipv4(ip)) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            Some(LaxNetSlice::Ipv6(ip)) => (
                ip.header().source_addr().into(),
                ip.header().destination_addr().into(),
            ),
            _ => continue,
        };
        if super::inject::by_hand(tcp.source_port()) {
            continue;
        }
        let bare_syn = tcp.syn() && !tcp.ack() && !tcp.rst() && !tcp.fin();
        if anycast.contains(&destination) && bare_syn {
            found.syns += 1;
        } else if anycast.contains(&destination) || anycast.contains(&source) {
            let flags = [
                (tcp.syn(), 'S'),
                (tcp.ack(), 'A'),
                (tcp.rst(), 'R'),
                (tcp.fin(), 'F'),
            ];
            let flags: String = flags.iter().filter(|f| f.0).map(|f| f.1).collect();
            found.violations.push(format!(
                "{source}:{} > {destination}:{} [{flags}]",
                tcp.source_port(),
                tcp.destination_port()
            ));
        } else if tcp.syn() && tcp.ack() && unicast.contains(&source) {
            found.unicast_syn_acks += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::Link;
    use etherparse::PacketBuilder;

    const ANYCAST: [IpAddr; 2] = [
        IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 0, 1)),
        IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 2, 0, 0x1546, 0, 0, 0, 1)),
    ];
    const HOST: [u8; 6] = [2, 0, 0, 0, 0, 9];
    const S1: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const S2: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn captured(frames: Vec<(bool, Vec<u8>)>) -> Captured {
        let link = Link {
            host: "client".into(),
            interface: "eth0".into(),
            port: "client".into(),
            mac: HOST,
        };
        let frames = (1..).zip(frames).map(|(ms, (from_host, bytes))| Frame {
            at: Stamp(ms * 1_000_000),
            link: 0,
            from_host,
            length: bytes.len(),
            bytes: bytes.into(),
        });
        Captured {
            links: vec![link],
            frames: frames.collect(),
            lost: 0,
        }
    }

    fn arp(from: [u8; 6], to: [u8; 6], operation: u8, sender: [u8; 4], target: [u8; 4]) -> Vec<u8> {
        let mut frame = [to, from].concat();
        frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, operation]);
        frame.extend(from);
        frame.extend(sender);
        frame.extend([0; 6]);
        frame.extend(target);
        frame
    }

    fn advertisement(from: [u8; 6], to: [u8; 6], flags: u8) -> Vec<u8> {
        let IpAddr::V6(target) = ANYCAST[1] else {
            unreachable!("the second is IPv6")
        };
        let mut body = vec![136, 0, 0, 0, flags, 0, 0, 0];
        body.extend(target.octets());
        let mut frame = [to, from].concat();
        frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 24, 58, 255]);
        frame.extend(target.octets());
        frame.extend([0xfe; 16]);
        frame.extend(body);
        frame
    }

    fn solicitation(from: [u8; 6]) -> Vec<u8> {
        let mut frame = advertisement(from, [0x33, 0x33, 0xff, 0, 0, 1], 0);
        frame[54] = 135;
        frame
    }

    #[test]
    fn answers_are_counted_and_announcements_are_not() {
        let (a, own) = ([198, 18, 0, 1], [10, 0, 0, 9]);
        let all = [0xff; 6];
        let asked = questions(
            &captured(vec![
                (true, arp(HOST, all, 1, own, a)),
                (false, arp(S1, HOST, 2, a, own)),
                (false, arp(S2, HOST, 2, a, own)),
                // To everybody: the announcement of a takeover.
                (false, arp(S2, all, 2, a, a)),
                // For another address.
                (false, arp(S2, HOST, 2, [10, 0, 0, 2], own)),
                (true, arp(HOST, all, 1, own, a)),
            ]),
            ANYCAST,
        );
        let counts: Vec<_> = asked.iter().map(|a| a.answers.len()).collect();
        assert_eq!(counts, [2, 0]);
        assert_eq!(asked[0].answers[1].1, S2);
    }

    #[test]
    fn override_is_seen() {
        let asked = questions(
            &captured(vec![
                (true, solicitation(HOST)),
                (false, advertisement(S1, HOST, 0x40)),
                (false, advertisement(S2, HOST, 0x60)),
                (false, advertisement(S2, [0x33, 0x33, 0, 0, 0, 1], 0x20)),
            ]),
            ANYCAST,
        );
        let overrides: Vec<_> = asked[0].answers.iter().map(|a| a.2).collect();
        assert_eq!(overrides, [false, true]);
    }

    #[test]
    fn only_a_syn_may_go_to_the_address_and_nothing_may_come_from_it() {
        let unicast = [10, 0, 0, 1];
        let tcp = |from: [u8; 4], to: [u8; 4], flags: &str| {
            let mut tcp = PacketBuilder::ethernet2(HOST, S1)
                .ipv4(from, to, 64)
                .tcp(1, 2, 3, 4);
            for flag in flags.chars() {
                tcp = match flag {
                    'S' => tcp.syn(),
                    'A' => tcp.ack(5),
                    'R' => tcp.rst(),
                    _ => tcp.fin(),
                };
            }
            let mut bytes = Vec::new();
            tcp.write(&mut bytes, &[]).expect("write to a Vec");
            (true, bytes)
        };
        let (a, client) = ([198, 18, 0, 1], [10, 0, 0, 9]);
        let good = vec![
            tcp(client, a, "S"),
            tcp(unicast, client, "SA"),
            tcp(client, unicast, "A"),
            tcp(client, unicast, "FA"),
        ];
        let seen = segments(&captured(good), ANYCAST, &[unicast.into()]);
        assert_eq!((seen.syns, seen.unicast_syn_acks), (1, 1));
        assert!(seen.violations.is_empty(), "{:?}", seen.violations);
        let bad = vec![
            tcp(a, client, "SA"),
            tcp(client, a, "A"),
            tcp(client, a, "SF"),
            tcp(client, a, "R"),
            tcp(a, client, "R"),
        ];
        let seen = segments(&captured(bad), ANYCAST, &[unicast.into()]);
        assert_eq!(seen.violations.len(), 5, "{:?}", seen.violations);
    }
}
