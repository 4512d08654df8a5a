//! The records of one member, and the digest that names them all.

use core::net::IpAddr;
use std::collections::BTreeMap;

use crate::addr::Prefix;
use crate::wire::{Record, RecordAddress};

/// The records of one member on one link, one per prefix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordSet {
    records: BTreeMap<RecordAddress, Record>,
    /// How many IPv4 and IPv6 prefixes of each length there are: what a match has to look up.
    lengths: [BTreeMap<u8, usize>; 2],
}

impl RecordSet {
    /// Puts `record` in, or takes its prefix out if it is a withdrawal.
    pub fn apply(&mut self, record: Record) {
        let prefix = record.prefix();
        let (before, after) = if record.is_withdrawal() {
            (self.records.remove(&record.address), false)
        } else {
            (self.records.insert(record.address.clone(), record), true)
        };
        let Some(prefix) = prefix.filter(|_| before.is_some() != after) else {
            return;
        };
        let lengths = &mut self.lengths[family(prefix.addr())];
        let count = lengths.entry(prefix.prefix_len()).or_default();
        if after {
            *count += 1;
        } else {
            *count -= 1;
        }
        if *count == 0 {
            lengths.remove(&prefix.prefix_len());
        }
    }

    /// The record of exactly `prefix`.
    pub fn get(&self, prefix: &Prefix) -> Option<&Record> {
        self.records.get(&RecordAddress::Prefix(*prefix))
    }

    /// The record of the longest prefix that contains `target`.
    pub fn longest_match(&self, target: IpAddr) -> Option<(Prefix, &Record)> {
        let lengths = self.lengths[family(target)].keys().rev();
        lengths.into_iter().find_map(|length| {
            let prefix = Prefix::new(target, *length).ok()?.trunc();
            Some((prefix, self.get(&prefix)?))
        })
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

    /// The first 16 bytes of the SHA-256 over the records' encodings, in ascending order of
    /// family, address and prefix length.
    pub fn digest(&self) -> [u8; 16] {
        let mut encodings = Vec::with_capacity(28 * self.records.len());
        self.records
            .values()
            .for_each(|record| record.write(&mut encodings));
        crate::wire::hash(&encodings)
    }
}

/// Where a family's lengths are.
fn family(address: IpAddr) -> usize {
    usize::from(address.is_ipv6())
}

impl FromIterator<Record> for RecordSet {
    fn from_iter<T: IntoIterator<Item = Record>>(records: T) -> Self {
        let mut set = Self::default();
        records.into_iter().for_each(|record| set.apply(record));
        set
    }
}
