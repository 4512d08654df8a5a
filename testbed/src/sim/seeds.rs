//! Random tests: many seeds, and the one command that runs the failed one again.

use std::panic::{RefUnwindSafe, catch_unwind, resume_unwind};

/// A random test, by the names that run it again.
#[derive(Clone, Copy, Debug)]
pub struct RandomTest {
    /// Its package.
    pub package: &'static str,
    /// Its file, without `.rs`.
    pub file: &'static str,
    /// Its name, or the part of it that no other test has.
    pub name: &'static str,
}

impl RandomTest {
    /// Runs `check` with `count` seeds from 0 on, or with `HAMP_SEEDS` of them, or with `HAMP_SEED`
    /// alone. Before a failure goes on, stderr gets the command that runs its seed again.
    ///
    /// # Panics
    /// A check does, or one of the variables is no number.
    pub fn run(&self, count: u64, check: impl Fn(u64) + RefUnwindSafe) {
        for seed in seeds(count) {
            if let Err(panic) = catch_unwind(|| check(seed)) {
                eprintln!("again: {}", self.command(seed));
                resume_unwind(panic);
            }
        }
    }

    fn command(&self, seed: u64) -> String {
        let Self {
            package,
            file,
            name,
        } = self;
        format!("HAMP_SEED={seed} cargo test -p {package} --test {file} {name}")
    }
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    let number = |variable: &str| {
        let text = std::env::var(variable).ok()?;
        let parsed = text.parse::<u64>();
        // NOTE(unwrap): a test that was asked for another seed than it can run has to say so.
        Some(parsed.unwrap_or_else(|_| panic!("{variable}={text} is no number")))
    };
    match number("HAMP_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("HAMP_SEEDS").unwrap_or(count),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_seed_that_fails_ends_the_test() {
        let test = RandomTest {
            package: "p",
            file: "f",
            name: "n",
        };
        assert_eq!(test.command(3), "HAMP_SEED=3 cargo test -p p --test f n");
        let seen = std::sync::Mutex::new(Vec::new());
        let failed = catch_unwind(|| {
            test.run(10, |seed| {
                seen.lock().unwrap_or_else(|e| e.into_inner()).push(seed);
                assert!(seed < 3);
            });
        });
        assert!(failed.is_err());
        let seen = seen.into_inner().unwrap_or_else(|e| e.into_inner());
        assert!(seen.len() == 1 || seen == [0, 1, 2, 3], "{seen:?}");
    }
}
