//! A record of a known family in 32 bytes.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::addr::{Ipv4Net, Ipv6Net, Prefix};
use crate::time::Duration;
use crate::wire::{Record, RecordAddress, Scope};

/// One record. The address stands first and in full, so that entries compare as keys do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// IPv4 addresses stand in the first four bytes.
    address: [u8; 16],
    /// Milliseconds.
    lifetime: u32,
    serial: u32,
    preference: u16,
    /// 4 or 6.
    family: u8,
    prefix_len: u8,
    scope: u8,
    draining: bool,
    has_serial: bool,
}

const _: () = assert!(size_of::<Entry>() == 32);

/// What entries are sorted by: family, address, prefix length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u8, u128, u8);

const IPV4: u8 = 4;
const IPV6: u8 = 6;

fn parts(prefix: &Prefix) -> (u8, [u8; 16]) {
    match prefix {
        Prefix::V4(net) => {
            let mut address = [0; 16];
            address[..4].copy_from_slice(&net.addr().octets());
            (IPV4, address)
        }
        Prefix::V6(net) => (IPV6, net.addr().octets()),
    }
}

impl Key {
    pub(super) fn new(prefix: &Prefix) -> Self {
        let (family, address) = parts(prefix);
        Self(family, u128::from_be_bytes(address), prefix.prefix_len())
    }
}

impl Entry {
    /// The record as an entry; none of a family that is not known.
    pub(super) fn new(record: &Record) -> Option<Self> {
        let RecordAddress::Prefix(prefix) = &record.address else {
            return None;
        };
        let (family, address) = parts(prefix);
        Some(Self {
            address,
            lifetime: u32::try_from(record.lifetime.as_millis()).unwrap_or(u32::MAX),
            serial: record.serial.unwrap_or_default(),
            preference: record.preference,
            family,
            prefix_len: prefix.prefix_len(),
            scope: record.scope.number(),
            draining: record.draining,
            has_serial: record.serial.is_some(),
        })
    }

    pub(super) fn key(&self) -> Key {
        Key(
            self.family,
            u128::from_be_bytes(self.address),
            self.prefix_len,
        )
    }

    pub(super) fn is_ipv4(&self) -> bool {
        self.family == IPV4
    }

    pub(super) fn prefix_len(&self) -> u8 {
        self.prefix_len
    }

    pub(super) fn is_withdrawal(&self) -> bool {
        self.lifetime == 0
    }

    pub(super) fn lifetime(&self) -> Duration {
        Duration::from_millis(self.lifetime.into())
    }

    pub(super) fn prefix(&self) -> Prefix {
        if self.is_ipv4() {
            let [a, b, c, d, ..] = self.address;
            // NOTE(unwrap): the length is that of the prefix that the entry was made of.
            Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), self.prefix_len).into()
        } else {
            Ipv6Net::new_assert(Ipv6Addr::from(self.address), self.prefix_len).into()
        }
    }

    pub(super) fn record(&self) -> Record {
        Record {
            address: RecordAddress::Prefix(self.prefix()),
            draining: self.draining,
            scope: Scope::from(self.scope),
            preference: self.preference,
            lifetime: self.lifetime(),
            serial: self.has_serial.then_some(self.serial),
        }
    }

    /// Appends the record's encoding.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        self.record().write(out);
    }
}
