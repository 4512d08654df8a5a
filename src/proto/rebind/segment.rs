//! What the rule reads of a TCP segment.

use core::net::SocketAddr;

/// The control bits that matter here; a set of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// The start of a connection.
    pub const SYN: Self = Self(0x02);
    /// The end of one, at once.
    pub const RST: Self = Self(0x04);
    /// The acknowledgement counts.
    pub const ACK: Self = Self(0x10);

    /// The flags of a TCP header's 14th byte; those that do not matter are ignored.
    pub const fn from_byte(byte: u8) -> Self {
        Self(byte & 0x17)
    }

    /// Both sets together.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The TCP header's byte.
    pub const fn as_byte(self) -> u8 {
        self.0
    }

    /// Whether all of `other` are set.
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What matters of a TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// The sender.
    pub source: SocketAddr,
    /// The receiver.
    pub destination: SocketAddr,
    /// The control bits.
    pub flags: Flags,
    /// The sequence number.
    pub sequence: u32,
    /// The acknowledgement number, with [`Flags::ACK`].
    pub acknowledgement: u32,
    /// Bytes of data: a SYN may carry some (RFC 7413).
    pub length: u16,
}
