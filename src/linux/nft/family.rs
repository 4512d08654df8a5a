//! What differs between the two families in a rule text.

use crate::addr::{Class, Prefix};

/// The words of one family; the rules are written once, around them.
pub(super) struct Family {
    /// Suffix of the names of sets, maps and chains.
    pub(super) n: char,
    /// The header's name.
    pub(super) ip: &'static str,
    /// The name of an address in the type of a set.
    pub(super) address: &'static str,
}

pub(super) const IPV4: Family = Family {
    n: '4',
    ip: "ip",
    address: "ipv4_addr",
};

pub(super) const IPV6: Family = Family {
    n: '6',
    ip: "ip6",
    address: "ipv6_addr",
};

pub(super) const BOTH: [&Family; 2] = [&IPV4, &IPV6];

impl Family {
    /// Whether `prefix` is of this family.
    pub(super) fn has(&self, prefix: &Prefix) -> bool {
        matches!(prefix, Prefix::V4(_)) == (self.n == '4')
    }

    /// Those of `prefixes` that are of this family, as `nft` writes them, each with `suffix`;
    /// `None` without any.
    pub(super) fn elements(&self, prefixes: &[Prefix], suffix: &str) -> Option<String> {
        let own: Vec<_> = prefixes
            .iter()
            .filter(|prefix| self.has(prefix))
            .map(|prefix| format!("{}{suffix}", prefix.trunc()))
            .collect();
        (!own.is_empty()).then(|| own.join(", "))
    }

    /// Matches packets whose `side` (`saddr`, `daddr`) is in the class: by a comparison, which is
    /// cheapest, where one prefix is all of it, and by the set `name` otherwise.
    pub(super) fn within(&self, side: &str, name: &str, class: &Class) -> String {
        let own = class.prefixes().iter().filter(|prefix| self.has(prefix));
        match own.collect::<Vec<_>>()[..] {
            [only] if only.prefix_len() > 0 => format!("{} {side} {only}", self.ip),
            _ => format!("{} {side} @{name}{}", self.ip, self.n),
        }
    }

    /// A transaction that gives the set `name` (plus the family's suffix) just these elements.
    pub(super) fn refill(&self, table: &str, name: &str, prefixes: &[Prefix]) -> String {
        let mut text = format!("flush set {table} {name}{}\n", self.n);
        if let Some(elements) = self.elements(prefixes, "") {
            text += &format!("add element {table} {name}{} {{ {elements} }}\n", self.n);
        }
        text
    }
}
