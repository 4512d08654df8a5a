//! Where a SYN goes: which of this host's addresses stands for it towards which client.
//!
//! The answer comes from that address, so the client has to be able to send there: to the one in its
//! own subnet for sure, else to one of the link that its SYN came by, else to any. Every address of
//! every interface takes part, those that hamp does not speak on too: a container's bridge is a
//! link like others.

use std::net::IpAddr;

use super::super::AT_ONCE;
use super::super::family::{BOTH, Family};
use super::TABLE;
use crate::addr::Prefix;
use crate::wire::frame::mac_text;

/// An address of this host's, and what it is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unicast {
    /// The interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Whose hosts reach it without a router.
    pub subnet: Prefix,
    /// Others reach it through routers.
    pub universal: bool,
}

/// This host's addresses, best first, and the link-layer addresses of its interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Own {
    /// Its addresses, but anycast ones, loopback ones and IPv6 link-local ones.
    pub unicast: Vec<Unicast>,
    /// Link-layer addresses of 48 bits.
    pub macs: Vec<[u8; 6]>,
}

/// Transactions, one after another, that set `own` in the place of what is set; a host that serves
/// nothing has no use for its unicast addresses. Between them SYNs find less, and are served plain.
pub(in super::super) fn set(own: &Own, serving: bool) -> Vec<String> {
    let mut out = format!("flush set {TABLE} macs\n");
    // Taking away and adding apart: nft 1.0.6 sees overlaps with what the same one takes away.
    let macs = own
        .macs
        .iter()
        .map(|mac| format!("add element {TABLE} macs {{ {} }}\n", mac_text(*mac)));
    let mut into: Vec<String> = macs.collect();
    for f in BOTH.into_iter().filter(|_| serving) {
        for map in ["near", "unicast", "any"] {
            out += &format!("flush map {TABLE} {map}{}\n", f.n);
        }
        into.extend(family(f, &own.unicast));
    }
    let into = into.chunks(AT_ONCE).map(<[String]>::concat);
    std::iter::once(out).chain(into).collect()
}

/// The elements of one family.
fn family(f: &Family, unicast: &[Unicast]) -> Vec<String> {
    let own: Vec<&Unicast> = unicast.iter().filter(|own| f.has(&own.subnet)).collect();
    let element =
        |map: &str, element: String| format!("add element {TABLE} {map}{} {{ {element} }}\n", f.n);
    let near = ranges(&own)
        .into_iter()
        .map(|(first, last, address)| element("near", format!("{first}-{last} : {address}")));
    let mut elements: Vec<String> = near.collect();
    // A link-local address (RFC 3927) is good for its own subnet alone.
    let far: Vec<_> = own.iter().filter(|own| own.universal).collect();
    for (at, link) in far.iter().enumerate() {
        let first = far[..at]
            .iter()
            .all(|other| other.interface != link.interface);
        if first && is_plain(&link.interface) {
            let own = format!("\"{}\" : {}", link.interface, link.address);
            elements.push(element("unicast", own));
        }
    }
    let any = far
        .first()
        .map(|own| format!("ipv{} : {}", f.n, own.address));
    elements.extend(any.map(|any| element("any", any)));
    elements
}

/// Whether nft takes an interface's name as it is: the kernel allows quotes and asterisks.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@:+".contains(c);
    name.chars().all(plain)
}

/// The subnets as ranges that do not overlap: of two subnets the smaller one counts, of equal ones
/// the first.
fn ranges(own: &[&Unicast]) -> Vec<(IpAddr, IpAddr, IpAddr)> {
    let ends = |subnet: &Prefix| (number(subnet.network()), number(subnet.broadcast()));
    let mut starts: Vec<u128> = Vec::new();
    for own in own {
        let (first, last) = ends(&own.subnet);
        starts.push(first);
        starts.extend(last.checked_add(1));
    }
    starts.sort_unstable();
    starts.dedup();
    let mut ranges: Vec<(IpAddr, IpAddr, IpAddr)> = Vec::new();
    for (at, first) in starts.iter().enumerate() {
        let within = |own: &&&Unicast| {
            let (low, high) = ends(&own.subnet);
            (low..=high).contains(first)
        };
        // The first of the longest: `max_by_key` gives the last of equal ones.
        let best = own
            .iter()
            .rev()
            .filter(within)
            .max_by_key(|own| own.subnet.prefix_len());
        let Some(best) = best else { continue };
        let next = starts.get(at + 1).map(|next| next - 1);
        let last = next.unwrap_or(ends(&best.subnet).1);
        let is_ipv4 = best.address.is_ipv4();
        ranges.push((
            address(*first, is_ipv4),
            address(last, is_ipv4),
            best.address,
        ));
    }
    ranges
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

fn address(number: u128, is_ipv4: bool) -> IpAddr {
    match u32::try_from(number) {
        Ok(number) if is_ipv4 => IpAddr::V4(number.into()),
        _ => IpAddr::V6(number.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(interface: &str, address: &str) -> Unicast {
        let subnet: Prefix = address.parse().unwrap();
        Unicast {
            interface: interface.to_owned(),
            address: subnet.addr(),
            subnet: subnet.trunc(),
            universal: true,
        }
    }

    fn shown(own: &[Unicast]) -> Vec<String> {
        let ranges = ranges(&own.iter().collect::<Vec<_>>());
        let text = |(first, last, address)| format!("{first}-{last} {address}");
        ranges.into_iter().map(text).collect()
    }

    #[test]
    fn of_subnets_in_each_other_the_smaller_one_counts() {
        let own = [
            own("a", "10.0.0.1/8"),
            own("b", "10.1.0.1/16"),
            own("c", "10.1.0.2/16"),
            own("d", "10.1.2.3/32"),
            own("e", "255.255.255.1/24"),
        ];
        let expected = [
            "10.0.0.0-10.0.255.255 10.0.0.1",
            "10.1.0.0-10.1.2.2 10.1.0.1",
            "10.1.2.3-10.1.2.3 10.1.2.3",
            "10.1.2.4-10.1.255.255 10.1.0.1",
            "10.2.0.0-10.255.255.255 10.0.0.1",
            "255.255.255.0-255.255.255.255 255.255.255.1",
        ];
        assert_eq!(shown(&own), expected);
    }

    #[test]
    fn a_subnet_may_end_where_addresses_end() {
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
        let own = [own("a", "::1/0"), own("b", &format!("{last}/128"))];
        let expected = [
            "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe ::1".to_owned(),
            format!("{last}-{last} {last}"),
        ];
        assert_eq!(shown(&own), expected);
    }
}
