//! Whose unicast addresses are whose, as far as a host can tell by what it knows of a link.
//!
//! A certificate may name its owner's own addresses. Where it does not, an address that a member
//! states has to be one that some host of the link may have, and none that is known to be another's:
//! this host's, a gateway's, or that of another member that lives (which is for the link to know).

use core::net::IpAddr;

use super::Standing;
use crate::addr::{Prefix, host, is_host};
use crate::proto::Reason;

/// What a host knows of the addresses around it on a link.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// What is on the link, by this host's addresses and routes.
    pub subnets: Vec<Prefix>,
    /// The next hops of this host's routes.
    pub gateways: Vec<IpAddr>,
    /// This host's own addresses, on every link.
    pub own: Vec<IpAddr>,
}

impl Surroundings {
    /// Whether some host of the link may have `address`, for all that its subnets say.
    fn is_on_link(&self, address: IpAddr) -> bool {
        if is_link_local(address) {
            return true;
        }
        let around = |net: &&Prefix| net.contains(&address);
        let mut around = self.subnets.iter().filter(around).peekable();
        around.peek().is_some() && around.all(|net| !is_nobodys(net, address))
    }
}

impl Standing {
    /// Whether the certificate says that this very address is its owner's.
    pub fn names(&self, address: IpAddr) -> bool {
        self.hosts.contains(&host(address))
    }

    fn hosts_like(&self, address: IpAddr) -> impl Iterator<Item = &Prefix> {
        let same_family = move |net: &&Prefix| net.addr().is_ipv4() == address.is_ipv4();
        self.hosts.iter().filter(same_family)
    }

    /// Whether the certificate says that `address` is none of its owner's.
    pub fn rules_out(&self, address: IpAddr) -> bool {
        let fits = |net: &Prefix| net.contains(&address) && !is_nobodys(net, address);
        let mut hosts = self.hosts_like(address).peekable();
        hosts.peek().is_some() && !hosts.any(fits)
    }

    /// Whether the owner may state `address` as its own, on a link of which `around` is known.
    ///
    /// # Errors
    /// It is another's, or nobody's.
    //= docs/spec/trust.md#addresses
    //# In enforce mode, a receiver MUST refuse a statement with a unicast address that the
    //# certificate's hosts of that family do not cover.
    pub fn may_be_at(&self, address: IpAddr, around: &Surroundings) -> Result<(), Reason> {
        let refused = Err(Reason::ForeignAddress);
        if around.own.contains(&address) {
            return refused;
        }
        if self.names(address) {
            return Ok(());
        }
        let bound = self.hosts_like(address).next().is_some();
        if self.rules_out(address) {
            return refused;
        }
        //= docs/spec/trust.md#addresses
        //# Where they name none of that family, it MUST refuse one that is outside the link's
        //# subnets, and a subnet's network or broadcast address.
        if !bound && !around.is_on_link(address) {
            return refused;
        }
        //= docs/spec/trust.md#addresses
        //# A receiver MUST refuse a member's statement with the address of a next hop of its own
        //# routes, unless the certificate names that very address or has the role router.
        if around.gateways.contains(&address) && !self.roles.router {
            return refused;
        }
        Ok(())
    }
}

/// Whether `address` is the network's own or its broadcast address.
fn is_nobodys(net: &Prefix, address: IpAddr) -> bool {
    let Prefix::V4(v4) = net else { return false };
    // RFC 3021: a network of two addresses has neither.
    let has_both = v4.prefix_len() < 31 && !is_host(net);
    has_both && (address == IpAddr::V4(v4.network()) || address == IpAddr::V4(v4.broadcast()))
}

fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{AuthorityId, MemberId, Roles};

    fn standing(hosts: &[&str], router: bool) -> Standing {
        Standing {
            member: MemberId([1; 16]),
            roles: Roles {
                member: true,
                router,
            },
            prefixes: vec![],
            hosts: hosts.iter().map(|net| net.parse().unwrap()).collect(),
            limit: 1,
            authority: AuthorityId([2; 16]),
            serial: 1,
            not_before: 0,
            expires: 1,
        }
    }

    fn around() -> Surroundings {
        let all = |texts: &[&str]| texts.iter().map(|at| at.parse().unwrap()).collect();
        Surroundings {
            subnets: ["192.0.2.0/24", "2001:db8::/64", "203.0.113.4/31"]
                .map(|net| net.parse().unwrap())
                .to_vec(),
            gateways: all(&["192.0.2.1", "fe80::1"]),
            own: all(&["192.0.2.9", "2001:db8::9", "10.9.9.9"]),
        }
    }

    fn verdicts(standing: &Standing, addresses: &[(&str, bool)]) {
        for (address, fits) in addresses {
            let found = standing.may_be_at(address.parse().unwrap(), &around());
            let expected = fits.then_some(()).ok_or(Reason::ForeignAddress);
            assert_eq!(found, expected, "{address}");
        }
    }

    //= docs/spec/trust.md#addresses
    //= type=test
    //# Where they name none of that family, it MUST refuse one that is outside the link's subnets,
    //# and a subnet's network or broadcast address.
    //= docs/spec/trust.md#addresses
    //= type=test
    //# A receiver MUST refuse a member's statement with the address of a next hop of its own routes,
    //# unless the certificate names that very address or has the role router.
    #[test]
    fn without_hosts_the_links_subnets_and_neighbours_decide() {
        let shared = [
            ("192.0.2.7", true),
            ("2001:db8::7", true),
            ("fe80::7", true),
            ("203.0.113.4", true),
            ("203.0.113.5", true),
            ("192.0.2.0", false),
            ("192.0.2.255", false),
            ("198.51.100.7", false),
            ("2001:db8:0:1::7", false),
            ("192.0.2.9", false),
            ("2001:db8::9", false),
        ];
        verdicts(&standing(&[], false), &shared);
        verdicts(&standing(&[], true), &shared);
        verdicts(
            &standing(&[], false),
            &[("192.0.2.1", false), ("fe80::1", false)],
        );
        verdicts(
            &standing(&[], true),
            &[("192.0.2.1", true), ("fe80::1", true)],
        );
    }

    //= docs/spec/trust.md#addresses
    //= type=test
    //# In enforce mode, a receiver MUST refuse a statement with a unicast address that the
    //# certificate's hosts of that family do not cover.
    #[test]
    fn hosts_decide_for_their_family() {
        let hosts = standing(&["192.0.2.7/32", "198.51.100.0/24", "192.0.2.0/28"], false);
        verdicts(
            &hosts,
            &[
                ("192.0.2.7", true),
                ("198.51.100.7", true),
                ("198.51.100.0", false),
                ("198.51.100.255", false),
                ("192.0.2.1", false),
                ("192.0.2.2", true),
                ("192.0.2.77", false),
                ("192.0.2.9", false),
                ("2001:db8::7", true),
                ("2001:db8:0:1::7", false),
            ],
        );
        let gateway = standing(&["192.0.2.1/32", "192.0.2.9/32"], false);
        verdicts(&gateway, &[("192.0.2.1", true), ("192.0.2.9", false)]);
    }
}
