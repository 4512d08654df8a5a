//! Pins: where the unicast addresses of verified members and routers are, whoever says otherwise.
//!
//! What follows a SYN goes to a member's own address, and so does what a router forwards: an intruder
//! that takes over that address with ARP or neighbour discovery takes the connection. In enforce mode
//! a host therefore goes by what members state, signed, and not by what anybody answers.
//!
//! But a member, too, may state what is another's. Where its certificate does not name the address,
//! the host asks for it first, as everybody does: if somebody else answers, the address is contested,
//! and not used until nobody does any more. Later on only the member moves it, by another statement:
//! an intruder that answers for it then is told of, and changes nothing.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::view::{Peer, View};
use crate::time::{Duration, Instant};
use crate::wire::MemberId;
use crate::wire::frame::{Answer, Mac};

/// How long the answers to a question are waited for.
pub const ANSWER_TIME: Duration = Duration::from_millis(100);
/// Questions for an address at most. When nobody answers them, nobody else has it.
pub const MAX_ASKED: u8 = 3;
/// Another answer that comes so long after the last question is one to it.
pub const LATE: Duration = Duration::from_secs(3);
/// A contested address is asked for again after so long.
pub const CONTESTED_TIME: Duration = Duration::from_secs(5);
/// A pin is confirmed this often (see [`super::resolver::CONFIRM_INTERVAL`]).
pub const CONFIRM_INTERVAL: Duration = Duration::from_secs(5);
/// Pins of a link: a kernel has room for 1,024 neighbours, and others need some of it.
pub const MAX_PINS: usize = 256;
/// Questions at the same moment.
const AT_ONCE: usize = 32;

/// Whether an address is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It has to be asked for first.
    New,
    /// It was asked for so often, and until then others may answer.
    Asked {
        /// Questions so far.
        times: u8,
        /// When the next step is due.
        until: Instant,
        /// Its member has answered.
        answered: bool,
    },
    /// It is its member's.
    Proved {
        /// Until then another answer may belong to the last question.
        late: Instant,
    },
    /// Somebody else answered for it.
    Contested {
        /// When to ask again.
        again: Instant,
    },
}

/// A unicast address of a verified member or router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin {
    /// Whose it is.
    pub member: MemberId,
    /// Where that is.
    pub mac: Mac,
    /// Serves something: where this host is a router, its route leads there.
    pub serves: bool,
    /// Whether it is used.
    pub state: State,
    confirm_at: Instant,
}

impl Pin {
    /// Whether the address is used.
    pub const fn is_proved(&self) -> bool {
        matches!(self.state, State::Proved { .. })
    }
}

/// Somebody answers for an address that a verified member states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contest {
    /// The member.
    pub member: MemberId,
    /// Its address.
    pub address: IpAddr,
    /// Who answers.
    pub mac: Mac,
}

/// What has become of the addresses since somebody looked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct News {
    /// Who has other addresses that are used, or may not be used.
    pub members: Vec<MemberId>,
    /// Entries to confirm, or to take back (`None`).
    pub entries: Vec<(IpAddr, Option<Mac>)>,
    /// Addresses to ask for.
    pub questions: Vec<IpAddr>,
}

/// The pins of a link.
#[derive(Debug, Clone, Default)]
pub struct Pins {
    held: BTreeMap<IpAddr, Pin>,
    news: News,
}

impl Pins {
    /// The addresses, and what is known of them.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, &Pin)> {
        self.held.iter().map(|(address, pin)| (*address, pin))
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether all addresses of a member are used; `None` while some are still to be proved.
    pub fn is_proved(&self, member: MemberId) -> Option<bool> {
        let mut proved = true;
        for pin in self.held.values().filter(|pin| pin.member == member) {
            match pin.state {
                State::New | State::Asked { .. } => return None,
                State::Proved { .. } => {}
                State::Contested { .. } => proved = false,
            }
        }
        Some(proved)
    }

    /// Takes over what the verified peers of a view state. Where `asks` is not, nobody can be asked,
    /// and every address is its member's.
    pub fn update(&mut self, now: Instant, view: &View, asks: bool) {
        let mut before = core::mem::take(&mut self.held);
        for (id, peer) in view.peers() {
            let Some(standing) = peer.standing() else {
                continue;
            };
            for address in addresses(peer) {
                let known = before.remove(&address);
                //= docs/spec/trust.md#pins
                //# An address that the certificate names needs no proof, and neither does one of which
                //# the same member, or a member at the same link-layer address, has given it.
                let same = |pin: &Pin| pin.member == id || pin.mac == peer.mac();
                let settled = standing.names(address) || !asks;
                let state = match known {
                    Some(pin) if same(&pin) && (pin.is_proved() || !settled) => pin.state,
                    _ if settled => State::Proved { late: now },
                    _ => State::New,
                };
                let pin = Pin {
                    member: id,
                    mac: peer.mac(),
                    serves: !peer.records().is_empty(),
                    state,
                    confirm_at: known.map_or(now, |pin| pin.confirm_at),
                };
                self.put(now, address, pin, known);
            }
        }
        for (address, pin) in before {
            if pin.is_proved() {
                self.news.entries.push((address, None));
            }
            self.news.members.push(pin.member);
        }
    }

    fn put(&mut self, now: Instant, address: IpAddr, mut pin: Pin, before: Option<Pin>) {
        if before != Some(pin) {
            self.news.members.push(pin.member);
            self.news.members.extend(before.map(|before| before.member));
            //= docs/spec/trust.md#pins
            //# When the member states another link-layer address, the entry MUST follow at once.
            pin.confirm_at = now;
        }
        // Two members at one link-layer address are one host; the first one stands for both.
        self.held.entry(address).or_insert(pin);
    }

    /// Forgets all of it.
    pub fn clear(&mut self) {
        let held = core::mem::take(&mut self.held);
        for (address, pin) in held {
            self.news.members.push(pin.member);
            if pin.is_proved() {
                self.news.entries.push((address, None));
            }
        }
        self.news.questions.clear();
    }

    /// This host's own kernel asks for an address: its entry is gone, or doubted.
    pub fn handle_question(&mut self, address: IpAddr) {
        if let Some(pin) = self.held.get(&address).filter(|pin| pin.is_proved()) {
            self.news.entries.push((address, Some(pin.mac)));
        }
    }

    /// Somebody states where an address is; whether that contradicts its member.
    pub fn handle_answer(&mut self, now: Instant, answer: &Answer) -> Option<Contest> {
        let stated = answer.stated.unwrap_or(answer.mac);
        let macs = [stated, answer.mac];
        self.handle_claim(now, answer.target, macs)
    }

    /// The same for a packet of neighbour discovery or ARP that comes from `address`.
    pub fn handle_claim(
        &mut self,
        now: Instant,
        address: IpAddr,
        macs: [Mac; 2],
    ) -> Option<Contest> {
        let pin = self.held.get_mut(&address)?;
        let Some(other) = macs.into_iter().find(|mac| *mac != pin.mac) else {
            if let State::Asked { answered, .. } = &mut pin.state {
                *answered = true;
            }
            return None;
        };
        let contest = Contest {
            member: pin.member,
            address,
            mac: other,
        };
        //= docs/spec/trust.md#pins
        //# A host that gets another answer within 3 s after it asked MUST NOT use the address, and
        //# SHOULD tell people who answered; it asks again every 5 s.
        let open = match pin.state {
            State::Asked { .. } => true,
            State::Proved { late } => now < late,
            State::New | State::Contested { .. } => false,
        };
        if open {
            if pin.is_proved() {
                self.news.entries.push((address, None));
            }
            pin.state = State::Contested {
                again: now + CONTESTED_TIME,
            };
            self.news.members.push(pin.member);
        }
        Some(contest)
    }

    /// Asks, decides what was answered, and confirms.
    pub fn handle_timeout(&mut self, now: Instant) {
        let (mut asked, mut pinned) = (0, 0);
        for (address, pin) in &mut self.held {
            let ask = match pin.state {
                State::New if pin.confirm_at <= now => Some(0),
                State::Contested { again } if again <= now => Some(0),
                State::Asked {
                    times,
                    until,
                    answered,
                } if until <= now => {
                    //= docs/spec/trust.md#pins
                    //# An address for which nobody else answers three questions is its member's.
                    let settled = answered || times >= MAX_ASKED;
                    if settled {
                        pin.state = State::Proved { late: now + LATE };
                        pin.confirm_at = now;
                        self.news.members.push(pin.member);
                    }
                    (!settled).then_some(times)
                }
                _ => None,
            };
            if let Some(times) = ask {
                //= docs/spec/trust.md#pins
                //# Before an address is used so, a host MUST ask for it by ARP or neighbour discovery,
                //# and wait 100 ms for answers.
                let until = now + ANSWER_TIME;
                let now_too = asked < AT_ONCE;
                asked += 1;
                pin.state = State::Asked {
                    times: times + u8::from(now_too),
                    until,
                    answered: false,
                };
                if now_too {
                    self.news.questions.push(*address);
                }
            }
            pinned += usize::from(pin.is_proved());
            if pin.is_proved() && pin.confirm_at <= now {
                pin.confirm_at = now + CONFIRM_INTERVAL;
                if pinned <= MAX_PINS {
                    self.news.entries.push((*address, Some(pin.mac)));
                }
            }
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.news != News::default() {
            return Some(Instant::ZERO);
        }
        let due = |pin: &Pin| match pin.state {
            State::New | State::Proved { .. } => pin.confirm_at,
            State::Asked { until, .. } => until,
            State::Contested { again } => again,
        };
        self.held.values().map(due).min()
    }

    /// What has become of the addresses since the last call.
    pub fn take_news(&mut self) -> News {
        core::mem::take(&mut self.news)
    }
}

/// The unicast addresses that a peer states.
pub fn addresses(peer: &Peer) -> impl Iterator<Item = IpAddr> {
    let both = [peer.ipv4().map(IpAddr::V4), peer.ipv6().map(IpAddr::V6)];
    both.into_iter().flatten()
}

#[cfg(test)]
mod tests;
