//! Which of an interface's addresses this host states to others.
//!
//! One of each family is stated, so it has to be one that stays: a preferred address before a
//! deprecated one, a global before a link-local one, a stable before a temporary one (RFC 8981), and
//! among those one without an end before one with a lifetime. The one that is stated stays it for as
//! long as no address of a better kind is there, whatever else comes: each change costs others a
//! statement, and caches an announcement.

use std::net::IpAddr;

use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope,
};

use super::OURS;
use crate::addr::Prefix;

/// A unicast address of an interface that packets may come from and go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// What is reached from it without a router; at the other end of a point-to-point link, it.
    pub subnet: Prefix,
    /// It counts on other links too.
    pub universal: bool,
    /// New packets are not to come from it (RFC 4862 §5.5.4).
    pub deprecated: bool,
    /// Made anew from time to time, against being followed (RFC 8981).
    pub temporary: bool,
    /// Without an end.
    pub permanent: bool,
    /// Put there by hamp.
    pub ours: bool,
    /// The kernel takes it for the source of packets where nothing else decides.
    pub source: bool,
}

impl Address {
    /// Reads an address; `None` while it is in duplicate detection, when that has failed, and when it
    /// is of this host alone.
    pub(super) fn read(message: &AddressMessage) -> Option<Self> {
        let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        let (mut local, mut address, mut ours) = (None, None, false);
        for attribute in &message.attributes {
            match attribute {
                AddressAttribute::Local(value) => local = Some(*value),
                AddressAttribute::Address(value) => address = Some(*value),
                AddressAttribute::Flags(value) => flags |= *value,
                AddressAttribute::Protocol(AddressProtocol::Other(OURS)) => ours = true,
                _ => {}
            }
        }
        let failed = flags.contains(AddressFlags::Dadfailed);
        let tentative = flags.contains(AddressFlags::Tentative);
        let usable = !failed && (!tentative || flags.contains(AddressFlags::Optimistic));
        let scope = message.header.scope;
        let alone = [AddressScope::Host, AddressScope::Nowhere].contains(&scope);
        let own = local.or(address).filter(|_| usable && !alone)?;
        let subnet = Prefix::new(address.unwrap_or(own), message.header.prefix_len).ok()?;
        let universal = scope == AddressScope::Universe;
        let deprecated = flags.contains(AddressFlags::Deprecated);
        // For IPv4 the same bit says that the subnet has another address before it.
        let second = flags.contains(AddressFlags::Secondary);
        Some(Self {
            address: own,
            subnet: subnet.trunc(),
            universal,
            deprecated,
            temporary: second && own.is_ipv6(),
            permanent: flags.contains(AddressFlags::Permanent),
            ours,
            source: !deprecated && universal,
        })
    }

    /// Whether an address is an IPv6 link-local one that has not failed duplicate detection.
    pub(super) fn is_link_local(message: &AddressMessage) -> bool {
        let flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        let near = |attribute: &AddressAttribute| match attribute {
            AddressAttribute::Address(IpAddr::V6(v6)) | AddressAttribute::Local(IpAddr::V6(v6)) => {
                v6.is_unicast_link_local()
            }
            _ => false,
        };
        !flags.contains(AddressFlags::Dadfailed) && message.attributes.iter().any(near)
    }

    /// What kind it is, the best first: one that is stated gives way to a better kind alone.
    fn kind(&self) -> (bool, bool, bool) {
        (self.deprecated, !self.universal, self.temporary)
    }

    /// The order in which addresses are chosen; equals stay as the kernel lists them.
    pub(super) fn order(&self) -> (bool, bool, bool, bool) {
        let (deprecated, local, temporary) = self.kind();
        (deprecated, local, temporary, !self.permanent)
    }
}

/// The address to state out of `fit`, which are in order, when `before` is the one that is stated.
pub(super) fn choose<'a>(
    fit: impl Iterator<Item = &'a Address> + Clone,
    before: Option<IpAddr>,
) -> Option<IpAddr> {
    let best = fit.clone().next()?;
    let stays = |known: &&Address| Some(known.address) == before && known.kind() == best.kind();
    Some(fit.clone().find(stays).unwrap_or(best).address)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address {
            address: text.parse().unwrap(),
            subnet: "::/0".parse().unwrap(),
            universal: true,
            deprecated: false,
            temporary: false,
            permanent: true,
            ours: false,
            source: true,
        }
    }

    fn chosen(mut all: Vec<Address>, before: Option<&str>) -> String {
        all.sort_by_key(Address::order);
        let before = before.map(|before| before.parse().unwrap());
        choose(all.iter(), before).unwrap().to_string()
    }

    #[test]
    fn the_address_that_stays_is_stated() {
        let link_local = Address {
            universal: false,
            ..address("fe80::1")
        };
        let deprecated = Address {
            deprecated: true,
            ..address("2001:db8::d")
        };
        let temporary = Address {
            temporary: true,
            permanent: false,
            ..address("2001:db8::7")
        };
        let dynamic = Address {
            permanent: false,
            ..address("2001:db8::dc")
        };
        let by_hand = address("2001:db8::1");
        let mut all = vec![deprecated, link_local, temporary, dynamic, by_hand];
        for expected in [by_hand, dynamic, temporary, link_local, deprecated] {
            assert_eq!(chosen(all.clone(), None), expected.address.to_string());
            all.retain(|known| *known != expected);
        }
    }

    #[test]
    fn what_is_stated_stays_until_a_better_kind_comes() {
        let dynamic = Address {
            permanent: false,
            ..address("2001:db8::dc")
        };
        let by_hand = address("2001:db8::1");
        let both = vec![by_hand, dynamic];
        assert_eq!(chosen(both.clone(), Some("2001:db8::dc")), "2001:db8::dc");
        assert_eq!(chosen(both, Some("2001:db8::2")), "2001:db8::1");
        let old = Address {
            deprecated: true,
            ..dynamic
        };
        assert_eq!(
            chosen(vec![old, by_hand], Some("2001:db8::dc")),
            "2001:db8::1"
        );
        assert_eq!(chosen(vec![old], Some("2001:db8::dc")), "2001:db8::dc");
    }
}
