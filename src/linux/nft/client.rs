//! The client's TCP, table `inet hamp_client`: the rule of [`crate::proto::rebind`] in the
//! kernel's own words, with no program in the path.
//!
//! The kernel's TCP believes that it talks to the anycast address A. Its SYN goes there as it
//! is; the answer of the member U is given to it as coming from A, and whatever it sends after
//! that goes to U. Nothing but a SYN ever leaves this host for an anycast address.
//!
//! nft can look up and replace, but neither calculate nor compare two fields, and need not: the
//! acknowledgement of a SYN-ACK is the number of the SYN plus one, and also the sequence number
//! of the segment with which TCP answers it. So a SYN-ACK is shown to the kernel and noted under
//! its acknowledgement (`offer`); TCP judges it; and what TCP sends next picks, by its sequence
//! number, the member it is for. An ACK binds the connection, a RST goes to whoever sent the wrong
//! SYN-ACK, and the SYN waits on. A SYN-ACK that is *not* shown meets no socket, and the kernel
//! answers it with the RST that RFC 793 and RFC 1546 want.
//!
//! | | key | value | since |
//! |---|---|---|---|
//! | `owner` | C, its port, service | A | the SYN |
//! | `offer` | C, its port, service, acknowledgement | U | the SYN-ACK |
//! | `peer` | C, its port, service | U | the ACK: the connection |
//! | `from` | U, service, C, its port | | the ACK |
//! | `asked` | C, its port, service | A | a SYN whose ports another A has in `owner` |
//!
//! The maps outlive the daemon and its rules: a restart replaces the chains and keeps the maps,
//! in one transaction, so established connections do not notice. Entries of connections that are
//! over are replaced when their ports are used again: at once for the same A; for another A when
//! it answers and the socket of the first is gone. The rest goes 15 minutes after our FIN or RST,
//! or else after five days, as in the kernel's own connection tracking; sending renews the ones in
//! use (one segment in 64). The maps are no larger than they are because the kernel makes room
//! for all of a map at once, 1 MiB each, and looks through it every second. (What is deleted
//! counts until then; a longer `gc-interval` would let a busy client run into the limit. The same
//! ports for more than sixteen connections in that second are refused an entry, too.)

use super::family::{BOTH, Family};
use crate::addr::Class;
use crate::proto::rebind::REBINDS;

/// The client's table.
pub const TABLE: &str = "inet hamp_client";

/// Loads the client's rules, or replaces them and keeps the connections of a daemon before us.
//= docs/spec/tcp.md#the-client
//# When a client's daemon ends or crashes, established connections MUST go on.
pub fn text(class: &Class) -> String {
    let mut text = format!(
        "# Chains are replaced, maps are kept: they carry established connections.\n\
         add table {TABLE}\n\
         flush table {TABLE}\n\
         table {TABLE} {{\n\
         \tcomment \"hamp, client: TCP to anycast addresses (RFC 1546)\"\n\n"
    );
    for (name, what) in COUNTERS {
        text += &format!("\tcounter {name} {{ comment \"{what}\"; }}\n");
    }
    for family in BOTH {
        text += &maps(family);
    }
    text += "
	# After connection tracking has seen the segment, which so sees only C and A.
	chain output {
		type route hook output priority mangle; policy accept;
";
    for family in BOTH {
        let (n, inside) = (family.n, family.within("daddr", "class", class));
        text += &format!("\t\tmeta l4proto tcp {inside} goto out{n}\n");
    }
    text += "\t}

	# Before connection tracking sees the segment.
	chain prerouting {
		type filter hook prerouting priority raw; policy accept;
		meta l4proto tcp meta nfproto ipv4 goto in4
		meta l4proto tcp meta nfproto ipv6 goto in6
	}
";
    for family in BOTH {
        text += &out_chains(family);
        text += &in_chains(family, &family.within("saddr", "class", class));
    }
    text += "}\n";
    for family in BOTH {
        text += &family.refill(TABLE, "class", class.prefixes());
    }
    text
}

const COUNTERS: [(&str, &str); 9] = [
    ("syn_sent", "SYNs to an anycast address, repeats included"),
    ("bound", "connections that took a member's unicast address"),
    ("refused", "connections refused by a member"),
    (
        "late_syn_ack",
        "SYN-ACKs that nobody waits for any more: the kernel resets them",
    ),
    ("wrong_syn_ack", "SYN-ACKs that our TCP answered with a RST"),
    (
        "not_a_syn",
        "our segments to an anycast address that are no SYN: dropped",
    ),
    (
        "port_busy",
        "SYN-ACKs dropped: another connection has the same ports",
    ),
    (
        "anycast_source",
        "SYNs, SYN-ACKs and RSTs from an anycast address: dropped",
    ),
    ("full", "segments dropped: a map is full"),
];

fn maps(f: &Family) -> String {
    let Family {
        n,
        ip,
        address,
        key_type,
        ..
    } = f;
    let key = format!("{key_type} . tcp sport . tcp dport");
    let four = format!("{address} . inet_service . {address} . inet_service");
    let long = "size 65536; flags dynamic,timeout; timeout 5d;";
    let short = "size 65536; flags dynamic,timeout; timeout 5m;";
    format!(
        r#"
	set class{n} {{ type {address}; flags interval; auto-merge; comment "anycast addresses"; }}
	map owner{n} {{
		typeof {key} : {ip} saddr; {long}
		comment "my address . port . service : anycast address";
	}}
	map offer{n} {{
		typeof {key} . tcp sequence : {ip} saddr;
		size 65536; flags dynamic,timeout; timeout 1s;
		comment "SYN-ACK shown: my address . port . service . acknowledgement : member";
	}}
	map peer{n} {{
		typeof {key} : {ip} saddr; {long}
		comment "connection: my address . port . service : member";
	}}
	set from{n} {{
		type {four}; {long}
		comment "connection: member . service . my address . port";
	}}
	map asked{n} {{
		typeof {key} : {ip} saddr; {short}
		comment "SYN on ports of another: my address . port . service : anycast address";
	}}
	set same{n} {{
		type {four}; {short}
		comment "used in chain reuse{n} to compare two addresses";
	}}
"#
    )
}

//= docs/spec/tcp.md#the-client
//# A client MUST send to an anycast address no segment but a SYN without ACK.
//= docs/spec/tcp.md#the-client
//# A client MUST send its SYN to an anycast address with the code point 001011 (RFC 2474), by which
//# a member tells that it may answer from its unicast address.
fn out_chains(f: &Family) -> String {
    let Family { n, ip, source, .. } = f;
    let key = format!("{source} . tcp sport . tcp dport");
    let ends = format!("{ip} saddr . tcp sport . {ip} daddr . tcp dport");
    let back = format!("{ip} daddr . tcp dport . {ip} saddr . tcp sport");
    format!(
        r#"
	chain out{n} {{
		tcp flags & (fin|syn|rst|ack) == syn {ip} dscp set {REBINDS} \
			counter name syn_sent goto syn{n}
		tcp flags & (fin|rst) != 0 {key} @peer{n} goto end{n}
		numgen inc mod 64 == 0 {key} @peer{n} goto renew{n}
		{ip} daddr set {key} map @peer{n} accept comment "the connection has its member"
		{key} . tcp sequence @offer{n} goto bind{n}
		oifname "lo" accept comment "a reply inside this host, to its own anycast address"
		counter name not_a_syn drop
	}}
	chain syn{n} {{
		{key} @peer{n} add @same{n} {{ {ends} }} goto reuse{n}
		{key} @peer{n} counter name full drop
		delete @owner{n} {{ {key} : {ip} daddr }}
		add @owner{n} {{ {key} timeout 5m : {ip} daddr }} accept
		counter name full drop
	}}
	# The ports are noted for a connection. Is it one to this very address?
	chain reuse{n} {{
		delete @asked{n} {{ {key} : {ip} daddr }}
		add @asked{n} {{ {key} : {ip} daddr }}
		{ip} daddr set {key} map @owner{n}
		{ends} @same{n} goto again{n}
		{ip} daddr set {key} map @asked{n}
		delete @same{n} {{ {ends} }}
		accept
	}}
	# The kernel opens that connection anew, so the one before is over.
	chain again{n} {{
		delete @same{n} {{ {ends} }}
		{ip} daddr set {key} map @peer{n}
		delete @from{n} {{ {back} }}
		delete @peer{n} {{ {key} : {ip} daddr }}
		delete @owner{n} {{ {key} : {ip} daddr }}
		{ip} daddr set {key} map @asked{n}
		delete @asked{n} {{ {key} : {ip} daddr }}
		add @owner{n} {{ {key} timeout 5m : {ip} daddr }} accept
		counter name full drop
	}}
	# The answer of our TCP to a SYN-ACK. An ACK: from here on the member is the peer.
	chain bind{n} {{
		tcp flags & rst == rst {ip} daddr set {key} . tcp sequence map @offer{n} \
			counter name wrong_syn_ack accept
		update @owner{n} {{ {key} : {ip} daddr }}
		{ip} daddr set {key} . tcp sequence map @offer{n}
		add @peer{n} {{ {key} : {ip} daddr }} add @from{n} {{ {back} }} counter name bound accept
		counter name full drop
	}}
	chain renew{n} {{
		update @owner{n} {{ {key} : {ip} daddr }}
		{ip} daddr set {key} map @peer{n}
		update @peer{n} {{ {key} : {ip} daddr }}
		update @from{n} {{ {back} }}
		accept
	}}
	# Our end is done. What still comes takes minutes, and every segment in 64 of ours renews.
	chain end{n} {{
		update @owner{n} {{ {key} timeout 15m : {ip} daddr }}
		{ip} daddr set {key} map @peer{n}
		update @peer{n} {{ {key} timeout 15m : {ip} daddr }}
		update @from{n} {{ {back} timeout 15m }}
		accept
	}}
"#
    )
}

//= docs/spec/tcp.md#the-client
//# A SYN-ACK from another member MUST be answered with a reset to that member.
//= docs/spec/tcp.md#the-client
//# A client MUST discard a SYN-ACK or a reset whose source is an anycast address: a connection has
//# one unicast peer.
fn in_chains(f: &Family, from_class: &str) -> String {
    let Family {
        n, ip, destination, ..
    } = f;
    let key = format!("{destination} . tcp dport . tcp sport");
    let ends = format!("{ip} saddr . tcp sport . {ip} daddr . tcp dport");
    format!(
        r#"
	chain in{n} {{
		tcp flags & (syn|rst) != 0 goto control{n}
		{ends} @from{n} goto known{n}
	}}
	chain known{n} {{
		{ip} saddr set {key} map @owner{n} accept
	}}
	chain control{n} {{
		iifname != "lo" {from_class} counter name anycast_source drop
		tcp flags & (syn|ack) == syn accept
		socket wildcard 0 goto other{n} comment "matches another connection fully: not ours"
		{key} @peer{n} goto late{n}
		tcp flags & (syn|ack) == (syn|ack) goto offer{n}
		tcp flags & (rst|ack) == (rst|ack) {key} @owner{n} jump verified{n}
		tcp flags & (rst|ack) == (rst|ack) {ip} saddr set {key} map @owner{n} \
			counter name refused accept
	}}
	chain other{n} {{
		delete @from{n} {{ {ends} }}
		accept
	}}
	# Every SYN-ACK or RST that may answer a SYN of ours comes through here, as it arrived, before it
	# is taken for an answer: trust drops those of hosts that are no members.
	chain verified{n} {{
	}}
	chain offer{n} {{
		{key} . tcp ackseq @offer{n} accept comment "second, and the first is not judged yet"
		{key} @owner{n} jump verified{n}
		{key} @owner{n} add @offer{n} {{ {key} . tcp ackseq : {ip} saddr }} \
			{ip} saddr set {key} map @owner{n} accept
	}}
	# The ports are noted for a connection.
	chain late{n} {{
		tcp flags & ack == ack {key} @asked{n} goto other_asked{n}
		{ends} @from{n} goto known{n}
		tcp flags & (syn|ack) == (syn|ack) counter name late_syn_ack accept
	}}
	# And somebody waits on the same ports for another anycast address.
	chain other_asked{n} {{
		tcp flags & (syn|ack) == (syn|ack) goto taken{n}
		{ip} saddr set {key} map @owner{n}
		socket wildcard 0 accept comment "a reset of the connection that is still there"
		{ip} saddr set {key} map @asked{n} counter name refused accept
	}}
	# Is the socket of the first still there?
	chain taken{n} {{
		{key} . tcp ackseq @offer{n} accept comment "second, and the first is not judged yet"
		jump verified{n}
		add @offer{n} {{ {key} . tcp ackseq : {ip} saddr }}
		{ip} saddr set {key} map @owner{n}
		socket wildcard 0 goto busy{n}
		{ip} saddr set {key} map @peer{n}
		delete @from{n} {{ {ends} }}
		delete @peer{n} {{ {key} : {ip} saddr }}
		delete @owner{n} {{ {key} : {ip} saddr }}
		{ip} saddr set {key} map @asked{n}
		delete @asked{n} {{ {key} : {ip} saddr }}
		add @owner{n} {{ {key} timeout 5m : {ip} saddr }} accept
	}}
	chain busy{n} {{
		delete @offer{n} {{ {key} . tcp ackseq : {ip} saddr }}
		counter name port_busy drop
	}}
"#
    )
}
