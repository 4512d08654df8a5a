//! Bounded waits for conditions: the only way anything in a lab waits.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(10);

/// Looks at `condition` until it gives a value, at most for `limit`; the error names `what` was
/// awaited.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        if start.elapsed() >= limit {
            bail!("waited {} ms in vain: {what}", limit.as_millis());
        }
        std::thread::sleep(EVERY);
    }
}

/// As [`until`], for a condition that can fail; the last failure becomes part of the error.
pub fn until_ok<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Result<T>,
) -> Result<T> {
    let mut last = None;
    let found = until(what, limit, || match condition() {
        Ok(value) => Some(value),
        Err(error) => {
            last = Some(error);
            None
        }
    });
    found.map_err(|error| match last {
        Some(last) => error.context(format!("{last:#}")),
        None => error,
    })
}
