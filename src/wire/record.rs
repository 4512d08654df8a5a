//! The record: one prefix that a member serves.

use core::cmp::Ordering;
use core::net::{Ipv4Addr, Ipv6Addr};
use core::time::Duration;

use super::Error;
use super::cursor::Reader;
use crate::addr::{Ipv4Net, Ipv6Net, Prefix};

/// One prefix that a member serves, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What is served.
    pub address: RecordAddress,
    /// Whether the member is about to leave: still serving, ranked behind all that are not.
    pub draining: bool,
    /// How far routers may carry the prefix.
    pub scope: Scope,
    /// Higher is preferred.
    pub preference: u16,
    /// How long a router may keep the record after the last sign of life, in milliseconds on the
    /// wire; hosts on the link go by the dead time. Zero withdraws it.
    pub lifetime: Duration,
    /// Version of the data that the service answers from, where it has one.
    pub serial: Option<u32>,
}

/// The prefix of a record, or what an address family of a later version left there.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RecordAddress {
    /// An IPv4 or IPv6 prefix.
    Prefix(Prefix),
    /// A family that this version does not know, or a prefix that is none.
    Unknown {
        /// Its number.
        family: u8,
        /// Its prefix length.
        prefix_len: u8,
        /// Its address.
        address: Vec<u8>,
    },
}

impl RecordAddress {
    /// What addresses are ordered by: family, address, prefix length.
    pub(crate) fn key(&self) -> (u8, AddressBytes<'_>, u8) {
        match self {
            Self::Prefix(Prefix::V4(net)) => {
                let bytes = AddressBytes::V4(net.addr().octets());
                (Record::IPV4, bytes, net.prefix_len())
            }
            Self::Prefix(Prefix::V6(net)) => {
                let bytes = AddressBytes::V6(net.addr().octets());
                (Record::IPV6, bytes, net.prefix_len())
            }
            Self::Unknown {
                family,
                prefix_len,
                address,
            } => (*family, AddressBytes::Other(address), *prefix_len),
        }
    }
}

/// The bytes of an address as they are on the wire; they compare as such.
#[derive(Debug, Clone, Copy)]
pub(crate) enum AddressBytes<'a> {
    V4([u8; 4]),
    V6([u8; 16]),
    Other(&'a [u8]),
}

impl AddressBytes<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::V4(bytes) => bytes,
            Self::V6(bytes) => bytes,
            Self::Other(bytes) => bytes,
        }
    }
}

impl PartialEq for AddressBytes<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl Eq for AddressBytes<'_> {}

impl Ord for AddressBytes<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other.as_slice())
    }
}

impl PartialOrd for AddressBytes<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The order in which a digest is taken: family, address, prefix length.
impl Ord for RecordAddress {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for RecordAddress {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// How far an announcement may be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// This link only.
    Link,
    /// The routers of this site.
    Site,
    /// Without limit.
    Global,
    /// A scope of a later version; treated as [`Scope::Link`], the narrowest.
    Unknown(u8),
}

impl Scope {
    /// The number on the wire.
    pub const fn number(self) -> u8 {
        match self {
            Self::Link => 0,
            Self::Site => 1,
            Self::Global => 2,
            Self::Unknown(other) => other,
        }
    }
}

impl From<u8> for Scope {
    fn from(number: u8) -> Self {
        match number {
            0 => Self::Link,
            1 => Self::Site,
            2 => Self::Global,
            other => Self::Unknown(other),
        }
    }
}

impl Record {
    const IPV4: u8 = 4;
    const IPV6: u8 = 6;
    const DRAINING: u8 = 1;
    const SERIAL: u8 = 2;
    /// Family, length, prefix length, flags, scope, reserved, preference, lifetime.
    pub(super) const FIXED: usize = 12;

    /// The prefix, where this version knows its family.
    pub fn prefix(&self) -> Option<Prefix> {
        match self.address {
            RecordAddress::Prefix(prefix) => Some(prefix),
            RecordAddress::Unknown { .. } => None,
        }
    }

    /// Whether the record takes its prefix back.
    pub fn is_withdrawal(&self) -> bool {
        self.lifetime.is_zero()
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let family = reader.u8()?;
        let length = usize::from(reader.u8()?);
        let prefix_len = reader.u8()?;
        let flags = reader.u8()?;
        let scope = reader.u8()?.into();
        reader.u8()?;
        let preference = reader.u16()?;
        let lifetime = Duration::from_millis(reader.u32()?.into());
        let has_serial = flags & Self::SERIAL != 0;
        let address_len = length
            .checked_sub(Self::FIXED + if has_serial { 4 } else { 0 })
            .ok_or(Error::Field("record length"))?;
        let address = Self::read_address(family, prefix_len, reader.bytes(address_len)?);
        let serial = if has_serial {
            Some(reader.u32()?)
        } else {
            None
        };
        let draining = flags & Self::DRAINING != 0;
        Ok(Self {
            address,
            draining,
            scope,
            preference,
            lifetime,
            serial,
        })
    }

    //= docs/spec/membership.md#statement
    //# A receiver MUST take a record whose address, prefix length and family are no prefix that it
    //# knows for one of a family that it does not know.
    fn read_address(family: u8, prefix_len: u8, bytes: &[u8]) -> RecordAddress {
        let prefix = match (family, bytes.len()) {
            (Self::IPV4, 4) => <[u8; 4]>::try_from(bytes)
                .ok()
                .and_then(|octets| Ipv4Net::new(Ipv4Addr::from(octets), prefix_len).ok())
                .map(Prefix::V4),
            (Self::IPV6, 16) => <[u8; 16]>::try_from(bytes)
                .ok()
                .and_then(|octets| Ipv6Net::new(Ipv6Addr::from(octets), prefix_len).ok())
                .map(Prefix::V6),
            _ => None,
        };
        // One prefix has one spelling, or two records could disagree about the same addresses.
        match prefix.filter(|prefix| prefix.trunc() == *prefix) {
            Some(prefix) => RecordAddress::Prefix(prefix),
            None => RecordAddress::Unknown {
                family,
                prefix_len,
                address: bytes.to_vec(),
            },
        }
    }

    /// Appends the record's encoding, which is also what a digest is taken over.
    pub fn write(&self, out: &mut Vec<u8>) {
        let (ipv4, ipv6);
        let (family, prefix_len, address) = match &self.address {
            RecordAddress::Prefix(Prefix::V4(net)) => {
                ipv4 = net.addr().octets();
                (Self::IPV4, net.prefix_len(), &ipv4[..])
            }
            RecordAddress::Prefix(Prefix::V6(net)) => {
                ipv6 = net.addr().octets();
                (Self::IPV6, net.prefix_len(), &ipv6[..])
            }
            RecordAddress::Unknown {
                family,
                prefix_len,
                address,
            } => (*family, *prefix_len, &address[..]),
        };
        let serial = self.serial.map(u32::to_be_bytes);
        let length = Self::FIXED + address.len() + serial.map_or(0, |bytes| bytes.len());
        let mut flags = 0;
        if self.draining {
            flags |= Self::DRAINING;
        }
        if serial.is_some() {
            flags |= Self::SERIAL;
        }
        // NOTE: an unknown address was read from a length byte, so it fits one.
        let length = u8::try_from(length).unwrap_or(u8::MAX);
        let lifetime = u32::try_from(self.lifetime.as_millis()).unwrap_or(u32::MAX);
        let (preference, lifetime) = (self.preference.to_be_bytes(), lifetime.to_be_bytes());
        let mut fixed = [0; Self::FIXED];
        fixed[..5].copy_from_slice(&[family, length, prefix_len, flags, self.scope.number()]);
        fixed[6..8].copy_from_slice(&preference);
        fixed[8..].copy_from_slice(&lifetime);
        out.extend_from_slice(&fixed);
        out.extend_from_slice(address);
        out.extend(serial.into_iter().flatten());
    }
}
