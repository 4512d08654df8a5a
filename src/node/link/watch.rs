//! What people should know of, and is said again for as long as it goes on.

use super::Link;
use crate::node::Event;
use crate::node::trouble::{Course, Trouble, TroubleKind};
use crate::proto::view::Skipped;
use crate::proto::{Counters, Reason};
use crate::time::{Duration, Instant};
use crate::wire::{MemberId, Statement, StatementKind};

/// How often a trouble that goes on is noted.
const WATCH: Duration = Duration::from_secs(30);

impl Link {
    /// What others do that people should know of.
    pub fn troubles(&self, now: Instant) -> impl Iterator<Item = (&Trouble, &Course)> {
        self.troubles.current(now)
    }

    /// Notes a trouble; people are told when it begins, and once a minute while it goes on.
    pub(in crate::node) fn trouble(&mut self, now: Instant, trouble: Trouble) {
        if self.troubles.note(now, trouble) {
            let link = self.id;
            self.events.push_back(Event::Trouble { link, trouble });
        }
    }

    /// This host's own faults, as far as it can tell; told at once, and as long as they last.
    pub(in crate::node) fn set_own_troubles(&mut self, now: Instant, troubles: Vec<Trouble>) {
        if self.own_troubles == troubles {
            return;
        }
        self.troubles.end(|trouble| {
            trouble.kind == TroubleKind::NotCertified && !troubles.contains(trouble)
        });
        self.own_troubles = troubles;
        self.watch_at = Some(now);
    }

    /// What of a statement that was taken in does not count here.
    pub(super) fn note_skipped(
        &mut self,
        now: Instant,
        id: MemberId,
        statement: &Statement,
        counters: &mut Counters,
    ) {
        let Some(peer) = self.view.get(id) else {
            return;
        };
        let said = statement.kind != StatementKind::Anchor && peer.is_complete();
        if !said || statement.generation != peer.version().1 || peer.skipped().is_empty() {
            return;
        }
        let reasons: Vec<_> = peer
            .skipped()
            .iter()
            .map(|skipped| skipped.reason)
            .collect();
        for reason in reasons {
            counters.count_ignored(reason);
            if matches!(reason, Reason::MemberLimit | Reason::LinkLimit) {
                self.refuse(now, id, reason);
            }
        }
        self.watch_at = Some(now);
    }

    /// Notes what goes on.
    pub(super) fn watch(&mut self, now: Instant) {
        if self.watch_at.is_none_or(|at| now < at) {
            return;
        }
        let mut troubles = self.own_troubles.clone();
        for (id, peer) in self.view.peers() {
            let mac = Some(peer.mac());
            let told = peer.skipped().iter().map(|skipped| Trouble {
                mac,
                ..skipped_trouble(id, skipped)
            });
            troubles.extend(told);
        }
        self.watch_at = (!troubles.is_empty()).then_some(now + WATCH);
        troubles
            .into_iter()
            .for_each(|trouble| self.trouble(now, trouble));
    }
}

fn skipped_trouble(id: MemberId, skipped: &Skipped) -> Trouble {
    Trouble {
        member: Some(id),
        address: skipped.first.map(|prefix| prefix.addr()),
        reason: Some(skipped.reason),
        ..Trouble::new(TroubleKind::SkippedRecords)
    }
}
