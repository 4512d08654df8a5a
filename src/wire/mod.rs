//! Bytes and what they mean: no state, no time.
//!
//! Our own messages (membership protocol version 1, `docs/spec/membership.md`) are decoded and
//! encoded by [`Message`]; [`frame`] holds thin views over etherparse for what travels beside
//! them on a link: ARP, neighbour discovery and the UDP that carries us.
//!
//! Decoding never panics and never loses what it does not know: unknown message types, record
//! families, options and authentication types come back as `Unknown`.

pub mod frame;

mod certificate;
mod cursor;
mod hello;
mod message;
mod name;
mod option;
mod query;
mod record;
mod revocation;
mod statement;

pub use certificate::{Certificate, Roles};
pub use hello::Hello;
pub(crate) use message::hash;
pub use message::{Authentication, Message};
pub use name::Name;
pub use option::MessageOption;
pub use query::Query;
pub use record::{Record, RecordAddress, Scope};
pub use revocation::RevocationList;
pub use statement::{ChainParameters, HELLO_INTERVALS, MAX_CHAIN_LENGTH, Statement, StatementKind};

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

/// The protocol's version, the high half of a message's first byte.
pub const VERSION: u8 = 1;
/// The UDP port of the protocol, both ends (RFC 4727 §7: experimental).
pub const PORT: u16 = 1021;
/// The IPv4 group that messages are sent to (RFC 4727 §4.1: experimental).
pub const GROUP_IPV4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 254);
/// The IPv6 group that messages are sent to (RFC 4727 §4.2: experimental, link-local scope).
pub const GROUP_IPV6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x114);
/// TTL or hop limit of every message, sent and checked, so that none comes from off the link
/// (RFC 5082).
pub const HOP_LIMIT: u8 = 255;

/// A member's name: 128 bits, one value per member and, without keys, per link.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MemberId(pub [u8; 16]);

impl MemberId {
    /// The id that names everybody: the target of a query to all members.
    pub const EVERYBODY: Self = Self([0; 16]);

    /// The id that belongs to an Ed25519 public key, the same on every link.
    pub fn of_key(key: &[u8; 32]) -> Self {
        Self(key_id(key))
    }
}

/// An authority's name: what its public key hashes to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuthorityId(pub [u8; 16]);

impl AuthorityId {
    /// The id that belongs to an Ed25519 public key.
    pub fn of_key(key: &[u8; 32]) -> Self {
        Self(key_id(key))
    }
}

//= docs/spec/trust.md#keys
//# The id of the owner of a key MUST be the first 16 bytes of the hash of "hamp id 1" and the public
//# key, the same on every link.
fn key_id(key: &[u8; 32]) -> [u8; 16] {
    message::hash(&[b"hamp id 1", &key[..]].concat())
}

/// Eight hexadecimal digits tell ids apart for a person; `{:#}` prints all 32.
fn fmt_id(id: &[u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let shown = if f.alternate() { &id[..] } else { &id[..4] };
    shown.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_id(&self.0, f)
    }
}

impl fmt::Display for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt_id(&self.0, f)
    }
}

impl fmt::Debug for AuthorityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthorityId({self:#})")
    }
}

impl fmt::Debug for MemberId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MemberId({self:#})")
    }
}

/// Names one hash chain of one member: a digest over what the chain stands for.
pub type ChainId = [u8; 8];

/// One value of a hash chain, 128 bits.
pub type ChainValue = [u8; 16];

/// Why bytes are not a message of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes end before the field does.
    #[error("truncated: {needed} bytes needed, {left} left")]
    Truncated {
        /// Bytes that the field takes.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// A version other than [`VERSION`].
    #[error("version {0}, not 1")]
    Version(u8),
    /// The length field differs from the datagram's length.
    #[error("length field says {stated}, datagram has {actual} bytes")]
    Length {
        /// What the message says.
        stated: usize,
        /// What arrived.
        actual: usize,
    },
    /// A field holds a value outside its range.
    #[error("{0} is out of range")]
    Field(&'static str),
    /// A hello interval or a number of missed hellos outside its range.
    #[error("hello timer is out of range")]
    Timers,
    /// Bytes are left over that no field accounts for.
    #[error("{0} bytes too many")]
    Trailing(usize),
}

#[cfg(test)]
mod tests {
    use super::*;

    //= docs/spec/trust.md#keys
    //= type=test
    //# The id of the owner of a key MUST be the first 16 bytes of the hash of "hamp id 1" and the
    //# public key, the same on every link.
    #[test]
    fn an_id_is_made_of_the_public_key() {
        // (printf 'hamp id 1'; head -c 32 /dev/zero) | sha256sum
        let id = MemberId::of_key(&[0; 32]);
        assert_eq!(format!("{id:#}"), "5a2d040b13cbb50d4fc71249ae9fc0ce");
        assert_eq!(AuthorityId::of_key(&[0; 32]).0, id.0);
    }
}
