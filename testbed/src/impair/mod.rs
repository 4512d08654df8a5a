//! Impairments: what a link does to the frames of one direction.
//!
//! A frame meets them in this order, in a kernel lab and in virtual time alike; words and meanings
//! are those of Linux's netem:
//!
//! 1. **Rate**: it waits until those before it have been sent, then takes its own length at the
//!    rate. If the bytes in front of it and its own exceed the queue, it is dropped; a frame that
//!    finds the link idle is always taken.
//! 2. **Loss**: it is sent but does not arrive.
//! 3. **Delay and jitter**: it arrives `delay` later, `jitter` more or less, evenly spread. Jitter
//!    alone does not change the order of frames: one that would overtake arrives with the one
//!    before it.
//! 4. **Reordering**: instead of that it arrives at once, and overtakes those still on their way.
//! 5. **Duplication**: a copy arrives right after it.
//!
//! Every frame draws the same number of random values whatever is set, so the n-th frame of a
//! direction is lost or not by the seed alone: a pattern of losses can be had again.
//!
//! ```no_run
//! use std::time::Duration;
//! use testbed::{Impairment, Lab, Topology};
//!
//! # fn main() -> testbed::Result<()> {
//! let slow = Impairment::delay_ms(20).with_jitter(Duration::from_millis(5));
//! let net = Topology::new("net")
//!     .switch("lan")
//!     .host("a").link("lan", &["10.0.0.1/24"])
//!     .host("b").link("lan", &["10.0.0.2/24"]).impaired(slow); // _in, _out: one direction
//! let lab = Lab::new(&net)?;
//! lab.impair("b", "eth0", Impairment::loss_percent(30.0), Impairment::default())?; // to b, from b
//! lab.partition(&["a"])?; // a hears nobody, nobody hears a; no carrier goes down
//! lab.heal()?;
//! lab.carrier("b", "eth0", false)?; // the cable is pulled: b sees it
//! let passed = lab.passed("b", "eth0")?; // frames, by what became of them
//! # Ok(()) }
//! ```
//!
//! Files: `machine` the arithmetic (no clock, no socket), `file` how impairments are written in
//! files; for kernel labs `links` the wiring, `relay` and `netem` the means, [`probe`] and
//! [`measure`] what measures them.

mod file;
mod links;
mod machine;
pub mod measure;
mod netem;
pub mod probe;
mod relay;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use file::Keys;
pub(crate) use links::Links;
pub use machine::{Counts, Direction, Fate, Reason, random};
pub use relay::Passed;

/// Bytes that may wait for a rate unless an impairment says otherwise.
pub const QUEUE_BYTES: usize = 256 * 1024;

/// What happens to the frames of one direction of a cable. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "file::Keys", into = "file::Keys")]
pub struct Impairment {
    /// How long each frame takes; one minute at most.
    pub delay: Duration,
    /// How much longer or shorter than `delay` it may be, evenly spread; at most `delay`.
    pub jitter: Duration,
    /// Probability that a frame is lost, 0 to 1.
    pub loss: f64,
    /// Probability that a frame comes twice, 0 to 1.
    pub duplicate: f64,
    /// Probability that a frame overtakes those before it by arriving without delay, 0 to 1; needs
    /// a delay.
    pub reorder: f64,
    /// Bits of frames (from the link-layer header on, without check sequence) a second; `None` is
    /// as fast as the machine can.
    pub rate_bps: Option<u64>,
    /// Bytes that may wait for their turn at the rate, the frame being sent included; what comes
    /// more is lost. 0 is the default of [`QUEUE_BYTES`].
    pub queue_bytes: usize,
}

impl Impairment {
    /// A constant delay.
    #[must_use]
    pub fn delay_ms(ms: u64) -> Self {
        Self {
            delay: Duration::from_millis(ms),
            ..Self::default()
        }
    }

    /// Only loss, in percent of frames.
    #[must_use]
    pub fn loss_percent(loss: f64) -> Self {
        Self::default().with_loss(loss / 100.0)
    }

    /// Only a rate, in 10^6 bits in a second.
    #[must_use]
    pub fn rate_mbit(rate: u64) -> Self {
        Self {
            rate_bps: Some(rate.saturating_mul(1_000_000)),
            ..Self::default()
        }
    }

    /// Nothing arrives; both ends keep their carrier. (`Lab::carrier` pulls the cable.)
    #[must_use]
    pub fn down() -> Self {
        Self::default().with_loss(1.0)
    }

    /// The same with this delay.
    #[must_use]
    pub fn with_delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// The same with this jitter.
    #[must_use]
    pub fn with_jitter(self, jitter: Duration) -> Self {
        Self { jitter, ..self }
    }

    /// The same with this probability of loss, 0 to 1.
    #[must_use]
    pub fn with_loss(self, loss: f64) -> Self {
        Self { loss, ..self }
    }

    /// The same with this probability of duplication, 0 to 1.
    #[must_use]
    pub fn with_duplicate(self, duplicate: f64) -> Self {
        Self { duplicate, ..self }
    }

    /// The same with this probability of reordering, 0 to 1.
    #[must_use]
    pub fn with_reorder(self, reorder: f64) -> Self {
        Self { reorder, ..self }
    }

    /// The same with this rate in bits in a second and this queue in bytes.
    #[must_use]
    pub fn with_rate(self, bps: u64, queue_bytes: usize) -> Self {
        Self {
            rate_bps: Some(bps),
            queue_bytes,
            ..self
        }
    }

    /// Whether nothing happens.
    pub fn is_none(&self) -> bool {
        self.delay.is_zero()
            && self.jitter.is_zero()
            && self.loss == 0.0
            && self.duplicate == 0.0
            && self.reorder == 0.0
            && self.rate_bps.is_none()
    }
}
