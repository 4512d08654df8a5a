//! A link of a router: the election on it, its recovery, and what the router's table hears of it.

use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};

use super::Link;
use super::proxy::Proxy;
use crate::addr::Prefix;
use crate::node::Event;
use crate::proto::election::{Election, Family, Forwarder, General, OwnRouter};
use crate::proto::member::Member;
use crate::proto::router::{Router, RouterConfig};
use crate::proto::view::{Question, View};
use crate::proto::{LinkId, Reason, earliest};
use crate::time::{Duration, Instant};
use crate::wire::MemberId;

/// A router takes its table for complete after this at the latest.
const RECOVERY_LIMIT: Duration = Duration::from_secs(60);
/// An answer may take so long, its random delay and further parts included.
const ANSWER_TIME: Duration = Duration::from_millis(500);
/// How often a router looks whether its table is complete, once it may be.
const RECOVERY_STEP: Duration = Duration::from_millis(100);
/// Members whose refusals are remembered.
const MAX_REFUSED: usize = 64;
/// A refusal is told again after this.
const REFUSAL_PAUSE: Duration = Duration::from_secs(60);

/// What the host knows beyond the link.
#[derive(Debug, Clone, Copy)]
pub(in crate::node) struct Elsewhere<'a> {
    pub(in crate::node) router: Option<&'a Router>,
    /// Prefixes of the class that other routing daemons have routes for.
    pub(in crate::node) remote: &'a [Prefix],
}

impl Elsewhere<'_> {
    pub(super) fn holds(&self, link: LinkId, target: IpAddr) -> bool {
        let known = self
            .router
            .is_some_and(|router| router.leads_off(link, target));
        known || self.remote.iter().any(|prefix| prefix.contains(&target))
    }
}

/// What the table has to be told of the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum Notice {
    /// Something became of a member.
    Peer(MemberId),
    /// The link is down: nobody is there.
    Cleared,
    /// This host slept, and does not know who is there.
    Doubted,
    /// Everybody who is there has been heard.
    Recovered,
}

/// The router's side of a link.
#[derive(Debug, Clone)]
pub(super) struct Routing {
    pub(super) election: Election,
    pub(super) proxy: bool,
    pub(super) proxy_state: Proxy,
    /// The routers that the election has seen: the view's, and whether this host speaks.
    seen: Option<(u64, Option<OwnRouter>)>,
    /// The next question to everybody asks for everything.
    refresh: bool,
    notices: VecDeque<Notice>,
    started: Instant,
    recovered: bool,
    check_at: Option<Instant>,
}

impl Routing {
    fn new(config: &RouterConfig) -> Self {
        Self {
            election: Election::new(config.query_interval),
            proxy: config.proxy,
            proxy_state: Proxy::default(),
            seen: None,
            refresh: false,
            notices: VecDeque::new(),
            started: Instant::ZERO,
            recovered: true,
            check_at: None,
        }
    }

    fn start(&mut self, now: Instant) {
        self.election.start(now);
        self.started = now;
        self.recovered = false;
        self.check_at = Some(now);
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.notices.push_back(notice);
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let proxy = self.proxy_state.poll_timeout();
        earliest([self.election.poll_timeout(), self.check_at, proxy])
    }

    fn look(&mut self, member: &Member, view: &View) {
        let identity = member.identity();
        let own = member.is_active().then_some(OwnRouter {
            id: identity.id,
            ipv4: identity.ipv4,
            ipv6: identity.ipv6,
        });
        let seen = Some((view.router_changes(), own));
        if self.seen != seen {
            self.seen = seen;
            self.election.update(own, view);
        }
    }

    /// Whether the table has just become complete.
    fn recovers(&mut self, now: Instant, view: &View, dead_time: Duration) {
        if self.check_at.is_none_or(|at| now < at) {
            return;
        }
        //= docs/spec/router.md#recovery
        //# Recovery MUST NOT end before a dead time of the router has passed, nor while a question for
        //# records is unanswered or a report incomplete, and MUST end after 60 s.
        let complete = now >= self.started + dead_time && view.is_complete(now, ANSWER_TIME);
        if complete || now >= self.started + RECOVERY_LIMIT {
            self.recovered = true;
            self.check_at = None;
            self.notice(Notice::Recovered);
        } else {
            self.check_at = Some((self.started + dead_time).max(now + RECOVERY_STEP));
        }
    }
}

/// Members that were refused, and why.
#[derive(Debug, Clone, Default)]
pub(super) struct Refusals(BTreeMap<MemberId, (Reason, Instant)>);

impl Refusals {
    /// Notes a refusal, and returns whether to tell of it.
    fn note(&mut self, now: Instant, id: MemberId, reason: Reason) -> bool {
        let recent = |at: Instant| now < at + REFUSAL_PAUSE;
        if self
            .0
            .get(&id)
            .is_some_and(|(known, at)| *known == reason && recent(*at))
        {
            return false;
        }
        if self.0.len() >= MAX_REFUSED && !self.0.contains_key(&id) {
            self.0.retain(|_, (_, at)| recent(*at));
            if self.0.len() >= MAX_REFUSED {
                return false;
            }
        }
        self.0.insert(id, (reason, now));
        true
    }
}

impl Link {
    /// Becomes a router of the link, or no longer.
    pub(in crate::node) fn set_router(&mut self, now: Instant, config: Option<&RouterConfig>) {
        if self.routing.is_some() == config.is_some() {
            return;
        }
        self.member.set_router(now, config.is_some());
        self.routing = config.map(|config| {
            let mut routing = Routing::new(config);
            if self.state.is_some() {
                routing.start(now);
            }
            routing
        });
    }

    /// The forwarder of a family: who stands in for members elsewhere. None where this host is no
    /// router.
    pub fn forwarder(&self, family: Family) -> Option<Forwarder> {
        self.routing.as_ref()?.election.forwarder(family)
    }

    /// The router that asks. None where this host is no router.
    pub fn querier(&self) -> Option<Forwarder> {
        self.routing.as_ref()?.election.querier()
    }

    /// Whether this host is a router here.
    pub fn is_routed(&self) -> bool {
        self.routing.is_some()
    }

    /// Whether this host is a router here and has heard everybody since it came, or woke up.
    pub fn is_recovered(&self) -> bool {
        self.routing
            .as_ref()
            .is_none_or(|routing| routing.recovered)
    }

    /// Members of which something was refused, why, and when last.
    pub fn refused(&self) -> impl Iterator<Item = (MemberId, Reason, Instant)> {
        let refused = self.refusals.0.iter();
        refused.map(|(id, (reason, at))| (*id, *reason, *at))
    }

    pub(in crate::node) fn poll_notice(&mut self) -> Option<Notice> {
        self.routing.as_mut()?.notices.pop_front()
    }

    pub(in crate::node) fn view(&self) -> &View {
        &self.view
    }

    /// Notes that a member was refused something for want of room.
    pub(in crate::node) fn refuse(&mut self, now: Instant, id: MemberId, reason: Reason) {
        if self.refusals.note(now, id, reason) {
            let link = self.id;
            self.events.push_back(Event::Refused { link, id, reason });
        }
    }

    /// The link came up or went down, or this host has forgotten what it heard there.
    pub(super) fn restart_routing(&mut self, now: Instant, notice: Notice) {
        let up = self.state.is_some();
        if let Some(routing) = &mut self.routing {
            routing.notice(notice);
            if up {
                routing.start(now);
            } else {
                routing.election.stop();
                routing.seen = None;
                routing.recovered = true;
                routing.check_at = None;
            }
        }
    }

    /// Whether a question is the one after this router lost its table.
    pub(super) fn asks_for_all(&mut self, question: &Question) -> bool {
        let general = question.target == MemberId::EVERYBODY && !question.anchor;
        let routing = self.routing.as_mut().filter(|_| general);
        routing.is_some_and(|routing| core::mem::take(&mut routing.refresh))
    }

    /// How often this host asks as a router; zero if it is none.
    pub(super) fn query_interval(&self) -> Duration {
        let routing = self.routing.as_ref();
        routing.map_or(Duration::ZERO, |routing| routing.election.interval())
    }

    /// The election, the router's questions and its recovery.
    pub(super) fn advance_routing(&mut self, now: Instant, elsewhere: Elsewhere<'_>) {
        let Some(routing) = self.routing.as_mut().filter(|_| self.state.is_some()) else {
            return;
        };
        routing.look(&self.member, &self.view);
        match routing.election.poll_query(now) {
            Some(General::Refresh) => {
                routing.refresh = true;
                self.view.ask(MemberId::EVERYBODY);
            }
            Some(General::Anchor) => self.view.ask_who_lives(),
            None => {}
        }
        routing.recovers(now, &self.view, self.timing.dead_time());
        let events: Vec<_> = core::iter::from_fn(|| routing.election.poll_event()).collect();
        for (family, forwarder) in events {
            let link = self.id;
            self.events.push_back(Event::Forwarder {
                link,
                family,
                forwarder,
            });
            self.forwarder_changed(now, family, forwarder, elsewhere);
        }
        self.advance_proxy(now, elsewhere);
    }
}
