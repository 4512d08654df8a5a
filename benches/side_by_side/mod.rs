//! Side by side: something of ours and its peers, measured in alternation in places built alike.
//!
//! A machine drifts while it is measured: other work comes and goes, clocks and caches warm up.
//! So each round measures every side once, and a side's figure is the median of its per-round
//! ratios to the baseline. The order is drawn anew for every second round, and the round after it
//! goes through it backwards, so that what drifts within a round favours nobody.
//!
//! **The baseline against itself.** The baseline is set up twice. What its second copy differs by
//! is the noise, and when that is more than a metric's stated limit, no ratio of that metric is
//! given: the figure is null, with the reason ([`figures`]). That alone is no failure. A
//! [`Limit`] that is not kept, or that cannot be judged, is one (exit code 1).
//!
//! **How much.** `cargo bench --bench NAME` measures all, `--quick` a little, and `cargo test
//! --benches` each thing once: that shows that it works, and prints no figure.
//!
//! How to write a bench is in `docs/benchmarks.md`. Files: [`options`] the command line,
//! [`order`] who goes when, [`figures`] medians, noise and ratios, [`document`] the JSON document
//! and the table, [`plot`] the picture with its [`scale`] and the [`parts`] of figures, [`tcp`]
//! connects and transfers for those who measure links.

pub(crate) mod document;
pub(crate) mod figures;
pub(crate) mod options;
pub(crate) mod order;
mod parts;
pub(crate) mod plot;
mod scale;
pub(crate) mod tcp;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use figures::Figures;
use options::{Extent, Options};
use order::Order;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Metric {
    /// Name with its unit, for programs: `connect_p50_ns`.
    pub(crate) name: &'static str,
    /// The same for people, without the unit: "connect, median".
    pub(crate) label: &'static str,
    /// What its values count.
    pub(crate) unit: Unit,
    /// Which values are good ones.
    pub(crate) better: Better,
    /// How far from 1 the baseline's ratio to itself may be for ratios to be given.
    pub(crate) noise_limit: f64,
    /// Name of the metric that it is a part of: what the time goes on.
    pub(crate) part_of: Option<&'static str>,
}

/// What values count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds.
    Nanoseconds,
    /// Milliseconds.
    Milliseconds,
    /// Bytes per second.
    BytesPerSecond,
}

/// Which values are good ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Better {
    /// Small ones.
    Lower,
    /// Large ones.
    Higher,
}

/// The figures of one measurement.
pub(crate) type Measured = Vec<(Metric, f64)>;

/// Measures one case (a family, a size) once, in a place that has been set up.
pub(crate) type Measure<'a> = Box<dyn FnMut(&str) -> Result<Measured> + 'a>;

/// What a figure must keep.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Limit {
    /// The median of the side's own values.
    ValueAtMost(f64),
    /// The median of its ratios to the baseline.
    RatioAtLeast(f64),
    /// The same, from above.
    RatioAtMost(f64),
}

/// A side: its name, and what measures it.
type Side<'a> = (String, Measure<'a>);

/// The sides of one comparison, each set up and ready; the baseline first.
pub(crate) struct Sides<'a>(Vec<Side<'a>>);

impl<'a> Sides<'a> {
    /// The side that all are compared with. `set_up` runs twice and must build the same twice.
    pub(crate) fn baseline<M>(name: &str, mut set_up: impl FnMut() -> Result<M>) -> Result<Self>
    where
        M: FnMut(&str) -> Result<Measured> + 'a,
    {
        Self(Vec::new())
            .and(name, &mut set_up)?
            .and(&format!("{name}-again"), &mut set_up)
    }

    /// One more side, set up in a place like the baseline's.
    pub(crate) fn and<M>(mut self, name: &str, set_up: impl FnOnce() -> Result<M>) -> Result<Self>
    where
        M: FnMut(&str) -> Result<Measured> + 'a,
    {
        let measure = set_up().with_context(|| format!("set up {name}"))?;
        self.0.push((name.to_owned(), Box::new(measure)));
        Ok(self)
    }
}

/// A bench while it runs: comparisons go in, one document comes out.
pub(crate) struct Bench {
    title: &'static str,
    options: Options,
    order: Order,
    figures: Figures,
    amounts: Vec<(&'static str, u64)>,
    versions: Vec<(&'static str, String)>,
    began: Instant,
}

impl Bench {
    /// A bench without figures.
    pub(crate) fn new(title: &'static str, options: Options) -> Self {
        let order = Order::new(options.seed);
        Self {
            title,
            options,
            order,
            figures: Figures::default(),
            amounts: Vec::new(),
            versions: Vec::new(),
            began: Instant::now(),
        }
    }

    /// How much of something to do in each measurement; the document says so under `name`.
    pub(crate) fn amount(&mut self, name: &'static str, full: u64, quick: u64) -> u64 {
        let amount = match self.options.extent {
            Extent::Full => full,
            Extent::Quick => quick,
            Extent::Once => quick.div_ceil(10),
        };
        self.amounts.retain(|(other, _)| *other != name);
        self.amounts.push((name, amount));
        amount
    }

    /// The version of a program that takes part.
    pub(crate) fn version(&mut self, program: &'static str, version: &str) {
        self.versions.push((program, version.trim().to_owned()));
    }

    /// Measures every case on every side in each round. `full` and `quick` are the numbers of
    /// rounds, unless `--rounds` says otherwise.
    pub(crate) fn compare(
        &mut self,
        what: &str,
        (full, quick): (usize, usize),
        cases: &[&str],
        mut sides: Sides<'_>,
    ) -> Result<()> {
        let rounds = self.options.rounds(full, quick);
        for round in 1..=rounds {
            let order = self.order.next(sides.0.len());
            for case in cases {
                let mut measured = Vec::with_capacity(order.len());
                for &side in &order {
                    let (name, measure) = &mut sides.0[side];
                    let figures =
                        measure(case).with_context(|| format!("{what}, {case}: {name}"))?;
                    measured.push((side, figures));
                }
                // The document lists the sides as they were set up, not as they were drawn.
                measured.sort_by_key(|(side, _)| *side);
                for (side, figures) in measured {
                    self.note(case, &sides.0[side].0, figures)?;
                }
            }
            eprintln!("{what}: round {round} of {rounds}");
        }
        Ok(())
    }

    fn note(&mut self, case: &str, side: &str, figures: Measured) -> Result<()> {
        for (metric, value) in figures {
            if !value.is_finite() || value <= 0.0 {
                bail!("{}, {case}: {side} measured {value}", metric.name);
            }
            self.figures.add(metric, case, side, value);
        }
        Ok(())
    }

    /// What the figure of one side must keep.
    pub(crate) fn limit(&mut self, metric: Metric, case: &str, side: &str, limit: Limit) {
        self.figures.limit(metric, case, side, limit);
    }

    /// Writes what was asked for and prints the table; whether all limits are kept.
    fn finish(&self) -> Result<bool> {
        let document = document::json(self)?;
        if let Some(path) = &self.options.json {
            let text = serde_json::to_string_pretty(&document)? + "\n";
            std::fs::write(path, text).with_context(|| path.clone())?;
        }
        if let Some(path) = &self.options.plot {
            std::fs::write(path, plot::svg(&document)?).with_context(|| path.clone())?;
        }
        print!("{}", document::table(&document));
        Ok(self.figures.limits().iter().all(|kept| kept.passed))
    }
}

/// Body of a bench's `main`: reads the command line, enters a namespace, runs `body`, reports.
pub(crate) fn main(title: &'static str, body: impl FnOnce(&mut Bench) -> Result<()>) -> ExitCode {
    testbed::init();
    let name = env!("CARGO_CRATE_NAME");
    let options = match Options::parse(name, std::env::args().skip(1)) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("{name}: {error:#}\n{}", Options::usage(name));
            return ExitCode::from(2);
        }
    };
    let once = options.extent == Extent::Once;
    if let Err(error) = testbed::enter(testbed::Privilege::Auto) {
        println!("skipped: {name}: {error:#}");
        return if once {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(77)
        };
    }
    let mut bench = Bench::new(title, options);
    let kept = body(&mut bench).and_then(|()| if once { Ok(true) } else { bench.finish() });
    match kept {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
