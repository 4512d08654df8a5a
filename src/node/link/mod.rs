//! One link of a host: the machines side by side, and how they feed each other.

mod addresses;
mod former;
mod heard;
mod identity;
mod input;
mod moved;
mod pins;
mod proxy;
mod refused;
mod routing;
mod send;
mod serving;
mod strangers;
mod takeover;
mod watch;

use former::Former;
pub use heard::Heard;
use identity::{identity, nonce_secret};
pub(super) use input::Host;
pub(super) use moved::Legacy;
pub use pins::{Verified, VerifiedHost};
pub(super) use routing::{Elsewhere, Notice};
use send::{statement_message, what};

use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::trouble::{Trouble, Troubles};
use super::{Config, Event, LinkId, LinkState};
use crate::addr::{Class, Prefix};
use crate::proto::member::{Identity, Member, MemberEvent, Speech};
use crate::proto::ownership::{self, Candidate, Own, Ownership};
use crate::proto::pin::Pins;
use crate::proto::random::Random;
use crate::proto::resolver::{self, Resolver};
use crate::proto::responder::Responder;
use crate::proto::strangers::Strangers;
use crate::proto::trust::{Credentials, Mode, Surroundings};
use crate::proto::view::{Peer, View};
use crate::proto::{Timing, What, earliest};
use crate::time::{Duration, Instant};
use crate::wire::{MemberId, Message};
use moved::Moved;
use refused::RefusedPeers;
use routing::{Refusals, Routing};

/// Answers to a query are spread over this span, or over a quarter of a hello interval where
/// that is shorter.
const MAX_RESPONSE: Duration = Duration::from_millis(100);

/// One link of a host.
#[derive(Debug, Clone)]
pub struct Link {
    id: LinkId,
    state: Option<LinkState>,
    class: Class,
    timing: Timing,
    epoch: u64,
    queries: u32,
    member: Member,
    credentials: Option<Arc<Credentials>>,
    former: Option<Former>,
    view: View,
    mode: Mode,
    /// What this host knows of the addresses on the link; `None` where nobody has told.
    around: Option<Surroundings>,
    pins: Pins,
    /// What members say of themselves may have changed since the pins were looked at.
    unpinned: bool,
    /// How many peers there were then.
    pinned_of: usize,
    /// What the host was told last of those that count.
    verified: Arc<Verified>,
    /// The epoch and counter of the last query of each sender that was verified.
    askers: BTreeMap<MemberId, (u64, u32)>,
    ownership: Ownership,
    responder: Responder,
    resolver: Option<Resolver>,
    strangers: Strangers,
    moved: Moved,
    /// Since when this host hears the link.
    started: Option<Instant>,
    /// This host is a router here.
    routing: Option<Routing>,
    refusals: Refusals,
    refused_peers: RefusedPeers,
    troubles: Troubles,
    /// What this host itself does that others will not take.
    own_troubles: Vec<Trouble>,
    /// When troubles that go on are noted again.
    watch_at: Option<Instant>,
    /// Who owns what has to be worked out again.
    stale: bool,
    /// When one of the machines has something to do.
    due: Option<Instant>,
    frames: VecDeque<(What, Vec<u8>)>,
    events: VecDeque<Event>,
}

impl Link {
    pub(super) fn new(
        id: LinkId,
        state: LinkState,
        config: &Config,
        secret: [u8; 32],
        epoch: u64,
    ) -> Self {
        let credentials = config.credentials.clone();
        let identity = identity(id, &state, &config.name, credentials.as_deref());
        let nonces = nonce_secret(&secret, id, epoch);
        let mut view = View::new(config.class.clone(), config.limits, config.timing, nonces);
        view.set_strict(config.trust == Mode::Enforce);
        view.ask(MemberId::EVERYBODY);
        let mut member = Member::new(identity, config.timing, secret, epoch);
        member.set_name(config.told_name.clone());
        Self {
            id,
            state: Some(state),
            class: config.class.clone(),
            timing: config.timing,
            epoch,
            queries: 0,
            member,
            credentials,
            former: None,
            view,
            mode: config.trust,
            around: None,
            pins: Pins::default(),
            unpinned: false,
            pinned_of: 0,
            verified: Arc::default(),
            askers: BTreeMap::new(),
            ownership: Ownership::default(),
            responder: Responder::default(),
            resolver: config.client.then(Resolver::default),
            strangers: Strangers::default(),
            moved: Moved::default(),
            started: None,
            routing: None,
            refusals: Refusals::default(),
            refused_peers: RefusedPeers::default(),
            troubles: Troubles::default(),
            own_troubles: Vec::new(),
            watch_at: None,
            stale: false,
            due: None,
            frames: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// The link's state; `None` when it is down.
    pub fn state(&self) -> Option<&LinkState> {
        self.state.as_ref()
    }

    /// This host as a member.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// Whether nothing is served and nothing is left to say.
    pub(super) fn is_idle(&self) -> bool {
        self.former.is_none() && self.member.is_idle()
    }

    /// The other members.
    pub fn peers(&self) -> impl Iterator<Item = (MemberId, &Peer)> {
        self.view.peers()
    }

    /// The members that could act for `target`, best rank first.
    pub fn ranks(&self, target: IpAddr) -> Vec<Candidate> {
        ownership::ranks(target, self.own(), &self.view)
    }

    /// The owner of each prefix that is served on the link.
    pub fn owners(&self) -> impl Iterator<Item = (Prefix, Candidate)> {
        let all = (!self.takes_part()).then(|| ownership::owners(self.own(), &self.view));
        let known = self.takes_part().then(|| self.ownership.owners());
        all.into_iter().flatten().chain(known.into_iter().flatten())
    }

    /// The owner of a prefix that is served on the link.
    pub fn owner(&self, prefix: Prefix) -> Option<Candidate> {
        self.ownership.owner(prefix)
    }

    /// Another member.
    pub fn peer(&self, id: MemberId) -> Option<&Peer> {
        self.view.get(id)
    }

    /// Grows whenever a router comes to the link, goes or has other addresses.
    pub fn router_changes(&self) -> u64 {
        self.view.router_changes()
    }

    /// The client's neighbour entries.
    pub fn neighbours(&self) -> impl Iterator<Item = (IpAddr, &resolver::Entry)> {
        self.resolver.iter().flat_map(Resolver::entries)
    }

    /// Whether it matters here who owns what: not on a router that serves nothing itself, and may
    /// know a million memberships.
    fn takes_part(&self) -> bool {
        self.routing.is_none() || self.resolver.is_some() || !self.member.records().is_empty()
    }

    pub(super) fn set_state(&mut self, now: Instant, state: Option<LinkState>) {
        if state == self.state {
            return;
        }
        let was_down = self.state.is_none();
        self.state = state;
        self.unpinned = true;
        let known = *self.member.identity();
        self.member.set_identity(
            now,
            state.map(|state| Identity {
                mac: state.mac,
                ipv4: state.ipv4,
                ipv6: state.ipv6,
                mtu: state.mtu,
                ..known
            }),
        );
        if state.is_none() {
            self.end_former();
            self.view.clear();
            self.started = None;
            self.moved.rests(now);
            self.ownership.stop();
            self.clear_neighbours();
            self.frames.clear();
            self.restart_routing(now, Notice::Cleared);
        } else if was_down {
            self.view.ask(MemberId::EVERYBODY);
            self.restart_routing(now, Notice::Cleared);
        }
        self.stale = true;
    }

    /// Refuses what nobody vouches for from now on, or no longer.
    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.unpinned = true;
        self.view.set_strict(mode == Mode::Enforce);
        //= docs/spec/trust.md#modes
        //# A node that switches to enforce mode MUST forget at once every member whose last statement
        //# was not verified, and query everybody.
        if mode == Mode::Enforce {
            self.forget(|peer| peer.standing().is_none());
            self.view.ask(MemberId::EVERYBODY);
        }
    }

    /// Other addresses are anycast from now on.
    pub(super) fn set_class(&mut self, class: &Class) {
        self.class = class.clone();
        self.view.set_class(class.clone());
        // Entries may lead where none should, and records be inside now that were outside.
        self.clear_neighbours();
        let outside =
            |record: crate::wire::Record| record.prefix().is_some_and(|p| !class.covers(&p));
        self.forget(|peer| peer.records().iter().any(outside));
        self.view.ask(MemberId::EVERYBODY);
        self.stale = true;
    }

    /// Whether only what somebody vouches for counts.
    fn strict(&self) -> bool {
        self.mode == Mode::Enforce
    }

    /// Forgets the members that `doubtful` names.
    pub(super) fn forget(&mut self, doubtful: impl Fn(&Peer) -> bool) {
        self.view.forget(doubtful);
        self.unpinned = true;
    }

    pub(super) fn clear_neighbours(&mut self) {
        if let Some(resolver) = &mut self.resolver {
            resolver.clear();
        }
    }

    /// Does what is due, and carries what one machine says to the others.
    pub(super) fn advance(&mut self, now: Instant, random: &mut Random, elsewhere: Elsewhere<'_>) {
        self.member.handle_timeout(now, random);
        self.drain_member(now);
        self.advance_former(now, random);
        self.view.handle_timeout(now);
        self.advance_routing(now, elsewhere);
        self.drain_view(now, elsewhere);
        if self.stale && self.takes_part() {
            self.stale = false;
            let own = own(&self.member);
            self.ownership.update(own, &self.view);
            while let Some((prefix, owner)) = self.ownership.poll_event() {
                self.events.push_back(Event::Owner {
                    link: self.id,
                    prefix,
                    owner,
                });
            }
        }
        if let Some(resolver) = &mut self.resolver {
            resolver.handle_timeout(now, &self.view);
            while let Some(install) = resolver.poll_install() {
                let (address, mac) = (install.target, install.mac);
                self.events.push_back(Event::Neighbour {
                    link: self.id,
                    address,
                    mac,
                });
            }
        }
        while let Some(request) = self.responder.poll_answer(now) {
            let ranked = self.rank(request.target).is_some();
            if ranked || self.proxy_place(request.target, elsewhere).is_some() {
                self.answer(now, &request);
            }
        }
        self.advance_moved(now, elsewhere);
        self.announce(now, elsewhere);
        self.advance_strangers(now, elsewhere);
        self.watch(now);
        self.advance_pins(now);
        while self.state.is_some()
            && let Some(question) = self.view.poll_question(now)
        {
            self.ask(question);
        }
        self.plan();
    }

    pub(super) fn poll_transmit(&mut self) -> Option<(What, Vec<u8>)> {
        self.frames.pop_front()
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.state.and(self.due)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.poll_timeout().is_some_and(|due| due <= now)
    }

    /// Asks all machines when they have something to do; after every input that may change that.
    fn plan(&mut self) {
        self.due = earliest([
            self.member.poll_timeout(),
            self.former.as_ref().and_then(Former::poll_timeout),
            self.view.poll_timeout(),
            self.ownership.poll_timeout(),
            self.responder.poll_timeout(),
            self.resolver.as_ref().and_then(Resolver::poll_timeout),
            self.strangers.poll_timeout(),
            self.moved.poll_timeout(),
            self.routing.as_ref().and_then(Routing::poll_timeout),
            self.watch_at,
            self.pins.poll_timeout(),
        ]);
    }

    fn drain_member(&mut self, now: Instant) {
        let link = self.id;
        while let Some(event) = self.member.poll_event() {
            self.stale |= event != MemberEvent::Renew;
            let event = match event {
                MemberEvent::Serve(prefix) => Event::Serve { link, prefix },
                MemberEvent::Withdraw(prefix) => Event::Withdraw { link, prefix },
                MemberEvent::Rejoined => {
                    // It was this host that did not hear the others, not they that died.
                    self.ownership.stop();
                    self.view.clear();
                    self.started = None;
                    self.view.ask(MemberId::EVERYBODY);
                    self.restart_routing(now, Notice::Doubted);
                    Event::Rejoined { link }
                }
                MemberEvent::Renew => Event::Lease {
                    link,
                    prefixes: self.member.records().prefixes().map(|(p, _)| p).collect(),
                    lasts: self.timing.dead_time(),
                },
            };
            self.events.push_back(event);
        }
        while let Some(speech) = self.member.poll_transmit() {
            let member = self.member.identity().id;
            let (what, message) = match speech {
                Speech::Hello(hello) => (What::Hello, Message::Hello { member, hello }),
                Speech::Statement(statement) => statement_message(member, statement),
            };
            self.send(what, message);
        }
    }

    fn own(&self) -> Option<Own<'_>> {
        own(&self.member)
    }
}

/// This host as a candidate, once it speaks.
fn own(member: &Member) -> Option<Own<'_>> {
    let identity = member.identity();
    let candidate = Own {
        id: identity.id,
        mac: identity.mac,
        epoch: member.epoch(),
        ipv4: identity.ipv4.is_some(),
        ipv6: identity.ipv6.is_some(),
        records: member.records(),
    };
    //= docs/spec/membership.md#the-member
    //# A member MUST NOT answer for an address or serve it before it has reported.
    member.is_active().then_some(candidate)
}
