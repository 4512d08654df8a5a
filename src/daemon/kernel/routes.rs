//! Routes, on a thread of their own: a change of 65,536 routes takes the kernel a good part of a
//! second, and hellos must not wait for it.
//!
//! The loop leaves what is wanted in an inbox, where a later wish replaces an earlier one for the
//! same prefix; the thread (`worker`) takes all of it at once, so that what changes together is changed
//! together. A router's routes to members are in main, where routing daemons read them; the class's
//! routes of a client or member are in tables of hamp's own (`linux::fib::class`).

mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::{io, mem};

pub use self::worker::Told;
use self::worker::{Inbox, Shared, Worker, first, lock};
use super::Kernel;
use crate::addr::{Ipv4Net, Ipv6Net, Prefix, is_host};
use crate::daemon::config::{LastLink, Router};
use crate::daemon::{Failure, exit};
use crate::linux::fib::class::{ClassRoutes, Place, Way};
use crate::linux::fib::{Fib, Hop, Multipath};
use crate::linux::netlink::Bulk;
use crate::linux::sysctl;
use crate::node::{self, LinkId, Route};
use crate::wire::Scope;

/// Metrics of routes; what routing daemons make of them is in docs/routing.md.
const GLOBAL: u32 = 15;
const SITE: u32 = 16;
/// All members are about to leave: any other route is better, in BIRD and FRR too.
const LEAVING: u32 = 0xfe00_0011;
/// A route that is wanted: its metric, its hops, and their link-layer addresses where the neighbour
/// entry is ours.
type Wish = (u32, Vec<(Hop, Option<[u8; 6]>)>);

impl Kernel {
    /// Wants a route as the node tells it, with the next [`Kernel::commit_routes`].
    pub fn route(&mut self, route: &Route) {
        let Route {
            prefix,
            scope,
            draining,
            hops: to,
        } = route;
        let Some(routes) = self.routes.as_mut().filter(|_| self.router.is_some()) else {
            return;
        };
        let metric = match scope {
            _ if *draining => LEAVING,
            Scope::Site => SITE,
            _ => GLOBAL,
        };
        let last_link = self.router.as_ref().map(|router| router.last_link);
        let hops = if last_link == Some(LastLink::Multicast) && is_host(prefix) {
            let via = match prefix {
                Prefix::V4(_) => [0; 4].into(),
                Prefix::V6(_) => IpAddr::from([0; 16]),
            };
            let links: BTreeSet<LinkId> = to.iter().map(|hop| hop.link).collect();
            let hop = |link: LinkId| (Hop { link: link.0, via }, None);
            links.into_iter().map(hop).collect()
        } else {
            let hop = |hop: &node::Hop| {
                let there = Hop {
                    link: hop.link.0,
                    via: hop.address,
                };
                // Zero where the link has no such addresses.
                let mac = Some(hop.mac).filter(|mac| self.verified && *mac != [0; 6]);
                (there, mac)
            };
            to.iter().map(hop).collect()
        };
        routes.want(*prefix, metric, hops);
    }

    /// Has everything done that the node has said of routes since the last call.
    pub fn commit_routes(&mut self) {
        self.tables.note();
        if let Some(routes) = &mut self.routes {
            routes.commit();
        }
    }

    /// Whether members are verified before they count, from now on; whether that is news, and all
    /// routes are to be told again.
    pub fn set_verified(&mut self, verified: bool) -> Result<bool, Failure> {
        let news = std::mem::replace(&mut self.verified, verified) != verified;
        if news {
            self.lease_verified()?;
        }
        Ok(news)
    }

    /// How routes with several hops are in the kernel, and how they stand; `None`: this is no router.
    pub fn routes(&self) -> Option<(Multipath, Told)> {
        let routes = self.routes.as_ref().filter(|_| self.router.is_some())?;
        Some((routes.multipath, routes.told()))
    }

    /// Whether this router answers for members elsewhere on the link of this name.
    pub(super) fn stands_in(&self, name: &str) -> bool {
        let router = self.router.as_ref();
        router.is_some_and(|router| router.proxy && router.acts_on(name))
    }

    /// A router that answers for members elsewhere must not tell the askers of a better way: they
    /// would keep to it when it has become a worse one.
    pub(super) fn settle_router_link(&mut self, name: &str) {
        for name in ["all", name] {
            self.setting(&sysctl::send_redirects(name), "0");
        }
    }
}

/// The thread, and what it is to do.
#[derive(Debug)]
pub struct Routes {
    shared: Arc<Shared>,
    /// Wishes that are not in the inbox yet.
    wishes: BTreeMap<Prefix, Wish>,
    class: BTreeMap<Place, Option<Way>>,
    thread: JoinHandle<Result<(), String>>,
    /// How routes with several hops are put into the kernel.
    multipath: Multipath,
}

impl Routes {
    /// Takes over what an earlier daemon left and waits for wishes. As a router its routes in main are
    /// taken over too and what its settings say is discarded; otherwise they go.
    pub fn start(class: &[Prefix], router: Option<&Router>) -> Result<Self, Failure> {
        let failed = |error| Failure::io("netlink", &error);
        let mut bulk = Bulk::open().map_err(failed)?;
        let grouped = router.is_some_and(|router| router.multipath.is_grouped());
        let multipath = if grouped {
            bulk.multipath().map_err(failed)?
        } else {
            Multipath::Routes
        };
        if multipath == (Multipath::Groups { resilient: false }) {
            tracing::warn!(
                "this kernel has no resilient nexthop groups (Linux 5.13): flows through other \
                 members may move when one comes or leaves"
            );
        }
        let mut fib = Fib::new(multipath);
        let left = bulk.snapshot().map_err(failed)?;
        match router {
            Some(router) => {
                fib.adopt(&left);
                let prefixes = fib.stale();
                if prefixes > 0 {
                    tracing::info!(prefixes, "routes of an earlier daemon taken over");
                }
                let discard = if router.discard { class } else { &[] };
                fib.set_discard(discard.iter().copied());
            }
            None => {
                fib.observe(&left);
                if fib.installed() > 0 {
                    let routes = fib.installed();
                    tracing::info!(routes, "routes of an earlier router swept");
                }
            }
        }
        let mut own = ClassRoutes::new(class);
        own.adopt(&bulk.class_snapshot().map_err(failed)?);
        let shared = Arc::new(Shared::default());
        let worker = Worker::new(Arc::clone(&shared), bulk, router.is_some(), fib, own);
        let thread = std::thread::Builder::new()
            .name("routes".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| Failure::io("thread", &error))?;
        Ok(Self {
            shared,
            wishes: BTreeMap::new(),
            class: BTreeMap::new(),
            thread,
            multipath,
        })
    }

    /// Has the class looked up in its own tables, on a router for this host's own packets alone.
    pub fn enable_class(&self, router: bool) {
        self.tell(|inbox| inbox.enable = Some(router));
    }

    /// Other prefixes are the class from now on; a router may discard what no member takes.
    pub fn set_class(&self, class: &[Prefix], discard: bool) {
        self.tell(|inbox| inbox.other = Some((class.to_vec(), discard)));
    }

    /// Wants a route of the class (or none) with the next [`Routes::commit`].
    pub fn want_class(&mut self, place: Place, way: Option<Way>) {
        self.class.insert(place, way);
    }

    /// Wants a route (none without hops) with the next [`Routes::commit`].
    pub fn want(&mut self, prefix: Prefix, metric: u32, hops: Vec<(Hop, Option<[u8; 6]>)>) {
        self.wishes.insert(prefix, (metric, hops));
    }

    /// Hands everything that was wanted since the last call over, at once.
    pub fn commit(&mut self) {
        if self.wishes.is_empty() && self.class.is_empty() {
            return;
        }
        let (wishes, class) = (mem::take(&mut self.wishes), mem::take(&mut self.class));
        self.tell(|inbox| {
            inbox.wishes.extend(wishes);
            inbox.class.extend(class);
        });
    }

    /// Has the kernel's routes compared with what is wanted: a link changed, and may have taken some.
    pub fn links_changed(&self) {
        self.tell(|inbox| inbox.links = true);
    }

    /// Removes what an earlier router left and nobody wants.
    pub fn sweep(&mut self) {
        self.commit();
        self.tell(|inbox| inbox.sweep = true);
    }

    /// Removes what an earlier client or member left and nobody wants.
    pub fn sweep_class(&mut self) {
        self.commit();
        self.tell(|inbox| inbox.sweep_class = true);
    }

    /// How things stand.
    pub fn told(&self) -> Told {
        lock(&self.shared.told).clone()
    }

    /// Removes all routes of ours, but for the class's where those are to stay, and ends the thread.
    /// Errors: what could not be removed.
    pub fn stop(self, keep_class: bool) -> Result<(), Failure> {
        self.tell(|inbox| inbox.stop = Some(keep_class));
        let ended = self.thread.join();
        let ended = ended.unwrap_or_else(|_| Err("the thread panicked".to_owned()));
        ended.map_err(|error| Failure::new(exit::FAILED, format!("routes: {error}")))
    }

    fn tell(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut lock(&self.shared.inbox));
        self.shared.wake.notify_one();
    }
}

/// Removes all routes and rules of ours, with what belongs to them; how many routes there were.
pub fn remove_all() -> Result<usize, Failure> {
    let remove = || -> io::Result<_> {
        let mut bulk = Bulk::open()?;
        let mut fib = Fib::new(Multipath::Routes);
        fib.observe(&bulk.snapshot()?);
        let everywhere: [Prefix; 2] = [Ipv4Net::default().into(), Ipv6Net::default().into()];
        let mut class = ClassRoutes::new(&everywhere);
        class.observe(&bulk.class_snapshot()?);
        let routes = fib.installed() + class.installed();
        fib.clear();
        class.clear();
        let ops = [fib.reconcile(), class.reconcile()].concat();
        Ok((routes, first(&ops, &bulk.carry_out(&ops)?)))
    };
    match remove().map_err(|error| Failure::io("netlink", &error))? {
        (routes, None) => Ok(routes),
        (_, Some(refused)) => Err(Failure::new(exit::FAILED, format!("routes: {refused}"))),
    }
}
