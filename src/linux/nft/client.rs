//! The client's TCP, table `inet hamp_client`: the rule of [`crate::proto::rebind`] in the
//! kernel's own words, with no program in the path.
//!
//! The kernel's TCP believes that it talks to the anycast address A. Its SYN goes there as it
//! is, with the mark of a client that can rebind; the answer of the member U is given to it as
//! coming from A, and whatever it sends after that goes to U. An answer from A itself is that of a
//! *plain* connection: U is A, and everything else is the same. But for those, nothing but a SYN
//! ever leaves this host for an anycast address.
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
//! | `owner` | C, port on the wire, service | A | the SYN |
//! | `offer` | C, port on the wire, service, acknowledgement | U | the SYN-ACK |
//! | `flow` | C, port, A, service | | the ACK: the connection |
//! | `peer` | C, port on the wire, service | U | the ACK |
//! | `from` | U, service, C, port on the wire | | the ACK |
//! | `alias` | C, A, port, service | the port on the wire | a SYN whose port another has in `owner` |
//! | `own` | C, port on the wire, service | the port | the same |
//!
//! A port on the wire has one owner, so the same ports with another anycast address go by another
//! port (`alias.rs`): a later connection has nothing in common with an earlier one. What stands for
//! addresses in a key is told in `keys.rs`. Two values are compared by having one in a set, writing
//! the other over it, and looking (`same`; `keep` gives the first one back).
//!
//! The maps outlive the daemon and its rules: a restart replaces the chains and keeps the maps,
//! in one transaction, so established connections do not notice (`kept.rs`). A SYN without an answer is
//! forgotten in seconds, each repetition counting anew. Entries of connections that are
//! over are replaced when their ports are used again for the same A, and go half a minute after a RST
//! of ours or the second FIN (`fin_here`, `fin_there`). The rest goes 15 minutes after our FIN, or else
//! after five days, as in the kernel's own connection tracking; sending renews the ones in use (one
//! segment in 64). The maps are no larger than they are because the kernel
//! makes room for all of a map at once, 1 MiB each, and looks through it every second. (What is deleted
//! counts until then; a longer `gc-interval` would let a busy client run into the limit. The same
//! ports for more than sixteen connections in that second are refused an entry, too.)

mod alias;
mod hash;
mod incoming;
mod kept;
mod keys;
mod outgoing;

use std::ops::RangeInclusive;

use super::family::{BOTH, Family};
use crate::addr::Class;
pub use kept::{Kept, TABLE};
use keys::Keys;

/// How long entries last, as nft writes it.
mod time {
    /// A SYN without an answer: longer than any answer takes. TCP repeats it, and so this.
    pub(super) const ASKED: &str = "15s";
    /// An owner outlasts what it is the owner of.
    pub(super) const OWNER_ASKED: &str = "16s";
    /// Both ends are done: a last FIN may be repeated.
    pub(super) const OVER: &str = "28s";
    pub(super) const OWNER_OVER: &str = "30s";
    pub(super) const FIN_OVER: &str = "25s";
    /// After our FIN, while the other end goes on.
    pub(super) const ENDED: &str = "15m";
    pub(super) const OWNER_ENDED: &str = "16m";
    /// A connection without a segment.
    pub(super) const LONG: &str = "5d";
    pub(super) const OWNER_LONG: &str = "121h";
}

/// Loads the client's rules, or replaces them and keeps the connections of a daemon before us.
//= docs/spec/tcp.md#the-client
//# When a client's daemon ends or crashes, established connections MUST go on.
pub fn text(class: &Class, kept: &Kept) -> String {
    let mut text = format!(
        "# Chains are replaced, maps are kept: they carry established connections.\n{}\
         table {TABLE} {{\n\
         \tcomment \"hamp, client: TCP to anycast addresses (RFC 1546)\"\n\n",
        kept.begin()
    );
    for (name, what) in COUNTERS {
        text += &format!("\tcounter {name} {{ comment \"{what}\"; }}\n");
    }
    let shims = BOTH.map(|family| Shim::new(family, class, kept));
    text += &shims.each_ref().map(Shim::maps).concat();
    text += "
	# After connection tracking has seen the segment, which so sees only C and A.
	chain output {
		type route hook output priority mangle; policy accept;
";
    for Shim { n, to_class, .. } in &shims {
        text += &format!("\t\tmeta l4proto tcp {to_class} goto out{n}\n");
    }
    text += "\t}

	# Before connection tracking sees the segment.
	chain prerouting {
		type filter hook prerouting priority raw; policy accept;
		meta l4proto tcp meta nfproto ipv4 goto in4
		meta l4proto tcp meta nfproto ipv6 goto in6
	}
";
    for shim in &shims {
        text += &shim.outgoing();
        text += &shim.alias();
        text += &shim.incoming();
    }
    text += "}\n";
    text += &kept.end();
    for family in BOTH {
        text += &family.refill(TABLE, "class", class.prefixes());
    }
    text
}

const COUNTERS: [(&str, &str); 11] = [
    ("syn_sent", "SYNs to an anycast address, repeats included"),
    ("bound", "connections that took a member's unicast address"),
    (
        "plain",
        "connections with the anycast address itself: its member did not rebind them",
    ),
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
        "aliased",
        "SYNs sent from another port: theirs is in use for another anycast address",
    ),
    (
        "port_busy",
        "SYNs dropped: their port is in use, and no other was found free",
    ),
    (
        "anycast_source",
        "SYNs, SYN-ACKs and RSTs from an anycast address that nobody asked for: dropped",
    ),
    ("full", "segments dropped: a map is full"),
];

/// The rules of one family.
struct Shim<'a> {
    n: char,
    ip: &'static str,
    address: &'static str,
    keys: Keys,
    /// Match what goes to an anycast address, and what comes from one.
    to_class: String,
    from_class: String,
    /// The ports that are drawn for SYNs whose own is taken, and all that have been.
    ports: &'a RangeInclusive<u16>,
    seen: &'a RangeInclusive<u16>,
}

impl<'a> Shim<'a> {
    fn new(family: &Family, class: &Class, kept: &'a Kept) -> Self {
        Self {
            n: family.n,
            ip: family.ip,
            address: family.address,
            keys: match family.n {
                '4' => Keys::ipv4(),
                _ => Keys::ipv6(kept.seeds),
            },
            to_class: family.within("daddr", "class", class),
            from_class: family.within("saddr", "class", class),
            ports: &kept.ports,
            seen: &kept.seen,
        }
    }

    fn maps(&self) -> String {
        let Self {
            n,
            ip,
            address,
            keys,
            ..
        } = self;
        let (wire, ask, offer) = (keys.wire_type, keys.ask_type, keys.offer_type);
        let four = format!("{address} . inet_service . {address} . inet_service");
        let (long, owner, end) = (time::LONG, time::OWNER_LONG, time::ENDED);
        let dynamic = "size 65536; flags dynamic,timeout;";
        let few = "size 16384; flags dynamic,timeout;";
        format!(
            r#"
	set class{n} {{ type {address}; flags interval; auto-merge; comment "anycast addresses"; }}
	map owner{n} {{
		typeof {wire} : {ip} saddr; {dynamic} timeout {owner};
		comment "SYN or connection: my address . port . service : anycast address";
	}}
	map offer{n} {{
		typeof {offer} : {ip} saddr; {dynamic} timeout 1s;
		comment "SYN-ACK shown: my address . port . service . acknowledgement : member";
	}}
	set flow{n} {{
		type {four}; {dynamic} timeout {long};
		comment "connection: my address . port . anycast address . service";
	}}
	map peer{n} {{
		typeof {wire} : {ip} saddr; {dynamic} timeout {long};
		comment "connection: my address . port . service : member";
	}}
	set from{n} {{
		type {four}; {dynamic} timeout {long};
		comment "connection: member . service . my address . port";
	}}
	set fin_here{n} {{
		typeof {wire}; {dynamic} timeout {end};
		comment "our FIN has left: my address . port . service";
	}}
	set fin_there{n} {{
		typeof {wire}; {dynamic} timeout {end};
		comment "the other end's FIN has come: my address . port . service";
	}}
	map alias{n} {{
		typeof {ask} : tcp urgptr; {few} timeout {long};
		comment "my address . anycast address . port and service : port on the wire";
	}}
	map own{n} {{
		typeof {wire} : tcp urgptr; {few} timeout {long};
		comment "my address . port on the wire . service : port";
	}}
	map keep{n} {{
		typeof {offer} : {ip} saddr; {few} timeout 1s;
		comment "an address while it is compared with another";
	}}
	set same{n} {{
		typeof {ip} saddr . tcp sequence . tcp sequence . {ip} saddr; {few} timeout 1s;
		comment "two addresses are compared by looking here";
	}}
"#
        )
    }
}
