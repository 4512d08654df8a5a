//! Requests as bytes, many in one buffer.
//!
//! Bulk changes are written here rather than with `netlink_packet_route`: that crate has no nexthop
//! objects, and a tree of attributes for each of 65,536 routes costs more than the kernel's work.

use std::net::IpAddr;
use std::ops::Range;

use nix::libc;

/// Length of `struct nlmsghdr`.
pub(super) const HEADER: usize = 16;

/// A buffer of requests, each with the sequence number that its answer will carry.
#[derive(Debug, Default)]
pub(super) struct Requests {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Requests {
    /// Begins a request: type, flags besides `NLM_F_REQUEST`, and the family's own header.
    pub(super) fn begin(&mut self, kind: u16, flags: i32, header: &[u8]) {
        let sequence = u32::try_from(self.ends.len() + 1).unwrap_or(u32::MAX);
        let flags = u16::try_from(libc::NLM_F_REQUEST | flags).unwrap_or_default();
        self.bytes.extend([0; 4]);
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend(flags.to_ne_bytes());
        self.bytes.extend(sequence.to_ne_bytes());
        self.bytes.extend([0; 4]);
        self.bytes.extend(header);
        self.ends.push(self.bytes.len());
        self.close();
    }

    /// Adds an attribute to the last request.
    pub(super) fn attribute(&mut self, kind: u16, value: &[u8]) {
        put(&mut self.bytes, kind, value);
        self.close();
    }

    /// Adds an attribute that holds an address.
    pub(super) fn address(&mut self, kind: u16, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.attribute(kind, &address.octets()),
            IpAddr::V6(address) => self.attribute(kind, &address.octets()),
        }
    }

    /// Adds an attribute that holds a number of 32 bits.
    pub(super) fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_ne_bytes());
    }

    /// How many requests there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes of some of the requests.
    pub(super) fn slice(&self, which: Range<usize>) -> &[u8] {
        &self.bytes[self.start(which.start)..self.start(which.end)]
    }

    /// Asks for an answer to a request also if it succeeds.
    pub(super) fn acknowledge(&mut self, which: usize) {
        let at = self.start(which) + 6;
        let flags = u16::from_ne_bytes([self.bytes[at], self.bytes[at + 1]]);
        let ack = u16::try_from(libc::NLM_F_ACK).unwrap_or_default();
        self.bytes[at..at + 2].copy_from_slice(&(flags | ack).to_ne_bytes());
    }

    fn start(&self, which: usize) -> usize {
        which.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    /// Sets the length of the last request.
    fn close(&mut self) {
        let last = self.ends.len() - 1;
        let start = self.start(last);
        self.ends[last] = self.bytes.len();
        let length = u32::try_from(self.bytes.len() - start).unwrap_or(u32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// Writes an attribute, padded to four bytes.
pub(super) fn put(bytes: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    bytes.extend(length.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

/// The attributes in `bytes`, without the flags of their kinds; ends at what is no attribute.
pub(super) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let header: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let kind = u16::from_ne_bytes([header[2], header[3]]) & 0x3fff;
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A number of 32 bits in an attribute or header.
pub(super) fn number(value: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(value.get(..4)?.try_into().ok()?))
}

/// An address in an attribute.
pub(super) fn address(value: &[u8]) -> Option<IpAddr> {
    match value.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(value).ok()?)),
        16 => Some(IpAddr::from(<[u8; 16]>::try_from(value).ok()?)),
        _ => None,
    }
}
