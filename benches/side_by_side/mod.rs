//! Side by side: variants of one thing, measured in alternation and compared round by round.
//!
//! A machine drifts while it is measured: other work comes and goes, clocks and caches warm up.
//! So every round measures every variant once, in an order of its own, and a variant's figure is
//! the median of its per-round ratios to the baseline of the same round. The baseline is there
//! twice, in two places that are built alike: what the second one differs by is the noise, and
//! when that is more than a metric's stated limit, no ratio of that metric is given.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::Result;
use hamp::proto::random::Random;
use serde_json::{Value, json};

/// The variant that the others are compared with.
pub(crate) const BASELINE: &str = "plain";
/// The same, a second time.
pub(crate) const AGAIN: &str = "plain-again";

/// What is measured, and how far the baseline may be from itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metric {
    /// With its unit: `connect_p50_ns`.
    pub(crate) name: &'static str,
    /// The largest deviation of the noise's median from 1 at which ratios are given.
    pub(crate) noise_limit: f64,
}

/// The figures of one measurement.
pub(crate) type Measured = Vec<(Metric, f64)>;

/// One measurement: its variant and case (a family, say), and what gives its figures.
pub(crate) struct Task<'a> {
    pub(crate) variant: &'static str,
    pub(crate) case: &'static str,
    pub(crate) run: Box<dyn Fn() -> Result<Measured> + 'a>,
}

/// All figures: metric and case, then variant, then rounds.
#[derive(Default)]
pub(crate) struct Figures {
    values: BTreeMap<(&'static str, &'static str), BTreeMap<&'static str, Vec<f64>>>,
    limits: BTreeMap<&'static str, f64>,
}

/// A median, the middle half around it, and the whole range.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Self {
            median: (at(values.len() / 2) + at(values.len().saturating_sub(1) / 2)) / 2.0,
            low: at(values.len() / 4),
            high: at((values.len() * 3 / 4).min(values.len().saturating_sub(1))),
            least: at(0),
            most: at(values.len().saturating_sub(1)),
        }
    }

    fn json(self) -> Value {
        let round = |value: f64| (value * 10_000.0).round() / 10_000.0;
        json!({
            "median": round(self.median),
            "low": round(self.low), "high": round(self.high),
            "least": round(self.least), "most": round(self.most),
        })
    }
}

impl Figures {
    /// Measures every task once per round, in random order.
    pub(crate) fn measure(
        &mut self,
        tasks: &[Task<'_>],
        rounds: usize,
        random: &mut Random,
        mut progress: impl FnMut(usize),
    ) -> Result<()> {
        for round in 0..rounds {
            let mut order: Vec<_> = tasks.iter().collect();
            shuffle(random, &mut order);
            for task in order {
                for (metric, value) in (task.run)()? {
                    self.limits.insert(metric.name, metric.noise_limit);
                    let variants = self.values.entry((metric.name, task.case)).or_default();
                    variants.entry(task.variant).or_default().push(value);
                }
            }
            progress(round + 1);
        }
        Ok(())
    }

    /// The JSON document and a table for people.
    pub(crate) fn report(&self) -> (Value, String) {
        let mut results = Vec::new();
        let mut table = format!(
            "{:<22} {:<10} {:<12} {:>12}  {}\n",
            "metric",
            "case",
            "variant",
            "median",
            "ratio to the baseline, middle half of the rounds, range"
        );
        for (&(metric, case), variants) in &self.values {
            let limit = self.limits.get(metric).copied().unwrap_or_default();
            let baseline = variants.get(BASELINE).map_or(&[][..], Vec::as_slice);
            let ratio = |variant: &str| {
                let values = variants.get(variant).map_or(&[][..], Vec::as_slice);
                Spread::of(
                    values
                        .iter()
                        .zip(baseline)
                        .map(|(value, base)| value / base),
                )
            };
            let noise = ratio(AGAIN);
            let quiet = (noise.median - 1.0).abs() <= limit;
            for (&variant, values) in variants {
                let spread = Spread::of(values.iter().copied());
                let given =
                    (variant != BASELINE && (quiet || variant == AGAIN)).then(|| ratio(variant));
                results.push(json!({
                    "metric": metric, "case": case, "variant": variant,
                    "value": spread.json(),
                    "ratio": given.map(Spread::json),
                    "noise_limit": limit, "quiet": quiet,
                }));
                let text = match given {
                    Some(r) => format!(
                        "{:.3}  {:.2} to {:.2}  ({:.2} to {:.2})",
                        r.median, r.low, r.high, r.least, r.most
                    ),
                    None if variant == BASELINE => "1".to_owned(),
                    None => format!("not given: noise above {:.0} %", limit * 100.0),
                };
                // Writing to a string cannot fail.
                let _ = writeln!(
                    table,
                    "{metric:<22} {case:<10} {variant:<12} {:>12.0}  {text}",
                    spread.median
                );
            }
        }
        (json!(results), table)
    }
}

fn shuffle<T>(random: &mut Random, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let other = random.next_u64() % (last as u64 + 1);
        items.swap(last, other as usize);
    }
}
