//! Hellos: the proof that a peer lives, checked without looking at what it serves.

use super::clock::Lies;
use super::{FAR, Source, View, WRONG_PAUSE};
use crate::proto::Reason;
use crate::proto::chain::Refused;
use crate::time::Instant;
use crate::wire::{Hello, MemberId};

impl View {
    /// Takes a hello.
    ///
    /// # Errors
    /// Why it proves nothing.
    pub fn handle_hello(
        &mut self,
        now: Instant,
        source: Source,
        id: MemberId,
        hello: &Hello,
    ) -> Result<(), Reason> {
        let Some(peer) = self.peers.get_mut(&id) else {
            self.ask(id);
            return Err(Reason::UnknownMember);
        };
        let stated = [peer.ipv4.map(Into::into), peer.ipv6.map(Into::into)];
        //= docs/spec/membership.md#hello
        //# A receiver MUST refuse a hello whose link-layer or IP source is not one that the member
        //# has stated.
        if source.mac != peer.mac || !stated.contains(&Some(source.address)) {
            //= docs/spec/membership.md#hello
            //# A receiver that refuses a hello for its source MUST query the member if it does not know
            //# the chain, and has not heard the member for a hello interval: it may have moved, and its
            //# report be lost.
            let unknown = peer.chains.iter().all(|(chain, _)| *chain != hello.chain);
            if unknown && now > peer.heard + peer.timing.hello {
                self.ask(id);
            }
            return Err(Reason::ForeignSource);
        }
        let Some(at) = peer
            .chains
            .iter()
            .position(|(chain, _)| *chain == hello.chain)
        else {
            self.ask(id);
            //= docs/spec/membership.md#hello
            //# A receiver MUST refuse a hello of a chain that it does not know, and query the
            //# member.
            return Err(Reason::UnknownChain);
        };
        if self.strict && peer.clock.is_stale(now, peer.timing.dead_time()) {
            self.questions.plan(id, true);
            //= docs/spec/membership.md#proof-of-time
            //# In enforce mode a receiver MUST refuse the hellos of a member that has not answered a
            //# question of it for 500 dead times of the member.
            return Err(Reason::StaleTime);
        }
        // Refused before any hashing, which is what a far index would cost. Either may be an honest
        // member whose last statement came late: a fresh one tells.
        let refused = match peer.place(now, hello.index) {
            Lies::Within => None,
            //= docs/spec/membership.md#hello
            //# A receiver MUST refuse, before it hashes anything, a hello whose index is ahead of
            //# the member's time by more than the dead time and the drift of the clocks.
            Lies::Ahead => Some(Reason::IndexAhead),
            //= docs/spec/membership.md#hello
            //# A receiver MUST refuse a hello whose index lies behind the member's time by more than
            //# the dead time and the drift of the clocks.
            Lies::Behind => Some(Reason::IndexBehind),
        };
        if let Some(reason) = refused {
            //= docs/spec/membership.md#hello
            //# A receiver that refuses a hello for its index MUST query the member, since the
            //# statement that it measures by may have come late.
            self.ask(id);
            return Err(reason);
        }
        let far = hello.index.saturating_sub(peer.chains[at].1.index()) > FAR;
        //= docs/spec/membership.md#hello
        //# A receiver MUST NOT hash more than 64 times for a hello within 300 ms after one of that
        //# member whose value was wrong.
        if far && peer.wrong_at.is_some_and(|wrong| now < wrong + WRONG_PAUSE) {
            return Err(Reason::RateLimited);
        }
        let (_, tail) = &mut peer.chains[at];
        let advanced = tail.advance(id, hello.index, hello.value);
        if advanced == Err(Refused::Wrong) {
            peer.wrong_at = Some(now);
        }
        advanced.map_err(|refused| match refused {
            Refused::Old if tail.index() == hello.index => Reason::Duplicate,
            Refused::Old => Reason::Replay,
            Refused::Beyond | Refused::Wrong => Reason::WrongValue,
        })?;
        // The sender has moved on: the chains before this one are retired.
        peer.chains.drain(..at);
        peer.said_hello(now, hello.index);
        //= docs/spec/membership.md#hello
        //# A receiver that accepts a hello of a generation whose records it neither has nor is
        //# collecting MUST query the member.
        if peer.lacks_records() {
            self.questions.plan(id, false);
        }
        //= docs/spec/membership.md#proof-of-time
        //# In enforce mode a receiver MUST query a member whose time it was last told, in an answer,
        //# 250 dead times of the member ago.
        if self.strict && peer.clock.ends_soon(now, peer.timing.dead_time()) {
            self.questions.plan(id, true);
        }
        Ok(())
    }
}
