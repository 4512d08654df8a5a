//! A member on a link, as the router knows it.

use core::net::IpAddr;

use super::routes::Candidate;
use super::{Hop, LinkId};
use crate::proto::record_set::RecordSet;
use crate::proto::view::Peer;
use crate::time::Duration;
use crate::wire::{Record, Scope};

/// Records whose lifetimes pass within this span are taken out together.
const LAPSE_STEP: Duration = Duration::from_millis(100);

/// One member on one link.
#[derive(Debug, Clone, Default)]
pub(super) struct Holder {
    /// What it serves, shared with the link's view.
    pub(super) wanted: RecordSet,
    /// What of it is taken in: all, as long as there is room.
    pub(super) records: RecordSet,
    /// There was no room for all of it.
    pub(super) refused: bool,
    /// Not heard since this host slept.
    pub(super) stale: bool,
    /// Where it is reached: by IPv4, by IPv6.
    hops: [Option<Hop>; 2],
    dead_time: Duration,
    /// It was silent for so long: shorter lifetimes have passed.
    lapsed: Option<Duration>,
    /// The next lifetime that passes before the member is dead.
    next: Option<Duration>,
}

impl Holder {
    /// Takes over what the view of `link` knows of the member.
    pub(super) fn take_in(&mut self, link: LinkId, peer: &Peer) {
        let hop = |address: Option<IpAddr>| {
            let mac = peer.mac();
            address.map(|address| Hop { link, address, mac })
        };
        self.wanted = peer.records().clone();
        self.hops = [
            hop(peer.ipv4().map(Into::into)),
            hop(peer.ipv6().map(Into::into)),
        ];
        self.dead_time = peer.timing().dead_time();
        self.stale = false;
        self.lapse(None);
    }

    /// The member was silent for so long, or is heard again.
    pub(super) fn lapse(&mut self, silence: Option<Duration>) {
        self.lapsed = silence;
        let step = silence.map_or(Duration::ZERO, |silence| silence + LAPSE_STEP);
        let next = self.wanted.lifetime_after(silence.unwrap_or_default());
        self.next = next
            .map(|lifetime| lifetime.max(step))
            .filter(|lifetime| *lifetime < self.dead_time);
    }

    pub(super) fn is_lapsed(&self) -> bool {
        self.lapsed.is_some()
    }

    /// After how long a silence the next records lapse, if that is before the member is dead.
    pub(super) fn next_lapse(&self) -> Option<Duration> {
        self.next
    }

    /// Whether an equal record of both means the same next hop.
    pub(super) fn acts_as(&self, other: &Self) -> bool {
        self.hops == other.hops && self.lapsed == other.lapsed
    }

    /// Whether the member serves `target` for others than its own link.
    pub(super) fn serves(&self, target: IpAddr) -> bool {
        let found = self.records.longest_match(target);
        found.is_some_and(|(_, record)| self.candidate(&record).is_some())
    }

    /// The next hop that the member's `record` makes; none if it is not for routers.
    pub(super) fn candidate(&self, record: &Record) -> Option<Candidate> {
        let prefix = record.prefix()?;
        let hop = self.hops[usize::from(prefix.addr().is_ipv6())]?;
        //= docs/spec/router.md#routes
        //# A router MUST NOT make a route of a record of scope link, or of a scope that it does not
        //# know.
        let site = match record.scope {
            Scope::Link | Scope::Unknown(_) => return None,
            Scope::Site => true,
            Scope::Global => false,
        };
        let lapsed = |silence| record.lifetime <= silence;
        (!self.lapsed.is_some_and(lapsed)).then_some(Candidate {
            serves: !record.draining,
            preference: record.preference,
            site,
            hop,
        })
    }
}
