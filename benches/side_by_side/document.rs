//! What a bench reports: the document `hamp.side-by-side/1` (`docs/schemas/`), and a table of it.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use super::figures::{Kept, Spread, Verdict};
use super::options::Extent;
use super::{Bench, Better, Limit, Unit};

impl Unit {
    /// As the document writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "ns",
            Self::Milliseconds => "ms",
            Self::BytesPerSecond => "bytes/s",
        }
    }
}

/// A value of the document for people, with three digits and a fitting unit.
pub(crate) fn quantity(value: f64, unit: &str) -> String {
    let (base, steps): (f64, &[&str]) = match unit {
        "ns" => (1.0, &["ns", "µs", "ms", "s"]),
        "ms" => (1e6, &["ns", "µs", "ms", "s"]),
        "bytes/s" => (1.0, &["B/s", "kB/s", "MB/s", "GB/s"]),
        other => return format!("{value} {other}"),
    };
    let (mut value, mut step) = (value * base, 0);
    while value >= 999.5 && step + 1 < steps.len() {
        value /= 1000.0;
        step += 1;
    }
    let digits = match value {
        _ if value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {}", steps[step])
}

fn spread(spread: Spread) -> Value {
    let round = |value: f64| (value * 10_000.0).round() / 10_000.0;
    json!({
        "median": round(spread.median),
        "sure_low": round(spread.sure.0), "sure_high": round(spread.sure.1),
        "low": round(spread.half.0), "high": round(spread.half.1),
        "least": round(spread.range.0), "most": round(spread.range.1),
    })
}

/// The document of a bench.
pub(crate) fn json(bench: &Bench) -> Result<Value> {
    let options = &bench.options;
    // Only its version: what follows the first dash is the builder's.
    let kernel = nix::sys::utsname::uname()?;
    let kernel = kernel.release().to_string_lossy();
    let kernel = kernel.split('-').next().unwrap_or_default();
    let mut versions = Map::new();
    versions.insert("hamp".into(), env!("CARGO_PKG_VERSION").into());
    versions.insert("kernel".into(), kernel.into());
    for (program, version) in &bench.versions {
        versions.insert((*program).into(), version.as_str().into());
    }
    let amounts = bench.amounts.iter();
    let amounts: Map<_, _> = amounts
        .map(|(name, amount)| ((*name).to_owned(), json!(amount)))
        .collect();
    let mut metrics: Vec<Value> = Vec::new();
    let mut results = Vec::new();
    for group in bench.figures.groups() {
        let metric = group.metric;
        if !metrics.iter().any(|known| known["name"] == metric.name) {
            metrics.push(json!({
                "name": metric.name,
                "label": metric.label,
                "unit": metric.unit.name(),
                "better": match metric.better { Better::Lower => "lower", Better::Higher => "higher" },
                "noise_limit": metric.noise_limit,
                "part_of": metric.part_of,
            }));
        }
        for (side, values) in &group.sides {
            let value = Spread::of(values.iter().copied()).context("a side without values")?;
            let verdict = group.verdict(side);
            let refused = match &verdict {
                Verdict::Refused(why) => Some(why.as_str()),
                Verdict::Baseline | Verdict::Ratio(_) => None,
            };
            results.push(json!({
                "metric": metric.name,
                "case": group.case,
                "side": side,
                "baseline": verdict == Verdict::Baseline,
                "rounds": values.len(),
                "value": spread(value),
                "ratio": verdict.ratio().map(spread),
                "refused": refused,
            }));
        }
    }
    let limits: Vec<_> = bench.figures.limits().iter().map(limit).collect();
    Ok(json!({
        "schema": "hamp.side-by-side/1",
        "bench": options.name,
        "title": bench.title,
        "command": options.command(),
        "quick": options.extent != Extent::Full,
        "seed": options.seed,
        "took_ms": u64::try_from(bench.began.elapsed().as_millis())?,
        "versions": versions,
        "processors": std::thread::available_parallelism()?.get(),
        "amounts": amounts,
        "metrics": metrics,
        "results": results,
        "limits": limits,
    }))
}

fn limit(kept: &Kept) -> Value {
    let (kind, limit) = match kept.limit {
        Limit::ValueAtMost(most) => ("value_at_most", most),
        Limit::RatioAtLeast(least) => ("ratio_at_least", least),
        Limit::RatioAtMost(most) => ("ratio_at_most", most),
    };
    json!({
        "metric": kept.metric.name,
        "case": kept.case,
        "side": kept.side,
        "kind": kind,
        "limit": limit,
        "measured": kept.measured,
        "passed": kept.passed,
    })
}

/// The document as a table for people.
pub(crate) fn table(document: &Value) -> String {
    let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let number = |value: &Value| value.as_f64().unwrap_or(f64::NAN);
    let metrics = list("metrics");
    let metric = |name: &Value| {
        let found = metrics.iter().find(|metric| metric["name"] == *name);
        found.cloned().unwrap_or_default()
    };
    let mut rows = vec![[
        "figure".to_owned(),
        "case".to_owned(),
        "side".to_owned(),
        "median".to_owned(),
        "ratio to the baseline: median (middle half; range)".to_owned(),
    ]];
    for result in list("results") {
        let metric = metric(&result["metric"]);
        let ratio = &result["ratio"];
        rows.push([
            text(&metric["label"]),
            text(&result["case"]),
            text(&result["side"]),
            quantity(number(&result["value"]["median"]), &text(&metric["unit"])),
            match (ratio.is_object(), result["baseline"] == true) {
                (true, _) => format!(
                    "{:.3} ({:.2} to {:.2}; {:.2} to {:.2})",
                    number(&ratio["median"]),
                    number(&ratio["low"]),
                    number(&ratio["high"]),
                    number(&ratio["least"]),
                    number(&ratio["most"]),
                ),
                (false, true) => "1".to_owned(),
                (false, false) => format!("not given: {}", text(&result["refused"])),
            },
        ]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..5).map(|column| width(column).unwrap_or(0)).collect();
    let mut table = String::new();
    for [figure, case, side, median, ratio] in &rows {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            table,
            "{figure:<0$}  {case:<1$}  {side:<2$}  {median:>3$}  {ratio}",
            widths[0], widths[1], widths[2], widths[3]
        );
    }
    for limit in list("limits") {
        let is_ratio = limit["kind"] != "value_at_most";
        let metric = metric(&limit["metric"]);
        let shown = |value: &Value| match value.as_f64() {
            None => "nothing that can be judged".to_owned(),
            Some(value) if is_ratio => format!("{value:.3}"),
            Some(value) => quantity(value, &text(&metric["unit"])),
        };
        let _ = writeln!(
            table,
            "{} {}, {}, {}: {} {}, measured {}",
            if limit["passed"] == true {
                "ok    "
            } else {
                "FAILED"
            },
            text(&metric["label"]),
            text(&limit["case"]),
            text(&limit["side"]),
            match limit["kind"].as_str() {
                Some("ratio_at_least") => "ratio at least",
                Some("ratio_at_most") => "ratio at most",
                _ => "at most",
            },
            shown(&limit["limit"]),
            shown(&limit["measured"]),
        );
    }
    table
}
