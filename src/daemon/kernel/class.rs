//! Where a client or member sends what it has for the class: see `linux::fib::class` for the tables.
//!
//! A prefix that is served on a link has a route there, a better one on a link that comes earlier in the
//! configuration; what only members elsewhere serve goes to a link where a router of hamp's is heard,
//! which answers for them; the rest is main's, and last of all the links'. On a link that this host is
//! itself a router of, its routes in main know better.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Kernel;
use crate::addr::{Class, Prefix};
use crate::linux::fib::class::{ISOLATED, Place, SERVED, Way};
use crate::node::{Link, LinkId};
use crate::wire::MemberId;

/// Metric of the class's routes; each link adds its place in the configuration.
const METRIC: u32 = 1546;
/// What the metric is more on a link where no member is known.
const NO_MEMBER: u32 = 1000;

/// What the class's routes through a link follow.
#[derive(Debug, Default)]
pub(super) struct OnLink {
    /// Prefixes that others serve there, and a unicast address of their owner.
    served: BTreeMap<Prefix, Option<IpAddr>>,
    /// The unicast addresses of the members there.
    members: BTreeMap<MemberId, [Option<IpAddr>; 2]>,
    /// A router of hamp's is heard there.
    router: bool,
    /// The state of the node's list of routers that this is from.
    routers_seen: Option<u64>,
    /// The members have to be looked at.
    stale: bool,
    /// What is wanted of the kernel.
    wanted: BTreeMap<Place, Way>,
}

impl Kernel {
    /// Somebody owns a prefix on a link, or nobody: its owner as the node knows it.
    pub fn serve_elsewhere(&mut self, link: &Link, id: LinkId, prefix: Prefix) {
        let owner = link.owner(prefix).filter(|owner| !owner.own);
        let way = owner.map(|owner| {
            let peer = link.peer(owner.id)?;
            match prefix {
                Prefix::V4(_) => peer.ipv4().map(IpAddr::V4),
                Prefix::V6(_) => peer.ipv6().map(IpAddr::V6),
            }
        });
        let Some(attached) = self.links.get_mut(&id) else {
            return;
        };
        match way {
            Some(way) => attached.class.served.insert(prefix, way),
            None => attached.class.served.remove(&prefix),
        };
        self.settle_prefix(id, prefix);
    }

    /// Something became of a member on a link.
    pub(super) fn doubt_members(&mut self, id: LinkId) {
        if let Some(attached) = self.links.get_mut(&id) {
            attached.class.stale = true;
        }
    }

    /// Follows what the node knows of members and routers on a link.
    pub fn follow_class(&mut self, id: LinkId, link: &Link) {
        let Some(attached) = self.links.get_mut(&id) else {
            return;
        };
        let on_link = &mut attached.class;
        let seen = Some(link.router_changes());
        if !on_link.stale && on_link.routers_seen == seen {
            return;
        }
        on_link.stale = false;
        on_link.routers_seen = seen;
        let peers = link.peers();
        let members: BTreeMap<_, _> = peers
            .filter(|(_, peer)| !peer.records().is_empty())
            .map(|(id, peer)| {
                let unicast = [peer.ipv4().map(IpAddr::V4), peer.ipv6().map(IpAddr::V6)];
                (id, unicast)
            })
            .collect();
        let router = link.peers().any(|(_, peer)| peer.is_router());
        let moved = |(id, unicast): (&MemberId, &[Option<IpAddr>; 2])| {
            on_link
                .members
                .get(id)
                .is_some_and(|known| known != unicast)
        };
        let moved = members.iter().any(moved);
        let same = on_link.router == router && on_link.members.is_empty() == members.is_empty();
        on_link.members = members;
        on_link.router = router;
        if moved {
            let prefixes: Vec<Prefix> = on_link.served.keys().copied().collect();
            for prefix in prefixes {
                self.serve_elsewhere(link, id, prefix);
            }
        }
        if !same {
            self.settle_whole(id);
        }
    }

    /// A link came up, went down or has other addresses.
    pub(super) fn settle_class(&mut self, id: LinkId) {
        let Some(attached) = self.links.get_mut(&id) else {
            return;
        };
        // A link that goes down loses its routes, and what is known of who is there.
        if attached.state.is_none() {
            attached.class.stale = true;
            attached.class.served.clear();
            attached.class.members.clear();
            attached.class.router = false;
        }
        let prefixes: BTreeSet<Prefix> = attached.class.prefixes();
        for prefix in prefixes {
            self.settle_prefix(id, prefix);
        }
        self.settle_whole(id);
    }

    /// The class is another: the routes of all of it are, too.
    pub(super) fn resettle_class(&mut self, before: &Class) {
        if let Some(routes) = &self.routes {
            let router = self.router.as_ref();
            let discard = router.is_some_and(|router| router.discard);
            routes.set_class(self.class.prefixes(), discard);
        }
        for id in self.links.keys().copied().collect::<Vec<_>>() {
            let whole = |place: &&Place| before.prefixes().contains(&place.prefix);
            let wanted = self.links.get(&id).map(|attached| &attached.class.wanted);
            let old: Vec<Place> = wanted
                .into_iter()
                .flat_map(|wanted| wanted.keys().filter(whole).copied())
                .collect();
            for place in old {
                self.want(id, place, None);
            }
            self.settle_class(id);
        }
    }

    /// Takes away what leads through a link that is gone.
    pub(super) fn leave_class(&mut self, wanted: OnLink) {
        if let Some(routes) = &mut self.routes {
            for place in wanted.wanted.into_keys() {
                routes.want_class(place, None);
            }
        }
    }

    /// From now on the class is looked up in hamp's tables.
    pub(super) fn enable_class(&mut self) {
        if let Some(routes) = &self.routes {
            routes.enable_class(self.router.is_some());
        }
        let links: Vec<LinkId> = self.links.keys().copied().collect();
        for id in links {
            self.settle_class(id);
        }
    }

    //= docs/spec/link.md#a-client-s-entries
    //# A host's own packets to an address MUST go to a link on which members serve it, whatever other
    //# routes the host has.
    fn settle_prefix(&mut self, id: LinkId, prefix: Prefix) {
        let metric = METRIC + self.place(id);
        let Some(attached) = self.links.get(&id) else {
            return;
        };
        let served = attached.class.served.get(&prefix);
        let served = served.filter(|_| attached.does(&prefix) && !self.routes_on(&attached.name));
        let way = served.map(|owner| Way {
            link: id.0,
            source: owner.and_then(|owner| source(&attached.subnets, owner)),
        });
        // The class as a whole is another matter, also where somebody serves just that.
        if !self.class.prefixes().contains(&prefix) {
            self.want(id, place(SERVED, prefix, metric), way);
        } else {
            self.settle_whole(id);
        }
    }

    //= docs/spec/link.md#a-client-s-entries
    //# Packets to an address that nobody on the host's links serves MUST follow the host's other
    //# routes, unless a router of the link is heard.
    fn settle_whole(&mut self, id: LinkId) {
        let metric = METRIC + self.place(id);
        let Some(attached) = self.links.get(&id) else {
            return;
        };
        let router = self.routes_on(&attached.name);
        let far = u32::from(attached.class.members.is_empty()) * NO_MEMBER;
        let mut changes = Vec::new();
        for prefix in self.class.prefixes() {
            let way = attached.does(prefix).then_some(Way {
                link: id.0,
                source: None,
            });
            let lead = attached.class.router || attached.class.served.contains_key(prefix);
            changes.push((
                place(SERVED, *prefix, metric),
                way.filter(|_| lead && !router),
            ));
            for far in [0, NO_MEMBER].into_iter().filter(|other| *other != far) {
                changes.push((place(ISOLATED, *prefix, metric + far), None));
            }
            changes.push((place(ISOLATED, *prefix, metric + far), way));
        }
        for (place, way) in changes {
            self.want(id, place, way);
        }
    }

    fn want(&mut self, id: LinkId, place: Place, way: Option<Way>) {
        // A host that only routes asks for nothing itself.
        if !self.client && !self.member {
            return;
        }
        let Some(attached) = self.links.get_mut(&id) else {
            return;
        };
        let before = match way {
            Some(way) => attached.class.wanted.insert(place, way),
            None => attached.class.wanted.remove(&place),
        };
        if before != way
            && let Some(routes) = &mut self.routes
        {
            routes.want_class(place, way);
        }
    }

    /// A link's place in the configuration.
    fn place(&self, id: LinkId) -> u32 {
        let name = self.name(id);
        let place = self.interfaces.iter().position(|other| other == name);
        place
            .and_then(|place| u32::try_from(place).ok())
            .unwrap_or_default()
    }
}

impl OnLink {
    /// What is served, and what has a route because it was.
    fn prefixes(&self) -> BTreeSet<Prefix> {
        let routed = self.wanted.keys().map(|place| place.prefix);
        self.served.keys().copied().chain(routed).collect()
    }
}

fn place(table: u32, prefix: Prefix, metric: u32) -> Place {
    let prefix = prefix.trunc();
    Place {
        table,
        prefix,
        metric,
    }
}

/// The address that a member's answers find: where this host has addresses in several subnets of the
/// link, the one in the member's. `None`: the kernel chooses as well.
fn source(subnets: &[(IpAddr, Prefix)], owner: IpAddr) -> Option<IpAddr> {
    let near = |address: &IpAddr| matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local());
    let same =
        |(address, _): &&(IpAddr, Prefix)| address.is_ipv4() == owner.is_ipv4() && !near(address);
    let mut nets = subnets.iter().filter(same).map(|(_, net)| net.trunc());
    let first = nets.next()?;
    let several = nets.any(|net| net != first);
    let own = subnets
        .iter()
        .filter(same)
        .find(|(_, net)| net.contains(&owner));
    own.filter(|_| several).map(|(address, _)| *address)
}
