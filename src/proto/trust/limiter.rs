//! How many signatures are checked for whom: a check is the most expensive thing that a stranger
//! can ask for.

use std::collections::BTreeMap;

use crate::time::Instant;
use crate::wire::frame::Mac;

/// How many checks a second are made at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckLimits {
    /// For senders that were verified before, by the link-layer address that they had then.
    /// One of them has a quarter of it.
    pub known: u32,
    /// For all others. One link-layer address has an eighth of it.
    pub strangers: u32,
}

impl Default for CheckLimits {
    fn default() -> Self {
        Self {
            known: 10_000,
            strangers: 1_000,
        }
    }
}

/// Checks that may still be made, refilled over time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// In millionths of a check.
    level: u64,
    filled: Instant,
}

const CHECK: u64 = 1_000_000;

impl Bucket {
    /// A full one, of two seconds' checks at `rate` a second.
    pub(super) fn full(now: Instant, rate: u32) -> Self {
        Self {
            level: 2 * CHECK * u64::from(rate),
            filled: now,
        }
    }

    fn fill(&mut self, now: Instant, rate: u32) {
        let more = now
            .micros_since(self.filled)
            .saturating_mul(u64::from(rate));
        self.level = self
            .level
            .saturating_add(more)
            .min(2 * CHECK * u64::from(rate));
        self.filled = self.filled.max(now);
    }

    fn has(&self, checks: u64) -> bool {
        self.level >= checks * CHECK
    }

    fn take(&mut self, checks: u64) {
        self.level = self.level.saturating_sub(checks * CHECK);
    }
}

/// Strangers that have a share of their own.
const STRANGERS: usize = 64;

/// The checks of one host.
#[derive(Debug, Clone)]
pub(super) struct Limiter {
    limits: CheckLimits,
    known: Bucket,
    strangers: Bucket,
    shares: BTreeMap<Mac, Bucket>,
}

impl Limiter {
    pub(super) fn new(limits: CheckLimits) -> Self {
        Self {
            limits,
            known: Bucket::full(Instant::ZERO, limits.known),
            strangers: Bucket::full(Instant::ZERO, limits.strangers),
            shares: BTreeMap::new(),
        }
    }

    /// The share that a sender gets when it becomes known.
    pub(super) fn share(&self, now: Instant) -> Bucket {
        Bucket::full(now, self.limits.known / 4)
    }

    /// Whether a check may be made for the sender that has `share`.
    pub(super) fn admit_known(&mut self, now: Instant, share: &mut Bucket) -> bool {
        let rate = self.limits.known;
        admit(now, [(&mut self.known, rate), (share, rate / 4)], 1)
    }

    /// Whether `checks` may be made for a stranger at `mac`.
    pub(super) fn admit_stranger(&mut self, now: Instant, mac: Mac, checks: u64) -> bool {
        let rate = self.limits.strangers;
        let each = (rate / 8).max(1);
        if !self.shares.contains_key(&mac) && self.shares.len() == STRANGERS {
            // Whoever asked least lately is forgotten, and has a full share if it comes again; what
            // strangers get together stays the same.
            let oldest = self.shares.iter().min_by_key(|(_, share)| share.filled);
            if let Some(oldest) = oldest.map(|(mac, _)| *mac) {
                self.shares.remove(&oldest);
            }
        }
        let share = self
            .shares
            .entry(mac)
            .or_insert_with(|| Bucket::full(now, each));
        admit(now, [(&mut self.strangers, rate), (share, each)], checks)
    }
}

/// Takes `checks` from all, or from none.
fn admit<const N: usize>(now: Instant, mut buckets: [(&mut Bucket, u32); N], checks: u64) -> bool {
    let mut admitted = true;
    for (bucket, rate) in &mut buckets {
        bucket.fill(now, *rate);
        admitted &= bucket.has(checks);
    }
    if admitted {
        buckets
            .iter_mut()
            .for_each(|(bucket, _)| bucket.take(checks));
    }
    admitted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    const LIMITS: CheckLimits = CheckLimits {
        known: 400,
        strangers: 80,
    };

    #[test]
    fn a_stranger_leaves_room_for_others_and_strangers_for_the_known() {
        let mut limiter = Limiter::new(LIMITS);
        let now = Instant::from_millis(5_000);
        let mut share = limiter.share(now);
        let mut ask = |n: u8, times: usize| {
            let mac = [2, 0, 0, 0, 0, n];
            let asked = (0..times).filter(|_| limiter.admit_stranger(now, mac, 1));
            asked.count()
        };
        assert_eq!(ask(1, 1_000), 20, "two seconds of an eighth");
        assert_eq!(ask(2, 10), 10);
        let all: usize = (3..=255).map(|n| ask(n, 1_000)).sum();
        assert_eq!(20 + 10 + all, 160, "two seconds of everybody's");
        let known = (0..1_000).filter(|_| limiter.admit_known(now, &mut share));
        assert_eq!(known.count(), 200);
        let later = now + Duration::from_millis(500);
        let known = (0..1_000).filter(|_| limiter.admit_known(later, &mut share));
        assert_eq!(known.count(), 50);
    }

    #[test]
    fn the_table_of_strangers_is_bounded() {
        let mut limiter = Limiter::new(LIMITS);
        for n in 0..10_000u64 {
            let [.., a, b, c] = n.to_be_bytes();
            limiter.admit_stranger(Instant::from_micros(n), [2, 0, 0, a, b, c], 1);
            assert!(limiter.shares.len() <= STRANGERS);
        }
    }
}
