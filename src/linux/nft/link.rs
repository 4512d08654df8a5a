//! What the kernel does not get to see of a link, table `netdev hamp_link`.
//!
//! Packet sockets bound to every protocol see a frame before these rules do, so the daemon still
//! hears all of it.
//!
//! * **Everybody.** The kernel answers ARP for any address it has, on every link, and at once, and
//!   neighbour solicitations for those of the link; who answers for an anycast address is decided by
//!   rank. So requests for the class are hidden on the links that hamp speaks on, whoever has put the
//!   address where: hamp on lo, a daemon that crashed, or another tool on the interface itself.
//!   On every other link what this host serves is hidden, in table `arp hamp_link`: such a link may be
//!   another one of the same segment, and the kernel would answer there for the address on lo. (For
//!   IPv6 it answers only for addresses of the link itself.)
//! * **Client.** Neighbour entries for anycast addresses are installed by the daemon, from answers
//!   that it has judged. So what states or asks with such an address is hidden from the kernel, as
//!   a lease: without a daemon that renews it the host is a stock host again.
//!
//!   What stays, also after a daemon that crashed, is that the kernel's unicast probes for such
//!   addresses do not leave: a member cannot vouch for its own entry for ever. The entry ends after
//!   53 s at the latest (45 s reachable, 5 s of delay, three probes), and the request that follows
//!   goes to all members (RFC 1546: caches of around 1 minute).

use std::net::Ipv6Addr;
use std::time::Duration;

use super::family::IPV4;
use super::verified;
use crate::addr::{Class, Prefix};

/// The links' table.
pub const TABLE: &str = "netdev hamp_link";
/// The table of all other links.
pub const OTHER_LINKS: &str = "arp hamp_link";

/// Attaches the rules to a link; again, if they are.
pub(super) fn attach(index: u32, interface: &str) -> String {
    format!(
        "table {TABLE} {{\n\
         \tchain link{index} {{\n\
         \t\ttype filter hook ingress device \"{interface}\" priority -500; policy accept;\n\
         \t}}\n\
         }}\n\
         flush chain {TABLE} link{index}\n\
         {}\
         add rule {TABLE} link{index} meta protocol arp goto hide_arp\n\
         add rule {TABLE} link{index} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} \
         goto hide_nd\n",
        verified::attach(index)
    )
}

/// Removes the chains of a link that is gone. Kernels since 6.16 keep them, and would attach them to
/// the next interface of that name; earlier ones have removed them with the interface.
pub(super) fn detach(index: u32) -> String {
    let chain = |hook| {
        let chain = format!("chain {TABLE} {hook}{index}");
        format!("add {chain}\nflush {chain}\ndelete {chain}\n")
    };
    chain("link") + &chain("out")
}

/// Keeps the kernel's unicast probes for anycast addresses from leaving by a link (client).
//= docs/spec/link.md#a-client-s-entries
//# A client's kernel MUST NOT confirm an entry by asking the member that it leads to: unicast
//# requests for the class do not leave the host.
pub(super) fn end_entries(index: u32, interface: &str) -> String {
    format!(
        "table {TABLE} {{\n\
         \tchain out{index} {{\n\
         \t\ttype filter hook egress device \"{interface}\" priority 500; policy accept;\n\
         \t}}\n\
         }}\n\
         flush chain {TABLE} out{index}\n\
         add rule {TABLE} out{index} \
         ether daddr & 01:00:00:00:00:00 == 00:00:00:00:00:00 goto own_probes\n"
    )
}

/// Hides requests for the set's elements `prefixes` on links that hamp does not speak on (member).
pub(super) fn hide(prefixes: &[Prefix]) -> String {
    served("add", prefixes)
}

/// Stops hiding them.
pub(super) fn show(prefixes: &[Prefix]) -> String {
    served("delete", prefixes)
}

fn served(what: &str, prefixes: &[Prefix]) -> String {
    match IPV4.elements(prefixes, "") {
        Some(elements) => format!("{what} element {OTHER_LINKS} served4 {{ {elements} }}\n"),
        None => String::new(),
    }
}

/// Hides the class's own ARP and neighbour discovery on `interface` (client) for `lasts` from now.
pub(super) fn lease_hiding(interface: &str, lasts: Duration) -> String {
    let lasts = lasts.as_millis().max(1);
    let element = format!("element {TABLE} managed");
    format!(
        "add {element} {{ \"{interface}\" timeout {lasts}ms }}\n\
         delete {element} {{ \"{interface}\" }}\n\
         add {element} {{ \"{interface}\" timeout {lasts}ms }}\n"
    )
}

/// Loads the table without any link, or replaces its rules and keeps the links that it has;
/// elsewhere requests for `hidden` and for nothing else are hidden from then on.
//= docs/spec/link.md#what-a-member-s-kernel-holds
//# A member's kernel MUST NOT answer ARP requests or neighbour solicitations for an address of the
//# class itself, whoever has configured it.
pub fn text(class: &Class, hidden: &[Prefix]) -> String {
    let (mut rules, mut probes) = (String::new(), String::new());
    for prefix in class.prefixes() {
        if let Prefix::V6(net) = prefix {
            let of =
                |what| format!("counter name claim_hidden drop comment \"{what} in {prefix}\"");
            let source = format!("ip6 saddr {net} ");
            let target = nd_target(net.network(), net.prefix_len());
            rules += &format!(
                "\t\ticmpv6 type nd-neighbor-solicit {target}counter name request_hidden drop \
                 comment \"target in {prefix}\"\n"
            );
            rules += &format!("\t\tiifname @managed {source}{}\n", of("source"));
            rules += &format!("\t\tiifname @managed {target}{}\n", of("target"));
            probes += &format!(
                "\t\ticmpv6 type nd-neighbor-solicit {target}counter name probe_kept drop \
                 comment \"target in {prefix}\"\n"
            );
        }
    }
    let mut text = format!("add table {TABLE}\n") + &verified::hiding();
    text += &format!(
        r#"add table {TABLE}
add chain {TABLE} hide_arp
add chain {TABLE} hide_nd
add chain {TABLE} own_probes
flush chain {TABLE} hide_arp
flush chain {TABLE} hide_nd
flush chain {TABLE} own_probes
table {TABLE} {{
	comment "hamp: what a link's ARP and neighbour discovery keep from the kernel"

	counter request_hidden {{ comment "requests for an anycast address"; }}
	counter claim_hidden {{ comment "ARP and neighbour discovery of an anycast address"; }}
	counter probe_kept {{ comment "this host's own probes for an anycast address"; }}

	set class4 {{ type ipv4_addr; flags interval; auto-merge; comment "anycast addresses"; }}
	set managed {{
		type ifname; flags timeout;
		comment "links whose anycast neighbours the daemon manages: leases";
	}}

	# An announcement is a request whose sender is its target: a stock host hears it.
	chain hide_arp {{
		arp operation request arp daddr ip @class4 arp saddr ip != @class4 \
			counter name request_hidden drop
		iifname @managed arp saddr ip @class4 counter name claim_hidden drop
	}}
	# The target of a solicitation or advertisement begins at bit 64 of the ICMPv6 message.
	chain hide_nd {{
{rules}	}}
	chain own_probes {{
		arp operation request arp daddr ip @class4 counter name probe_kept drop
{probes}	}}
}}
"#
    );
    text += &format!(
        r#"add table {OTHER_LINKS}
flush table {OTHER_LINKS}
table {OTHER_LINKS} {{
	comment "hamp, member: addresses that the kernel does not answer for on any link"

	set served4 {{ type ipv4_addr; flags interval; comment "addresses that this host serves"; }}

	chain input {{
		type filter hook input priority 0; policy accept;
		arp operation request arp daddr ip @served4 drop
	}}
}}
flush set {OTHER_LINKS} served4
"#
    );
    text += &hide(hidden);
    text += &format!("flush set {TABLE} managed\n");
    text += &IPV4.refill(TABLE, "class", class.prefixes());
    text
}

/// Matches the target of a solicitation or advertisement.
fn nd_target(network: Ipv6Addr, length: u8) -> String {
    if length == 0 {
        // nft refuses to match no bits at all.
        return String::new();
    }
    let value = network.to_bits() >> (128 - u32::from(length));
    format!("@th,64,{length} {value:#x} ")
}
