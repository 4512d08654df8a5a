//! The view: who else is on the link, what they serve, and whether they live.
//!
//! A statement enters or updates a peer; hellos keep it alive by revealing its chain, and are
//! checked without looking at the records. What does not fit together (an unknown chain, a gap
//! between generations) leaves the state as it is and asks the peer, once in a while.

mod clock;
mod peer;
mod questions;

use core::cmp::Ordering;
use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use peer::Parts;
pub use peer::Peer;
pub use questions::Question;

use clock::{Lies, micros};
use questions::Questions;

use super::chain::Refused;
use super::record_set::RecordSet;
use super::trust::Standing;
use super::{Reason, Timing};
use crate::addr::{Class, Prefix};
use crate::time::{Duration, Instant};
use crate::wire::frame::Mac;
use crate::wire::{Hello, MemberId, MessageOption, Record, Statement, StatementKind};

/// How many peers and records a link's view holds at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Peers.
    pub members: usize,
    /// Records of each peer.
    pub records: usize,
    /// Records of all peers; an equal share of them is every peer's own.
    pub all_records: usize,
}

impl Limits {
    /// What a router keeps: 2^20 memberships on a link, 2^16 of a member. 32 bytes each.
    pub const ROUTER: Self = Self {
        members: 1024,
        records: 1 << 16,
        all_records: 1 << 20,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            members: 1024,
            records: 4096,
            all_records: 16_384,
        }
    }
}

/// A hello so many hashes after the last one is not of a member that was heard all along.
const FAR: u32 = 64;
/// How long such a hello is not looked at after one with a wrong value.
const WRONG_PAUSE: Duration = Duration::from_millis(300);

/// Where a message came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// The frame's link-layer source.
    pub mac: Mac,
    /// The datagram's source.
    pub address: core::net::IpAddr,
}

/// What became of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It was not known before, or served nothing.
    Joined,
    /// It serves something else, or otherwise.
    Changed,
    /// It withdrew everything.
    Left,
    /// It was not heard for its dead time.
    Dead,
    /// Nobody vouches for it any more.
    Distrusted,
}

/// What became of a peer, and of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEvent {
    /// The peer.
    pub id: MemberId,
    /// Its link-layer address.
    pub mac: Mac,
    /// What became of it.
    pub change: Change,
    /// What it served before.
    pub before: RecordSet,
    /// What it serves now.
    pub after: RecordSet,
    /// Which family it can no longer act for: IPv4, IPv6.
    pub lost: [bool; 2],
}

impl PeerEvent {
    /// The prefixes that the peer served, and now does not, or is about to stop serving.
    pub fn gone(&self) -> Vec<Prefix> {
        let serves = |record: &Record| !record.draining;
        if self.lost == [false, false] {
            let differences = self.before.differences(&self.after);
            let gone = differences.filter(|difference| {
                difference.before.as_ref().is_some_and(serves)
                    && !difference.after.as_ref().is_some_and(serves)
            });
            return gone.map(|difference| difference.prefix).collect();
        }
        let lost = |prefix: &Prefix| self.lost[usize::from(prefix.addr().is_ipv6())];
        let served = self.before.prefixes().filter(|(_, record)| serves(record));
        served
            .map(|(prefix, _)| prefix)
            .filter(|prefix| lost(prefix) || !self.after.get(prefix).as_ref().is_some_and(serves))
            .collect()
    }
}

/// The view of one link.
#[derive(Debug, Clone)]
pub struct View {
    class: Class,
    limits: Limits,
    peers: BTreeMap<MemberId, Peer>,
    events: VecDeque<PeerEvent>,
    questions: Questions,
    strict: bool,
    /// No peer dies before this. Hellos put deaths off without a look at it, so it may be early.
    wake: Option<Instant>,
    /// This host's own timers.
    timing: Timing,
    router_changes: u64,
}

impl View {
    /// A view of nobody, by a host with the timers `timing`. Nonces are drawn from `secret`, which
    /// must be another for each link and life of the host.
    pub fn new(class: Class, limits: Limits, timing: Timing, secret: [u8; 32]) -> Self {
        Self {
            class,
            limits,
            peers: BTreeMap::new(),
            events: VecDeque::new(),
            questions: Questions::new(timing, secret),
            strict: false,
            wake: None,
            timing,
            router_changes: 0,
        }
    }

    /// The peers that live, and what they serve.
    pub fn peers(&self) -> impl Iterator<Item = (MemberId, &Peer)> {
        self.peers.iter().map(|(id, peer)| (*id, peer))
    }

    /// One peer.
    pub fn get(&self, id: MemberId) -> Option<&Peer> {
        self.peers.get(&id)
    }

    /// Grows whenever a router comes, goes or has other addresses.
    pub fn router_changes(&self) -> u64 {
        self.router_changes
    }

    /// Whether nothing is missing: no question for records is left to ask, none was asked
    /// within `span`, and everybody's records are complete.
    pub fn is_complete(&self, now: Instant, span: Duration) -> bool {
        self.questions.is_settled(now, span) && self.peers.values().all(Peer::is_complete)
    }

    /// Forgets everybody (the link went down); nobody is reported as dead.
    pub fn clear(&mut self) {
        self.peers.clear();
        self.router_changes += 1;
        self.wake = None;
        self.questions.clear();
    }

    /// Plans a question to `target` for all it has to say.
    pub fn ask(&mut self, target: MemberId) {
        self.questions.plan(target, false);
    }

    /// Plans a question to everybody for the time alone: whoever is not known answers too.
    pub fn ask_who_lives(&mut self) {
        self.questions.plan(MemberId::EVERYBODY, true);
    }

    /// Believes only members that have proved their time from now on (enforce mode), or anybody
    /// again. Those that have not yet are asked at once, and have their dead time to answer.
    pub fn set_strict(&mut self, strict: bool) {
        if strict && !self.strict {
            //= docs/spec/membership.md#proof-of-time
            //# A receiver that begins to enforce MUST query everybody, and refuse the hellos of those
            //# that have not answered.
            self.questions.plan(MemberId::EVERYBODY, true);
            // Chains that anybody may have stated prove nothing about anybody.
            self.peers.values_mut().for_each(|peer| peer.chains.clear());
        }
        if !strict {
            self.peers.values_mut().for_each(|peer| peer.clock.doubt());
        }
        self.strict = strict;
    }

    /// Whether `statement` answers a question that was asked not long ago.
    fn is_fresh(&self, now: Instant, statement: &Statement) -> bool {
        //= docs/spec/membership.md#proof-of-time
        //# A receiver MUST NOT take a nonce for its own that it sent more than three quarters of the
        //# member's dead time ago.
        let good = statement.dead_time() * 3 / 4;
        let ours = |nonce: &[u8; 8]| self.questions.asked(now, nonce, good);
        let nonces = |option: &MessageOption| match option {
            MessageOption::Nonces(nonces) => nonces.iter().any(ours),
            _ => false,
        };
        statement.options.iter().any(nonces)
    }

    /// Forgets the peers that `doubtful` names, because nobody vouches for them any more.
    pub fn forget(&mut self, doubtful: impl Fn(&Peer) -> bool) {
        let (events, router_changes) = (&mut self.events, &mut self.router_changes);
        self.peers.retain(|id, peer| {
            let keep = !doubtful(peer);
            if !keep {
                *router_changes += u64::from(peer.router);
                events.extend(farewell(*id, peer, Change::Distrusted));
            }
            keep
        });
    }

    /// What can be said against a statement without looking far, before anything that costs.
    ///
    /// # Errors
    /// It does not come from where it says, or is not newer than what is known.
    pub fn glance(
        &self,
        source: Source,
        id: MemberId,
        statement: &Statement,
    ) -> Result<(), Reason> {
        let stated = [
            statement.ipv4.map(Into::into),
            statement.ipv6.map(Into::into),
        ];
        //= docs/spec/membership.md#statement
        //# A receiver MUST refuse a statement whose link-layer or IP source is not one of the
        //# addresses it states.
        if source.mac != statement.mac || !stated.contains(&Some(source.address)) {
            return Err(Reason::ForeignSource);
        }
        //= docs/spec/membership.md#statement
        //# A receiver MUST refuse a statement that states an address which no other host of the link
        //# can have: a loopback, group or broadcast address, one of the class, or one of its own.
        if stated
            .into_iter()
            .flatten()
            .any(|at| !self.may_be_of_a_host(at))
        {
            return Err(Reason::ForeignSource);
        }
        let Some(peer) = self.peers.get(&id) else {
            return Ok(());
        };
        //= docs/spec/membership.md#statement
        //# A receiver MUST refuse a statement that has the epoch of a member that it knows, but
        //# another interface: it was made for another link.
        if peer.epoch == statement.epoch && peer.interface != statement.interface {
            return Err(Reason::ForeignSource);
        }
        let newest = (peer.epoch, peer.counter);
        //= docs/spec/membership.md#statement
        //# A receiver MUST refuse a statement whose epoch and counter are not larger than the
        //# last ones of that member.
        match (statement.epoch, statement.counter).cmp(&newest) {
            Ordering::Greater => Ok(()),
            //= docs/spec/membership.md#transport
            //# A receiver MUST ignore the second copy of a message.
            Ordering::Equal => Err(Reason::Duplicate),
            Ordering::Less => Err(Reason::Replay),
        }
    }

    /// Whether a host can have this unicast address.
    fn may_be_of_a_host(&self, address: IpAddr) -> bool {
        let special = match address {
            IpAddr::V4(v4) => v4.octets()[0] == 0 || v4.is_broadcast(),
            IpAddr::V6(v6) => v6.to_ipv4_mapped().is_some(),
        };
        let nobodys = special || address.is_loopback() || address.is_multicast();
        !nobodys && !self.class.contains(address)
    }

    /// Takes a report or an anchor; `standing` is what its sender was verified to be allowed.
    ///
    /// # Errors
    /// Why nothing, or not all of it, was used.
    pub fn handle_statement(
        &mut self,
        now: Instant,
        source: Source,
        id: MemberId,
        statement: &Statement,
        standing: Option<&Arc<Standing>>,
    ) -> Result<(), Reason> {
        self.glance(source, id, statement)?;
        let full = self.peers.len() >= self.limits.members;
        let (room, no_room) = self.room(id);
        let allowed = standing.filter(|_| self.strict);
        let (max_records, too_many) = match allowed.map(|standing| standing.limit) {
            //= docs/spec/trust.md#roles
            //# A member that would have more records than the limit of its certificate MUST be
            //# refused the statement that brings them.
            Some(limit) if limit < room => (limit, Reason::TooManyRecords),
            _ => (room, no_room),
        };
        //= docs/spec/membership.md#statement
        //# A receiver MUST bound the number of members and of records that it keeps, and refuse
        //# what does not fit.
        if full && !self.peers.contains_key(&id) && self.silent(now).is_none() {
            return Err(Reason::TableFull);
        }
        if statement.records.len() > room {
            return Err(no_room);
        }
        let outside = |record: &Record| record.prefix().is_some_and(|p| !self.class.covers(&p));
        //= docs/spec/membership.md#statement
        //# A receiver MUST refuse a statement with a record outside its class.
        if statement.records.iter().any(outside) {
            return Err(Reason::OutsideClass);
        }
        let fresh = self.strict && self.is_fresh(now, statement);
        if self.strict && !fresh {
            self.check_time(now, id, statement)?;
        }
        let mut peer = match self.peers.get_mut(&id) {
            Some(peer) if peer.epoch == statement.epoch => {
                // The parts of a report that is refused are of no more use.
                let parts = core::mem::take(&mut peer.parts);
                let peer = peer.clone();
                Peer { parts, ..peer }
            }
            // A new life: nothing said in the last one counts, except that it was alive.
            before => Peer::new(now, statement, before.map(|peer| peer.records.clone())),
        };
        let before = peer.reached_at();
        // Which family it can no longer act for: IPv4, IPv6.
        let lost = [
            peer.ipv4.is_some() && statement.ipv4.is_none(),
            peer.ipv6.is_some() && statement.ipv6.is_none(),
        ];
        peer.take_in(now, id, statement, fresh);
        peer.standing = standing.cloned();
        let moved = peer.reached_at() != before;
        let records = peer.next_records(now, statement, (max_records, too_many));
        let result = match records {
            Err(reason) if reason == too_many => return Err(too_many),
            Ok(Some(records)) if records.len() > max_records => return Err(too_many),
            Ok(Some(records)) if records.digest() != statement.digest => {
                //= docs/spec/membership.md#statement
                //# A receiver MUST refuse a full report whose records do not have the stated
                //# digest.
                if matches!(statement.kind, StatementKind::Full { .. }) {
                    //= docs/spec/membership.md#statement
                    //# A receiver that holds an older generation than the base of a delta, or gets
                    //# another digest than the stated one, MUST keep the records it has and query
                    //# the member.
                    return Err(Reason::DigestMismatch);
                }
                self.ask(id);
                Err(Reason::DigestMismatch)
            }
            Ok(Some(records)) => {
                let before = &peer.records;
                let change = match (before.is_empty(), records.is_empty()) {
                    (true, false) => Some(Change::Joined),
                    (false, true) => Some(Change::Left),
                    (false, false) if *before != records || moved => Some(Change::Changed),
                    _ => None,
                };
                let after = records.clone();
                let event = change.map(|change| PeerEvent {
                    id,
                    mac: peer.mac(),
                    change,
                    before: before.clone(),
                    after,
                    lost,
                });
                self.events.extend(event);
                peer.records = records;
                peer.generation = statement.generation;
                peer.digest = statement.digest;
                peer.parts = Parts::default();
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(reason) => {
                self.ask(id);
                Err(reason)
            }
        };
        if full
            && !self.peers.contains_key(&id)
            && let Some(silent) = self.silent(now)
            && let Some(peer) = self.peers.remove(&silent)
        {
            self.router_changes += u64::from(peer.router);
            self.events.extend(farewell(silent, &peer, Change::Dead));
        }
        self.wake = super::earliest([self.wake, Some(peer.dies_at()), peer.parts.missed_at()]);
        let routed = peer.router.then(|| peer.reached_at());
        let before = self.peers.insert(id, peer);
        if before.and_then(|peer| peer.router.then(|| peer.reached_at())) != routed {
            self.router_changes += 1;
        }
        result
    }

    /// Whether a statement that answers no question may count.
    fn check_time(
        &mut self,
        now: Instant,
        id: MemberId,
        statement: &Statement,
    ) -> Result<(), Reason> {
        let known = self.peers.get(&id);
        let Some(peer) = known.filter(|peer| peer.epoch == statement.epoch) else {
            self.ask(id);
            //= docs/spec/membership.md#proof-of-time
            //# In enforce mode a receiver MUST NOT believe a statement of an epoch that it does not
            //# know, or change anything for it, unless it carries a nonce of the receiver; it MUST
            //# query the member instead.
            return Err(Reason::Unchallenged);
        };
        //= docs/spec/membership.md#proof-of-time
        //# In enforce mode a receiver MUST refuse a statement whose time is off the member's time by
        //# more than the dead time and the drift of the clocks, and query the member.
        let refused = match peer
            .clock
            .place(now, micros(statement.time), peer.timing.dead_time())
        {
            Lies::Within => return Ok(()),
            Lies::Behind => Reason::StatementBehind,
            Lies::Ahead => Reason::StatementAhead,
        };
        self.ask(id);
        Err(refused)
    }

    /// Takes a hello.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn handle_hello(
        &mut self,
        now: Instant,
        source: Source,
        id: MemberId,
        hello: &Hello,
    ) -> Result<(), Reason> {
        let Some(peer) = self.peers.get_mut(&id) else {
            self.ask(id);
            return Err(Reason::UnknownMember);
        };
        let stated = [peer.ipv4.map(Into::into), peer.ipv6.map(Into::into)];
        //= docs/spec/membership.md#hello
        //# A receiver MUST refuse a hello whose link-layer or IP source is not one that the member
        //# has stated.
        if source.mac != peer.mac || !stated.contains(&Some(source.address)) {
            return Err(Reason::ForeignSource);
        }
        let Some(at) = peer
            .chains
            .iter()
            .position(|(chain, _)| *chain == hello.chain)
        else {
            self.ask(id);
            //= docs/spec/membership.md#hello
            //# A receiver MUST refuse a hello of a chain that it does not know, and query the
            //# member.
            return Err(Reason::UnknownChain);
        };
        if self.strict && peer.clock.is_stale(now, peer.timing.dead_time()) {
            self.questions.plan(id, true);
            //= docs/spec/membership.md#proof-of-time
            //# In enforce mode a receiver MUST refuse the hellos of a member that has not answered a
            //# question of it for 500 dead times of the member.
            return Err(Reason::StaleTime);
        }
        // Refused before any hashing, which is what a far index would cost. Either may be an honest
        // member whose last statement came late: a fresh one tells.
        let refused = match peer.place(now, hello.index) {
            Lies::Within => None,
            //= docs/spec/membership.md#hello
            //# A receiver MUST refuse, before it hashes anything, a hello whose index is ahead of
            //# the member's time by more than the dead time and the drift of the clocks.
            Lies::Ahead => Some(Reason::IndexAhead),
            //= docs/spec/membership.md#hello
            //# A receiver MUST refuse a hello whose index lies behind the member's time by more than
            //# the dead time and the drift of the clocks.
            Lies::Behind => Some(Reason::IndexBehind),
        };
        if let Some(reason) = refused {
            //= docs/spec/membership.md#hello
            //# A receiver that refuses a hello for its index MUST query the member, since the
            //# statement that it measures by may have come late.
            self.ask(id);
            return Err(reason);
        }
        let far = hello.index.saturating_sub(peer.chains[at].1.index()) > FAR;
        //= docs/spec/membership.md#hello
        //# A receiver MUST NOT hash more than 64 times for a hello within 300 ms after one of that
        //# member whose value was wrong.
        if far && peer.wrong_at.is_some_and(|wrong| now < wrong + WRONG_PAUSE) {
            return Err(Reason::RateLimited);
        }
        let (_, tail) = &mut peer.chains[at];
        let advanced = tail.advance(id, hello.index, hello.value);
        if advanced == Err(Refused::Wrong) {
            peer.wrong_at = Some(now);
        }
        advanced.map_err(|refused| match refused {
            Refused::Old if tail.index() == hello.index => Reason::Duplicate,
            Refused::Old => Reason::Replay,
            Refused::Beyond | Refused::Wrong => Reason::WrongValue,
        })?;
        // The sender has moved on: the chains before this one are retired.
        peer.chains.drain(..at);
        peer.said_hello(now, hello.index);
        //= docs/spec/membership.md#hello
        //# A receiver that accepts a hello of a generation whose records it neither has nor is
        //# collecting MUST query the member.
        if peer.lacks_records() {
            self.questions.plan(id, false);
        }
        //= docs/spec/membership.md#proof-of-time
        //# In enforce mode a receiver MUST query a member whose time it was last told, in an answer,
        //# 250 dead times of the member ago.
        if self.strict && peer.clock.ends_soon(now, peer.timing.dead_time()) {
            self.questions.plan(id, true);
        }
        Ok(())
    }

    /// Declares the dead.
    ///
    /// A host that slept past the deadline has not heard what its sockets still hold: everybody
    /// then gets that time back, and enough to read them.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.wake.is_none_or(|wake| now < wake) {
            return;
        }
        let due = self.peers.values().map(Peer::dies_at).min().unwrap_or(now);
        let overdue = now.saturating_duration_since(due);
        let grace = self.timing.hello / 10;
        if overdue > grace {
            let slept = overdue + grace;
            self.peers.values_mut().for_each(|peer| peer.heard += slept);
        }
        let (events, router_changes) = (&mut self.events, &mut self.router_changes);
        self.peers.retain(|id, peer| {
            //= docs/spec/membership.md#hello
            //# A member that was not heard for its dead time is dead, and a receiver MUST forget
            //# it.
            let lives = now < peer.dies_at();
            if !lives {
                *router_changes += u64::from(peer.router);
                events.extend(farewell(*id, peer, Change::Dead));
            }
            lives
        });
        let missed = |(id, peer): (&MemberId, &mut Peer)| peer.parts.miss(now).then_some(*id);
        let missed: Vec<_> = self.peers.iter_mut().filter_map(missed).collect();
        //= docs/spec/membership.md#statement
        //# A receiver that got a part of a report and none for 300 ms since, but not all of them, MUST
        //# query the member.
        missed.into_iter().for_each(|id| self.ask(id));
        let peers = self.peers.values();
        self.wake = peers
            .flat_map(|peer| [Some(peer.dies_at()), peer.parts.missed_at()])
            .flatten()
            .min();
    }

    /// How many records `id` may have, and why no more.
    fn room(&self, id: MemberId) -> (usize, Reason) {
        let others = self.peers.iter().filter(|(other, _)| **other != id);
        let held: usize = others.map(|(_, peer)| peer.held()).sum();
        let share = self.limits.all_records / self.limits.members.max(1);
        let room = self.limits.all_records.saturating_sub(held).max(share);
        if room < self.limits.records {
            (room, Reason::LinkLimit)
        } else {
            (self.limits.records, Reason::MemberLimit)
        }
    }

    /// Who goes before its time when a new peer needs the place: the one that has been silent for
    /// longest, if that is longer than this host's own dead time.
    //= docs/spec/membership.md#statement
    //# A receiver that has no place for a new member MUST forget the one that was silent for longest,
    //# if that is longer than its own dead time.
    fn silent(&self, now: Instant) -> Option<MemberId> {
        let (id, peer) = self.peers.iter().min_by_key(|(_, peer)| peer.heard)?;
        (now >= peer.heard + self.timing.dead_time()).then_some(*id)
    }

    /// When [`Self::handle_timeout`] or [`Self::poll_question`] has something to do, or may have.
    pub fn poll_timeout(&self) -> Option<Instant> {
        super::earliest([self.wake, self.questions.next()])
    }

    /// What became of peers, oldest first.
    pub fn poll_event(&mut self) -> Option<PeerEvent> {
        self.events.pop_front()
    }

    /// What to ask now, with a fresh nonce.
    pub fn poll_question(&mut self, now: Instant) -> Option<Question> {
        self.questions.poll(now)
    }
}

/// What to tell when `peer` is gone: nothing, if it served nothing.
fn farewell(id: MemberId, peer: &Peer, change: Change) -> Option<PeerEvent> {
    (!peer.records.is_empty()).then(|| PeerEvent {
        id,
        mac: peer.mac(),
        change,
        before: peer.records.clone(),
        after: RecordSet::default(),
        lost: [true, true],
    })
}
