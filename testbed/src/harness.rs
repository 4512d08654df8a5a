//! A test runner for tests in namespaces, with the manners of the standard one.
//!
//! The standard runner has threads before a test's first line, and the kernel lets only a process
//! with one thread into a new user namespace. A test binary with `harness = false` calls [`main`]
//! instead: it enters first, then runs the tests one after the other. What this machine cannot do
//! is printed as ignored, with the reason.
//!
//! Ordinary `#[test]` functions are less to write: [`before_main!`](crate::before_main!) enters for
//! them. This runner is for tests that must not run side by side, or whose skips must be seen
//! without `--show-output`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;

use crate::skip::Skip;
pub use crate::skip::skip;

/// A test: its name and what it does. An error fails it, unless it comes from [`skip`].
pub type Test = (&'static str, fn() -> Result<()>);

/// What the standard runner's command line asks for, as far as it concerns us; other options are
/// accepted and ignored.
#[derive(Debug, Default)]
struct Wanted {
    filters: Vec<String>,
    skips: Vec<String>,
    exact: bool,
    list: bool,
    terse: bool,
    ignored_only: bool,
}

impl Wanted {
    fn parse(arguments: impl Iterator<Item = String>) -> Self {
        let mut wanted = Self::default();
        let mut arguments = arguments.peekable();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => wanted.exact = true,
                "--list" => wanted.list = true,
                "--ignored" => wanted.ignored_only = true,
                "--skip" => wanted.skips.extend(arguments.next()),
                "--format" => wanted.terse = arguments.next().is_some_and(|f| f == "terse"),
                "--test-threads" | "--logfile" | "--color" | "-Z" => {
                    arguments.next();
                }
                other if other.starts_with('-') => {}
                _ => wanted.filters.push(argument),
            }
        }
        wanted
    }

    fn takes(&self, name: &str) -> bool {
        let hit = |f: &String| {
            if self.exact {
                name == f
            } else {
                name.contains(f.as_str())
            }
        };
        !self.ignored_only
            && (self.filters.is_empty() || self.filters.iter().any(hit))
            && !self.skips.iter().any(hit)
    }
}

/// Runs `tests` in a private network namespace; the body of a test binary's `main`.
pub fn main(tests: &[Test]) -> ExitCode {
    crate::init();
    let wanted = Wanted::parse(std::env::args().skip(1));
    let chosen: Vec<&Test> = tests.iter().filter(|t| wanted.takes(t.0)).collect();
    if wanted.list {
        for (name, _) in &chosen {
            println!("{name}: test");
        }
        if !wanted.terse {
            println!("\n{} tests, 0 benchmarks", chosen.len());
        }
        return ExitCode::SUCCESS;
    }
    let filtered = tests.len() - chosen.len();
    println!("\nrunning {} tests", chosen.len());
    let start = Instant::now();
    let entered = crate::enter(crate::Privilege::from_environment());
    let (mut passed, mut failed, mut ignored) = (0, 0, 0);
    for (name, body) in chosen {
        let result = match &entered {
            Ok(()) => catch_unwind(AssertUnwindSafe(body))
                .unwrap_or_else(|_| Err(anyhow::anyhow!("panicked"))),
            Err(error) => Err(skip(format!("{error:#}"))),
        };
        match result {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok");
            }
            Err(error) if error.is::<Skip>() => {
                ignored += 1;
                println!("test {name} ... ignored, {error:#}");
            }
            Err(error) => {
                failed += 1;
                println!("test {name} ... FAILED: {error:#}");
            }
        }
    }
    let verdict = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {passed} passed; {failed} failed; {ignored} ignored; \
         0 measured; {filtered} filtered out; finished in {:.2}s\n",
        start.elapsed().as_secs_f64()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(101)
    }
}
