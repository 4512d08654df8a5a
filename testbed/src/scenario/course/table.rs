//! Who was answered by whom, phase by phase.

use std::collections::BTreeSet;

use crate::judge;
use crate::report::{Mark, Round};

/// Columns of a phase's name, and of what one client saw over one family.
const NAME: usize = 28;
const CELL: usize = 13;

/// Rows of phases, a column for each client and family: who answered, in order, and how many
/// requests were lost.
pub(super) fn answers(round: &Round) -> Vec<String> {
    let columns: BTreeSet<(&str, u8)> = round
        .requests
        .iter()
        .map(|request| (request.host.as_str(), request.family))
        .collect();
    if columns.is_empty() {
        return Vec::new();
    }
    let head = columns
        .iter()
        .map(|(host, family)| cell(&format!("{host} v{family}")));
    let mut lines = vec![
        String::new(),
        format!("{:NAME$}{}", "who answered", head.collect::<String>()),
    ];
    for mark in &round.marks {
        let cells = columns
            .iter()
            .map(|column| cell(&seen(round, mark, *column)));
        let name: String = mark.name.chars().take(NAME - 1).collect();
        lines.push(format!("{name:NAME$}{}", cells.collect::<String>()));
    }
    lines
}

fn cell(text: &str) -> String {
    format!("{text:CELL$}")
}

/// What a client saw over a family: `one`, `one, two`, `two -31` for 31 lost.
fn seen(round: &Round, mark: &Mark, (host, family): (&str, u8)) -> String {
    let asked = judge::requests_of(round, mark);
    let asked = asked.filter(|r| r.host == host && r.family == family);
    let (mut who, mut lost) = (Vec::new(), 0);
    for request in asked {
        match &request.outcome {
            Ok(member) if who.last() != Some(&member.as_str()) => who.push(member.as_str()),
            Ok(_) => {}
            Err(_) => lost += 1,
        }
    }
    let turns = who.len() > 2;
    let mut text = if turns {
        format!("{} in turns", who.len())
    } else {
        who.join(", ")
    };
    if lost > 0 {
        text = format!("{text} -{lost}");
    }
    text.trim_start().to_owned()
}
