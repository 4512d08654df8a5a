//! What becomes of a segment that this host's TCP sends to an anycast address.

use super::{Shim, time};

impl Shim<'_> {
    //= docs/spec/tcp.md#the-client
    //# A client MUST send to an anycast address no segment but a SYN without ACK, and those of a
    //# plain connection.
    //= docs/spec/tcp.md#the-client
    //# A client MUST send its SYN to an anycast address with the code point 001011 (RFC 2474), by
    //# which a member tells that it may answer from its unicast address.
    pub(super) fn outgoing(&self) -> String {
        let Self { n, ip, keys, .. } = self;
        let (wire, flow, ask) = (&keys.wire_out, &keys.flow, &keys.ask);
        let (offer, back) = (&keys.offer_out, &keys.ends_out);
        let (to_class, mark) = (&self.to_class, crate::proto::rebind::REBINDS);
        let (asked, ended) = (time::OWNER_ASKED, time::OWNER_ENDED);
        let (end, over) = (time::ENDED, time::OVER);
        let (owner_over, fin_over) = (time::OWNER_OVER, time::FIN_OVER);
        format!(
            r#"
	chain out{n} {{
		tcp flags & (fin|syn|rst|ack) == syn {ip} dscp set {mark} \
			counter name syn_sent goto syn{n}
		{flow} @flow{n} goto mine{n}
		{offer} @offer{n} goto bind{n} comment "its first answer"
		tcp sport set {ask} map @alias{n} goto aliased{n}
		oifname "lo" accept comment "a reply inside this host, to its own anycast address"
		counter name not_a_syn drop
	}}
	chain mine{n} {{
		tcp flags & (fin|rst) != 0 goto end{n}
		numgen inc mod 64 == 0 goto renew{n}
		{ip} daddr set {wire} map @peer{n} accept comment "the connection has its member"
		counter name not_a_syn drop
	}}
	chain renew{n} {{
		{wire} @fin_here{n} {wire} @fin_there{n} {ip} daddr set {wire} map @peer{n} accept
		update @flow{n} {{ {flow} }}
		goto renew_wire{n}
	}}
	chain renew_wire{n} {{
		update @owner{n} {{ {wire} : {ip} daddr }}
		{ip} daddr set {wire} map @peer{n}
		update @peer{n} {{ {wire} : {ip} daddr }}
		update @from{n} {{ {back} }}
		accept
	}}
	# Our end is done. What still comes takes minutes, and every segment in 64 of ours renews.
	chain end{n} {{
		tcp flags & rst != 0 goto done{n}
		{wire} @fin_there{n} goto done{n}
		update @flow{n} {{ {flow} timeout {end} }}
		goto end_wire{n}
	}}
	chain end_wire{n} {{
		add @fin_here{n} {{ {wire} }}
		update @owner{n} {{ {wire} timeout {ended} : {ip} daddr }}
		{ip} daddr set {wire} map @peer{n}
		update @peer{n} {{ {wire} timeout {end} : {ip} daddr }}
		update @from{n} {{ {back} timeout {end} }}
		accept
	}}
	# Both ends are.
	chain done{n} {{
		update @flow{n} {{ {flow} timeout {over} }}
		goto done_wire{n}
	}}
	chain done_wire{n} {{
		update @fin_here{n} {{ {wire} timeout {fin_over} }}
		update @fin_there{n} {{ {wire} timeout {fin_over} }}
		update @owner{n} {{ {wire} timeout {owner_over} : {ip} daddr }}
		{ip} daddr set {wire} map @peer{n}
		update @peer{n} {{ {wire} timeout {over} : {ip} daddr }}
		update @from{n} {{ {back} timeout {over} }}
		accept
	}}
	# The answer of our TCP to a SYN-ACK. An ACK: from here on the member is the peer.
	chain bind{n} {{
		tcp flags & rst == rst goto wrong{n}
		add @flow{n} {{ {flow} }} goto bind_wire{n}
		counter name full drop
	}}
	chain bind_wire{n} {{
		update @owner{n} {{ {wire} : {ip} daddr }}
		{ip} daddr set {offer} map @offer{n}
		add @peer{n} {{ {wire} : {ip} daddr }} add @from{n} {{ {back} }} goto bound{n}
		counter name full drop
	}}
	chain bound{n} {{
		{to_class} counter name plain accept
		counter name bound accept
	}}
	chain wrong{n} {{
		{ip} daddr set {offer} map @offer{n}
		{to_class} counter name not_a_syn drop
		counter name wrong_syn_ack accept
	}}
	chain syn{n} {{
		{wire} @owner{n} goto owned{n}
		add @owner{n} {{ {wire} timeout {asked} : {ip} daddr }} accept
		counter name full drop
	}}
	# The port is noted for a connection, or for a SYN. Of this very one, sent again?
	chain owned{n} {{
		{wire} @own{n} goto another{n} comment "stands for another port"
		add @keep{n} {{ {offer} : {ip} daddr }} add @same{n} {{ {same} }} goto compare{n}
		counter name full drop
	}}
	chain compare{n} {{
		{flow} @flow{n} goto anew{n}
		{ip} daddr set {wire} map @owner{n}
		{same} @same{n} goto repeat{n}
		{ip} daddr set {offer} map @keep{n}
		delete @keep{n} {{ {offer} : {ip} daddr }}
		delete @same{n} {{ {same} }}
		goto another{n}
	}}
	chain repeat{n} {{
		{wire} @peer{n} goto anew{n}
		delete @keep{n} {{ {offer} : {ip} daddr }}
		delete @same{n} {{ {same} }}
		update @owner{n} {{ {wire} timeout {asked} : {ip} daddr }}
		accept
	}}
	# The kernel opens a connection anew, so the one before is over.
	chain anew{n} {{
		delete @same{n} {{ {same} }}
		delete @flow{n} {{ {flow} }}
		jump reopen{n}
		update @owner{n} {{ {wire} timeout {asked} : {ip} daddr }}
		accept
	}}
	chain reopen{n} {{
		delete @fin_here{n} {{ {wire} }}
		delete @fin_there{n} {{ {wire} }}
		{ip} daddr set {wire} map @peer{n}
		delete @from{n} {{ {back} }}
		delete @peer{n} {{ {wire} : {ip} daddr }}
		{ip} daddr set {offer} map @keep{n}
		delete @keep{n} {{ {offer} : {ip} daddr }}
	}}
"#,
            same = keys.same_out,
        )
    }
}
