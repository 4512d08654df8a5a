//! What becomes of other members, and what this host announces for it.

use core::net::IpAddr;

use super::routing::{Elsewhere, Notice};
use super::{Link, own};
use crate::addr::Prefix;
use crate::node::Event;
use crate::proto::What;
use crate::proto::ownership;
use crate::proto::view::Change;
use crate::time::Instant;
use crate::wire::frame;

impl Link {
    pub(super) fn drain_view(&mut self, now: Instant, elsewhere: Elsewhere<'_>) {
        while let Some(event) = self.view.poll_event() {
            (self.stale, self.unpinned) = (true, true);
            if let Some(routing) = &mut self.routing {
                routing.notice(Notice::Peer(event.id));
            }
            let gone = event.gone();
            if matches!(event.change, Change::Left | Change::Dead) {
                self.strangers.acquaint(now, event.mac);
            }
            if gone.is_empty() {
                self.ownership.heard(event.id);
            } else if let Some(own) = own(&self.member) {
                let mine = |prefix: &&Prefix| own.records.get(prefix).is_some();
                let asked = || self.responder.asked();
                let mut targets: Vec<_> = gone
                    .iter()
                    .filter(mine)
                    .flat_map(|p| ownership::targets(*p, asked()))
                    .collect();
                //= docs/spec/router.md#proxy
                //# When the last member of an address on the link is gone, the forwarder MUST announce
                //# the address as a member of rank 1 does, if a host has asked for it.
                let served = |target: &IpAddr| event.before.longest_match(*target).is_some();
                let stands_in = |target: &IpAddr| self.stands_in(*target, elsewhere);
                targets.extend(asked().filter(served).filter(stands_in));
                let mut ownership = core::mem::take(&mut self.ownership);
                ownership.departed(now, event.id, targets, own, &self.view, |target| {
                    self.stands_in(target, elsewhere)
                });
                self.ownership = ownership;
                if self.routing.is_some() {
                    self.orphan(self.asked_of(&event.before), elsewhere);
                }
            }
            if event.change == Change::Joined {
                self.ownership.heard(event.id);
            }
            let (link, id, change) = (self.id, event.id, event.change);
            self.events.push_back(Event::Member { link, id, change });
        }
    }

    pub(super) fn announce(&mut self, now: Instant, elsewhere: Elsewhere<'_>) {
        let Some(own) = own(&self.member) else {
            return self.ownership.stop();
        };
        //= docs/spec/link.md#takeover
        //# A member MUST NOT announce an address for any other reason, but to defend it against a
        //# stranger.
        let mac = own.mac;
        let mut ownership = core::mem::take(&mut self.ownership);
        let stands_in = |target| self.proxy_place(target, elsewhere).is_some();
        let next = || ownership.poll_announcement(now, own, &self.view, stands_in);
        let targets: Vec<_> = core::iter::from_fn(next).collect();
        self.ownership = ownership;
        for target in targets {
            let ipv6 = self.state.and_then(|state| state.ipv6);
            //= docs/spec/membership.md#transport
            //# On a link without link-layer addresses a member MUST NOT announce or answer for an
            //# address by ARP or neighbour discovery.
            if self.state.is_some_and(|state| state.resolves())
                && let Some(frame) = frame::announcement(target, mac, ipv6)
            {
                self.frames.push_back((What::Announcement, frame));
            }
        }
    }
}
