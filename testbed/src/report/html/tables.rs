//! The figures in rows and columns.

use std::fmt::Write as _;

use crate::picture::{Text, short};
use crate::report::run::Run;

/// How a column stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Text,
    Number,
    /// Text that may be long.
    Prose,
}
use Column::{Number, Prose, Text as Words};

/// A table in a box in which it scrolls; nothing if it has no rows.
fn table(caption: &str, head: &[(&str, Column)], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let class = |column: Column| match column {
        Words => "",
        Number => " class=\"n\"",
        Prose => " class=\"w\"",
    };
    let mut out = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table><caption>{0}</caption><thead><tr>",
        Text(caption)
    );
    for (name, column) in head {
        let _ = write!(
            out,
            "<th scope=\"col\"{}>{}</th>",
            class(*column),
            Text(name)
        );
    }
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        for (cell, (_, column)) in row.iter().zip(head) {
            let no = if cell == FAILED {
                "<strong class=\"no\">"
            } else {
                ""
            };
            let end = if no.is_empty() { "" } else { "</strong>" };
            let _ = write!(out, "<td{}>{no}{}{end}</td>", class(*column), Text(cell));
        }
        out.push_str("</tr>\n");
    }
    out + "</tbody></table></div>\n"
}

/// In the column of verdicts.
const FAILED: &str = "\u{2717} failed";

pub(crate) fn takeovers(run: &Run) -> String {
    let head = [
        ("event", Words),
        ("hello ms", Number),
        ("at s", Number),
        ("family", Words),
        ("from", Words),
        ("to", Words),
        ("took ms", Number),
        ("lost", Number),
        ("last lost ms", Number),
        ("limit ms", Number),
    ];
    let row = |t: &crate::report::Takeover| {
        vec![
            t.event.clone(),
            t.hello_ms.to_string(),
            short(t.at_ms / 1e3, 2),
            format!("IPv{}", t.family),
            t.from.clone(),
            t.to.clone(),
            short(t.took_ms, 1),
            t.lost.to_string(),
            t.last_lost_ms
                .map_or_else(|| "\u{2013}".into(), |ms| short(ms, 1)),
            short(t.window_ms, 0),
        ]
    };
    let rows: Vec<_> = run.takeovers.iter().map(row).collect();
    table(
        "Takeovers: from the event to the first answer of the new member",
        &head,
        &rows,
    )
}

pub(crate) fn phases(run: &Run) -> String {
    let head = [
        ("phase", Words),
        ("hello ms", Number),
        ("from s", Number),
        ("to s", Number),
        ("family", Words),
        ("service", Words),
        ("asked by", Words),
        ("requests", Number),
        ("lost", Number),
        ("answered by", Words),
        ("gap ms", Number),
        ("median ms", Number),
        ("p99 ms", Number),
    ];
    let row = |p: &crate::report::Phase| {
        let by: Vec<_> = p
            .by_member
            .iter()
            .map(|(name, n)| format!("{name} {n}"))
            .collect();
        vec![
            p.name.clone(),
            p.hello_ms.to_string(),
            short(p.from_ms / 1e3, 2),
            short(p.to_ms / 1e3, 2),
            format!("IPv{}", p.family),
            p.service.clone(),
            p.from_host.clone(),
            p.requests.to_string(),
            p.failed.to_string(),
            by.join(", "),
            short(p.gap_ms, 1),
            short(p.p50_ms, 2),
            short(p.p99_ms, 2),
        ]
    };
    let rows: Vec<_> = run.phases.iter().map(row).collect();
    table("Requests by phase, family, service and host", &head, &rows)
}

pub(crate) fn checks(run: &Run) -> String {
    let head = [
        ("check", Words),
        ("verdict", Words),
        ("measured", Number),
        ("at most", Number),
        ("unit", Words),
        ("on what", Prose),
    ];
    let row = |c: &crate::report::Check| {
        vec![
            c.id.clone(),
            if c.passed { "\u{2713} ok" } else { FAILED }.into(),
            short(c.measured, 1),
            short(c.limit, 1),
            c.unit.into(),
            c.detail.clone(),
        ]
    };
    let rows: Vec<_> = run.checks.iter().map(row).collect();
    table("What was asserted", &head, &rows)
}

/// Attack by attack, what was let through and what was refused.
pub(crate) fn attacks(run: &Run) -> String {
    let head = [
        ("attack", Words),
        ("verified", Words),
        ("frames", Number),
        ("requests", Number),
        ("diverted", Number),
        ("lost", Number),
        ("moved", Number),
        ("dead after ms", Number),
        ("router %", Number),
        ("refused", Prose),
    ];
    let none = || "\u{2013}".to_owned();
    let row = |a: &crate::report::Attack| {
        let longest = a.listed_ms.values().map(|ms| ms.unwrap_or(f64::INFINITY));
        let longest = longest.reduce(f64::max);
        let dead = longest.map_or_else(none, |ms| {
            if ms.is_finite() {
                short(ms, 0)
            } else {
                "never".into()
            }
        });
        let refused: Vec<_> = a
            .refused
            .iter()
            .filter(|(_, counts)| !counts.is_empty())
            .map(|(host, counts)| {
                let counts = counts.iter().map(|(reason, n)| format!("{reason} {n}"));
                format!("{host}: {}", counts.collect::<Vec<_>>().join(", "))
            })
            .collect();
        vec![
            a.attack.clone(),
            if a.mode == "off" {
                "nothing"
            } else {
                "everything"
            }
            .into(),
            a.frames.to_string(),
            a.requests.to_string(),
            a.diverted.to_string(),
            a.lost.to_string(),
            a.moved.to_string(),
            dead,
            a.router_percent.map_or_else(none, |share| short(share, 0)),
            refused.join("; "),
        ]
    };
    let mut sorted: Vec<_> = run.attacks.iter().collect();
    let place = |name: &str| run.attacks.iter().position(|a| a.attack == name);
    sorted.sort_by_key(|a| place(&a.attack));
    let rows: Vec<_> = sorted.into_iter().map(row).collect();
    table(
        "Attacks: what was let through, and what was refused",
        &head,
        &rows,
    )
}

pub(crate) fn programs(run: &Run) -> String {
    let head = [
        ("command", Words),
        ("family", Words),
        ("answered by", Words),
        ("error", Prose),
    ];
    let row = |p: &crate::report::Program| {
        vec![
            p.command.clone(),
            format!("IPv{}", p.family),
            p.answered_by.clone().unwrap_or_else(|| "\u{2013}".into()),
            p.error.clone().unwrap_or_default(),
        ]
    };
    let rows: Vec<_> = run.programs.iter().map(row).collect();
    table("Unmodified programs", &head, &rows)
}

pub(crate) fn unsupported(run: &Run) -> String {
    let head = [("what", Words), ("why not", Prose)];
    let rows: Vec<_> = run
        .unsupported
        .iter()
        .map(|u| vec![u.what.clone(), u.reason.clone()])
        .collect();
    table("What could not be done here", &head, &rows)
}

pub(crate) fn versions(run: &Run) -> String {
    let head = [("program", Words), ("says", Prose)];
    let own = ("hamp-lab", env!("CARGO_PKG_VERSION"));
    let others = run.versions.iter();
    let others = others.map(|(name, says)| (name.as_str(), says.as_str()));
    let rows: Vec<_> = std::iter::once(own)
        .chain(others)
        .map(|(name, says)| vec![name.to_owned(), says.to_owned()])
        .collect();
    table("Versions, as each says itself", &head, &rows)
}
