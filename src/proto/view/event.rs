//! What became of a peer, for whoever acts upon it.

use super::{Peer, RecordSet};
use crate::addr::Prefix;
use crate::wire::frame::Mac;
use crate::wire::{MemberId, Record};

/// What became of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Change {
    /// It was not known before, or served nothing.
    Joined,
    /// It serves something else, or otherwise.
    Changed,
    /// It withdrew everything.
    Left,
    /// It was not heard for its dead time.
    Dead,
    /// Nobody vouches for it any more.
    Distrusted,
}

impl Change {
    /// The change in a word, for logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::Changed => "changed",
            Self::Left => "left",
            Self::Dead => "died",
            Self::Distrusted => "is no longer trusted",
        }
    }
}

/// What became of a peer, and of its records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerEvent {
    /// The peer.
    pub id: MemberId,
    /// Its link-layer address.
    pub mac: Mac,
    /// What became of it.
    pub change: Change,
    /// What it served before.
    pub before: RecordSet,
    /// What it serves now.
    pub after: RecordSet,
    /// Which family it can no longer act for: IPv4, IPv6.
    pub lost: [bool; 2],
}

impl PeerEvent {
    /// The prefixes that the peer served, and now does not, or is about to stop serving.
    pub fn gone(&self) -> Vec<Prefix> {
        let serves = |record: &Record| !record.draining;
        if self.lost == [false, false] {
            let differences = self.before.differences(&self.after);
            let gone = differences.filter(|difference| {
                difference.before.as_ref().is_some_and(serves)
                    && !difference.after.as_ref().is_some_and(serves)
            });
            return gone.map(|difference| difference.prefix).collect();
        }
        let lost = |prefix: &Prefix| self.lost[usize::from(prefix.addr().is_ipv6())];
        let served = self.before.prefixes().filter(|(_, record)| serves(record));
        served
            .map(|(prefix, _)| prefix)
            .filter(|prefix| lost(prefix) || !self.after.get(prefix).as_ref().is_some_and(serves))
            .collect()
    }
}

/// What to tell when `peer` is gone: nothing, if it served nothing.
pub(super) fn farewell(id: MemberId, peer: &Peer, change: Change) -> Option<PeerEvent> {
    (!peer.records.is_empty()).then(|| PeerEvent {
        id,
        mac: peer.mac(),
        change,
        before: peer.records.clone(),
        after: RecordSet::default(),
        lost: [true, true],
    })
}

/// What to tell when a peer serves something else, or has `moved`: nothing, if it is as it was.
pub(super) fn of_records(
    (id, mac): (MemberId, Mac),
    before: RecordSet,
    after: RecordSet,
    moved: bool,
    lost: [bool; 2],
) -> Option<PeerEvent> {
    let change = match (before.is_empty(), after.is_empty()) {
        (true, false) => Change::Joined,
        (false, true) => Change::Left,
        (false, false) if before != after || moved => Change::Changed,
        _ => return None,
    };
    Some(PeerEvent {
        id,
        mac,
        change,
        before,
        after,
        lost,
    })
}
