//! The member: says on one link what this host serves, and that it lives.
//!
//! | phase | on join | on the phase's timer | on a query | on link down |
//! |---|---|---|---|---|
//! | Idle | Listening | – | ignored | Down |
//! | Listening | record added | Active: serve, report, hello | ignored | Down |
//! | Active | record added, report | hello, repeats, answers | answer at a random time | Down |
//! | Down | record added | – | – | – |
//!
//! A host listens before it speaks, so that its first rank is the right one. A leave has two
//! steps: the record is marked as draining, so that another member takes over while this one
//! still serves, and is withdrawn after that. A member that finds that it slept for longer than
//! its dead time was declared dead meanwhile: it starts a new epoch and listens again.

mod speech;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use super::chain::Chain;
use super::random::Random;
use super::record_set::RecordSet;
use super::{Reason, Timing, earliest};
use crate::addr::Prefix;
use crate::time::{Duration, Instant};
use crate::wire::{
    ChainId, Hello, MemberId, Name, Query, Record, RecordAddress, Statement, StatementKind,
};

/// How long a member listens before it reports for the first time.
pub const LISTEN: Duration = Duration::from_millis(500);
/// How long a leaving member serves on, so that its successor's announcement has arrived.
pub const DRAIN: Duration = Duration::from_secs(1);
/// How often a report is sent in all (RFC 3376 §8.1: robustness variable).
pub const ROBUSTNESS: u8 = 2;
/// A report is repeated at a random time within this span (RFC 3376 §8.11).
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Messages that a full report puts on the link at once; the next follow after [`PART_PAUSE`], so
/// that no receiver's buffer has to hold a report of thousands of records.
const BURST: usize = 64;
/// The pause between the bursts of a full report.
const PART_PAUSE: Duration = Duration::from_millis(10);
/// Nonces that one answer carries at most.
const MAX_NONCES: usize = 32;

/// Who the member is on its link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its id.
    pub id: MemberId,
    /// Its number for the link.
    pub interface: u32,
    /// Its link-layer address.
    pub mac: [u8; 6],
    /// Its IPv4 unicast address.
    pub ipv4: Option<core::net::Ipv4Addr>,
    /// Its IPv6 unicast address.
    pub ipv6: Option<core::net::Ipv6Addr>,
    /// The link's MTU in bytes.
    pub mtu: u16,
    /// Bytes that authentication adds to each statement: a certificate and a signature.
    pub sealing: u16,
}

/// What the member has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Speech {
    /// A report or an anchor.
    Statement(Statement),
    /// A hello.
    Hello(Hello),
}

/// What the member's host has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberEvent {
    /// Serve a prefix from now on.
    Serve(Prefix),
    /// Stop serving a prefix.
    Withdraw(Prefix),
    /// What is served may go on being served for a dead time.
    Renew,
    /// The member slept for longer than its dead time, or its link came back: it starts anew.
    Rejoined,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Idle,
    Listening { until: Instant },
    Active,
    Down,
}

/// A chain and the id that its generation gives it.
#[derive(Debug, Clone)]
struct Live {
    chain: Chain,
    id: ChainId,
}

/// The member machine of one link.
#[derive(Debug, Clone)]
pub struct Member {
    identity: Identity,
    name: Option<Name>,
    timing: Timing,
    secret: [u8; 32],
    phase: Phase,
    router: bool,
    epoch: u64,
    born: Instant,
    counter: u32,
    generation: u32,
    records: RecordSet,
    /// Prefixes that are being drained, and until when.
    draining: BTreeMap<Prefix, Instant>,
    /// What has changed since `base` and is not repeated often enough yet.
    changes: BTreeMap<RecordAddress, Record>,
    base: Option<u32>,
    /// Something has changed that is not said yet; [`Member::handle_timeout`] does.
    unpublished: bool,
    chains: u32,
    digest: [u8; 16],
    chain: Option<Live>,
    next_chain: Option<Live>,
    /// When the others last had a sign of life, and when they get the next.
    spoke: Instant,
    hello_at: Option<Instant>,
    repeat_at: Option<Instant>,
    repeats: u8,
    answer_at: Option<Instant>,
    answered: Option<Instant>,
    nonces: Vec<[u8; 8]>,
    /// How many of the nonces nobody vouches for.
    unvouched: usize,
    /// One of the queries to be answered asks for records.
    answer_in_full: bool,
    /// What is left of a full report, and when it goes on.
    parts: VecDeque<(StatementKind, Vec<Record>)>,
    parts_at: Instant,
    /// The nonces that the parts answer.
    parts_answer: Vec<[u8; 8]>,
    /// The nonces of the last queries, to know their second copies by; at most [`MAX_NONCES`].
    asked: VecDeque<[u8; 8]>,
    speech: VecDeque<Speech>,
    events: VecDeque<MemberEvent>,
}

impl Member {
    /// A member that serves nothing yet. `secret` seeds its chains; `epoch` must be larger than
    /// in every earlier life of the same id (the runner uses milliseconds since 1970).
    pub fn new(identity: Identity, timing: Timing, secret: [u8; 32], epoch: u64) -> Self {
        Self {
            identity,
            name: None,
            timing,
            secret,
            phase: Phase::Idle,
            router: false,
            epoch,
            born: Instant::ZERO,
            counter: 0,
            generation: 0,
            records: RecordSet::default(),
            draining: BTreeMap::new(),
            changes: BTreeMap::new(),
            base: None,
            unpublished: false,
            chains: 0,
            digest: RecordSet::default().digest(),
            chain: None,
            next_chain: None,
            spoke: Instant::ZERO,
            hello_at: None,
            repeat_at: None,
            repeats: 0,
            answer_at: None,
            answered: None,
            nonces: Vec::new(),
            unvouched: 0,
            answer_in_full: false,
            parts: VecDeque::new(),
            parts_at: Instant::ZERO,
            parts_answer: Vec::new(),
            asked: VecDeque::new(),
            speech: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// What its host is called, for the people on others; to be set before it speaks.
    pub fn set_name(&mut self, name: Option<Name>) {
        self.name = name;
    }

    /// What its host is called, as it tells others.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Who the member is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    //= docs/spec/router.md#routers
    //# A router MUST send statements and hellos on its links though it serves nothing.
    /// Speaks as a router of the link from now on, or no longer. A router lives and says so even
    /// when it serves nothing.
    ///
    /// Returns whether the member starts to listen, so that its host should ask who is there.
    pub fn set_router(&mut self, now: Instant, router: bool) -> bool {
        if self.router == router {
            return false;
        }
        self.router = router;
        match self.phase {
            Phase::Active => {
                self.base = None;
                self.unpublished = true;
            }
            Phase::Idle if router => self.listen(now),
            Phase::Listening { .. } if self.is_mute() => self.phase = Phase::Idle,
            _ => return false,
        }
        self.phase != Phase::Active && router
    }

    /// Whether the member has nothing to say: it is no router and serves nothing.
    fn is_mute(&self) -> bool {
        self.records.is_empty() && !self.router
    }

    /// What the member serves, or will once it has listened.
    pub fn records(&self) -> &RecordSet {
        &self.records
    }

    /// Whether the member speaks, answers and acts.
    pub fn is_active(&self) -> bool {
        self.phase == Phase::Active
    }

    /// Whether nothing is left to do: nothing served, nothing to repeat.
    pub fn is_idle(&self) -> bool {
        let said = self.repeats == 0 && !self.unpublished;
        self.is_mute() && (said || self.phase == Phase::Down)
    }

    /// The phase's name, for `status`.
    pub fn phase(&self) -> &'static str {
        match self.phase {
            Phase::Idle => "idle",
            Phase::Listening { .. } => "listening",
            Phase::Active => "active",
            Phase::Down => "down",
        }
    }

    /// When this life on the link began, and its number.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Serves `record` from now on, or changes how it is served.
    ///
    /// Returns whether the member starts to listen, so that its host should ask who is there.
    pub fn join(&mut self, now: Instant, record: Record) -> bool {
        if let Some(prefix) = record.prefix() {
            self.draining.remove(&prefix);
        }
        let started = self.phase == Phase::Idle;
        self.records.apply(record.clone());
        match self.phase {
            Phase::Idle => self.listen(now),
            Phase::Active => {
                if let Some(prefix) = record.prefix() {
                    self.events.push_back(MemberEvent::Serve(prefix));
                    self.events.push_back(MemberEvent::Renew);
                }
                self.change(record);
            }
            Phase::Listening { .. } | Phase::Down => {}
        }
        started
    }

    /// Stops serving `prefix`: after draining it where `successor` says that somebody can take
    /// over, at once otherwise. Returns false when it is not served.
    pub fn leave(&mut self, now: Instant, prefix: Prefix, successor: bool) -> bool {
        let Some(record) = self.records.get(&prefix) else {
            return false;
        };
        let record = Record {
            draining: true,
            ..record
        };
        //= docs/spec/membership.md#the-member
        //# A member that leaves while another serves the prefix, or while a router is on the link,
        //# MUST mark the record as draining, serve on for at least 1 s, and only then withdraw it.
        if self.phase == Phase::Active && successor {
            if let Entry::Vacant(entry) = self.draining.entry(prefix) {
                entry.insert(now + DRAIN);
                self.records.apply(record.clone());
                self.change(record);
            }
        } else {
            self.withdraw(prefix);
        }
        true
    }

    /// Serves what is being drained on until then: longer than a second, if it is not known yet who
    /// takes over.
    pub fn drain_until(&mut self, prefix: Prefix, until: Instant) {
        if let Some(at) = self.draining.get_mut(&prefix) {
            *at = until;
        }
    }

    /// Takes a new link state: `None` when the link is down or has no address.
    //= docs/spec/membership.md#the-member
    //# A member whose link comes back MUST start a new epoch in the same way.
    pub fn set_identity(&mut self, now: Instant, identity: Option<Identity>) {
        match (identity, self.phase) {
            (None, Phase::Down) => {}
            (None, _) => {
                self.phase = Phase::Down;
                self.hello_at = None;
                self.repeat_at = None;
                self.answer_at = None;
                self.parts.clear();
            }
            (Some(identity), Phase::Down) => {
                self.identity = identity;
                self.restart(now);
            }
            (Some(identity), _) if identity != self.identity => {
                // New addresses are a new statement about everything.
                self.identity = identity;
                if self.phase == Phase::Active {
                    self.base = None;
                    self.publish(now);
                }
            }
            (Some(_), _) => {}
        }
    }

    /// Speaks as `id` from now on, with messages that are `sealing` bytes longer for it.
    ///
    /// Another id is another member, which others get to know at once; for the same id, whatever
    /// vouches for it is theirs at once.
    pub fn set_key(&mut self, now: Instant, id: MemberId, sealing: u16) {
        let another = id != self.identity.id;
        self.identity = Identity {
            id,
            sealing,
            ..self.identity
        };
        if self.phase != Phase::Active {
            return;
        }
        if another {
            self.base = None;
            self.publish(now);
        } else if self.parts.is_empty() {
            self.answer(now);
        } else {
            // Its parts may not fit any more.
            self.nonces = core::mem::take(&mut self.parts_answer);
            self.report_all(now);
        }
    }

    /// Says nothing from now on that `former`, which was this member, may have said in its place:
    /// the same id may come back.
    pub fn outlive(&mut self, former: &Self) {
        self.counter = self.counter.max(former.counter);
    }

    /// Whether a query would be answered, as far as that is for this member to say.
    ///
    /// # Errors
    /// Why it draws no answer.
    pub fn could_answer(&self, query: &Query) -> Result<(), Reason> {
        if self.phase != Phase::Active {
            return Err(Reason::NotMember);
        }
        //= docs/spec/membership.md#transport
        //# A receiver MUST ignore the second copy of a message.
        if self.asked.contains(&query.nonce) {
            return Err(Reason::Duplicate);
        }
        Ok(())
    }

    /// Takes a query for this member or for everybody. One that nobody vouches for has to make do
    /// with half of the answer's room.
    ///
    /// # Errors
    /// Why it draws no answer.
    pub fn handle_query(
        &mut self,
        now: Instant,
        query: &Query,
        vouched: bool,
        random: &mut Random,
    ) -> Result<(), Reason> {
        self.could_answer(query)?;
        if self.nonces.is_empty() {
            self.unvouched = 0;
        }
        //= docs/spec/trust.md#queries
        //# In enforce mode, a member MUST keep half of the nonces of an answer for queries that are
        //# signed as a statement has to be.
        let crowded = !vouched && self.unvouched >= MAX_NONCES / 2;
        // The answer carries no more, so it does not wait for more: who asked in vain asks again.
        if crowded || self.nonces.len() == MAX_NONCES {
            self.answer_by(now);
            return Err(Reason::RateLimited);
        }
        self.unvouched += usize::from(!vouched);
        self.nonces.push(query.nonce);
        self.answer_in_full |= !query.anchor;
        self.asked.truncate(MAX_NONCES - 1);
        self.asked.push_front(query.nonce);
        //= docs/spec/membership.md#query
        //# A member MUST answer a query to it or to everybody at a random time within the maximum
        //# response: with an anchor where that is enough for all it answers, else with a full report.
        self.answer_by(now + random.span(query.max_response));
        Ok(())
    }

    /// Plans an answer for `at`, or as soon after that as answers may be sent.
    fn answer_by(&mut self, mut at: Instant) {
        //= docs/spec/membership.md#query
        //# A member MUST NOT answer more often than once in 300 ms, or once in a hello interval
        //# where that is shorter.
        if let Some(answered) = self.answered {
            at = at.max(answered + self.timing.ask_interval());
        }
        self.answer_at = Some(self.answer_at.map_or(at, |planned| planned.min(at)));
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant, random: &mut Random) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        //= docs/spec/membership.md#the-member
        //# A member that finds that it has said nothing for its dead time MUST take itself for
        //# dead: it starts a new epoch and listens again before it speaks, answers or acts.
        if self.hello_at.is_some() && now >= self.spoke + self.timing.dead_time() {
            // Everybody else has declared this member dead: what it thinks it owns, it does not.
            return self.restart(now);
        }
        if let Phase::Listening { until } = self.phase
            && until <= now
        {
            self.activate(now);
        }
        let drained: Vec<_> = self
            .draining
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(p, _)| *p)
            .collect();
        for prefix in drained {
            self.withdraw(prefix);
        }
        if self.unpublished && self.phase == Phase::Active {
            self.publish(now);
        }
        if due(self.hello_at) {
            self.hello(now);
        }
        self.say_parts(now);
        // What is being said in parts is said to its end first.
        if !self.parts.is_empty() {
            return;
        }
        if due(self.repeat_at) {
            self.report_changes(now);
            self.repeats = self.repeats.saturating_sub(1);
            self.plan_repeat(now, random);
        }
        if self.repeats > 0 && self.repeat_at.is_none() {
            self.plan_repeat(now, random);
        }
        if due(self.answer_at) {
            self.answer_at = None;
            self.answered = Some(now);
            self.answer(now);
        }
    }

    /// When [`Self::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.phase == Phase::Down {
            return None;
        }
        let listening = match self.phase {
            Phase::Listening { until } => Some(until),
            _ => None,
        };
        let unplanned = self.repeats > 0 && self.repeat_at.is_none() && self.parts.is_empty();
        let waiting = (unplanned || self.unpublished).then_some(Instant::ZERO);
        let drained = self.draining.values().min().copied();
        let next = if self.parts.is_empty() {
            earliest([self.repeat_at, self.answer_at])
        } else {
            Some(self.parts_at)
        };
        earliest([listening, drained, self.hello_at, waiting, next])
    }

    /// What the member has to say, oldest first.
    pub fn poll_transmit(&mut self) -> Option<Speech> {
        self.speech.pop_front()
    }

    /// What the host has to do, oldest first.
    pub fn poll_event(&mut self) -> Option<MemberEvent> {
        self.events.pop_front()
    }

    fn listen(&mut self, now: Instant) {
        self.phase = Phase::Listening {
            //= docs/spec/membership.md#the-member
            //# A member MUST listen for 500 ms before its first report, so that its first rank is
            //# the right one.
            until: now + LISTEN,
        };
        self.born = now;
    }

    /// A new life: nothing said before counts.
    fn restart(&mut self, now: Instant) {
        self.epoch += 1;
        self.counter = 0;
        self.unpublished = false;
        self.hello_at = None;
        self.repeat_at = None;
        self.repeats = 0;
        self.answer_at = None;
        self.nonces.clear();
        self.answer_in_full = false;
        self.parts.clear();
        self.speech.clear();
        // What was being drained has been drained by now.
        let draining: Vec<_> = core::mem::take(&mut self.draining).into_keys().collect();
        for prefix in draining {
            self.records.apply(withdrawal(prefix));
            self.events.push_back(MemberEvent::Withdraw(prefix));
        }
        self.phase = Phase::Idle;
        if !self.is_mute() {
            self.events.push_back(MemberEvent::Rejoined);
            self.listen(now);
        }
    }

    fn activate(&mut self, now: Instant) {
        self.phase = Phase::Active;
        for (prefix, _) in self.records.prefixes() {
            self.events.push_back(MemberEvent::Serve(prefix));
        }
        self.events.push_back(MemberEvent::Renew);
        self.base = None;
        self.publish(now);
    }

    fn withdraw(&mut self, prefix: Prefix) {
        self.draining.remove(&prefix);
        let record = withdrawal(prefix);
        self.records.apply(record.clone());
        self.events.push_back(MemberEvent::Withdraw(prefix));
        match self.phase {
            Phase::Active => self.change(record),
            Phase::Listening { .. } if self.is_mute() => self.phase = Phase::Idle,
            _ => {}
        }
    }
}

//= docs/spec/membership.md#the-member
//# A member MUST withdraw a record with lifetime 0 when it leaves.
fn withdrawal(prefix: Prefix) -> Record {
    Record {
        address: RecordAddress::Prefix(prefix),
        draining: false,
        scope: crate::wire::Scope::Link,
        preference: 0,
        lifetime: Duration::ZERO,
        serial: None,
    }
}
