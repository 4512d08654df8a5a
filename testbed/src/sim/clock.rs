//! The clock of a host: its rate, and what it shows.
//!
//! A host's [`Instant`] is what its own clock shows, and no two quartz crystals agree. The
//! arithmetic is exact: what a clock shows is counted in units of which a nanosecond has 10^6, and
//! cut to microseconds only where it is read, so rounding never adds up.

use hamp::time::Instant;

use super::queue::Nanos;
use crate::topology;

/// Units of a true nanosecond.
const EXACT: u64 = 1_000_000;
/// Units of a microsecond that is shown.
const MICRO: u128 = 1000 * EXACT as u128;

/// A clock that runs at one rate since some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// Units that pass in a true nanosecond.
    rate: u64,
    /// Since when, in true time.
    since: Nanos,
    /// What it showed then, in units.
    shown: u128,
    /// It shows true time; most do, and that needs no division by numbers of 128 bits.
    plain: bool,
}

impl Clock {
    /// A clock as the topology has it, at time zero.
    pub(super) fn new(clock: topology::Clock) -> Self {
        Self {
            rate: rate(clock.ppm),
            since: 0,
            shown: u128::from(clock.ahead_ms) * 1000 * MICRO,
            plain: clock == topology::Clock::default(),
        }
    }

    /// Runs at another rate from now on, and goes on from what it shows.
    pub(super) fn set_rate(&mut self, now: Nanos, ppm: i32) {
        *self = Self {
            rate: rate(ppm),
            since: now,
            shown: self.shown(now),
            plain: false,
        };
    }

    /// What it shows at a true time that is not before its last change of rate.
    pub(super) fn at(&self, now: Nanos) -> Instant {
        if self.plain {
            return Instant::from_micros(now / 1000);
        }
        Instant::from_micros(narrow(self.shown(now) / MICRO))
    }

    /// The first true time at which it shows `at`, as if it had always run at its present rate.
    pub(super) fn when(&self, at: Instant) -> Nanos {
        if self.plain {
            return at.as_micros().saturating_mul(1000);
        }
        let (wanted, rate) = (u128::from(at.as_micros()) * MICRO, u128::from(self.rate));
        if wanted >= self.shown {
            let passes = narrow((wanted - self.shown).div_ceil(rate));
            return self.since.saturating_add(passes);
        }
        self.since
            .saturating_sub(narrow((self.shown - wanted) / rate))
    }

    fn shown(&self, now: Nanos) -> u128 {
        self.shown + u128::from(now.saturating_sub(self.since)) * u128::from(self.rate)
    }
}

/// Units that pass in a true nanosecond on a clock that is `ppm` parts in a million too fast.
fn rate(ppm: i32) -> u64 {
    EXACT.saturating_add_signed(ppm.into()).max(1)
}

fn narrow(number: u128) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Nanos = 86_400 * 1_000_000_000;

    fn clock(ppm: i32, ahead_ms: u64) -> Clock {
        Clock::new(topology::Clock { ppm, ahead_ms })
    }

    #[test]
    fn rate_and_phase_are_what_they_are_set_to_after_a_hundred_days() {
        let shown = |ppm, ahead| clock(ppm, ahead).at(100 * DAY).as_micros();
        let true_us = 100 * DAY / 1000;
        assert_eq!(shown(0, 0), true_us);
        assert_eq!(shown(0, 5), true_us + 5000);
        assert_eq!(shown(200, 0), true_us + 100 * 86_400 * 200);
        assert_eq!(shown(-200, 0), true_us - 100 * 86_400 * 200);
        assert_eq!(shown(-1, 7), true_us - 100 * 86_400 + 7000);
    }

    #[test]
    fn converting_there_and_back_is_exact_to_the_nanosecond() {
        for ppm in [-100_000, -200, -1, 0, 1, 3, 200, 100_000] {
            let mut clock = clock(ppm, 12_345);
            for step in 0..1000u64 {
                if step == 500 {
                    clock.set_rate(step * DAY / 777, ppm + 1);
                }
                let micros = clock.at(step * DAY / 777).as_micros() + 1;
                let when = clock.when(Instant::from_micros(micros));
                // The first moment at which it shows that, and not one later.
                assert_eq!(clock.at(when).as_micros(), micros, "{ppm} ppm, step {step}");
                assert!(
                    clock.at(when - 1).as_micros() < micros,
                    "{ppm} ppm, step {step}"
                );
            }
        }
    }

    #[test]
    fn a_clock_goes_on_from_what_it_shows_however_often_its_rate_changes() {
        let mut clock = clock(0, 0);
        let mut last = Instant::ZERO;
        // A million changes, and not a nanosecond is lost: 100 ns at +200 ppm, 100 ns at -200 ppm.
        for change in 0..1_000_000u64 {
            let ppm = if change % 2 == 0 { 200 } else { -200 };
            clock.set_rate(change * 100, ppm);
            assert!(clock.at(change * 100) >= last);
            last = clock.at(change * 100);
        }
        assert_eq!(clock.at(100_000_000), Instant::from_micros(100_000));
    }

    #[test]
    fn the_end_of_time_is_no_overflow() {
        for ppm in [-200, 0, 200] {
            let clock = clock(ppm, 1);
            assert!(clock.at(u64::MAX) > clock.at(u64::MAX - 10_000));
            assert!(clock.when(Instant::from_micros(u64::MAX)) > u64::MAX / 2);
        }
    }
}
