//! Prefixes that may lie in each other, for a kernel set that refuses overlaps.

use std::collections::BTreeSet;

use crate::addr::Prefix;

/// A set of prefixes of which the kernel is told the outermost ones.
#[derive(Debug, Default)]
pub(super) struct Cover {
    prefixes: BTreeSet<Prefix>,
}

/// How the kernel's set differs after a change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Elements to take away, before the others are added.
    pub(super) out: Vec<Prefix>,
    /// Elements to add.
    pub(super) into: Vec<Prefix>,
}

impl Cover {
    /// Adds prefixes; those that are there already change nothing.
    pub(super) fn insert(&mut self, prefixes: &[Prefix]) -> Change {
        if prefixes
            .iter()
            .all(|prefix| self.prefixes.contains(&prefix.trunc()))
        {
            return Change::default();
        }
        self.change(|set| set.extend(prefixes.iter().map(Prefix::trunc)))
    }

    /// Takes prefixes away; what lies in them and was added itself stays.
    pub(super) fn remove(&mut self, prefixes: &[Prefix]) -> Change {
        self.change(|set| {
            for prefix in prefixes {
                set.remove(&prefix.trunc());
            }
        })
    }

    /// The elements of the kernel's set. In the order of prefixes one comes before all that lie
    /// in it.
    pub(super) fn outermost(&self) -> BTreeSet<Prefix> {
        let mut last: Option<Prefix> = None;
        let outer = self.prefixes.iter().filter(|prefix| {
            let inside = last.is_some_and(|last| last.contains(*prefix));
            if !inside {
                last = Some(**prefix);
            }
            !inside
        });
        outer.copied().collect()
    }

    fn change(&mut self, with: impl FnOnce(&mut BTreeSet<Prefix>)) -> Change {
        let before = self.outermost();
        with(&mut self.prefixes);
        let after = self.outermost();
        Change {
            out: before.difference(&after).copied().collect(),
            into: after.difference(&before).copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefixes(words: &str) -> Vec<Prefix> {
        let parse = |word: &str| word.parse().unwrap();
        words.split_whitespace().map(parse).collect()
    }

    fn change(out: &str, into: &str) -> Change {
        Change {
            out: prefixes(out),
            into: prefixes(into),
        }
    }

    #[test]
    fn only_the_outermost_prefixes_are_elements() {
        let mut cover = Cover::default();
        let (inner, outer) = (prefixes("198.18.4.7/32"), prefixes("198.18.4.0/24"));
        assert_eq!(cover.insert(&inner), change("", "198.18.4.7/32"));
        assert_eq!(cover.insert(&inner), change("", ""));
        assert_eq!(
            cover.insert(&outer),
            change("198.18.4.7/32", "198.18.4.0/24")
        );
        assert_eq!(
            cover.remove(&outer),
            change("198.18.4.0/24", "198.18.4.7/32")
        );
        assert_eq!(cover.remove(&inner), change("198.18.4.7/32", ""));
        assert_eq!(cover.remove(&inner), change("", ""));
    }

    #[test]
    fn prefixes_are_the_same_whatever_their_host_bits_are() {
        let mut cover = Cover::default();
        cover.insert(&prefixes("2001:2:0:1546::1f/120"));
        let same = prefixes("2001:2:0:1546::/120");
        assert_eq!(
            cover.insert(&prefixes("2001:2:0:1546::2/120")),
            change("", "")
        );
        assert_eq!(cover.remove(&same), change("2001:2:0:1546::/120", ""));
    }
}
