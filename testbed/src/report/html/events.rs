//! What happened, one section each: in a sentence, request by request, and packet by packet.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use super::timeline::Chart;
use super::{page, sequence, words};
use crate::capture::Stamp;
use crate::judge;
use crate::picture::{Text, short};
use crate::report::deciding::{self, Step};
use crate::report::story::{Kind, Mark, Round, Story};
use crate::report::traffic::Traffic;

/// The sections of a round; `prefix` makes their names unique.
pub(crate) fn sections(story: &Story, round: &Round, traffic: &Traffic, prefix: &str) -> String {
    let mut out = String::new();
    let marks = round.marks.iter().filter(|m| m.kind != Kind::Quiet);
    for (index, mark) in marks.enumerate() {
        let id = format!("{prefix}e{index}");
        let body = section(round, traffic, mark, &id);
        let at = short(mark.from.ms_since(story.zero(round)) / 1e3, 2);
        let name = Text(&mark.name);
        // What breaks is open; how it is made good again is there for who wants to know.
        let _ = if mark.kind == Kind::Fault || mark.name.starts_with("leave") {
            writeln!(
                out,
                "<section aria-labelledby=\"{id}\"><h3 id=\"{id}\">{name}, at {at} s</h3>{body}</section>"
            )
        } else {
            writeln!(
                out,
                "<details id=\"{id}\"><summary>{name}, at {at} s</summary>{body}</details>"
            )
        };
    }
    out
}

/// The sequence diagrams of a round as files of their own, by number.
pub(crate) fn pictures(round: &Round, traffic: &Traffic) -> Vec<String> {
    let marks = round.marks.iter().filter(|m| m.kind != Kind::Quiet);
    let steps = marks.map(|mark| (mark, deciding::steps(round, traffic, mark)));
    steps
        .filter(|(_, steps)| !steps.is_empty())
        .map(|(mark, steps)| sequence::picture(&steps, round, traffic, mark))
        .collect()
}

fn section(round: &Round, traffic: &Traffic, mark: &Mark, id: &str) -> String {
    let mut out = format!("<p>{}</p>", Text(told(round, mark)));
    let chart = close_up(round, traffic, mark);
    if chart
        .round
        .requests
        .iter()
        .any(|r| chart.from <= r.sent && r.sent <= chart.to)
    {
        let drawn = chart.draw();
        let about = format!("Requests around: {}", mark.name);
        let what = match chart.is_single() {
            true => "Each request when it was sent, in the lane of who answered it.",
            false => "How many requests were sent, in the lane of who answered them.",
        };
        let _ = write!(
            out,
            "<figure>{}<figcaption>{what} Milliseconds since the event.</figcaption></figure>",
            page::row(&drawn, &about)
        );
    }
    let steps = deciding::steps(round, traffic, mark);
    if !steps.is_empty() {
        diagram(&mut out, &steps, round, traffic, mark, id);
    }
    out
}

fn diagram(
    out: &mut String,
    steps: &[Step<'_>],
    round: &Round,
    traffic: &Traffic,
    mark: &Mark,
    id: &str,
) {
    let name = Text(&mark.name);
    let _ = write!(
        out,
        "<figure><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Deciding packets: {name}\">{}</div>\
         <figcaption>The packets that decided, and when their senders\u{2019} links carried them.</figcaption></figure>",
        sequence::diagram(&format!("{id}t"), steps, round, traffic, mark)
    );
    out.push_str("<details><summary>The same as text</summary><ol>");
    for line in words::words(steps, traffic, mark) {
        let _ = write!(out, "<li>{}</li>", Text(line));
    }
    out.push_str("</ol></details>");
}

/// From a little before the event to a little after the time in which something may be lost.
fn close_up<'a>(round: &'a Round, traffic: &'a Traffic, mark: &'a Mark) -> Chart<'a> {
    let window = round.window.max(Duration::from_millis(100));
    let before = u64::try_from(window.as_nanos() / 4).unwrap_or(0);
    let end = mark.from.plus(window + window * 6 / 10);
    Chart {
        round,
        traffic,
        zero: mark.from,
        from: Stamp(mark.from.0.saturating_sub(before)),
        to: end.min(mark.to.max(mark.from.plus(window / 2))),
        fine: true,
    }
}

/// What it cost, in a sentence for each family.
fn told(round: &Round, mark: &Mark) -> String {
    let all = judge::takeovers(round, busiest(round), mark.from);
    let mut parts: Vec<String> = Vec::new();
    for t in all
        .iter()
        .filter(|t| t.at_ms == 0.0 && t.event == mark.name)
    {
        let lost = match (t.lost, t.last_lost_ms) {
            (0, _) | (_, None) => "nothing was lost".into(),
            (n, Some(ms)) => format!(
                "{n} {} lost, the last one sent after {} ms",
                plural(n),
                short(ms, 0)
            ),
        };
        parts.push(format!(
            "IPv{}: {} answers instead of {} after {} ms; {lost}.",
            t.family,
            t.to,
            t.from,
            short(t.took_ms, 0)
        ));
    }
    if parts.is_empty() {
        let lost = judge::requests_of(round, mark).filter(|r| r.outcome.is_err());
        parts.push(match lost.count() {
            0 => "The same member goes on answering; nothing was lost.".into(),
            n => format!("{n} {} lost.", plural(n)),
        });
    }
    if mark.kind == Kind::Fault {
        parts.push(format!(
            "Requests may be lost for {} ms (hatched): the dead time of {} ms and slack.",
            round.window.as_millis(),
            round.dead.as_millis()
        ));
    }
    parts.join(" ")
}

/// The host that asks most: through its eyes a takeover is told.
fn busiest(round: &Round) -> &str {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for request in &round.requests {
        *counts.entry(&request.host).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map_or("", |(host, _)| host)
}

fn plural(n: usize) -> &'static str {
    if n == 1 {
        "request was"
    } else {
        "requests were"
    }
}
