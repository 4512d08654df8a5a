//! Who serves on when this host leaves a prefix: what has to be known before it may.

use core::net::IpAddr;

use super::link::Link;
use super::{Elsewhere, LinkId, Node};
use crate::addr::Prefix;
use crate::proto::view::Peer;
use crate::time::Instant;
use crate::wire::MemberId;

/// Who is left for a prefix on a link.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remaining {
    /// Other members that serve all of it.
    pub members: Vec<MemberId>,
    /// Those that serve it too, but are about to leave.
    pub draining: Vec<MemberId>,
    /// This host stands in here for members that it knows elsewhere.
    pub elsewhere: bool,
    /// Routers of the link, which may know members elsewhere: this host cannot tell.
    pub routers: Vec<MemberId>,
}

impl Remaining {
    /// Whether somebody is known to take over.
    pub fn takes_over(&self) -> bool {
        self.elsewhere || !self.members.is_empty()
    }
}

impl Node {
    /// Who is left on each link on which this host serves `prefix` now.
    pub fn remaining(&self, prefix: Prefix) -> Vec<(LinkId, Remaining)> {
        let served = |link: &Link| {
            let member = link.member();
            let speaks = link.state().is_some_and(|state| match prefix {
                Prefix::V4(_) => state.ipv4.is_some(),
                Prefix::V6(_) => state.ipv6.is_some(),
            });
            speaks && member.is_active() && member.records().get(&prefix).is_some()
        };
        let serving = self.links.iter().filter(|(_, link)| served(link));
        serving
            .map(|(id, link)| {
                let mut remaining = Remaining {
                    elsewhere: self.stands_in(*id, prefix.network()),
                    ..Remaining::default()
                };
                for (member, peer) in link.peers() {
                    match serves_all(peer, prefix) {
                        Some(true) => remaining.draining.push(member),
                        Some(false) => remaining.members.push(member),
                        None => {}
                    }
                    if peer.is_router() {
                        remaining.routers.push(member);
                    }
                }
                (*id, remaining)
            })
            .collect()
    }

    /// Whether this host answers on a link for members of `target` that it knows elsewhere.
    pub fn stands_in(&self, link: LinkId, target: IpAddr) -> bool {
        let elsewhere = Elsewhere {
            router: self.router.as_ref(),
            remote: &self.remote,
        };
        let link = self.links.get(&link);
        link.is_some_and(|link| link.stands_in(target, elsewhere))
    }

    /// Stops serving all of `prefixes` that are served, in one statement: as [`Node::leave`].
    pub fn leave_all(&mut self, now: Instant, prefixes: &[Prefix]) {
        for prefix in prefixes.iter().map(Prefix::trunc) {
            self.joined.remove(&prefix);
        }
        self.settle_serving(now);
        self.handle_timeout(now);
    }
}

/// Whether a peer that serves every address of the prefix is about to leave it; `None`: it does
/// not, or has no address of that family to serve it from.
fn serves_all(peer: &Peer, prefix: Prefix) -> Option<bool> {
    let speaks = match prefix {
        Prefix::V4(_) => peer.ipv4().is_some(),
        Prefix::V6(_) => peer.ipv6().is_some(),
    };
    let wider = (0..=prefix.prefix_len()).rev().filter(|_| speaks);
    let mut records = wider.filter_map(|length| {
        let around = Prefix::new(prefix.addr(), length).ok()?;
        peer.records().get(&around.trunc())
    });
    Some(records.next()?.draining)
}
