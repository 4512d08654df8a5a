//! The table against a model of the kernel that refuses what the kernel refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::*;
use crate::proto::random::Random;

const RESILIENT: Multipath = Multipath::Groups { resilient: true };

#[derive(Debug, Default)]
struct Model {
    routes: BTreeMap<(Prefix, u32), Target>,
    groups: BTreeMap<u32, Vec<u32>>,
    nexthops: BTreeMap<u32, Hop>,
    neighbours: BTreeMap<(u32, IpAddr), [u8; 6]>,
}

impl Model {
    fn carry_out(&mut self, ops: &[Op]) {
        for op in ops {
            self.one(op);
        }
    }

    fn one(&mut self, op: &Op) {
        match op.clone() {
            Op::Neighbour { link, address, mac } => match mac {
                Some(mac) => drop(self.neighbours.insert((link, address), mac)),
                None => drop(self.neighbours.remove(&(link, address)).expect("an entry")),
            },
            Op::Nexthop { id, hop } => {
                assert!(!self.groups.contains_key(&id));
                assert_eq!(self.nexthops.insert(id, hop), None, "{op:?}");
            }
            Op::Group {
                id,
                members,
                replace,
                ..
            } => {
                assert!(!members.is_empty() && members.len() <= HOPS);
                assert!(
                    members.iter().all(|id| self.nexthops.contains_key(id)),
                    "{op:?}"
                );
                let before = self.groups.insert(id, members);
                assert_eq!(before.is_some(), replace, "{op:?}");
            }
            Op::Forget { id } => {
                assert!(
                    !self
                        .routes
                        .values()
                        .any(|target| *target == Target::Group(id))
                );
                assert!(
                    self.groups.values().all(|members| !members.contains(&id)),
                    "{op:?}"
                );
                let gone = (self.groups.remove(&id), self.nexthops.remove(&id));
                assert_ne!(gone, (None, None), "{op:?}");
            }
            Op::Route {
                prefix,
                metric,
                target,
                replace,
            } => {
                if let Target::Group(id) = target {
                    assert!(self.groups.contains_key(&id), "{op:?}");
                }
                let before = self.routes.insert((prefix, metric), target);
                assert_eq!(before.is_some(), replace, "{op:?}");
            }
            Op::Remove { prefix, metric } => {
                self.routes.remove(&(prefix, metric)).expect("a route");
            }
            op => panic!("{op:?} is about the class's tables"),
        }
    }

    fn hops(&self, prefix: Prefix, metric: u32) -> Option<BTreeSet<Hop>> {
        Some(match self.routes.get(&(prefix, metric))? {
            Target::Group(id) => self.groups[id].iter().map(|id| self.nexthops[id]).collect(),
            Target::Hops(hops) => hops.iter().copied().collect(),
            target => panic!("{target:?}"),
        })
    }

    fn snapshot(&self) -> Snapshot {
        let routes = self.routes.iter();
        let groups = self.groups.iter();
        Snapshot {
            routes: routes.map(|((p, m), t)| (*p, *m, t.clone())).collect(),
            groups: groups
                .map(|(id, members)| (*id, members.clone(), true))
                .collect(),
            nexthops: self.nexthops.iter().map(|(id, hop)| (*id, *hop)).collect(),
            neighbours: self
                .neighbours
                .iter()
                .map(|((l, a), m)| (*l, *a, *m))
                .collect(),
            foreign: BTreeSet::new(),
        }
    }
}

fn hop(number: u8) -> Hop {
    let via = IpAddr::from([192, 0, 2, number]);
    Hop { link: 2, via }
}

fn hops(numbers: &[u8]) -> Vec<(Hop, Option<[u8; 6]>)> {
    let mac = |number| Some([2, 0, 0, 0, 0, number]);
    numbers.iter().map(|n| (hop(*n), mac(*n))).collect()
}

fn prefix(number: u16) -> Prefix {
    let [high, low] = number.to_be_bytes();
    Prefix::new([198, 18, high, low].into(), 32).unwrap()
}

fn group_ops(ops: &[Op]) -> usize {
    ops.iter()
        .filter(|op| matches!(op, Op::Group { .. }))
        .count()
}

fn route_ops(ops: &[Op]) -> usize {
    ops.iter()
        .filter(|op| matches!(op, Op::Route { .. } | Op::Remove { .. }))
        .count()
}

#[test]
fn one_change_of_the_group_moves_every_route_of_a_member_that_leaves() {
    let (mut fib, mut kernel) = (Fib::new(RESILIENT), Model::default());
    for number in 0..1000 {
        fib.set(prefix(number), 15, &hops(&[1, 2, 3]));
    }
    let ops = fib.reconcile();
    assert_eq!((group_ops(&ops), route_ops(&ops)), (1, 1000));
    kernel.carry_out(&ops);
    for number in 0..1000 {
        fib.set(prefix(number), 15, &hops(&[1, 3]));
    }
    let ops = fib.reconcile();
    assert_eq!((group_ops(&ops), route_ops(&ops)), (1, 0));
    kernel.carry_out(&ops);
    let rest = [hop(1), hop(3)].into();
    assert_eq!(kernel.hops(prefix(7), 15), Some(rest));
    assert_eq!(kernel.nexthops.len(), 2, "the leaver's object is gone");
    assert_eq!(kernel.neighbours.len(), 2, "and its neighbour entry");
    assert_eq!(fib.reconcile(), []);
}

#[test]
fn a_member_that_leaves_one_prefix_gives_it_a_group_made_like_the_old_one() {
    let (mut fib, mut kernel) = (Fib::new(RESILIENT), Model::default());
    fib.set(prefix(1), 15, &hops(&[1, 2, 3]));
    fib.set(prefix(2), 15, &hops(&[1, 2, 3]));
    kernel.carry_out(&fib.reconcile());
    fib.set(prefix(1), 15, &hops(&[2, 3]));
    let ops = fib.reconcile();
    let groups: Vec<(usize, bool)> = ops
        .iter()
        .filter_map(|op| match op {
            Op::Group {
                members, replace, ..
            } => Some((members.len(), *replace)),
            _ => None,
        })
        .collect();
    assert_eq!(groups, [(3, false), (2, true)]);
    kernel.carry_out(&ops);
    assert_eq!(kernel.hops(prefix(2), 15).unwrap().len(), 3);
    assert_eq!(kernel.hops(prefix(1), 15), Some([hop(2), hop(3)].into()));
}

#[test]
fn another_metric_is_another_route_and_the_old_one_goes() {
    let (mut fib, mut kernel) = (Fib::new(RESILIENT), Model::default());
    fib.set(prefix(1), 15, &hops(&[1]));
    kernel.carry_out(&fib.reconcile());
    fib.set(prefix(1), 16, &hops(&[2]));
    kernel.carry_out(&fib.reconcile());
    assert_eq!(kernel.hops(prefix(1), 15), None);
    assert_eq!(kernel.hops(prefix(1), 16), Some([hop(2)].into()));
}

#[test]
fn what_a_predecessor_left_stays_until_contradicted_or_swept() {
    let (mut fib, mut kernel) = (Fib::new(RESILIENT), Model::default());
    for number in 1..=4 {
        fib.set(prefix(number), 15, &hops(&[1, 2]));
    }
    kernel.carry_out(&fib.reconcile());

    let mut fib = Fib::new(RESILIENT);
    fib.adopt(&kernel.snapshot());
    assert_eq!(fib.reconcile(), [], "nothing is touched");
    assert_eq!(fib.stale(), 4);
    for number in 1..=3 {
        fib.set(prefix(number), 15, &hops(&[1]));
    }
    assert_eq!(fib.reconcile(), [], "the other member may yet be heard");
    // Heard, and gone again.
    fib.set(prefix(2), 15, &hops(&[1, 2]));
    fib.set(prefix(2), 15, &hops(&[1]));
    fib.set(prefix(3), 15, &[]);
    kernel.carry_out(&fib.reconcile());
    assert_eq!(kernel.hops(prefix(1), 15), Some([hop(1), hop(2)].into()));
    assert_eq!(kernel.hops(prefix(2), 15), Some([hop(1)].into()));
    assert_eq!(kernel.hops(prefix(3), 15), None);
    assert_eq!(fib.sweep(), 1);
    kernel.carry_out(&fib.reconcile());
    assert_eq!(kernel.hops(prefix(1), 15), Some([hop(1)].into()));
    assert_eq!(kernel.hops(prefix(4), 15), None);
    assert_eq!(kernel.neighbours.len(), 1);
}

#[test]
fn what_goes_with_a_link_during_the_recovery_is_not_made_again() {
    let (mut fib, mut kernel) = (Fib::new(RESILIENT), Model::default());
    let other = Hop { link: 3, ..hop(9) };
    fib.set(prefix(1), 15, &[(hop(1), None), (other, None)]);
    fib.set(prefix(2), 15, &[(other, None)]);
    kernel.carry_out(&fib.reconcile());
    let mut fib = Fib::new(RESILIENT);
    fib.adopt(&kernel.snapshot());
    assert_eq!(fib.reconcile(), []);
    // The kernel takes the hop out of its groups, and removes groups that are empty, and their routes.
    let gone = kernel.nexthops.iter().find(|(_, hop)| **hop == other);
    let gone = *gone.unwrap().0;
    kernel.nexthops.remove(&gone);
    for members in kernel.groups.values_mut() {
        members.retain(|id| *id != gone);
    }
    kernel.groups.retain(|_, members| !members.is_empty());
    kernel.routes.remove(&(prefix(2), 15));
    fib.observe(&kernel.snapshot());
    fib.set(prefix(1), 15, &hops(&[1]));
    kernel.carry_out(&fib.reconcile());
    assert_eq!(kernel.hops(prefix(1), 15), Some([hop(1)].into()));
    assert_eq!(fib.stale(), 0);
}

#[test]
fn groups_of_another_kind_are_replaced_and_not_changed() {
    let mut kernel = Model::default();
    let mut old = Fib::new(Multipath::Groups { resilient: false });
    old.set(prefix(1), 15, &hops(&[1, 2]));
    kernel.carry_out(&old.reconcile());
    let mut snapshot = kernel.snapshot();
    snapshot.groups[0].2 = false;
    let mut fib = Fib::new(RESILIENT);
    fib.adopt(&snapshot);
    fib.set(prefix(1), 15, &hops(&[1, 2]));
    kernel.carry_out(&fib.reconcile());
    assert!(matches!(
        kernel.routes[&(prefix(1), 15)],
        Target::Group(id) if id != snapshot.groups[0].0
    ));
    assert_eq!(kernel.groups.len(), 1);

    let mut fib = Fib::new(Multipath::Routes);
    fib.adopt(&kernel.snapshot());
    fib.set(prefix(1), 15, &hops(&[1, 2]));
    kernel.carry_out(&fib.reconcile());
    assert!(matches!(kernel.routes[&(prefix(1), 15)], Target::Hops(_)));
    assert!(kernel.groups.is_empty() && kernel.nexthops.is_empty());
}

#[test]
fn sets_beyond_the_limit_of_groups_are_in_the_routes_themselves() {
    let (mut fib, mut kernel) = (Fib::new(RESILIENT), Model::default());
    for number in 0..GROUPS + 20 {
        let [high, low] = u16::try_from(number).unwrap().to_be_bytes();
        let via = IpAddr::from([192, 0, high, low]);
        fib.set(
            prefix(number.try_into().unwrap()),
            15,
            &[(Hop { link: 2, via }, None)],
        );
    }
    kernel.carry_out(&fib.reconcile());
    assert_eq!(kernel.groups.len(), GROUPS);
    let listed = kernel
        .routes
        .values()
        .filter(|target| matches!(target, Target::Hops(_)));
    assert_eq!(listed.count(), 20);
}

#[test]
fn a_destination_on_the_link_has_its_group_for_a_neighbour() {
    let (mut fib, mut kernel) = (Fib::new(RESILIENT), Model::default());
    let link = Hop {
        link: 3,
        via: [0; 4].into(),
    };
    fib.set(prefix(0x0102), 15, &[(link, None)]);
    kernel.carry_out(&fib.reconcile());
    let key = (3, IpAddr::from([198, 18, 1, 2]));
    assert_eq!(kernel.neighbours[&key], [0x03, 0x15, 0x46, 18, 1, 2]);
    fib.set(prefix(0x0102), 15, &[]);
    kernel.carry_out(&fib.reconcile());
    assert!(kernel.neighbours.is_empty() && kernel.groups.is_empty());
}

/// Thousands of random steps, with crashes and link losses between: the kernel always takes the
/// changes, and holds what is wanted after each.
#[test]
fn whatever_happens_the_kernel_holds_what_is_wanted() {
    for seed in 1..=60 {
        let mut random = Random::new(seed);
        let mut below = |limit: u64| random.next_u64() % limit;
        let multipath = if below(4) == 0 {
            Multipath::Routes
        } else {
            RESILIENT
        };
        let (mut fib, mut kernel) = (Fib::new(multipath), Model::default());
        let mut wanted: BTreeMap<Prefix, (u32, BTreeSet<Hop>)> = BTreeMap::new();
        for _ in 0..60 {
            let set: Vec<u8> = (1..6).filter(|_| below(2) == 0).collect();
            let from = below(20) as u16;
            for number in from..from + below(8) as u16 {
                let metric = 15 + below(2) as u32;
                let prefix = prefix(number);
                fib.set(prefix, metric, &hops(&set));
                let set: BTreeSet<Hop> = set.iter().map(|n| hop(*n)).collect();
                if set.is_empty() {
                    wanted.remove(&prefix);
                } else {
                    wanted.insert(prefix, (metric, set));
                }
            }
            let discard = (below(3) == 0).then(|| "198.18.0.0/16".parse().unwrap());
            fib.set_discard(discard);
            match below(8) {
                // A restart.
                0 => {
                    fib = Fib::new(multipath);
                    fib.adopt(&kernel.snapshot());
                    kernel.carry_out(&fib.reconcile());
                    for (prefix, (metric, set)) in &wanted {
                        let hops: Vec<_> = set.iter().map(|hop| (*hop, None)).collect();
                        fib.set(*prefix, *metric, &hops);
                    }
                    fib.set_discard(discard);
                    kernel.carry_out(&fib.reconcile());
                    fib.sweep();
                }
                // The kernel has lost the objects of a link, and with them their routes.
                1 => {
                    kernel.routes.clear();
                    kernel.groups.clear();
                    kernel.nexthops.clear();
                    fib.observe(&kernel.snapshot());
                }
                _ => {}
            }
            kernel.carry_out(&fib.reconcile());
            for (prefix, (metric, hops)) in &wanted {
                assert_eq!(
                    kernel.hops(*prefix, *metric).as_ref(),
                    Some(hops),
                    "seed {seed}"
                );
            }
            let discards = usize::from(discard.is_some());
            assert_eq!(kernel.routes.len(), wanted.len() + discards, "seed {seed}");
            assert_eq!(
                (fib.installed(), fib.wanted()),
                (kernel.routes.len(), wanted.len())
            );
            let used: BTreeSet<Hop> = wanted
                .values()
                .flat_map(|(_, hops)| hops)
                .copied()
                .collect();
            assert!(kernel.nexthops.len() <= used.len(), "seed {seed}");
            assert_eq!(fib.groups(), kernel.groups.len());
        }
        fib.clear();
        kernel.carry_out(&fib.reconcile());
        assert!(
            kernel.routes.is_empty() && kernel.groups.is_empty(),
            "seed {seed}"
        );
        assert!(
            kernel.nexthops.is_empty() && kernel.neighbours.is_empty(),
            "seed {seed}"
        );
    }
}
