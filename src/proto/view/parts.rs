//! The parts of a full report, until all are there.
//!
//! Records beyond the room that there is are not kept: first those that do not count here, then
//! those that come last in the order of the digest. A report of which something was not kept has no
//! digest that could be checked.

use std::collections::BTreeMap;

use super::usable::Filter;
use crate::proto::Reason;
use crate::proto::record_set::RecordSet;
use crate::time::{Duration, Instant};
use crate::wire::Record;

/// How long the next part of a report may take after the one before; more than the member's pauses.
const PART_PATIENCE: Duration = Duration::from_millis(300);
/// So many parts are noted in the place of one record.
const NOTED: usize = 256;

/// The records of a full report.
#[derive(Debug, Clone)]
pub(super) struct Gathered {
    pub(super) records: RecordSet,
    /// Some were not kept.
    pub(super) partial: bool,
}

/// The parts of a full report that is still incomplete.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    generation: u32,
    sets: BTreeMap<u16, RecordSet>,
    /// Which parts came, a bit for each, and how many.
    came: Vec<u64>,
    count: u16,
    parts: u16,
    /// How many records are kept.
    kept: usize,
    partial: bool,
    /// When the last of them came.
    at: Instant,
}

impl Parts {
    /// Whether none came.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How much place they take, in records.
    pub(super) fn held(&self) -> usize {
        self.kept + usize::from(self.parts) / NOTED
    }

    /// Puts a part to the others of its generation; all of them together when it was the last.
    pub(super) fn collect(
        &mut self,
        now: Instant,
        generation: u32,
        (part, parts): (u16, u16),
        records: &[Record],
        (room, no_room): (usize, Reason),
        filter: Filter<'_>,
    ) -> Result<Option<Gathered>, Reason> {
        let Some(room) = room.checked_sub(usize::from(parts) / NOTED) else {
            return Err(no_room);
        };
        if parts == 1 {
            *self = Self::default();
            let records: RecordSet = records.iter().collect();
            return Ok(Some(Gathered {
                records,
                partial: false,
            }));
        }
        if (self.generation, self.parts) != (generation, parts) {
            *self = Self {
                generation,
                parts,
                came: vec![0; usize::from(parts).div_ceil(64)],
                ..Self::default()
            };
        }
        self.at = now;
        let (word, bit) = (usize::from(part / 64), 1 << (part % 64));
        self.count += u16::from(self.came[word] & bit == 0);
        self.came[word] |= bit;
        let mut set: RecordSet = records.iter().collect();
        if self.partial {
            set = set.filtered(|prefix| filter.admits(prefix));
        }
        // One that is said again takes the place of the one before.
        self.kept += set.len();
        let before = self.sets.insert(part, set);
        self.kept -= before.map_or(0, |set| set.len());
        self.shed(room, filter);
        if self.count < parts {
            return Ok(None);
        }
        let gathered = Gathered {
            records: RecordSet::concat(self.sets.values()),
            partial: self.partial,
        };
        *self = Self::default();
        Ok(Some(gathered))
    }

    /// Keeps no more than there is room for.
    fn shed(&mut self, room: usize, filter: Filter<'_>) {
        if self.kept > room && !self.partial {
            self.partial = true;
            for set in self.sets.values_mut() {
                *set = set.filtered(|prefix| filter.admits(prefix));
            }
            self.kept = self.sets.values().map(RecordSet::len).sum();
        }
        while self.kept > room
            && let Some(mut last) = self.sets.last_entry()
        {
            let (length, excess) = (last.get().len(), self.kept - room);
            let rest = last.get().first(length.saturating_sub(excess));
            self.kept -= length - rest.len();
            if rest.is_empty() {
                last.remove();
            } else {
                last.insert(rest);
            }
        }
        self.sets.retain(|_, set| !set.is_empty());
    }

    /// When those that have not come are missed.
    pub(super) fn missed_at(&self) -> Option<Instant> {
        (!self.is_empty()).then(|| self.at + PART_PATIENCE)
    }

    /// Whether to ask for those that have not come; then not again for a while.
    pub(super) fn miss(&mut self, now: Instant) -> bool {
        let missed = self.missed_at().is_some_and(|at| at <= now);
        if missed {
            self.at = now;
        }
        missed
    }
}
