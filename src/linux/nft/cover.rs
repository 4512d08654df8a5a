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

    /// The elements of the kernel's set that stand for `prefixes`, each once.
    pub(super) fn outermost(&self, prefixes: &[Prefix]) -> Vec<Prefix> {
        let outer = prefixes.iter().map(|prefix| {
            let mut supernets = (0..=prefix.prefix_len()).filter_map(|length| {
                let supernet = Prefix::new(prefix.addr(), length).ok()?.trunc();
                self.prefixes.contains(&supernet).then_some(supernet)
            });
            supernets.next().unwrap_or(prefix.trunc())
        });
        outer.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn change(&mut self, with: impl FnOnce(&mut BTreeSet<Prefix>)) -> Change {
        let elements = |cover: &Self| -> BTreeSet<Prefix> {
            let all: Vec<_> = cover.prefixes.iter().copied().collect();
            cover.outermost(&all).into_iter().collect()
        };
        let before = elements(self);
        with(&mut self.prefixes);
        let after = elements(self);
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
        assert_eq!(cover.outermost(&inner), outer);
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
        assert_eq!(cover.outermost(&prefixes("2001:2:0:1546::2/120")), same);
        assert_eq!(cover.remove(&same), change("2001:2:0:1546::/120", ""));
    }
}
