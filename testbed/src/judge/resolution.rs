//! Who answered ARP and neighbour solicitations.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::capture::{Captured, Frame, Stamp};
use crate::report::{Check, Round};

/// A question less than this after the one before it is its retry (design: ranks answer by the
/// count of questions).
const RETRY_MS: f64 = 1500.0;

/// A question who has the anycast address, or an answer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolution {
    /// When it passed.
    pub at: Stamp,
    /// Index of the link.
    pub link: usize,
    /// The host that asks or is answered.
    pub host: [u8; 6],
    /// The anycast address asked for: ARP for IPv4, neighbour discovery for IPv6.
    pub target: IpAddr,
    /// For answers: sender's link-layer address, and the Override flag.
    pub answer: Option<([u8; 6], bool)>,
}

/// A question and how many answers it drew.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The question.
    pub question: Resolution,
    /// Its answers: after how many milliseconds, from whom, with Override or not.
    pub answers: Vec<(f64, [u8; 6], bool)>,
}

/// Questions for the anycast addresses with their answers, as seen on the links of those who ask.
///
/// An answer belongs to the last question of the same host for the same address before it. Answers
/// to a group or to everybody (announcements of a takeover) belong to none.
pub fn questions(captured: &Captured, anycast: &[IpAddr]) -> Vec<Asked> {
    let mut asked: Vec<Asked> = Vec::new();
    for frame in &captured.frames {
        let mac = captured.links[frame.link].mac;
        let Some(seen) = read(frame, mac, anycast) else {
            continue;
        };
        match seen.answer {
            None => asked.push(Asked {
                question: seen,
                answers: Vec::new(),
            }),
            Some((sender, overrides)) => {
                let same = |a: &&mut Asked| {
                    a.question.link == seen.link && a.question.target == seen.target
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
fn read(frame: &Frame, mac: [u8; 6], anycast: &[IpAddr]) -> Option<Resolution> {
    let bytes = &frame.bytes;
    let to = bytes.get(..6)?;
    let from: [u8; 6] = bytes.get(6..12)?.try_into().ok()?;
    let found = |target: IpAddr, answer| {
        let Frame { at, link, .. } = *frame;
        anycast.contains(&target).then_some(Resolution {
            at,
            link,
            host: mac,
            target,
            answer,
        })
    };
    match bytes.get(12..14)? {
        // ARP (RFC 826): operation, then sender and target.
        [0x08, 0x06] => {
            let operation = *bytes.get(21)?;
            let sender: [u8; 4] = bytes.get(28..32)?.try_into().ok()?;
            let target: [u8; 4] = bytes.get(38..42)?.try_into().ok()?;
            if frame.from_host && operation == 1 && sender != target {
                return found(target.into(), None);
            }
            let ours = !frame.from_host && operation == 2 && to == mac;
            // ARP has no Override flag: what overrides is an announcement to everybody.
            if ours {
                found(sender.into(), Some((from, false)))
            } else {
                None
            }
        }
        // Neighbour discovery (RFC 4861 §4.3, §4.4): ICMPv6 right after the IPv6 header.
        [0x86, 0xdd] if *bytes.get(20)? == 58 => {
            let kind = *bytes.get(54)?;
            let target: [u8; 16] = bytes.get(62..78)?.try_into().ok()?;
            if frame.from_host && kind == 135 {
                return found(target.into(), None);
            }
            let ours = !frame.from_host && kind == 136 && to == mac;
            if ours {
                found(target.into(), Some((from, bytes.get(58)? & 0x20 != 0)))
            } else {
                None
            }
        }
        _ => None,
    }
}

/// Answers to ARP and neighbour solicitations: `one-answer-each` outside the windows, and
/// `override-clear` always; `questions-asked` fails when there were fewer than `least` first questions
/// of a family that the round is about.
///
/// A first question draws one answer, that of the owner. The n-th of a series draws at least one
/// and at most n, since rank k answers from the k-th on.
pub fn resolution(round: &Round, least: u32) -> Vec<Check> {
    let (mut wrong, mut overriding) = (Vec::new(), Vec::new());
    let mut first: BTreeMap<u8, u32> = BTreeMap::new();
    for address in &round.anycast {
        first.insert(family(*address), 0);
    }
    let mut retries = 0u32;
    let mut series: BTreeMap<(usize, IpAddr), (Stamp, usize)> = BTreeMap::new();
    for Asked { question, answers } in questions(&round.captured, &round.anycast) {
        let host = &round.captured.links[question.link].host;
        let last = series
            .entry((question.link, question.target))
            .or_insert((Stamp(0), 0));
        let number = if question.at.ms_since(last.0) < RETRY_MS {
            last.1 + 1
        } else {
            1
        };
        *last = (question.at, number);
        let late = answers.iter().filter(|answer| answer.2);
        overriding.extend(late.map(|answer| format!("{host}: {:.1} ms", answer.0)));
        // A question right before an event may lose its answer to it.
        let end = question.at.plus(Duration::from_millis(50));
        let mut marks = round.marks.iter();
        let calm = marks.find(|mark| mark.settled <= question.at && end < mark.to);
        let Some(mark) = calm else { continue };
        if number == 1 {
            *first.entry(family(question.target)).or_default() += 1;
        } else {
            retries += 1;
        }
        if answers.is_empty() || answers.len() > number {
            let from: Vec<_> = answers.iter().map(|a| crate::lab::mac_text(a.1)).collect();
            let at = question.at.ms_since(mark.from);
            wrong.push(format!(
                "{host} {} {at:.0} ms into {:?}, question {number}: {} answers {}",
                question.target,
                mark.name,
                answers.len(),
                from.join(" ")
            ));
        }
    }
    let of = |family| first.get(&family).copied().unwrap_or_default();
    let seen = format!(
        "{} ARP, {} neighbour questions, {retries} retries",
        of(4),
        of(6)
    );
    let few: Vec<String> = first
        .iter()
        .filter(|(_, count)| **count < least)
        .map(|(family, count)| format!("{count} first questions over IPv{family}"))
        .collect();
    vec![
        Check::none("one-answer-each", &wrong, "questions").noted(seen),
        Check::none("override-clear", &overriding, "answers"),
        Check::none("questions-asked", &few, "failures"),
    ]
}

/// 4 or 6.
fn family(address: IpAddr) -> u8 {
    if address.is_ipv6() { 6 } else { 4 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::fixture::{ANYCAST, HOST, S1, S2, round};

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
            &round(vec![
                (true, arp(HOST, all, 1, own, a)),
                (false, arp(S1, HOST, 2, a, own)),
                (false, arp(S2, HOST, 2, a, own)),
                // To everybody: the announcement of a takeover.
                (false, arp(S2, all, 2, a, a)),
                // For another address.
                (false, arp(S2, HOST, 2, [10, 0, 0, 2], own)),
                (true, arp(HOST, all, 1, own, a)),
            ])
            .captured,
            &ANYCAST,
        );
        let counts: Vec<_> = asked.iter().map(|a| a.answers.len()).collect();
        assert_eq!(counts, [2, 0]);
        assert_eq!(asked[0].answers[1].1, S2);
    }

    #[test]
    fn override_is_seen() {
        let asked = questions(
            &round(vec![
                (true, solicitation(HOST)),
                (false, advertisement(S1, HOST, 0x40)),
                (false, advertisement(S2, HOST, 0x60)),
                (false, advertisement(S2, [0x33, 0x33, 0, 0, 0, 1], 0x20)),
            ])
            .captured,
            &ANYCAST,
        );
        let overrides: Vec<_> = asked[0].answers.iter().map(|a| a.2).collect();
        assert_eq!(overrides, [false, true]);
    }
}
