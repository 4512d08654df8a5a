//! Whom a host trusts, and what that means for the members that it knows.

use std::sync::Arc;

use super::Node;
use crate::proto::Reason;
use crate::proto::trust::{Credentials, ListError, Mode, PublicKey, Standing, Trust};
use crate::time::Instant;
use crate::wire::RevocationList;

impl Node {
    /// Whom the host trusts.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Tells what time it is: `unix_ms` milliseconds since 1970. A host that is never told trusts
    /// no certificate. Told again when the clock was set.
    pub fn set_wall(&mut self, now: Instant, unix_ms: u64) {
        self.trust.set_wall(now, unix_ms);
        self.forget_doubtful(now);
    }

    /// Switches what becomes of messages that nobody vouches for. A switch to
    /// [`Mode::Enforce`] forgets every member that was never verified, and asks everybody.
    pub fn set_trust_mode(&mut self, now: Instant, mode: Mode) {
        if mode == self.trust.mode() {
            return;
        }
        self.config.trust = mode;
        self.trust.set_mode(mode);
        self.links.values_mut().for_each(|link| link.set_mode(mode));
        self.settle_serving(now);
        self.forget_doubtful(now);
        self.handle_timeout(now);
    }

    /// Trusts the certificates of these authorities and no others.
    pub fn set_authorities(&mut self, now: Instant, authorities: Vec<PublicKey>) {
        self.trust.set_authorities(authorities.iter().copied());
        self.config.authorities = authorities;
        self.forget_doubtful(now);
    }

    /// Takes in what an authority has taken back. Returns whether anything is new.
    ///
    /// # Errors
    /// Why the list does not count.
    pub fn revoke(&mut self, now: Instant, list: &RevocationList) -> Result<bool, ListError> {
        let new = self.trust.revoke(list)?;
        self.forget_doubtful(now);
        Ok(new)
    }

    /// Signs with another key or certificate from now on, or (`None`) with none. With another key
    /// the host is another member: it serves on without a gap, and what others knew it as is
    /// silent and forgotten after the dead time.
    pub fn set_credentials(&mut self, now: Instant, credentials: Option<Arc<Credentials>>) {
        self.config.credentials.clone_from(&credentials);
        for link in self.links.values_mut() {
            link.set_credentials(now, &self.config.name, credentials.clone());
        }
        self.settle_serving(now);
        self.handle_timeout(now);
    }

    /// Forgets the members whose certificates have ended.
    pub(super) fn forget_if_due(&mut self, now: Instant) {
        if self.forget_at().is_some_and(|at| at <= now) {
            self.forget_doubtful(now);
        }
    }

    /// When the first certificate ends that a member is believed for.
    pub(super) fn forget_at(&self) -> Option<Instant> {
        let expires = self.expires?;
        let strict = self.trust.mode() == Mode::Enforce;
        strict.then(|| self.trust.when(expires)).flatten()
    }

    /// Forgets the members that nobody vouches for any more.
    fn forget_doubtful(&mut self, now: Instant) {
        let trust = &self.trust;
        let doubt =
            |standing: &Arc<Standing>| -> Option<Reason> { trust.holds(now, standing).err() };
        //= docs/spec/trust.md#modes
        //# In enforce mode, a node MUST forget a member when its certificate ends or is revoked, or
        //# when its authority is trusted no more.
        if trust.mode() == Mode::Enforce {
            for link in self.links.values_mut() {
                link.forget(|peer| peer.standing().is_none_or(|s| doubt(s).is_some()));
            }
        }
        let peers = self.links.values().flat_map(|link| link.peers());
        let ends = peers.filter_map(|(_, peer)| Some(peer.standing()?.expires));
        self.expires = ends.min();
        let links: Vec<_> = self.links.keys().copied().collect();
        links.into_iter().for_each(|id| self.advance(now, id));
    }
}
