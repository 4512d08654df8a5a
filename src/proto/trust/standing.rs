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

    /// Why a record of `prefix` does not count; how many do in all is for whoever keeps them to
    /// see to, against [`Standing::limit`].
    pub fn refuses(&self, prefix: &Prefix) -> Option<Reason> {
        //= docs/spec/trust.md#roles
        //# In enforce mode a receiver MUST skip the records of a statement whose certificate has not
        //# the role member, and those that no prefix of the certificate covers, and use the others.
        if !self.roles.member {
            Some(Reason::WrongRole)
        } else if !self.covers(prefix) {
            Some(Reason::PrefixNotAllowed)
        } else {
            None
        }
    }

    /// Whether the owner may be a router.
    //= docs/spec/trust.md#roles
    //# In enforce mode a receiver MUST ignore the router flag of a statement unless the certificate
    //# has the role router.
    pub fn routes(&self) -> bool {
        self.roles.router
    }

    /// Whether the owner may say all of this.
    ///
    /// # Errors
    /// The first thing that it may not.
    pub fn permits(&self, statement: &Statement) -> Result<(), Reason> {
        if statement.router && !self.routes() {
            return Err(Reason::WrongRole);
        }
        let served = statement.records.iter();
        let served = served.filter(|record| !record.is_withdrawal());
        let refused = served.clone().filter_map(Record::prefix);
        if let Some(reason) = refused.map(|prefix| self.refuses(&prefix)).find_map(|r| r) {
            return Err(reason);
        }
        if served.count() > self.limit {
            return Err(Reason::TooManyRecords);
        }
        Ok(())
    }
}
