//! The class's routes of a client or member: tables and rules of hamp's own.
//!
//! ```text
//! rule 0      local                what this host serves itself
//! rule 1546   to CLASS: table 1546   a route for each prefix that is served on a link, to that link,
//!                                    and the whole class on a link where a hamp router is heard
//! rule 32766  main                 everybody else's routes: a default route works for what nobody
//!                                    here serves
//! rule 33546  to CLASS: table 1547   the whole class on every link, where nothing else leads there
//! ```
//!
//! A rule is for a prefix of the class, so nothing else is looked up there, and what others say of the
//! class in `main` (a router advertisement, a manager, a redirect) does not count against members that
//! are heard. Within the class these tables are hamp's alone: what somebody else puts there goes.
//!
//! [`ClassRoutes`] is pure, as [`Fib`](super::Fib) is.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::Op;
use crate::addr::Prefix;

/// The table that comes before main: what is served, and where.
pub const SERVED: u32 = 1546;
/// The table that comes after main: the class on every link.
pub const ISOLATED: u32 = 1547;
/// Preference of the rule for [`SERVED`]: behind the local table, before what VPN programs put
/// there (from 5210 on).
pub const BEFORE_MAIN: u32 = 1546;
/// Preference of the rule for [`ISOLATED`]: behind main (32766) and default (32767).
pub const AFTER_MAIN: u32 = 33_546;

/// What tells a route in a table of ours from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// [`SERVED`] or [`ISOLATED`].
    pub table: u32,
    /// Where to.
    pub prefix: Prefix,
    /// Lower is better.
    pub metric: u32,
}

/// How a route delivers: the destination itself is on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Way {
    /// Index of the interface.
    pub link: u32,
    /// The source address that packets get whose program does not choose one.
    pub source: Option<IpAddr>,
}

/// A policy rule of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// The destinations that it is for.
    pub to: Prefix,
    /// Where they are looked up.
    pub table: u32,
    /// Its place among the rules.
    pub preference: u32,
    /// For packets of this host only, not for those that it forwards.
    pub own_packets: bool,
}

/// What the kernel has in the tables of ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClassSnapshot {
    /// Routes; `None` leads elsewhere than a route of ours does.
    pub routes: Vec<(Place, Option<Way>)>,
    /// Rules with our protocol number, as often as they are there.
    pub rules: Vec<Rule>,
}

/// The class's routes and rules, wanted and present.
#[derive(Debug, Default)]
pub struct ClassRoutes {
    class: Vec<Prefix>,
    wanted: BTreeMap<Place, Way>,
    have: BTreeMap<Place, Option<Way>>,
    rules: BTreeSet<Rule>,
    have_rules: Vec<Rule>,
    dirty: BTreeSet<Place>,
    /// What a predecessor left, and nobody has asked for yet.
    adopted: BTreeSet<Place>,
    /// Rules of a predecessor stay until then.
    adopting: bool,
}

impl ClassRoutes {
    /// Wants nothing.
    pub fn new(class: &[Prefix]) -> Self {
        Self {
            class: class.to_vec(),
            ..Self::default()
        }
    }

    /// Starts with what a predecessor left: it stays until it is wanted otherwise, or swept.
    pub fn adopt(&mut self, snapshot: &ClassSnapshot) {
        self.observe(snapshot);
        self.adopted = self.have.keys().copied().collect();
        self.adopting = true;
    }

    /// Has the class looked up in the tables; `router`: what this host forwards is left to main.
    pub fn enable(&mut self, router: bool) {
        let rule = |to: &Prefix, table, preference| Rule {
            to: *to,
            table,
            preference,
            own_packets: router,
        };
        let both = self.class.iter().flat_map(|to| {
            [
                rule(to, SERVED, BEFORE_MAIN),
                rule(to, ISOLATED, AFTER_MAIN),
            ]
        });
        self.rules = both.collect();
    }

    /// Wants a route, or (`None`) none.
    pub fn set(&mut self, place: Place, way: Option<Way>) {
        match way {
            Some(way) => self.wanted.insert(place, way),
            None => self.wanted.remove(&place),
        };
        self.adopted.remove(&place);
        self.dirty.insert(place);
    }

    /// Takes the kernel's state as this snapshot shows it, and compares all of it anew.
    pub fn observe(&mut self, snapshot: &ClassSnapshot) {
        let inside = |place: &Place| self.class.iter().any(|class| class.contains(&place.prefix));
        let routes = snapshot.routes.iter().filter(|(place, _)| inside(place));
        self.have = routes.copied().collect();
        self.have_rules.clone_from(&snapshot.rules);
        self.dirty.extend(self.wanted.keys());
        self.dirty.extend(self.have.keys());
    }

    /// Ends the adoption: what nobody has asked for goes. How many routes that were.
    pub fn sweep(&mut self) -> usize {
        self.adopting = false;
        let left = std::mem::take(&mut self.adopted);
        let swept = left.len();
        self.dirty.extend(left);
        swept
    }

    /// Wants nothing any more, rules included.
    pub fn clear(&mut self) {
        self.adopting = false;
        self.adopted.clear();
        self.wanted.clear();
        self.rules.clear();
        self.dirty.extend(self.have.keys());
    }

    /// What to do now, in this order; it counts as done. Rules come last, and go first: a table is
    /// looked into only when it is complete.
    pub fn reconcile(&mut self) -> Vec<Op> {
        let (mut gone, mut routes) = (Vec::new(), Vec::new());
        for place in std::mem::take(&mut self.dirty) {
            let before = self.have.get(&place);
            match self.wanted.get(&place) {
                Some(way) if before == Some(&Some(*way)) => {}
                Some(way) => {
                    routes.push(Op::Class {
                        place,
                        way: *way,
                        replace: before.is_some(),
                    });
                    self.have.insert(place, Some(*way));
                }
                None if before.is_none() || self.adopted.contains(&place) => {}
                None => {
                    gone.push(Op::ClassEnd { place });
                    self.have.remove(&place);
                }
            }
        }
        let (mut rules, mut ends) = (Vec::new(), Vec::new());
        let mut kept = BTreeSet::new();
        for rule in std::mem::take(&mut self.have_rules) {
            if self.rules.contains(&rule) && kept.insert(rule) {
                continue;
            }
            if self.rules.is_empty() && self.adopting {
                kept.insert(rule);
            } else {
                ends.push(Op::RuleEnd { rule });
            }
        }
        for rule in &self.rules {
            if kept.insert(*rule) {
                rules.push(Op::Rule { rule: *rule });
            }
        }
        self.have_rules = kept.into_iter().collect();
        [ends, routes, gone, rules].concat()
    }

    /// Routes and rules that are wanted.
    pub fn wanted(&self) -> usize {
        self.wanted.len() + self.rules.len()
    }

    /// Routes that are there.
    pub fn installed(&self) -> usize {
        self.have.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(prefix: &str, metric: u32) -> Place {
        let prefix = prefix.parse().unwrap();
        Place {
            table: SERVED,
            prefix,
            metric,
        }
    }

    fn way(link: u32) -> Way {
        Way { link, source: None }
    }

    fn table() -> ClassRoutes {
        ClassRoutes::new(&["198.18.0.0/16".parse().unwrap()])
    }

    #[test]
    fn what_somebody_took_away_is_made_again_and_what_he_put_there_goes() {
        let mut table = table();
        table.enable(false);
        let (a, b) = (place("198.18.0.1/32", 1), place("198.18.0.2/32", 1));
        table.set(a, Some(way(2)));
        table.set(b, Some(way(3)));
        assert_eq!(table.reconcile().len(), 4, "two routes, two rules");
        assert_eq!(table.reconcile(), []);

        let mut seen = ClassSnapshot::default();
        seen.routes.push((a, None));
        seen.routes.push((place("198.18.0.9/32", 7), Some(way(2))));
        seen.routes.push((place("10.0.0.0/8", 7), Some(way(2))));
        table.observe(&seen);
        let ops = table.reconcile();
        let replaced = Op::Class {
            place: a,
            way: way(2),
            replace: true,
        };
        let again = Op::Class {
            place: b,
            way: way(3),
            replace: false,
        };
        let gone = Op::ClassEnd {
            place: place("198.18.0.9/32", 7),
        };
        assert_eq!(ops[..3], [replaced, again, gone]);
        assert_eq!(ops.len(), 5, "both rules again: {ops:?}");
        assert_eq!(table.reconcile(), []);
    }

    #[test]
    fn what_a_predecessor_left_stays_until_it_is_swept() {
        let mut table = table();
        let (a, b) = (place("198.18.0.1/32", 1), place("198.18.0.2/32", 1));
        table.adopt(&ClassSnapshot {
            routes: vec![(a, Some(way(2))), (b, Some(way(2)))],
            rules: Vec::new(),
        });
        table.set(a, Some(way(2)));
        assert_eq!(table.reconcile(), []);
        assert_eq!(table.sweep(), 1);
        assert_eq!(table.reconcile(), [Op::ClassEnd { place: b }]);
    }

    #[test]
    fn a_rule_that_is_there_twice_or_otherwise_goes() {
        let mut table = table();
        table.enable(false);
        table.reconcile();
        let [first, second] = [0, 1].map(|n| *table.rules.iter().nth(n).unwrap());
        let other = Rule {
            own_packets: true,
            ..first
        };
        table.observe(&ClassSnapshot {
            routes: Vec::new(),
            rules: vec![first, first, second, other],
        });
        let ends = [Op::RuleEnd { rule: first }, Op::RuleEnd { rule: other }];
        assert_eq!(table.reconcile(), ends);
        table.clear();
        assert_eq!(table.reconcile().len(), 2);
    }
}
