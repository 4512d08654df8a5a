//! Who counts in enforce mode: what the kernel does not get to see of others who speak for verified
//! members' own addresses, and whose SYN-ACKs the client's shim takes.
//!
//! Table `netdev hamp_link` keeps two kinds of frames from the kernel on a link: ARP and neighbour
//! discovery *from* a pinned address that does not come from its member's link-layer address, and
//! advertisements and redirects *about* one. True ones pass, since the member asks and answers for
//! itself. nft 1.0.6 has no name for the target of neighbour discovery, and cannot list a set of raw
//! bytes, so there is a rule for each address, and [`crate::proto::pin::MAX_PINS`] of them at most.
//!
//! Table `inet hamp_client` jumps to `verified4` or `verified6` with every SYN-ACK that may become a
//! connection; what returns from there is taken.
//!
//! Both are leases, as everything that a daemon decides: without one that renews them the host
//! believes again what a host without hamp believes, and its connections go on.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use super::family::{BOTH, Family};
use super::{client, link};
use crate::addr::Class;
use crate::node::Verified;
use crate::wire::frame::mac_text;

/// Leases of this file, and what they are in their tables: elements of a set with a timeout.
const STRICT: &str = "strict";
const PINNED: &str = "pinned";

/// Sets and chains of the links' table; the chain `pins` is jumped to with every frame that comes in.
//= docs/spec/trust.md#pins
//# In enforce mode, a host MUST resolve the own addresses of verified members and routers to the
//# link-layer addresses that they state, as long as they live, and MUST NOT believe anybody else's
//# ARP or neighbour discovery for them.
pub(super) fn hiding() -> String {
    let table = link::TABLE;
    format!(
        r#"add chain {table} pins
add chain {table} pins_arp
add chain {table} pins_nd
add chain {table} pins_target
flush chain {table} pins
flush chain {table} pins_arp
flush chain {table} pins_nd
flush chain {table} pins_target
table {table} {{
	counter false_claim {{ comment "ARP and neighbour discovery for a verified member's address, from elsewhere"; }}

	set {PINNED} {{ type ifname; flags timeout; comment "links with pins: leases"; }}
	set pinned4 {{ type ifname . ipv4_addr; comment "own addresses of verified members"; }}
	set pinned6 {{ type ifname . ipv6_addr; }}
	set member4 {{ type ifname . ipv4_addr . ether_addr . ether_addr; comment "and where they are"; }}
	set member6 {{ type ifname . ipv6_addr . ether_addr; }}

	chain pins {{
		iifname != @{PINNED} return
		vlan id 0 meta protocol {{ 0x8100, 0x88a8 }} @nh,4,12 0 counter name false_claim drop
		meta protocol arp goto pins_arp
		meta protocol ip6 goto pins_nd
	}}
	chain pins_arp {{
		iifname . arp saddr ip != @pinned4 return
		iifname . arp saddr ip . arp saddr ether . ether saddr @member4 return
		counter name false_claim drop
	}}
	chain pins_nd {{
		icmpv6 type != {{ nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert, nd-redirect }} return
		iifname . ip6 saddr @pinned6 iifname . ip6 saddr . ether saddr != @member6 counter name false_claim drop
		icmpv6 type {{ nd-neighbor-advert, nd-redirect }} goto pins_target
	}}
	# The target of an advertisement or a redirect begins at bit 64 of the ICMPv6 message.
	chain pins_target {{
	}}
}}
flush set {table} {PINNED}
flush set {table} pinned4
flush set {table} pinned6
flush set {table} member4
flush set {table} member6
"#
    )
}

/// The rule by which a link's frames get to [`hiding`]'s chains.
pub(super) fn attach(index: u32) -> String {
    format!("add rule {} link{index} jump pins\n", link::TABLE)
}

/// Sets of the client's table, and what becomes of a SYN-ACK; after the table's own text, with the
/// chains `verified4` and `verified6`.
//= docs/spec/trust.md#pins
//# In enforce mode, a client MUST NOT take a SYN-ACK or a reset for an answer unless it comes from a
//# verified member's own address and link-layer address, from an anycast address and the link-layer
//# address of a verified member that serves it, or from the link-layer address of a verified router.
pub(super) fn judging(class: &Class) -> String {
    let table = client::TABLE;
    let mut text = format!(
        r#"table {table} {{
	counter unverified {{ comment "SYN-ACKs from no verified member or router: dropped"; }}

	set {STRICT} {{ type nf_proto; flags timeout; comment "only verified members count: a lease"; }}
	set host4 {{ type ifname . ipv4_addr . ether_addr; comment "members' own addresses"; }}
	set host6 {{ type ifname . ipv6_addr . ether_addr; }}
	set serving4 {{ type ifname . ipv4_addr . ether_addr; comment "anycast addresses, and their members"; }}
	set serving6 {{ type ifname . ipv6_addr . ether_addr; }}
	set server {{ type ifname . ether_addr; comment "members that serve prefixes, or very much"; }}
	set through {{ type ifname . ether_addr; comment "routers, for everybody behind them"; }}
	set other_end {{ type ifname; comment "point-to-point links with a member or a router"; }}
}}
"#
    );
    for family in BOTH {
        let Family { n, ip, .. } = family;
        let plain = family.within("saddr", "class", class);
        text += &format!(
            r#"add chain {table} verified{n}
flush chain {table} verified{n}
table {table} {{
	chain verified{n} {{
		meta nfproto != @{STRICT} return
		iifname "lo" return
		iifname . {ip} saddr . ether saddr @host{n} return
		iifname . ether saddr @through return
		iifname . {ip} saddr . ether saddr @serving{n} return
		{plain} iifname . ether saddr @server return
		iifname @other_end return
		counter name unverified drop
	}}
}}
"#
        );
    }
    text
}

/// Elements of the sets of both tables.
#[derive(Default)]
struct Elements(Vec<(&'static str, BTreeSet<String>)>);

impl Elements {
    fn of(names: &[&'static str]) -> Self {
        Self(names.iter().map(|name| (*name, BTreeSet::new())).collect())
    }

    fn add(&mut self, name: &str, element: String) {
        let set = self.0.iter_mut().find(|(known, _)| *known == name);
        if let Some((_, elements)) = set {
            elements.insert(element);
        }
    }

    fn refill(&self, table: &str) -> String {
        let mut text = String::new();
        for (name, elements) in &self.0 {
            text += &format!("flush set {table} {name}\n");
            if !elements.is_empty() {
                let elements: Vec<&str> = elements.iter().map(String::as_str).collect();
                let elements = elements.join(", ");
                text += &format!("add element {table} {name} {{ {elements} }}\n");
            }
        }
        text
    }
}

/// Gives the sets just those that count on each link, by its name; `client`: its table is there.
pub(super) fn refill(links: &[(&str, &Verified)], client: bool) -> String {
    let mut pins = Elements::of(&["pinned4", "pinned6", "member4", "member6"]);
    let mut judged = Elements::of(&[
        "host4",
        "host6",
        "serving4",
        "serving6",
        "server",
        "through",
        "other_end",
    ]);
    let mut targets = format!("flush chain {} pins_target\n", link::TABLE);
    for (name, verified) in links {
        if verified.hosts.iter().any(|host| host.mac == [0; 6]) {
            judged.add("other_end", format!("\"{name}\""));
            continue;
        }
        for host in &verified.hosts {
            let (address, mac) = (host.address, mac_text(host.mac));
            let element = format!("\"{name}\" . {address} . {mac}");
            judged.add(of(address, ["host4", "host6"]), element.clone());
            if !host.pinned {
                continue;
            }
            let pinned = format!("\"{name}\" . {address}");
            pins.add(of(address, ["pinned4", "pinned6"]), pinned);
            match address {
                IpAddr::V4(_) => pins.add("member4", format!("{element} . {mac}")),
                IpAddr::V6(target) => {
                    pins.add("member6", element);
                    targets += &format!(
                        "add rule {} pins_target iifname \"{name}\" @th,64,128 {:#034x} \
                         ether saddr != {mac} counter name false_claim drop comment \"{target}\"\n",
                        link::TABLE,
                        target.to_bits()
                    );
                }
            }
        }
        for (address, at) in &verified.serving {
            let element = format!("\"{name}\" . {address} . {}", mac_text(*at));
            judged.add(of(*address, ["serving4", "serving6"]), element);
        }
        for (set, macs) in [
            ("server", &verified.members),
            ("through", &verified.routers),
        ] {
            for at in macs {
                judged.add(set, format!("\"{name}\" . {}", mac_text(*at)));
            }
        }
    }
    let mut text = targets + &pins.refill(link::TABLE);
    if client {
        text += &judged.refill(client::TABLE);
    }
    text
}

/// The one of two names that is for the address's family.
fn of(address: IpAddr, names: [&'static str; 2]) -> &'static str {
    names[usize::from(address.is_ipv6())]
}

/// Hides false claims on the links of these names, and lets only verified members' SYN-ACKs count
/// (`client`: its table is there), for `lasts` from now; without links, no longer.
pub(super) fn lease(links: &[&str], client: bool, lasts: Duration) -> String {
    let lasts = lasts.as_millis().max(1);
    let elements = |names: &[String]| {
        let leased = names.iter().map(|name| format!("{name} timeout {lasts}ms"));
        leased.collect::<Vec<_>>().join(", ")
    };
    let renew = |table: &str, set: &str, names: &[String]| {
        let mut text = format!("flush set {table} {set}\n");
        if !names.is_empty() {
            text += &format!("add element {table} {set} {{ {} }}\n", elements(names));
        }
        text
    };
    let names: Vec<String> = links.iter().map(|name| format!("\"{name}\"")).collect();
    let mut text = renew(link::TABLE, PINNED, &names);
    if client {
        let both = ["ipv4".to_owned(), "ipv6".to_owned()];
        let both = if links.is_empty() { &[][..] } else { &both };
        text += &renew(client::TABLE, STRICT, both);
    }
    text
}
