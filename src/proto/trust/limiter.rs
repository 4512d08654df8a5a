//! How many signatures are checked for whom: a check is the most expensive thing that a stranger
//! can ask for.

use std::collections::BTreeMap;

use crate::time::Instant;
use crate::wire::frame::Mac;

/// How many checks a second are made at most. Twice that much is saved up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckLimits {
    /// For senders that were verified before, by the link-layer address that they had then.
    /// One of them has a quarter of it.
    pub known: u32,
    /// Those of them that come to nothing: the name and address are theirs, and the signature is
    /// not. One of them has a half of it.
    pub failed: u32,
    /// For all others, until they are verified. One link-layer address has an eighth of it.
    pub strangers: u32,
}

impl Default for CheckLimits {
    fn default() -> Self {
        Self {
            known: 10_000,
            failed: 1_000,
            strangers: 500,
        }
    }
}

/// Checks that may still be made, refilled over time.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    rate: u32,
    /// In millionths of a check.
    level: u64,
    filled: Instant,
}

const CHECK: u64 = 1_000_000;

impl Bucket {
    /// A full one, of two seconds' checks at `rate` a second.
    fn full(now: Instant, rate: u32) -> Self {
        Self {
            rate,
            level: 2 * CHECK * u64::from(rate),
            filled: now,
        }
    }

    fn has(&mut self, now: Instant, checks: u64) -> bool {
        let rate = u64::from(self.rate);
        let more = now.micros_since(self.filled).saturating_mul(rate);
        self.level = self.level.saturating_add(more).min(2 * CHECK * rate);
        self.filled = self.filled.max(now);
        self.level >= checks * CHECK
    }

    fn take(&mut self, checks: u64) {
        self.level = self.level.saturating_sub(checks * CHECK);
    }
}

/// What one verified sender has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    known: Bucket,
    failed: Bucket,
}

/// Strangers that have a share of their own.
const STRANGERS: usize = 64;

/// The checks of one host.
///
/// Whether there is one left is asked before a check; what it costs is said after it.
#[derive(Debug, Clone)]
pub(super) struct Limiter {
    limits: CheckLimits,
    known: Bucket,
    failed: Bucket,
    strangers: Bucket,
    shares: BTreeMap<Mac, Bucket>,
}

impl Limiter {
    pub(super) fn new(limits: CheckLimits) -> Self {
        let full = |rate| Bucket::full(Instant::ZERO, rate);
        Self {
            limits,
            known: full(limits.known),
            failed: full(limits.failed),
            strangers: full(limits.strangers),
            shares: BTreeMap::new(),
        }
    }

    /// The share that a sender gets when it becomes known.
    pub(super) fn share(&self, now: Instant) -> Share {
        Share {
            known: Bucket::full(now, self.limits.known / 4),
            failed: Bucket::full(now, self.limits.failed / 2),
        }
    }

    /// Whether a check may be made for the sender that has `share`.
    pub(super) fn admits_known(&mut self, now: Instant, share: &mut Share) -> bool {
        self.known.has(now, 1)
            && self.failed.has(now, 1)
            && share.known.has(now, 1)
            && share.failed.has(now, 1)
    }

    /// That check was made, and was good.
    pub(super) fn passed(&mut self, share: &mut Share) {
        self.known.take(1);
        share.known.take(1);
    }

    /// It was not, or came to nothing in the end.
    pub(super) fn failed(&mut self, share: &mut Share) {
        self.failed.take(1);
        share.failed.take(1);
    }

    /// Whether two checks may be made for a stranger at `mac`: of its certificate, and of what it
    /// says.
    pub(super) fn admits_stranger(&mut self, now: Instant, mac: Mac) -> bool {
        let each = (self.limits.strangers / 8).max(1);
        if !self.shares.contains_key(&mac) && self.shares.len() == STRANGERS {
            // Whoever asked least lately is forgotten, and has a full share if it comes again; what
            // strangers get together stays the same.
            let oldest = self.shares.iter().min_by_key(|(_, share)| share.filled);
            if let Some(oldest) = oldest.map(|(mac, _)| *mac) {
                self.shares.remove(&oldest);
            }
        }
        let share = self.shares.entry(mac);
        let share = share.or_insert_with(|| Bucket::full(now, each));
        self.strangers.has(now, 2) && share.has(now, 2)
    }

    /// A stranger's checks were made, and made nobody known.
    pub(super) fn wasted(&mut self, mac: Mac) {
        self.strangers.take(2);
        if let Some(share) = self.shares.get_mut(&mac) {
            share.take(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;

    const LIMITS: CheckLimits = CheckLimits {
        known: 400,
        failed: 40,
        strangers: 160,
    };
    const NOW: Instant = Instant::from_millis(5_000);

    /// How often a check is admitted in 1,000 times, that all end alike.
    fn known(limiter: &mut Limiter, share: &mut Share, now: Instant, good: bool) -> usize {
        let check = |_: &usize| {
            let admitted = limiter.admits_known(now, share);
            match good {
                _ if !admitted => {}
                true => limiter.passed(share),
                false => limiter.failed(share),
            }
            admitted
        };
        (0..1_000).filter(check).count()
    }

    #[test]
    fn a_stranger_leaves_room_for_others_and_strangers_for_the_known() {
        let mut limiter = Limiter::new(LIMITS);
        let mut share = limiter.share(NOW);
        let mut ask = |n: u8, times: usize| {
            let mac = [2, 0, 0, 0, 0, n];
            let admitted = (0..times).filter(|_| {
                let admitted = limiter.admits_stranger(NOW, mac);
                if admitted {
                    limiter.wasted(mac);
                }
                admitted
            });
            admitted.count()
        };
        assert_eq!(
            ask(1, 1_000),
            20,
            "two seconds of an eighth, two checks each"
        );
        assert_eq!(ask(2, 10), 10);
        let all: usize = (3..=255).map(|n| ask(n, 1_000)).sum();
        assert_eq!(20 + 10 + all, 160, "two seconds of everybody's");
        assert_eq!(known(&mut limiter, &mut share, NOW, true), 200);
        let later = NOW + Duration::from_millis(500);
        assert_eq!(known(&mut limiter, &mut share, later, true), 50);
    }

    #[test]
    fn what_fails_costs_more_than_what_is_good() {
        let mut limiter = Limiter::new(LIMITS);
        let (mut victim, mut other) = (limiter.share(NOW), limiter.share(NOW));
        assert_eq!(known(&mut limiter, &mut victim, NOW, false), 40);
        assert_eq!(known(&mut limiter, &mut victim, NOW, true), 0);
        assert_eq!(known(&mut limiter, &mut other, NOW, true), 200);
        let later = NOW + Duration::from_millis(100);
        assert!(limiter.admits_known(later, &mut victim));
    }

    #[test]
    fn the_table_of_strangers_is_bounded() {
        let mut limiter = Limiter::new(LIMITS);
        for n in 0..10_000u64 {
            let [.., a, b, c] = n.to_be_bytes();
            limiter.admits_stranger(Instant::from_micros(n), [2, 0, 0, a, b, c]);
            assert!(limiter.shares.len() <= STRANGERS);
        }
    }
}
