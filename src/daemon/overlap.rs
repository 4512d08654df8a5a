//! Addresses of the class that are in use as unicast ones: they can be no anycast addresses.
//!
//! Everything that hamp does for the class (ARP and neighbour discovery hidden from the kernel,
//! packets for what is not served dropped, routes of its own) cuts a host off when the class holds
//! its own address, its gateway or what its subnet reserves. So such a class is refused at the start,
//! and an address that comes to be so later is given up for as long as it is ([`Kernel`]).
//!
//! An anycast address that another tool has left on an interface is none of this host's own: one
//! that is configured or served here, and a single address (/32, /128) beside others, or where hamp does
//! not speak (a dummy interface that keeps the addresses of services).
//!
//! [`Kernel`]: super::kernel::Kernel

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::path::Path;

use super::config::{self, Config, KeyPath};
use super::interfaces;
use crate::addr::{Class, Prefix, is_host};
use crate::linux::netlink::{Address, Around, Link};
use crate::node::trouble::{Interface, Trouble, TroubleKind};

/// What an address is, beside being in the class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// This host's own, on this interface.
    Own(Interface),
    /// A gateway of some route.
    Gateway,
    /// A subnet's own address, in IPv6 its routers' (RFC 4291 §2.6.1), on this interface.
    Network(Interface),
    /// Its broadcast address (RFC 919), on this interface.
    Broadcast(Interface),
}

impl Use {
    /// The kind of trouble that it is.
    fn kind(self) -> TroubleKind {
        match self {
            Self::Own(_) => TroubleKind::OwnInClass,
            Self::Gateway => TroubleKind::GatewayInClass,
            Self::Network(_) | Self::Broadcast(_) => TroubleKind::SubnetInClass,
        }
    }

    /// What people are told of it.
    pub fn trouble(self, address: IpAddr) -> Trouble {
        let interface = match self {
            Self::Own(interface) | Self::Network(interface) | Self::Broadcast(interface) => {
                Some(interface)
            }
            Self::Gateway => None,
        };
        Trouble {
            address: Some(address),
            interface,
            ..Trouble::new(self.kind())
        }
    }

    fn about(self, address: IpAddr) -> String {
        match self {
            Self::Own(interface) => format!("this host's own address on {interface}"),
            Self::Gateway => "the gateway of a route of this host".to_owned(),
            Self::Network(interface) if address.is_ipv4() => {
                format!("the network address of the subnet on {interface}")
            }
            Self::Network(interface) => {
                format!("the subnet-router anycast address of the subnet on {interface}")
            }
            Self::Broadcast(interface) => {
                format!("the broadcast address of the subnet on {interface}")
            }
        }
    }
}

/// The addresses of `class` that are in use; those of `served` prefixes may be on interfaces. `speaks`:
/// whether hamp does on an interface.
pub fn find(
    class: &Class,
    links: &[Link],
    around: &Around,
    served: impl Fn(IpAddr) -> bool,
    speaks: impl Fn(&Link) -> bool,
) -> BTreeMap<IpAddr, Use> {
    let mut found = BTreeMap::new();
    let mut note = |address, what| {
        if class.contains(address) {
            found.entry(address).or_insert(what);
        }
    };
    for link in links {
        let interface = Interface::new(&link.name);
        for own in &link.addresses {
            if is_own(own, link, &served, speaks(link)) {
                note(own.address, Use::Own(interface));
            } else if class.contains(own.address) {
                // What another tool has left has no subnet that counts.
                continue;
            }
            if link.loopback {
                continue;
            }
            for (address, what) in reserved(own.subnet, interface) {
                note(address, what);
            }
        }
    }
    for gateway in &around.gateways {
        note(*gateway, Use::Gateway);
    }
    found
}

/// Whether an address on an interface is the host's unicast one.
fn is_own(own: &Address, link: &Link, served: &impl Fn(IpAddr) -> bool, speaks: bool) -> bool {
    let mut beside = link
        .addresses
        .iter()
        .filter(|other| other.address.is_ipv4() == own.address.is_ipv4() && other.universal);
    let alone = speaks && !link.loopback && beside.all(|other| other.address == own.address);
    let with_subnet = !is_host(&own.subnet) || link.loopback;
    !own.ours && (alone || (with_subnet && !served(own.address)))
}

/// What a subnet keeps for itself.
fn reserved(subnet: Prefix, on: Interface) -> Vec<(IpAddr, Use)> {
    match subnet {
        // RFC 3021: with 31 bits both addresses are hosts'.
        Prefix::V4(net) if net.prefix_len() < 31 => vec![
            (net.network().into(), Use::Network(on)),
            (net.broadcast().into(), Use::Broadcast(on)),
        ],
        // RFC 6164: with 127 bits both addresses are routers'.
        Prefix::V6(net) if net.prefix_len() < 127 => {
            vec![(net.network().into(), Use::Network(on))]
        }
        _ => Vec::new(),
    }
}

//= docs/spec/membership.md#the-class
//# A node MUST NOT start with a class that holds an address of its own host, a gateway of it, or
//# a network, broadcast or subnet-router anycast address of a subnet that it is in.
/// Refuses a configuration whose class holds what is in use, with its place in `file`; what is odd
/// about one that is taken. `left`: what a daemon is known to have put on lo.
///
/// # Errors
/// It does.
pub fn check(
    file: &Path,
    config: &Config,
    (links, around): (&[Link], &Around),
    left: &BTreeSet<Prefix>,
) -> Result<Vec<String>, config::Error> {
    let class = config.class();
    let mut served = config.addresses();
    served.extend(left);
    let served = |address| served.iter().any(|prefix| prefix.contains(&address));
    let speaks = |link: &Link| {
        let mut named = config.node.interfaces.iter();
        named.any(|name| interfaces::is_called(link, name))
    };
    let found = find(&class, links, around, served, speaks);
    let mut odd = Vec::new();
    if let Some((address, what)) = found.first_key_value() {
        return Err(refusal(file, config, *address, *what));
    }
    for (server, link) in nameservers(links) {
        if class.contains(server) && !served(server) {
            odd.push(format!(
                "the class holds the address of a DNS server on a link of this host: {server} on {link}"
            ));
        }
    }
    for (index, subnets) in &around.subnets {
        let inside = |net: &&Prefix| {
            let within = class.covers(net) && !class.prefixes().contains(net);
            within && !is_host(net)
        };
        if let Some(net) = subnets.iter().find(inside) {
            let name = links.iter().find(|link| link.index == *index);
            let interface = name.map_or("an interface", |link| &link.name);
            odd.push(format!(
                "the class holds all of a route to a link of this host: {net} on {interface}"
            ));
        }
    }
    Ok(odd)
}

fn refusal(file: &Path, config: &Config, address: IpAddr, what: Use) -> config::Error {
    let (family, prefixes) = if address.is_ipv4() {
        let all = config.class.ipv4.iter();
        ("ipv4", all.map(|net| Prefix::V4(*net)).collect::<Vec<_>>())
    } else {
        let all = config.class.ipv6.iter();
        ("ipv6", all.map(|net| Prefix::V6(*net)).collect())
    };
    let holds = prefixes.iter().position(|net| net.contains(&address));
    let net = holds.map_or_else(String::new, |at| prefixes[at].to_string());
    let key = KeyPath::of(&["class", family]).index(holds.unwrap_or_default());
    let about = what.about(address);
    let message = format!(
        "{net} holds {address}, {about}, which would be cut off: name addresses that no host has"
    );
    config::Error::at(file, &key, message)
}

/// DNS servers on links of this host, and on which.
fn nameservers(links: &[Link]) -> Vec<(IpAddr, &str)> {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text.lines().filter_map(|line| {
        let server = line.trim().strip_prefix("nameserver")?;
        server.trim().parse::<IpAddr>().ok()
    });
    let near = |server: IpAddr| {
        let link = links.iter().find(|link| {
            let mut own = link.addresses.iter();
            !link.loopback && own.any(|own| own.subnet.contains(&server))
        });
        link.map(|link| (server, link.name.as_str()))
    };
    servers.filter_map(near).collect()
}
