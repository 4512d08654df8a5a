//! Whose unicast addresses count: those that members and routers state, where they are verified.
//!
//! A certified member could otherwise state the address of the gateway, of a neighbour or of another
//! member, and be sent what is theirs. See [`crate::proto::trust::Surroundings`].

use core::net::IpAddr;
use std::sync::Arc;

use super::super::trouble::{Trouble, TroubleKind};
use super::{Host, Link};
use crate::proto::Reason;
use crate::proto::pin::addresses;
use crate::proto::trust::{Standing, Surroundings};
use crate::proto::view::{Peer, Source};
use crate::time::Instant;
use crate::wire::{MemberId, Statement};

/// Whether a statement takes an address from a member that has a lesser claim to it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Displaces(pub(super) bool);

impl Link {
    /// What this host knows of the addresses on the link, from now on. Where that is never told,
    /// only what members say of each other decides.
    pub(in crate::node) fn set_surroundings(&mut self, around: Surroundings) {
        if self.around.as_ref() == Some(&around) {
            return;
        }
        if self.strict() {
            let fits = |peer: &Peer| {
                peer.standing().is_none_or(|standing| {
                    let mut stated = addresses(peer);
                    stated.all(|at| standing.may_be_at(at, &around).is_ok())
                })
            };
            self.forget(|peer| !fits(peer));
        }
        self.around = Some(around);
    }

    /// This host's own addresses on the link that its certificate rules out.
    pub(in crate::node) fn ruled_out(&self, own: &Standing) -> Vec<IpAddr> {
        let state = self.state.iter();
        let stated = state.flat_map(|s| [s.ipv4.map(IpAddr::V4), s.ipv6.map(IpAddr::V6)]);
        stated.flatten().filter(|at| own.rules_out(*at)).collect()
    }

    /// Whether the addresses that a statement states count; in count mode they do whatever they are.
    ///
    /// # Errors
    /// One of them is another's, or ruled out by the sender's certificate.
    pub(super) fn judge_stated(
        &mut self,
        now: Instant,
        source: Source,
        (id, statement): (MemberId, &Statement),
        standing: Option<&Arc<Standing>>,
        host: &mut Host<'_>,
    ) -> Result<Displaces, Reason> {
        let Some(standing) = standing else {
            return Ok(Displaces(false));
        };
        match self.judge_addresses(source, id, statement, standing) {
            Err((reason, address)) if self.strict() => {
                self.tell_foreign(now, source, id, address);
                Err(reason)
            }
            Err((reason, _)) => {
                host.counters.count_doubted(reason);
                Ok(Displaces(false))
            }
            Ok(displaces) => Ok(Displaces(displaces && self.strict())),
        }
    }

    /// Whether a verified sender may state the addresses that it states, and takes one of them from
    /// another; else which it may not.
    fn judge_addresses(
        &self,
        source: Source,
        id: MemberId,
        statement: &Statement,
        standing: &Arc<Standing>,
    ) -> Result<bool, (Reason, IpAddr)> {
        let mut displaces = false;
        let stated = [
            statement.ipv4.map(IpAddr::V4),
            statement.ipv6.map(IpAddr::V6),
        ];
        for address in stated.into_iter().flatten() {
            let fits = match &self.around {
                Some(around) => standing.may_be_at(address, around),
                None => Ok(()),
            };
            match fits.and_then(|()| self.judge_holder(source, id, address, standing)) {
                Ok(over) => displaces |= over,
                Err(reason) => return Err((reason, address)),
            }
        }
        Ok(displaces)
    }

    /// Whether no other member that lives has `address`, or has a lesser claim to it.
    fn judge_holder(
        &self,
        source: Source,
        id: MemberId,
        address: IpAddr,
        standing: &Standing,
    ) -> Result<bool, Reason> {
        let holds = |(other, peer): &(MemberId, &Peer)| {
            *other != id && peer.standing().is_some() && rivals(peer, source, address)
        };
        let Some((_, holder)) = self.view.peers().find(holds) else {
            return Ok(false);
        };
        let named = |standing: &Arc<Standing>| standing.names(address);
        //= docs/spec/trust.md#addresses
        //# A receiver MUST refuse a statement with the address of another verified member that lives
        //# at another link-layer address, unless the certificate names that very address and the
        //# other's does not; then it MUST forget the other.
        if standing.names(address) && !holder.standing().is_some_and(named) {
            return Ok(true);
        }
        Err(Reason::ForeignAddress)
    }

    /// Forgets those whose addresses are another's by its certificate, which has just spoken.
    pub(super) fn displace(&mut self, source: Source, id: MemberId) {
        let Some(peer) = self.view.get(id) else {
            return;
        };
        let stated: Vec<IpAddr> = addresses(peer).collect();
        self.forget(|peer| {
            let mut rivals = stated.iter().filter(|at| rivals(peer, source, **at));
            rivals.any(|at| !peer.standing().is_some_and(|held| held.names(*at)))
        });
    }

    //= docs/spec/trust.md#addresses
    //# A receiver that refuses a statement for its addresses SHOULD tell people the link-layer
    //# address, the member and the address.
    /// Tells people of a member that states an address that it may not have.
    pub(super) fn tell_foreign(
        &mut self,
        now: Instant,
        source: Source,
        id: MemberId,
        address: IpAddr,
    ) {
        let trouble = Trouble {
            member: Some(id),
            mac: Some(source.mac),
            address: Some(address),
            reason: Some(Reason::ForeignAddress),
            ..Trouble::new(TroubleKind::ForeignAddress)
        };
        self.trouble(now, trouble);
    }
}

/// Whether a peer elsewhere states `address` too. One host may be two members for a moment, by its
/// former key and its next one.
fn rivals(peer: &Peer, source: Source, address: IpAddr) -> bool {
    peer.mac() != source.mac && addresses(peer).any(|at| at == address)
}
