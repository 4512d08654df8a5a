//! Medians and their spread, the noise, and whether a ratio may be given.
//!
//! The noise of a metric is the ratio of the baseline's second copy to its first. A ratio is
//! refused when the median of the noise is further from 1 than the metric's limit, and also when
//! that median is itself not known so well: when its 95 % interval is wider than the limit to
//! either side, a median near 1 says nothing (half of the rounds at 0.5 and half at 1.5 have one).

use super::{Limit, Metric};

/// Fewer rounds than these show no noise.
const LEAST_ROUNDS: usize = 3;

/// A median, the interval it lies in with 95 % probability, the middle half of the values and
/// their range.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// The median.
    pub(crate) median: f64,
    /// Where the median of many more values would lie, with 95 % probability.
    pub(crate) sure: (f64, f64),
    /// Lower and upper quartile.
    pub(crate) half: (f64, f64),
    /// The smallest and the largest value.
    pub(crate) range: (f64, f64),
}

impl Spread {
    /// That of `values`; none if there are no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let last = values.len().checked_sub(1)?;
        let apart = |from_ends: usize| (values[from_ends], values[last - from_ends]);
        let middle = apart(last / 2);
        Some(Self {
            median: f64::midpoint(middle.0, middle.1),
            sure: apart(sure_from_ends(values.len())),
            half: apart(values.len() / 4),
            range: apart(0),
        })
    }
}

/// How many of `count` sorted values to leave out at each end for a 95 % interval of the median:
/// the most for which a binomial variable of `count` throws of a coin is as small with at most
/// 2.5 %. Fewer than six values have no such interval; their whole range has to do.
fn sure_from_ends(count: usize) -> usize {
    let mut probability = 0.5_f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut at_most = 0.0;
    for taken in 0..count / 2 {
        at_most += probability;
        if at_most > 0.025 {
            return taken.saturating_sub(1);
        }
        probability *= (count - taken) as f64 / (taken + 1) as f64;
    }
    0
}

/// What a side comes to beside the baseline.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Verdict {
    /// It is the baseline.
    Baseline,
    /// Its ratio to the baseline, round by round.
    Ratio(Spread),
    /// No ratio, and why.
    Refused(String),
}

impl Verdict {
    /// The ratio, if it is given.
    pub(crate) fn ratio(&self) -> Option<Spread> {
        match self {
            Self::Ratio(spread) => Some(*spread),
            Self::Baseline | Self::Refused(_) => None,
        }
    }
}

/// All values of one metric and case: a list for each side, the baseline and its second copy
/// first; a value for each round.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) metric: Metric,
    pub(crate) case: String,
    pub(crate) sides: Vec<(String, Vec<f64>)>,
}

impl Group {
    /// A side's values, round by round.
    pub(crate) fn values(&self, side: &str) -> Option<&[f64]> {
        let found = self.sides.iter().find(|(name, _)| name == side);
        found.map(|(_, values)| values.as_slice())
    }

    /// The baseline's name: that of which there is a second copy.
    fn baseline(&self) -> Option<&str> {
        let again = |name: &str| self.values(&format!("{name}-again")).is_some();
        let mut names = self.sides.iter().map(|(name, _)| name.as_str());
        names.find(|name| again(name))
    }

    fn ratio(&self, side: &str) -> Option<Spread> {
        let (own, base) = (self.values(side)?, self.values(self.baseline()?)?);
        // Values of different rounds are not divided by each other.
        if own.len() != base.len() {
            return None;
        }
        Spread::of(own.iter().zip(base).map(|(own, base)| own / base))
    }

    /// The ratio of the baseline's second copy to its first.
    pub(crate) fn noise(&self) -> Option<Spread> {
        self.ratio(&format!("{}-again", self.baseline()?))
    }

    /// Why no ratio is given, if none is.
    fn refusal(&self) -> Option<String> {
        let limit = self.metric.noise_limit;
        let rounds = self.sides.iter().map(|(_, values)| values.len()).max();
        let percent = |share: f64| (share * 1000.0).round() / 10.0;
        let Some(noise) = self.noise() else {
            return Some("the baseline has no such figure".to_owned());
        };
        if rounds < Some(LEAST_ROUNDS) {
            return Some(format!("{LEAST_ROUNDS} rounds are needed to see the noise"));
        }
        let off = (noise.median - 1.0).abs();
        if off > limit {
            return Some(format!(
                "the baseline differs from itself by {} %, allowed are {} %",
                percent(off),
                percent(limit)
            ));
        }
        let unsure = (noise.sure.1 - noise.sure.0) / 2.0;
        (unsure > limit).then(|| {
            format!(
                "the baseline beside itself is known to ±{} %, allowed are {} %",
                percent(unsure),
                percent(limit)
            )
        })
    }

    /// What `side` comes to. The second copy of the baseline always has a ratio: it is the noise.
    pub(crate) fn verdict(&self, side: &str) -> Verdict {
        let baseline = self.baseline();
        if baseline == Some(side) {
            return Verdict::Baseline;
        }
        let is_noise = baseline.is_some_and(|name| side.strip_suffix("-again") == Some(name));
        match (self.refusal(), self.ratio(side)) {
            (Some(why), _) if !is_noise => Verdict::Refused(why),
            (_, Some(ratio)) => Verdict::Ratio(ratio),
            (why, None) => Verdict::Refused(why.unwrap_or_else(|| "not measured".to_owned())),
        }
    }
}

/// A limit and what it met.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) metric: Metric,
    pub(crate) case: String,
    pub(crate) side: String,
    pub(crate) limit: Limit,
    /// None where the ratio is refused or nothing was measured.
    pub(crate) measured: Option<f64>,
    pub(crate) passed: bool,
}

/// All figures of a bench, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    groups: Vec<Group>,
    limits: Vec<(Metric, String, String, Limit)>,
}

impl Figures {
    /// One more value.
    pub(crate) fn add(&mut self, metric: Metric, case: &str, side: &str, value: f64) {
        let found = self.position(metric.name, case);
        let at = found.unwrap_or_else(|| {
            self.groups.push(Group {
                metric,
                case: case.to_owned(),
                sides: Vec::new(),
            });
            self.groups.len() - 1
        });
        let sides = &mut self.groups[at].sides;
        match sides.iter_mut().find(|(name, _)| name == side) {
            Some((_, values)) => values.push(value),
            None => sides.push((side.to_owned(), vec![value])),
        }
    }

    fn position(&self, metric: &str, case: &str) -> Option<usize> {
        let here = |group: &Group| group.metric.name == metric && group.case == case;
        self.groups.iter().position(here)
    }

    /// What a figure must keep.
    pub(crate) fn limit(&mut self, metric: Metric, case: &str, side: &str, limit: Limit) {
        self.limits.push((metric, case.into(), side.into(), limit));
    }

    /// Metric by metric and case by case.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// All limits and what they met.
    pub(crate) fn limits(&self) -> Vec<Kept> {
        let met = |(metric, case, side, limit): &(Metric, String, String, Limit)| {
            let group = self.position(metric.name, case).map(|at| &self.groups[at]);
            let measured = group.and_then(|group| match limit {
                Limit::ValueAtMost(_) => {
                    let values = group.values(side)?.iter().copied();
                    Spread::of(values).map(|spread| spread.median)
                }
                Limit::RatioAtLeast(_) | Limit::RatioAtMost(_) => {
                    group.verdict(side).ratio().map(|r| r.median)
                }
            });
            let passed = measured.is_some_and(|measured| match *limit {
                Limit::ValueAtMost(most) => measured <= most,
                Limit::RatioAtLeast(least) => measured >= least,
                Limit::RatioAtMost(most) => measured <= most,
            });
            Kept {
                metric: *metric,
                case: case.clone(),
                side: side.clone(),
                limit: *limit,
                measured,
                passed,
            }
        };
        self.limits.iter().map(met).collect()
    }
}
