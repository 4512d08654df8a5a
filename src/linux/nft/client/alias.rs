//! A SYN whose port is taken goes out with another one.
//!
//! Linux picks ephemeral ports per destination, so the same one comes up for two anycast addresses;
//! if one member serves both, these would be the same four numbers on the wire. Which member
//! answers is not known when the SYN goes out. So the later of two goes with a port of the shim's own,
//! outside the range that the kernel picks from, and what comes back to that port is given to the
//! program's. Only such connections pay for it.
//!
//! nft needs both ports in the segment at the same time to note one for the other. A SYN has room
//! in fields that say nothing in it: the program's port waits in the acknowledgement number and
//! the new one is drawn in the urgent pointer; both are zero again when it leaves. In later
//! segments the urgent pointer alone serves, unless it says something (URG). (`numgen` gives 32 bits and
//! nft writes the first 16 of them, in network order: so it counts in steps of 2^16.)

use super::{Shim, time};

impl Shim<'_> {
    pub(super) fn alias(&self) -> String {
        let Self { n, ip, keys, .. } = self;
        let (wire, ask, stash) = (&keys.wire_out, &keys.ask, &keys.ask_stash);
        let offer = &keys.offer_out;
        let (start, count) = (
            u32::from(*self.ports.start()) << 16,
            (u32::try_from(self.ports.len()).unwrap_or(1)) << 16,
        );
        let (asked, owner_asked) = (time::ASKED, time::OWNER_ASKED);
        let draws = "jump draw{n}\n\t\t"
            .repeat(4)
            .replace("{n}", &n.to_string());
        let touches = [
            ("_asked", time::ASKED),
            ("", time::LONG),
            ("_ended", time::ENDED),
            ("_over", time::OVER),
        ]
        .map(|(name, lasts)| self.touch(name, lasts))
        .concat();
        format!(
            r#"
	# The port is another's: this SYN goes with one of the shim's own.
	chain another{n} {{
		tcp sport set {ask} map @alias{n} goto another_again{n}
		tcp ackseq set @th,0,32
		{draws}counter name port_busy drop
	}}
	chain draw{n} {{
		tcp urgptr set numgen random mod {count} offset {start}
		tcp sport set tcp urgptr
		{wire} @owner{n} return
		add @owner{n} {{ {wire} timeout {owner_asked} : {ip} daddr }} \
			add @own{n} {{ {wire} timeout {asked} : @th,64,16 }} \
			add @alias{n} {{ {stash} timeout {asked} : tcp urgptr }} goto drawn{n}
		counter name full drop
	}}
	chain drawn{n} {{
		tcp ackseq set 0
		tcp urgptr set 0
		counter name aliased accept
	}}
	chain another_again{n} {{
		{wire} @peer{n} goto another_anew{n}
		goto another_asked{n}
	}}
	chain another_anew{n} {{
		add @keep{n} {{ {offer} : {ip} daddr }} jump reopen{n}
		goto another_asked{n}
	}}
	chain another_asked{n} {{
		jump touch_asked{n}
		update @owner{n} {{ {wire} timeout {owner_asked} : {ip} daddr }}
		accept
	}}
	# Segments of such a connection; the port is the one on the wire already.
	chain aliased{n} {{
		tcp flags & (fin|rst) != 0 {wire} @peer{n} goto aliased_end{n}
		{wire} @fin_there{n} {wire} @fin_here{n} goto aliased_done{n}
		numgen inc mod 64 == 0 {wire} @peer{n} goto aliased_renew{n}
		{ip} daddr set {wire} map @peer{n} accept
		{offer} @offer{n} goto aliased_bind{n}
		counter name not_a_syn drop
	}}
	chain aliased_bind{n} {{
		tcp flags & rst == rst goto wrong{n}
		jump touch{n}
		goto bind_wire{n}
	}}
	chain aliased_renew{n} {{
		jump touch{n}
		goto renew_wire{n}
	}}
	chain aliased_end{n} {{
		tcp flags & rst != 0 goto aliased_done{n}
		{wire} @fin_there{n} goto aliased_done{n}
		jump touch_ended{n}
		goto end_wire{n}
	}}
	chain aliased_done{n} {{
		jump touch_over{n}
		goto done_wire{n}
	}}
{touches}"#,
        )
    }

    /// A chain that renews what is noted of the two ports; the one on the wire is in the segment.
    fn touch(&self, name: &str, lasts: &str) -> String {
        let Self { n, keys, .. } = self;
        let (wire, ask) = (&keys.wire_out, &keys.ask);
        format!(
            r#"	chain touch{name}{n} {{
		tcp flags & urg == 0 {wire} @own{n} goto touching{name}{n}
	}}
	chain touching{name}{n} {{
		tcp sport set {wire} map @own{n}
		tcp urgptr set {ask} map @alias{n}
		update @alias{n} {{ {ask} timeout {lasts} : tcp urgptr }}
		tcp sport set {ask} map @alias{n}
		tcp urgptr set {wire} map @own{n}
		update @own{n} {{ {wire} timeout {lasts} : tcp urgptr }}
		tcp urgptr set 0
	}}
"#
        )
    }
}
