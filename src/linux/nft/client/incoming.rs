//! What becomes of a segment that comes in.

use super::{Shim, time};

impl Shim<'_> {
    //= docs/spec/tcp.md#the-client
    //# A SYN-ACK from another member MUST be answered with a reset to that member.
    //= docs/spec/tcp.md#the-client
    //# A client MUST discard a SYN-ACK or a reset from an anycast address that answers no SYN of its
    //# own to that address.
    //= docs/spec/tcp.md#the-client
    //# A client MUST NOT discard a segment of a connection that this host forwards for another host
    //# behind an address of its own (RFC 3022).
    pub(super) fn incoming(&self) -> String {
        let Self { n, ip, keys, .. } = self;
        let (wire, ends, offer, same) = (&keys.wire_in, &keys.ends, &keys.offer_in, &keys.same_in);
        let from_class = &self.from_class;
        let flow = format!("{ip} daddr . tcp dport . {ip} saddr . tcp sport");
        let (over, owner_over, fin_over) = (time::OVER, time::OWNER_OVER, time::FIN_OVER);
        let own_port = format!(
            "tcp dport {}-{} tcp dport set {wire} map @own{n}",
            self.seen.start(),
            self.seen.end()
        );
        format!(
            r#"
	chain in{n} {{
		tcp flags & (syn|rst) != 0 goto control{n}
		{ends} @from{n} goto known{n}
	}}
	chain known{n} {{
		tcp flags & fin != 0 goto fin{n}
		goto deliver{n}
	}}
	chain deliver{n} {{
		{ip} saddr set {wire} map @owner{n}
		{own_port}
		accept
	}}
	chain fin{n} {{
		{wire} @own{n} goto fin_first{n} comment "alias{n} cannot be renewed from here"
		{wire} @fin_here{n} goto fin_second{n}
		goto fin_first{n}
	}}
	chain fin_first{n} {{
		add @fin_there{n} {{ {wire} }}
		goto deliver{n}
	}}
	chain fin_second{n} {{
		update @fin_here{n} {{ {wire} timeout {fin_over} }}
		update @fin_there{n} {{ {wire} timeout {fin_over} }}
		update @peer{n} {{ {wire} timeout {over} : {ip} saddr }}
		update @from{n} {{ {ends} timeout {over} }}
		{ip} saddr set {wire} map @owner{n}
		update @owner{n} {{ {wire} timeout {owner_over} : {ip} saddr }}
		update @flow{n} {{ {flow} timeout {over} }}
		accept
	}}
	chain control{n} {{
		{from_class} goto anycast{n}
		tcp flags & (syn|ack) == syn accept
		socket wildcard 0 goto other{n} comment "matches another connection fully"
		{wire} @peer{n} goto late{n}
		tcp flags & (syn|ack) == (syn|ack) goto offer{n}
		tcp flags & (rst|ack) == (rst|ack) {wire} @owner{n} goto refused{n}
	}}
	# Every answer to a SYN of ours comes through here, as it arrived, before it is taken: trust
	# drops those of hosts that are no members.
	chain verified{n} {{
	}}
	chain offer{n} {{
		{offer} @offer{n} accept comment "second, and the first is not judged yet"
		{wire} @owner{n} goto asked{n}
	}}
	chain asked{n} {{
		jump verified{n}
		add @offer{n} {{ {offer} : {ip} saddr }} goto deliver{n}
		counter name full drop
	}}
	chain refused{n} {{
		jump verified{n}
		counter name refused goto deliver{n}
	}}
	# The port is noted for a connection: the kernel resets the SYN-ACK of anyone but its member.
	chain late{n} {{
		{ends} @from{n} goto known{n}
		tcp flags & (syn|ack) == (syn|ack) counter name late_syn_ack accept
	}}
	# A direct connection with the same ends. The one that was there first gets the segment.
	chain other{n} {{
		{ends} @from{n} goto both{n}
		accept
	}}
	chain both{n} {{
		{wire} @own{n} accept comment "a port of the shim's, and a program has bound it"
		{ip} saddr set {wire} map @owner{n}
		socket wildcard 0 accept
		{ip} saddr set {wire} map @peer{n}
		delete @from{n} {{ {ends} }}
		accept
	}}
	# From an anycast address: what it has to do with a SYN to this very address, and nothing else.
	chain anycast{n} {{
		fib daddr type != local accept comment "for another host"
		{ends} @from{n} goto known{n}
		tcp flags & ack == ack {wire} @owner{n} goto plain{n}
		iifname "lo" accept
		tcp flags & (syn|ack) == syn counter name anycast_source drop
		{wire} @owner{n} counter name anycast_source drop
		socket wildcard 0 counter name anycast_source drop comment "this host's, and not asked for"
		accept comment "of no connection here: NAT has one behind this host, or its reset is dropped"
	}}
	chain plain{n} {{
		{wire} @peer{n} counter name anycast_source drop
		{offer} @offer{n} counter name anycast_source drop
		add @keep{n} {{ {offer} : {ip} saddr }} add @same{n} {{ {same} }} goto plain_compare{n}
		counter name full drop
	}}
	chain plain_compare{n} {{
		{ip} saddr set {wire} map @owner{n}
		{same} @same{n} goto plain_asked{n}
		{ip} saddr set {offer} map @keep{n}
		delete @keep{n} {{ {offer} : {ip} saddr }}
		delete @same{n} {{ {same} }}
		counter name anycast_source drop
	}}
	chain plain_asked{n} {{
		delete @keep{n} {{ {offer} : {ip} saddr }}
		delete @same{n} {{ {same} }}
		tcp flags & rst == rst goto refused{n}
		goto asked{n}
	}}
"#
        )
    }
}
