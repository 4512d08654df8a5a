//! Where the own addresses of verified members and routers are: asked for, told to the host, kept.

use core::net::IpAddr;
use std::sync::Arc;

use super::super::trouble::{Trouble, TroubleKind};
use super::{Event, Link, Notice};
use crate::addr::{Prefix, is_host};
use crate::proto::What;
use crate::proto::pin::{Contest, MAX_PINS, Pin};
use crate::proto::view::Peer;
use crate::time::Instant;
use crate::wire::frame::{self, Answer, Mac, Request};
use crate::wire::{MemberId, Record};

/// What counts on a link, to the last address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Verified {
    /// The own addresses of members and routers.
    pub hosts: Vec<VerifiedHost>,
    /// The anycast addresses that members serve, and their link-layer addresses.
    pub serving: Vec<(IpAddr, Mac)>,
    /// The link-layer addresses of members that serve more, or whole prefixes.
    pub members: Vec<Mac>,
    /// Those of routers, through which anything may come.
    pub routers: Vec<Mac>,
}

/// Anycast addresses of a member that are told one by one.
const MAX_SERVING: usize = 64;

/// An address of a member or a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VerifiedHost {
    /// The unicast address.
    pub address: IpAddr,
    /// Where it is.
    pub mac: Mac,
    /// The host's kernel holds an entry of ours for it, and believes nobody else.
    pub pinned: bool,
}

impl Link {
    /// The own addresses of verified members and routers.
    pub fn pins(&self) -> impl Iterator<Item = (IpAddr, &Pin)> {
        self.pins.iter()
    }

    /// Whether a member may be a next hop; `None` while its addresses are to be proved.
    pub(in crate::node) fn may_be_hop(&self, member: MemberId) -> Option<bool> {
        if !self.strict() {
            return Some(true);
        }
        let peer = self.view.get(member);
        if peer.is_none_or(|peer| peer.records().is_empty()) {
            return Some(true);
        }
        self.pins.is_proved(member)
    }

    /// Somebody else's ARP or neighbour discovery about an address that is not anycast.
    pub(super) fn hear_of_host(&mut self, now: Instant, address: IpAddr, macs: [Mac; 2]) {
        if let Some(contest) = self.pins.handle_claim(now, address, macs) {
            self.tell_contest(now, contest);
        }
    }

    /// An answer about such an address.
    pub(super) fn hear_answer_of_host(&mut self, now: Instant, answer: &Answer) {
        if let Some(contest) = self.pins.handle_answer(now, answer) {
            self.tell_contest(now, contest);
        }
    }

    /// This host's own kernel asks for such an address.
    pub(super) fn want_host(&mut self, request: &Request) {
        self.pins.handle_question(request.target);
    }

    fn tell_contest(&mut self, now: Instant, contest: Contest) {
        let trouble = Trouble {
            member: Some(contest.member),
            mac: Some(contest.mac),
            address: Some(contest.address),
            ..Trouble::new(TroubleKind::ContestedAddress)
        };
        self.trouble(now, trouble);
    }

    /// What is due of the pins, and what has become of them.
    pub(super) fn advance_pins(&mut self, now: Instant) {
        let state = self.state.filter(|_| self.strict());
        let mut changed = false;
        match state {
            Some(state) => {
                // A peer that serves nothing goes without an event.
                let peers = self.view.peers().count();
                changed = core::mem::take(&mut self.unpinned) || self.pinned_of != peers;
                if changed {
                    self.pinned_of = peers;
                    self.pins.update(now, &self.view, state.resolves());
                }
                self.pins.handle_timeout(now);
            }
            None if self.pins.is_empty() => {}
            None => self.pins.clear(),
        }
        let news = self.pins.take_news();
        for (address, mac) in news.entries {
            if !self.pins_here(address) && mac.is_some() {
                continue;
            }
            let link = self.id;
            self.events
                .push_back(Event::Neighbour { link, address, mac });
        }
        for target in news.questions {
            self.ask_for_host(target);
        }
        if !changed && news.members.is_empty() && !self.told_of_none() {
            return;
        }
        if let Some(routing) = &mut self.routing {
            for id in news.members {
                routing.notice(Notice::Peer(id));
            }
        }
        let verified = self.verified();
        if verified != *self.verified {
            self.verified = Arc::new(verified);
            let (link, verified) = (self.id, Arc::clone(&self.verified));
            self.events.push_back(Event::Verified { link, verified });
        }
    }

    /// What was told of those that count is not true any more: nobody does.
    fn told_of_none(&self) -> bool {
        self.pins.is_empty() && *self.verified != Verified::default()
    }

    /// Whether this host's kernel gets an entry for an address from here. A router's next hops are
    /// looked after with its routes.
    fn pins_here(&self, address: IpAddr) -> bool {
        let resolves = self.state.is_some_and(|state| state.resolves());
        let hop = |(at, pin): (IpAddr, &Pin)| at == address && pin.serves;
        resolves && !(self.routing.is_some() && self.pins.iter().any(hop))
    }

    fn ask_for_host(&mut self, target: IpAddr) {
        let Some(state) = self.state.filter(|state| state.resolves()) else {
            return;
        };
        let source = match target {
            IpAddr::V4(_) => state.ipv4.map(IpAddr::V4),
            IpAddr::V6(_) => state.ipv6.map(IpAddr::V6),
        };
        let frame = source.and_then(|source| frame::request(state.mac, source, target));
        self.frames.extend(frame.map(|frame| (What::Proof, frame)));
    }

    fn verified(&self) -> Verified {
        let proved = self.pins.iter().filter(|(_, pin)| pin.is_proved());
        let host = |(at, (address, pin)): (usize, (IpAddr, &Pin))| VerifiedHost {
            address,
            mac: pin.mac,
            pinned: at < MAX_PINS && self.pins_here(address),
        };
        let hosts: Vec<_> = proved.enumerate().map(host).collect();
        let counts = |peer: &&Peer| !hosts.is_empty() && peer.standing().is_some();
        let peers = || self.view.peers().map(|(_, peer)| peer).filter(counts);
        let wide = |peer: &&Peer| {
            let records = peer.records();
            let prefix = |(net, _): (Prefix, Record)| !is_host(&net);
            records.len() > MAX_SERVING || records.prefixes().any(prefix)
        };
        let served = |peer: &'_ Peer| -> Vec<(IpAddr, Mac)> {
            let all = peer.records().prefixes();
            all.map(|(net, _)| (net.addr(), peer.mac())).collect()
        };
        Verified {
            serving: peers()
                .filter(|peer| !wide(peer))
                .flat_map(served)
                .collect(),
            members: peers().filter(wide).map(Peer::mac).collect(),
            routers: peers()
                .filter(|peer| peer.is_router())
                .map(Peer::mac)
                .collect(),
            hosts,
        }
    }
}
