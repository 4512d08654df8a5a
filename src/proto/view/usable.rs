//! What of a peer's records counts here.
//!
//! A peer may serve what this host cannot take: addresses of a class that was extended on other
//! hosts first, addresses that the peer's certificate does not cover, records of a later version,
//! or more than there is room for. All of them belong to the digest, so they are kept as they were
//! said as far as there is room; but only the others are ranked, routed and counted upon.

use super::Peer;
use crate::addr::{Class, Prefix};
use crate::proto::Reason;
use crate::proto::record_set::RecordSet;
use crate::proto::trust::Standing;

/// Records of a peer that do not count here, for one reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Skipped {
    /// Why.
    pub reason: Reason,
    /// How many they are; 0 if that is not known.
    pub records: usize,
    /// The first of them, where it is of a known family.
    pub first: Option<Prefix>,
}

/// What decides whether a record counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filter<'a> {
    pub(super) class: &'a Class,
    /// In enforce mode, what the peer was verified to be allowed.
    pub(super) standing: Option<&'a Standing>,
}

impl Filter<'_> {
    /// Why a record of `prefix` does not count.
    fn refuses(&self, prefix: &Prefix) -> Option<Reason> {
        //= docs/spec/membership.md#statement
        //# A receiver MUST skip a record outside its class, and use the others.
        if !self.class.covers(prefix) {
            return Some(Reason::OutsideClass);
        }
        self.standing?.refuses(prefix)
    }

    pub(super) fn admits(&self, prefix: &Prefix) -> bool {
        self.refuses(prefix).is_none()
    }

    /// The records of `all` that count, and the others by reason.
    pub(super) fn apply(&self, all: &RecordSet) -> (RecordSet, Vec<Skipped>) {
        let mut skipped = Vec::new();
        let mut count = 0;
        for (prefix, _) in all.prefixes() {
            match self.refuses(&prefix) {
                Some(reason) => skip(&mut skipped, reason, Some(prefix)),
                None => count += 1,
            }
        }
        (0..all.unknown()).for_each(|_| skip(&mut skipped, Reason::UnknownRecord, None));
        let mut usable = if count == all.len() - all.unknown() {
            all.clone()
        } else {
            all.filtered(|prefix| self.admits(prefix))
        };
        if let Some(standing) = self.standing
            && count > standing.limit
        {
            //= docs/spec/trust.md#roles
            //# Of more records than the certificate's limit, a receiver in enforce mode MUST use the
            //# first in the order of the digest, and skip the others.
            let first = usable.prefixes().nth(standing.limit);
            skipped.push(Skipped {
                reason: Reason::TooManyRecords,
                records: count - standing.limit,
                first: first.map(|(prefix, _)| prefix),
            });
            usable = usable.first(standing.limit);
        }
        (usable, skipped)
    }

    /// What is kept of more records than there is `room` for.
    //= docs/spec/membership.md#statement
    //# Of more records than it has room for, a receiver MUST keep those that it can use before
    //# others, and of these the first in the order of the digest.
    pub(super) fn trim(&self, all: &RecordSet, room: usize) -> RecordSet {
        let usable = all.filtered(|prefix| self.admits(prefix));
        usable.first(room)
    }
}

fn skip(skipped: &mut Vec<Skipped>, reason: Reason, prefix: Option<Prefix>) {
    match skipped.iter_mut().find(|known| known.reason == reason) {
        Some(known) => known.records += 1,
        None => skipped.push(Skipped {
            reason,
            records: 1,
            first: prefix,
        }),
    }
}

impl Peer {
    /// Works out anew which of the peer's records count; whether that has changed.
    pub(super) fn sift(&mut self, filter: Filter<'_>, no_room: Reason) -> bool {
        let (usable, mut skipped) = filter.apply(&self.said);
        if self.partial {
            skipped.push(Skipped {
                reason: no_room,
                records: 0,
                first: None,
            });
        }
        self.skipped = skipped;
        let changed = self.records != usable;
        self.records = usable;
        changed
    }
}
