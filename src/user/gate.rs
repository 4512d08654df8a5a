//! The member's gate: which anycast addresses this host acts for now.
//!
//! What the node says is served is in front of a lease that each hello renews. When the lease has run
//! out the gate is closed, whatever is behind it: another member acts then.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use crate::addr::Prefix;
use crate::node::LinkId;
use crate::time::{Duration, Instant};

/// One host's gate; closed at first.
#[derive(Debug, Default)]
pub(super) struct Gate {
    served: BTreeMap<Prefix, BTreeSet<LinkId>>,
    until: Instant,
}

impl Gate {
    /// `prefix` is served on `link`, as long as there is a lease.
    pub(super) fn serve(&mut self, link: LinkId, prefix: Prefix) {
        self.served.entry(prefix).or_default().insert(link);
    }

    /// `prefix` is no longer served on `link`.
    pub(super) fn withdraw(&mut self, link: LinkId, prefix: Prefix) {
        if let Some(links) = self.served.get_mut(&prefix) {
            links.remove(&link);
            if links.is_empty() {
                self.served.remove(&prefix);
            }
        }
    }

    /// What is served may be served for `lasts` from now.
    //= docs/spec/link.md#what-a-member-s-kernel-holds
    //# A member's kernel MUST act for an address no longer than a dead time after the member's last
    //# hello.
    pub(super) fn lease(&mut self, now: Instant, lasts: Duration) {
        self.until = now + lasts;
    }

    /// Whether this host acts for `address` now.
    pub(super) fn admits(&self, now: Instant, address: IpAddr) -> bool {
        now < self.until && self.serves(address)
    }

    /// Whether `address` is one of those behind the gate, open or closed.
    pub(super) fn serves(&self, address: IpAddr) -> bool {
        self.served.keys().any(|prefix| prefix.contains(&address))
    }
}
