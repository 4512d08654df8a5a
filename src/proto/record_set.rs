//! The records of one member, and the digest that names them all.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::addr::Prefix;
use crate::wire::{Record, RecordAddress};

/// The records of one member on one link, one per prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordSet {
    records: BTreeMap<RecordAddress, Record>,
}

impl RecordSet {
    /// Puts `record` in, or takes its prefix out if it is a withdrawal.
    pub fn apply(&mut self, record: Record) {
        match self.records.entry(record.address.clone()) {
            Entry::Occupied(entry) if record.is_withdrawal() => {
                entry.remove();
            }
            Entry::Occupied(mut entry) => {
                entry.insert(record);
            }
            Entry::Vacant(_) if record.is_withdrawal() => {}
            Entry::Vacant(entry) => {
                entry.insert(record);
            }
        }
    }

    /// The record of exactly `prefix`.
    pub fn get(&self, prefix: &Prefix) -> Option<&Record> {
        self.records.get(&RecordAddress::Prefix(*prefix))
    }

    /// The record of the longest prefix that contains `target`.
    pub fn longest_match(&self, target: core::net::IpAddr) -> Option<(Prefix, &Record)> {
        self.prefixes()
            .filter(|(prefix, _)| prefix.contains(&target))
            .max_by_key(|(prefix, _)| prefix.prefix_len())
    }

    /// The records of families that this version knows.
    //= docs/spec/membership.md#statement
    //# A receiver MUST keep records of families that it does not know for the digest, and use them
    //# for nothing else.
    pub fn prefixes(&self) -> impl Iterator<Item = (Prefix, &Record)> {
        self.records
            .values()
            .filter_map(|record| Some((record.prefix()?, record)))
    }

    /// All records.
    pub fn iter(&self) -> impl Iterator<Item = &Record> {
        self.records.values()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The first 16 bytes of the SHA-256 over the records' encodings in ascending order.
    pub fn digest(&self) -> [u8; 16] {
        let mut encodings: Vec<Vec<u8>> = self
            .records
            .values()
            .map(|record| {
                let mut bytes = Vec::with_capacity(32);
                record.write(&mut bytes);
                bytes
            })
            .collect();
        encodings.sort_unstable();
        crate::wire::hash(&encodings.concat())
    }
}

impl FromIterator<Record> for RecordSet {
    fn from_iter<T: IntoIterator<Item = Record>>(records: T) -> Self {
        let mut set = Self::default();
        records.into_iter().for_each(|record| set.apply(record));
        set
    }
}
