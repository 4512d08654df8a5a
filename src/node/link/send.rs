//! What goes out by a link: answers, questions and messages, as frames.

use core::net::IpAddr;

use super::{Link, MAX_RESPONSE};
use crate::proto::What;
use crate::proto::trust::Credentials;
use crate::proto::view::Question;
use crate::time::Instant;
use crate::wire::frame::{self, Request};
use crate::wire::{Authentication, MemberId, Message, Query, Statement, StatementKind};

impl Link {
    pub(super) fn answer(&mut self, now: Instant, request: &Request) {
        let Some(state) = self.state else { return };
        self.moved.answered(now, request);
        if let Some(frame) = frame::answer(request, state.mac, state.ipv6) {
            self.frames.push_back((What::Answer, frame));
        }
        self.tell_asker(request);
    }

    pub(super) fn ask(&mut self, question: Question) {
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
    pub(super) fn send(&mut self, what: What, message: Message) {
        let sealed = seal(self.credentials.as_deref(), message);
        self.send_payload(what, &sealed);
    }

    pub(super) fn send_payload(&mut self, what: What, payload: &[u8]) {
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
}

/// The payload of a message, signed where there is a key.
pub(super) fn seal(credentials: Option<&Credentials>, message: Message) -> Vec<u8> {
    match credentials {
        Some(credentials) => credentials.sign(message),
        None => message.encode(),
    }
}

/// What a statement counts as.
pub(super) fn what(statement: &Statement) -> What {
    match statement.kind {
        StatementKind::Anchor => What::Anchor,
        _ => What::Report,
    }
}

pub(super) fn statement_message(member: MemberId, statement: Statement) -> (What, Message) {
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
