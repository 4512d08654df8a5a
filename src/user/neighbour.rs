//! The neighbours of one link: which link-layer address an IP address is at.
//!
//! The conceptual model of RFC 4861 §7.3 for both families, as Linux applies it to ARP too. smoltcp
//! has a table of its own, which does not fit anycast: it takes the address that an advertisement
//! comes *from* for the one that it speaks of, asks once a second for all addresses together, and a
//! busy entry lives for ever.
//!
//! A client's entries for anycast addresses are *managed*: nothing heard on the link makes or
//! changes them, only what the node says ([`Neighbours::manage`]). They are never probed, and end
//! when the node ends them or has said nothing of them for long. That nothing else is believed is a
//! lease of the node too: without it the host soon is a stock host.

use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};

use crate::addr::Class;
use crate::proto::earliest;
use crate::proto::random::Random;
use crate::time::{Duration, Instant};
use crate::wire::frame::{Answer, Mac};

/// Between two requests for an address (RFC 4861 §10: RETRANS_TIMER; RFC 1122 §2.3.2.1 for ARP).
const RETRANS_TIMER: Duration = Duration::from_secs(1);
/// Requests before an address counts as not there (§10: MAX_MULTICAST_SOLICIT, MAX_UNICAST_SOLICIT).
const MAX_SOLICIT: u8 = 3;
/// How long a neighbour counts as reachable (§10: REACHABLE_TIME), times 0.5 to 1.5.
const REACHABLE_TIME: Duration = Duration::from_secs(30);
/// How long a doubtful neighbour is used before it is asked (§10: DELAY_FIRST_PROBE_TIME).
const DELAY_TIME: Duration = Duration::from_secs(5);
/// The first of two ARP replies within this time stays, as in Linux.
const LOCK_TIME: Duration = Duration::from_secs(1);
/// How long a managed entry lasts without a word of the node: what a Linux client's kernel makes
/// of it (45 s reachable, [`DELAY_TIME`], and three probes that do not leave).
const MANAGED_TIME: Duration = Duration::from_secs(53);
/// How long the node alone is believed after it has fallen silent, as on Linux.
const HIDDEN_TIME: Duration = Duration::from_secs(5);
/// Neighbours at the same time; the one unused for longest makes way.
const MAX_ENTRIES: usize = 1024;
/// Packets that wait for one neighbour; the oldest makes way.
const MAX_WAITING: usize = 16;

/// What the host has to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Output {
    /// A packet, to this link-layer address.
    Packet { to: Mac, packet: Vec<u8> },
    /// A request for `target`, to everybody, or to the one who is asked whether it is still there.
    Ask { target: IpAddr, to: Option<Mac> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Incomplete { asked: u8, again: Instant },
    Reachable { until: Instant },
    Stale,
    Delay { until: Instant },
    Probe { asked: u8, again: Instant },
    Managed { until: Instant },
}

#[derive(Debug)]
struct Entry {
    state: State,
    /// Unknown while the entry is incomplete.
    mac: Mac,
    changed: Instant,
    used: Instant,
    waiting: VecDeque<Vec<u8>>,
}

impl Entry {
    const fn is_managed(&self) -> bool {
        matches!(self.state, State::Managed { .. })
    }
}

/// The neighbours of one link.
#[derive(Debug)]
pub(super) struct Neighbours {
    managed: Option<Class>,
    /// The node has fallen silent: what it alone is believed about, others are from then on.
    released: Option<Instant>,
    entries: BTreeMap<IpAddr, Entry>,
    output: VecDeque<Output>,
    random: Random,
}

impl Neighbours {
    /// No neighbours yet. Those in `managed` come from the node alone.
    pub(super) const fn new(managed: Option<Class>, seed: u64) -> Self {
        Self {
            managed,
            released: None,
            entries: BTreeMap::new(),
            output: VecDeque::new(),
            random: Random::new(seed),
        }
    }

    /// Sends a packet to `next`, at once or when its link-layer address is known.
    pub(super) fn send(&mut self, now: Instant, next: IpAddr, packet: Vec<u8>) {
        let Some(entry) = self.entries.get_mut(&next) else {
            let again = now + RETRANS_TIMER;
            self.insert(now, next, State::Incomplete { asked: 1, again }, [0; 6]);
            if let Some(entry) = self.entries.get_mut(&next) {
                entry.waiting.push_back(packet);
            }
            return self.ask(next, None);
        };
        entry.used = now;
        match entry.state {
            State::Incomplete { .. } => {
                if entry.waiting.len() >= MAX_WAITING {
                    entry.waiting.pop_front();
                }
                return entry.waiting.push_back(packet);
            }
            State::Stale => {
                entry.state = State::Delay {
                    until: now + DELAY_TIME,
                }
            }
            _ => {}
        }
        let to = entry.mac;
        self.output.push_back(Output::Packet { to, packet });
    }

    /// Somebody asks for an address of ours, and so says where it is itself (RFC 826, RFC 4861
    /// §7.2.3).
    pub(super) fn handle_request(&mut self, now: Instant, source: IpAddr, mac: Mac) {
        if self.is_managed(now, source) {
            return;
        }
        match self.entries.get(&source) {
            None => self.insert(now, source, State::Stale, mac),
            Some(entry) if entry.mac != mac => self.learn(now, source, mac, State::Stale),
            Some(_) => {}
        }
    }

    /// Somebody says where an address is (RFC 826, RFC 4861 §7.2.5): of a neighbour that is not
    /// asked for, nothing is learnt.
    pub(super) fn handle_answer(&mut self, now: Instant, answer: &Answer) {
        if self.is_managed(now, answer.target) {
            return;
        }
        let reachable = self.reachable(now);
        let Some(entry) = self.entries.get_mut(&answer.target) else {
            return;
        };
        let solicited = !answer.announcement;
        let known = if solicited { reachable } else { State::Stale };
        if let State::Incomplete { .. } = entry.state {
            if let Some(mac) = answer.stated {
                self.learn(now, answer.target, mac, known);
            }
            return;
        }
        let other = answer.stated.filter(|mac| *mac != entry.mac);
        let locked = answer.target.is_ipv4()
            && solicited
            && now.saturating_duration_since(entry.changed) < LOCK_TIME;
        match other {
            // Without Override another address is no news, but it is a doubt.
            Some(_) if !answer.overrides => {
                if let State::Reachable { .. } = entry.state {
                    entry.state = State::Stale;
                }
            }
            Some(_) if locked => {}
            Some(mac) => self.learn(now, answer.target, mac, known),
            None if solicited => entry.state = reachable,
            None => {}
        }
    }

    /// What the node says of an anycast address: it is at `mac`, or nobody knows where.
    pub(super) fn manage(&mut self, now: Instant, target: IpAddr, mac: Option<Mac>) {
        let until = now + MANAGED_TIME;
        let state = State::Managed { until };
        match mac {
            Some(mac) if self.entries.contains_key(&target) => {
                self.learn(now, target, mac, state);
            }
            Some(mac) => self.insert(now, target, state, mac),
            None => drop(self.entries.remove(&target)),
        }
    }

    /// The node falls silent.
    pub(super) fn release(&mut self, now: Instant) {
        self.released = Some(now + HIDDEN_TIME);
    }

    /// The node speaks again: what was learnt without it is forgotten.
    pub(super) fn reclaim(&mut self) {
        self.released = None;
        let managed = self.managed.as_ref();
        let learnt = |target: &IpAddr| managed.is_some_and(|class| class.contains(*target));
        self.entries
            .retain(|target, entry| entry.is_managed() || !learnt(target));
    }

    /// Another node takes over, which knows of no entry.
    pub(super) fn forget_managed(&mut self) {
        self.entries.retain(|_, entry| !entry.is_managed());
    }

    /// Forgets what was learned; managed entries are the node's to forget.
    pub(super) fn forget_learned(&mut self) {
        self.entries.retain(|_, entry| entry.is_managed());
    }

    /// Repeats requests, and doubts what was not confirmed for long.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let due: Vec<_> = self
            .entries
            .iter()
            .filter(|(_, entry)| deadline(entry.state).is_some_and(|at| at <= now))
            .map(|(target, _)| *target)
            .collect();
        for target in due {
            let Some(entry) = self.entries.get_mut(&target) else {
                continue;
            };
            let again = now + RETRANS_TIMER;
            let mac = Some(entry.mac);
            match &mut entry.state {
                State::Incomplete { asked, again: at } if *asked < MAX_SOLICIT => {
                    (*asked, *at) = (*asked + 1, again);
                    self.ask(target, None);
                }
                State::Probe { asked, again: at } if *asked < MAX_SOLICIT => {
                    (*asked, *at) = (*asked + 1, again);
                    self.ask(target, mac);
                }
                // What waited is lost, as on a link; the next packet asks again.
                State::Incomplete { .. } | State::Probe { .. } | State::Managed { .. } => {
                    self.entries.remove(&target);
                }
                State::Delay { .. } => {
                    entry.state = State::Probe { asked: 1, again };
                    self.ask(target, mac);
                }
                State::Reachable { .. } => entry.state = State::Stale,
                State::Stale => {}
            }
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        earliest(self.entries.values().map(|entry| deadline(entry.state)))
    }

    /// The next thing to send, in order.
    pub(super) fn poll_output(&mut self) -> Option<Output> {
        self.output.pop_front()
    }

    /// The neighbours that are known, and where.
    pub(super) fn known(&self) -> impl Iterator<Item = (IpAddr, Mac)> {
        let known = |entry: &&Entry| !matches!(entry.state, State::Incomplete { .. });
        let entries = self.entries.iter();
        entries.filter_map(move |(target, entry)| Some((*target, Some(entry).filter(known)?.mac)))
    }

    fn is_managed(&self, now: Instant, address: IpAddr) -> bool {
        if self.released.is_some_and(|at| at <= now) {
            return false;
        }
        let managed = self.managed.as_ref();
        // A verified member's own address is the node's too, once it has said where that is.
        let pinned = self.entries.get(&address).is_some_and(Entry::is_managed);
        pinned || managed.is_some_and(|class| class.contains(address))
    }

    fn reachable(&mut self, now: Instant) -> State {
        let until = now + REACHABLE_TIME / 2 + self.random.span(REACHABLE_TIME);
        State::Reachable { until }
    }

    fn ask(&mut self, target: IpAddr, to: Option<Mac>) {
        self.output.push_back(Output::Ask { target, to });
    }

    /// An entry that is there is at `mac`: what waited goes there.
    fn learn(&mut self, now: Instant, target: IpAddr, mac: Mac, state: State) {
        if let Some(entry) = self.entries.get_mut(&target) {
            (entry.mac, entry.state, entry.changed) = (mac, state, now);
            if !entry.waiting.is_empty() && state == State::Stale {
                entry.state = State::Delay {
                    until: now + DELAY_TIME,
                };
            }
            let waiting = entry.waiting.drain(..);
            self.output
                .extend(waiting.map(|packet| Output::Packet { to: mac, packet }));
        }
    }

    fn insert(&mut self, now: Instant, target: IpAddr, state: State, mac: Mac) {
        if self.entries.len() >= MAX_ENTRIES {
            let ordinary = |(_, entry): &(&IpAddr, &Entry)| !entry.is_managed();
            let oldest = self.entries.iter().filter(ordinary);
            let oldest = oldest.min_by_key(|(_, entry)| entry.used).map(|(t, _)| *t);
            oldest.and_then(|oldest| self.entries.remove(&oldest));
        }
        let entry = Entry {
            state,
            mac,
            changed: now,
            used: now,
            waiting: VecDeque::new(),
        };
        self.entries.insert(target, entry);
    }
}

const fn deadline(state: State) -> Option<Instant> {
    match state {
        State::Incomplete { again, .. } | State::Probe { again, .. } => Some(again),
        State::Reachable { until } | State::Delay { until } | State::Managed { until } => {
            Some(until)
        }
        State::Stale => None,
    }
}

#[cfg(test)]
mod tests;
