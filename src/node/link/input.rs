//! What comes in by a link, and which machine it is for.

use super::Link;
use crate::proto::Reason;
use crate::proto::random::Random;
use crate::proto::view::Source;
use crate::time::Instant;
use crate::wire::frame::{Answer, Frame, Request};
use crate::wire::{MemberId, Message, StatementKind};

/// What a frame was used as, or why it was not; no reason where it never concerned anycast.
type Used = Result<&'static str, Option<Reason>>;

impl Link {
    pub(in crate::node) fn handle_frame(
        &mut self,
        now: Instant,
        bytes: &[u8],
        outgoing: bool,
        random: &mut Random,
    ) -> Used {
        if self.state.is_none() {
            return Err(Some(Reason::NoLink));
        }
        let frame = Frame::parse(bytes).map_err(Reason::from_frame)?;
        match frame {
            Frame::Request(request) if self.class.contains(request.target) => {
                self.handle_request(now, &request, outgoing, random)
            }
            Frame::Answer(answer) if self.class.contains(answer.target) && !outgoing => {
                self.handle_answer(now, &answer)
            }
            Frame::Message {
                mac,
                source,
                payload,
            } if !outgoing => {
                let source = Source {
                    mac,
                    address: source,
                };
                self.handle_message(now, source, payload, random)
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
            return Ok("question");
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
        Ok("request")
    }

    fn handle_answer(&mut self, now: Instant, answer: &Answer) -> Used {
        let Some(resolver) = &mut self.resolver else {
            return Err(None);
        };
        resolver
            .handle_answer(now, answer, &self.view)
            .map_err(Some)?;
        Ok("answer")
    }

    fn handle_message(
        &mut self,
        now: Instant,
        source: Source,
        payload: &[u8],
        random: &mut Random,
    ) -> Used {
        //= docs/spec/membership.md#header
        //# An ignored message MUST change nothing but a counter.
        let message = Message::decode(payload).map_err(|error| {
            Some(match error {
                crate::wire::Error::Version(_) => Reason::UnknownMessage,
                _ => Reason::MalformedMessage,
            })
        })?;
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
                let what = match statement.kind {
                    StatementKind::Anchor => "anchor",
                    _ => "report",
                };
                (
                    what,
                    self.view.handle_statement(now, source, member, &statement),
                )
            }
            Message::Hello { member, hello } => {
                ("hello", self.view.handle_hello(now, source, member, &hello))
            }
            Message::Query { query, .. } => {
                let me = self.member.identity().id;
                if query.target != me && query.target != MemberId::EVERYBODY {
                    return Err(None);
                }
                ("query", self.member.handle_query(now, &query, random))
            }
            //= docs/spec/membership.md#header
            //# A receiver MUST ignore a message of an unknown type or authentication type.
            Message::Unknown { .. } => return Err(Some(Reason::UnknownMessage)),
        };
        result.map(|()| what).map_err(Some)
    }
}
