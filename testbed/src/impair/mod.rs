//! What may happen to frames on their way.

use std::time::Duration;

use anyhow::{Result, ensure};

/// What happens to the frames of one direction of a cable. The default is nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Impairment {
    /// How long each frame takes.
    pub delay: Duration,
    /// How much longer or shorter than `delay` it may be, evenly spread; at most `delay`.
    pub jitter: Duration,
    /// Probability that a frame is lost, 0 to 1.
    pub loss: f64,
    /// Probability that a frame comes twice, 0 to 1.
    pub duplicate: f64,
    /// Probability that a frame overtakes those before it by leaving without delay, 0 to 1.
    pub reorder: f64,
    /// Bits of frames a second; `None` is as fast as the machine can.
    pub rate_bps: Option<u64>,
    /// Bytes that may wait for their turn at the rate; what comes more is lost. 0 is the default of
    /// 256 KiB.
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

    /// Whether nothing happens.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it can be done.
    ///
    /// # Errors
    /// A probability is not one, or the jitter is larger than the delay.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
        ] {
            ensure!(
                (0.0..=1.0).contains(&value),
                "{name}: {value} is no probability from 0 to 1"
            );
        }
        ensure!(
            self.jitter <= self.delay,
            "a jitter of {} ms is more than the delay of {} ms",
            self.jitter.as_millis(),
            self.delay.as_millis()
        );
        ensure!(self.rate_bps != Some(0), "a rate of 0 carries nothing");
        Ok(())
    }
}
