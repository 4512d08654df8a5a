//! The gate, and what it has to know of this host: its addresses on all interfaces, whether hamp was
//! given them or not.

use super::Kernel;
use crate::addr::Class;
use crate::daemon::Failure;
use crate::daemon::config::Config;
use crate::linux::netlink::Link;
use crate::linux::nft::{Own, Unicast};
use crate::proto::rebind::member::Mode;

/// How the gate is to be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gate {
    /// How TCP is taken.
    mode: Mode,
    /// Nothing is said of addresses without a route: a router's own routes decide that.
    silent: bool,
    /// It is loaded.
    loaded: bool,
}

impl Gate {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            mode: config.tcp().into(),
            silent: config.router().is_none(),
            loaded: false,
        }
    }
}

impl Kernel {
    /// Loads the gate of a member, closed.
    pub(super) fn load_member_gate(&mut self) -> Result<(), Failure> {
        self.tables.load_member(self.gate.mode, self.gate.silent)?;
        self.gate.loaded = true;
        Ok(self.tables.set_own(&self.own)?)
    }

    /// Loads the gate of a host that serves nothing, if it needs one.
    //= docs/spec/link.md#what-a-member-s-kernel-holds
    //# A packet to an anycast address that the host does not act for MUST be discarded silently: no
    //# reset, no ICMP.
    pub(super) fn load_silence(&mut self) -> Result<(), Failure> {
        if self.gate.silent {
            self.tables.load_silence()?;
            self.gate.loaded = true;
        } else {
            self.tables.unload_gate()?;
        }
        Ok(())
    }

    /// What the kernel says of its links, for the gate; again with the next change of a link if it
    /// cannot be told now.
    pub(super) fn follow_own(&mut self, links: &[Link]) {
        self.own = own(links, &self.interfaces, &self.class);
        if self.gate.loaded
            && let Err(error) = self.tables.set_own(&self.own)
        {
            tracing::warn!(%error, "the gate does not know this host's addresses: TCP is served plain");
        }
    }
}

/// All addresses that a connection may be answered from, those of hamp's links first.
fn own(links: &[Link], ours: &[String], class: &Class) -> Own {
    let mut links: Vec<&Link> = links.iter().collect();
    links.sort_by_key(|link| {
        let place = ours.iter().position(|name| *name == link.name);
        place.unwrap_or(ours.len() + usize::from(link.loopback))
    });
    let unicast = links.iter().filter(|link| link.up).flat_map(|link| {
        let own = link.addresses.iter().filter(|own| {
            let near = own.address.is_ipv4() && !link.loopback;
            (own.universal || near) && !class.contains(own.address)
        });
        own.map(|own| Unicast {
            interface: link.name.clone(),
            address: own.address,
            subnet: own.subnet,
            universal: own.universal,
        })
    });
    let macs = links
        .iter()
        .filter(|link| link.ethernet)
        .map(|link| link.mac);
    let mut own = Own {
        unicast: unicast.collect(),
        macs: macs.collect(),
    };
    own.macs.sort_unstable();
    own.macs.dedup();
    own
}
