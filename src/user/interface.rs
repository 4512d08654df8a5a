//! A link as the host has it: its addresses there, and what the node may know of them.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::{Class, Prefix};
use crate::node::LinkState;
use crate::wire::frame::Mac;

/// A link that is up, and this host's place on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Link-layer address.
    pub mac: Mac,
    /// Its unicast addresses, each with the length of the prefix that is on the link.
    pub addresses: Vec<Prefix>,
    /// The link's MTU in bytes: 1,280 or more for IPv6.
    pub mtu: u16,
}

impl Interface {
    /// The addresses that are none of `class`.
    pub(super) fn unicast<'a>(&'a self, class: &'a Class) -> impl Iterator<Item = &'a Prefix> {
        let addresses = self.addresses.iter();
        addresses.filter(|own| !class.contains(own.addr()))
    }

    /// What the node may know of it: nothing of a link without any address.
    pub(super) fn state(&self, class: &Class) -> Option<LinkState> {
        let ipv4 = self.unicast(class).find_map(|own| match own.addr() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        });
        let ipv6 = |local: bool| {
            self.unicast(class).find_map(|own| match own.addr() {
                IpAddr::V6(address) if address.is_unicast_link_local() == local => Some(address),
                _ => None,
            })
        };
        let (ipv4, ipv6): (Option<Ipv4Addr>, Option<Ipv6Addr>) = (ipv4, ipv6(false).or(ipv6(true)));
        let (mac, mtu) = (self.mac, self.mtu);
        (ipv4.is_some() || ipv6.is_some()).then_some(LinkState {
            mac,
            ipv4,
            ipv6,
            mtu,
        })
    }
}
