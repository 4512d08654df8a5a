//! How a member tells a client that can rebind from one that cannot.
//!
//! A host that knows nothing of RFC 1546 resets a SYN-ACK from another address than it asked. So a
//! client that can rebind says so in its SYN: by the differentiated services code point of the
//! IP header (RFC 2474), which firewalls' rules can set and match in both families, while they
//! can add no TCP option. The two bits of RFC 3168 beside it are TCP's own.

/// The code point of a SYN whose sender takes the SYN-ACK from the member's unicast address:
/// 001011 of pool 2, for experimental and local use (RFC 2474 §6).
pub const REBINDS: u8 = 0b00_1011;
