//! One host: the machines it is configured for, on each of its links.
//!
//! A node is the only thing that a runner drives: the daemon over packet sockets, the tests in
//! virtual time, the fuzzer. Whole Ethernet frames go in and out. After each `handle_*` or
//! command, drain [`Node::poll_transmit`] and [`Node::poll_event`], then sleep until
//! [`Node::poll_timeout`].

mod departure;
mod link;
mod remaining;
mod routing;
mod serving;
pub mod trouble;
mod trust;

use core::net::{Ipv4Addr, Ipv6Addr};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

pub use crate::proto::LinkId;
pub use crate::proto::election::{Family, Forwarder};
pub use crate::proto::ownership::Candidate as Owner;
pub use crate::proto::router::{Hop, Route, Router, RouterConfig};
pub use crate::proto::view::{Change, Limits};

use crate::addr::{Class, Prefix};
use crate::proto::random::Random;
use crate::proto::rebind;
use crate::proto::trust::{CheckLimits, Credentials, Mode, PublicKey, Surroundings, Trust};
use crate::proto::{Counters, Reason, Timing, What, earliest};
use crate::time::{Duration, Instant};
use crate::wire::frame::Mac;
use crate::wire::{MemberId, Name, Scope};
use departure::Departure;
pub use departure::Kept;
use link::{Elsewhere, Host, Legacy};
pub use link::{Heard, Link, Verified, VerifiedHost};
pub use remaining::Remaining;
pub use serving::{JoinError, JoinOptions, LeaveError};
pub use trouble::{Interface, Trouble, TroubleKind};

/// Links that are gone and whose members are remembered.
const LEGACIES: usize = 16;

/// What a node is.
#[derive(Debug, Clone)]
pub struct Config {
    /// The host's name; part of its member ids as long as members have no keys.
    pub name: String,
    /// The name that it tells others; `None`: none.
    pub told_name: Option<Name>,
    /// The anycast class.
    pub class: Class,
    /// The timers it states as a member.
    pub timing: Timing,
    /// Whether it looks after its kernel's neighbour entries for the class.
    pub client: bool,
    /// How its host takes TCP connections to what it serves.
    pub tcp: rebind::member::Mode,
    /// How much it remembers of others, per link.
    pub limits: Limits,
    /// What it signs with; `None`: it has no key.
    pub credentials: Option<Arc<Credentials>>,
    /// What becomes of messages that nobody vouches for.
    pub trust: Mode,
    /// Whose certificates count.
    pub authorities: Vec<PublicKey>,
    /// How many signatures it checks a second.
    pub checks: CheckLimits,
    /// As a router, what it keeps; `None` if it is none.
    pub router: Option<RouterConfig>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            name: "localhost".into(),
            told_name: None,
            class: Class::default(),
            timing: Timing::default(),
            client: false,
            tcp: rebind::member::Mode::default(),
            limits: Limits::default(),
            credentials: None,
            trust: Mode::default(),
            authorities: Vec::new(),
            checks: CheckLimits::default(),
            router: None,
        }
    }
}

/// A link that is up, and this host's addresses on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkState {
    /// Link-layer address; all zero on a point-to-point link without link-layer addresses, where
    /// nobody asks for them by ARP or neighbour discovery.
    pub mac: Mac,
    /// IPv4 unicast address.
    pub ipv4: Option<Ipv4Addr>,
    /// IPv6 unicast address, global rather than link-local where there is one.
    pub ipv6: Option<Ipv6Addr>,
    /// The link's MTU in bytes.
    pub mtu: u16,
}

impl LinkState {
    /// Whether hosts ask for each other's link-layer addresses here.
    pub fn resolves(&self) -> bool {
        self.mac != [0; 6]
    }
}

/// A frame to send.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Transmit {
    /// Where.
    pub link: LinkId,
    /// The whole Ethernet frame.
    pub frame: Vec<u8>,
}

/// What the runner has to do, or may tell people.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// Serve `prefix` on `link`: configure it and join its groups. The gate opens with a
    /// [`Event::Lease`].
    Serve {
        /// Where.
        link: LinkId,
        /// What.
        prefix: Prefix,
    },
    /// Stop serving `prefix` on `link`: close its gate, remove it.
    Withdraw {
        /// Where.
        link: LinkId,
        /// What.
        prefix: Prefix,
    },
    /// What is served on `link` may be served for `lasts` from now on; not a moment longer
    /// without another lease, since others act then.
    Lease {
        /// Where.
        link: LinkId,
        /// All that is served there.
        prefixes: Vec<Prefix>,
        /// The dead time.
        lasts: Duration,
    },
    /// The kernel's neighbour entry for `address` on `link`: reachable at `mac`, or none.
    Neighbour {
        /// Where.
        link: LinkId,
        /// An anycast address, or a verified member's own.
        address: core::net::IpAddr,
        /// Its link-layer address.
        mac: Option<Mac>,
    },
    /// A host that is no member was answered: where the kernel's neighbour entry for its address
    /// leads elsewhere, it is out of date. The kernel has not seen the request.
    Asker {
        /// Where.
        link: LinkId,
        /// The host's unicast address.
        address: core::net::IpAddr,
        /// Its link-layer address.
        mac: Mac,
    },
    /// Who counts on `link` in enforce mode, from now on: whoever else speaks for one of these
    /// addresses is not believed. Empty in the other modes.
    Verified {
        /// Where.
        link: LinkId,
        /// Who.
        verified: Arc<Verified>,
    },
    /// Something became of another member.
    Member {
        /// Where.
        link: LinkId,
        /// Who.
        id: MemberId,
        /// What.
        change: Change,
    },
    /// A prefix has another owner.
    Owner {
        /// Where.
        link: LinkId,
        /// What.
        prefix: Prefix,
        /// Who, if anybody.
        owner: Option<Owner>,
    },
    /// The route of `prefix` is by `hops` from now on; by none, there is no route any more.
    Route {
        /// Where to.
        prefix: Prefix,
        /// How far it may be carried: [`Scope::Site`] or [`Scope::Global`].
        scope: Scope,
        /// All of them are about to leave: whoever serves the prefix elsewhere is better.
        draining: bool,
        /// The next hops, in ascending order.
        hops: Arc<[Hop]>,
    },
    /// Another router stands in for members that are not on `link`.
    Forwarder {
        /// Where.
        link: LinkId,
        /// For which addresses.
        family: Family,
        /// Who, if anybody.
        forwarder: Option<Forwarder>,
    },
    /// The router has heard everybody since it started, or woke up: a route that it has not told of
    /// is none of its own.
    Recovered,
    /// Something that a member said was not taken in for want of room.
    Refused {
        /// Where.
        link: LinkId,
        /// Whose.
        id: MemberId,
        /// Which limit it exceeds.
        reason: Reason,
    },
    /// Somebody does what people should know of; told once, and once a minute while it goes on.
    Trouble {
        /// Where.
        link: LinkId,
        /// What, and who.
        trouble: Trouble,
    },
    /// This member slept for longer than its dead time, or its link was down: it joins as new.
    Rejoined {
        /// Where.
        link: LinkId,
    },
}

/// One host.
#[derive(Debug, Clone)]
pub struct Node {
    config: Config,
    secret: [u8; 32],
    epoch: u64,
    random: Random,
    joined: BTreeMap<Prefix, JoinOptions>,
    /// What of it this host's certificate allows, where that counts.
    served: BTreeSet<Prefix>,
    departures: Vec<Departure>,
    kept: VecDeque<Kept>,
    links: BTreeMap<LinkId, Link>,
    /// What links that are gone leave to those that take their place; the last one first.
    legacies: VecDeque<Legacy>,
    trust: Trust,
    /// When the first of the members' certificates ends, in milliseconds since 1970, or earlier.
    expires: Option<u64>,
    router: Option<Router>,
    /// Prefixes of the class that others have routes for.
    remote: Vec<Prefix>,
    /// Links that this host is no router of, though it is one.
    unrouted: BTreeSet<LinkId>,
    recovered: bool,
    counters: Counters,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Node {
    /// A host without links. `secret` is 256 bits that nobody else knows; `epoch` is larger in
    /// every life of the host than in the one before (milliseconds since 1970 on Linux).
    pub fn new(config: Config, secret: [u8; 32], epoch: u64) -> Self {
        let mut text = b"hamp random seed".to_vec();
        text.extend(secret);
        let seed = u64::from_be_bytes(crate::wire::hash(&text));
        let authorities = config.authorities.iter().copied();
        let trust = Trust::new(config.trust, authorities, config.checks);
        Self {
            router: config.router.map(Router::new),
            remote: Vec::new(),
            unrouted: BTreeSet::new(),
            recovered: false,
            config,
            secret,
            epoch,
            random: Random::new(seed),
            joined: BTreeMap::new(),
            served: BTreeSet::new(),
            departures: Vec::new(),
            kept: VecDeque::new(),
            links: BTreeMap::new(),
            legacies: VecDeque::new(),
            trust,
            expires: None,
            counters: Counters::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A link came up, changed its addresses, or (`None`) went down.
    pub fn handle_link(&mut self, now: Instant, id: LinkId, state: Option<LinkState>) {
        match (self.links.get_mut(&id), state) {
            (Some(link), _) => link.set_state(now, state),
            (None, None) => return,
            (None, Some(state)) => {
                let mut link = Link::new(id, state, &self.config, self.secret, self.epoch);
                if let Some(legacy) = self.legacy_for(&link) {
                    link.succeed(now, legacy);
                }
                let routes = self.config.router.as_ref();
                link.set_router(now, routes.filter(|_| !self.unrouted.contains(&id)));
                self.links.insert(id, link);
            }
        }
        self.settle_serving(now);
        self.advance(now, id);
    }

    /// Tells what this host knows of the addresses around it on a link that is there: where nobody
    /// tells, any address may be a member's that no other member has.
    pub fn handle_surroundings(&mut self, now: Instant, id: LinkId, around: Surroundings) {
        if let Some(link) = self.links.get_mut(&id) {
            link.set_surroundings(around);
            self.advance(now, id);
        }
    }

    /// A link is gone for good; under another number, the same interface is another link.
    pub fn remove_link(&mut self, now: Instant, id: LinkId) {
        self.handle_link(now, id, None);
        if let Some(router) = &mut self.router {
            router.clear_link(id);
        }
        if let Some(link) = self.links.remove(&id) {
            // That other link has the same member, in a new life.
            self.legacies.truncate(LEGACIES - 1);
            self.legacies.push_front(link.legacy());
            self.epoch = self.epoch.max(link.member().epoch()) + 1;
        }
    }

    /// A frame was seen on a link: ARP, neighbour discovery or a message of ours. `outgoing`
    /// tells that our own kernel sent it.
    pub fn handle_frame(&mut self, now: Instant, id: LinkId, frame: &[u8], outgoing: bool) {
        self.handle_heard(now, id, &Heard::read(frame), outgoing);
    }

    /// The same for a frame that was read already.
    pub fn handle_heard(&mut self, now: Instant, id: LinkId, frame: &Heard, outgoing: bool) {
        // What is due comes first: after a long sleep this host may not act on what it believes.
        self.forget_if_due(now);
        self.advance_if_due(now, id);
        let host = Host {
            random: &mut self.random,
            trust: &mut self.trust,
            counters: &mut self.counters,
            expires: &mut self.expires,
            elsewhere: Elsewhere {
                router: self.router.as_ref(),
                remote: &self.remote,
            },
        };
        let result = match self.links.get_mut(&id) {
            Some(link) => link.handle_frame(now, frame, outgoing, host),
            None => Err(Some(Reason::NoLink)),
        };
        match result {
            // A proof of life leaves nothing to be done, and is most of what a host hears.
            Ok(What::Hello) => {
                self.counters.count_received(What::Hello);
                self.revive(now, id, frame);
            }
            Ok(what) => {
                self.counters.count_received(what);
                self.advance(now, id);
            }
            // A frame that was not used costs no more than that, unless it raised a question.
            Err(reason) => {
                reason
                    .into_iter()
                    .for_each(|reason| self.counters.count_ignored(reason));
                self.advance_if_due(now, id);
            }
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.forget_if_due(now);
        self.follow_departures(now);
        let links: Vec<_> = self.links.keys().copied().collect();
        links.into_iter().for_each(|id| self.advance(now, id));
    }

    /// Whether nothing is served and nothing is left to say.
    pub fn is_idle(&self) -> bool {
        self.transmits.is_empty() && self.links.values().all(Link::is_idle)
    }

    /// The next frame to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What to do next.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When [`Self::handle_timeout`] has something to do. May change with every other call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let links = self.links.values().map(Link::poll_timeout);
        let table = self.router.as_ref().and_then(Router::poll_timeout);
        earliest(links.chain([table, self.forget_at(), self.departures_at()]))
    }

    /// What the node is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The links, for `status`.
    pub fn links(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    /// One of the links.
    pub fn link(&self, id: LinkId) -> Option<&Link> {
        self.links.get(&id)
    }

    /// What was received, sent and ignored.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What the link that `link` takes the place of leaves to it: of several, the one with the same
    /// member id, or the last.
    fn legacy_for(&mut self, link: &Link) -> Option<Legacy> {
        let id = link.member().identity().id;
        let same = self.legacies.iter().position(|legacy| legacy.id == id);
        self.legacies.remove(same.unwrap_or(0))
    }

    fn advance_if_due(&mut self, now: Instant, id: LinkId) {
        if self.links.get(&id).is_some_and(|link| link.is_due(now)) {
            self.advance(now, id);
        }
    }

    fn advance(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let elsewhere = Elsewhere {
            router: self.router.as_ref(),
            remote: &self.remote,
        };
        link.advance(now, &mut self.random, elsewhere);
        while let Some((what, frame)) = link.poll_transmit() {
            self.counters.count_sent(what);
            self.transmits.push_back(Transmit { link: id, frame });
        }
        while let Some(event) = link.poll_event() {
            self.events.push_back(event);
        }
        self.advance_router(now, id);
    }
}
