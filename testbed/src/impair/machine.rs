//! What happens to the n-th frame of a direction: the arithmetic of impairments.
//!
//! Sans-IO: the time is a number of nanoseconds from the runner's start, randomness is an argument,
//! and frames are their lengths. The kernel's relay and the virtual-time simulator ask the same
//! machine, so a link behaves the same in both.

use std::time::Duration;

use hamp::proto::random::Random;

use super::{Impairment, QUEUE_BYTES};

const NANOS: u64 = 1_000_000_000;

/// One direction of a link. Memory: constant, the frames are the runner's.
#[derive(Clone, Debug)]
pub struct Direction {
    impairment: Impairment,
    /// When the last bit of the last frame leaves the sender, if there is a rate.
    idle_at: u64,
    /// What division by the rate left over, in bit nanoseconds: rounding does not add up.
    remainder: u64,
    /// Latest arrival of a frame in order.
    latest: u64,
    counts: Counts,
}

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Arrives {
        /// When, in nanoseconds from the runner's start.
        at: u64,
        /// Twice.
        twice: bool,
    },
    /// It does not.
    Dropped(Reason),
}

/// Why a frame does not arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Lost on the way, by chance.
    Loss,
    /// No room while it waited for the rate.
    QueueFull,
}

/// Frames so far, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Given to the direction.
    pub frames: u64,
    /// Dropped for [`Reason::Loss`].
    pub lost: u64,
    /// Dropped for [`Reason::QueueFull`].
    pub queue_full: u64,
    /// Arrived twice.
    pub duplicated: u64,
    /// Arrived without delay, overtaking.
    pub reordered: u64,
}

impl Direction {
    /// A direction on which nothing has been sent yet.
    pub fn new(impairment: Impairment) -> Self {
        Self {
            impairment,
            idle_at: 0,
            remainder: 0,
            latest: 0,
            counts: Counts::default(),
        }
    }

    /// What it does now.
    pub fn impairment(&self) -> &Impairment {
        &self.impairment
    }

    /// Does this from the next frame on. Frames that were sent before arrive when they would have,
    /// so a shorter delay lets later ones overtake them.
    pub fn set(&mut self, impairment: Impairment) {
        self.impairment = impairment;
        self.latest = 0;
    }

    /// What became of the frames so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// A frame of `length` bytes is sent at `now`. Times must not go backwards between calls.
    pub fn frame(&mut self, now: u64, length: usize, random: &mut Random) -> Fate {
        // All four for every frame: the fate of the n-th does not depend on what else is set.
        let lost = chance(random, self.impairment.loss);
        let twice = chance(random, self.impairment.duplicate);
        let overtakes = chance(random, self.impairment.reorder);
        let jitter = nanos(self.impairment.jitter);
        // From delay - jitter to delay + jitter.
        let spread = uniform(random, jitter.saturating_mul(2));
        self.counts.frames += 1;
        let Some(sent) = self.transmit(now, length) else {
            self.counts.queue_full += 1;
            return Fate::Dropped(Reason::QueueFull);
        };
        if lost {
            self.counts.lost += 1;
            return Fate::Dropped(Reason::Loss);
        }
        let at = if overtakes {
            self.counts.reordered += 1;
            sent
        } else {
            let least = nanos(self.impairment.delay).saturating_sub(jitter);
            self.latest = self.latest.max(sent.saturating_add(least + spread));
            self.latest
        };
        self.counts.duplicated += u64::from(twice);
        Fate::Arrives { at, twice }
    }

    /// When the last bit of a frame is sent; `None` if the queue has no room for it.
    fn transmit(&mut self, now: u64, length: usize) -> Option<u64> {
        let Some(rate) = self.impairment.rate_bps.filter(|rate| *rate > 0) else {
            return Some(now);
        };
        let length = u64::try_from(length).unwrap_or(u64::MAX);
        let waiting = self.idle_at.saturating_sub(now);
        if waiting == 0 {
            self.remainder = 0;
        } else {
            let bits = u128::from(waiting) * u128::from(rate) / u128::from(NANOS);
            let queue = match self.impairment.queue_bytes {
                0 => QUEUE_BYTES,
                bytes => bytes,
            };
            if bits / 8 + u128::from(length) > queue as u128 {
                return None;
            }
        }
        let work = u128::from(length) * 8 * u128::from(NANOS) + u128::from(self.remainder);
        let takes = u64::try_from(work / u128::from(rate)).unwrap_or(u64::MAX);
        // Less than the rate, which has 64 bits.
        self.remainder = u64::try_from(work % u128::from(rate)).unwrap_or(0);
        self.idle_at = self.idle_at.max(now).saturating_add(takes);
        Some(self.idle_at)
    }
}

/// The generator of one direction: of the link with this number, of what its end 0 or 1 sends, in a
/// run with this seed. Both worlds take it, so both lose the same frames.
pub fn random(seed: u64, link: usize, end: usize) -> Random {
    let place = ((link as u64) << 1) | (end as u64 & 1);
    // Two draws: neighbouring places share no part of their sequences then.
    let mut of_place = Random::new(place);
    Random::new(seed ^ of_place.next_u64())
}

fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// True with this probability; takes one value.
fn chance(random: &mut Random, probability: f64) -> bool {
    // The upper 53 bits: as many as the fraction of an f64 has.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
    let drawn = (random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
    drawn < probability
}

/// A number between zero and `limit`; takes one value.
fn uniform(random: &mut Random, limit: u64) -> u64 {
    let wide = u128::from(random.next_u64()) * (u128::from(limit) + 1);
    // The upper half of a product of 64-bit numbers.
    u64::try_from(wide >> 64).unwrap_or(limit)
}

#[cfg(test)]
mod tests;
