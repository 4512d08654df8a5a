//! The rule of TCP (RFC 1546): of all segments to an anycast address only a SYN may pass. Hosts that know
//! nothing of that have plain connections: the address is what both ends see.

use std::net::IpAddr;

use etherparse::{LaxSlicedPacket, TransportSlice};

use crate::capture::ends;
use crate::report::{Check, Round};

/// Frames with something wrong, by rule.
#[derive(Clone, Debug, Default)]
pub struct Segments {
    /// SYNs to the anycast address.
    pub syns: usize,
    /// SYN-ACKs from a unicast address of a member.
    pub unicast_syn_acks: usize,
    /// SYN-ACKs from the anycast address to hosts that know nothing of it.
    pub plain_syn_acks: usize,
    /// Everything else to or from the anycast address.
    pub violations: Vec<String>,
    /// Whether there are hosts that know nothing of it.
    has_stock: bool,
}

/// Looks at every TCP segment once, where its sender's link carries it.
///
/// Segments of ports for which `left_out` holds are left out: those that are sent by hand, and those of
/// services that bind the address itself. `unicast` are the members' own addresses, `stock` those of
/// hosts without hamp.
pub fn segments(
    round: &Round,
    unicast: &[IpAddr],
    stock: &[IpAddr],
    left_out: impl Fn(u16) -> bool,
) -> Segments {
    let anycast = &round.anycast;
    let mut found = Segments {
        has_stock: !stock.is_empty(),
        ..Segments::default()
    };
    for frame in round.captured.frames.iter().filter(|f| f.from_host) {
        let Ok(packet) = LaxSlicedPacket::from_ethernet(&frame.bytes) else {
            continue;
        };
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
            continue;
        };
        let Some((source, destination)) = ends(&packet) else {
            continue;
        };
        if left_out(tcp.source_port()) || left_out(tcp.destination_port()) {
            continue;
        }
        if stock.contains(&source) && anycast.contains(&destination) {
            continue;
        }
        if stock.contains(&destination) && anycast.contains(&source) {
            found.plain_syn_acks += usize::from(tcp.syn() && tcp.ack());
            continue;
        }
        let bare_syn = tcp.syn() && !tcp.ack() && !tcp.rst() && !tcp.fin();
        if anycast.contains(&destination) && bare_syn {
            found.syns += 1;
        } else if anycast.contains(&destination) || anycast.contains(&source) {
            let flags = [
                (tcp.syn(), 'S'),
                (tcp.ack(), 'A'),
                (tcp.rst(), 'R'),
                (tcp.fin(), 'F'),
            ];
            let flags: String = flags.iter().filter(|f| f.0).map(|f| f.1).collect();
            found.violations.push(format!(
                "{source}:{} > {destination}:{} [{flags}]",
                tcp.source_port(),
                tcp.destination_port()
            ));
        } else if tcp.syn() && tcp.ack() && unicast.contains(&source) {
            found.unicast_syn_acks += 1;
        }
    }
    found
}

impl Segments {
    /// `tcp-only-syn`, and that there was anything to see: `tcp-unicast-syn-ack`, and `tcp-plain-syn-ack`
    /// where hosts know nothing of it.
    pub fn checks(&self) -> Vec<Check> {
        let seen = format!("{} SYNs, {} SYN-ACKs", self.syns, self.unicast_syn_acks);
        let some = |id: &str, count: usize| {
            let none = if count == 0 {
                vec!["none seen".into()]
            } else {
                vec![]
            };
            Check::none(id, &none, "failures").noted(format!("{count} seen"))
        };
        let mut checks = vec![
            Check::none("tcp-only-syn", &self.violations, "segments").noted(seen),
            some("tcp-unicast-syn-ack", self.unicast_syn_acks),
        ];
        checks.extend(
            self.has_stock
                .then(|| some("tcp-plain-syn-ack", self.plain_syn_acks)),
        );
        checks
    }
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;
    use crate::judge::fixture::{HOST, S1, round};

    #[test]
    fn only_a_syn_may_go_to_the_address_and_nothing_may_come_from_it() {
        let unicast = [10, 0, 0, 1];
        let tcp = |from: [u8; 4], to: [u8; 4], flags: &str| {
            let mut tcp = PacketBuilder::ethernet2(HOST, S1)
                .ipv4(from, to, 64)
                .tcp(1, 2, 3, 4);
            for flag in flags.chars() {
                tcp = match flag {
                    'S' => tcp.syn(),
                    'A' => tcp.ack(5),
                    'R' => tcp.rst(),
                    _ => tcp.fin(),
                };
            }
            let mut bytes = Vec::new();
            tcp.write(&mut bytes, &[]).expect("write to a Vec");
            (true, bytes)
        };
        let (a, client) = ([198, 18, 0, 1], [10, 0, 0, 9]);
        let good = vec![
            tcp(client, a, "S"),
            tcp(unicast, client, "SA"),
            tcp(client, unicast, "A"),
            tcp(client, unicast, "FA"),
        ];
        let seen = segments(&round(good), &[unicast.into()], &[], |_| false);
        assert_eq!((seen.syns, seen.unicast_syn_acks), (1, 1));
        assert!(seen.violations.is_empty(), "{:?}", seen.violations);
        let bad = vec![
            tcp(a, client, "SA"),
            tcp(client, a, "A"),
            tcp(client, a, "SF"),
            tcp(client, a, "R"),
            tcp(a, client, "R"),
        ];
        let seen = segments(&round(bad.clone()), &[unicast.into()], &[], |_| false);
        assert_eq!(seen.violations.len(), 5, "{:?}", seen.violations);
        let seen = segments(&round(bad), &[unicast.into()], &[client.into()], |_| false);
        assert!(seen.violations.is_empty(), "{:?}", seen.violations);
        assert_eq!((seen.syns, seen.plain_syn_acks), (0, 1));
    }
}
