//! This host at another link-layer address: another port of its bond, another virtual card, another
//! interface in the place of one that was removed.
//!
//! Nobody left, so nobody takes over; but what others have cached leads to where this host was. It
//! says itself where it is now, as a successor would, be it member, client or router: to all for what it owns and for its unicast
//! addresses, and, for what another member owns by now, to those whom it has answered itself.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::routing::Elsewhere;
use super::{Event, Link, own};
use crate::proto::What;
use crate::proto::ownership::{self, ANNOUNCEMENT_INTERVAL, ANNOUNCEMENTS};
use crate::proto::pin::addresses;
use crate::proto::view::Peer;
use crate::time::Instant;
use crate::wire::MemberId;
use crate::wire::frame::{self, Mac, Request};

/// Askers that are remembered, each for each address that it was answered for.
const MAX_ANSWERED: usize = 4096;

/// Where this host was, and who knows it there.
#[derive(Debug, Clone, Default)]
pub(super) struct Moved {
    /// Where this host last acted, and when its link went down since.
    was: Option<(Mac, Option<Instant>)>,
    /// Who was answered for what, and when last.
    answered: BTreeMap<(Mac, IpAddr), Instant>,
    /// Announcements that are left, and when the next is due.
    left: u8,
    at: Option<Instant>,
}

/// What a link that is gone leaves to the one that takes its place.
#[derive(Debug, Clone)]
pub(in crate::node) struct Legacy {
    pub(in crate::node) id: MemberId,
    moved: Moved,
}

impl Moved {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.at
    }

    /// An asker was answered.
    pub(super) fn answered(&mut self, now: Instant, request: &Request) {
        let key = (request.mac, request.target);
        if self.answered.len() >= MAX_ANSWERED && !self.answered.contains_key(&key) {
            let oldest = self.answered.iter().min_by_key(|(_, at)| **at);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                self.answered.remove(&oldest);
            }
        }
        self.answered.insert(key, now);
    }

    /// The link went down.
    pub(super) fn rests(&mut self, now: Instant) {
        if let Some((_, down)) = &mut self.was {
            down.get_or_insert(now);
        }
    }
}

impl Link {
    /// What the link that takes this one's place goes by.
    pub(in crate::node) fn legacy(&self) -> Legacy {
        Legacy {
            id: self.member.identity().id,
            moved: self.moved.clone(),
        }
    }

    /// Takes the place of a link that is gone: whoever knew this host there knows it here.
    pub(in crate::node) fn succeed(&mut self, now: Instant, legacy: Legacy) {
        self.moved = legacy.moved;
        if self.credentials.is_none() {
            //= docs/spec/membership.md#header
            //# A member without a key MUST keep its id for as long as it lives, whatever becomes of its
            //# link-layer address.
            let sealing = self.member.identity().sealing;
            self.member.set_key(now, legacy.id, sealing);
        }
    }

    /// Has the host look where its kernel has an asker, unless others say where that one is: members
    /// and routers do themselves.
    pub(super) fn tell_asker(&mut self, request: &Request) {
        let (link, address, mac) = (self.id, request.source, request.mac);
        let own = self.member.identity();
        let own = [own.ipv4.map(IpAddr::V4), own.ipv6.map(IpAddr::V6)];
        let states = |peer: &Peer| addresses(peer).any(|at| at == address);
        if request.is_for_duplicates()
            || frame::is_group(mac)
            || self.class.contains(address)
            || own.contains(&Some(address))
            || self.pins.iter().any(|(pinned, _)| pinned == address)
            || self.view.peers().any(|(_, peer)| states(peer))
        {
            return;
        }
        let asker = Event::Asker { link, address, mac };
        self.events.push_back(asker);
    }

    /// Looks whether this host acts from another link-layer address than before.
    pub(super) fn advance_moved(&mut self, now: Instant, elsewhere: Elsewhere<'_>) {
        let Some(mac) = self.state.map(|state| state.mac) else {
            return;
        };
        // A member that has not reported yet will own something, and says so then.
        let silent = self.resolver.is_none() && self.routing.is_none();
        if own(&self.member).is_none() && (silent || !self.member.is_idle()) {
            return;
        }
        let before = self.moved.was.replace((mac, None));
        if let Some((was, down)) = before
            && was != mac
        {
            self.moved.left = ANNOUNCEMENTS;
            self.moved.at = Some(now);
            // Whoever was away for longer was taken for dead: others act in its place by now.
            let dead = |down: Instant| now >= down + self.timing.dead_time();
            let succeeded = down.is_some_and(dead);
            self.announce_owned(now, succeeded, elsewhere);
            if succeeded {
                self.moved.answered.clear();
            }
        }
        if self.moved.at.is_some_and(|at| at <= now) {
            self.tell_where(mac);
            self.moved.left = self.moved.left.saturating_sub(1);
            self.moved.at = (self.moved.left > 0).then(|| now + ANNOUNCEMENT_INTERVAL);
        }
    }

    fn announce_owned(&mut self, now: Instant, succeeded: bool, elsewhere: Elsewhere<'_>) {
        let Some(own) = own(&self.member) else {
            return;
        };
        let asked = || self.responder.asked();
        let served = own.records.prefixes();
        let mut targets: Vec<IpAddr> = served
            .flat_map(|(prefix, _)| ownership::targets(prefix, asked()))
            .filter(|target| !succeeded || self.ranks(*target).len() == 1)
            .collect();
        targets.extend(asked().filter(|target| self.stands_in(*target, elsewhere)));
        let mut ownership = core::mem::take(&mut self.ownership);
        //= docs/spec/link.md#takeover
        //# A member whose link-layer address changes MUST announce what it owns, and its own
        //# unicast addresses, as one does that takes over; and tell those whom it has answered for
        //# what another member owns.
        ownership.departed(now, own.id, targets, own, &self.view, |target| {
            self.stands_in(target, elsewhere)
        });
        self.ownership = ownership;
    }

    //= docs/spec/link.md#takeover
    //# A client or router whose link-layer address changes MUST announce its own unicast addresses
    //# likewise.
    fn tell_where(&mut self, mac: Mac) {
        let Some(state) = self.state.filter(|state| state.resolves()) else {
            return;
        };
        let unicast = [state.ipv4.map(IpAddr::V4), state.ipv6.map(IpAddr::V6)];
        let unicast = unicast.into_iter().flatten();
        let mut frames: Vec<_> = unicast
            .filter_map(|address| frame::announcement(address, mac, state.ipv6))
            .collect();
        let others = self.moved.answered.keys().filter(|(_, target)| {
            let ranks = self.ranks(*target);
            ranks.iter().any(|c| c.own) && !ranks.first().is_some_and(|c| c.own)
        });
        frames.extend(
            others.filter_map(|(to, target)| frame::announcement_to(*to, *target, mac, state.ipv6)),
        );
        let frames = frames.into_iter().map(|frame| (What::Announcement, frame));
        self.frames.extend(frames);
    }
}
