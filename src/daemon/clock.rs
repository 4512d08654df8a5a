//! The one place that reads clocks and gathers randomness.

use std::time::{SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};

use crate::time::{Duration, Instant};

/// Now, on a clock that counts while the machine sleeps: a suspended member was away for others
/// too, and must find that out when it wakes.
pub fn now() -> Instant {
    // NOTE(unwrap): not one; a clock that does not exist (before Linux 2.6.39) stands still.
    let now = clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .unwrap_or_default();
    Instant::from_micros(u64::try_from(now.as_micros()).unwrap_or(u64::MAX))
}

/// Milliseconds since 1970: the epoch of this life of the host.
pub fn epoch() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// 256 bits that nobody else knows. Errors: the kernel has no randomness yet.
pub fn secret() -> Result<[u8; 32], getrandom::Error> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    Ok(secret)
}
