//! Where a packet goes: the link, the next hop on it, and the address that this host sends from.
//!
//! Routes are those of the interfaces' own prefixes, the ones that were set, and for a client the
//! anycast class on every link. The longest prefix decides, then the lowest metric.

use core::cmp::Reverse;
use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use super::Interface;
use crate::addr::{Class, Prefix};
use crate::node::LinkId;
use crate::wire::MemberId;

/// Metric of a client's routes to the class: behind a route that somebody sets. Each link adds its
/// place.
const CLASS_METRIC: u32 = 1546;
/// What the metric is more on a link where no member is known.
const NO_MEMBER: u32 = 1000;

/// A route that was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Where to; a length of 0 is the default route.
    pub to: Prefix,
    /// The router; `None` when the prefix is on the link itself.
    pub via: Option<IpAddr>,
    /// The link; `None` for the one whose prefix holds the router.
    pub link: Option<LinkId>,
    /// Lower is preferred among routes of one prefix.
    pub metric: u32,
}

/// The next step of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hop {
    /// By which link.
    pub(super) link: LinkId,
    /// To whom on it.
    pub(super) next: IpAddr,
}

/// The routes of one host.
#[derive(Debug)]
pub(super) struct Routes {
    class: Class,
    client: bool,
    /// Where hamp takes part; everywhere if it was not said.
    speaks: Option<BTreeSet<LinkId>>,
    set: Vec<Route>,
    up: BTreeMap<LinkId, Interface>,
    /// Where members are known; links without them are behind the others.
    members: BTreeMap<LinkId, BTreeSet<MemberId>>,
}

impl Routes {
    pub(super) const fn new(class: Class, client: bool) -> Self {
        Self {
            class,
            client,
            speaks: None,
            set: Vec::new(),
            up: BTreeMap::new(),
            members: BTreeMap::new(),
        }
    }

    /// Puts `routes` in the place of those set before.
    pub(super) fn set(&mut self, routes: Vec<Route>) {
        self.set = routes;
    }

    /// hamp takes part on `links` alone.
    pub(super) fn speak_on(&mut self, links: BTreeSet<LinkId>) {
        self.speaks = Some(links);
    }

    /// Whether hamp takes part on `link`.
    pub(super) fn speaks_on(&self, link: LinkId) -> bool {
        let links = self.speaks.as_ref();
        links.is_none_or(|links| links.contains(&link))
    }

    /// A link is up with these addresses, or down.
    pub(super) fn set_link(&mut self, link: LinkId, interface: Option<Interface>) {
        match interface {
            Some(interface) => drop(self.up.insert(link, interface)),
            None => {
                self.up.remove(&link);
                self.members.remove(&link);
            }
        }
    }

    /// A member is known on `link`, or no more.
    pub(super) fn follow_member(&mut self, link: LinkId, id: MemberId, known: bool) {
        let members = self.members.entry(link).or_default();
        if known {
            members.insert(id);
        } else {
            members.remove(&id);
        }
    }

    /// No member is known any more.
    pub(super) fn forget_members(&mut self) {
        self.members.clear();
    }

    /// The links that are up.
    pub(super) fn up(&self) -> impl Iterator<Item = (LinkId, &Interface)> {
        self.up.iter().map(|(link, interface)| (*link, interface))
    }

    /// A link, if it is up.
    pub(super) fn link(&self, link: LinkId) -> Option<&Interface> {
        self.up.get(&link)
    }

    /// Whether `address` is a unicast address of this host, on whatever link.
    pub(super) fn is_own(&self, address: IpAddr) -> bool {
        let mut addresses = self.up.values().flat_map(|up| &up.addresses);
        addresses.any(|own| own.addr() == address)
    }

    /// Where a packet to `destination` goes; `None`: nowhere.
    pub(super) fn hop(&self, destination: IpAddr) -> Option<Hop> {
        let best = self
            .candidates(destination)
            .min_by_key(|(prefix, metric, _)| (Reverse(prefix.prefix_len()), *metric));
        best.map(|(_, _, hop)| hop)
    }

    /// The address that this host sends from to `destination`, which `hop` leads to: one of the
    /// next hop's prefix, or else the first of its family and scope; never an anycast one.
    pub(super) fn source(&self, hop: Hop, destination: IpAddr) -> Option<IpAddr> {
        let interface = self.up.get(&hop.link)?;
        let near = |own: &&Prefix| {
            own.contains(&hop.next) && is_local(own.addr()) == is_local(destination)
        };
        let found = interface.unicast(&self.class).find(near);
        let found = found.or_else(|| {
            let like = |own: &&Prefix| own.addr().is_ipv6() == destination.is_ipv6();
            let scope = |own: &&&Prefix| is_local(own.addr()) == is_local(destination);
            let all = || interface.unicast(&self.class).filter(like);
            all().find(|own| scope(&own)).or_else(|| all().next())
        });
        found.map(Prefix::addr)
    }

    /// This host's first unicast address of the family, for packets that do not leave it.
    pub(super) fn first(&self, ipv6: bool) -> Option<IpAddr> {
        let mut addresses = self.up.values().flat_map(|up| up.unicast(&self.class));
        let found = addresses.find(|own| own.addr().is_ipv6() == ipv6);
        found.map(Prefix::addr)
    }

    /// The address that a connection of `client`, whose SYN came by `link` or from this host itself,
    /// is answered from: in the client's subnet, or on that link, or any. Link-local addresses of
    /// IPv6 name no link, so none stands for them.
    pub(super) fn answers_from(&self, link: Option<LinkId>, client: IpAddr) -> Option<IpAddr> {
        if is_local(client) {
            return None;
        }
        let good = |own: &Prefix| {
            let family = own.addr().is_ipv6() == client.is_ipv6();
            family && !is_local(own.addr()) && !self.class.contains(own.addr())
        };
        let near = self.connected(client).map(|(_, own)| own).filter(good);
        // The first of the longest.
        let near = near.reduce(|one, other| {
            let longer = other.prefix_len() > one.prefix_len();
            if longer { other } else { one }
        });
        let by = link.and_then(|link| self.up.get(&link)).into_iter();
        let mut far = by.chain(self.up.values()).flat_map(|up| &up.addresses);
        let own = near.or_else(|| far.find(|own| good(own)).copied());
        own.as_ref().map(Prefix::addr)
    }

    fn candidates(&self, destination: IpAddr) -> impl Iterator<Item = (Prefix, u32, Hop)> {
        let connected = self.connected(destination).map(move |(link, prefix)| {
            let next = destination;
            (prefix, 0, Hop { link, next })
        });
        let set = self.set.iter().filter_map(move |route| {
            let applies = route.to.contains(&destination);
            let link = match (route.link, route.via) {
                _ if !applies => return None,
                (Some(link), _) => link,
                (None, Some(via)) => self.connected(via).next()?.0,
                (None, None) => return None,
            };
            let next = route.via.unwrap_or(destination);
            let hop = self.up.contains_key(&link).then_some(Hop { link, next });
            Some((route.to, route.metric, hop?))
        });
        connected.chain(set).chain(self.class_routes(destination))
    }

    /// The links whose own prefixes hold `address`.
    fn connected(&self, address: IpAddr) -> impl Iterator<Item = (LinkId, Prefix)> {
        self.up.iter().flat_map(move |(link, interface)| {
            let holds = interface
                .addresses
                .iter()
                .filter(move |own| own.contains(&address));
            holds.map(|own| (*link, *own))
        })
    }

    fn class_routes(&self, destination: IpAddr) -> impl Iterator<Item = (Prefix, u32, Hop)> {
        let prefix = self.class.prefixes().iter().filter(|_| self.client);
        let prefix = prefix.copied().find(|prefix| prefix.contains(&destination));
        prefix.into_iter().flat_map(move |prefix| {
            let has_family = move |(_, (link, interface)): &(u32, (&LinkId, &Interface))| {
                let mut unicast = interface.unicast(&self.class);
                let family = unicast.any(|own| own.addr().is_ipv6() == destination.is_ipv6());
                family && self.speaks_on(**link)
            };
            let places = (0..).zip(&self.up).filter(has_family);
            places.map(move |(place, (link, _))| {
                let known = self
                    .members
                    .get(link)
                    .is_some_and(|known| !known.is_empty());
                let far = if known { 0 } else { NO_MEMBER };
                let (link, next) = (*link, destination);
                (prefix, CLASS_METRIC + place + far, Hop { link, next })
            })
        })
    }
}

/// Whether an address counts on its link alone.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}
