//! Trust: whose word counts, and for what.
//!
//! An authority's certificate says which key may be a member for which prefixes, and which may be
//! a router; whoever has the authority's public key can check it. Every report, anchor and query
//! is signed and carries its sender's certificate, so that no state is needed to check it. Hellos
//! prove themselves by their chain.
//!
//! What is cheap is looked at first, and how many signatures are checked for whom is bounded, so
//! that a flood of anything costs a bounded share of a processor.

mod credentials;
mod key;
mod limiter;
mod signed;
mod standing;
mod surroundings;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use credentials::{Credentials, ForeignCertificate};
pub use key::{PublicKey, SecretKey};
pub use limiter::CheckLimits;
pub use signed::Signed;
pub use standing::Standing;
pub use surroundings::Surroundings;

use super::Reason;
use crate::time::{Duration, Instant};
use crate::wire::frame::Mac;
use crate::wire::{
    Authentication, AuthorityId, Certificate, MemberId, Message, MessageOption, RevocationList,
    Statement,
};
use limiter::{Limiter, Share};

/// Certificates that are remembered as verified.
const CERTIFICATES: usize = 4096;
/// Link-layer addresses that are remembered for each of them: a host's links.
const MACS: usize = 4;

/// What becomes of a message that cannot be verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Nothing is checked.
    #[default]
    Off,
    /// Everything is checked, what fails is counted, and used anyway.
    Count,
    /// What fails is refused.
    Enforce,
}

impl Mode {
    /// All of them, the least strict first.
    pub const ALL: [Self; 3] = [Self::Off, Self::Count, Self::Enforce];

    /// The name in configurations and in `status`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Count => "count",
            Self::Enforce => "enforce",
        }
    }
}

/// Why a revocation list is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// It is of an authority that is not trusted here.
    #[error("the list is of authority {0}, which is not trusted here")]
    UnknownAuthority(AuthorityId),
    /// The authority did not sign it, or it was changed.
    #[error("the list is not signed by its authority, or was changed")]
    BadSignature,
    /// A newer one is known.
    #[error("the list has number {number}, and number {known} is known")]
    Older {
        /// Its number.
        number: u64,
        /// The known one's.
        known: u64,
    },
}

/// An authority, and what it has taken back.
#[derive(Debug, Clone)]
struct Authority {
    key: PublicKey,
    number: Option<u64>,
    revoked: BTreeSet<u64>,
}

/// A certificate that was verified.
#[derive(Debug, Clone)]
struct Known {
    standing: Arc<Standing>,
    key: PublicKey,
    /// Where its owner was when it was verified.
    macs: Vec<Mac>,
    share: Share,
    used: Instant,
}

/// Whom a host trusts.
#[derive(Debug, Clone)]
pub struct Trust {
    mode: Mode,
    authorities: BTreeMap<AuthorityId, Authority>,
    known: BTreeMap<Box<[u8]>, Known>,
    limiter: Limiter,
    /// Milliseconds since 1970 at an instant.
    wall: Option<(Instant, u64)>,
}

impl Trust {
    /// Trust in the certificates of `authorities`.
    pub fn new(
        mode: Mode,
        authorities: impl IntoIterator<Item = PublicKey>,
        limits: CheckLimits,
    ) -> Self {
        let mut trust = Self {
            mode,
            authorities: BTreeMap::new(),
            known: BTreeMap::new(),
            limiter: Limiter::new(limits),
            wall: None,
        };
        trust.set_authorities(authorities);
        trust
    }

    /// What becomes of a message that cannot be verified.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Switches to another mode.
    pub fn set_mode(&mut self, mode: Mode) {
        self.mode = mode;
    }

    /// Trusts these authorities and no others; what is known of those that stay is kept.
    pub fn set_authorities(&mut self, keys: impl IntoIterator<Item = PublicKey>) {
        let mut before = core::mem::take(&mut self.authorities);
        for key in keys {
            let id = key.authority();
            let authority = before.remove(&id).unwrap_or(Authority {
                key,
                number: None,
                revoked: BTreeSet::new(),
            });
            self.authorities.insert(id, authority);
        }
    }

    /// Takes in what an authority has taken back. Returns whether anything is new.
    ///
    /// # Errors
    /// Why the list does not count.
    pub fn revoke(&mut self, list: &RevocationList) -> Result<bool, ListError> {
        let authority = self
            .authorities
            .get_mut(&list.authority)
            .ok_or(ListError::UnknownAuthority(list.authority))?;
        //= docs/spec/trust.md#revocation
        //# A receiver MUST refuse a list that its authority has not signed, and one whose number is
        //# smaller than that of the one it has.
        if !authority.key.verifies(&list.signed(), &list.signature) {
            return Err(ListError::BadSignature);
        }
        match authority.number {
            Some(known) if list.number < known => {
                let number = list.number;
                return Err(ListError::Older { number, known });
            }
            Some(known) if list.number == known => return Ok(false),
            _ => {}
        }
        authority.number = Some(list.number);
        authority.revoked = list.serials.iter().copied().collect();
        Ok(true)
    }

    /// The authorities, each with the number of its revocation list and how many it names.
    pub fn authorities(&self) -> impl Iterator<Item = (AuthorityId, Option<u64>, usize)> {
        self.authorities
            .iter()
            .map(|(id, authority)| (*id, authority.number, authority.revoked.len()))
    }

    /// Whether its authority has taken this certificate back, as far as is known here.
    pub fn has_revoked(&self, certificate: &Certificate) -> bool {
        let authority = self.authorities.get(&certificate.authority);
        authority.is_some_and(|authority| authority.revoked.contains(&certificate.serial))
    }

    /// Tells what time it is: `unix_ms` milliseconds since 1970.
    pub fn set_wall(&mut self, now: Instant, unix_ms: u64) {
        self.wall = Some((now, unix_ms));
    }

    /// Milliseconds since 1970; 0 as long as nobody has told.
    pub fn wall(&self, now: Instant) -> u64 {
        self.wall.map_or(0, |(at, ms)| {
            ms.saturating_add(now.micros_since(at) / 1_000)
        })
    }

    /// When it is `unix_ms` milliseconds since 1970, as far as is known now.
    pub fn when(&self, unix_ms: u64) -> Option<Instant> {
        let (at, ms) = self.wall?;
        Some(at + Duration::from_millis(unix_ms.saturating_sub(ms)))
    }

    /// Whether what was verified once still holds.
    ///
    /// # Errors
    /// Why it does not.
    pub fn holds(&self, now: Instant, standing: &Standing) -> Result<(), Reason> {
        holds(&self.authorities, self.wall(now), standing)
    }

    /// Checks a report, an anchor or a query that came from `mac`, which is the address that a
    /// report or an anchor states: what its sender may say. Whether it says more is for whoever
    /// takes it in to see ([`Standing::permits`]).
    ///
    /// # Errors
    /// Why nobody vouches for it.
    pub fn check(
        &mut self,
        now: Instant,
        mac: Mac,
        message: &Message,
        signed: Option<&Signed>,
    ) -> Result<Arc<Standing>, Reason> {
        let (sender, options) = match message {
            Message::Statement {
                member,
                statement,
                authentication: Authentication::Ed25519 { .. },
            } => (*member, &statement.options),
            Message::Query {
                asker,
                query,
                authentication: Authentication::Ed25519 { .. },
            } => (*asker, &query.options),
            _ => return Err(Reason::Unsigned),
        };
        let signed = signed.ok_or(Reason::Unsigned)?;
        let Some(MessageOption::Certificate(certificate)) = options.first() else {
            return Err(Reason::NoCertificate);
        };
        let wall = self.wall(now);
        if let Some(known) = self.known.get_mut(&certificate[..]) {
            admissible(sender, &known.standing)?;
            holds(&self.authorities, wall, &known.standing)?;
            let here = known.macs.contains(&mac);
            //= docs/spec/trust.md#checks
            //# A receiver MUST bound how many signatures it checks in a second, for one sender and
            //# for all, and MUST NOT let senders that it has not verified use up what it has for
            //# those that it has.
            let admitted = match here {
                true => self.limiter.admits_known(now, &mut known.share),
                false => self.limiter.admits_stranger(now, mac),
            };
            if !admitted {
                return Err(Reason::TooManyChecks);
            }
            let good = signed.is_by(&known.key);
            let statement = statement_of(message);
            match (here, good) {
                (true, true) => self.limiter.passed(&mut known.share),
                (true, false) => self.limiter.failed(&mut known.share),
                (false, true) if statement.is_some() => {
                    known.macs.truncate(MACS - 1);
                    known.macs.insert(0, mac);
                }
                // A query does not say where its sender is, so anybody can have sent it again.
                (false, _) => self.limiter.wasted(mac),
            }
            if !good {
                return Err(Reason::BadSignature);
            }
            known.used = now;
            return Ok(known.standing.clone());
        }
        let read = Certificate::decode(certificate).map_err(|_| Reason::BadCertificate)?;
        let standing = Arc::new(Standing::of(&read));
        admissible(sender, &standing)?;
        holds(&self.authorities, wall, &standing)?;
        if !self.limiter.admits_stranger(now, mac) {
            return Err(Reason::TooManyChecks);
        }
        let (statement, key) = (statement_of(message), PublicKey::from_bytes(&read.key));
        let authority = &self.authorities[&read.authority].key;
        let key = key.filter(|_| authority.verifies(&read.signed(), &read.signature));
        let good = key.is_some_and(|key| signed.is_by(&key));
        if !good || statement.is_none() {
            self.limiter.wasted(mac);
        }
        let key = key.ok_or(Reason::BadCertificate)?;
        if !good {
            return Err(Reason::BadSignature);
        }
        let known = Known {
            standing: standing.clone(),
            key,
            macs: statement.map(|_| mac).into_iter().collect(),
            share: self.limiter.share(now),
            used: now,
        };
        self.remember(certificate, known);
        Ok(standing)
    }

    /// What was checked and found good came to nothing: it was said before, or to others. Only so
    /// much of that is looked at.
    pub fn regret(&mut self, message: &Message) {
        let options = match message {
            Message::Statement { statement, .. } => &statement.options,
            _ => return,
        };
        if let Some(MessageOption::Certificate(certificate)) = options.first()
            && let Some(known) = self.known.get_mut(&certificate[..])
        {
            self.limiter.failed(&mut known.share);
        }
    }

    fn remember(&mut self, certificate: &[u8], known: Known) {
        if self.known.len() >= CERTIFICATES {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
            if let Some(oldest) = oldest.map(|(bytes, _)| bytes.clone()) {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(certificate.into(), known);
    }
}

fn statement_of(message: &Message) -> Option<&Statement> {
    match message {
        Message::Statement { statement, .. } => Some(statement),
        _ => None,
    }
}

fn holds(
    authorities: &BTreeMap<AuthorityId, Authority>,
    wall: u64,
    standing: &Standing,
) -> Result<(), Reason> {
    let Some(authority) = authorities.get(&standing.authority) else {
        return Err(Reason::UnknownAuthority);
    };
    //= docs/spec/trust.md#certificate
    //# A receiver MUST refuse a certificate before its first millisecond and from its end on.
    if wall < standing.not_before {
        return Err(Reason::CertificateNotYet);
    }
    if wall >= standing.expires {
        return Err(Reason::CertificateExpired);
    }
    //= docs/spec/trust.md#revocation
    //# A receiver MUST refuse a certificate whose serial is on its authority's list.
    if authority.revoked.contains(&standing.serial) {
        return Err(Reason::Revoked);
    }
    Ok(())
}

/// Whether the certificate is the sender's.
//= docs/spec/trust.md#signatures
//# A receiver MUST refuse a message whose member id is not that of its certificate's key.
fn admissible(sender: MemberId, standing: &Standing) -> Result<(), Reason> {
    if sender == standing.member {
        Ok(())
    } else {
        Err(Reason::ForeignKey)
    }
}
