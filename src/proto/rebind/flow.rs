//! What the machine keeps of a connection, and what it says of a segment.

use core::net::{IpAddr, SocketAddr};

use super::{CLOSE_TIME, Flags, IDLE_TIME, Segment};
use crate::proto::Reason;
use crate::time::{Duration, Instant};

/// What becomes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it is.
    Pass,
    /// It goes on with these ends in place of its own.
    Rewrite {
        /// The sender.
        source: SocketAddr,
        /// The receiver.
        destination: SocketAddr,
    },
    /// It ends here.
    Drop(Reason),
}

impl Verdict {
    pub(super) fn rewrite(segment: &Segment, source: SocketAddr, destination: SocketAddr) -> Self {
        if (source, destination) == (segment.source, segment.destination) {
            Self::Pass
        } else {
            Self::Rewrite {
                source,
                destination,
            }
        }
    }
}

/// A connection that was asked for at an anycast address and is bound to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// This end.
    pub local: SocketAddr,
    /// What the program connected to.
    pub anycast: SocketAddr,
    /// The other end; the anycast address itself of a plain connection.
    pub member: SocketAddr,
}

/// A flow as this host's TCP sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) local: SocketAddr,
    pub(super) service: u16,
    pub(super) anycast: IpAddr,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum State {
    /// A SYN is out, which took this sequence number and this many bytes.
    Asked { sequence: u32, length: u16 },
    /// The member is known.
    Bound { member: IpAddr, ended: Ended },
}

/// What belongs to one flow at a time: its own end on the wire, and the service.
//= docs/spec/tcp.md#the-client
//# A client MUST tell connections by their whole addresses.
pub(super) type Wire = (SocketAddr, u16);

/// Which ends have said that they are done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ended {
    pub(super) here: bool,
    pub(super) there: bool,
}

impl Ended {
    pub(super) fn note(&mut self, flags: Flags, here: bool) {
        let reset = flags.has(Flags::RST);
        let end = reset || flags.has(Flags::FIN);
        self.here |= end && (here || reset);
        self.there |= end && (!here || reset);
    }

    pub(super) const fn lifetime(self) -> Duration {
        match self {
            Self {
                here: true,
                there: true,
            } => CLOSE_TIME,
            _ => IDLE_TIME,
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    /// This end's port on the wire.
    pub(super) port: u16,
    pub(super) state: State,
    /// Forgotten then, unless a segment comes before.
    pub(super) until: Instant,
    /// Its one entry in the table of timers; never later than `until`.
    pub(super) timer: Instant,
}
