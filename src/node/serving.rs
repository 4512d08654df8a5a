//! What the host serves: what it was told to, as far as its certificate allows that.

use std::collections::BTreeSet;

use super::{Node, Reason, Trouble, TroubleKind};
use crate::addr::{Class, Prefix, shown};
use crate::proto::trust::Mode;
use crate::time::Instant;
use crate::wire::Scope;

/// How a prefix is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinOptions {
    /// Higher is preferred.
    pub preference: u16,
    /// How far routers may carry the prefix.
    pub scope: Scope,
    /// Version of the data that the service answers from.
    pub serial: Option<u32>,
}

impl Default for JoinOptions {
    fn default() -> Self {
        Self {
            preference: 100,
            scope: Scope::Global,
            serial: None,
        }
    }
}

/// Why a prefix cannot be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// The prefix does not lie in the class.
    #[error("{} is not in the anycast class", shown(.0))]
    OutsideClass(Prefix),
    /// It is served already.
    #[error("{} is served already", shown(.0))]
    Joined(Prefix),
    /// More prefixes than others would remember.
    #[error("more than {0} prefixes")]
    TooMany(usize),
}

/// Why a prefix cannot be left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LeaveError {
    /// It is not served.
    #[error("{} is not served here", shown(.0))]
    NotJoined(Prefix),
}

impl Node {
    /// Serves `prefix` on every link.
    ///
    /// # Errors
    /// The prefix is not anycast, or is served already.
    pub fn join(
        &mut self,
        now: Instant,
        prefix: Prefix,
        options: JoinOptions,
    ) -> Result<(), JoinError> {
        let prefix = prefix.trunc();
        if !self.config.class.covers(&prefix) {
            return Err(JoinError::OutsideClass(prefix));
        }
        if self.joined.contains_key(&prefix) {
            return Err(JoinError::Joined(prefix));
        }
        if self.joined.len() >= self.config.limits.records {
            return Err(JoinError::TooMany(self.config.limits.records));
        }
        self.joined.insert(prefix, options);
        self.settle_one(now, prefix);
        self.handle_timeout(now);
        Ok(())
    }

    /// Other addresses are anycast from now on. What was joined outside of them is served again when
    /// they come back; who serves anything outside of them is asked anew.
    pub fn set_class(&mut self, now: Instant, class: Class) {
        let links = self.links.values_mut();
        links.for_each(|link| link.set_class(&class));
        self.config.class = class;
        self.settle_serving(now);
        self.handle_timeout(now);
    }

    /// Stops serving `prefix`: at once where nobody else serves it, else when another member has
    /// taken over. [`super::Event::Withdraw`] tells when that is done on each link.
    ///
    /// # Errors
    /// The prefix is not served.
    pub fn leave(&mut self, now: Instant, prefix: Prefix) -> Result<(), LeaveError> {
        let prefix = prefix.trunc();
        self.joined
            .remove(&prefix)
            .ok_or(LeaveError::NotJoined(prefix))?;
        self.settle_one(now, prefix);
        self.handle_timeout(now);
        Ok(())
    }

    /// Leaves everything and gives back every neighbour entry; done when [`Self::is_idle`].
    pub fn shutdown(&mut self, now: Instant) {
        self.end_departures(now);
        self.joined.clear();
        self.settle_serving(now);
        self.links.values_mut().for_each(|link| {
            link.clear_neighbours();
            link.set_router(now, None);
        });
        self.handle_timeout(now);
    }

    /// Whether a prefix is to be served.
    pub fn has_joined(&self, prefix: &Prefix) -> bool {
        self.joined.contains_key(prefix)
    }

    /// What is to be served, and how.
    pub fn joined(&self) -> impl Iterator<Item = (Prefix, JoinOptions)> {
        self.joined
            .iter()
            .map(|(prefix, options)| (*prefix, *options))
    }

    /// The same for one prefix that was joined or left: of thousands it alone is looked at, unless
    /// there is a certificate, whose limit is one for all.
    fn settle_one(&mut self, now: Instant, prefix: Prefix) {
        if self.config.credentials.is_some() {
            return self.settle_serving(now);
        }
        let options = self.joined.get(&prefix).copied();
        match options {
            Some(_) => self.served.insert(prefix),
            None => self.served.remove(&prefix),
        };
        let links = self.links.values_mut();
        links.for_each(|link| link.serve_one(now, prefix, options));
    }

    /// Serves on every link what was joined and is allowed; what is not, links tell of.
    pub(super) fn settle_serving(&mut self, now: Instant) {
        let excess = self.excess();
        let strict = self.config.trust == Mode::Enforce;
        //= docs/spec/trust.md#roles
        //# A member in enforce mode MUST serve nothing that others skip for its certificate.
        let kept = |prefix: &&Prefix| {
            let certified = !strict || !excess.iter().any(|(out, _)| out == *prefix);
            certified && self.config.class.covers(prefix)
        };
        let served: BTreeSet<Prefix> = self.joined.keys().filter(kept).copied().collect();
        let routes = self.config.router.is_some();
        let credentials = self.config.credentials.as_ref();
        let misfit = credentials.is_some_and(|c| routes && !c.standing().routes());
        let mut troubles: Vec<Trouble> = Vec::new();
        for (prefix, reason) in excess {
            troubles.push(Trouble {
                address: Some(prefix.addr()),
                reason: Some(reason),
                ..Trouble::new(TroubleKind::NotCertified)
            });
        }
        troubles.extend(misfit.then(|| Trouble {
            reason: Some(Reason::WrongRole),
            ..Trouble::new(TroubleKind::NotCertified)
        }));
        for link in self.links.values_mut() {
            link.serve(now, &served, &self.joined);
            let ruled_out = credentials.map(|own| link.ruled_out(&own.standing()));
            let ruled_out = ruled_out.into_iter().flatten().map(|address| Trouble {
                address: Some(address),
                reason: Some(Reason::ForeignAddress),
                ..Trouble::new(TroubleKind::NotCertified)
            });
            let here = troubles.iter().copied().chain(ruled_out).collect();
            link.set_own_troubles(now, here);
        }
        self.served = served;
    }

    /// What was joined and is more than this host's certificate allows, and why.
    fn excess(&self) -> Vec<(Prefix, Reason)> {
        let Some(credentials) = &self.config.credentials else {
            return Vec::new();
        };
        let standing = credentials.standing();
        let (mut excess, mut allowed) = (Vec::new(), Vec::new());
        for prefix in self.joined.keys() {
            match standing.refuses(prefix) {
                Some(reason) => excess.push((*prefix, reason)),
                None => allowed.push(*prefix),
            }
        }
        // What is served already is not given up for what comes later.
        allowed.sort_by_key(|prefix| !self.served.contains(prefix));
        let beyond = allowed.into_iter().skip(standing.limit);
        excess.extend(beyond.map(|prefix| (prefix, Reason::TooManyRecords)));
        excess
    }
}
