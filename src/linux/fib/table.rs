//! The table of routes: what is wanted, what is there, and what to do about the difference.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::group::{Changes, Groups};
use super::{DISCARD, HOPS, Hop, HopSet, Multipath, Op, Snapshot, Target};
use crate::addr::{Prefix, is_host};

/// A route that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    metric: u32,
    hops: HopSet,
}

/// What a prefix is to have now.
enum Due {
    /// A route.
    Route(Wanted),
    /// None.
    Nothing,
    /// Whatever a predecessor left there, for now.
    Kept,
}

/// Routes to members, wanted and present. See the module.
#[derive(Debug)]
pub struct Fib {
    multipath: Multipath,
    groups: Groups,
    wanted: BTreeMap<Prefix, Wanted>,
    discard: BTreeSet<Prefix>,
    /// Link-layer addresses of hops whose neighbour entry is ours to make.
    macs: BTreeMap<Hop, [u8; 6]>,
    have: BTreeMap<(Prefix, u32), Target>,
    /// Sets of hops that routes have in themselves, and how many routes do.
    listed: BTreeMap<HopSet, usize>,
    neighbours: BTreeMap<(u32, IpAddr), [u8; 6]>,
    /// Entries of destinations that are themselves on a link.
    on_link: BTreeMap<(IpAddr, u32), [u8; 6]>,
    /// One copy of each set of hops: the table is large, the sets are few.
    sets: BTreeSet<HopSet>,
    /// During recovery: what a predecessor left and nobody has contradicted.
    adopted: BTreeMap<Prefix, HopSet>,
    /// Prefixes to look at.
    dirty: BTreeSet<Prefix>,
}

impl Fib {
    /// Nothing wanted, nothing there.
    pub fn new(multipath: Multipath) -> Self {
        let resilient = multipath == Multipath::Groups { resilient: true };
        Self {
            multipath,
            groups: Groups::new(resilient),
            wanted: BTreeMap::new(),
            discard: BTreeSet::new(),
            macs: BTreeMap::new(),
            have: BTreeMap::new(),
            listed: BTreeMap::new(),
            neighbours: BTreeMap::new(),
            on_link: BTreeMap::new(),
            sets: BTreeSet::new(),
            adopted: BTreeMap::new(),
            dirty: BTreeSet::new(),
        }
    }

    /// `prefix` is to be reached by these hops, the first [`HOPS`] of them in their order; a hop with a
    /// link-layer address gets a permanent neighbour entry. None: no route.
    pub fn set(&mut self, prefix: Prefix, metric: u32, hops: &[(Hop, Option<[u8; 6]>)]) {
        let set: BTreeSet<Hop> = hops.iter().map(|(hop, _)| *hop).collect();
        let set: HopSet = set.into_iter().take(HOPS).collect();
        for (hop, mac) in hops {
            match mac {
                Some(mac) => self.macs.insert(*hop, *mac),
                None => self.macs.remove(hop),
            };
        }
        self.contradict(prefix, &set);
        self.dirty.insert(prefix);
        if set.is_empty() {
            self.wanted.remove(&prefix);
            return;
        }
        let set = match self.sets.get(&set) {
            Some(known) => Arc::clone(known),
            None => {
                self.sets.insert(Arc::clone(&set));
                set
            }
        };
        self.wanted.insert(prefix, Wanted { metric, hops: set });
    }

    /// Prefixes whose packets are to be dropped where no route is.
    pub fn set_discard(&mut self, prefixes: impl IntoIterator<Item = Prefix>) {
        self.discard = prefixes.into_iter().collect();
    }

    /// Starts with what a predecessor left: it stays until it is contradicted, or swept.
    pub fn adopt(&mut self, snapshot: &Snapshot) {
        self.observe(snapshot);
        let routes = self
            .have
            .iter()
            .filter(|((_, metric), _)| *metric != DISCARD);
        self.adopted = routes
            .map(|((prefix, _), target)| (*prefix, self.hops_of(target)))
            .collect();
    }

    /// Takes the kernel's state as this snapshot shows it, and compares all of it anew.
    pub fn observe(&mut self, snapshot: &Snapshot) {
        self.groups.observe(snapshot);
        self.have.clear();
        self.listed.clear();
        self.on_link.clear();
        let neighbours = snapshot.neighbours.iter();
        self.neighbours = neighbours
            .map(|(link, address, mac)| ((*link, *address), *mac))
            .collect();
        for (prefix, metric, target) in &snapshot.routes {
            let target = match target {
                // Removed from under the route between the two questions.
                Target::Group(id) if self.groups.get(*id).is_none() => Target::Other,
                target => target.clone(),
            };
            self.place(*prefix, *metric, target);
        }
        self.believe_no_more_than_is_there();
        self.dirty.extend(self.wanted.keys());
        self.dirty
            .extend(self.have.keys().map(|(prefix, _)| *prefix));
    }

    /// What a predecessor left and the kernel has lost since, with a link, is not made again.
    fn believe_no_more_than_is_there(&mut self) {
        let mut adopted = std::mem::take(&mut self.adopted);
        adopted.retain(|prefix, hops| {
            let mut routes = self.have.range((*prefix, 0)..(*prefix, DISCARD)).peekable();
            let there = routes.peek().is_some();
            let left: BTreeSet<Hop> = routes
                .flat_map(|(_, target)| self.hops_of(target).to_vec())
                .collect();
            let stays = |hop: &&Hop| left.contains(hop);
            *hops = hops.iter().filter(stays).copied().collect();
            there
        });
        self.adopted = adopted;
    }

    /// Ends the recovery: what nobody has asked for since goes. How many prefixes that were.
    pub fn sweep(&mut self) -> usize {
        let adopted = std::mem::take(&mut self.adopted);
        let unasked = |prefix: &&Prefix| !self.wanted.contains_key(prefix);
        let swept = adopted.keys().filter(unasked).count();
        self.dirty.extend(adopted.into_keys());
        swept
    }

    /// Wants nothing any more.
    pub fn clear(&mut self) {
        self.wanted.clear();
        self.discard.clear();
        self.adopted.clear();
        self.dirty
            .extend(self.have.keys().map(|(prefix, _)| *prefix));
    }

    /// What to do now, in this order; it counts as done. After a failure, see [`Fib::observe`].
    pub fn reconcile(&mut self) -> Vec<Op> {
        let dirty = std::mem::take(&mut self.dirty);
        let mut objects = Changes::default();
        self.change_whole_groups(&dirty, &mut objects);
        let (mut routes, mut removals) = (Vec::new(), Vec::new());
        for prefix in &dirty {
            self.settle(*prefix, &mut objects, &mut routes, &mut removals);
        }
        self.settle_discard(&mut routes, &mut removals);
        self.groups.forget_unused(&mut objects);
        let (entries, ends) = self.settle_neighbours();
        self.sets.retain(|set| Arc::strong_count(set) > 1);
        [
            entries,
            objects.nexthops,
            objects.groups,
            routes,
            removals,
            objects.forget,
            ends,
        ]
        .concat()
    }

    /// Prefixes with a route that is wanted.
    pub fn wanted(&self) -> usize {
        self.wanted.len()
    }

    /// Routes that are there, discarding ones included.
    pub fn installed(&self) -> usize {
        self.have.len()
    }

    /// Nexthop groups that are there.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Prefixes that a predecessor left and nobody has asked for yet.
    pub fn stale(&self) -> usize {
        let unasked = |prefix: &&Prefix| !self.wanted.contains_key(prefix);
        self.adopted.keys().filter(unasked).count()
    }

    /// What was wanted and is no longer is no longer believed of a predecessor either.
    fn contradict(&mut self, prefix: Prefix, set: &HopSet) {
        if set.is_empty() {
            self.adopted.remove(&prefix);
            return;
        }
        let (Some(adopted), Some(before)) =
            (self.adopted.get_mut(&prefix), self.wanted.get(&prefix))
        else {
            return;
        };
        let stays = |hop: &&Hop| !before.hops.contains(hop) || set.contains(hop);
        *adopted = adopted.iter().filter(stays).copied().collect();
    }

    fn due(&self, prefix: Prefix) -> Due {
        let adopted = self.adopted.get(&prefix);
        match (self.wanted.get(&prefix), adopted) {
            (Some(wanted), None) => Due::Route(wanted.clone()),
            (Some(wanted), Some(adopted)) => {
                // The wanted ones first, should there be too many.
                let more = adopted.iter().filter(|hop| !wanted.hops.contains(hop));
                let all: BTreeSet<Hop> =
                    wanted.hops.iter().chain(more).take(HOPS).copied().collect();
                Due::Route(Wanted {
                    metric: wanted.metric,
                    hops: all.into_iter().collect(),
                })
            }
            (None, Some(_)) => Due::Kept,
            (None, None) => Due::Nothing,
        }
    }

    /// Changes the groups all of whose routes go the same new way.
    fn change_whole_groups(&mut self, dirty: &BTreeSet<Prefix>, objects: &mut Changes) {
        // Group: how many of its routes change, and to what, unless to different things.
        let mut moves: BTreeMap<u32, (usize, Option<HopSet>)> = BTreeMap::new();
        for prefix in dirty {
            let to = match self.due(*prefix) {
                Due::Route(route) => Some(route.hops),
                Due::Nothing | Due::Kept => None,
            };
            for (_, target) in self.have.range((*prefix, 0)..(*prefix, DISCARD)) {
                let Target::Group(id) = target else {
                    continue;
                };
                let (count, same) = moves.entry(*id).or_insert_with(|| (0, to.clone()));
                *count += 1;
                if *same != to {
                    *same = None;
                }
            }
        }
        for (id, (count, to)) in moves {
            let (Some(to), Some(group)) = (to, self.groups.get(id)) else {
                continue;
            };
            if group.users == count && group.hops != to && !group.hops.is_empty() {
                self.groups.change(id, &to, objects);
            }
        }
    }

    fn settle(
        &mut self,
        prefix: Prefix,
        objects: &mut Changes,
        routes: &mut Vec<Op>,
        removals: &mut Vec<Op>,
    ) {
        let due = match self.due(prefix) {
            Due::Kept => return,
            Due::Nothing => None,
            Due::Route(route) => Some(route),
        };
        let there: Vec<u32> = self
            .have
            .range((prefix, 0)..(prefix, DISCARD))
            .map(|((_, metric), _)| *metric)
            .collect();
        if let Some(route) = &due {
            let like = there.iter().find_map(|metric| {
                let Some(Target::Group(id)) = self.have.get(&(prefix, *metric)) else {
                    return None;
                };
                Some(*id)
            });
            let before = self.have.get(&(prefix, route.metric));
            let leads_there = before.is_some_and(|before| self.hops_of(before) == route.hops);
            let wrong_kind = matches!(self.multipath, Multipath::Routes)
                && matches!(before, Some(Target::Group(_)));
            if !leads_there || wrong_kind {
                let group = match self.multipath {
                    Multipath::Groups { .. } => self.groups.of(&route.hops, like, objects),
                    Multipath::Routes => None,
                };
                let hops = || Target::Hops(Arc::clone(&route.hops));
                let target = group.map_or_else(hops, Target::Group);
                routes.push(Op::Route {
                    prefix,
                    metric: route.metric,
                    target: target.clone(),
                    replace: before.is_some(),
                });
                self.take(prefix, route.metric);
                self.place(prefix, route.metric, target);
            }
        }
        let stays = due.as_ref().map(|route| route.metric);
        for metric in there.into_iter().filter(|metric| Some(*metric) != stays) {
            self.take(prefix, metric);
            removals.push(Op::Remove { prefix, metric });
        }
        let hops = due.map(|route| route.hops);
        self.settle_on_link(prefix, hops.as_deref().unwrap_or_default());
    }

    /// A destination on a link is delivered to its multicast group there.
    fn settle_on_link(&mut self, prefix: Prefix, hops: &[Hop]) {
        if !is_host(&prefix) {
            return;
        }
        let address = prefix.addr();
        let links: BTreeSet<u32> = hops
            .iter()
            .filter(|hop| hop.is_on_link())
            .map(|hop| hop.link)
            .collect();
        let there = self.on_link.range((address, 0)..=(address, u32::MAX));
        let there: Vec<(IpAddr, u32)> = there.map(|(key, _)| *key).collect();
        for key in there {
            self.on_link.remove(&key);
        }
        let mac = link_multicast(address);
        self.on_link
            .extend(links.into_iter().map(|link| ((address, link), mac)));
    }

    fn settle_discard(&mut self, routes: &mut Vec<Op>, removals: &mut Vec<Op>) {
        let there: Vec<Prefix> = self
            .have
            .iter()
            .filter(|((_, metric), _)| *metric == DISCARD)
            .map(|((prefix, _), _)| *prefix)
            .collect();
        for prefix in there.iter().filter(|prefix| !self.discard.contains(prefix)) {
            self.have.remove(&(*prefix, DISCARD));
            removals.push(Op::Remove {
                prefix: *prefix,
                metric: DISCARD,
            });
        }
        for prefix in &self.discard {
            let before = self.have.insert((*prefix, DISCARD), Target::Discard);
            if before != Some(Target::Discard) {
                routes.push(Op::Route {
                    prefix: *prefix,
                    metric: DISCARD,
                    target: Target::Discard,
                    replace: before.is_some(),
                });
            }
        }
    }

    /// Neighbour entries to make, and to end.
    fn settle_neighbours(&mut self) -> (Vec<Op>, Vec<Op>) {
        let listed = self.listed.keys().flat_map(|hops| hops.iter());
        let used: BTreeSet<Hop> = self.groups.hops().chain(listed).copied().collect();
        self.macs.retain(|hop, _| used.contains(hop));
        let on_link = self.on_link.iter();
        let mut due: BTreeMap<(u32, IpAddr), [u8; 6]> = on_link
            .map(|((address, link), mac)| ((*link, *address), *mac))
            .collect();
        for hop in used.iter().filter(|hop| !hop.is_on_link()) {
            let key = (hop.link, hop.via);
            // Until the recovery is over, what a predecessor has verified counts.
            let old = self.neighbours.get(&key);
            let old = old.filter(|_| !self.adopted.is_empty());
            if let Some(mac) = self.macs.get(hop).or(old) {
                due.insert(key, *mac);
            }
        }
        let op = |(link, address): (u32, IpAddr), mac| Op::Neighbour { link, address, mac };
        let new = due
            .iter()
            .filter(|(key, mac)| self.neighbours.get(key) != Some(mac))
            .map(|(key, mac)| op(*key, Some(*mac)))
            .collect();
        let ends = self.neighbours.keys().filter(|key| !due.contains_key(key));
        let ends = ends.map(|key| op(*key, None)).collect();
        self.neighbours = due;
        (new, ends)
    }

    fn hops_of(&self, target: &Target) -> HopSet {
        match target {
            Target::Group(id) => self
                .groups
                .get(*id)
                .map_or_else(HopSet::default, |group| Arc::clone(&group.hops)),
            Target::Hops(hops) => Arc::clone(hops),
            Target::Discard | Target::Other => HopSet::default(),
        }
    }

    fn place(&mut self, prefix: Prefix, metric: u32, target: Target) {
        match &target {
            Target::Group(id) => self.groups.enter(*id),
            Target::Hops(hops) => *self.listed.entry(Arc::clone(hops)).or_default() += 1,
            Target::Discard | Target::Other => {}
        }
        self.have.insert((prefix, metric), target);
    }

    fn take(&mut self, prefix: Prefix, metric: u32) {
        match self.have.remove(&(prefix, metric)) {
            Some(Target::Group(id)) => self.groups.leave(id),
            Some(Target::Hops(hops)) => {
                if let Some(count) = self.listed.get_mut(&hops) {
                    *count -= 1;
                    if *count == 0 {
                        self.listed.remove(&hops);
                    }
                }
            }
            Some(Target::Discard | Target::Other) | None => {}
        }
    }
}

/// The link-layer group that an anycast address's packets are sent to on its own link: 03:15:46 and
/// the low 24 bits of the address.
pub(super) fn link_multicast(address: IpAddr) -> [u8; 6] {
    let low: [u8; 3] = match address {
        IpAddr::V4(address) => {
            let [_, b, c, d] = address.octets();
            [b, c, d]
        }
        IpAddr::V6(address) => {
            let [.., b, c, d] = address.octets();
            [b, c, d]
        }
    };
    [0x03, 0x15, 0x46, low[0], low[1], low[2]]
}
