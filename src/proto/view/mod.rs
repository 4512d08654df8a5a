//! The view: who else is on the link, what they serve, and whether they live.
//!
//! A statement enters or updates a peer; hellos keep it alive by revealing its chain, and are
//! checked without looking at the records. What does not fit together (an unknown chain, a gap
//! between generations) leaves the state as it is and asks the peer, once in a while.

mod clock;
mod event;
mod hello;
mod parts;
mod peer;
mod questions;
mod statement;
mod usable;

use std::collections::{BTreeMap, VecDeque};

use event::farewell;
pub use event::{Change, PeerEvent};
pub use peer::Peer;
pub use questions::Question;
pub use usable::Skipped;

use questions::Questions;
use usable::Filter;

use super::Timing;
use super::record_set::RecordSet;
use crate::addr::Class;
use crate::time::{Duration, Instant};
use crate::wire::MemberId;
use crate::wire::frame::Mac;

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

    /// Records of these prefixes count from now on.
    pub fn set_class(&mut self, class: Class) {
        self.class = class;
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
        let ids: Vec<_> = self.peers.keys().copied().collect();
        ids.into_iter().for_each(|id| self.sift(id));
    }

    /// Works out anew what of a peer's records counts here, and tells of it.
    fn sift(&mut self, id: MemberId) {
        let (_, no_room) = self.room(id);
        let Some(peer) = self.peers.get_mut(&id) else {
            return;
        };
        let before = peer.records.clone();
        let standing = peer.standing.clone().filter(|_| self.strict);
        let filter = Filter {
            class: &self.class,
            standing: standing.as_deref(),
        };
        if peer.sift(filter, no_room) {
            let (mac, after) = (peer.mac, peer.records.clone());
            self.events.extend(event::of_records(
                (id, mac),
                before,
                after,
                false,
                [false; 2],
            ));
        }
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
