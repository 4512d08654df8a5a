//! Bounded waits for conditions: the only way anything in a lab waits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at.
const EVERY: Duration = Duration::from_millis(10);

/// Set once somebody wants an end: no wait goes on then.
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// The error of what was told to end.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}

/// Set while Ctrl-C belongs to a shell that we wait for.
static IGNORED: AtomicBool = AtomicBool::new(false);

/// From now on [`interrupt`] does nothing: a shell has the terminal.
pub fn ignore_interrupts() {
    IGNORED.store(true, Ordering::Relaxed);
}

/// Ends all waits of this process, now and later; whether that was asked before.
pub fn interrupt() -> bool {
    if IGNORED.load(Ordering::Relaxed) {
        return false;
    }
    INTERRUPTED.swap(true, Ordering::Relaxed)
}

/// Fails if the process was told to end.
pub fn go_on() -> Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        return Err(Interrupted.into());
    }
    Ok(())
}

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
        go_on()?;
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
