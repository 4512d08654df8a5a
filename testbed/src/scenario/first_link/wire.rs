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
