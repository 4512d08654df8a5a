//! Who vouches for a message.

use std::path::PathBuf;

use crate::daemon::{Failure, exit, trust as files};
use crate::proto::Reason;
use crate::proto::trust::{CheckLimits, Mode, PublicKey, Signed, Trust};
use crate::time::Instant;
use crate::wire::frame::Mac;
use crate::wire::{Authentication, Certificate, Message, MessageOption};

/// All signatures of a capture are checked, however many there are.
const LIMITS: CheckLimits = CheckLimits {
    known: u32::MAX,
    failed: u32::MAX,
    strangers: u32::MAX,
};

/// What is known of the signature of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    /// It is that of the certificate's key.
    Good,
    /// It is not.
    Bad,
    /// There is no certificate to check it by.
    Unchecked,
}

impl Signature {
    /// Of the message that was read from `payload`; `None` if it is not signed.
    pub(super) fn of(message: &Message, payload: &[u8]) -> Option<Self> {
        let (authentication, options) = match message {
            Message::Statement {
                statement,
                authentication,
                ..
            } => (authentication, &statement.options),
            Message::Query {
                query,
                authentication,
                ..
            } => (authentication, &query.options),
            Message::Hello { .. } | Message::Unknown { .. } => return None,
        };
        let Authentication::Ed25519 { signature } = authentication else {
            return None;
        };
        let certificate = match options.first() {
            Some(MessageOption::Certificate(bytes)) => Certificate::decode(bytes).ok(),
            _ => None,
        };
        let key = certificate.and_then(|certificate| PublicKey::from_bytes(&certificate.key));
        let signed = payload.split_last_chunk::<64>();
        Some(match (key, signed) {
            (Some(key), Some((text, _))) if key.verifies(text, signature) => Self::Good,
            (Some(_), _) => Self::Bad,
            (None, _) => Self::Unchecked,
        })
    }

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Unchecked => "unchecked",
        }
    }
}

/// The authorities that count for whoever reads the messages.
#[derive(Debug)]
pub(super) struct Authorities(Trust);

impl Authorities {
    /// Reads their keys and revocation lists; `None` without a key. Errors: no such files, or a list
    /// that no authority of these has made.
    pub(super) fn load(keys: &[PathBuf], lists: &[PathBuf]) -> Result<Option<Self>, Failure> {
        if keys.is_empty() {
            return Ok(None);
        }
        let keys = keys.iter().map(|path| files::authority(path));
        let keys = keys.collect::<Result<Vec<_>, _>>()?;
        let mut trust = Trust::new(Mode::Enforce, keys, LIMITS);
        for path in lists {
            let list = files::revocations(path)?;
            trust.revoke(&list).map_err(|error| {
                Failure::new(exit::CONFIG, format!("{}: {error}", path.display()))
            })?;
        }
        Ok(Some(Self(trust)))
    }

    /// Why a host that enforces refuses the message for its certificate or its signature, at
    /// `unix_ms` milliseconds since 1970; `None` for a message that needs neither.
    pub(super) fn check(
        &mut self,
        unix_ms: u64,
        mac: Mac,
        message: &Message,
        payload: &[u8],
    ) -> Option<Result<(), Reason>> {
        if !matches!(message, Message::Statement { .. } | Message::Query { .. }) {
            return None;
        }
        let now = Instant::from_millis(unix_ms);
        self.0.set_wall(now, unix_ms);
        let signed = Signed::new(payload);
        let checked = self.0.check(now, mac, message, Some(&signed));
        Some(checked.map(|_| ()))
    }
}
