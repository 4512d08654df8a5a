//! A link's strangers: who claims an anycast address without being its member, and what this host
//! does about it.

use core::net::IpAddr;

use super::{Elsewhere, Link};
use crate::node::trouble::{Trouble, TroubleKind};
use crate::proto::strangers::{Claim, Standing};
use crate::proto::{Reason, What};
use crate::time::Instant;
use crate::wire::frame::{self, Answer, Mac, Request};

impl Link {
    /// Somebody states that `target` is at `mac`.
    ///
    /// # Errors
    /// It is no member that does.
    pub(super) fn handle_claim(
        &mut self,
        now: Instant,
        target: IpAddr,
        mac: Mac,
    ) -> Result<(), Reason> {
        let claim = Claim { target, mac };
        let standing = self.standing(now, claim);
        let patience = self.timing.dead_time();
        if self.strangers.handle_claim(now, claim, standing, patience) {
            self.tell_of(now, claim);
        }
        match standing {
            Standing::Member => Ok(()),
            _ => Err(Reason::ForeignClaim),
        }
    }

    /// The same of an answer, whose frame may come from another than it states.
    ///
    /// # Errors
    /// It is no member that answers, or it speaks for another.
    pub(super) fn handle_answer_as_claim(
        &mut self,
        now: Instant,
        answer: &Answer,
    ) -> Result<(), Reason> {
        let stated = answer.stated.unwrap_or(answer.mac);
        //= docs/spec/link.md#answers
        //# A request or an answer whose stated link-layer address is not that of its frame MUST be
        //# ignored.
        let honest = stated == answer.mac;
        let judged = self.handle_claim(now, answer.target, stated);
        if honest {
            judged
        } else {
            Err(Reason::ForeignMac)
        }
    }

    /// Whether the host at `mac` is a member that serves `target`.
    pub(super) fn serves(&self, mac: Mac, target: IpAddr) -> bool {
        let at = self.view.peers().filter(|(_, peer)| peer.mac() == mac);
        let mut records = at.map(|(_, peer)| peer.records());
        records.any(|records| records.longest_match(target).is_some())
    }

    fn standing(&self, now: Instant, claim: Claim) -> Standing {
        let Claim { target, mac } = claim;
        let at = || self.view.peers().filter(|(_, peer)| peer.mac() == mac);
        if mac == self.member.identity().mac
            || at().any(|(_, peer)| peer.is_router())
            || self.serves(mac, target)
        {
            return Standing::Member;
        }
        let is_new = |since| now.saturating_duration_since(since) < self.timing.dead_time();
        if at().next().is_some()
            || self.strangers.spoke(now, mac)
            || self.started.is_none_or(is_new)
        {
            Standing::Doubtful
        } else {
            Standing::Stranger
        }
    }

    //= docs/spec/link.md#strangers
    //# A claim MUST be counted and told to people with its link-layer address, by members, clients
    //# and routers alike.
    fn tell_of(&mut self, now: Instant, claim: Claim) {
        let trouble = Trouble {
            mac: Some(claim.mac),
            address: Some(claim.target),
            ..Trouble::new(TroubleKind::ForeignClaim)
        };
        self.trouble(now, trouble);
    }

    /// Judges, defends and answers again what is due.
    pub(super) fn advance_strangers(&mut self, now: Instant, elsewhere: Elsewhere<'_>) {
        let Some(state) = self.state.filter(|state| state.resolves()) else {
            return self.strangers.clear();
        };
        self.started.get_or_insert(now);
        while let Some(claim) = self.strangers.poll_doubtful(now) {
            if self.standing(now, claim) != Standing::Member {
                self.strangers.contest(now, claim.target);
                self.tell_of(now, claim);
            }
        }
        while let Some(target) = self.strangers.poll_defence(now) {
            //= docs/spec/link.md#strangers
            //# The member of rank 1 MUST defend an address that a stranger claims, at once, with one
            //# announcement (RFC 5227 §2.4 (c), RFC 4861 §7.2.6).
            //= docs/spec/link.md#strangers
            //# Members of other ranks MUST NOT defend the address.
            if self.is_first(target, elsewhere)
                && let Some(frame) = frame::announcement(target, state.mac, state.ipv6)
            {
                self.frames.push_back((What::Defence, frame));
            }
        }
        while let Some(request) = self.strangers.poll_again(now) {
            if self.is_first(request.target, elsewhere)
                && let Some(frame) = frame::second_answer(&request, state.mac, state.ipv6)
            {
                self.frames.push_back((What::Answer, frame));
            }
        }
    }

    /// A request that this host has answered as the one of `rank`.
    pub(super) fn answered(&mut self, now: Instant, request: &Request, rank: usize) {
        if rank == 1 && !request.is_probe() && !request.is_for_duplicates() {
            self.strangers.handle_answered(now, request);
        }
    }

    /// Whether this host acts for `target` before all others.
    fn is_first(&self, target: IpAddr, elsewhere: Elsewhere<'_>) -> bool {
        match self.rank(target) {
            Some(place) => place == 0,
            None => self.stands_in(target, elsewhere) && self.ranks(target).is_empty(),
        }
    }
}
