//! Bounded waits for conditions: the only way anything in a lab waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a condition is looked at: soon at first, since most come true soon, then less often.
const FIRST: Duration = Duration::from_micros(250);
const LAST: Duration = Duration::from_millis(10);

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

/// Watches for moments in which the machine let nobody run: a virtual machine that was paused, or
/// too much work for its processors.
#[derive(Debug)]
pub struct Stalls(Arc<AtomicU64>);

impl Stalls {
    /// Begins to watch; ends when dropped.
    pub fn watch() -> Result<Self> {
        let longest = Arc::new(AtomicU64::new(0));
        let noted = Arc::downgrade(&longest);
        std::thread::Builder::new()
            .name("stalls".into())
            .spawn(move || {
                loop {
                    let due = Instant::now() + Duration::from_millis(5);
                    std::thread::sleep(Duration::from_millis(5));
                    let late = due.elapsed();
                    let Some(longest) = noted.upgrade() else {
                        break;
                    };
                    let late = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
                    longest.fetch_max(late, Ordering::Relaxed);
                }
            })?;
        Ok(Self(longest))
    }

    /// The longest one so far.
    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}

/// Looks at `condition` until it gives a value, at most for `limit`; the error names `what` was
/// awaited.
pub fn until<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> Result<T> {
    let start = Instant::now();
    let mut pause = FIRST;
    loop {
        if let Some(value) = condition() {
            return Ok(value);
        }
        go_on()?;
        if start.elapsed() >= limit {
            bail!("waited {} ms in vain: {what}", limit.as_millis());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LAST);
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
