//! Anycast addresses that have come to be a host's, a gateway's or a subnet's own while the daemon
//! runs: they are given up for as long as that is so, and everything but them goes on.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{HIDDEN, Kernel};
use crate::addr::Class;
use crate::daemon::Failure;
use crate::daemon::overlap::{self, Use};
use crate::linux::netlink::Link;
use crate::time::Instant;

/// What is given up of the class.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    /// The class as it is configured, once something of it was given up.
    whole: Option<Class>,
    addresses: BTreeMap<IpAddr, Use>,
    /// The node does not know yet.
    news: bool,
}

impl Kernel {
    //= docs/spec/membership.md#the-class
    //# An address of the class that comes to be one of those while a node runs MUST be treated as
    //# none of the class, for as long as it is.
    /// Gives up what of the class is in use on these links or by gateways, and takes back what is not
    /// any more.
    pub(super) fn give_up(&mut self, links: &[Link]) -> Result<(), Failure> {
        let whole = self
            .given_up
            .whole
            .clone()
            .unwrap_or_else(|| self.class.clone());
        let prefixes = || self.held.keys().chain(&self.dir.state.prefixes);
        let served = |address| prefixes().any(|prefix| prefix.addr() == address);
        let speaks = |link: &Link| self.interfaces.contains(&link.name);
        let found = overlap::find(&whole, links, &self.seen.around, served, speaks);
        if found == self.given_up.addresses {
            return Ok(());
        }
        for (address, what) in &self.given_up.addresses {
            if found.get(address) != Some(what) {
                tracing::info!(%address, "no longer in use: anycast again");
                let over = what.trouble(*address);
                self.troubles.end(|trouble| *trouble == over);
            }
        }
        let class = whole.without(found.keys().copied());
        let before = std::mem::replace(&mut self.class, class);
        self.given_up = GivenUp {
            whole: Some(whole),
            addresses: found,
            news: true,
        };
        self.tables.set_class(self.class.clone())?;
        if self.member {
            self.load_member_gate()?;
        } else {
            self.load_silence()?;
        }
        if self.client {
            self.tables.load_client()?;
            for attached in self.links.values() {
                self.tables.lease_hiding(&attached.name, HIDDEN)?;
            }
        }
        self.resettle_class(&before);
        // What is not anycast is not to be on lo, and what is again is to be at once.
        let held = self.held.values_mut();
        held.for_each(|held| held.renewed = Instant::ZERO);
        Ok(())
    }

    /// The class, if the node does not know it yet.
    pub fn other_class(&mut self) -> Option<Class> {
        std::mem::take(&mut self.given_up.news).then(|| self.class.clone())
    }

    /// Tells of what is given up.
    pub(super) fn tell_given_up(&mut self, now: Instant) {
        for (address, what) in self.given_up.addresses.clone() {
            self.trouble(now, what.trouble(address));
        }
    }
}
