//! What is to be in the kernel is looked for there, and put back where others have taken it away.
//!
//! Routes, next hops, policy rules and permanent neighbour entries are the [routes' thread's](super::routes),
//! the packet filter is [`Tables`](crate::linux::nft::Tables)'. Here are addresses on lo, the client's
//! neighbour entries and settings: every two seconds another thread looks at them, so that hellos do
//! not wait, and the loop compares what it saw with what was there before the look began. Each loss is
//! mended at once, at the pace of the looks; people are told once when it begins, and once a minute.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use tokio::task::JoinHandle;

use super::Kernel;
use crate::addr::{Prefix, shown};
use crate::linux::managers::{self, What};
use crate::linux::netlink::Bulk;
use crate::linux::nft::{self, copy};
use crate::linux::sysctl;
use crate::node::LinkId;
use crate::node::trouble::{Trouble, TroubleKind};
use crate::time::{Duration, Instant};

/// How often addresses, entries and settings are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// A trouble of this host that was noted so often is somebody's habit.
const HABIT: u64 = 5;

/// The connections that there are, and what the rules know of them.
type Copied = Result<(copy::Sockets, Option<Vec<String>>), nft::Error>;

/// What a look has seen.
#[derive(Debug, Default)]
struct Seen {
    held: BTreeSet<Prefix>,
    neighbours: BTreeMap<(u32, IpAddr), [u8; 6]>,
}

/// More about troubles, for people, and the look that is under way.
#[derive(Debug, Default)]
pub(super) struct Watch {
    pub(super) details: BTreeMap<Trouble, String>,
    routes_lost: u64,
    rules_lost: u64,
    /// Connections that a copy is kept of, and the copy that is being taken.
    copied: copy::Sockets,
    found: copy::Sockets,
    copying: Option<JoinHandle<Copied>>,
    look: Option<(Instant, JoinHandle<io::Result<Seen>>)>,
    look_at: Option<Instant>,
}

impl Kernel {
    //= docs/spec/link.md#a-client-s-entries
    //# What others take from the kernel of what this section and the one above require MUST be put
    //# back within 5 s.
    /// Looks at what is there, and puts back what is not. Called every second.
    pub(super) async fn verify(&mut self, now: Instant) {
        self.tables.look();
        self.tell_of_rules(now);
        self.tell_of_routes(now);
        self.verify_settings(now);
        let done = self.watch.look.take_if(|(_, look)| look.is_finished());
        if let Some((began, look)) = done {
            match look.await {
                Ok(Ok(seen)) => self.compare(now, began, &seen).await,
                Ok(Err(error)) => tracing::warn!(%error, "the kernel's addresses cannot be read"),
                Err(error) => tracing::warn!(%error, "the kernel's addresses cannot be read"),
            }
        }
        self.copy_connections().await;
        let due = self.watch.look_at.is_none_or(|at| at <= now);
        let wanted = !self.held.is_empty() || !self.neighbours.is_empty();
        if due && wanted && self.watch.look.is_none() {
            self.watch.look_at = Some(now + LOOK);
            self.watch.look = Some((now, tokio::task::spawn_blocking(look)));
        }
    }

    /// Has a copy of what the client's rules know of connections, should somebody flush them.
    async fn copy_connections(&mut self) {
        if !self.client || self.tables.missing().is_some() {
            return;
        }
        if let Some(copy) = self.watch.copying.take_if(|copy| copy.is_finished()) {
            match copy.await {
                Ok(Ok((sockets, texts))) => {
                    // A table that was flushed while it was listed is no reason to forget.
                    let lost = self.watch.rules_lost != self.tables.losses();
                    if let Some(texts) = texts.filter(|_| !lost) {
                        let connections = sockets.len();
                        tracing::debug!(connections, "connections copied");
                        self.tables.keep_connections(texts);
                    }
                    // A connection that was not established yet is copied once more.
                    let before = std::mem::replace(&mut self.watch.found, sockets);
                    if before == self.watch.found {
                        self.watch.copied = before;
                    }
                }
                Ok(Err(error)) => tracing::debug!(%error, "connections not copied"),
                Err(error) => tracing::debug!(%error, "connections not copied"),
            }
        }
        if self.watch.copying.is_none() {
            let (class, copied) = (self.class.clone(), self.watch.copied.clone());
            self.watch.copying = Some(tokio::task::spawn_blocking(move || {
                let sockets = copy::present(&class)?;
                if sockets == copied {
                    return Ok((sockets, None));
                }
                let texts = copy::take(&sockets)?;
                Ok((sockets, texts))
            }));
        }
    }

    async fn compare(&mut self, now: Instant, began: Instant, seen: &Seen) {
        // What cannot be held, or is given up, is nobody's loss.
        let holds = |prefix: &Prefix| {
            self.class.covers(prefix) && (self.holds_ipv6() || matches!(prefix, Prefix::V4(_)))
        };
        let lost = self.held.iter().filter(|(prefix, held)| {
            let there = held.renewed >= began || seen.held.contains(*prefix);
            !there && holds(prefix)
        });
        let lost: Vec<Prefix> = lost.map(|(prefix, _)| *prefix).collect();
        for prefix in &lost {
            match self.netlink.hold(*prefix, super::HELD).await {
                Ok(()) => {
                    if let Some(held) = self.held.get_mut(prefix) {
                        held.renewed = now;
                    }
                }
                Err(error) => {
                    tracing::warn!(prefix = shown(prefix), %error, "address not put back: tried again");
                }
            }
        }
        self.note(now, TroubleKind::AddressesTaken, What::Addresses, &lost);

        let lost = self
            .neighbours
            .iter()
            .filter(|((link, address), (mac, since))| {
                let there = seen.neighbours.get(&(link.0, *address));
                *since < began && there != Some(mac) && self.links.contains_key(link)
            });
        let lost: Vec<(LinkId, IpAddr, [u8; 6])> = lost
            .map(|((link, address), (mac, _))| (*link, *address, *mac))
            .collect();
        for (link, address, mac) in &lost {
            match self.netlink.set_neighbour(link.0, *address, *mac).await {
                Ok(()) => {
                    self.neighbours.insert((*link, *address), (*mac, now));
                }
                Err(error) => tracing::debug!(%address, %error, "neighbour entry not put back"),
            }
        }
        let lost: Vec<IpAddr> = lost.iter().map(|(_, address, _)| *address).collect();
        self.note(now, TroubleKind::NeighboursTaken, What::Addresses, &lost);
    }

    fn verify_settings(&mut self, now: Instant) {
        let changed = sysctl::verify(&mut self.dir);
        self.note(now, TroubleKind::SettingsChanged, What::Settings, &changed);
    }

    fn tell_of_rules(&mut self, now: Instant) {
        let lost = self.tables.losses();
        if let Some(why) = self.tables.missing().map(|missing| missing.why.clone()) {
            self.note(now, TroubleKind::RulesMissing, What::Filter, &[why]);
        } else if self.watch.rules_lost != lost {
            let what = ["loaded again".to_owned()];
            self.note(now, TroubleKind::RulesTaken, What::Filter, &what);
        }
        self.watch.rules_lost = lost;
    }

    fn tell_of_routes(&mut self, now: Instant) {
        let Some(told) = self.routes.as_ref().map(super::routes::Routes::told) else {
            return;
        };
        if told.lost != self.watch.routes_lost {
            self.watch.routes_lost = told.lost;
            self.note(
                now,
                TroubleKind::RoutesTaken,
                What::Routes,
                &told.lost_names,
            );
        }
        let refused = told
            .refusals
            .iter()
            .map(|(what, errno)| format!("{what} ({})", io::Error::from_raw_os_error(*errno)));
        let refused: Vec<String> = refused.collect();
        self.note(now, TroubleKind::RoutesRefused, What::Routes, &refused);
    }

    /// Notes that something was not there, and tells people of it unless they know.
    fn note(&mut self, now: Instant, kind: TroubleKind, what: What, lost: &[impl ToString]) {
        if lost.is_empty() {
            return;
        }
        let trouble = Trouble::new(kind);
        if self.troubles.note(now, trouble) != Some(trouble) {
            return;
        }
        let some: Vec<String> = lost.iter().take(4).map(ToString::to_string).collect();
        let more = lost.len().saturating_sub(some.len());
        let mut detail = some.join(", ");
        if more > 0 {
            detail += &format!(" and {more} more");
        }
        let course = self
            .troubles
            .current(now)
            .find(|(known, _)| **known == trouble);
        if course.is_some_and(|(_, course)| course.count >= HABIT) {
            detail += ", again and again";
        }
        detail += &format!("; {}", managers::remedy(what));
        tracing::warn!(kind = kind.as_str(), "{trouble}: {detail}");
        self.watch.details.insert(trouble, detail);
    }
}

/// Asks the kernel; blocks.
fn look() -> io::Result<Seen> {
    let mut bulk = Bulk::open()?;
    let held = bulk.holdings()?;
    let neighbours = bulk.neighbours()?;
    Ok(Seen { held, neighbours })
}
