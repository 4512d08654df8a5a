//! The records of one member, and the digest that names them all.
//!
//! A sorted table of fixed-size entries behind a reference count: a set costs 32 bytes a record,
//! a copy of it costs nothing until one of the two changes, two versions are compared in one pass,
//! and the digest is taken over the entries as they lie. That is what lets a router keep a million
//! memberships and share them with what it computes from them.

mod entry;

use core::cmp::Ordering;
use core::net::IpAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::addr::Prefix;
use crate::time::Duration;
use crate::wire::Record;
use entry::{Entry, Key};

/// Encodings are hashed in pieces of about this size.
const PIECE: usize = 4096;

/// The records of one member on one link, one per prefix, in the order of their digest: by family
/// number, then address, then prefix length.
#[derive(Debug, Clone, Default)]
pub struct RecordSet {
    entries: Arc<Vec<Entry>>,
    /// Records of families that this version does not know, in the same order; mostly none.
    unknown: Option<Arc<Vec<Record>>>,
    /// Which prefix lengths of IPv4 and IPv6 occur, as bits: what a match has to look up.
    lengths: [[u64; 3]; 2],
}

/// A prefix that two sets disagree about: its record in the first and in the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The prefix.
    pub prefix: Prefix,
    /// Its record in the first set.
    pub before: Option<Record>,
    /// Its record in the second set.
    pub after: Option<Record>,
}

impl RecordSet {
    /// Puts `record` in, or takes its prefix out if it is a withdrawal.
    pub fn apply(&mut self, record: Record) {
        let Some(entry) = Entry::new(&record) else {
            return self.apply_unknown(record);
        };
        let found = self.find(&entry.key());
        match (found, record.is_withdrawal()) {
            (Ok(at), true) => {
                Arc::make_mut(&mut self.entries).remove(at);
                self.measure();
            }
            (Ok(at), false) => Arc::make_mut(&mut self.entries)[at] = entry,
            (Err(_), true) => {}
            (Err(at), false) => {
                Arc::make_mut(&mut self.entries).insert(at, entry);
                self.note(&entry);
            }
        }
    }

    /// Applies many records, in one pass over the set: a later one of a prefix counts.
    pub fn apply_all<'a>(&mut self, records: impl IntoIterator<Item = &'a Record>) {
        let mut changes = Vec::new();
        for record in records {
            match Entry::new(record) {
                Some(entry) => changes.push(entry),
                None => self.apply_unknown(record.clone()),
            }
        }
        let changes = in_order(changes);
        if changes.is_empty() {
            return;
        }
        let mut merged = Vec::with_capacity(self.entries.len() + changes.len());
        let mut old = &self.entries[..];
        for change in changes {
            let (before, after) = old.split_at(old.partition_point(|e| e.key() < change.key()));
            merged.extend_from_slice(before);
            let replaces = after.first().is_some_and(|e| e.key() == change.key());
            old = &after[usize::from(replaces)..];
            if !change.is_withdrawal() {
                merged.push(change);
            }
        }
        merged.extend_from_slice(old);
        merged.shrink_to_fit();
        self.entries = Arc::new(merged);
        self.measure();
    }

    /// One set of several, each of which counts over those before it. Sets that follow each other
    /// in order are put together as they are.
    pub fn concat<'a>(sets: impl IntoIterator<Item = &'a Self> + Clone) -> Self {
        let count = sets.clone().into_iter().map(|set| set.entries.len()).sum();
        let mut entries = Vec::with_capacity(count);
        let mut all = Self::default();
        for set in sets {
            entries.extend_from_slice(&set.entries);
            for record in set.unknown.iter().flat_map(|unknown| unknown.iter()) {
                all.apply_unknown(record.clone());
            }
        }
        all.entries = Arc::new(in_order(entries));
        all.measure();
        all
    }

    /// The record of exactly `prefix`.
    pub fn get(&self, prefix: &Prefix) -> Option<Record> {
        let at = self.find(&Key::new(prefix)).ok()?;
        Some(self.entries[at].record())
    }

    /// The record of the longest prefix that contains `target`.
    pub fn longest_match(&self, target: IpAddr) -> Option<(Prefix, Record)> {
        let longest = if target.is_ipv4() { 32 } else { 128 };
        let lengths = &self.lengths[family(target)];
        let known = |length: &u8| lengths[usize::from(length / 64)] >> (length % 64) & 1 == 1;
        (0..=longest).rev().filter(known).find_map(|length| {
            let prefix = Prefix::new(target, length).ok()?.trunc();
            Some((prefix, self.get(&prefix)?))
        })
    }

    /// The records of families that this version knows.
    //= docs/spec/membership.md#statement
    //# A receiver MUST keep records of families that it does not know for the digest, and use them
    //# for nothing else.
    pub fn prefixes(&self) -> impl Iterator<Item = (Prefix, Record)> {
        self.entries
            .iter()
            .map(|entry| (entry.prefix(), entry.record()))
    }

    /// All records, in order.
    pub fn iter(&self) -> impl Iterator<Item = Record> {
        let mut known = self.entries.iter().peekable();
        let mut unknown = self.unknown.iter().flat_map(|all| all.iter()).peekable();
        core::iter::from_fn(move || match (known.peek(), unknown.peek()) {
            (Some(entry), Some(record)) if record.address < entry.record().address => {
                unknown.next().cloned()
            }
            (Some(_), _) => known.next().map(Entry::record),
            (None, _) => unknown.next().cloned(),
        })
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.entries.len() + self.unknown()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether both are the same set and not merely equal ones: cheap, and may be false for equal
    /// sets.
    pub fn is_same(&self, other: &Self) -> bool {
        let unknown = match (&self.unknown, &other.unknown) {
            (Some(one), Some(two)) => Arc::ptr_eq(one, two),
            (one, two) => one.is_none() && two.is_none(),
        };
        unknown && Arc::ptr_eq(&self.entries, &other.entries)
    }

    /// What changes for known prefixes on the way from this set to `after`, in order.
    pub fn differences<'a>(&'a self, after: &'a Self) -> impl Iterator<Item = Difference> + 'a {
        self.merged(after, false)
    }

    /// The known prefixes of this set and of `after`, in order: all of them, or those that the two
    /// disagree about.
    pub(crate) fn merged<'a>(
        &'a self,
        after: &'a Self,
        all: bool,
    ) -> impl Iterator<Item = Difference> + 'a {
        let same = !all && Arc::ptr_eq(&self.entries, &after.entries);
        let (mut old, mut new) = if same {
            (&[][..], &[][..])
        } else {
            (&self.entries[..], &after.entries[..])
        };
        core::iter::from_fn(move || {
            loop {
                let order = match (old.first(), new.first()) {
                    (None, None) => return None,
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (Some(before), Some(after)) => before.key().cmp(&after.key()),
                };
                let before = (order != Ordering::Greater).then(|| old[0]);
                let after = (order != Ordering::Less).then(|| new[0]);
                old = &old[usize::from(before.is_some())..];
                new = &new[usize::from(after.is_some())..];
                if all || before != after {
                    return Some(Difference {
                        prefix: before.or(after)?.prefix(),
                        before: before.map(|entry| entry.record()),
                        after: after.map(|entry| entry.record()),
                    });
                }
            }
        })
    }

    /// The records of this set whose prefixes `other` holds too.
    pub(crate) fn within(&self, other: &Self) -> Self {
        let common = self
            .prefixes()
            .filter(|(prefix, _)| other.get(prefix).is_some());
        common.map(|(_, record)| record).collect()
    }

    /// The records of known families whose prefixes `admits` names.
    pub(crate) fn filtered(&self, admits: impl Fn(&Prefix) -> bool) -> Self {
        let entries = self.entries.iter().filter(|entry| admits(&entry.prefix()));
        let mut set = Self {
            entries: Arc::new(entries.copied().collect()),
            ..Self::default()
        };
        set.measure();
        set
    }

    /// The first `count` records of known families.
    pub(crate) fn first(&self, count: usize) -> Self {
        if count >= self.entries.len() && self.unknown.is_none() {
            return self.clone();
        }
        let entries = self.entries.iter().take(count);
        let mut set = Self {
            entries: Arc::new(entries.copied().collect()),
            ..Self::default()
        };
        set.measure();
        set
    }

    /// How many records this version does not know how to use.
    pub(crate) fn unknown(&self) -> usize {
        self.unknown.as_ref().map_or(0, |all| all.len())
    }

    /// The shortest lifetime longer than `floor` of a record of a known family.
    pub(crate) fn lifetime_after(&self, floor: Duration) -> Option<Duration> {
        let all = self.entries.iter().map(Entry::lifetime);
        all.filter(|lifetime| *lifetime > floor).min()
    }

    /// The first 16 bytes of the SHA-256 over the records' encodings in order.
    pub fn digest(&self) -> [u8; 16] {
        let mut hasher = Sha256::new();
        let mut piece = Vec::with_capacity(PIECE + 64);
        if self.unknown.is_none() {
            for entry in self.entries.iter() {
                entry.write(&mut piece);
                if piece.len() >= PIECE {
                    hasher.update(&piece);
                    piece.clear();
                }
            }
        } else {
            self.iter().for_each(|record| record.write(&mut piece));
        }
        hasher.update(&piece);
        let mut out = [0; 16];
        out.copy_from_slice(&hasher.finalize()[..16]);
        out
    }

    fn find(&self, key: &Key) -> Result<usize, usize> {
        // Records mostly come in order, and so behind all others.
        if self.entries.last().is_none_or(|last| last.key() < *key) {
            return Err(self.entries.len());
        }
        self.entries.binary_search_by(|entry| entry.key().cmp(key))
    }

    fn apply_unknown(&mut self, record: Record) {
        let mut all = self.unknown.take().unwrap_or_default();
        let list = Arc::make_mut(&mut all);
        let found = list.binary_search_by(|other| other.address.cmp(&record.address));
        match (found, record.is_withdrawal()) {
            (Ok(at), true) => drop(list.remove(at)),
            (Ok(at), false) => list[at] = record,
            (Err(_), true) => {}
            (Err(at), false) => list.insert(at, record),
        }
        self.unknown = (!all.is_empty()).then_some(all);
    }

    fn note(&mut self, entry: &Entry) {
        note(&mut self.lengths, entry);
    }

    fn measure(&mut self) {
        self.lengths = [[0; 3]; 2];
        for entry in self.entries.iter() {
            note(&mut self.lengths, entry);
        }
    }
}

/// Entries by key, one of each: the last. What is in order already is left as it is.
fn in_order(mut entries: Vec<Entry>) -> Vec<Entry> {
    if entries.is_sorted_by(|one, two| one.key() < two.key()) {
        return entries;
    }
    // Stable, so that of equal keys the last comes last.
    entries.sort_by_key(Entry::key);
    entries.reverse();
    entries.dedup_by_key(|entry| entry.key());
    entries.reverse();
    entries
}

fn note(lengths: &mut [[u64; 3]; 2], entry: &Entry) {
    let length = entry.prefix_len();
    lengths[usize::from(!entry.is_ipv4())][usize::from(length / 64)] |= 1 << (length % 64);
}

/// Where a family's lengths are.
fn family(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

impl PartialEq for RecordSet {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other) || self.entries == other.entries && self.unknown == other.unknown
    }
}

impl Eq for RecordSet {}

impl<'a> FromIterator<&'a Record> for RecordSet {
    fn from_iter<T: IntoIterator<Item = &'a Record>>(records: T) -> Self {
        let records = records.into_iter();
        let mut set = Self::default();
        let mut entries = Vec::with_capacity(records.size_hint().0);
        for record in records {
            match Entry::new(record) {
                Some(entry) => entries.push(entry),
                None => set.apply_unknown(record.clone()),
            }
        }
        let mut entries = in_order(entries);
        // A withdrawal takes out what came before it.
        entries.retain(|entry| !entry.is_withdrawal());
        entries.shrink_to_fit();
        set.entries = Arc::new(entries);
        set.measure();
        set
    }
}

impl FromIterator<Record> for RecordSet {
    fn from_iter<T: IntoIterator<Item = Record>>(records: T) -> Self {
        let records: Vec<Record> = records.into_iter().collect();
        records.iter().collect()
    }
}
