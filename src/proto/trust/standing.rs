//! What a certificate that was verified lets its owner say.

use crate::addr::Prefix;
use crate::proto::Reason;
use crate::wire::{AuthorityId, Certificate, MemberId, Record, Roles, Statement};

/// What a verified certificate allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whose it is.
    pub member: MemberId,
    /// What the owner may be.
    pub roles: Roles,
    /// What its records lie in.
    pub prefixes: Vec<Prefix>,
    /// What its own addresses lie in; empty where its certificate does not say.
    pub hosts: Vec<Prefix>,
    /// How many records it may have on a link.
    pub limit: usize,
    /// Who says so.
    pub authority: AuthorityId,
    /// Under which number.
    pub serial: u64,
    /// First millisecond since 1970 at which it is so.
    pub not_before: u64,
    /// First millisecond since 1970 at which it is so no more.
    pub expires: u64,
}

impl Standing {
    pub(super) fn of(certificate: &Certificate) -> Self {
        Self {
            member: MemberId::of_key(&certificate.key),
            roles: certificate.roles,
            prefixes: certificate.prefixes.clone(),
            hosts: certificate.hosts.clone(),
            limit: usize::try_from(certificate.limit).unwrap_or(usize::MAX),
            authority: certificate.authority,
            serial: certificate.serial,
            not_before: certificate.not_before,
            expires: certificate.not_after,
        }
    }

    /// Whether every address of `prefix` may be served.
    pub fn covers(&self, prefix: &Prefix) -> bool {
        self.prefixes.iter().any(|allowed| allowed.contains(prefix))
    }

    /// Whether the owner may say this. How many records it has in all is for whoever keeps them
    /// to count, against [`Standing::limit`].
    ///
    /// # Errors
    /// What it may not.
    pub fn permits(&self, statement: &Statement) -> Result<(), Reason> {
        //= docs/spec/trust.md#roles
        //# A statement with records MUST be refused unless the certificate has the role member.
        if !statement.records.is_empty() && !self.roles.member {
            return Err(Reason::WrongRole);
        }
        //= docs/spec/trust.md#roles
        //# A statement with the router flag MUST be refused unless the certificate has the role
        //# router.
        if statement.router && !self.roles.router {
            return Err(Reason::WrongRole);
        }
        // A family that nobody here knows is used for nothing, so nothing has to allow it.
        let outside = |record: &Record| record.prefix().is_some_and(|p| !self.covers(&p));
        //= docs/spec/trust.md#roles
        //# A statement with a record that no prefix of the certificate covers MUST be refused.
        if statement.records.iter().any(outside) {
            return Err(Reason::PrefixNotAllowed);
        }
        let served = |record: &&Record| !record.is_withdrawal();
        if statement.records.iter().filter(served).count() > self.limit {
            return Err(Reason::TooManyRecords);
        }
        Ok(())
    }
}
