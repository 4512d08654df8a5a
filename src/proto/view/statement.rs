//! Statements: what a peer says of itself, and what of it counts here.

use core::cmp::Ordering;
use core::net::IpAddr;
use std::sync::Arc;

use super::clock::{Lies, micros};
use super::event::{farewell, of_records};
use super::parts::Parts;
use super::{Change, Filter, Peer, Source, View};
use crate::proto::trust::Standing;
use crate::proto::{Reason, earliest};
use crate::time::Instant;
use crate::wire::{MemberId, MessageOption, Statement, StatementKind};

impl View {
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
        //= docs/spec/membership.md#statement
        //# A receiver MUST bound the number of members and of records that it keeps.
        if full && !self.peers.contains_key(&id) && self.silent(now).is_none() {
            return Err(Reason::TableFull);
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
            before => Peer::new(now, statement, before.map(|peer| &*peer)),
        };
        let (place, records) = (peer.reached_at(), peer.records.clone());
        // Which family it can no longer act for: IPv4, IPv6.
        let lost = [
            peer.ipv4.is_some() && statement.ipv4.is_none(),
            peer.ipv6.is_some() && statement.ipv6.is_none(),
        ];
        peer.take_in(now, id, statement, fresh);
        let allowed = standing.filter(|_| self.strict).map(AsRef::as_ref);
        peer.router &= allowed.is_none_or(Standing::routes);
        let again = peer.standing.as_ref() != standing;
        peer.standing = standing.cloned();
        let moved = peer.reached_at() != place;
        let (room, no_room) = self.room(id);
        let filter = Filter {
            class: &self.class,
            standing: allowed,
        };
        let next = peer.next_records(now, statement, (room, no_room), filter);
        let result = match next {
            Err(reason) if reason == no_room => return Err(no_room),
            Ok(Some(next)) if !next.partial && next.records.digest() != statement.digest => {
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
            Ok(Some(next)) => {
                peer.partial = next.partial || next.records.len() > room;
                peer.said = match peer.partial {
                    true => filter.trim(&next.records, room),
                    false => next.records,
                };
                peer.generation = statement.generation;
                peer.digest = statement.digest;
                peer.parts = Parts::default();
                peer.sift(filter, no_room);
                Ok(())
            }
            Ok(None) => {
                // The same records; but what they are worth may have changed.
                if again {
                    peer.sift(filter, no_room);
                }
                Ok(())
            }
            Err(reason) => {
                self.ask(id);
                Err(reason)
            }
        };
        let after = peer.records.clone();
        self.events
            .extend(of_records((id, peer.mac), records, after, moved, lost));
        if full
            && !self.peers.contains_key(&id)
            && let Some(silent) = self.silent(now)
            && let Some(peer) = self.peers.remove(&silent)
        {
            self.router_changes += u64::from(peer.router);
            self.events.extend(farewell(silent, &peer, Change::Dead));
        }
        self.wake = earliest([self.wake, Some(peer.dies_at()), peer.parts.missed_at()]);
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

    /// How many records `id` may have, and why no more.
    pub(super) fn room(&self, id: MemberId) -> (usize, Reason) {
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
    pub(super) fn silent(&self, now: Instant) -> Option<MemberId> {
        let (id, peer) = self.peers.iter().min_by_key(|(_, peer)| peer.heard)?;
        (now >= peer.heard + self.timing.dead_time()).then_some(*id)
    }
}
