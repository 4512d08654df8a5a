//! `hamp authority certify --host`: the owner's own addresses, as far as they can be.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::addr::{Ipv4Net, Ipv6Net, Prefix, shown};
use crate::daemon::{Failure, exit};

/// What no host has for its own: this network, loopback, groups, everybody (RFC 6890 §2.2).
const NOBODYS: [(Prefix, &str); 7] = [
    (v4([0, 0, 0, 0], 8), "addresses that name no host"),
    (v4([127, 0, 0, 0], 8), "loopback addresses"),
    (v4([224, 0, 0, 0], 4), "multicast addresses"),
    (v4([255, 255, 255, 255], 32), "the broadcast address"),
    (
        v6(Ipv6Addr::UNSPECIFIED, 128),
        "addresses that name no host",
    ),
    (v6(Ipv6Addr::LOCALHOST, 128), "loopback addresses"),
    (
        v6(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8),
        "multicast addresses",
    ),
];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Prefix {
    Prefix::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6(address: Ipv6Addr, length: u8) -> Prefix {
    Prefix::V6(Ipv6Net::new_assert(address, length))
}

/// Refuses what cannot be an own address of a host that may serve `prefixes`, and what is said twice.
pub(super) fn check(hosts: &[Prefix], prefixes: &[Prefix]) -> Result<(), Failure> {
    let wrong = |message: String| Failure::new(exit::USAGE, message);
    for (name, given) in [("--prefix", prefixes), ("--host", hosts)] {
        for (at, prefix) in given.iter().enumerate() {
            if given[..at].contains(prefix) {
                return Err(wrong(format!("{name} {} is given twice", shown(prefix))));
            }
        }
    }
    let common = |a: &Prefix, b: &Prefix| a.contains(b) || b.contains(a);
    for host in hosts {
        let text = shown(host);
        if let Some((_, what)) = NOBODYS.iter().find(|(never, _)| common(never, host)) {
            let failure = wrong(format!(
                "--host {text} holds {what}, which are no host's own"
            ));
            return Err(failure.with_remedy("the owner's unicast address, or its subnet"));
        }
        if let Some(served) = prefixes.iter().find(|prefix| common(prefix, host)) {
            let served = shown(served);
            let failure = wrong(format!(
                "--host {text} and --prefix {served} have addresses in common"
            ));
            return Err(
                failure.with_remedy("--host is the owner's own address, not what it serves")
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::config::AddressOrPrefix;

    fn all(texts: &[&str]) -> Vec<Prefix> {
        let read = |text: &&str| text.parse::<AddressOrPrefix>().map(|read| read.0);
        texts.iter().map(read).collect::<Result<_, _>>().unwrap()
    }

    #[test]
    fn what_is_no_host_s_own_address_is_refused() {
        let served = all(&["198.18.0.0/16", "2001:2:0:1546::/112"]);
        for good in [
            "10.0.0.1",
            "10.0.0.0/8",
            "fd00::1",
            "fe80::1",
            "2001:db8::/64",
            "169.254.0.1",
        ] {
            check(&all(&[good]), &served).unwrap();
        }
        for (bad, told) in [
            ("255.255.255.255", "the broadcast address"),
            ("0.0.0.0/0", "name no host"),
            ("::/0", "name no host"),
            ("0.0.0.0", "name no host"),
            ("128.0.0.0/1", "multicast"),
            ("224.1.0.0/16", "multicast"),
            ("ff02::/16", "multicast"),
            ("127.0.0.0/16", "loopback"),
            ("::1", "loopback"),
            (
                "198.18.0.9",
                "--prefix 198.18.0.0/16 have addresses in common",
            ),
            (
                "198.0.0.0/8",
                "--prefix 198.18.0.0/16 have addresses in common",
            ),
            ("2001:2::/32", "--prefix 2001:2:0:1546::/112 have"),
        ] {
            let failure = check(&all(&[bad]), &served).unwrap_err();
            assert_eq!(failure.code, exit::USAGE);
            assert!(failure.message.contains(told), "{failure}");
        }
        let twice = check(&all(&["10.0.0.1", "10.0.0.1"]), &served).unwrap_err();
        assert!(
            twice.message.contains("--host 10.0.0.1 is given twice"),
            "{twice}"
        );
        let twice = check(&[], &all(&["198.18.0.1", "198.18.0.1"])).unwrap_err();
        assert!(
            twice.message.contains("--prefix 198.18.0.1 is given twice"),
            "{twice}"
        );
    }
}
