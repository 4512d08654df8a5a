//! What the gate does with TCP to an address that is served now.
//!
//! The SYN is judged before connection tracking sees it.
//!
//! A segment that belongs to no connection meets silence. Which of them do is TCP's to know (a
//! listener takes the acknowledgement of a SYN cookie), so they are given to it, and its answer is
//! caught: a RST without ACK is what TCP says to a segment of no connection (RFC 9293 §3.10.7.1),
//! while it ends a connection of its own with RST and ACK. Only after its own FIN it says so to data
//! that still comes (RFC 9293 §3.6), so a flow whose FIN has left is noted.

use super::super::family::Family;
use super::each_family;
use crate::addr::Class;
use crate::proto::rebind::{REBINDS, member::Mode};

/// A TCP header's flags.
const FLAGS: &str = "@th,104,8";

/// What becomes of one that it serves.
//= docs/spec/tcp.md#the-member
//# A member MUST treat a SYN that it rebinds as a SYN to its own unicast address, so that its
//# SYN-ACK comes from U.
pub(super) fn serving(f: &Family, mode: Mode, class: &Class) -> String {
    let (n, ip, address) = (f.n, f.ip, f.address);
    let sources = format!(
        "{} iifname != \"lo\" goto source",
        f.within("saddr", "class", class)
    );
    let stray = match mode {
        Mode::Rebind => "iifname != \"lo\"".to_owned(),
        // All segments of a connection but the first acknowledge something, or reset it.
        Mode::Auto | Mode::Plain => format!("{FLAGS} & 0x14 == 0"),
    };
    // Most segments first.
    let plain = match mode {
        Mode::Rebind => String::new(),
        Mode::Auto | Mode::Plain => format!("\t\t{FLAGS} & 0x12 == 0x10 accept\n"),
    };
    let code_point = if n == '4' { "@nh,8,6" } else { "@nh,4,6" };
    let mut text = format!(
        r#"
	set active{n} {{ type {address}; flags interval; comment "what this host serves"; }}
	map near{n} {{ type {address} : {address}; flags interval; comment "our address in a subnet"; }}
	map unicast{n} {{ type ifname : {address}; comment "our address on a link"; }}
	map any{n} {{ type nf_proto : {address}; comment "our address for all others"; }}
	set ended{n} {{
		type {address} . inet_service . {address} . inet_service;
		size 65536; flags dynamic,timeout; timeout 15m;
		comment "flows whose FIN has left: their resets may follow";
	}}

	chain gate{n} {{
		meta nfproto @serving {ip} daddr @active{n} goto served{n}
		goto closed{n}
	}}
	chain served{n} {{
		meta l4proto tcp goto tcp{n}
	}}
	# The flags and the code point as bits: by name, each rule would look for the protocol again.
	chain tcp{n} {{
{plain}		{FLAGS} & 0x17 == 0x02 goto syn{n}
		{stray} goto stray
	}}
	chain plain{n} {{
		counter name plain accept
	}}
"#
    );
    text += &match mode {
        Mode::Plain => format!("\tchain syn{n} {{\n\t\t{sources}\n\t\tgoto plain{n}\n\t}}\n"),
        Mode::Rebind => format!(
            r#"	chain syn{n} {{
		{sources}
		iifname "lo" {ip} dscp != {REBINDS} goto plain{n}
		jump elsewhere
		goto rebind{n}
	}}
"#
        ),
        // Who is bound to A itself cannot answer from elsewhere, neither can a handshake that
        // began at A; sockets that are no full ones have no wildcard.
        Mode::Auto => format!(
            r#"	chain syn{n} {{
		{sources}
		{code_point} != {REBINDS} goto plain{n}
		jump elsewhere
		socket wildcard vmap {{ 1 : goto rebind{n}, 0 : goto plain{n} }}
		socket transparent {{ 0, 1 }} goto plain{n}
		goto rebind{n}
	}}
"#
        ),
    };
    text += &rebinding(f, mode);
    //= docs/spec/tcp.md#the-member
    //# A member MUST answer no segment to A that belongs to no connection, but a SYN.
    text += &format!(
        r#"	chain answer{n} {{
		tcp flags & fin == fin update @ended{n} {{ {ip} daddr . tcp dport . {ip} saddr . tcp sport }}
		tcp flags & (rst|ack) != rst accept
		{ip} daddr . tcp dport . {ip} saddr . tcp sport @ended{n} accept
		meta l4proto tcp counter name stray drop
	}}
"#
    );
    text
}

/// The address that a SYN is given to: the one in the client's own subnet, or on the link that it
/// came by, or any.
//= docs/spec/tcp.md#the-member
//# U SHOULD be an address in the subnet of the client, where the member has one, and otherwise one
//# of the link that the SYN came by.
fn rebinding(f: &Family, mode: Mode) -> String {
    let (n, ip) = (f.n, f.ip);
    let mut text = format!("\tchain rebind{n} {{\n");
    let none = match mode {
        Mode::Rebind => "counter name no_unicast drop".to_owned(),
        //= docs/spec/tcp.md#the-member
        //# A member without a unicast address that the client can reach MUST serve the connection
        //# plain; in mode rebind it MUST discard the SYN.
        Mode::Auto | Mode::Plain => format!("goto plain{n}"),
    };
    if n == '6' {
        // Such a client reaches link-local addresses alone, and those not without naming a link.
        text += &format!("\t\tip6 saddr fe80::/10 {none}\n");
    }
    for map in [
        "ip saddr map @near4",
        "iifname map @unicast4",
        "meta nfproto map @any4",
    ] {
        let map = map
            .replace('4', &n.to_string())
            .replace("ip ", &format!("{ip} "));
        text += &format!("\t\t{ip} daddr set {map} counter name syn accept\n");
    }
    text + &format!("\t\t{none}\n\t}}\n")
}

/// What is the same in both families: what is dropped, and where answers leave. A client's shim
/// judges SYN-ACKs from anycast addresses itself, and sends its resets on.
pub(super) fn ends(class: &Class, client: bool) -> String {
    let within = |side, chain: &str| {
        each_family(|f| {
            format!(
                "\t\t{} goto {chain}{}\n",
                f.within(side, "class", class),
                f.n
            )
        })
    };
    let mut answers = within("saddr", "answer");
    if !client {
        answers += &within("daddr", "answer");
    }
    format!(
        "
	# The end of a connection, or an answer to what belongs to none.
	chain ending {{
{answers}\t}}
	chain output {{
		type filter hook output priority raw; policy accept;
		tcp flags & (fin|rst) != 0 goto ending
	}}
"
    )
}

/// The chains that drop what is for this host, and nothing else.
//= docs/spec/tcp.md#the-member
//# A member MUST discard a SYN from an anycast address, and MUST NOT answer a SYN-ACK that it has not
//# asked for.
pub(super) const DROPS: &str = "
	chain stray {
		jump elsewhere
		meta l4proto tcp counter name not_a_syn drop
	}
	chain source {
		jump elsewhere
		fib daddr type local counter name anycast_source drop
	}
";
