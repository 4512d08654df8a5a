//! The document: from the verdict to the figures.

use std::fmt::Write as _;

use super::timeline::Drawn;
use super::{events, tables, timeline};
use crate::picture::{PAGE, PICTURES, SHAPES, Text, json, short};
use crate::report::story::{Round, Story};
use crate::report::traffic::Traffic;
use crate::topology::draw;

/// The page of a story. The same story gives the same bytes.
pub fn page(story: &Story) -> String {
    let run = &story.run;
    let name = Text(&run.scenario);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/>\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\
         <meta name=\"color-scheme\" content=\"light dark\"/><title>{name}: hamp-lab</title>\
         <style>{PICTURES}{PAGE}</style></head>\n<body>\
         <svg width=\"0\" height=\"0\" style=\"position:absolute\" aria-hidden=\"true\">{SHAPES}</svg>\n"
    );
    header(&mut out, story);
    out.push_str("<main>\n<section aria-labelledby=\"network\"><h2 id=\"network\">Network</h2>\n");
    network(&mut out, story);
    out.push_str("</section>\n");
    for (index, round) in story.rounds.iter().enumerate() {
        play(&mut out, story, round, index);
    }
    let _ = write!(
        out,
        "<section aria-labelledby=\"figures\"><h2 id=\"figures\">Figures</h2>\n{}{}{}{}{}{}</section>\n",
        tables::attacks(run),
        tables::checks(run),
        tables::takeovers(run),
        tables::phases(run),
        tables::programs(run),
        tables::unsupported(run)
    );
    again(&mut out, story);
    let _ = writeln!(
        out,
        "</main>\n<script type=\"application/json\" id=\"run\">{}</script>\n</body></html>",
        json(run)
    );
    out
}

fn header(out: &mut String, story: &Story) {
    let run = &story.run;
    let failed = run.checks.iter().filter(|c| !c.passed).count();
    let (class, verdict) = match (run.passed, run.checks.len()) {
        (true, 0) => ("", "\u{2713} done".to_owned()),
        (true, all) => ("", format!("\u{2713} all {all} checks passed")),
        (false, all) => (
            " failed",
            format!("\u{2717} {failed} of {all} checks failed"),
        ),
    };
    let _ = write!(
        out,
        "<header><h1>{}</h1><p>{}</p><p><span class=\"verdict{class}\">{verdict}</span></p><dl>",
        Text(&run.scenario),
        Text(&story.about)
    );
    let facts = [
        ("began", began(run.started_unix_ms)),
        ("took", format!("{} s", short(ms(run.took_ms) / 1e3, 1))),
        ("form", if run.quick { "quick" } else { "full" }.into()),
        ("ran as", run.privilege.clone()),
        ("seed", run.seed.to_string()),
        (
            "longest stall of the machine",
            format!("{} ms", short(run.stall_ms, 1)),
        ),
    ];
    for (name, value) in facts {
        let _ = write!(out, "<div><dt>{name}</dt><dd>{}</dd></div>", Text(value));
    }
    out.push_str("</dl><nav aria-label=\"Contents\"><ul><li><a href=\"#network\">Network</a></li>");
    for (index, round) in story.rounds.iter().enumerate() {
        let _ = write!(
            out,
            "<li><a href=\"#r{index}\">{}</a></li>",
            Text(title(round))
        );
    }
    out.push_str(
        "<li><a href=\"#figures\">Figures</a></li><li><a href=\"#again\">Commands and versions</a></li></ul></nav></header>\n",
    );
}

#[expect(clippy::cast_precision_loss, reason = "runs take minutes")]
fn ms(value: u64) -> f64 {
    value as f64
}

/// A moment as `2026-01-31 23:59:59 UTC`, by Hinnant's `civil_from_days`.
fn began(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day + 2) / 153;
    let day = day - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC",
        second % 60
    )
}

fn title(round: &Round) -> String {
    if round.name.is_empty() {
        "Timeline".into()
    } else {
        format!("Timeline, {}", round.name)
    }
}

fn network(out: &mut String, story: &Story) {
    if !draw::is_drawable(&story.topology) {
        let (nodes, cables) = (story.topology.nodes.len(), story.topology.links.len());
        let _ = writeln!(
            out,
            "<p>{nodes} nodes and {cables} cables, too many to draw.</p>"
        );
        return;
    }
    let _ = writeln!(
        out,
        "<figure><div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Topology\">{}</div></figure>\
         <details><summary>The same as text</summary><pre>{}</pre></details>",
        draw::drawing(&story.topology),
        Text(draw::text(&story.topology))
    );
}

fn play(out: &mut String, story: &Story, round: &Round, index: usize) {
    let traffic = Traffic::of(&round.captured);
    let _ = writeln!(
        out,
        "<section aria-labelledby=\"r{index}\"><h2 id=\"r{index}\">{}</h2>",
        Text(title(round))
    );
    if let Some(chart) = timeline::whole(round, &traffic, story.zero(round)) {
        let drawn = chart.draw();
        legend(out, round);
        out.push_str("<figure>");
        for (zoom, name) in [("z1", "fit"), ("z4", "4\u{d7}"), ("z16", "16\u{d7}")] {
            let checked = if zoom == "z1" {
                " checked=\"checked\""
            } else {
                ""
            };
            let _ = write!(
                out,
                "<input class=\"zoom {zoom}\" type=\"radio\" name=\"zoom{index}\" id=\"{zoom}r{index}\"{checked}/>\
                 <label for=\"{zoom}r{index}\">{name}</label>"
            );
        }
        let about = "Who answered, over time";
        let _ = writeln!(
            out,
            "{}<figcaption>Answers per member by the time of the request. Seconds since the run began.</figcaption></figure>",
            row(&drawn, about)
        );
    }
    out.push_str(&events::sections(
        story,
        round,
        &traffic,
        &format!("r{index}"),
    ));
    out.push_str("</section>\n");
}

/// A chart with its labels on the left, where they stay when it scrolls.
pub(super) fn row(drawn: &Drawn, about: &str) -> String {
    let about = Text(about);
    format!(
        "<div class=\"row\"><svg class=\"labels\" width=\"{0}\" height=\"{1}\">{2}</svg>\
         <div class=\"plot\" tabindex=\"0\" role=\"region\" aria-label=\"{about}\" style=\"--w:{3}px\">\
         <svg class=\"chart\" role=\"img\" aria-label=\"{about}\" height=\"{1}\">{4}</svg></div></div>",
        drawn.labels_width,
        drawn.height,
        drawn.labels,
        drawn.width.ceil(),
        drawn.chart
    )
}

fn legend(out: &mut String, round: &Round) {
    let mut services: Vec<_> = round.requests.iter().map(|r| r.service.as_str()).collect();
    services.sort_unstable();
    services.dedup();
    let mut items = String::new();
    let mut item = |picture: String, text: &str| {
        let _ = write!(
            items,
            "<li><svg width=\"24\" height=\"14\" aria-hidden=\"true\">{picture}</svg>{}</li>",
            Text(text)
        );
    };
    item(
        "<path class=\"m0 shape\" d=\"M1 13V6h7V2h8v6h7v5Z\"/>".into(),
        "answers of the member",
    );
    for (index, service) in services.iter().enumerate() {
        let shape = format!(
            "<g class=\"m0 shape\"><use href=\"#s{}\" x=\"12\" y=\"7\"/></g>",
            index % 3
        );
        item(shape, &format!("one {service} request"));
    }
    item(
        "<use class=\"bad\" href=\"#cross\" x=\"12\" y=\"7\"/>".into(),
        "lost",
    );
    item(
        "<rect class=\"m0 shape\" x=\"1\" y=\"5\" width=\"22\" height=\"4\"/>".into(),
        "said last that the address is its own",
    );
    item(
        "<use class=\"sign\" href=\"#said\" x=\"12\" y=\"8\"/>".into(),
        "announces that (gratuitous ARP, unsolicited NA)",
    );
    item(
        "<rect class=\"alive\" width=\"24\" height=\"14\"/>".into(),
        "its hellos are on the link",
    );
    item(
        "<use class=\"sign\" href=\"#event\" x=\"12\" y=\"7\"/>".into(),
        "it happened here",
    );
    item(
        "<rect class=\"hatch\" width=\"24\" height=\"14\"/>".into(),
        "requests may be lost",
    );
    let _ = write!(out, "<ul class=\"legend\">{items}</ul>");
}

fn again(out: &mut String, story: &Story) {
    out.push_str(
        "<section aria-labelledby=\"again\"><h2 id=\"again\">Commands and versions</h2>\n",
    );
    for (what, line) in &story.commands {
        let _ = writeln!(
            out,
            "<h3>{}</h3><pre><code>{}</code></pre>",
            Text(what),
            Text(line)
        );
    }
    out.push_str(&tables::versions(&story.run));
    out.push_str(
        "<p>All figures of this page are in <a href=\"run.json\">run.json</a>, and in this file as the \
         JSON of the element <code>run</code>.</p></section>\n",
    );
}

#[cfg(test)]
mod tests {
    use super::began;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(began(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(began(951_827_696_789), "2000-02-29 12:34:56 UTC");
        assert_eq!(began(1_798_761_599_000), "2026-12-31 23:59:59 UTC");
    }
}
