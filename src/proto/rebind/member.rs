//! The member's half: rebound, or plain?
//!
//! A SYN to an anycast address A that goes on to the member's unicast address U makes a connection
//! as RFC 1546 wants it: one unicast peer, for ever the same. A client that knows nothing of that
//! resets the SYN-ACK. Served *plain* instead, A is what both ends see for as long as it lasts, as
//! with any other software that shares an address. [`REBINDS`](super::REBINDS) tells them apart.
//!
//! It is a pure decision: who is bound to what is TCP's to know.

use super::{Flags, Segment};
use crate::proto::Reason;

/// How a member takes connections to its anycast addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// As the client can: marked SYNs are rebound, others are served plain.
    #[default]
    Auto,
    /// RFC 1546 to the letter: every SYN is rebound, and clients that cannot are reset.
    Rebind,
    /// Nothing is rebound.
    Plain,
}

/// What a host has for a segment as it is, to A.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// No socket.
    Nothing,
    /// A listener for all addresses.
    Listener,
    /// A listener that is bound to A.
    BoundListener,
    /// A connection that has A as its end, also one in its handshake or after its end.
    Connection,
}

/// What becomes of a segment to A.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It goes to U.
    Rebind,
    /// It goes to A.
    Plain,
    /// It ends here.
    Drop(Reason),
}

impl Mode {
    /// What becomes of a segment to an anycast address that this host serves now.
    ///
    /// * `marked`: it carries [`REBINDS`](super::REBINDS);
    /// * `inside`: it comes from this host itself;
    /// * `unicast`: this host has a unicast address that the client can reach.
    pub fn admit(
        self,
        segment: &Segment,
        marked: bool,
        inside: bool,
        found: Found,
        unicast: bool,
    ) -> Admission {
        if segment.flags != Flags::SYN {
            //= docs/spec/tcp.md#the-member
            //# A member MUST answer no segment to A that belongs to no connection, but a SYN.
            let known = found == Found::Connection;
            //= docs/spec/tcp.md#the-member
            //# In mode rebind a member MUST discard every TCP segment to A but a SYN without ACK.
            return if known && (self != Self::Rebind || inside) {
                Admission::Plain
            } else {
                Admission::Drop(Reason::NotASyn)
            };
        }
        let here = matches!(found, Found::BoundListener | Found::Connection);
        let rebinds = match self {
            //= docs/spec/tcp.md#the-member
            //# In mode auto a member MUST rebind a marked SYN and MUST serve any other one plain; a
            //# service that is bound to A itself MUST be served plain whatever the mark says.
            Self::Auto => marked && !here,
            //= docs/spec/tcp.md#the-member
            //# What comes from the member's own programs without a mark MUST be served plain in every
            //# mode.
            Self::Rebind => marked || !inside,
            Self::Plain => false,
        };
        match (rebinds, unicast) {
            (false, _) => Admission::Plain,
            (true, true) => Admission::Rebind,
            //= docs/spec/tcp.md#the-member
            //# A member without a unicast address that the client can reach MUST serve the connection
            //# plain; in mode rebind it MUST discard the SYN.
            (true, false) if self == Self::Rebind => Admission::Drop(Reason::NoUnicast),
            (true, false) => Admission::Plain,
        }
    }
}
