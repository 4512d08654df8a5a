//! What comes in by a link, and which machine it is for.

use core::net::IpAddr;
use std::sync::Arc;

use super::super::trouble::{Trouble, TroubleKind};
use super::heard::Concerns;
use super::{Elsewhere, Heard, Link};
use crate::proto::random::Random;
use crate::proto::trust::{Mode, Signed, Standing, Trust};
use crate::proto::view::Source;
use crate::proto::{Counters, Reason, What};
use crate::time::Instant;
use crate::wire::frame::{Answer, Request};
use crate::wire::{MemberId, Message, Query};

/// What a frame was used as, or why it was not; no reason where it never concerned anycast.
pub(super) type Used = Result<What, Option<Reason>>;

/// Senders whose last query is remembered.
const ASKERS: usize = 1024;

/// What a host has for all its links.
#[derive(Debug)]
pub(in crate::node) struct Host<'a> {
    pub(in crate::node) random: &'a mut Random,
    pub(in crate::node) trust: &'a mut Trust,
    pub(in crate::node) counters: &'a mut Counters,
    pub(in crate::node) expires: &'a mut Option<u64>,
    pub(in crate::node) elsewhere: Elsewhere<'a>,
}

impl Link {
    pub(in crate::node) fn handle_frame(
        &mut self,
        now: Instant,
        frame: &Heard,
        outgoing: bool,
        host: Host<'_>,
    ) -> Used {
        let used = self.take(now, frame, outgoing, host);
        if !outgoing {
            self.judge(now, frame, &used);
        }
        // A proof of life, and the second copy of anything, bring nothing forward.
        if !matches!(used, Ok(What::Hello) | Err(Some(Reason::Duplicate))) {
            self.plan();
        }
        used
    }

    fn take(&mut self, now: Instant, frame: &Heard, outgoing: bool, host: Host<'_>) -> Used {
        if self.state.is_none() {
            return Err(Some(Reason::NoLink));
        }
        match frame.0.as_ref().map_err(|reason| *reason)? {
            Concerns::Responder(request) => {
                let elsewhere = host.elsewhere;
                let claims = !outgoing && self.class.contains(request.source);
                let judged = match claims {
                    true => self.handle_claim(now, request.source, request.mac),
                    false => Ok(()),
                };
                if self.class.contains(request.target) {
                    return self.handle_request(now, request, outgoing, host.random, elsewhere);
                }
                if outgoing {
                    self.want_host(request);
                } else if !claims {
                    self.hear_of_host(now, request.source, [request.mac; 2]);
                }
                Err(judged.err())
            }
            Concerns::Resolver(answer) if self.class.contains(answer.target) && !outgoing => {
                self.handle_answer(now, answer)
            }
            Concerns::Resolver(answer) if !outgoing => {
                self.hear_answer_of_host(now, answer);
                Err(None)
            }
            Concerns::Member(source, message, signed) if !outgoing => {
                //= docs/spec/membership.md#header
                //# An ignored message MUST change nothing but a counter, and what people are told of
                //# its sender.
                let message = message.as_ref().map_err(|reason| Some(*reason))?;
                let used = self.handle_message(now, *source, message, signed.as_ref(), host);
                // It was asked something, and may be known as a member soon.
                if let Err(Some(Reason::Unchallenged | Reason::UnknownMember)) = used {
                    self.strangers.acquaint(now, source.mac);
                }
                used
            }
            Concerns::Stray(_, reason) if !outgoing => Err(Some(*reason)),
            _ => Err(None),
        }
    }

    fn handle_request(
        &mut self,
        now: Instant,
        request: &Request,
        outgoing: bool,
        random: &mut Random,
        elsewhere: Elsewhere<'_>,
    ) -> Used {
        if outgoing || request.mac == self.member.identity().mac {
            if request.is_for_duplicates() {
                return Err(Some(Reason::AddressProbe));
            }
            let Some(resolver) = &mut self.resolver else {
                return Err(None);
            };
            resolver
                .handle_question(now, request.target)
                .map_err(Some)?;
            return Ok(What::Question);
        }
        //= docs/spec/link.md#answers
        //# A member MUST NOT answer a probe for duplicates by a member that serves the address.
        if request.is_for_duplicates() && self.serves(request.mac, request.target) {
            return Err(Some(Reason::AddressProbe));
        }
        if request.is_probe() && request.destination != self.member.identity().mac {
            return Err(None);
        }
        let ranks = self.ranks(request.target);
        if self.routing.is_some() && !request.is_for_duplicates() {
            self.responder.remember(now, request.target);
            if self.hear_forwarder(now, request, elsewhere) {
                return Err(Some(Reason::NotMyTurn));
            }
        }
        let place = self.proxy_place(request.target, elsewhere);
        if place.is_some() {
            self.note_held(request.target);
        }
        let rank = match self.rank(request.target) {
            Some(at) => at + 1,
            //= docs/spec/router.md#proxy
            //# The routers of a link that have a route to an address that no member on the link serves
            //# MUST answer for it as members do, the forwarder as the member of rank 1 and each
            //# further one, in the order of the election, as one of the next rank.
            None if ranks.is_empty() && place.is_some() => place.unwrap_or_default() + 1,
            //= docs/spec/router.md#proxy
            //# Where members on the link serve it too, the forwarder alone MUST answer, as one of the
            //# lowest rank.
            None if place == Some(0) => (ranks.len() + 1).max(3),
            //= docs/spec/link.md#answers
            //# A host MUST NOT answer for an address that it does not serve.
            None => return Err(Some(Reason::NotServed)),
        };
        self.responder
            .handle_request(now, request, rank, random)
            .map_err(Some)?;
        //= docs/spec/link.md#answers
        //# A probe for duplicates MUST be answered as any other request, so that a host that is no
        //# member finds the address in use.
        self.answer(now, request);
        self.answered(now, request, rank);
        Ok(What::Request)
    }

    fn handle_answer(&mut self, now: Instant, answer: &Answer) -> Used {
        let judged = self.handle_answer_as_claim(now, answer);
        self.hear_announced(answer);
        let Some(resolver) = self
            .resolver
            .as_mut()
            .filter(|_| judged != Err(Reason::ForeignMac))
        else {
            return Err(judged.err());
        };
        resolver
            .handle_answer(now, answer, &self.view)
            .map_err(Some)?;
        Ok(What::Answer)
    }

    fn handle_message(
        &mut self,
        now: Instant,
        source: Source,
        message: &Message,
        signed: Option<&Signed>,
        mut host: Host<'_>,
    ) -> Used {
        //= docs/spec/membership.md#header
        //# A receiver MUST ignore a message that carries its own member id and comes from its own
        //# link-layer address.
        let former = self
            .former
            .as_ref()
            .map(|former| former.member.identity().id);
        let (own, sender) = (*self.member.identity(), message.sender());
        if sender == own.id || Some(sender) == former {
            let foreign = source.mac != own.mac || self.is_foreign(message);
            if foreign {
                let trouble = Trouble {
                    member: Some(sender),
                    mac: Some(source.mac),
                    address: Some(source.address),
                    ..Trouble::new(TroubleKind::SameIdentity)
                };
                self.trouble(now, trouble);
            }
            // A host that has the same id is another one that serves the same.
            if source.mac == own.mac || sender != own.id {
                return Err(Some(Reason::OwnId));
            }
        }
        let (what, result) = match message {
            Message::Statement {
                member, statement, ..
            } => {
                let view = &self.view;
                let own = self.member.identity();
                //= docs/spec/membership.md#statement
                //# A receiver MUST refuse a statement that states an address which no other host of the
                //# link can have: a loopback, group or broadcast address, one of the class, or one of
                //# its own.
                let ipv4 = statement.ipv4.filter(|at| Some(*at) == own.ipv4);
                let ipv6 = statement.ipv6.filter(|at| Some(*at) == own.ipv6);
                let taken = ipv4.map(IpAddr::V4).or(ipv6.map(IpAddr::V6));
                let mut glance = view.glance(source, *member, statement);
                if let Some(address) = taken.filter(|_| glance.is_ok()) {
                    self.tell_foreign(now, source, *member, address);
                    glance = Err(match self.strict() {
                        true => Reason::ForeignAddress,
                        false => Reason::ForeignSource,
                    });
                }
                let vouched = glance.and_then(|()| host.vouch(now, source, message, signed));
                let handled = vouched.and_then(|standing| {
                    let standing = standing.as_ref();
                    let stated = (*member, statement);
                    let displaces = self.judge_stated(now, source, stated, standing, &mut host)?;
                    let handled = self
                        .view
                        .handle_statement(now, source, *member, statement, standing);
                    self.unpinned |= handled.is_ok();
                    if handled.is_ok() && displaces.0 {
                        self.displace(source, *member);
                    }
                    if handled.is_err() && standing.is_some() {
                        host.trust.regret(message);
                    }
                    handled
                });
                if handled.is_ok() {
                    self.note_skipped(now, *member, statement, host.counters);
                }
                (super::what(statement), handled)
            }
            Message::Hello { member, hello } => (
                What::Hello,
                self.view.handle_hello(now, source, *member, hello),
            ),
            Message::Query { query, .. } => {
                let me = self.member.identity().id;
                if let Some(former) = &mut self.former
                    && [former.member.identity().id, MemberId::EVERYBODY].contains(&query.target)
                {
                    // It is about to leave: whether somebody vouches for the asker is no matter.
                    let heard = former.member.handle_query(now, query, true, host.random);
                    if query.target != MemberId::EVERYBODY {
                        return heard.map(|()| What::Query).map_err(Some);
                    }
                }
                if query.target != me && query.target != MemberId::EVERYBODY {
                    return Err(None);
                }
                let handled = self.handle_query(now, source, (message, query), signed, host);
                (What::Query, handled)
            }
            //= docs/spec/membership.md#header
            //# A receiver MUST ignore a message of an unknown type or authentication type.
            Message::Unknown { .. } => return Err(Some(Reason::UnknownMessage)),
        };
        if let Err(reason @ (Reason::TableFull | Reason::MemberLimit | Reason::LinkLimit)) = result
        {
            self.refuse(now, message.sender(), reason);
        }
        result.map(|()| what).map_err(Some)
    }

    /// A query that concerns this host. In enforce mode it is answered whoever asks; but those that
    /// somebody vouches for have room of their own, and count once.
    fn handle_query(
        &mut self,
        now: Instant,
        source: Source,
        (message, query): (&Message, &Query),
        signed: Option<&Signed>,
        mut host: Host<'_>,
    ) -> Result<(), Reason> {
        self.member.could_answer(query)?;
        let strict = host.trust.mode() == Mode::Enforce;
        let (asker, this) = (message.sender(), (query.epoch, query.counter));
        //= docs/spec/trust.md#queries
        //# In enforce mode, a member MUST refuse a signed query whose epoch and counter are not larger
        //# than the last ones of that sender.
        let newest = self.askers.get(&asker).filter(|_| strict);
        if signed.is_some() && newest.is_some_and(|newest| this <= *newest) {
            return Err(Reason::Replay);
        }
        let vouched = match host.vouch(now, source, message, signed) {
            Ok(standing) => standing.is_some(),
            // What is asked is no secret; only whose question has to wait.
            Err(reason) => {
                host.counters.count_doubted(reason);
                false
            }
        };
        if strict && vouched {
            if self.askers.len() >= ASKERS {
                self.askers.pop_first();
            }
            self.askers.insert(asker, this);
        }
        let vouched = vouched || !strict;
        self.member.handle_query(now, query, vouched, host.random)
    }
}

impl Host<'_> {
    /// What the sender of a statement or a query was verified to be allowed; `None` where it was
    /// not, and that is no reason to refuse it.
    ///
    /// # Errors
    /// Why it is refused.
    fn vouch(
        &mut self,
        now: Instant,
        source: Source,
        message: &Message,
        signed: Option<&Signed>,
    ) -> Result<Option<Arc<Standing>>, Reason> {
        let mode = self.trust.mode();
        if mode == Mode::Off {
            return Ok(None);
        }
        match self.trust.check(now, source.mac, message, signed) {
            Ok(standing) => {
                let sooner = self
                    .expires
                    .map_or(standing.expires, |expires| expires.min(standing.expires));
                *self.expires = Some(sooner);
                let Message::Statement { statement, .. } = message else {
                    return Ok(Some(standing));
                };
                match standing.permits(statement) {
                    // What is not permitted of it, the view skips.
                    Err(reason) if mode == Mode::Count => {
                        self.counters.count_doubted(reason);
                        Ok(None)
                    }
                    _ => Ok(Some(standing)),
                }
            }
            Err(reason) if mode == Mode::Count => {
                self.counters.count_doubted(reason);
                Ok(None)
            }
            //= docs/spec/trust.md#signatures
            //# In enforce mode, a receiver MUST refuse a report or an anchor that is not signed, whose
            //# signature is not that of its certificate's key, or whose certificate no authority that
            //# it trusts has signed.
            Err(reason) => Err(reason),
        }
    }
}
