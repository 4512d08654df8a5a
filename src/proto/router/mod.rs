//! The router: which members serve what on which link, and the one route of each prefix.
//!
//! | | a member's records change | a member dies or leaves | a hello | a lifetime passes | recovery ends |
//! |---|---|---|---|---|---|
//! | fresh | difference applied | records taken out | – | those records taken out | – |
//! | lapsed | difference applied → fresh | records taken out | put back → fresh | those records taken out | – |
//! | stale (this host slept) | difference applied → fresh | records taken out | – | – | records taken out |
//! | refused (router limit) | tried again | tried again when others go | – | – | – |
//!
//! The table is the members' own sets of records, shared with the views of the links: a membership
//! costs its 32 bytes once. A change is the difference of two sorted sets, and touches the routes
//! of the prefixes that differ; a hello touches nothing. Of each prefix's members the best become
//! its next hops: not draining before draining, then higher preference; at most so many of equal
//! ones, and one that is a next hop stays one as long as it is among the best, so that flows stay
//! where they are. Equal sets of next hops are one set in memory.

mod holder;
mod routes;

use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::view::Peer;
use super::{LinkId, Reason, earliest};
use crate::addr::Prefix;
use crate::time::{Duration, Instant};
use crate::wire::frame::Mac;
use crate::wire::{MemberId, Record, Scope};
use holder::Holder;
use routes::{Change, Routes};

/// What a router keeps, and how often it asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RouterConfig {
    /// Next hops of one route at most; at least 1. Linux's groups hold more, but a set is said to
    /// the kernel as a whole.
    pub hops: usize,
    /// Memberships (records of a member on a link) on all links together at most.
    pub memberships: usize,
    /// Whether requests for the addresses of members elsewhere are answered where this host is the
    /// forwarder.
    pub proxy: bool,
    /// How often the querier asks everybody (RFC 3376 §8.2: 125 s).
    pub query_interval: Duration,
}

impl Default for RouterConfig {
    fn default() -> Self {
        Self {
            hops: 16,
            memberships: 1 << 20,
            proxy: true,
            query_interval: Duration::from_secs(125),
        }
    }
}

/// A next hop: a member on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// The link.
    pub link: LinkId,
    /// The member's unicast address there, of the route's family.
    pub address: IpAddr,
    /// The member's link-layer address there.
    pub mac: Mac,
}

/// The route of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The prefix.
    pub prefix: Prefix,
    /// How far it may be carried: as far as that of its next hops that may go least far.
    pub scope: Scope,
    /// Whether all its next hops are about to stop serving, so that any other route is better.
    pub draining: bool,
    /// The next hops, in ascending order; none when there is no route any more.
    pub hops: Arc<[Hop]>,
}

/// The router's table over all links.
#[derive(Debug, Clone)]
pub struct Router {
    config: RouterConfig,
    holders: BTreeMap<(LinkId, MemberId), Holder>,
    routes: Routes,
    /// Records of all holders that are taken in.
    memberships: usize,
    /// Whether there may be holders that this router had no place for.
    refusing: bool,
    refusals: VecDeque<(LinkId, MemberId, Reason)>,
    /// No lifetime passes before this.
    wake: Option<Instant>,
    /// How many holders have lapsed records.
    lapsed: usize,
}

impl Router {
    /// A router that knows nobody.
    pub fn new(config: RouterConfig) -> Self {
        Self {
            config,
            holders: BTreeMap::new(),
            routes: Routes::new(config.hops.max(1)),
            memberships: 0,
            refusing: false,
            refusals: VecDeque::new(),
            wake: None,
            lapsed: 0,
        }
    }

    /// What the router may keep.
    pub fn config(&self) -> &RouterConfig {
        &self.config
    }

    /// A member was heard to serve something else, or has other addresses, or (`None`) is gone.
    pub fn handle_peer(&mut self, link: LinkId, id: MemberId, peer: Option<&Peer>) {
        let Some(peer) = peer.filter(|peer| !peer.records().is_empty()) else {
            self.forget(link, id);
            return self.retry();
        };
        let holder = self.holders.entry((link, id)).or_default();
        let before = holder.clone();
        holder.take_in(link, peer);
        self.lapsed -= usize::from(before.is_lapsed());
        self.plan(link, id, peer.heard());
        self.admit((link, id), &before);
        self.retry();
    }

    /// Whether records of a member that lives have lapsed, so that its signs of life matter.
    pub fn has_lapsed(&self) -> bool {
        self.lapsed > 0
    }

    /// A member gave a sign of life: what has lapsed of it holds again. Costs nothing while nothing
    /// has lapsed.
    pub fn handle_life(&mut self, now: Instant, link: LinkId, id: MemberId) {
        if self.lapsed == 0 {
            return;
        }
        let Some(holder) = self.holders.get_mut(&(link, id)).filter(|h| h.is_lapsed()) else {
            return;
        };
        let before = holder.clone();
        holder.lapse(None);
        self.lapsed -= 1;
        self.plan(link, id, now);
        self.apply((link, id), &before);
    }

    /// Takes out what members have said to be kept no longer. `heard` tells when a member gave its
    /// last sign of life.
    pub fn handle_timeout(
        &mut self,
        now: Instant,
        heard: impl Fn(LinkId, MemberId) -> Option<Instant>,
    ) {
        if self.wake.is_none_or(|wake| now < wake) {
            return;
        }
        self.wake = None;
        let short = self.holders.iter().filter_map(|(key, holder)| {
            let (lifetime, heard) = (holder.next_lapse()?, heard(key.0, key.1)?);
            Some((*key, heard, lifetime))
        });
        for ((link, id), heard, lifetime) in short.collect::<Vec<_>>() {
            if now < heard + lifetime {
                self.plan(link, id, heard);
                continue;
            }
            let Some(holder) = self.holders.get_mut(&(link, id)) else {
                continue;
            };
            let before = holder.clone();
            //= docs/spec/router.md#the-table
            //# A router MUST take a record out of its table when the record's lifetime has passed
            //# since the member's last sign of life, and put it back with the next one.
            holder.lapse(Some(now.saturating_duration_since(heard)));
            self.lapsed += usize::from(!before.is_lapsed());
            self.plan(link, id, heard);
            self.apply((link, id), &before);
        }
    }

    /// When [`Self::handle_timeout`] may have something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// The link is down, or gone: so are its members.
    pub fn clear_link(&mut self, link: LinkId) {
        for (_, id) in self.on_link(link) {
            self.forget(link, id);
        }
        self.retry();
    }

    /// This host slept and has heard nobody on the link: routes stay until [`Self::sweep`], or until
    /// members say otherwise.
    //= docs/spec/router.md#recovery
    //# A router that finds that it slept for its dead time MUST keep its routes until members say
    //# otherwise or recovery ends.
    pub fn doubt_link(&mut self, link: LinkId) {
        for key in self.on_link(link) {
            if let Some(holder) = self.holders.get_mut(&key) {
                holder.stale = true;
            }
        }
    }

    /// Recovery has ended: members that were not heard since [`Self::doubt_link`] are gone.
    pub fn sweep(&mut self, link: LinkId) {
        for key in self.on_link(link) {
            //= docs/spec/router.md#recovery
            //# Members that were not heard when recovery ends MUST be taken out of the table.
            if self.holders.get(&key).is_some_and(|holder| holder.stale) {
                self.forget(key.0, key.1);
            }
        }
        self.retry();
    }

    /// What has changed of routes, oldest first.
    pub fn poll_route(&mut self) -> Option<Route> {
        self.routes.poll()
    }

    /// Whose records were not taken in, and why, oldest first; once for each time.
    pub fn poll_refusal(&mut self) -> Option<(LinkId, MemberId, Reason)> {
        self.refusals.pop_front()
    }

    /// All routes, by prefix.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        self.routes.iter()
    }

    /// How many routes there are.
    pub fn route_count(&self) -> usize {
        self.routes.len()
    }

    /// How many memberships are kept: records of a member on a link.
    pub fn memberships(&self) -> usize {
        self.memberships
    }

    /// Who serves `prefix` on which link, and how.
    pub fn members(&self, prefix: Prefix) -> impl Iterator<Item = (LinkId, MemberId, Record)> {
        let found = move |((link, id), holder): (&(LinkId, MemberId), &Holder)| {
            Some((*link, *id, holder.records.get(&prefix)?))
        };
        self.holders.iter().filter_map(found)
    }

    /// Whether a packet for `target` has somewhere to go but on `link`.
    pub fn leads_off(&self, link: LinkId, target: IpAddr) -> bool {
        let Some(hops) = self.routes.longest_match(target) else {
            return false;
        };
        let mut others = self.holders.iter().filter(|((on, _), _)| *on != link);
        hops.iter().any(|hop| hop.link != link) || others.any(|(_, holder)| holder.serves(target))
    }

    fn on_link(&self, link: LinkId) -> Vec<(LinkId, MemberId)> {
        let keys = self.holders.keys().filter(|(on, _)| *on == link);
        keys.copied().collect()
    }

    /// Notes when the next of a member's lifetimes passes.
    fn plan(&mut self, link: LinkId, id: MemberId, heard: Instant) {
        let next = self.holders.get(&(link, id)).and_then(Holder::next_lapse);
        self.wake = earliest([self.wake, next.map(|lifetime| heard + lifetime)]);
    }

    /// Takes in what a member wants to have kept, as far as there is room: of what it had before it
    /// keeps what it still serves.
    fn admit(&mut self, key: (LinkId, MemberId), before: &Holder) {
        let Some(holder) = self.holders.get_mut(&key) else {
            return;
        };
        let others = self.memberships - before.records.len();
        //= docs/spec/router.md#the-table
        //# A router MUST bound the memberships that it keeps.
        if others + holder.wanted.len() <= self.config.memberships {
            holder.records = holder.wanted.clone();
            holder.refused = false;
        } else {
            //= docs/spec/router.md#the-table
            //# A router MUST NOT give up a membership that it has for one that does not fit.
            holder.records = holder.wanted.within(&before.records);
            if !core::mem::replace(&mut holder.refused, true) {
                let (link, id) = key;
                self.refusals.push_back((link, id, Reason::RouterLimit));
            }
            self.refusing = true;
        }
        self.memberships = others + holder.records.len();
        self.apply(key, before);
    }

    /// Tries again those for whom there was no room.
    fn retry(&mut self) {
        if !self.refusing {
            return;
        }
        let refused = self.holders.iter().filter(|(_, holder)| holder.refused);
        let refused: Vec<_> = refused.map(|(key, _)| *key).collect();
        for key in refused {
            let room = self.config.memberships.saturating_sub(self.memberships);
            let Some(holder) = self.holders.get(&key) else {
                continue;
            };
            if holder.wanted.len() - holder.records.len() <= room {
                let before = holder.clone();
                self.admit(key, &before);
            }
        }
        self.refusing = self.holders.values().any(|holder| holder.refused);
    }

    //= docs/spec/router.md#the-table
    //# A router MUST take out the records of a member that is dead or has left.
    fn forget(&mut self, link: LinkId, id: MemberId) {
        let Some(holder) = self.holders.get_mut(&(link, id)) else {
            return;
        };
        let before = core::mem::take(holder);
        self.memberships -= before.records.len();
        self.lapsed -= usize::from(before.is_lapsed());
        self.apply((link, id), &before);
        self.holders.remove(&(link, id));
    }

    /// Carries into the routes what has become of a member.
    fn apply(&mut self, key: (LinkId, MemberId), before: &Holder) {
        let after = &self.holders[&key];
        // With another address, or in another state, each of its records counts otherwise.
        let all = !after.acts_as(before);
        let merged = before.records.merged(&after.records, all);
        let changes = merged.map(|difference| Change {
            prefix: difference.prefix,
            before: difference
                .before
                .and_then(|record| before.candidate(&record)),
            after: difference.after.and_then(|record| after.candidate(&record)),
        });
        self.routes.apply(changes, |prefix| {
            let serving = self.holders.values();
            let found = serving.filter_map(|holder| {
                let record = holder.records.get(&prefix)?;
                holder.candidate(&record)
            });
            found.collect()
        });
    }
}
