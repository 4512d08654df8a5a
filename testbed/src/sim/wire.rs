//! One direction of a cable: what becomes of the frames that one end sends.
//!
//! In this order: a frame is lost or not; it is sent once or twice; it waits until the cable has
//! sent what was before it, if the cable has a rate, and is dropped if too much waits; it travels
//! for the delay, more or less by the jitter, but leaves in the order it came; or it is one of
//! those that overtake, which are not delayed.

use std::time::Duration;

use hamp::proto::random::Random;

use super::queue::Nanos;
use crate::impair::Impairment;

/// What may wait at a rate when nothing else is said, in bytes.
const QUEUE: usize = 256 << 10;

/// One direction of a cable.
#[derive(Debug)]
pub(super) struct Wire {
    impairment: Impairment,
    /// The impairment is none.
    plain: bool,
    random: Random,
    /// When what was accepted so far is sent.
    busy_until: Nanos,
    /// When the last frame that keeps its place arrives.
    arrived_until: Nanos,
}

impl Wire {
    pub(super) fn new(impairment: Impairment, seed: u64) -> Self {
        Self {
            plain: impairment.is_none(),
            impairment,
            random: Random::new(seed),
            busy_until: 0,
            arrived_until: 0,
        }
    }

    /// From now on; frames that are under way arrive as they would have.
    pub(super) fn impair(&mut self, impairment: Impairment) {
        self.plain = impairment.is_none();
        self.impairment = impairment;
    }

    /// Whether a frame that is sent at `now` arrives at that moment, and once.
    pub(super) fn is_plain_at(&self, now: Nanos) -> bool {
        self.plain && self.arrived_until <= now
    }

    /// When a frame of `length` bytes that is sent at `now` arrives: once, twice or never.
    pub(super) fn send(&mut self, now: Nanos, length: usize) -> [Option<Nanos>; 2] {
        if self.plain {
            return [Some(now.max(self.arrived_until)), None];
        }
        let Impairment {
            loss, duplicate, ..
        } = self.impairment;
        if self.happens(loss) {
            return [None, None];
        }
        let twice = self.happens(duplicate);
        let first = self.carry(now, length);
        [first, twice.then(|| self.carry(now, length)).flatten()]
    }

    fn carry(&mut self, now: Nanos, length: usize) -> Option<Nanos> {
        let Impairment {
            delay,
            jitter,
            reorder,
            rate_bps,
            queue_bytes,
            ..
        } = self.impairment;
        let mut sent = now;
        if let Some(rate) = rate_bps {
            let waiting = u128::from(self.busy_until.saturating_sub(now)) * u128::from(rate);
            let waiting = waiting.div_ceil(8_000_000_000);
            let room = if queue_bytes == 0 { QUEUE } else { queue_bytes };
            if waiting > 0 && waiting + length as u128 > room as u128 {
                return None;
            }
            let takes = (length as u128 * 8_000_000_000).div_ceil(u128::from(rate.max(1)));
            sent = self.busy_until.max(now) + u64::try_from(takes).unwrap_or(u64::MAX / 2);
            self.busy_until = sent;
        }
        if self.happens(reorder) {
            return Some(sent);
        }
        let (delay, jitter) = (nanos(delay), nanos(jitter));
        let varied = match jitter {
            0 => delay,
            jitter => (delay + self.random.next_u64() % (2 * jitter + 1)).saturating_sub(jitter),
        };
        self.arrived_until = self.arrived_until.max(sent + varied);
        Some(self.arrived_until)
    }

    fn happens(&mut self, probability: f64) -> bool {
        // 53 bits are what a double holds exactly.
        probability > 0.0
            && ((self.random.next_u64() >> 11) as f64) < probability * (1u64 << 53) as f64
    }
}

fn nanos(span: Duration) -> Nanos {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}
