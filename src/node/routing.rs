//! The host as a router: one table over its links.

use super::link::{Heard, Link, Notice};
use super::{Event, LinkId, Node, Router};
use crate::addr::Prefix;
use crate::time::Instant;

impl Node {
    /// The routing table over all links; none if the host is no router.
    pub fn router(&self) -> Option<&Router> {
        self.router.as_ref()
    }

    /// Other routing daemons have routes to these prefixes of the class: where this host is the
    /// forwarder of a link, it answers for them too.
    pub fn set_remote(&mut self, prefixes: impl IntoIterator<Item = Prefix>) {
        let mut remote: Vec<Prefix> = prefixes.into_iter().map(|prefix| prefix.trunc()).collect();
        remote.sort_unstable();
        remote.dedup();
        if self.remote != remote {
            self.remote = remote;
            self.links.values_mut().for_each(Link::reroute);
        }
    }

    /// Says, before a link comes up, whether this host is a router of it where it is one at all. It
    /// is, unless told otherwise.
    pub fn set_routed(&mut self, id: LinkId, routed: bool) {
        if routed {
            self.unrouted.remove(&id);
        } else {
            self.unrouted.insert(id);
        }
    }

    /// A member gave a sign of life.
    pub(super) fn revive(&mut self, now: Instant, id: LinkId, frame: &Heard) {
        let Some(router) = self.router.as_mut().filter(|router| router.has_lapsed()) else {
            return;
        };
        if let Some(member) = frame.sender() {
            router.handle_life(now, id, member);
            self.drain_router(now);
        }
    }

    /// Tells the table what has become of a link, and the runner what has become of the table.
    pub(super) fn advance_router(&mut self, now: Instant, id: LinkId) {
        let Some(router) = &mut self.router else {
            return;
        };
        if let Some(link) = self.links.get_mut(&id) {
            while let Some(notice) = link.poll_notice() {
                match notice {
                    //= docs/spec/trust.md#pins
                    //# In enforce mode, a router MUST NOT use a member as a next hop before its
                    //# addresses are proved, nor while one of them is contested.
                    Notice::Peer(member) => match link.may_be_hop(member) {
                        Some(true) => router.handle_peer(id, member, link.view().get(member)),
                        Some(false) => router.handle_peer(id, member, None),
                        // It is told again when it is known; until then it is where it was.
                        None => {}
                    },
                    Notice::Cleared => router.clear_link(id),
                    Notice::Doubted => {
                        router.doubt_link(id);
                        self.recovered = false;
                    }
                    Notice::Recovered => router.sweep(id),
                }
            }
        }
        let links = &self.links;
        router.handle_timeout(now, |link, member| {
            let peer = links.get(&link)?.view().get(member)?;
            Some(peer.heard())
        });
        self.drain_router(now);
    }

    fn drain_router(&mut self, now: Instant) {
        let Some(router) = &mut self.router else {
            return;
        };
        let mut changed = false;
        while let Some(route) = router.poll_route() {
            changed = true;
            self.events.push_back(Event::Route {
                prefix: route.prefix,
                scope: route.scope,
                draining: route.draining,
                hops: route.hops,
            });
        }
        while let Some((link, id, reason)) = router.poll_refusal() {
            self.counters.count_ignored(reason);
            if let Some(link) = self.links.get_mut(&link) {
                link.refuse(now, id, reason);
                while let Some(event) = link.poll_event() {
                    self.events.push_back(event);
                }
            }
        }
        if changed {
            self.links.values_mut().for_each(Link::reroute);
        }
        let routed = self.links.values().any(Link::is_routed);
        let recovered = routed && self.links.values().all(Link::is_recovered);
        if recovered && !self.recovered {
            self.events.push_back(Event::Recovered);
        }
        self.recovered = recovered;
    }
}
