//! The member's gate, table `inet hamp_member`: what this host does with a packet to an anycast
//! address.
//!
//! * An address that this host does not serve *now* is discarded silently (RFC 1546: no RST, no
//!   ICMP). That it serves anything is a lease that expires at the dead time unless the daemon
//!   renews it with its hellos: a daemon that is killed or frozen stops serving when its rank
//!   passes on, although the address is still configured and the service still runs. Like a hello
//!   it is one for all addresses, so that it costs the same for one and for thousands.
//! * A TCP SYN goes to this host's unicast address on the link it came by, so the service
//!   answers from there and the whole connection has one unicast peer. No other TCP segment to
//!   an anycast address exists. Inside this host, a reply to its own client may: that client's
//!   source address is then the anycast one.
//! * Everything else (UDP, ICMP) is delivered to the anycast address itself.

use std::net::IpAddr;
use std::time::Duration;

use super::family::BOTH;
use crate::addr::{Class, Prefix};

/// The member's table.
pub const TABLE: &str = "inet hamp_member";

/// This host's own address of one family on one link (`lo` for this host itself).
pub type Unicast = (String, IpAddr);

/// Loads the gate, closed for every address of `class`; replaces an earlier one.
//= docs/spec/link.md#what-a-member-s-kernel-holds
//# A packet to an anycast address that the host does not act for MUST be discarded silently: no
//# reset, no ICMP.
//= docs/spec/tcp.md#the-member
//# A member MUST treat a SYN to A as a SYN to its own unicast address, so that its SYN-ACK comes
//# from U.
//= docs/spec/tcp.md#the-member
//# A member MUST discard every TCP segment to A but a SYN without ACK.
pub fn text(class: &Class) -> String {
    let mut text = format!(
        "add table {TABLE}\n\
         flush table {TABLE}\n\
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
";
    for f in BOTH {
        let (n, ip, address) = (f.n, f.ip, f.address);
        text += &format!(
            r#"
	set class{n} {{ type {address}; flags interval; auto-merge; comment "anycast addresses"; }}
	set active{n} {{ type {address}; flags interval; comment "what this host serves"; }}
	map unicast{n} {{ type ifname : {address}; comment "this host's address on each link"; }}

	chain gate{n} {{
		meta nfproto != @serving counter name not_served drop comment "not now: silence"
		{ip} daddr != @active{n} counter name not_served drop comment "not ours: silence"
		meta l4proto != tcp accept
		tcp flags & (fin|syn|rst|ack) == syn {ip} daddr set iifname map @unicast{n} \
			counter name syn accept
		iifname "lo" accept comment "a reply inside this host, to its own anycast address"
		counter name not_a_syn drop
	}}
"#
        );
    }
    text += "
	chain prerouting {
		type filter hook prerouting priority raw; policy accept;
";
    for family in BOTH {
        let (n, inside) = (family.n, family.within("daddr", "class", class));
        text += &format!("\t\t{inside} goto gate{n}\n");
    }
    text += "\t}\n}\n";
    for family in BOTH {
        text += &family.refill(TABLE, "class", class.prefixes());
        text += &format!("flush set {TABLE} active{}\n", family.n);
        text += &format!("flush map {TABLE} unicast{}\n", family.n);
    }
    text += &format!("flush set {TABLE} serving\n");
    text
}

const COUNTERS: [(&str, &str); 3] = [
    (
        "syn",
        "SYNs to an anycast address of ours, given to our unicast address",
    ),
    (
        "not_served",
        "packets to an anycast address that we do not serve: dropped",
    ),
    (
        "not_a_syn",
        "TCP segments to an anycast address of ours that are no SYN: dropped",
    ),
];

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

/// Sets the addresses that SYNs are rewritten to, all links at once.
pub(super) fn unicast(links: &[Unicast]) -> String {
    let mut text = String::new();
    for n in ['4', '6'] {
        text += &format!("flush map {TABLE} unicast{n}\n");
    }
    for (interface, address) in links {
        let n = if address.is_ipv4() { '4' } else { '6' };
        text += &format!("add element {TABLE} unicast{n} {{ \"{interface}\" : {address} }}\n");
    }
    text
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
