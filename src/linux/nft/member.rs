//! The member's gate, table `inet hamp_member`: what this host does with a packet to an anycast
//! address that is meant for it.
//!
//! * What is not meant for this host passes: what it forwards for its containers, its guests or as
//!   a router, and frames that its bridge hands on (`br_netfilter` shows them to these rules).
//! * An address of this host's that it does not serve *now* is discarded silently (RFC 1546: no
//!   RST, no ICMP), and so is one for which it has no route. That it serves anything is a lease
//!   that expires at the dead time unless the daemon renews it with its hellos: a daemon that is
//!   killed or frozen stops serving when its rank passes on, although the address is still
//!   configured and the service still runs. Like a hello it is one for all addresses, so that it
//!   costs the same for one and for thousands.
//! * A TCP SYN is [rebound or served plain](crate::proto::rebind::member). Rebound, it goes to a
//!   [unicast address](unicast) of this host, so the service answers from there; that is before
//!   connection tracking, which so sees one connection with one unicast peer. Plain, it stays as
//!   it is, and so do all segments after it.
//! * Everything else (UDP, ICMP) is delivered to the anycast address itself.

mod tcp;
pub mod unicast;

use std::time::Duration;

use super::family::{BOTH, Family};
use crate::addr::{Class, Prefix};
use crate::proto::rebind::member::Mode;

/// The member's table.
pub const TABLE: &str = "inet hamp_member";

/// Loads the gate, closed for every address of `class`; replaces an earlier one. `None`: this host
/// serves nothing, and is silent about what it cannot forward.
///
/// `client`: this host is one too. `silent`: no ICMP either for addresses of the class without a
/// route. A router has routes for that, if it is to be so.
//= docs/spec/link.md#what-a-member-s-kernel-holds
//# A packet to an anycast address that the host does not act for MUST be discarded silently: no
//# reset, no ICMP.
pub fn text(class: &Class, mode: Option<Mode>, silent: bool, client: bool) -> String {
    let mut text = format!(
        "add table {TABLE}\n\
         delete table {TABLE}\n\
         table {TABLE} {{\n\
         \tcomment \"hamp, member: packets to anycast addresses (RFC 1546)\"\n\n"
    );
    for (name, what) in COUNTERS {
        text += &format!("\tcounter {name} {{ comment \"{what}\"; }}\n");
    }
    text += "
	set serving {
		type nf_proto; flags timeout;
		comment \"whether this host serves at all: a lease, renewed with each hello\";
	}
	set macs { type ether_addr; comment \"this host's own, on all interfaces\"; }

	# A bridge's frame for somebody else is none of ours.
	chain elsewhere {
		meta iifkind \"bridge\" ether daddr != @macs accept
	}
";
    if mode.is_some() {
        text += tcp::DROPS;
    }
    for f in BOTH {
        text += &closed(f, silent);
        if let Some(mode) = mode {
            text += &tcp::serving(f, mode, class);
        }
    }
    text += "
	# Before connection tracking sees the packet.
	chain prerouting {
		type filter hook prerouting priority raw; policy accept;
";
    let gate = if mode.is_some() { "gate" } else { "closed" };
    text += &each_family(|f| {
        let to_class = f.within("daddr", "class", class);
        format!("\t\t{to_class} goto {gate}{}\n", f.n)
    });
    if mode.is_some() {
        text += &each_family(|f| {
            let from_class = f.within("saddr", "class", class);
            let rest = "tcp flags & (syn|ack) == syn iifname != \"lo\" goto source";
            format!("\t\t{from_class} {rest}\n")
        });
    }
    text += "\t}\n";
    if mode.is_some() {
        text += &tcp::ends(class, client);
    }
    text += "}\n";
    for family in BOTH {
        text += &family.refill(TABLE, "class", class.prefixes());
    }
    text
}

const COUNTERS: [(&str, &str); 7] = [
    (
        "syn",
        "SYNs to an anycast address of ours, given to our unicast address",
    ),
    (
        "plain",
        "SYNs to an anycast address of ours, left there: plain connections",
    ),
    (
        "no_unicast",
        "SYNs dropped: this host has no unicast address to answer from",
    ),
    (
        "not_served",
        "packets to an anycast address that we do not serve: dropped",
    ),
    (
        "not_a_syn",
        "TCP segments to an anycast address of ours that begin no connection and belong to none: \
         dropped",
    ),
    (
        "stray",
        "our resets to segments of no connection, to or from an anycast address: dropped",
    ),
    ("anycast_source", "SYNs from an anycast address: dropped"),
];

fn each_family(text: impl Fn(&Family) -> String) -> String {
    BOTH.map(text).concat()
}

/// What becomes of a packet to an anycast address that this host does not serve now.
fn closed(f: &Family, silent: bool) -> String {
    let (n, address) = (f.n, f.address);
    //= docs/spec/link.md#what-a-member-s-kernel-holds
    //# A packet to an anycast address that is meant for another host MUST NOT be touched: one that is
    //# forwarded, or that a bridge hands on.
    let mut text = format!(
        r#"
	set class{n} {{ type {address}; flags interval; auto-merge; comment "anycast addresses"; }}
	chain closed{n} {{
		jump elsewhere
		fib daddr type local counter name not_served drop comment "not ours now: silence"
"#
    );
    if silent {
        text +=
            "\t\tfib daddr oif missing counter name not_served drop comment \"nowhere: silence\"\n";
    }
    text + "\t}\n"
}

/// Lets the gate be open for `lasts` from now, at least 1 ms.
//= docs/spec/link.md#what-a-member-s-kernel-holds
//# A member's kernel MUST act for an address no longer than a dead time after the member's last
//# hello.
pub(super) fn lease(lasts: Duration) -> String {
    let lasts = lasts.as_millis().max(1);
    let timed = format!("ipv4 timeout {lasts}ms, ipv6 timeout {lasts}ms");
    // Adding does not renew the timeout of an element that is there: take it away first, and for
    // that make sure that it is there. All in one transaction: the gate never closes in between.
    format!(
        "add element {TABLE} serving {{ {timed} }}\n\
         delete element {TABLE} serving {{ ipv4, ipv6 }}\n\
         add element {TABLE} serving {{ {timed} }}\n"
    )
}

/// Opens the gate for the set's elements `prefixes`, while the lease lasts.
pub(super) fn open(prefixes: &[Prefix]) -> String {
    elements("add", prefixes)
}

/// Closes the gate for the set's elements `prefixes`, which are there.
pub(super) fn close(prefixes: &[Prefix]) -> String {
    elements("delete", prefixes)
}

fn elements(what: &str, prefixes: &[Prefix]) -> String {
    let mut text = String::new();
    for family in BOTH {
        if let Some(elements) = family.elements(prefixes, "") {
            text += &format!(
                "{what} element {TABLE} active{} {{ {elements} }}\n",
                family.n
            );
        }
    }
    text
}
