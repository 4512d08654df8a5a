//! A peer: what one other member has said, and how its hellos are measured.

use std::sync::Arc;

use super::super::chain::Tail;
use super::super::record_set::RecordSet;
use super::super::trust::Standing;
use super::super::{Reason, Timing};
use super::clock::{Clock, Lies, micros};
use super::parts::{Gathered, Parts};
use super::usable::{Filter, Skipped};
use crate::time::Instant;
use crate::wire::frame::Mac;
use crate::wire::{ChainId, MemberId, MessageOption, Name, Statement, StatementKind};

/// One other member on the link.
#[derive(Debug, Clone)]
pub struct Peer {
    pub(super) epoch: u64,
    pub(super) interface: u32,
    pub(super) counter: u32,
    pub(super) generation: u32,
    /// The generation that the peer has stated last, and its hellos stand for.
    pub(super) stated: u32,
    pub(super) digest: [u8; 16],
    pub(super) mac: Mac,
    pub(super) ipv4: Option<core::net::Ipv4Addr>,
    pub(super) ipv6: Option<core::net::Ipv6Addr>,
    pub(super) timing: Timing,
    pub(super) chains: Vec<(ChainId, Tail)>,
    pub(super) clock: Clock,
    pub(super) router: bool,
    pub(super) name: Option<Name>,
    /// What the peer has said that it serves; all of it, unless `partial`.
    pub(super) said: RecordSet,
    /// There was no room for all of it.
    pub(super) partial: bool,
    /// What of it counts here, and what does not.
    pub(super) records: RecordSet,
    pub(super) skipped: Vec<Skipped>,
    pub(super) parts: Parts,
    pub(super) heard: Instant,
    /// When it was first heard in this life.
    pub(super) known: Instant,
    /// What its last statement was verified to be allowed; `None` if it was not verified.
    pub(super) standing: Option<Arc<Standing>>,
    /// When a hello had a wrong value last.
    pub(super) wrong_at: Option<Instant>,
}

impl Peer {
    /// The peer's link-layer address.
    pub fn mac(&self) -> Mac {
        self.mac
    }

    /// The peer's IPv4 unicast address.
    pub fn ipv4(&self) -> Option<core::net::Ipv4Addr> {
        self.ipv4
    }

    /// The peer's IPv6 unicast address.
    pub fn ipv6(&self) -> Option<core::net::Ipv6Addr> {
        self.ipv6
    }

    //= docs/spec/membership.md#statement
    //# A receiver MUST NOT use a name but to show it to people: it proves nothing, and two members
    //# may state the same.
    /// What the peer's host is called, as it says itself: for people alone.
    pub fn name(&self) -> Option<&Name> {
        self.name.as_ref()
    }

    /// Whether the peer is a router of the link.
    pub fn is_router(&self) -> bool {
        self.router
    }

    /// Whether all records that the peer has stated are here.
    pub fn is_complete(&self) -> bool {
        self.generation > 0 && self.parts.is_empty()
    }

    /// Whether the records that its hellos stand for are here.
    pub(crate) fn has_records(&self) -> bool {
        self.stated == self.generation
    }

    /// Whether its hellos stand for records that are neither here nor on their way.
    pub(super) fn lacks_records(&self) -> bool {
        self.stated != self.generation && self.parts.is_empty()
    }

    /// What of that which the peer serves counts here.
    pub fn records(&self) -> &RecordSet {
        &self.records
    }

    /// What of that which the peer serves does not count here, and why.
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The timers the peer states.
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// The peer's life, and the generation of its records.
    pub fn version(&self) -> (u64, u32) {
        (self.epoch, self.generation)
    }

    /// What the peer was verified to be allowed when it last made a statement; `None` if nobody
    /// vouched for that.
    pub fn standing(&self) -> Option<&Arc<Standing>> {
        self.standing.as_ref()
    }

    /// When the peer was heard first in this life of it.
    pub fn known_since(&self) -> Instant {
        self.known
    }

    /// When the peer was heard last.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// When the peer is dead, unless it is heard before.
    pub fn dies_at(&self) -> Instant {
        self.heard + self.timing.dead_time()
    }

    /// Where the peer is reached.
    pub(super) fn reached_at(
        &self,
    ) -> (
        Mac,
        Option<core::net::Ipv4Addr>,
        Option<core::net::Ipv6Addr>,
    ) {
        (self.mac, self.ipv4, self.ipv6)
    }

    /// How many records are kept of it, those of an incomplete report included.
    pub(super) fn held(&self) -> usize {
        self.said.len() + self.parts.held()
    }

    /// Where the moment of hello `index` lies by the peer's clock.
    pub(super) fn place(&self, now: Instant, index: u32) -> Lies {
        self.clock
            .place(now, self.time_of(index), self.timing.dead_time())
    }

    /// The peer's time at hello `index`, in microseconds.
    fn time_of(&self, index: u32) -> u64 {
        micros(self.timing.hello).saturating_mul(index.into())
    }

    /// A sign of life that was made when the peer's time was `time`, in microseconds.
    fn lives(&mut self, now: Instant, time: u64) {
        //= docs/spec/membership.md#proof-of-time
        //# A member whose time is proved lives for a dead time from when it made its last sign of
        //# life, however late that came.
        let made = if self.clock.is_fresh() {
            self.clock.when(now, time)
        } else {
            now
        };
        self.heard = self.heard.max(made);
    }

    /// Takes the peer to have made hello `index`.
    pub(super) fn said_hello(&mut self, now: Instant, index: u32) {
        self.lives(now, self.time_of(index));
    }

    pub(super) fn new(now: Instant, statement: &Statement, before: Option<&Self>) -> Self {
        Self {
            epoch: statement.epoch,
            interface: statement.interface,
            counter: 0,
            generation: 0,
            stated: 0,
            digest: [0; 16],
            mac: statement.mac,
            ipv4: None,
            ipv6: None,
            timing: Timing {
                hello: statement.hello_interval,
                dead_hellos: statement.dead_hellos,
            },
            chains: Vec::new(),
            clock: Clock::new(now, statement.time, false),
            router: false,
            name: before.and_then(|peer| peer.name.clone()),
            said: before.map(|peer| peer.said.clone()).unwrap_or_default(),
            partial: before.is_some_and(|peer| peer.partial),
            records: before.map(|peer| peer.records.clone()).unwrap_or_default(),
            skipped: before.map(|peer| peer.skipped.clone()).unwrap_or_default(),
            parts: Parts::default(),
            heard: now,
            known: now,
            standing: None,
            wrong_at: None,
        }
    }

    /// Everything of a statement but its records.
    pub(super) fn take_in(
        &mut self,
        now: Instant,
        id: MemberId,
        statement: &Statement,
        fresh: bool,
    ) {
        self.counter = statement.counter;
        self.stated = statement.generation;
        self.mac = statement.mac;
        self.ipv4 = statement.ipv4;
        self.ipv6 = statement.ipv6;
        self.router = statement.router;
        if let Some(name) = MessageOption::name(&statement.options) {
            self.name = Some(name.clone());
        }
        self.timing = Timing {
            hello: statement.hello_interval,
            dead_hellos: statement.dead_hellos,
        };
        if fresh {
            self.clock.set(now, statement.time);
        } else if !self.clock.is_fresh() {
            self.clock = Clock::new(now, statement.time, false);
        }
        self.lives(now, micros(statement.time));
        let chain = statement.chain_id(id);
        if self.chains.iter().any(|(known, _)| *known == chain) {
            return;
        }
        // A new generation retires the old chain; an anchor of the same generation adds the next.
        if statement.generation != self.generation || self.chains.len() > 1 {
            self.chains.clear();
        }
        self.chains.push((chain, Tail::new(statement.chain)));
    }

    /// Whether the records of the statement's generation are here.
    fn holds(&self, statement: &Statement) -> bool {
        (statement.generation, statement.digest) == (self.generation, self.digest)
    }

    /// The records after `statement`; `None` while parts are missing or nothing changes.
    pub(super) fn next_records(
        &mut self,
        now: Instant,
        statement: &Statement,
        limit: (usize, Reason),
        filter: Filter<'_>,
    ) -> Result<Option<Gathered>, Reason> {
        match statement.kind {
            StatementKind::Full { part, parts } => {
                // What is held already, said again: the answer to somebody's question. Of what is
                // not held in full, there may be room for more by now.
                if self.holds(statement) && !self.partial {
                    return Ok(None);
                }
                let part = (part, parts);
                let records = &statement.records;
                let generation = statement.generation;
                self.parts
                    .collect(now, generation, part, records, limit, filter)
            }
            StatementKind::Delta { base } => {
                if self.holds(statement) {
                    return Ok(None);
                }
                //= docs/spec/membership.md#statement
                //# A receiver that holds an older generation than the base of a delta, or gets
                //# another digest than the stated one, MUST keep the records it has and query the
                //# member.
                if self.generation < base {
                    return Err(Reason::GenerationGap);
                }
                //= docs/spec/membership.md#statement
                //# A receiver that has not kept all records of a member MUST query it upon a delta.
                if self.partial {
                    return Err(Reason::GenerationGap);
                }
                let mut records = self.said.clone();
                records.apply_all(&statement.records);
                Ok(Some(Gathered {
                    records,
                    partial: false,
                }))
            }
            StatementKind::Anchor if self.holds(statement) => Ok(None),
            StatementKind::Anchor => Err(Reason::GenerationGap),
        }
    }
}
