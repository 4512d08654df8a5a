//! What comes in by a link, and which machine it is for.

use super::heard::Concerns;
use super::{Heard, Link};
use crate::proto::random::Random;
use crate::proto::view::Source;
use crate::proto::{Reason, What};
use crate::time::Instant;
use crate::wire::frame::{Answer, Request};
use crate::wire::{MemberId, Message};

/// What a frame was used as, or why it was not; no reason where it never concerned anycast.
type Used = Result<What, Option<Reason>>;

impl Link {
    pub(in crate::node) fn handle_frame(
        &mut self,
        now: Instant,
        frame: &Heard,
        outgoing: bool,
        random: &mut Random,
    ) -> Used {
        let used = self.take(now, frame, outgoing, random);
        // A proof of life, and the second copy of anything, bring nothing forward.
        if !matches!(used, Ok(What::Hello) | Err(Some(Reason::Duplicate))) {
            self.plan();
        }
        used
    }

    fn take(&mut self, now: Instant, frame: &Heard, outgoing: bool, random: &mut Random) -> Used {
        if self.state.is_none() {
            return Err(Some(Reason::NoLink));
        }
        match frame.0.as_ref().map_err(|reason| *reason)? {
            Concerns::Responder(request) if self.class.contains(request.target) => {
                self.handle_request(now, request, outgoing, random)
            }
            Concerns::Resolver(answer) if self.class.contains(answer.target) && !outgoing => {
                self.handle_answer(now, answer)
            }
            Concerns::Member(source, message) if !outgoing => {
                //= docs/spec/membership.md#header
                //# An ignored message MUST change nothing but a counter.
                let message = message.as_ref().map_err(|reason| Some(*reason))?;
                self.handle_message(now, *source, message, random)
            }
            _ => Err(None),
        }
    }

    fn handle_request(
        &mut self,
        now: Instant,
        request: &Request,
        outgoing: bool,
        random: &mut Random,
    ) -> Used {
        if outgoing || request.mac == self.member.identity().mac {
            let Some(resolver) = &mut self.resolver else {
                return Err(None);
            };
            resolver
                .handle_question(now, request.target)
                .map_err(Some)?;
            return Ok(What::Question);
        }
        //= docs/spec/link.md#answers
        //# A member MUST NOT answer a probe for duplicate addresses (RFC 5227 §2.1.1, RFC 4862
        //# §5.4.3): sharing an anycast address is no conflict.
        if request.source.is_unspecified() {
            return Err(Some(Reason::AddressProbe));
        }
        if request.is_probe() && request.destination != self.member.identity().mac {
            return Err(None);
        }
        let ranks = self.ranks(request.target);
        let Some(rank) = ranks.iter().position(|candidate| candidate.own) else {
            //= docs/spec/link.md#answers
            //# A host MUST NOT answer for an address that it does not serve.
            return Err(Some(Reason::NotServed));
        };
        self.responder
            .handle_request(now, request, rank + 1, random)
            .map_err(Some)?;
        self.answer(request);
        Ok(What::Request)
    }

    fn handle_answer(&mut self, now: Instant, answer: &Answer) -> Used {
        let Some(resolver) = &mut self.resolver else {
            return Err(None);
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
        random: &mut Random,
    ) -> Used {
        //= docs/spec/membership.md#header
        //# A receiver MUST ignore a message that carries its own member id.
        if message.sender() == self.member.identity().id {
            return Err(Some(Reason::OwnId));
        }
        // Without keys every authentication is taken for none: what a signature says is not
        // checked, and nothing is trusted for having one.
        let (what, result) = match message {
            Message::Statement {
                member, statement, ..
            } => {
                let handled = self.view.handle_statement(now, source, *member, statement);
                (super::what(statement), handled)
            }
            Message::Hello { member, hello } => (
                What::Hello,
                self.view.handle_hello(now, source, *member, hello),
            ),
            Message::Query { query, .. } => {
                let me = self.member.identity().id;
                if query.target != me && query.target != MemberId::EVERYBODY {
                    return Err(None);
                }
                (What::Query, self.member.handle_query(now, query, random))
            }
            //= docs/spec/membership.md#header
            //# A receiver MUST ignore a message of an unknown type or authentication type.
            Message::Unknown { .. } => return Err(Some(Reason::UnknownMessage)),
        };
        result.map(|()| what).map_err(Some)
    }
}
