//! The election: which of a link's routers asks, and which of them stands in for members elsewhere.
//!
//! | | I am the lowest | another is lower | my start-up query is due | my query is due |
//! |---|---|---|---|---|
//! | silent (not reported yet) | – | – | ask | – |
//! | forwarder, querier | – | → other | ask | ask, plan the next |
//! | other | → forwarder | – | ask | plan the next |
//!
//! Every router hears the same routers and takes the same one for the forwarder of a family: the
//! live one with the lowest unicast address of that family on the link. It asks (querier, as in RFC
//! 3376 §6.6.2) and answers for addresses whose members are elsewhere (forwarder). Nothing is said
//! for it: a router that dies or leaves is no longer heard, and the next one takes over then.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::VecDeque;

use super::view::View;
use crate::time::{Duration, Instant};
use crate::wire::MemberId;

/// Between the two questions that a router begins with (a member that missed the first one and
/// the answer is heard by its hello, mostly, before the second).
pub const STARTUP_INTERVAL: Duration = Duration::from_secs(1);

/// An address family, where a link has one of each thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of `address`.
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

/// This host as a router of the link, once it has reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnRouter {
    /// Its id.
    pub id: MemberId,
    /// Its IPv4 unicast address.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 unicast address.
    pub ipv6: Option<Ipv6Addr>,
}

/// Who stands in for members elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Forwarder {
    /// Its id.
    pub id: MemberId,
    /// It is this host.
    pub own: bool,
}

/// A question to everybody that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum General {
    /// The router has lost its table: for everything.
    Refresh,
    /// Who lives, and what time it is; who is not known is asked for more then.
    Anchor,
}

/// The election of one link.
#[derive(Debug, Clone)]
pub struct Election {
    interval: Duration,
    /// The routers of each family, the forwarder first.
    line: [Vec<Forwarder>; 2],
    startup: VecDeque<General>,
    query_at: Option<Instant>,
    events: VecDeque<(Family, Option<Forwarder>)>,
}

impl Election {
    /// A router that asks every `interval` when it is the querier.
    pub fn new(interval: Duration) -> Self {
        Self {
            interval,
            line: [Vec::new(), Vec::new()],
            startup: VecDeque::new(),
            query_at: None,
            events: VecDeque::new(),
        }
    }

    /// The link came up, or this host has forgotten what it heard there.
    pub fn start(&mut self, now: Instant) {
        //= docs/spec/router.md#recovery
        //# A router that starts, or has lost its table, MUST query everybody twice, the first time
        //# with the flag refresh.
        self.startup = VecDeque::from([General::Refresh, General::Anchor]);
        self.query_at = Some(now);
    }

    /// The link went down: nobody is there.
    pub fn stop(&mut self) {
        self.startup.clear();
        self.query_at = None;
        self.set([Vec::new(), Vec::new()]);
    }

    /// Looks who the routers of the link are.
    pub fn update(&mut self, own: Option<OwnRouter>, view: &View) {
        let line = |family: Family| {
            let address = |ipv4: Option<Ipv4Addr>, ipv6: Option<Ipv6Addr>| match family {
                Family::V4 => ipv4.map(IpAddr::from),
                Family::V6 => ipv6.map(IpAddr::from),
            };
            let me = own.and_then(|own| Some((address(own.ipv4, own.ipv6)?, own.id, true)));
            let others = view.peers().filter(|(_, peer)| peer.is_router());
            let others = others
                .filter_map(|(id, peer)| Some((address(peer.ipv4(), peer.ipv6())?, id, false)));
            //= docs/spec/router.md#election
            //# The forwarder of a family MUST be the live router with the lowest unicast address of
            //# that family on the link; of equal addresses, the one with the lower id.
            let mut all: Vec<_> = others.chain(me).collect();
            all.sort_unstable();
            let line = all.into_iter().map(|(_, id, own)| Forwarder { id, own });
            line.collect()
        };
        self.set(Family::ALL.map(line));
    }

    fn set(&mut self, line: [Vec<Forwarder>; 2]) {
        for (at, family) in Family::ALL.into_iter().enumerate() {
            let first = line[at].first().copied();
            if self.line[at].first().copied() != first {
                self.events.push_back((family, first));
            }
        }
        self.line = line;
    }

    /// The forwarder of `family`.
    pub fn forwarder(&self, family: Family) -> Option<Forwarder> {
        self.line[family as usize].first().copied()
    }

    /// This host's place among the routers of `family`; the forwarder's is 0.
    pub fn place(&self, family: Family) -> Option<usize> {
        self.line[family as usize]
            .iter()
            .position(|router| router.own)
    }

    /// The routers of `family`, the forwarder first.
    pub fn routers(&self, family: Family) -> impl Iterator<Item = MemberId> {
        self.line[family as usize].iter().map(|router| router.id)
    }

    /// The querier: the forwarder of IPv4, or of IPv6 where no router has an IPv4 address.
    pub fn querier(&self) -> Option<Forwarder> {
        self.forwarder(Family::V4).or(self.forwarder(Family::V6))
    }

    /// How often the querier asks.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// The question that is due at `now`.
    pub fn poll_query(&mut self, now: Instant) -> Option<General> {
        if self.query_at.is_none_or(|at| now < at) {
            return None;
        }
        let startup = self.startup.pop_front();
        let wait = if self.startup.is_empty() {
            self.interval
        } else {
            STARTUP_INTERVAL
        };
        self.query_at = Some(now + wait);
        //= docs/spec/router.md#election
        //# The querier MUST query everybody every 125 s, with the flag anchor.
        let general = || self.querier().filter(|querier| querier.own);
        startup.or_else(|| general().map(|_| General::Anchor))
    }

    /// When [`Self::poll_query`] has something to ask.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.query_at
    }

    /// Which family has another forwarder, oldest first.
    pub fn poll_event(&mut self) -> Option<(Family, Option<Forwarder>)> {
        self.events.pop_front()
    }
}
