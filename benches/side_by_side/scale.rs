//! The scale of a picture: logarithmic, with labels that do not touch.

use serde_json::Value;

use super::plot::{LEFT, RIGHT, list};

/// Steps of the scale: the first list that gives at least four labels in sight is taken.
const STEPS: [&[f64]; 3] = [
    &[1.0],
    &[1.0, 2.0, 5.0],
    &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0],
];
const FINE_STEPS: [f64; 15] = [
    0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98, 1.0, 1.02, 1.05, 1.1, 1.15, 1.2, 1.3, 1.4,
];

/// A logarithmic scale from left to right.
pub(super) struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// Wide enough for all ratios that are given, and for the noise that is allowed.
    pub(super) fn of(document: &Value) -> Self {
        let (mut low, mut high) = (0.95_f64, 1.05_f64);
        for metric in list(&document["metrics"]) {
            let noise = metric["noise_limit"].as_f64().unwrap_or_default();
            (low, high) = (low.min(1.0 / (1.0 + noise)), high.max(1.0 + noise));
        }
        for result in list(&document["results"]) {
            low = low.min(result["ratio"]["least"].as_f64().unwrap_or(low));
            high = high.max(result["ratio"]["most"].as_f64().unwrap_or(high));
        }
        let margin = (high / low).powf(0.04);
        Self {
            low: low / margin,
            high: high * margin,
        }
    }

    /// Where a ratio is, in pixels.
    pub(super) fn x(&self, ratio: f64) -> f64 {
        LEFT + (RIGHT - LEFT) * (ratio / self.low).ln() / (self.high / self.low).ln()
    }

    /// Labels, at least 36 pixels apart; 1 is always one of them.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let seen = |tick: &f64| (self.low..=self.high).contains(tick);
        let decades = |steps: &[f64]| -> Vec<f64> {
            let powers = (-6..=6).map(|power| 10_f64.powi(power));
            let all = powers.flat_map(|ten| steps.iter().map(move |step| step * ten));
            all.filter(seen).collect()
        };
        let found = STEPS.iter().map(|steps| decades(steps));
        let mut found = found.filter(|ticks| ticks.len() >= 4);
        let ticks = found
            .next()
            .unwrap_or_else(|| FINE_STEPS.into_iter().filter(seen).collect());
        let mut kept = vec![1.0];
        for tick in ticks {
            if kept
                .iter()
                .all(|other| (self.x(*other) - self.x(tick)).abs() >= 36.0)
            {
                kept.push(tick);
            }
        }
        kept.sort_by(f64::total_cmp);
        kept
    }
}
