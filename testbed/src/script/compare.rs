//! The same script in two worlds: the same things happened, at the same times.

use std::collections::BTreeMap;
use std::time::Duration;

use super::events::{Event, events};
use crate::capture::Stamp;
use crate::report::Round;

/// How two rounds of one script differ.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Events that both have.
    pub common: usize,
    /// Events that only one of them has.
    pub missing: Vec<String>,
    /// Events that come before one another in one and after in the other, further apart than the
    /// tolerance.
    pub order: Vec<String>,
    /// The largest difference between the times of an event, counted from the step before it.
    pub latest: Duration,
    /// The event that it is of.
    pub latest_event: String,
}

/// Compares the events of two rounds. Times count from the last mark before each, so that what one
/// world takes to do a step does not add up; events closer than `tolerance` have no order.
pub fn compare(one: &Round, other: &Round, tolerance: Duration) -> Difference {
    let (one, other) = (timed(one), timed(other));
    let mut difference = Difference::default();
    let mut common: Vec<(&Key, f64, f64)> = Vec::new();
    for (key, at) in &one {
        match other.get(key) {
            Some(there) => common.push((key, *at, *there)),
            None => difference.missing.push(format!("{key} in the first only")),
        }
    }
    let only = other.keys().filter(|key| !one.contains_key(*key));
    difference
        .missing
        .extend(only.map(|key| format!("{key} in the second only")));
    difference.common = common.len();
    let tolerance = tolerance.as_secs_f64() * 1e3;
    for (index, (key, here, there)) in common.iter().enumerate() {
        let apart = Duration::from_secs_f64((here - there).abs() / 1e3);
        if apart >= difference.latest {
            difference.latest = apart;
            difference.latest_event = key.to_string();
        }
        for (later, here_too, there_too) in &common[..index] {
            let (first, second) = (here - here_too, there - there_too);
            let same_mark = key.mark == later.mark;
            if same_mark && first * second < 0.0 && first.abs().min(second.abs()) > tolerance {
                difference.order.push(format!("{key} and {later}"));
            }
        }
    }
    difference
}

/// An event: the mark it follows, who, what, and which of several like it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    mark: String,
    host: String,
    what: String,
    number: usize,
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {} {}", self.mark, self.host, self.what)?;
        if self.number > 0 {
            write!(f, " ({})", self.number + 1)?;
        }
        Ok(())
    }
}

/// The events with their times after the mark, in milliseconds.
fn timed(round: &Round) -> BTreeMap<Key, f64> {
    let mut timed = BTreeMap::new();
    let mut numbers: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for Event { at, host, what } in events(round) {
        let before = round.marks.iter().rev().find(|mark| mark.from <= at);
        let (mark, from) = before.map_or(("", Stamp(0)), |mark| (&mark.name, mark.from));
        let id = (mark.to_owned(), host.clone(), what.clone());
        let number = numbers.entry(id).or_default();
        let key = Key {
            mark: mark.into(),
            host,
            what,
            number: *number,
        };
        *number += 1;
        timed.insert(key, at.ms_since(from));
    }
    timed
}
