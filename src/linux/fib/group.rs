//! Nexthop objects and groups, and who uses them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{GROUPS, Hop, HopSet, Op, Snapshot};

/// Ids are taken from here downwards. FRR's zebra counts upwards from the highest id it has seen in
/// the kernel, so the two do not meet; it gives a meaning to bits 28 and 29.
const TOP: u32 = 0x0154_6000;
/// Ids in use at most, and then some: where to start over.
const BOTTOM: u32 = TOP - (1 << 20);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// Where it leads now; empty: to something that this program did not make.
    pub(super) hops: HopSet,
    /// Ids of its nexthop objects.
    members: Vec<u32>,
    /// Routes that use it.
    pub(super) users: usize,
}

/// What changes of the objects, in the order in which the kernel takes them.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub(super) nexthops: Vec<Op>,
    pub(super) groups: Vec<Op>,
    pub(super) forget: Vec<Op>,
}

/// The nexthop objects of ours.
#[derive(Debug)]
pub(super) struct Groups {
    resilient: bool,
    groups: BTreeMap<u32, Group>,
    /// The group that a new route with these hops gets.
    by_hops: BTreeMap<HopSet, u32>,
    nexthops: BTreeMap<Hop, u32>,
    /// Ids that are taken.
    taken: BTreeSet<u32>,
    /// Ids that others have taken.
    foreign: BTreeSet<u32>,
    next: u32,
}

impl Groups {
    pub(super) fn new(resilient: bool) -> Self {
        Self {
            resilient,
            groups: BTreeMap::new(),
            by_hops: BTreeMap::new(),
            nexthops: BTreeMap::new(),
            taken: BTreeSet::new(),
            foreign: BTreeSet::new(),
            next: TOP,
        }
    }

    /// Starts over with what the kernel has; users are counted by [`Groups::enter`].
    pub(super) fn observe(&mut self, snapshot: &Snapshot) {
        self.groups.clear();
        self.by_hops.clear();
        self.nexthops.clear();
        self.foreign.clone_from(&snapshot.foreign);
        self.taken = snapshot.nexthops.iter().map(|(id, _)| *id).collect();
        let by_id: BTreeMap<u32, Hop> = snapshot.nexthops.iter().copied().collect();
        // Of objects that lead to the same place, one is used; the others go.
        self.nexthops = by_id.iter().map(|(id, hop)| (*hop, *id)).collect();
        for (id, members, resilient) in &snapshot.groups {
            self.taken.insert(*id);
            let nexthops = &self.nexthops;
            let hop = |member: &u32| {
                let hop = by_id.get(member)?;
                (nexthops.get(hop) == Some(member)).then_some(*hop)
            };
            let known: Option<BTreeSet<Hop>> = members.iter().map(hop).collect();
            // The kernel does not change the type of a group: one of the other type is not used on.
            let usable = known.filter(|_| *resilient == self.resilient);
            let hops: HopSet = usable.unwrap_or_default().into_iter().collect();
            if !hops.is_empty() {
                self.by_hops.entry(Arc::clone(&hops)).or_insert(*id);
            }
            let members = members.clone();
            let group = Group {
                hops,
                members,
                users: 0,
            };
            self.groups.insert(*id, group);
        }
        if let Some(lowest) = self.taken.range(BOTTOM..=TOP).next() {
            self.next = lowest - 1;
        }
    }

    pub(super) fn get(&self, id: u32) -> Option<&Group> {
        self.groups.get(&id)
    }

    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    /// Every hop of every group.
    pub(super) fn hops(&self) -> impl Iterator<Item = &Hop> {
        self.groups.values().flat_map(|group| group.hops.iter())
    }

    /// A route uses this group from now on.
    pub(super) fn enter(&mut self, id: u32) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.users += 1;
        }
    }

    /// A route uses it no more.
    pub(super) fn leave(&mut self, id: u32) {
        if let Some(group) = self.groups.get_mut(&id) {
            group.users = group.users.saturating_sub(1);
        }
    }

    /// The group for these hops, made if need be, with the bucket layout of the group `like` as that
    /// was when it was made. `None`: there are too many.
    pub(super) fn of(
        &mut self,
        hops: &HopSet,
        like: Option<u32>,
        changes: &mut Changes,
    ) -> Option<u32> {
        if let Some(id) = self.by_hops.get(hops) {
            return Some(*id);
        }
        if self.groups.len() >= GROUPS {
            return None;
        }
        let id = self.id();
        let first = like
            .and_then(|like| self.groups.get(&like))
            .map(|like| Arc::clone(&like.hops))
            .filter(|like| self.resilient && like.iter().any(|hop| hops.contains(hop)));
        if let Some(first) = &first {
            self.put(id, first, false, changes);
        }
        let members = self.put(id, hops, first.is_some(), changes);
        let group = Group {
            hops: Arc::clone(hops),
            members,
            users: 0,
        };
        self.groups.insert(id, group);
        self.by_hops.insert(Arc::clone(hops), id);
        Some(id)
    }

    /// All routes of a group move to other hops.
    pub(super) fn change(&mut self, id: u32, hops: &HopSet, changes: &mut Changes) {
        let members = self.put(id, hops, true, changes);
        let Some(group) = self.groups.get_mut(&id) else {
            return;
        };
        group.members = members;
        let before = std::mem::replace(&mut group.hops, Arc::clone(hops));
        if self.by_hops.get(&before) == Some(&id) {
            self.by_hops.remove(&before);
        }
        self.by_hops.entry(Arc::clone(hops)).or_insert(id);
    }

    /// Groups that no route uses, and then objects that no group uses, go.
    pub(super) fn forget_unused(&mut self, changes: &mut Changes) {
        let unused: Vec<u32> = self
            .groups
            .iter()
            .filter(|(_, group)| group.users == 0)
            .map(|(id, _)| *id)
            .collect();
        for id in unused {
            if let Some(group) = self.groups.remove(&id)
                && self.by_hops.get(&group.hops) == Some(&id)
            {
                self.by_hops.remove(&group.hops);
            }
            changes.forget.push(Op::Forget { id });
            self.taken.remove(&id);
        }
        let members = self.groups.values().flat_map(|group| &group.members);
        let kept: BTreeSet<u32> = self.groups.keys().chain(members).copied().collect();
        self.nexthops.retain(|_, id| kept.contains(id));
        let gone = self.taken.difference(&kept);
        changes.forget.extend(gone.map(|id| Op::Forget { id: *id }));
        self.taken = kept;
    }

    /// Says what the group is to lead to; the ids of its members.
    fn put(&mut self, id: u32, hops: &HopSet, replace: bool, changes: &mut Changes) -> Vec<u32> {
        let mut members = Vec::with_capacity(hops.len());
        for hop in hops.iter() {
            let member = match self.nexthops.get(hop) {
                Some(member) => *member,
                None => {
                    let member = self.id();
                    self.nexthops.insert(*hop, member);
                    let made = Op::Nexthop {
                        id: member,
                        hop: *hop,
                    };
                    changes.nexthops.push(made);
                    member
                }
            };
            members.push(member);
        }
        changes.groups.push(Op::Group {
            id,
            members: members.clone(),
            replace,
            resilient: self.resilient,
        });
        members
    }

    /// An id that no object has.
    fn id(&mut self) -> u32 {
        loop {
            let id = self.next;
            self.next = if id > BOTTOM { id - 1 } else { TOP };
            if !self.foreign.contains(&id) && self.taken.insert(id) {
                return id;
            }
        }
    }
}
