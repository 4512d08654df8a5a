//! What this host's own kernel, and other tools on it, do to the class: told as links' troubles are.
//!
//! An anycast address that another tool has put on an interface (by hand, by a crash of keepalived,
//! by a manager's profile) is one of those. The rules of the links keep the kernel from answering for
//! it beside the ranks; that somebody should take it off is for people to know.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Kernel, links};
use crate::linux::netlink::Link;
use crate::node::trouble::{Course, Interface, Trouble, TroubleKind};
use crate::time::Instant;

impl Kernel {
    /// Notes a trouble of the whole host; people are told when it begins, and once a minute while it
    /// goes on.
    pub(super) fn trouble(&mut self, now: Instant, trouble: Trouble) {
        if let Some(trouble) = self.troubles.note(now, trouble) {
            let kind = trouble.kind.as_str();
            tracing::warn!(kind, "{trouble}");
        }
    }

    /// The troubles of the whole host, in words and as such.
    pub fn troubles(&self, now: Instant) -> impl Iterator<Item = (String, &Trouble, &Course)> {
        self.troubles.current(now).map(|(trouble, course)| {
            let text = match self.watch.details.get(trouble) {
                Some(detail) => format!("{trouble}: {detail}"),
                None => trouble.to_string(),
            };
            (text, trouble, course)
        })
    }

    //= docs/spec/link.md#what-a-member-s-kernel-holds
    //# An address of the class that another tool has put on an interface of the host MUST be told to
    //# people with the interface's name.
    /// Looks for anycast addresses on interfaces that hamp has not put there.
    pub(super) fn find_strays(&mut self, links: &[Link]) {
        let strays: BTreeSet<Trouble> = links
            .iter()
            .flat_map(|link| self.strays_of(link))
            .chain(links.iter().filter_map(|link| self.unsolicited(link)))
            .collect();
        let gone: Vec<_> = self.strays.difference(&strays).copied().collect();
        self.troubles.end(|trouble| gone.contains(trouble));
        self.strays = strays;
    }

    fn strays_of(&self, link: &Link) -> Vec<Trouble> {
        let on_lo = link.loopback;
        let held = |address| self.held.keys().any(|prefix| prefix.contains(&address));
        let saved = &self.dir.state.prefixes;
        let left = |address| saved.iter().any(|prefix| prefix.contains(&address));
        let strays = link.addresses.iter().filter(|known| {
            let address = known.address;
            let own = on_lo && (known.ours || held(address) || left(address));
            self.class.contains(address) && !own
        });
        let interface = Some(Interface::new(&link.name));
        let troubles = strays.map(|known| {
            let kind = match known.source {
                true => TroubleKind::StraySource,
                false => TroubleKind::StrayAddress,
            };
            Trouble {
                address: Some(known.address),
                interface,
                ..Trouble::new(kind)
            }
        });
        troubles.collect()
    }

    /// A link of ours with IPv6 addresses that are of no use there.
    fn unsolicited(&self, link: &Link) -> Option<Trouble> {
        let known = |at: IpAddr| at.is_ipv6() && !self.class.contains(at);
        let useless = link.up
            && self.interfaces.contains(&link.name)
            && links::lacks_link_local(link)
            && link.addresses.iter().any(|own| known(own.address));
        useless.then(|| Trouble {
            interface: Some(Interface::new(&link.name)),
            ..Trouble::new(TroubleKind::NoLinkLocal)
        })
    }

    /// Tells of the strays that are there.
    pub(super) fn tell_strays(&mut self, now: Instant) {
        for trouble in self.strays.clone() {
            self.trouble(now, trouble);
        }
    }
}
