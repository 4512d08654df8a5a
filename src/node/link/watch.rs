//! What people should know of, and is said again for as long as it goes on.

use core::net::IpAddr;

use super::Link;
use crate::node::Event;
use crate::node::trouble::{Course, Trouble, TroubleKind};
use crate::proto::view::{Peer, Skipped};
use crate::proto::{Counters, Reason};
use crate::time::{Duration, Instant};
use crate::wire::{MemberId, Message, Statement, StatementKind};

/// How often a trouble that goes on is noted.
const WATCH: Duration = Duration::from_secs(30);

impl Link {
    /// What others do that people should know of.
    pub fn troubles(&self, now: Instant) -> impl Iterator<Item = (&Trouble, &Course)> {
        self.troubles.current(now)
    }

    /// Notes a trouble; people are told when it begins, and once a minute while it goes on.
    pub(in crate::node) fn trouble(&mut self, now: Instant, trouble: Trouble) {
        if let Some(trouble) = self.troubles.note(now, trouble) {
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

    /// Whether a message in this host's name, from its own link-layer address, is another host's: a
    /// clone that has that address too.
    pub(super) fn is_foreign(&self, message: &Message) -> bool {
        let Message::Statement { statement, .. } = message else {
            return false;
        };
        let own = self.member.identity();
        let others = |stated: bool, own: bool| stated && !own;
        statement.epoch > self.member.epoch()
            || others(statement.ipv4.is_some(), statement.ipv4 == own.ipv4)
                && others(statement.ipv6.is_some(), statement.ipv6 == own.ipv6)
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
        if self.watch_at.is_none() && !self.shared(id, peer).is_empty() {
            self.watch_at = Some(now + peer.timing().dead_time() + self.timing.dead_time());
        }
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

    /// What a peer has that others have too, and only one can have: a unicast address, or a name.
    fn shared(&self, id: MemberId, peer: &Peer) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        let others = self
            .view
            .peers()
            .filter(|(other, known)| *other != id && known.mac() != peer.mac());
        let of = |kind, address| Trouble {
            member: Some(id),
            mac: Some(peer.mac()),
            address,
            ..Trouble::new(kind)
        };
        for (_, other) in others {
            let ipv4 = peer.ipv4().filter(|at| other.ipv4() == Some(*at));
            let ipv6 = peer.ipv6().filter(|at| other.ipv6() == Some(*at));
            let addresses = [ipv4.map(IpAddr::V4), ipv6.map(IpAddr::V6)];
            let addresses = addresses.into_iter().flatten();
            troubles.extend(addresses.map(|at| of(TroubleKind::SameAddress, Some(at))));
            if peer.name().is_some() && peer.name() == other.name() {
                troubles.push(of(TroubleKind::SameName, None));
            }
        }
        let own = self.member.identity();
        if self.member.is_active()
            && own.mac != peer.mac()
            && peer.name().is_some()
            && peer.name() == self.member.name()
        {
            troubles.push(of(TroubleKind::SameName, None));
        }
        troubles.sort_unstable();
        troubles.dedup();
        troubles
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
            if now <= peer.heard() + peer.timing().hello * 2 {
                troubles.extend(self.shared(id, peer));
            }
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
