//! Words for a terminal that all labs have in common.

use std::time::Duration;

use crate::report::{Check, Run};

/// Columns that everything fits into.
pub(super) const WIDTH: usize = 80;

/// A text in lines of at most [`WIDTH`] columns; those after the first begin with `indent`.
pub(super) fn wrapped(text: &str, indent: &str) -> Vec<String> {
    let body = text.trim_start();
    let mut lines = Vec::new();
    let mut line = text[..text.len() - body.len()].to_owned();
    for word in body.split(' ') {
        let begun = !line.trim().is_empty();
        if begun && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, indent.into()));
        } else if begun {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// What could not be done, the checks, and the verdict.
pub(super) fn end(run: &Run) -> Vec<String> {
    let mut lines = Vec::new();
    for cell in &run.unsupported {
        let text = format!("not here: {}: {}", cell.what, cell.reason);
        lines.extend(wrapped(&text, "       "));
    }
    lines.push(String::new());
    for check in &run.checks {
        let Check {
            id,
            measured,
            limit,
            unit,
            detail,
            ..
        } = check;
        let mark = if check.passed { "ok    " } else { "FAILED" };
        lines.push(format!(
            "{mark} {id:48} {measured:>7.0} <= {limit:.0} {unit}"
        ));
        if !check.passed && !detail.is_empty() {
            lines.extend(wrapped(&format!("       {detail}"), "       "));
        }
    }
    let failed = run.checks.iter().filter(|check| !check.passed).count();
    let verdict = match failed {
        0 => "all passed".to_owned(),
        _ => format!("{failed} FAILED"),
    };
    let took = Duration::from_millis(run.took_ms).as_secs_f64();
    let Run {
        privilege,
        stall_ms,
        ..
    } = run;
    let checks = run.checks.len();
    lines.push(String::new());
    lines.push(format!(
        "{verdict} ({checks} checks, {took:.1} s, {privilege}, longest stall {stall_ms:.0} ms)"
    ));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_are_broken_and_nothing_is_lost() {
        let text = "  a word ".to_owned() + &"or so ".repeat(40);
        let lines = wrapped(text.trim_end(), "   ");
        assert!(lines.len() > 2 && lines.iter().all(|line| line.chars().count() <= WIDTH));
        assert!(lines[0].starts_with("  a word or"), "{lines:?}");
        assert!(lines[1..].iter().all(|line| line.starts_with("   ")));
        let words = |text: &str| {
            text.split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(words(&lines.join(" ")), words(&text));
    }
}
