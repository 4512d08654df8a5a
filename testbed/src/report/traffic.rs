//! Frames as transmissions: one that a host sent, and when which hosts got it.
//!
//! A capture sees the same frame at the sender's port and at each receiver's. What is got belongs to
//! the last transmission of the same before; a frame that is sent again unchanged (a question that is
//! repeated, a SYN) is a transmission of its own. *The same* is what a frame means, not its bytes: a
//! checksum that the sender left to its interface is there when the frame arrives.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use hamp::wire::Message;
use hamp::wire::frame::Mac;

use super::packet::What;
use crate::capture::{Captured, Stamp};

/// A frame on its way.
#[derive(Clone, Debug)]
pub struct Sent {
    /// When its sender's port carried it.
    pub at: Stamp,
    /// The host that sent it.
    pub from: String,
    /// The frame's destination.
    pub destination: Mac,
    /// Who got it, and when.
    pub to: Vec<(String, Stamp)>,
    /// What it is.
    pub what: What,
}

impl Sent {
    /// Whether it was meant for more than one host.
    pub fn is_group(&self) -> bool {
        self.destination[0] & 1 == 1
    }

    /// The address it says it has, if it is a claim of one.
    pub fn claims(&self) -> Option<IpAddr> {
        match self.what {
            What::Answer { target, .. } => Some(target),
            _ => None,
        }
    }

    /// Whether it is a hello.
    pub fn is_hello(&self) -> bool {
        matches!(&self.what, What::Message(Some(m)) if matches!(**m, Message::Hello { .. }))
    }

    /// Whether it is a report, or a change of one.
    pub fn is_report(&self) -> bool {
        matches!(&self.what, What::Message(Some(m)) if matches!(**m, Message::Statement { .. }))
    }
}

/// What the links of a round carried.
#[derive(Clone, Debug, Default)]
pub struct Traffic {
    /// Everything that matters to anycast, in the order it was sent.
    pub sent: Vec<Sent>,
    /// Names of hosts by link-layer address.
    pub hosts: BTreeMap<Mac, String>,
}

impl Traffic {
    /// Reads a capture.
    pub fn of(captured: &Captured) -> Self {
        let named = captured.links.iter();
        let hosts: BTreeMap<Mac, String> =
            named.map(|link| (link.mac, link.host.clone())).collect();
        let mut frames: Vec<_> = captured.frames.iter().collect();
        // A frame and its copy can carry the same time: the sender's comes first.
        frames.sort_by_key(|f| (f.at, !f.from_host));
        let mut sent: Vec<Sent> = Vec::new();
        let mut last: HashMap<Vec<u8>, usize> = HashMap::new();
        for frame in frames {
            let Some(link) = captured.links.get(frame.link) else {
                continue;
            };
            let what = What::of(&frame.bytes);
            if what == What::Other {
                continue;
            }
            let key = key(&frame.bytes, &what);
            if !frame.from_host {
                // A switch that does not know where a host is sends its frames to all, who drop them.
                let meant = frame.bytes.first_chunk().and_then(|mac| hosts.get(mac));
                let mine = meant.is_none_or(|host| *host == link.host);
                if let Some(index) = last.get(&key).filter(|_| mine) {
                    let to: &mut Vec<_> = &mut sent[*index].to;
                    if to.iter().all(|(host, _)| *host != link.host) {
                        to.push((link.host.clone(), frame.at));
                    }
                }
                continue;
            }
            last.insert(key, sent.len());
            sent.push(Sent {
                at: frame.at,
                from: link.host.clone(),
                destination: frame.bytes.first_chunk().copied().unwrap_or_default(),
                to: Vec::new(),
                what,
            });
        }
        Self { sent, hosts }
    }

    /// Name of the host with a link-layer address.
    pub fn host(&self, mac: Mac) -> Option<String> {
        self.hosts.get(&mac).cloned()
    }

    /// Transmissions of `[from, to)`.
    pub fn between(&self, from: Stamp, to: Stamp) -> &[Sent] {
        let begin = self.sent.partition_point(|s| s.at < from);
        let end = self.sent.partition_point(|s| s.at < to);
        self.sent.get(begin..end).unwrap_or_default()
    }

    /// Who had said last that an address is at it, from when to when: until another said so, or
    /// `end`.
    pub fn owners(
        &self,
        address: &dyn Fn(IpAddr) -> bool,
        end: Stamp,
    ) -> Vec<(&str, Stamp, Stamp)> {
        let mut owners: Vec<(&str, Stamp, Stamp)> = Vec::new();
        for claim in &self.sent {
            if !claim.claims().is_some_and(address) {
                continue;
            }
            match owners.last_mut() {
                Some((owner, ..)) if *owner == claim.from => {}
                last => {
                    if let Some((_, _, to)) = last {
                        *to = claim.at;
                    }
                    owners.push((&claim.from, claim.at, end));
                }
            }
        }
        owners
    }

    /// The spans in which hellos of a host were on the link, none of them `dead_ms` apart.
    pub fn alive(&self, host: &str, dead_ms: f64) -> Vec<(Stamp, Stamp)> {
        let mut spans: Vec<(Stamp, Stamp)> = Vec::new();
        let hellos = self.sent.iter().filter(|s| s.is_hello() && s.from == host);
        for hello in hellos {
            match spans.last_mut() {
                Some((_, to)) if hello.at.ms_since(*to) < dead_ms => *to = hello.at,
                _ => spans.push((hello.at, hello.at)),
            }
        }
        spans
    }
}

/// What makes two frames the same: a message's bytes, or both link-layer addresses and the meaning.
fn key(bytes: &[u8], what: &What) -> Vec<u8> {
    match what {
        What::Message(_) => bytes.into(),
        what => {
            let addresses = bytes.iter().take(12).copied();
            addresses.chain(format!("{what:?}").into_bytes()).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{Frame, Link};
    use hamp::wire::frame;

    fn captured(frames: &[(u64, usize, bool, &[u8])]) -> Captured {
        let link = |number: u8| Link {
            host: format!("h{number}"),
            interface: "eth0".into(),
            port: format!("h{number}"),
            mac: [2, 0, 0, 0, 0, number],
        };
        let frame = |(ms, link, from_host, bytes): &(u64, usize, bool, &[u8])| Frame {
            at: Stamp(ms * 1_000_000),
            link: *link,
            from_host: *from_host,
            length: bytes.len(),
            bytes: (*bytes).into(),
        };
        Captured {
            links: (0..3).map(link).collect(),
            frames: frames.iter().map(frame).collect(),
            lost: 0,
        }
    }

    #[test]
    fn copies_of_a_frame_are_one_transmission_and_a_repeat_is_another() {
        let question = frame::request(
            [2, 0, 0, 0, 0, 0],
            "10.0.0.1".parse().unwrap(),
            "198.18.0.1".parse().unwrap(),
        );
        let q = question.unwrap();
        // Each link's frames in order, and not those of all links.
        let traffic = Traffic::of(&captured(&[
            (1, 0, true, &q),
            (1001, 0, true, &q),
            (1, 1, false, &q),
            (1002, 1, false, &q),
            (3, 2, false, &q),
            (4, 2, true, &[0; 60]),
        ]));
        let to: Vec<Vec<&str>> = traffic
            .sent
            .iter()
            .map(|s| s.to.iter().map(|t| t.0.as_str()).collect())
            .collect();
        assert_eq!(to, [vec!["h1", "h2"], vec!["h1"]]);
        assert!(traffic.sent[0].is_group());
        assert_eq!(traffic.between(Stamp(2_000_000), Stamp(u64::MAX)).len(), 1);
    }

    fn syn() -> Vec<u8> {
        let mut bytes = Vec::new();
        etherparse::PacketBuilder::ethernet2([2, 0, 0, 0, 0, 0], [2, 0, 0, 0, 0, 1])
            .ipv4([10, 0, 0, 1], [198, 18, 0, 1], 64)
            .tcp(4000, 80, 1, 1)
            .syn()
            .write(&mut bytes, &[])
            .unwrap();
        bytes
    }

    #[test]
    fn a_frame_for_one_host_that_a_switch_gives_to_others_reaches_nobody() {
        let bytes = syn();
        let traffic = Traffic::of(&captured(&[(1, 0, true, &bytes), (2, 2, false, &bytes)]));
        assert!(traffic.sent[0].to.is_empty(), "{:?}", traffic.sent[0].to);
    }

    #[test]
    fn a_checksum_that_comes_later_makes_no_other_frame() {
        let bytes = syn();
        let mut without = bytes.clone();
        without[50..52].fill(0);
        let traffic = Traffic::of(&captured(&[(1, 0, true, &without), (2, 1, false, &bytes)]));
        assert_eq!(traffic.sent.len(), 1);
        assert_eq!(traffic.sent[0].to[0].0, "h1");
    }

    #[test]
    fn an_owner_is_one_until_another_claims_the_address() {
        let a: IpAddr = "198.18.0.1".parse().unwrap();
        let claim = |n| frame::announcement(a, [2, 0, 0, 0, 0, n], None).unwrap();
        let (one, two) = (claim(0), claim(1));
        let traffic = Traffic::of(&captured(&[
            (1, 0, true, &one),
            (5, 0, true, &one),
            (9, 1, true, &two),
        ]));
        let ms = |n: u64| Stamp(n * 1_000_000);
        assert_eq!(
            traffic.owners(&|of| of == a, ms(20)),
            [("h0", ms(1), ms(9)), ("h1", ms(9), ms(20))]
        );
    }
}
