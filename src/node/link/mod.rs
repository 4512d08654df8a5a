//! One link of a host: the machines side by side, and how they feed each other.

mod addresses;
mod former;
mod heard;
mod input;
mod routing;
mod strangers;

use former::Former;
pub use heard::Heard;
pub(super) use input::Host;
pub(super) use routing::{Elsewhere, Notice};

use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::trouble::{Course, Trouble, Troubles};
use super::{Config, Event, JoinOptions, LinkId, LinkState};
use crate::addr::{Class, Prefix};
use crate::proto::member::{Identity, Member, MemberEvent, Speech};
use crate::proto::ownership::{self, Candidate, Own, Ownership};
use crate::proto::random::Random;
use crate::proto::resolver::{self, Resolver};
use crate::proto::responder::Responder;
use crate::proto::strangers::Strangers;
use crate::proto::trust::{Credentials, Mode, Surroundings};
use crate::proto::view::{Change, Peer, Question, View};
use crate::proto::{Timing, What, earliest};
use crate::time::{Duration, Instant};
use crate::wire::frame::{self, Request};
use crate::wire::{
    Authentication, MemberId, Message, Query, Record, RecordAddress, Statement, StatementKind,
};
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
    /// The epoch and counter of the last query of each sender that was verified.
    askers: BTreeMap<MemberId, (u64, u32)>,
    ownership: Ownership,
    responder: Responder,
    resolver: Option<Resolver>,
    strangers: Strangers,
    /// Since when this host hears the link.
    started: Option<Instant>,
    /// This host is a router here.
    routing: Option<Routing>,
    refusals: Refusals,
    troubles: Troubles,
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
            askers: BTreeMap::new(),
            ownership: Ownership::default(),
            responder: Responder::default(),
            resolver: config.client.then(Resolver::default),
            strangers: Strangers::default(),
            started: None,
            routing: None,
            refusals: Refusals::default(),
            troubles: Troubles::default(),
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

    /// What others do that people should know of.
    pub fn troubles(&self, now: Instant) -> impl Iterator<Item = (&Trouble, &Course)> {
        self.troubles.current(now)
    }

    /// Notes a trouble; people are told when it begins, and once a minute while it goes on.
    pub(super) fn trouble(&mut self, now: Instant, trouble: Trouble) {
        if self.troubles.note(now, trouble) {
            let link = self.id;
            self.events.push_back(Event::Trouble { link, trouble });
        }
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

    /// Speaks with another key or certificate from now on; without, as `name`. With another key
    /// this host is another member, and the one that it was leaves soon after.
    pub(super) fn set_credentials(
        &mut self,
        now: Instant,
        name: &str,
        credentials: Option<Arc<Credentials>>,
    ) {
        let known = *self.member.identity();
        let state = LinkState {
            mac: known.mac,
            ipv4: known.ipv4,
            ipv6: known.ipv6,
            mtu: known.mtu,
        };
        let identity = identity(self.id, &state, name, credentials.as_deref());
        let before = core::mem::replace(&mut self.credentials, credentials);
        if identity.id != known.id {
            self.end_former();
            if self.member.is_active() {
                self.former = Some(Former::new(now, self.member.clone(), before));
            }
        }
        self.member.set_key(now, identity.id, identity.sealing);
        self.stale = true;
    }

    /// The member that this host was says nothing more.
    fn end_former(&mut self) {
        if let Some(former) = self.former.take() {
            self.member.outlive(&former.member);
        }
    }

    /// Refuses what nobody vouches for from now on, or no longer.
    pub(super) fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
        self.view.set_strict(mode == Mode::Enforce);
        //= docs/spec/trust.md#modes
        //# A node that switches to enforce mode MUST forget at once every member whose last statement
        //# was not verified, and query everybody.
        if mode == Mode::Enforce {
            self.forget(|peer| peer.standing().is_none());
            self.view.ask(MemberId::EVERYBODY);
        }
    }

    /// Whether only what somebody vouches for counts.
    fn strict(&self) -> bool {
        self.mode == Mode::Enforce
    }

    /// Forgets the members that `doubtful` names.
    pub(super) fn forget(&mut self, doubtful: impl Fn(&Peer) -> bool) {
        self.view.forget(doubtful);
    }

    pub(super) fn join(&mut self, now: Instant, prefix: Prefix, options: JoinOptions) {
        let record = Record {
            address: RecordAddress::Prefix(prefix),
            draining: false,
            scope: options.scope,
            preference: options.preference,
            lifetime: self.timing.dead_time(),
            serial: options.serial,
        };
        if self.member.join(now, record) {
            self.view.ask(MemberId::EVERYBODY);
        }
        self.stale = true;
    }

    pub(super) fn leave(&mut self, now: Instant, prefix: Prefix) {
        let others = ownership::ranks(prefix.network(), None, &self.view);
        // A router may know a member elsewhere, and has told others of this one.
        let routed = self.view.peers().any(|(_, peer)| peer.is_router());
        let successor = routed || others.iter().any(|other| !other.draining);
        self.member.leave(now, prefix, successor);
        if let Some(former) = &mut self.former {
            former.member.leave(now, prefix, successor);
        }
        self.stale = true;
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
        self.advance_routing(now);
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
            if ranked || self.stands_in(request.target, elsewhere) {
                self.answer(&request);
            }
        }
        self.announce(now, elsewhere);
        self.advance_strangers(now, elsewhere);
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
            self.routing.as_ref().and_then(Routing::poll_timeout),
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

    fn advance_former(&mut self, now: Instant, random: &mut Random) {
        let Some(mut former) = self.former.take() else {
            return;
        };
        former.handle_timeout(now, random);
        let member = former.member.identity().id;
        while let Some(speech) = former.poll_transmit() {
            let (what, message) = match speech {
                Speech::Hello(hello) => (What::Hello, Message::Hello { member, hello }),
                Speech::Statement(statement) => statement_message(member, statement),
            };
            let sealed = seal(former.credentials.as_deref(), message);
            self.send_payload(what, &sealed);
        }
        let done = former.is_done();
        self.former = Some(former);
        if done {
            self.end_former();
        }
    }

    /// This host's place among those that could act for `target`: the better one of two, as long as
    /// it is still known by its former key too.
    fn rank(&self, target: IpAddr) -> Option<usize> {
        //= docs/spec/trust.md#roll-over
        //# As long as a host is two members, it MUST answer a request by the better one of its ranks.
        let place = |own| {
            let ranks = ownership::ranks(target, own, &self.view);
            ranks.iter().position(|candidate| candidate.own)
        };
        let former = self.former.as_ref().and_then(Former::own);
        let former = former.and_then(|own| place(Some(own)));
        place(self.own()).into_iter().chain(former).min()
    }

    fn drain_view(&mut self, now: Instant, elsewhere: Elsewhere<'_>) {
        while let Some(event) = self.view.poll_event() {
            self.stale = true;
            if let Some(routing) = &mut self.routing {
                routing.notice(Notice::Peer(event.id));
            }
            let gone = event.gone();
            if matches!(event.change, Change::Left | Change::Dead) {
                self.strangers.acquaint(now, event.mac);
            }
            if gone.is_empty() {
                self.ownership.heard(event.id);
            } else if let Some(own) = own(&self.member) {
                let mine = |prefix: &&Prefix| own.records.get(prefix).is_some();
                let asked = || self.responder.asked();
                let mut targets: Vec<_> = gone
                    .iter()
                    .filter(mine)
                    .flat_map(|p| ownership::targets(*p, asked()))
                    .collect();
                //= docs/spec/router.md#proxy
                //# When the last member of an address on the link is gone, the forwarder MUST announce
                //# the address as a member of rank 1 does, if a host has asked for it.
                let served = |target: &IpAddr| event.before.longest_match(*target).is_some();
                let stands_in = |target: &IpAddr| self.stands_in(*target, elsewhere);
                targets.extend(asked().filter(served).filter(stands_in));
                let mut ownership = core::mem::take(&mut self.ownership);
                ownership.departed(now, event.id, targets, own, &self.view, |target| {
                    self.stands_in(target, elsewhere)
                });
                self.ownership = ownership;
            }
            if event.change == Change::Joined {
                self.ownership.heard(event.id);
            }
            let (link, id, change) = (self.id, event.id, event.change);
            self.events.push_back(Event::Member { link, id, change });
        }
    }

    fn announce(&mut self, now: Instant, elsewhere: Elsewhere<'_>) {
        let Some(own) = own(&self.member) else {
            return self.ownership.stop();
        };
        //= docs/spec/link.md#takeover
        //# A member MUST NOT announce an address for any other reason, but to defend it against a
        //# stranger.
        let mac = own.mac;
        let mut ownership = core::mem::take(&mut self.ownership);
        let stands_in = |target| self.stands_in(target, elsewhere);
        let next = || ownership.poll_announcement(now, own, &self.view, stands_in);
        let targets: Vec<_> = core::iter::from_fn(next).collect();
        self.ownership = ownership;
        for target in targets {
            let ipv6 = self.state.and_then(|state| state.ipv6);
            //= docs/spec/membership.md#transport
            //# On a link without link-layer addresses a member MUST NOT announce or answer for an
            //# address by ARP or neighbour discovery.
            if self.state.is_some_and(|state| state.resolves())
                && let Some(frame) = frame::announcement(target, mac, ipv6)
            {
                self.frames.push_back((What::Announcement, frame));
            }
        }
    }

    fn answer(&mut self, request: &Request) {
        let Some(state) = self.state else { return };
        if let Some(frame) = frame::answer(request, state.mac, state.ipv6) {
            self.frames.push_back((What::Answer, frame));
        }
    }

    fn ask(&mut self, question: Question) {
        self.queries += 1;
        let query = Query {
            epoch: self.epoch,
            counter: self.queries,
            target: question.target,
            nonce: question.nonce,
            max_response: MAX_RESPONSE.min(self.timing.hello / 4),
            refresh: self.asks_for_all(&question),
            anchor: question.anchor,
            interval: self.query_interval(),
            options: Vec::new(),
        };
        let asker = self.member.identity().id;
        let authentication = Authentication::None;
        self.send(
            What::Query,
            Message::Query {
                asker,
                query,
                authentication,
            },
        );
    }

    /// One copy on each family that the link has; the receiver drops the second.
    fn send(&mut self, what: What, message: Message) {
        let sealed = seal(self.credentials.as_deref(), message);
        self.send_payload(what, &sealed);
    }

    fn send_payload(&mut self, what: What, payload: &[u8]) {
        let Some(state) = self.state else { return };
        //= docs/spec/membership.md#transport
        //# A sender MUST send each message once on each address family that it has an address of on
        //# the link.
        let sources = [state.ipv4.map(IpAddr::from), state.ipv6.map(IpAddr::from)];
        for source in sources.into_iter().flatten() {
            self.frames
                .push_back((what, frame::message(state.mac, source, payload)));
        }
    }

    fn own(&self) -> Option<Own<'_>> {
        own(&self.member)
    }
}

/// The payload of a message, signed where there is a key.
fn seal(credentials: Option<&Credentials>, message: Message) -> Vec<u8> {
    match credentials {
        Some(credentials) => credentials.sign(message),
        None => message.encode(),
    }
}

/// This host as a candidate, once it speaks.
fn own(member: &Member) -> Option<Own<'_>> {
    let identity = member.identity();
    let candidate = Own {
        id: identity.id,
        mac: identity.mac,
        ipv4: identity.ipv4.is_some(),
        ipv6: identity.ipv6.is_some(),
        records: member.records(),
    };
    //= docs/spec/membership.md#the-member
    //# A member MUST NOT answer for an address or serve it before it has reported.
    member.is_active().then_some(candidate)
}

/// What the nonces of one link and life are drawn from.
fn nonce_secret(secret: &[u8; 32], link: LinkId, epoch: u64) -> [u8; 32] {
    let mut text = b"hamp nonce secret 1".to_vec();
    text.extend(secret);
    text.extend(link.0.to_be_bytes());
    text.extend(epoch.to_be_bytes());
    crate::wire::hash(&text)
}

/// What a statement counts as.
fn what(statement: &Statement) -> What {
    match statement.kind {
        StatementKind::Anchor => What::Anchor,
        _ => What::Report,
    }
}

fn statement_message(member: MemberId, statement: Statement) -> (What, Message) {
    let what = what(&statement);
    (
        what,
        Message::Statement {
            member,
            statement,
            authentication: Authentication::None,
        },
    )
}

/// Without a key, a member's id is a hash of its name and of its address on the link: stable over
/// restarts, so that a restarted member replaces itself.
fn identity(
    link: LinkId,
    state: &LinkState,
    name: &str,
    credentials: Option<&Credentials>,
) -> Identity {
    let without_key = || {
        let mut text = b"hamp id without key 1".to_vec();
        text.extend(state.mac);
        text.extend(name.as_bytes());
        MemberId(crate::wire::hash(&text))
    };
    let sealing = credentials.map_or(0, Credentials::sealing);
    Identity {
        id: credentials.map_or_else(without_key, Credentials::member),
        interface: link.0,
        mac: state.mac,
        ipv4: state.ipv4,
        ipv6: state.ipv6,
        mtu: state.mtu,
        sealing: u16::try_from(sealing).unwrap_or(u16::MAX),
    }
}
