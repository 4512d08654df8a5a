//! The routes: of each prefix, the best of those that serve it.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::{Hop, Route};
use crate::addr::Prefix;
use crate::wire::Scope;

/// A member's record, as a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// It is not about to leave.
    pub(super) serves: bool,
    pub(super) preference: u16,
    /// It may be carried within this site only.
    pub(super) site: bool,
    pub(super) hop: Hop,
}

impl Candidate {
    /// What the best are the best by.
    //= docs/spec/router.md#routes
    //# The next hops of a prefix MUST be of those members that are best by these, in this order: not
    //# draining before draining; higher preference.
    fn rank(&self) -> (bool, u16) {
        (self.serves, self.preference)
    }
}

/// What has become of one member's record of a prefix.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    pub(super) prefix: Prefix,
    pub(super) before: Option<Candidate>,
    pub(super) after: Option<Candidate>,
}

/// The route of one prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    hops: Arc<[Hop]>,
    /// How many members are as good as the next hops, these included.
    equal: u32,
    /// How many next hops are for this site only.
    site: u16,
    rank: (bool, u16),
}

impl Entry {
    /// Whether both are the same to those who are told of routes.
    fn looks_like(&self, other: &Self) -> bool {
        let about = |entry: &Self| (entry.scope(), entry.is_draining());
        about(self) == about(other) && self.hops == other.hops
    }

    fn scope(&self) -> Scope {
        //= docs/spec/router.md#routes
        //# A route MUST NOT have a wider scope than the record of any of its next hops.
        if self.site > 0 {
            Scope::Site
        } else {
            Scope::Global
        }
    }

    fn is_draining(&self) -> bool {
        !self.rank.0
    }
}

/// All routes.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    limit: usize,
    all: BTreeMap<Prefix, Entry>,
    /// How many routes there are of each prefix length, of IPv4 and of IPv6.
    lengths: [BTreeMap<u8, usize>; 2],
    sets: Sets,
    events: VecDeque<Route>,
}

/// A cursor is moved on so many steps before it is put elsewhere.
const STRIDE: usize = 8;

impl Routes {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            all: BTreeMap::new(),
            lengths: Default::default(),
            sets: Sets::default(),
            events: VecDeque::new(),
        }
    }

    pub(super) fn poll(&mut self) -> Option<Route> {
        self.events.pop_front()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Route> {
        self.all.iter().map(|(prefix, entry)| Route {
            prefix: *prefix,
            scope: entry.scope(),
            draining: entry.is_draining(),
            hops: entry.hops.clone(),
        })
    }

    /// The next hops of the longest prefix that contains `target`.
    pub(super) fn longest_match(&self, target: IpAddr) -> Option<&[Hop]> {
        let lengths = self.lengths[usize::from(target.is_ipv6())].keys().rev();
        lengths.into_iter().find_map(|length| {
            let prefix = Prefix::new(target, *length).ok()?.trunc();
            self.all.get(&prefix).map(|entry| &*entry.hops)
        })
    }

    /// Carries changes of one member, in order of their prefixes, into the routes. `all` finds every
    /// candidate of a prefix after its change.
    pub(super) fn apply(
        &mut self,
        changes: impl Iterator<Item = Change>,
        all: impl Fn(Prefix) -> Vec<Candidate>,
    ) {
        let Self {
            limit,
            all: routes,
            lengths,
            sets,
            events,
        } = self;
        let (mut made, mut gone) = (Vec::new(), Vec::new());
        let mut tell = |prefix, entry: Option<&Entry>| {
            events.push_back(Route {
                prefix,
                scope: entry.map_or(Scope::Link, Entry::scope),
                draining: entry.is_some_and(Entry::is_draining),
                hops: entry.map_or_else(Arc::default, |entry| entry.hops.clone()),
            });
        };
        let mut cursor = None;
        for change in changes {
            let prefix = change.prefix;
            // Changes come in order, as routes lie: where they are many, the next is near.
            let mut near = match cursor.take() {
                Some(near) => near,
                None => routes.range_mut(prefix..).peekable(),
            };
            let before = |next: &(&Prefix, &mut Entry)| *next.0 < prefix;
            let mut steps = 0;
            while steps < STRIDE && near.next_if(before).is_some() {
                steps += 1;
            }
            if steps == STRIDE {
                drop(near);
                near = routes.range_mut(prefix..).peekable();
            }
            match near.next_if(|next| *next.0 == prefix) {
                Some((_, entry)) => {
                    let before = entry.clone();
                    if sets.change(entry, &change, *limit) {
                        match sets.choose(all(prefix), &entry.hops, *limit) {
                            Some(chosen) => *entry = chosen,
                            None => {
                                gone.push(prefix);
                                tell(prefix, None);
                            }
                        }
                    }
                    if gone.last() != Some(&prefix) && !entry.looks_like(&before) {
                        tell(prefix, Some(entry));
                    }
                }
                None => {
                    if let Some(after) = change.after {
                        let entry = Entry {
                            hops: sets.intern(&[after.hop]),
                            equal: 1,
                            site: after.site.into(),
                            rank: after.rank(),
                        };
                        tell(prefix, Some(&entry));
                        made.push((prefix, entry));
                    }
                }
            }
            cursor = Some(near);
        }
        for prefix in gone {
            routes.remove(&prefix);
            let counts = &mut lengths[usize::from(prefix.addr().is_ipv6())];
            if let Some(count) = counts.get_mut(&prefix.prefix_len()) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(&prefix.prefix_len());
                }
            }
        }
        for (prefix, _) in &made {
            let counts = &mut lengths[usize::from(prefix.addr().is_ipv6())];
            *counts.entry(prefix.prefix_len()).or_default() += 1;
        }
        if routes.len() < made.len() * STRIDE {
            routes.append(&mut made.into_iter().collect());
        } else {
            routes.extend(made);
        }
        sets.purge();
    }
}

/// Sets of next hops, each of them once.
#[derive(Debug, Clone, Default)]
struct Sets {
    all: BTreeSet<Arc<[Hop]>>,
    /// The last step from one set to another: the next is mostly the same.
    last: Option<Step>,
    /// How many there were after the last look for unused ones.
    used: usize,
}

#[derive(Debug, Clone)]
struct Step {
    from: Arc<[Hop]>,
    hop: Hop,
    to: Arc<[Hop]>,
}

impl Sets {
    fn intern(&mut self, hops: &[Hop]) -> Arc<[Hop]> {
        if let Some(known) = self.all.get(hops) {
            return known.clone();
        }
        let made: Arc<[Hop]> = hops.into();
        self.all.insert(made.clone());
        made
    }

    /// The set with `hop` if it is without, and without it if it is in.
    fn toggle(&mut self, from: &Arc<[Hop]>, hop: Hop) -> Arc<[Hop]> {
        if let Some(last) = &self.last
            && last.hop == hop
            && Arc::ptr_eq(&last.from, from)
        {
            return last.to.clone();
        }
        let mut hops = from.to_vec();
        match hops.binary_search(&hop) {
            Ok(at) => drop(hops.remove(at)),
            Err(at) => hops.insert(at, hop),
        }
        let (from, to) = (from.clone(), self.intern(&hops));
        self.last = Some(Step {
            from,
            hop,
            to: to.clone(),
        });
        to
    }

    /// Carries a member's change into a route, and returns whether the route has to be chosen anew
    /// instead: its next hops may no longer be the best ones.
    fn change(&mut self, entry: &mut Entry, change: &Change, limit: usize) -> bool {
        if let Some(before) = change.before.filter(|before| before.rank() == entry.rank) {
            let listed = entry.hops.binary_search(&before.hop).is_ok();
            let others = entry.equal as usize - entry.hops.len();
            if listed && (others > 0 || entry.hops.len() == 1) {
                return true;
            }
            entry.equal -= 1;
            if listed {
                entry.hops = self.toggle(&entry.hops, before.hop);
                entry.site -= u16::from(before.site);
            }
        }
        let Some(after) = change.after.filter(|after| after.rank() >= entry.rank) else {
            return false;
        };
        if after.rank() > entry.rank {
            *entry = Entry {
                hops: self.intern(&[after.hop]),
                equal: 1,
                site: after.site.into(),
                rank: after.rank(),
            };
            return false;
        }
        entry.equal += 1;
        //= docs/spec/router.md#routes
        //# A router MUST bound the next hops of a route; a next hop MUST stay one as long as it is
        //# among the best.
        if entry.hops.len() < limit && entry.hops.binary_search(&after.hop).is_err() {
            entry.hops = self.toggle(&entry.hops, after.hop);
            entry.site += u16::from(after.site);
        }
        false
    }

    /// The route of these candidates; next hops `used` before come first.
    fn choose(&mut self, candidates: Vec<Candidate>, used: &[Hop], limit: usize) -> Option<Entry> {
        let rank = candidates.iter().map(Candidate::rank).max()?;
        let best = candidates
            .iter()
            .filter(|candidate| candidate.rank() == rank);
        let mut best: Vec<&Candidate> = best.collect();
        let equal = u32::try_from(best.len()).unwrap_or(u32::MAX);
        best.sort_by_key(|c| (used.binary_search(&c.hop).is_err(), c.hop));
        best.dedup_by_key(|c| c.hop);
        best.truncate(limit);
        let site = best.iter().filter(|candidate| candidate.site).count();
        let mut hops: Vec<Hop> = best.iter().map(|candidate| candidate.hop).collect();
        hops.sort_unstable();
        Some(Entry {
            hops: self.intern(&hops),
            equal,
            site: u16::try_from(site).unwrap_or(u16::MAX),
            rank,
        })
    }

    /// Forgets sets that no route has, once there are twice as many as after the last time.
    fn purge(&mut self) {
        if self.all.len() > 2 * self.used.max(32) {
            self.last = None;
            self.all.retain(|set| Arc::strong_count(set) > 1);
            self.used = self.all.len();
        }
    }
}
