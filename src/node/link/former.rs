//! A key roll-over: the member that this host was, as long as others still go by it.
//!
//! Another key is another member. The new one speaks at once; the former one lives on beside it
//! until everybody has met its successor, and then leaves as a member does whose addresses others
//! serve. Both have the same addresses on the link, so whoever is asked for either finds this host.

use std::sync::Arc;

use crate::proto::earliest;
use crate::proto::member::{Member, Speech};
use crate::proto::ownership::Own;
use crate::proto::random::Random;
use crate::proto::trust::Credentials;
use crate::time::{Duration, Instant};

/// How long both live: the new one's report is said twice within 1 s, and answered for.
const OVERLAP: Duration = Duration::from_secs(1);

/// The member that this host was.
#[derive(Debug, Clone)]
pub(super) struct Former {
    pub(super) member: Member,
    pub(super) credentials: Option<Arc<Credentials>>,
    leaves_at: Option<Instant>,
}

impl Former {
    /// What `member` was, just before it took another key.
    pub(super) fn new(now: Instant, member: Member, credentials: Option<Arc<Credentials>>) -> Self {
        Self {
            member,
            credentials,
            leaves_at: Some(now + OVERLAP),
        }
    }

    /// Does what is due.
    pub(super) fn handle_timeout(&mut self, now: Instant, random: &mut Random) {
        //= docs/spec/trust.md#roll-over
        //# A member that takes another key MUST report with it at once, and speak with both for at
        //# least 1 s; then the former member MUST drain everything, and leave.
        if self.leaves_at.is_some_and(|at| at <= now) {
            self.leaves_at = None;
            self.member.set_router(now, false);
            let prefixes: Vec<_> = self.member.records().prefixes().map(|(p, _)| p).collect();
            for prefix in prefixes {
                self.member.leave(now, prefix, true);
            }
        }
        self.member.handle_timeout(now, random);
        // What is served is the new member's affair.
        while self.member.poll_event().is_some() {}
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Speech> {
        self.member.poll_transmit()
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        earliest([self.leaves_at, self.member.poll_timeout()])
    }

    /// Whether it has left, or is of no use any more.
    pub(super) fn is_done(&self) -> bool {
        !self.member.is_active() || (self.leaves_at.is_none() && self.member.is_idle())
    }

    /// This host as the candidate that it was.
    pub(super) fn own(&self) -> Option<Own<'_>> {
        super::own(&self.member)
    }
}
