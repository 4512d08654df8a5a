//! What time it is for a peer: its time when it last proved it, and how far the clocks may have
//! drifted apart since.

use crate::time::{Duration, Instant};

/// Clocks may differ by this much: 500 parts in a million, five times what RFC 5905 §3 expects of
/// an undisciplined one.
const DRIFT_PPM: u64 = 500;
/// The peer is asked for its time again after so many of its dead times, when half of the
/// allowance is used.
const RENEW: u64 = 250;
/// And not believed any more after so many: the allowance is then a quarter of the dead time.
//= docs/spec/membership.md#proof-of-time
//# In enforce mode a receiver MUST refuse the hellos of a member that has not answered a question
//# of it for 500 dead times of the member.
const STALE: u64 = 500;

/// A peer's clock, as this host knows it. All spans are in microseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    at: Instant,
    time: u64,
    fresh: bool,
}

/// How a time that a peer states lies to what its clock must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lies {
    Behind,
    Within,
    Ahead,
}

impl Clock {
    /// A peer that says at `now` that its time is `time`; `fresh` when that answers a question of
    /// ours, and so cannot have been said before.
    pub(super) fn new(now: Instant, time: Duration, fresh: bool) -> Self {
        Self {
            at: now,
            time: micros(time),
            fresh,
        }
    }

    /// The same peer says so again.
    ///
    /// An answer may be late, but nobody can make it early. So the clock shows at least what it
    /// says, and at least what it said before allows.
    pub(super) fn set(&mut self, now: Instant, time: Duration) {
        let least = self.now(now).saturating_sub(self.drift(now));
        let proved = self.fresh;
        *self = Self::new(now, time, true);
        if proved {
            self.time = self.time.max(least);
        }
    }

    /// Whether the peer's time answers a question of ours.
    pub(super) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Nothing that was said before counts as an answer.
    pub(super) fn doubt(&mut self) {
        self.fresh = false;
    }

    /// The peer's time.
    pub(super) fn now(&self, now: Instant) -> u64 {
        self.time.saturating_add(now.micros_since(self.at))
    }

    /// How far the clocks may have drifted apart.
    pub(super) fn drift(&self, now: Instant) -> u64 {
        now.micros_since(self.at).saturating_mul(DRIFT_PPM) / 1_000_000
    }

    /// Where `time` lies: within the dead time and the drift, or not.
    pub(super) fn place(&self, now: Instant, time: u64, dead: Duration) -> Lies {
        let allowed = micros(dead).saturating_add(self.drift(now));
        let shown = self.now(now);
        if time.saturating_add(allowed) < shown {
            Lies::Behind
        } else if time > shown.saturating_add(allowed) {
            Lies::Ahead
        } else {
            Lies::Within
        }
    }

    /// When, by this host's clock, the peer's time was `time`; the latest that drift allows, but
    /// not after `now`.
    pub(super) fn when(&self, now: Instant, time: u64) -> Instant {
        let behind = self.now(now).saturating_sub(time);
        let span = Duration::from_micros(behind.saturating_sub(self.drift(now)));
        now - span
    }

    /// Whether it is time to ask the peer for its time.
    pub(super) fn ends_soon(&self, now: Instant, dead: Duration) -> bool {
        !self.fresh || now.micros_since(self.at) >= RENEW.saturating_mul(micros(dead))
    }

    /// Whether the peer's time has not been proved for too long.
    pub(super) fn is_stale(&self, now: Instant, dead: Duration) -> bool {
        !self.fresh || now.micros_since(self.at) > STALE.saturating_mul(micros(dead))
    }
}

/// Whole microseconds.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: Duration = Duration::from_secs(3);

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_late_answer_does_not_set_a_clock_back() {
        let mut clock = Clock::new(at(100), Duration::from_secs(10), true);
        clock.set(at(200), Duration::from_secs(108));
        assert_eq!(clock.now(at(200)), 110_000_000 - 50_000);
        clock.set(at(200), Duration::from_secs(111));
        assert_eq!(clock.now(at(200)), 111_000_000);
    }

    #[test]
    fn what_no_answer_proved_binds_nobody() {
        let mut clock = Clock::new(at(100), Duration::from_secs(10), false);
        clock.set(at(200), Duration::from_secs(50));
        assert_eq!(clock.now(at(200)), 50_000_000);
        assert!(clock.is_fresh());
    }

    #[test]
    fn a_time_lies_within_the_dead_time_and_the_drift() {
        let clock = Clock::new(at(0), Duration::ZERO, true);
        // 1,000 s later clocks may be 0.5 s apart.
        for (time, lies) in [
            (996_499_999, Lies::Behind),
            (996_500_000, Lies::Within),
            (1_003_500_000, Lies::Within),
            (1_003_500_001, Lies::Ahead),
        ] {
            assert_eq!(clock.place(at(1_000), time, DEAD), lies, "{time}");
        }
    }

    #[test]
    fn a_sign_of_life_counts_from_when_it_was_made() {
        let clock = Clock::new(at(0), Duration::ZERO, true);
        assert_eq!(
            clock.when(at(2), 1_000_000),
            at(1) + Duration::from_micros(1_000)
        );
        assert_eq!(clock.when(at(2), 9_000_000), at(2), "never in the future");
    }

    #[test]
    fn a_clock_is_renewed_at_half_its_allowance_and_stale_at_a_quarter_of_the_dead_time() {
        let clock = Clock::new(at(0), Duration::ZERO, true);
        assert!(!clock.ends_soon(at(749), DEAD) && clock.ends_soon(at(750), DEAD));
        assert!(!clock.is_stale(at(1_500), DEAD) && clock.is_stale(at(1_501), DEAD));
        assert_eq!(clock.drift(at(1_500)), micros(DEAD) / 4);
    }
}
