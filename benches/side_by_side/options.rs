//! The command line of a bench.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// What committed figures come from.
    Full,
    /// Enough for a first look, in 20 seconds.
    Quick,
    /// Each thing once, without figures: what `cargo test --benches` does.
    Once,
}

/// What the command line asks for.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    /// Name of the bench.
    pub(crate) name: String,
    /// How much is measured.
    pub(crate) extent: Extent,
    /// Number of rounds, instead of the bench's own.
    pub(crate) rounds: Option<usize>,
    /// What the order of sides is drawn from.
    pub(crate) seed: u64,
    /// File for the JSON document.
    pub(crate) json: Option<String>,
    /// File for the picture.
    pub(crate) plot: Option<String>,
}

impl Options {
    /// How to call it.
    pub(crate) fn usage(name: &str) -> String {
        format!(
            "cargo bench --bench {name} -- [--quick] [--rounds N] [--seed N] [--json FILE] \
             [--plot FILE]"
        )
    }

    /// Reads the arguments after the program's name.
    pub(crate) fn parse(name: &str, words: impl IntoIterator<Item = String>) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut options = Self {
            name: name.to_owned(),
            // cargo says `--bench` to what it runs for `cargo bench`, and nothing for `cargo test`.
            extent: Extent::Once,
            rounds: None,
            seed: now.as_secs().max(1),
            json: None,
            plot: None,
        };
        let mut quick = false;
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                "--bench" => options.extent = Extent::Full,
                "--quick" => quick = true,
                "--rounds" => {
                    let rounds = value()?;
                    let number = rounds.parse().ok().filter(|number| *number > 0);
                    options.rounds =
                        Some(number.with_context(|| format!("--rounds {rounds}: no number"))?);
                }
                "--seed" => {
                    let seed = value()?;
                    options.seed = seed
                        .parse()
                        .with_context(|| format!("--seed {seed}: no number"))?;
                }
                "--json" => options.json = Some(value()?),
                "--plot" => options.plot = Some(value()?),
                _ => bail!("unknown option {word}"),
            }
        }
        if quick && options.extent == Extent::Full {
            options.extent = Extent::Quick;
        }
        Ok(options)
    }

    /// The number of rounds.
    pub(crate) fn rounds(&self, full: usize, quick: usize) -> usize {
        match self.extent {
            Extent::Full => self.rounds.unwrap_or(full),
            Extent::Quick => self.rounds.unwrap_or(quick),
            Extent::Once => 1,
        }
    }

    /// The command that repeats this run.
    pub(crate) fn command(&self) -> String {
        let mut command = format!("cargo bench --bench {}", self.name);
        let mut words = Vec::new();
        if self.extent == Extent::Quick {
            words.push("--quick".to_owned());
        }
        words.extend(self.rounds.map(|rounds| format!("--rounds {rounds}")));
        words.extend(self.json.as_ref().map(|file| format!("--json {file}")));
        words.extend(self.plot.as_ref().map(|file| format!("--plot {file}")));
        if !words.is_empty() {
            command = format!("{command} -- {}", words.join(" "));
        }
        command
    }
}
