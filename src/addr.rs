//! What an anycast address is.
//!
//! RFC 1546 ("Anycast Addresses") prefers a class of its own, so that a stack can tell an anycast
//! address by looking at it; the class here is configurable and defaults to blocks that are set
//! aside for testing networks. A site that carves anycast addresses out of its unicast space, or
//! makes whole prefixes anycast (the RFC's two other choices), adds them to the class.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use ipnet::{IpNet as Prefix, Ipv4Net, Ipv6Net};

/// The addresses that are anycast here: a list of prefixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    prefixes: Vec<Prefix>,
}

impl Class {
    /// RFC 2544's benchmarking block's lower half: 2^16 addresses, the size RFC 1546 suggests.
    pub const DEFAULT_IPV4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(198, 18, 0, 0), 16);
    /// Part of RFC 5180's benchmarking block: 2^16 addresses.
    pub const DEFAULT_IPV6: Ipv6Net =
        Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 2, 0, 0x1546, 0, 0, 0, 0), 112);

    /// A class made of `prefixes`; bits below each prefix's length are cleared. The limited
    /// broadcast address (RFC 919) is never in it: all of 240.0.0.0/4 but that can be anycast.
    pub fn new(prefixes: impl IntoIterator<Item = Prefix>) -> Self {
        let prefixes = prefixes.into_iter().map(|prefix| prefix.trunc());
        let whole = Self {
            prefixes: Prefix::aggregate(&prefixes.collect()),
        };
        //= docs/spec/membership.md#the-class
        //# The limited broadcast address 255.255.255.255 MUST NOT be treated as an anycast address,
        //# also where the class holds it.
        whole.without([IpAddr::V4(Ipv4Addr::BROADCAST)])
    }

    /// The class but for single addresses.
    #[must_use]
    pub fn without(&self, addresses: impl IntoIterator<Item = IpAddr>) -> Self {
        let mut prefixes = self.prefixes.clone();
        for address in addresses {
            let Some(at) = prefixes.iter().position(|net| net.contains(&address)) else {
                continue;
            };
            let mut rest = prefixes.swap_remove(at);
            // Halve what holds the address, and keep the halves that do not.
            while let Ok([low, high]) = halves(&rest) {
                let (inside, outside) = if low.contains(&address) {
                    (low, high)
                } else {
                    (high, low)
                };
                prefixes.push(outside);
                rest = inside;
            }
        }
        prefixes.sort_unstable();
        Self { prefixes }
    }

    /// Whether `address` is an anycast address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.prefixes.iter().any(|prefix| prefix.contains(&address))
    }

    /// Whether every address of `prefix` is an anycast address.
    pub fn covers(&self, prefix: &Prefix) -> bool {
        self.prefixes.iter().any(|class| class.contains(prefix))
    }

    /// The prefixes that the class is made of, without overlaps.
    pub fn prefixes(&self) -> &[Prefix] {
        &self.prefixes
    }
}

/// The two halves of a prefix; an error of a single address.
fn halves(prefix: &Prefix) -> Result<[Prefix; 2], ipnet::PrefixLenError> {
    let length = prefix.prefix_len() + 1;
    match prefix {
        Prefix::V4(net) => {
            let mut halves = net.subnets(length)?.map(Prefix::V4);
            Ok(core::array::from_fn(|_| halves.next().unwrap_or(*prefix)))
        }
        Prefix::V6(net) => {
            let mut halves = net.subnets(length)?.map(Prefix::V6);
            Ok(core::array::from_fn(|_| halves.next().unwrap_or(*prefix)))
        }
    }
}

impl Default for Class {
    fn default() -> Self {
        Self::new([Self::DEFAULT_IPV4.into(), Self::DEFAULT_IPV6.into()])
    }
}

/// The prefix that holds just this address (/32 or /128).
pub fn host(address: IpAddr) -> Prefix {
    address.into()
}

/// Whether `prefix` is a single address.
pub fn is_host(prefix: &Prefix) -> bool {
    prefix.prefix_len() == prefix.max_prefix_len()
}

/// A prefix as people write it: a single address without its length.
pub fn shown(prefix: &Prefix) -> String {
    if is_host(prefix) {
        prefix.addr().to_string()
    } else {
        prefix.to_string()
    }
}

/// The solicited-node multicast address of `address` (RFC 4291 §2.7.1), which members join for
/// their anycast addresses too (§2.8).
pub const fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let o = address.octets();
    Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | o[13] as u16,
        u16::from_be_bytes([o[14], o[15]]),
    )
}

/// The Ethernet group address of an IPv6 multicast address (RFC 2464 §7).
pub const fn ipv6_multicast_mac(group: Ipv6Addr) -> [u8; 6] {
    let o = group.octets();
    [0x33, 0x33, o[12], o[13], o[14], o[15]]
}

/// The Ethernet group address of an IPv4 multicast address (RFC 1112 §6.4).
pub const fn ipv4_multicast_mac(group: Ipv4Addr) -> [u8; 6] {
    let o = group.octets();
    [0x01, 0x00, 0x5e, o[1] & 0x7f, o[2], o[3]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_class_holds_2_to_the_16_addresses_of_each_family() {
        let class = Class::default();
        for (address, inside) in [
            ("198.18.0.0", true),
            ("198.18.255.255", true),
            ("198.19.0.0", false),
            ("198.17.255.255", false),
            ("2001:2:0:1546::", true),
            ("2001:2:0:1546::ffff", true),
            ("2001:2:0:1546::1:0", false),
        ] {
            assert_eq!(
                class.contains(address.parse().unwrap()),
                inside,
                "{address}"
            );
        }
    }

    #[test]
    fn a_class_covers_prefixes_that_lie_in_one_of_its_own() {
        let class = Class::new([
            "198.18.0.0/17".parse().unwrap(),
            "198.18.128.0/17".parse().unwrap(),
        ]);
        assert!(class.covers(&"198.18.0.0/16".parse().unwrap()));
        assert!(!class.covers(&"198.16.0.0/14".parse().unwrap()));
    }

    #[test]
    fn a_class_without_an_address_holds_all_others() {
        let whole = Class::new(["10.15.46.0/24".parse().unwrap()]);
        let class = whole.without(["10.15.46.77".parse().unwrap()]);
        for last in 0..=255 {
            let address = IpAddr::V4(Ipv4Addr::new(10, 15, 46, last));
            assert_eq!(class.contains(address), last != 77, "{address}");
        }
        assert_eq!(class.prefixes().len(), 8);
        assert!(!class.covers(&"10.15.46.64/26".parse().unwrap()));
        assert!(class.covers(&"10.15.46.128/25".parse().unwrap()));
        let none = class.without(["10.15.46.77".parse().unwrap()]);
        assert_eq!(none, class);
        let only = Class::new(["fd15:46::1/128".parse().unwrap()]);
        let empty = only.without(["fd15:46::1".parse().unwrap()]);
        assert!(empty.prefixes().is_empty());
    }

    //= docs/spec/membership.md#the-class
    //= type=test
    //# The limited broadcast address 255.255.255.255 MUST NOT be treated as an anycast address, also
    //# where the class holds it.
    #[test]
    fn the_limited_broadcast_address_is_never_anycast() {
        let class = Class::new(["240.0.0.0/4".parse().unwrap()]);
        assert!(class.contains("240.0.0.1".parse().unwrap()));
        assert!(class.contains("255.255.255.254".parse().unwrap()));
        assert!(!class.contains("255.255.255.255".parse().unwrap()));
        let broadcast = Class::new(["255.255.255.255/32".parse().unwrap()]);
        assert!(broadcast.prefixes().is_empty());
    }

    #[test]
    fn group_addresses_follow_their_rfcs() {
        let group = solicited_node("2001:2:0:1546::ab:cdef".parse().unwrap());
        assert_eq!(group, "ff02::1:ffab:cdef".parse::<Ipv6Addr>().unwrap());
        assert_eq!(
            ipv6_multicast_mac(group),
            [0x33, 0x33, 0xff, 0xab, 0xcd, 0xef]
        );
        assert_eq!(
            ipv4_multicast_mac(Ipv4Addr::new(224, 0, 0, 254)),
            [1, 0, 0x5e, 0, 0, 254]
        );
    }
}
