//! A frame as it is read, which is the same for everybody who hears it.

use crate::proto::Reason;
use crate::proto::trust::Signed;
use crate::proto::view::Source;
use crate::wire::frame::{self, Answer, Frame, Ignored, Request};
use crate::wire::{Authentication, Error, MemberId, Message};

/// A frame that was read: parsed, its checksums checked, and decoded if it carries a message.
///
/// A runner with many hosts on one link reads a frame once for all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard(pub(super) Result<Concerns, Option<Reason>>);

/// Whom a frame concerns.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "most are messages, and a box for each costs more"
)]
pub(super) enum Concerns {
    Responder(Request),
    Resolver(Answer),
    Member(Source, Result<Message, Reason>, Option<Signed>),
    /// It was to be a message, and is none.
    Stray(Source, Reason),
}

impl Heard {
    /// Who sent it, if it is a message.
    pub(in crate::node) fn sender(&self) -> Option<MemberId> {
        match &self.0 {
            Ok(Concerns::Member(_, Ok(message), _)) => Some(message.sender()),
            _ => None,
        }
    }

    /// Reads a whole Ethernet frame. What cannot be used of it is remembered with the reason.
    pub fn read(bytes: &[u8]) -> Self {
        Self(match Frame::parse(bytes) {
            Ok(Frame::Request(request)) => Ok(Concerns::Responder(request)),
            Ok(Frame::Answer(answer)) => Ok(Concerns::Resolver(answer)),
            Ok(Frame::Message {
                mac,
                source: address,
                payload,
            }) => {
                let message = Message::decode(payload).map_err(|error| match error {
                    Error::Version(_) => Reason::UnknownMessage,
                    Error::Timers => Reason::Timers,
                    _ => Reason::MalformedMessage,
                });
                let signed = message.as_ref().is_ok_and(is_signed);
                let signed = signed.then(|| Signed::new(payload));
                Ok(Concerns::Member(Source { mac, address }, message, signed))
            }
            Err(ignored) => read_stray(bytes, ignored),
        })
    }
}

/// A frame that is not used; whose it is, where it was meant for us.
fn read_stray(bytes: &[u8], ignored: Ignored) -> Result<Concerns, Option<Reason>> {
    let reason = Reason::from_frame(ignored);
    let Some(stray) = frame::stray(bytes) else {
        return Err(reason);
    };
    // Others may use the group for something else; only what is a message was meant to be one.
    let reason = match (reason, stray.to_our_port) {
        (Some(reason), true) => reason,
        (None, false) if Message::decode(stray.payload).is_ok() => Reason::WrongPort,
        _ => return Err(reason),
    };
    let source = Source {
        mac: stray.mac,
        address: stray.source,
    };
    Ok(Concerns::Stray(source, reason))
}

fn is_signed(message: &Message) -> bool {
    matches!(
        message,
        Message::Statement {
            authentication: Authentication::Ed25519 { .. },
            ..
        } | Message::Query {
            authentication: Authentication::Ed25519 { .. },
            ..
        }
    )
}
