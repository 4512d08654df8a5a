//! A router's routes, on a thread of their own: a change of 65,536 routes takes the kernel a good
//! part of a second, and hellos must not wait for it.
//!
//! The loop leaves what is wanted in an inbox, where a later wish replaces an earlier one for the
//! same prefix; the thread takes all of it at once, so that what changes together is changed
//! together. What the kernel refuses is asked for again, less and less often, and after every change
//! of a link the kernel is asked what it still has: it takes away what led through the link, mostly
//! without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{io, mem};

use super::Kernel;
use crate::addr::{Prefix, is_host};
use crate::daemon::config::LastLink;
use crate::daemon::{Failure, exit};
use crate::linux::fib::{Fib, Hop, Multipath, Op};
use crate::linux::netlink::{Bulk, Refusal};
use crate::linux::sysctl;
use crate::node::{self, LinkId, Route};
use crate::wire::Scope;

/// Metrics of routes; what routing daemons make of them is in docs/routing.md.
const GLOBAL: u32 = 15;
const SITE: u32 = 16;
/// All members are about to leave: any other route is better, in BIRD and FRR too.
const LEAVING: u32 = 0xfe00_0011;
/// The first wait before refused changes are tried again; it doubles.
const RETRY: Duration = Duration::from_secs(1);
/// The longest.
const RETRY_MOST: Duration = Duration::from_secs(60);
/// Refused prefixes that are named; all are counted.
const NAMED: usize = 16;

/// A route that is wanted: its metric, its hops, and their link-layer addresses where the neighbour
/// entry is ours.
type Wish = (u32, Vec<(Hop, Option<[u8; 6]>)>);

/// What has become of the routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Routes that are there, the discarding ones included.
    pub installed: usize,
    /// Nexthop groups that they share.
    pub groups: usize,
    /// Prefixes that an earlier daemon left and nobody has confirmed yet.
    pub stale: usize,
    /// Changes that the kernel refused and that wait for another attempt.
    pub refused: usize,
    /// Some of the refused, and the kernel's error numbers.
    pub refusals: Vec<(String, i32)>,
}

#[derive(Debug, Default)]
struct Inbox {
    wishes: BTreeMap<Prefix, Wish>,
    observe: bool,
    sweep: bool,
    stop: bool,
}

#[derive(Debug, Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
    told: Mutex<Told>,
}

impl Kernel {
    /// Wants a route as the node tells it, with the next [`Kernel::commit_routes`].
    pub fn route(&mut self, route: &Route) {
        let Route {
            prefix,
            scope,
            draining,
            hops: to,
        } = route;
        let Some(routes) = &mut self.routes else {
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
        if let Some(routes) = &mut self.routes {
            routes.commit();
        }
    }

    /// Whether members are verified before they count, from now on; whether that is news, and all
    /// routes are to be told again.
    pub fn set_verified(&mut self, verified: bool) -> bool {
        std::mem::replace(&mut self.verified, verified) != verified
    }

    /// How routes with several hops are in the kernel, and how they stand; `None`: this is no router.
    pub fn routes(&self) -> Option<(Multipath, Told)> {
        let routes = self.routes.as_ref()?;
        Some((routes.multipath, routes.told()))
    }

    /// Whether this router answers for members elsewhere on the link of this name.
    pub(super) fn stands_in(&self, name: &str) -> bool {
        let router = self.router.as_ref();
        router.is_some_and(|router| router.proxy && router.acts_on(name))
    }

    /// A router that answers for members elsewhere must not tell the askers of a better way: they
    /// would keep to it when it has become a worse one.
    pub(super) fn settle_router_link(&mut self, name: &str) -> Result<(), Failure> {
        for name in ["all", name] {
            let set = sysctl::set(&mut self.dir, &sysctl::send_redirects(name), "0");
            set.map_err(|error| Failure::io("kernel setting", &error))?;
        }
        Ok(())
    }
}

/// The thread, and what it is to do.
#[derive(Debug)]
pub struct Routes {
    shared: Arc<Shared>,
    /// Wishes that are not in the inbox yet.
    wishes: BTreeMap<Prefix, Wish>,
    thread: JoinHandle<Result<(), String>>,
    /// How routes with several hops are put into the kernel.
    multipath: Multipath,
}

impl Routes {
    /// Takes over what an earlier daemon left, discards what `discard` holds, and waits for wishes.
    /// `grouped`: routes with the same hops share a nexthop group where the kernel can do it.
    pub fn start(grouped: bool, discard: &[Prefix]) -> Result<Self, Failure> {
        let failed = |error| Failure::io("netlink", &error);
        let mut bulk = Bulk::open().map_err(failed)?;
        let kernel = bulk.multipath().map_err(failed)?;
        let multipath = if grouped { kernel } else { Multipath::Routes };
        if multipath == (Multipath::Groups { resilient: false }) {
            tracing::warn!(
                "this kernel has no resilient nexthop groups (Linux 5.13): flows through other \
                 members may move when one comes or leaves"
            );
        }
        let mut fib = Fib::new(multipath);
        fib.adopt(&bulk.snapshot().map_err(failed)?);
        if fib.stale() > 0 {
            tracing::info!(
                prefixes = fib.stale(),
                "routes of an earlier daemon taken over"
            );
        }
        fib.set_discard(discard.iter().copied());
        let shared = Arc::new(Shared::default());
        let worker = Worker {
            shared: Arc::clone(&shared),
            bulk,
            fib,
            again: None,
            pause: RETRY,
        };
        let thread = std::thread::Builder::new()
            .name("routes".to_owned())
            .spawn(move || worker.run())
            .map_err(|error| Failure::io("thread", &error))?;
        Ok(Self {
            shared,
            wishes: BTreeMap::new(),
            thread,
            multipath,
        })
    }

    /// Wants a route (none without hops) with the next [`Routes::commit`].
    pub fn want(&mut self, prefix: Prefix, metric: u32, hops: Vec<(Hop, Option<[u8; 6]>)>) {
        self.wishes.insert(prefix, (metric, hops));
    }

    /// Hands everything that was wanted since the last call over, at once.
    pub fn commit(&mut self) {
        if self.wishes.is_empty() {
            return;
        }
        let wishes = mem::take(&mut self.wishes);
        self.tell(|inbox| {
            if inbox.wishes.is_empty() {
                inbox.wishes = wishes;
            } else {
                inbox.wishes.extend(wishes);
            }
        });
    }

    /// Has the kernel's routes compared with what is wanted: something may have taken some away.
    pub fn observe(&self) {
        self.tell(|inbox| inbox.observe = true);
    }

    /// Removes what an earlier daemon left and nobody wants.
    pub fn sweep(&mut self) {
        self.commit();
        self.tell(|inbox| inbox.sweep = true);
    }

    /// How things stand.
    pub fn told(&self) -> Told {
        lock(&self.shared.told).clone()
    }

    /// Removes all routes of ours and ends the thread. Errors: what could not be removed.
    pub fn stop(self) -> Result<(), Failure> {
        self.tell(|inbox| inbox.stop = true);
        let ended = self.thread.join();
        let ended = ended.unwrap_or_else(|_| Err("the thread panicked".to_owned()));
        ended.map_err(|error| Failure::new(exit::FAILED, format!("routes: {error}")))
    }

    fn tell(&self, change: impl FnOnce(&mut Inbox)) {
        change(&mut lock(&self.shared.inbox));
        self.shared.wake.notify_one();
    }
}

/// Removes all routes to members of ours, with what belongs to them; how many routes there were.
pub fn remove_all() -> Result<usize, Failure> {
    let remove = || -> io::Result<_> {
        let mut bulk = Bulk::open()?;
        let mut fib = Fib::new(Multipath::Routes);
        fib.observe(&bulk.snapshot()?);
        let routes = fib.installed();
        fib.clear();
        let ops = fib.reconcile();
        Ok((routes, first(&ops, &bulk.carry_out(&ops)?)))
    };
    match remove().map_err(|error| Failure::io("netlink", &error))? {
        (routes, None) => Ok(routes),
        (_, Some(refused)) => Err(Failure::new(exit::FAILED, format!("routes: {refused}"))),
    }
}

struct Worker {
    shared: Arc<Shared>,
    bulk: Bulk,
    fib: Fib,
    /// When to ask the kernel again after a refusal.
    again: Option<Instant>,
    pause: Duration,
}

impl Worker {
    fn run(mut self) -> Result<(), String> {
        loop {
            self.settle();
            let inbox = self.wait();
            let again = self
                .again
                .take_if(|again| *again <= Instant::now())
                .is_some();
            for (prefix, (metric, hops)) in inbox.wishes {
                self.fib.set(prefix, metric, &hops);
            }
            if inbox.sweep {
                let prefixes = self.fib.sweep();
                if prefixes > 0 {
                    tracing::info!(prefixes, "routes of an earlier daemon swept");
                }
            }
            if (inbox.observe || again || inbox.stop)
                && let Err(error) = self.observe()
            {
                tracing::error!(%error, "the kernel's routes cannot be read");
                self.later();
            }
            if inbox.stop {
                return self.end();
            }
        }
    }

    /// Sleeps until there is something to do, and takes all of it.
    fn wait(&self) -> Inbox {
        let mut inbox = lock(&self.shared.inbox);
        loop {
            let idle = inbox.wishes.is_empty() && !inbox.observe && !inbox.sweep && !inbox.stop;
            let left = self
                .again
                .map(|at| at.saturating_duration_since(Instant::now()));
            if !idle || left == Some(Duration::ZERO) {
                return mem::take(&mut inbox);
            }
            inbox = match left {
                None => self
                    .shared
                    .wake
                    .wait(inbox)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(left) => {
                    let woken = self.shared.wake.wait_timeout(inbox, left);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    fn observe(&mut self) -> io::Result<()> {
        // A connection of its own: the old one may be why this is asked for.
        self.bulk = Bulk::open()?;
        self.fib.observe(&self.bulk.snapshot()?);
        Ok(())
    }

    /// Makes the kernel have what is wanted, and tells how that went.
    fn settle(&mut self) {
        let ops = self.fib.reconcile();
        let (refused, refusals) = match self.bulk.carry_out(&ops) {
            Ok(refused) => {
                let some = refused.iter().take(NAMED);
                let named = some.map(|refusal| (name(&ops[refusal.index]), refusal.errno));
                if let Some(first) = first(&ops, &refused) {
                    let refused = refused.len();
                    tracing::warn!(
                        refused,
                        first,
                        again_s = self.pause.as_secs(),
                        "routes refused"
                    );
                }
                (refused.len(), named.collect())
            }
            Err(error) => {
                tracing::error!(%error, changes = ops.len(), "routes not changed");
                (ops.len(), Vec::new())
            }
        };
        if refused > 0 {
            self.later();
        } else if !ops.is_empty() && self.again.is_none() {
            self.pause = RETRY;
        }
        let mut told = lock(&self.shared.told);
        // What was refused stays refused until it is tried again.
        if refused > 0 || self.again.is_none() {
            (told.refused, told.refusals) = (refused, refusals);
        }
        told.installed = self.fib.installed();
        told.groups = self.fib.groups();
        told.stale = self.fib.stale();
    }

    fn later(&mut self) {
        self.again = Some(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(RETRY_MOST);
    }

    fn end(&mut self) -> Result<(), String> {
        self.fib.clear();
        let ops = self.fib.reconcile();
        let refused = self
            .bulk
            .carry_out(&ops)
            .map_err(|error| error.to_string())?;
        first(&ops, &refused).map_or(Ok(()), Err)
    }
}

/// The first refusal, for people.
fn first(ops: &[Op], refused: &[Refusal]) -> Option<String> {
    let first = refused.first()?;
    let error = io::Error::from_raw_os_error(first.errno);
    Some(format!("{}: {error}", name(&ops[first.index])))
}

/// What a change is about, for people.
fn name(op: &Op) -> String {
    match op {
        Op::Neighbour { address, .. } => format!("neighbour {address}"),
        Op::Nexthop { hop, .. } => format!("next hop {}", hop.via),
        Op::Group { id, .. } => format!("nexthop group {id}"),
        Op::Forget { id } => format!("nexthop {id}"),
        Op::Route { prefix, .. } | Op::Remove { prefix, .. } => prefix.to_string(),
    }
}

/// What the lock guards is whole after every change of it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
