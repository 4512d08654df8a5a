//! The harness of `benches/`: who goes when, which ratios it gives and which it refuses, and that
//! the committed figures are what it writes.

#[path = "netns/schema.rs"]
mod schema;
#[allow(dead_code, reason = "the command line and `main` are for benches")]
#[path = "../benches/side_by_side/mod.rs"]
mod side_by_side;

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;
use side_by_side::figures::Spread;
use side_by_side::options::{Extent, Options};
use side_by_side::order::Order;
use side_by_side::{Bench, Better, Limit, Measured, Metric, Sides, Unit, document, plot};

const TIME: Metric = Metric {
    name: "connect_ns",
    label: "connect",
    unit: Unit::Nanoseconds,
    better: Better::Lower,
    noise_limit: 0.05,
    part_of: None,
};

fn bench(rounds: usize) -> Bench {
    let words = ["--bench", "--seed", "7", "--rounds"].map(String::from);
    let words = words.into_iter().chain([rounds.to_string()]);
    Bench::new("A test", Options::parse("test", words).unwrap())
}

/// A bench of what the closures measure: `plain` twice, then `ours`; each gets the number of the
/// round, from 0.
fn measured(
    rounds: usize,
    plain: impl Fn(usize) -> f64 + Copy,
    again: impl Fn(usize) -> f64 + Copy,
    ours: impl Fn(usize) -> f64 + Copy,
) -> Bench {
    let mut bench = bench(rounds);
    let mut copies = 0;
    let side = |first: bool| {
        let mut round = 0;
        move |_: &str| -> anyhow::Result<Measured> {
            let value = if first { plain(round) } else { again(round) };
            round += 1;
            Ok(vec![(TIME, value)])
        }
    };
    let baseline = || {
        copies += 1;
        Ok(side(copies == 1))
    };
    let mut round = 0;
    let peer = move |_: &str| -> anyhow::Result<Measured> {
        round += 1;
        Ok(vec![(TIME, ours(round - 1))])
    };
    let sides = Sides::baseline("plain", baseline).unwrap();
    let sides = sides.and("ours", || Ok(peer)).unwrap();
    bench.limit(TIME, "IPv4", "ours", Limit::RatioAtLeast(1.5));
    bench.limit(TIME, "IPv4", "ours", Limit::RatioAtMost(2.0));
    bench.compare("test", (1, 1), &["IPv4"], sides).unwrap();
    bench
}

fn result<'a>(document: &'a Value, side: &str) -> &'a Value {
    let results = document["results"].as_array().unwrap();
    results
        .iter()
        .find(|result| result["side"] == side)
        .unwrap()
}

#[test]
fn medians_quartiles_and_ranges_are_right() {
    let spread = Spread::of([5.0, 1.0, 4.0, 2.0, 3.0]).unwrap();
    assert_eq!(spread.median, 3.0);
    assert_eq!(spread.half, (2.0, 4.0));
    assert_eq!(spread.range, (1.0, 5.0));
    assert_eq!(Spread::of([4.0, 1.0, 3.0, 2.0]).unwrap().median, 2.5);
    assert_eq!(Spread::of([7.0]).unwrap().half, (7.0, 7.0));
    assert_eq!(Spread::of([]), None);
}

/// Which values bound the median, from the tables of the sign test.
#[test]
fn the_interval_of_a_median_is_that_of_the_sign_test() {
    for (count, low) in [
        (1, 1),
        (5, 1),
        (6, 1),
        (8, 1),
        (9, 2),
        (12, 3),
        (20, 6),
        (31, 10),
    ] {
        let spread = Spread::of((1..=count).map(f64::from)).unwrap();
        let bounds = (f64::from(low), f64::from(count + 1 - low));
        assert_eq!(spread.sure, bounds, "of {count} values");
    }
}

#[test]
fn a_steady_baseline_gives_ratios() {
    let document = document::json(&measured(9, |_| 10.0, |_| 10.3, |_| 20.0)).unwrap();
    assert_eq!(result(&document, "ours")["ratio"]["median"], 2.0);
    assert_eq!(result(&document, "ours")["refused"], Value::Null);
    assert_eq!(result(&document, "plain-again")["ratio"]["median"], 1.03);
    assert_eq!(result(&document, "plain")["baseline"], true);
    assert_eq!(document["limits"][0]["passed"], true);
    assert!(
        plot::svg(&document)
            .unwrap()
            .contains("2.00 (2.00 to 2.00)")
    );
}

fn assert_refused(bench: &Bench, why: &str) {
    let document = document::json(bench).unwrap();
    let ours = result(&document, "ours");
    assert_eq!(ours["ratio"], Value::Null);
    assert!(ours["refused"].as_str().unwrap().contains(why), "{ours}");
    assert_eq!(document["limits"][0]["measured"], Value::Null);
    assert_eq!(document["limits"][0]["passed"], false);
    let table = document::table(&document);
    assert!(table.contains("not given: the baseline"), "{table}");
    assert!(table.contains("FAILED"), "{table}");
    assert!(
        plot::svg(&document)
            .unwrap()
            .contains(">no ratio; 20.0 ns<")
    );
    assert_eq!(schema::check(&document), Ok(()));
}

#[test]
fn a_baseline_that_differs_from_itself_is_refused() {
    assert_refused(
        &measured(9, |_| 10.0, |_| 10.6, |_| 20.0),
        "differs from itself by 6 %, allowed are 5 %",
    );
}

#[test]
fn a_baseline_whose_copies_drift_apart_is_refused() {
    let drifting = |round| 10.0 + round as f64 * 0.2;
    assert_refused(
        &measured(11, |_| 10.0, drifting, |_| 20.0),
        "from itself by 10 %",
    );
}

/// Its median ratio to itself is 1: that alone would not show it.
#[test]
fn a_baseline_that_swings_around_itself_is_refused() {
    let swinging = |round| [5.0, 15.0, 10.0][round % 3];
    assert_refused(
        &measured(31, |_| 10.0, swinging, |_| 20.0),
        "known to ±50 %",
    );
}

#[test]
fn a_round_or_two_give_no_ratio() {
    let document = document::json(&measured(2, |_| 10.0, |_| 10.0, |_| 20.0)).unwrap();
    let refused = result(&document, "ours")["refused"].as_str().unwrap();
    assert_eq!(refused, "3 rounds are needed to see the noise");
}

#[test]
fn what_drifts_on_all_sides_alike_costs_no_ratio() {
    let drift = |round: usize| 1.1_f64.powi(round as i32);
    let bench = measured(
        9,
        |n| 10.0 * drift(n),
        |n| 10.0 * drift(n),
        |n| 20.0 * drift(n),
    );
    let document = document::json(&bench).unwrap();
    assert_eq!(result(&document, "ours")["ratio"]["least"], 2.0);
    assert_eq!(result(&document, "ours")["ratio"]["most"], 2.0);
}

#[test]
fn a_figure_that_the_baseline_lacks_has_no_ratio() {
    const PART: Metric = Metric {
        name: "part_ns",
        label: "wait",
        part_of: Some(TIME.name),
        ..TIME
    };
    let mut bench = bench(3);
    let plain = || Ok(|_: &str| -> anyhow::Result<Measured> { Ok(vec![(TIME, 1.0)]) });
    let ours = || Ok(|_: &str| -> anyhow::Result<Measured> { Ok(vec![(TIME, 1.0), (PART, 0.5)]) });
    let sides = Sides::baseline("plain", plain)
        .unwrap()
        .and("ours", ours)
        .unwrap();
    bench.limit(PART, "IPv4", "ours", Limit::ValueAtMost(0.6));
    bench.compare("test", (1, 1), &["IPv4"], sides).unwrap();
    let document = document::json(&bench).unwrap();
    let part = document["results"].as_array().unwrap().last().unwrap();
    assert_eq!(part["value"]["median"], 0.5);
    assert_eq!(part["refused"], "the baseline has no such figure");
    assert_eq!(document["limits"][0]["passed"], true);
    assert_eq!(schema::check(&document), Ok(()));
    let picture = plot::svg(&document).unwrap();
    assert!(picture.contains(">ours, its parts<") && picture.contains(">wait 0.50 ns<"));
}

#[test]
fn a_measurement_that_gives_no_figure_is_an_error() {
    for nothing in [0.0, f64::NAN, f64::INFINITY] {
        let side =
            move || Ok(move |_: &str| -> anyhow::Result<Measured> { Ok(vec![(TIME, nothing)]) });
        let sides = Sides::baseline("plain", side).unwrap();
        let error = bench(3)
            .compare("test", (1, 1), &["IPv4"], sides)
            .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("connect_ns, IPv4: plain measured"),
            "{error}"
        );
    }
}

/// The harness's own alternation: no side is measured twice before the others, in any case.
#[test]
fn each_round_measures_each_side_once_in_each_case() {
    let calls = RefCell::new(Vec::new());
    let side = |name: &'static str| {
        let calls = &calls;
        move |case: &str| -> anyhow::Result<Measured> {
            calls.borrow_mut().push((name, case.to_owned()));
            Ok(vec![(TIME, 1.0)])
        }
    };
    let sides = Sides::baseline("plain", || Ok(side("plain"))).unwrap();
    let sides = sides.and("ours", || Ok(side("ours"))).unwrap();
    bench(8)
        .compare("test", (1, 1), &["IPv4", "IPv6"], sides)
        .unwrap();
    let calls = calls.borrow();
    assert_eq!(calls.len(), 8 * 2 * 3);
    for (index, turn) in calls.chunks(3).enumerate() {
        let case = ["IPv4", "IPv6"][index % 2];
        assert!(turn.iter().all(|(_, of)| of == case), "{turn:?}");
        assert_eq!(
            turn.iter().filter(|(name, _)| *name == "plain").count(),
            2,
            "{turn:?}"
        );
    }
}

proptest! {
    /// Over two rounds each side goes before each other one exactly once.
    #[test]
    fn the_order_favours_nobody(seed: u64, sides in 1_usize..8, rounds in 1_usize..10) {
        let mut order = Order::new(seed);
        let mut before = vec![vec![0; sides]; sides];
        for _ in 0..2 * rounds {
            let drawn = order.next(sides);
            for (place, &side) in drawn.iter().enumerate() {
                drawn[place + 1..].iter().for_each(|&later| before[side][later] += 1);
            }
        }
        for (side, row) in before.iter().enumerate() {
            for (other, &count) in row.iter().enumerate() {
                prop_assert_eq!(count, if side == other { 0 } else { rounds });
            }
        }
    }
}

#[test]
fn the_order_changes_with_the_rounds_and_repeats_with_the_seed() {
    let orders = |seed| {
        let mut order = Order::new(seed);
        (0..40).map(|_| order.next(4)).collect::<Vec<_>>()
    };
    let mut of_one = orders(1);
    assert_eq!(of_one, orders(1));
    of_one.sort();
    of_one.dedup();
    assert!(of_one.len() > 10, "{of_one:?}");
}

#[test]
fn the_command_line_is_read_and_repeated() {
    let parse = |line: &str| Options::parse("shim", line.split_whitespace().map(String::from));
    assert_eq!(parse("").unwrap().extent, Extent::Once);
    assert_eq!(parse("--quick").unwrap().extent, Extent::Once);
    let options = parse("--bench --quick --rounds 3 --json a.json --plot a.svg").unwrap();
    assert_eq!(options.extent, Extent::Quick);
    assert_eq!(options.rounds(31, 7), 3);
    let command = "cargo bench --bench shim -- --quick --rounds 3 --json a.json --plot a.svg";
    assert_eq!(options.command(), command);
    assert_eq!(parse("--bench").unwrap().rounds(31, 7), 31);
    for wrong in ["--bench --rounds", "--rounds 0", "--seed x", "--bnech"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}

/// The committed documents of this schema.
fn committed() -> Vec<(PathBuf, Value)> {
    let figures = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/figures");
    let files = std::fs::read_dir(figures).unwrap();
    let files = files.map(|file| file.unwrap().path());
    let documents = files.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        (path, serde_json::from_str::<Value>(&text).unwrap())
    };
    let ours = |(_, document): &(PathBuf, Value)| document["schema"] == "hamp.side-by-side/1";
    documents.map(read).filter(ours).collect()
}

#[test]
fn committed_documents_are_described_and_committed_pictures_are_drawn_from_them() {
    let committed = committed();
    assert!(!committed.is_empty());
    for (path, document) in committed {
        assert_eq!(schema::check(&document), Ok(()), "{}", path.display());
        assert_eq!(document["quick"], false, "{}", path.display());
        let picture = path.with_extension("svg");
        // After the drawing has changed: HAMP_BLESS=1 draws the same figures again.
        if std::env::var_os("HAMP_BLESS").is_some() {
            std::fs::write(&picture, plot::svg(&document).unwrap()).unwrap();
        }
        let drawn = std::fs::read_to_string(&picture).unwrap();
        let (picture, command) = (picture.display(), &document["command"]);
        assert!(
            drawn == plot::svg(&document).unwrap(),
            "{picture}: run {command}"
        );
    }
}

#[test]
fn the_commands_that_documents_quote_are_command_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = std::fs::read_to_string(root.join("docs/figures/README.md")).unwrap();
    for (path, document) in committed() {
        let command = document["command"].as_str().unwrap();
        assert!(
            table.contains(&format!("`{command}`")),
            "{}: {command}",
            path.display()
        );
    }
    let quoted = table
        .split('`')
        .filter_map(|code| code.strip_prefix("cargo bench --bench "));
    for command in quoted {
        let (name, words) = command.split_once(" -- ").unwrap();
        let words = words.split_whitespace().map(String::from);
        let options = Options::parse(name, ["--bench".into()].into_iter().chain(words));
        assert_eq!(options.unwrap().extent, Extent::Full, "{command}");
    }
}
