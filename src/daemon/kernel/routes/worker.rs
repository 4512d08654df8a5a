//! The thread that has the kernel hold the routes: carries wishes out, looks every two seconds at most
//! whether everything is still there, and puts back what is not.
//!
//! A look is a dump of what carries hamp's number. It costs the more the larger the table is, so looks
//! are spread out to a twentieth of the time at most. What was gone (or somebody put in its place) is
//! counted, named and told; what the kernel refuses is tried again with the next look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{io, mem};

use nix::libc;

use super::Wish;
use crate::addr::Prefix;
use crate::linux::fib::class::{ClassRoutes, Place, Way};
use crate::linux::fib::{Fib, Op};
use crate::linux::netlink::{Bulk, Refusal};

/// The longest time between two looks at a small table.
const LOOK: Duration = Duration::from_secs(2);
/// Looks take this share of the thread's time at most.
const SHARE: u32 = 20;
/// What is missing after a link has changed is no work of others for so long.
const LINK_SETTLES: Duration = Duration::from_secs(1);
/// Refused and lost things that are named; all are counted.
const NAMED: usize = 16;

/// What has become of the routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Told {
    /// Routes to members that are there, the discarding ones included, when last looked.
    pub installed: usize,
    /// Nexthop groups that they share.
    pub groups: usize,
    /// Prefixes that an earlier daemon left and nobody has confirmed yet.
    pub stale: usize,
    /// Changes that the kernel refused and that wait for another attempt.
    pub refused: usize,
    /// Some of the refused, and the kernel's error numbers.
    pub refusals: Vec<(String, i32)>,
    /// Routes of the class that are there in the tables of a client or member.
    pub class: usize,
    /// How many things were gone since the daemon started, and put back.
    pub lost: u64,
    /// Some of those that the last look with losses found.
    pub lost_names: Vec<String>,
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    pub(super) wishes: BTreeMap<Prefix, Wish>,
    pub(super) class: BTreeMap<Place, Option<Way>>,
    /// Have the class looked up in its tables, as a router or not.
    pub(super) enable: Option<bool>,
    /// The class is another, and whether a router discards what no member takes.
    pub(super) other: Option<(Vec<Prefix>, bool)>,
    /// A link has changed.
    pub(super) links: bool,
    /// Something of ours may have been changed by others.
    pub(super) look: bool,
    pub(super) sweep: bool,
    pub(super) sweep_class: bool,
    /// The end; `true`: the class's routes stay, for connections.
    pub(super) stop: Option<bool>,
}

impl Inbox {
    fn is_empty(&self) -> bool {
        let Self {
            wishes,
            class,
            enable,
            other,
            links,
            look,
            sweep,
            sweep_class,
            stop,
        } = self;
        let signs = [links, look, sweep, sweep_class];
        wishes.is_empty()
            && class.is_empty()
            && enable.is_none()
            && other.is_none()
            && stop.is_none()
            && !signs.into_iter().any(|sign| *sign)
    }
}

#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) inbox: Mutex<Inbox>,
    pub(super) wake: Condvar,
    pub(super) told: Mutex<Told>,
}

pub(super) struct Worker {
    shared: Arc<Shared>,
    bulk: Bulk,
    /// The table of a router; of others there is nothing to look at in it.
    router: bool,
    fib: Fib,
    class: ClassRoutes,
    look_at: Instant,
    links_settled: Instant,
    /// What the kernel refused last, by name.
    refused: BTreeSet<String>,
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        bulk: Bulk,
        router: bool,
        fib: Fib,
        class: ClassRoutes,
    ) -> Self {
        let now = Instant::now();
        Self {
            shared,
            bulk,
            router,
            fib,
            class,
            look_at: now + LOOK,
            links_settled: now,
            refused: BTreeSet::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<(), String> {
        loop {
            let ops = self.reconcile();
            self.carry_out(&ops, false);
            let inbox = self.wait();
            for (prefix, (metric, hops)) in inbox.wishes {
                self.fib.set(prefix, metric, &hops);
            }
            for (place, way) in inbox.class {
                self.class.set(place, way);
            }
            if let Some((class, discards)) = inbox.other {
                let discard = if discards { &class[..] } else { &[] };
                self.fib.set_discard(discard.iter().copied());
            }
            if let Some(router) = inbox.enable {
                self.class.enable(router);
            }
            if inbox.sweep {
                told_of_sweep(self.fib.sweep());
            }
            if inbox.sweep_class {
                told_of_sweep(self.class.sweep());
            }
            if inbox.links {
                self.links_settled = Instant::now() + LINK_SETTLES;
            }
            let due = self.look_at <= Instant::now();
            if inbox.links || inbox.look || inbox.stop.is_some() || due {
                self.look();
            }
            if let Some(keep_class) = inbox.stop {
                return self.end(keep_class);
            }
        }
    }

    /// Sleeps until there is something to do, and takes all of it.
    fn wait(&self) -> Inbox {
        let mut inbox = lock(&self.shared.inbox);
        while inbox.is_empty() {
            let left = self.look_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let woken = self.shared.wake.wait_timeout(inbox, left);
            inbox = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        mem::take(&mut inbox)
    }

    /// Compares the kernel's state with what is wanted, and mends it.
    fn look(&mut self) {
        let ops = self.reconcile();
        self.carry_out(&ops, false);
        let began = Instant::now();
        if let Err(error) = self.observe() {
            tracing::warn!(%error, "the kernel's routes cannot be read: tried again");
        } else {
            let ops = self.reconcile();
            self.note_losses(&ops);
            self.carry_out(&ops, true);
        }
        let now = Instant::now();
        self.look_at = now + LOOK.max((now - began) * SHARE);
    }

    fn observe(&mut self) -> io::Result<()> {
        // A connection of its own: the old one may be why this is asked for.
        self.bulk = Bulk::open()?;
        if self.router {
            self.fib.observe(&self.bulk.snapshot()?);
        }
        self.class.observe(&self.bulk.class_snapshot()?);
        Ok(())
    }

    fn reconcile(&mut self) -> Vec<Op> {
        let mut ops = self.fib.reconcile();
        ops.extend(self.class.reconcile());
        ops
    }

    /// What was wanted and there, and is no longer: somebody took it, or put his own in its place.
    fn note_losses(&mut self, ops: &[Op]) {
        if Instant::now() < self.links_settled {
            return;
        }
        let lost = ops.iter().filter(|op| !matches!(op, Op::Forget { .. }));
        let lost = lost.map(name).filter(|name| !self.refused.contains(name));
        let lost: Vec<String> = lost.collect();
        if !lost.is_empty() {
            let mut told = lock(&self.shared.told);
            told.lost += u64::try_from(lost.len()).unwrap_or(u64::MAX);
            told.lost_names = lost.into_iter().take(NAMED).collect();
        }
    }

    /// Makes the kernel have what is wanted, and tells how that went; `all`: these are all changes
    /// that are due, those included that were refused before.
    fn carry_out(&mut self, ops: &[Op], all: bool) {
        let refused = match self.bulk.carry_out(ops) {
            Ok(refused) => refused,
            Err(error) => {
                tracing::warn!(%error, changes = ops.len(), "routes not changed: tried again");
                (0..ops.len())
                    .map(|index| Refusal {
                        index,
                        errno: error.raw_os_error().unwrap_or(libc::EIO),
                    })
                    .collect()
            }
        };
        // A link that went down in this moment: who follows links is about to say so.
        let link_gone =
            |refusal: &&Refusal| ![libc::ENETDOWN, libc::ENODEV].contains(&refusal.errno);
        let named: Vec<(String, i32)> = refused
            .iter()
            .filter(link_gone)
            .map(|refusal| (name(&ops[refusal.index]), refusal.errno))
            .collect();
        let news = named.iter().any(|(name, _)| !self.refused.contains(name));
        if let Some((first, errno)) = named.first().filter(|_| news) {
            let why = io::Error::from_raw_os_error(*errno);
            let first = format!("{first}: {why}");
            tracing::warn!(refused = named.len(), first, "routes refused: tried again");
        }
        if !refused.is_empty() {
            // What was refused is not there.
            self.look_at = self.look_at.min(Instant::now() + LOOK / 2);
        }
        let mut told = lock(&self.shared.told);
        if all || !refused.is_empty() {
            self.refused = named.iter().map(|(name, _)| name.clone()).collect();
            told.refused = refused.len();
            told.refusals = named.into_iter().take(NAMED).collect();
        }
        told.installed = self.fib.installed().saturating_sub(told.refused);
        told.groups = self.fib.groups();
        told.stale = self.fib.stale();
        told.class = self.class.installed();
    }

    fn end(&mut self, keep_class: bool) -> Result<(), String> {
        self.fib.clear();
        if !keep_class {
            self.class.clear();
        }
        let ops = self.reconcile();
        let refused = self.bulk.carry_out(&ops);
        let refused = refused.map_err(|error| error.to_string())?;
        first(&ops, &refused).map_or(Ok(()), Err)
    }
}

fn told_of_sweep(swept: usize) {
    if swept > 0 {
        tracing::info!(routes = swept, "routes of an earlier daemon swept");
    }
}

/// The first refusal, for people.
pub(super) fn first(ops: &[Op], refused: &[Refusal]) -> Option<String> {
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
        Op::Class { place, .. } | Op::ClassEnd { place } => {
            format!("{} in table {}", place.prefix, place.table)
        }
        Op::Rule { rule } | Op::RuleEnd { rule } => {
            format!("rule {} for {}", rule.preference, rule.to)
        }
    }
}

/// What the lock guards is whole after every change of it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
