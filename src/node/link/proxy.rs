//! A router of a link in the place of members elsewhere: who of several answers, and who tells the link
//! when that changes.
//!
//! Every router that has a route off the link is a way to the members; they are ranked by their place
//! in the election, as members are by theirs. The forwarder is the first. Where it has no route it
//! is silent, and the next one answers the second request; but what hosts have cached leads to it
//! still. So a forwarder that loses its route asks for the address itself, as a host would: the next
//! router that has one hears that, and announces it.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use super::routing::Elsewhere;
use super::{Link, own};
use crate::proto::What;
use crate::proto::election::{Family, Forwarder};
use crate::proto::ownership::{ANNOUNCEMENT_INTERVAL, ANNOUNCEMENTS};
use crate::proto::responder::MAX_ASKED;
use crate::time::{Duration, Instant};
use crate::wire::frame::{self, Answer, Request};

/// The second router in line announces at once, each further one so much later.
const STAGGER: Duration = Duration::from_millis(100);

/// What a router knows of the addresses that hosts have asked for.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxy {
    /// The forwarders, as they were last seen.
    forwarders: [Option<Forwarder>; 2],
    /// What this router had a route for when it looked last.
    held: BTreeSet<IpAddr>,
    /// What the last member on the link left to nobody: this router has no route either.
    orphaned: BTreeSet<IpAddr>,
    /// What is asked for, because the route is gone: how often still, and when.
    wanted: BTreeMap<IpAddr, (u8, Instant)>,
    /// Routes have changed.
    changed: bool,
}

impl Proxy {
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let wanted = self.wanted.values().map(|(_, at)| *at).min();
        self.changed.then_some(Instant::ZERO).or(wanted)
    }
}

impl Link {
    /// This host's routes off the link have changed.
    pub(in crate::node) fn reroute(&mut self) {
        if let Some(routing) = &mut self.routing {
            routing.proxy_state.changed = true;
            self.plan();
        }
    }

    /// This host's place among the routers of the link, the first being 0, if it has a route to members
    /// elsewhere.
    pub(super) fn proxy_place(&self, target: IpAddr, elsewhere: Elsewhere<'_>) -> Option<usize> {
        let routing = self.routing.as_ref().filter(|routing| routing.proxy)?;
        let place = routing.election.place(Family::of(target))?;
        //= docs/spec/router.md#proxy
        //# A router MUST NOT answer for an address that it has no route to off the link.
        elsewhere.holds(self.id, target).then_some(place)
    }

    /// Somebody asked for what this host has a route for.
    pub(super) fn note_held(&mut self, target: IpAddr) {
        if let Some(routing) = &mut self.routing
            && routing.proxy_state.held.len() < MAX_ASKED
        {
            routing.proxy_state.held.insert(target);
        }
    }

    /// Whether this host answers for `target` as if it were a member: it is the forwarder, and there
    /// are members elsewhere.
    pub(in crate::node) fn stands_in(&self, target: IpAddr, elsewhere: Elsewhere<'_>) -> bool {
        self.proxy_place(target, elsewhere) == Some(0)
    }

    /// Whether nobody on the link serves `target`.
    fn is_unserved(&self, target: IpAddr) -> bool {
        self.ranks(target).is_empty()
    }

    /// What hosts have asked for lately, and nobody on the link serves.
    fn unserved(&self, family: Option<Family>) -> Vec<IpAddr> {
        let asked = self.responder.asked();
        let of = |target: &IpAddr| family.is_none_or(|family| Family::of(*target) == family);
        asked
            .filter(of)
            .filter(|at| self.is_unserved(*at))
            .collect()
    }

    /// Announces what this host has a route for, in the place of `from`.
    fn announce_routed(
        &mut self,
        at: Instant,
        from: crate::wire::MemberId,
        targets: Vec<IpAddr>,
        elsewhere: Elsewhere<'_>,
    ) {
        let Some(own) = own(&self.member) else { return };
        let mut ownership = core::mem::take(&mut self.ownership);
        ownership.departed(at, from, targets, own, &self.view, |target| {
            self.proxy_place(target, elsewhere).is_some()
        });
        self.ownership = ownership;
    }

    /// Another router is the forwarder of a family.
    pub(super) fn forwarder_changed(
        &mut self,
        now: Instant,
        family: Family,
        forwarder: Option<Forwarder>,
        elsewhere: Elsewhere<'_>,
    ) {
        let Some(routing) = &mut self.routing else {
            return;
        };
        let known = &mut routing.proxy_state.forwarders[family as usize];
        let before = core::mem::replace(known, forwarder);
        let line: Vec<_> = routing.election.routers(family).collect();
        match (before, forwarder) {
            // One that is in line still has only been overtaken: what leads to it goes on.
            (Some(before), Some(forwarder))
                if forwarder.own && !before.own && !line.contains(&before.id) =>
            {
                //= docs/spec/router.md#proxy
                //# A router that becomes forwarder because the one before is gone, or is a router no
                //# longer, MUST announce what hosts have asked for and no member on the link serves, if
                //# it has a route to it.
                let targets = self.unserved(Some(family));
                self.announce_routed(now, before.id, targets, elsewhere);
            }
            (_, Some(forwarder)) if !forwarder.own => self.ownership.heard(forwarder.id),
            _ => {}
        }
    }

    /// Somebody asks for what this host has a route for; whether the forwarder does, which has none
    /// then.
    pub(super) fn hear_forwarder(
        &mut self,
        now: Instant,
        request: &Request,
        elsewhere: Elsewhere<'_>,
    ) -> bool {
        let target = request.target;
        let forwarder = self.forwarder(Family::of(target)).filter(|f| !f.own);
        let known = forwarder.and_then(|f| Some((f.id, self.view.get(f.id)?.mac())));
        let Some((id, _)) = known.filter(|(_, mac)| *mac == request.mac && !request.is_probe())
        else {
            return false;
        };
        let Some(place) = self
            .proxy_place(target, elsewhere)
            .filter(|place| *place > 0)
        else {
            return false;
        };
        if self.is_unserved(target) && !self.ownership.is_announcing(target) {
            //= docs/spec/router.md#proxy
            //# A router that has a route to an address that no member on the link serves MUST announce
            //# it when the forwarder asks for it: the second in line at once, each further one 100 ms
            //# later, unless another router has by then.
            let behind = u32::try_from(place - 1).unwrap_or(u32::MAX);
            let at = now + STAGGER.saturating_mul(behind);
            self.announce_routed(at, id, vec![target], elsewhere);
        }
        true
    }

    /// Another router announces an address: nobody else has to.
    pub(super) fn hear_announced(&mut self, answer: &Answer) {
        let routed = |mac| {
            self.view
                .peers()
                .any(|(_, p)| p.is_router() && p.mac() == mac)
        };
        let other = self.routing.is_some() && answer.announcement && routed(answer.mac);
        if other && self.is_unserved(answer.target) {
            self.ownership.leave_to_others(answer.target);
        }
    }

    /// The last member of these addresses on the link is gone.
    pub(super) fn orphan(&mut self, targets: Vec<IpAddr>, elsewhere: Elsewhere<'_>) {
        for target in targets {
            let lost = self.is_unserved(target) && !elsewhere.holds(self.id, target);
            if let Some(routing) = self.routing.as_mut().filter(|_| lost) {
                routing.proxy_state.orphaned.insert(target);
            }
        }
    }

    /// Looks what has become of the routes that hosts use, and asks for what has none.
    pub(super) fn advance_proxy(&mut self, now: Instant, elsewhere: Elsewhere<'_>) {
        let Some(routing) = self.routing.as_mut().filter(|_| self.state.is_some()) else {
            return;
        };
        if core::mem::take(&mut routing.proxy_state.changed) {
            let before = core::mem::take(&mut routing.proxy_state.held);
            let asked: BTreeSet<IpAddr> = self.responder.asked().collect();
            let holds = |target: &&IpAddr| elsewhere.holds(self.id, **target);
            let held: BTreeSet<IpAddr> = asked.iter().filter(holds).copied().collect();
            let first = |target: &IpAddr| self.leads(*target) && self.is_unserved(*target);
            let lost: Vec<_> = before.difference(&held).copied().filter(first).collect();
            let gained: Vec<_> = held.difference(&before).copied().filter(first).collect();
            let Some(routing) = &mut self.routing else {
                return;
            };
            let proxy = &mut routing.proxy_state;
            proxy.wanted.retain(|target, _| !held.contains(target));
            for target in lost {
                proxy.wanted.insert(target, (ANNOUNCEMENTS, now));
            }
            let orphaned = gained.into_iter().filter(|at| proxy.orphaned.remove(at));
            let orphaned: Vec<_> = orphaned.collect();
            proxy
                .orphaned
                .retain(|target| asked.contains(target) && !held.contains(target));
            proxy.held = held;
            //= docs/spec/router.md#proxy
            //# A forwarder that gets a route to an address whose last member on the link is gone MUST
            //# announce it, if a host has asked for it.
            let id = self.member.identity().id;
            self.announce_routed(now, id, orphaned, elsewhere);
        }
        self.ask_routers(now);
    }

    fn leads(&self, target: IpAddr) -> bool {
        let routing = self.routing.as_ref().filter(|routing| routing.proxy);
        routing.and_then(|routing| routing.election.place(Family::of(target))) == Some(0)
    }

    fn ask_routers(&mut self, now: Instant) {
        let (Some(routing), Some(state)) = (&mut self.routing, self.state) else {
            return;
        };
        for (target, (left, at)) in &mut routing.proxy_state.wanted {
            if *at > now {
                continue;
            }
            *left -= 1;
            *at = now + ANNOUNCEMENT_INTERVAL;
            let source = match target {
                IpAddr::V4(_) => state.ipv4.map(IpAddr::V4),
                IpAddr::V6(_) => state.ipv6.map(IpAddr::V6),
            };
            //= docs/spec/router.md#proxy
            //# A forwarder that loses its route to an address that hosts have asked for, and that no
            //# member on the link serves, MUST ask for it by ARP or neighbour discovery, three times at
            //# intervals of 1.1 s.
            let frame = source.and_then(|source| frame::request(state.mac, source, *target));
            if let Some(frame) = frame.filter(|_| state.resolves()) {
                self.frames.push_back((What::Request, frame));
            }
        }
        routing.proxy_state.wanted.retain(|_, (left, _)| *left > 0);
    }

    /// What a member that is gone served, as far as hosts have asked for it.
    pub(super) fn asked_of(&self, before: &crate::proto::record_set::RecordSet) -> Vec<IpAddr> {
        let served = |target: &IpAddr| before.longest_match(*target).is_some();
        self.responder.asked().filter(served).collect()
    }
}
