//! The state machines of host anycast, without I/O.
//!
//! Every machine keeps the same contract: `handle_*(now, input)` takes something in;
//! `poll_transmit`, `poll_event` and `poll_timeout` give out, and are drained after each input
//! before the next. Time and randomness are arguments. A packet that a machine does not use
//! yields a [`Reason`], which tests assert and `status` counts. Tables are bounded: what does not
//! fit is refused, with a reason too.
//!
//! On a link, [`member`] says what this host serves, [`view`] knows what the others serve,
//! [`ownership`] ranks them all, [`responder`] answers ARP and neighbour discovery by rank and
//! [`resolver`] looks after a client's neighbour entries, [`strangers`] after those that claim an
//! address without being members; [`trust`] says whose word counts.
//! [`rebind`] is TCP's part: from a SYN to the anycast address to a connection with one member.

pub mod chain;
pub mod election;
pub mod member;
pub mod ownership;
pub mod pin;
pub mod random;
pub mod reason;
pub mod rebind;
pub mod record_set;
mod remedy;
pub mod resolver;
pub mod responder;
pub mod router;
pub mod strangers;
pub mod trust;
pub mod view;

pub use reason::{Counters, Reason, What};

use crate::time::{Duration, Instant};

/// A link of the host: its interface index on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// The timers that a member puts into its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// How often hellos are sent; 10 ms to 60 s.
    pub hello: Duration,
    /// After how many missed hellos a member is dead; 2 to 255.
    pub dead_hellos: u8,
}

impl Timing {
    /// How long after its last sign of life a member is dead.
    pub fn dead_time(&self) -> Duration {
        self.hello * u32::from(self.dead_hellos)
    }

    /// At most one question to, and one answer of, a member in this span (RFC 8967 §4.3.1.1's
    /// 300 ms, or a hello interval where hellos are faster, so that an answer can still come
    /// before the dead time ends).
    pub fn ask_interval(&self) -> Duration {
        Duration::from_millis(300).min(self.hello)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(1),
            dead_hellos: 3,
        }
    }
}

/// The earliest of some deadlines.
pub(crate) fn earliest(deadlines: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    deadlines.into_iter().flatten().min()
}
