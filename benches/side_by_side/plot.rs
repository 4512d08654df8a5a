//! The picture of a document: for each metric and case, a row for each side with its ratio to the
//! baseline.
//!
//! A mark is the median, the thick line the middle half of the rounds, the thin one their range;
//! the grey band is the noise that is allowed. The scale is logarithmic, so that half and double
//! are equally far from 1. Sides differ in colour (Okabe and Ito's, told apart by the colour-blind)
//! and in shape. The file needs nothing else: no script, no font; it follows the reader's light or
//! dark scheme.

use std::fmt::Write as _;

use anyhow::{Result, bail};
use serde_json::Value;

use super::document::quantity;
use super::parts;
use super::scale::Scale;

/// Where things are, in pixels.
const WIDTH: f64 = 940.0;
pub(super) const LEFT: f64 = 230.0;
pub(super) const RIGHT: f64 = 640.0;
pub(super) const TEXT: f64 = 656.0;
const ROW: f64 = 20.0;
const HEADING: f64 = 34.0;

/// Colours of sides beside the baseline, for a light and for a dark background.
pub(super) const COLOURS: [(&str, &str); 5] = [
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#e69f00"),
    ("#009e73", "#009e73"),
    ("#cc79a7", "#cc79a7"),
    ("#000000", "#f0e442"),
];

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

pub(super) fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// The shape of a side's mark around `(x, y)`.
fn mark(index: usize, x: f64, y: f64) -> String {
    match index % 4 {
        0 => format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\"/>"),
        1 => format!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\"/>",
            x - 4.5,
            y - 4.5
        ),
        2 => format!("<path d=\"M{x:.1} {:.1}l6 6l-6 6l-6 -6z\"/>", y - 6.0),
        _ => format!("<path d=\"M{x:.1} {:.1}l6 10l-12 0z\"/>", y - 6.0),
    }
}

/// Name of a side's class: `n` for the noise.
fn class(sides: &[String], side: &str) -> (String, usize) {
    if side.ends_with("-again") {
        return ("n".to_owned(), 0);
    }
    let index = sides.iter().position(|other| other == side).unwrap_or(0);
    (format!("s{}", index % COLOURS.len()), index)
}

/// The picture of a `hamp.side-by-side/1` document.
pub(crate) fn svg(document: &Value) -> Result<String> {
    let results = list(&document["results"]);
    if !results.iter().any(|result| result["baseline"] == true) {
        bail!("no baseline in the document");
    }
    let mut sides: Vec<String> = Vec::new();
    for result in results.iter().filter(|result| result["baseline"] == false) {
        let side = text(&result["side"]);
        if !side.ends_with("-again") && !sides.iter().any(|known| known == side) {
            sides.push(side.to_owned());
        }
    }
    let scale = Scale::of(document);
    let mut body = String::new();
    let mut y = 92.0;
    let top = y;
    let mut marks = String::new();
    let metrics = list(&document["metrics"]).iter();
    for metric in metrics.filter(|metric| metric["part_of"].is_null()) {
        for case in cases(results, metric) {
            let of_case = |result: &&Value| {
                result["metric"] == metric["name"] && text(&result["case"]) == case
            };
            let group: Vec<&Value> = results.iter().filter(of_case).collect();
            heading(&mut body, metric, case, &group, y);
            let rows = group.iter().filter(|result| result["baseline"] == false);
            let begins = y + HEADING - 8.0;
            y += HEADING;
            for result in rows {
                row(&mut marks, result, metric, &scale, &sides, y);
                y += ROW;
            }
            let noise = metric["noise_limit"].as_f64().unwrap_or_default();
            let (from, to) = (scale.x(1.0 / (1.0 + noise)), scale.x(1.0 + noise));
            writeln!(
                body,
                "<rect class=\"band\" x=\"{from:.1}\" y=\"{begins:.1}\" width=\"{:.1}\" \
                 height=\"{:.1}\"/>",
                to - from,
                y - begins - 8.0
            )?;
            y += parts::draw(&mut marks, document, text(&metric["name"]), case, y);
        }
    }
    let bottom = y;
    for tick in scale.ticks() {
        let x = scale.x(tick);
        let class = if tick == 1.0 { "one" } else { "grid" };
        writeln!(
            body,
            "<path class=\"{class}\" d=\"M{x:.1} {top:.1}V{bottom:.1}\"/>\
             <text class=\"mid\" x=\"{x:.1}\" y=\"{:.1}\">{}</text>",
            bottom + 18.0,
            (tick * 1e6).round() / 1e6
        )?;
    }
    let height = bottom + 76.0;
    let mut picture = String::new();
    head(&mut picture, document, height)?;
    legend(&mut picture, &sides)?;
    picture += &body;
    picture += &marks;
    foot(&mut picture, document, bottom)?;
    picture += "</svg>\n";
    Ok(picture)
}

/// The cases that a metric was measured in.
fn cases<'a>(results: &'a [Value], metric: &Value) -> Vec<&'a str> {
    let mut cases: Vec<&str> = Vec::new();
    for result in results
        .iter()
        .filter(|result| result["metric"] == metric["name"])
    {
        let case = text(&result["case"]);
        if !cases.contains(&case) {
            cases.push(case);
        }
    }
    cases
}

fn head(picture: &mut String, document: &Value, height: f64) -> Result<()> {
    let title = escaped(text(&document["title"]));
    write!(
        picture,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n<title>{title}</title>\n"
    )?;
    let colours = |dark: bool| {
        let sides = COLOURS.iter().enumerate();
        sides.fold(String::new(), |rules, (index, colour)| {
            let colour = if dark { colour.1 } else { colour.0 };
            format!("{rules}.s{index}{{fill:{colour};stroke:{colour}}}")
        })
    };
    writeln!(
        picture,
        "<style>svg{{--ink:#1a1a1a;--soft:#595959;--line:#d9d9d9;--paper:#ffffff}}\
         text{{font:13px system-ui,\"DejaVu Sans\",Arial,sans-serif;fill:var(--ink);stroke:none}}\
         .paper{{fill:var(--paper)}}.title{{font-size:16px;font-weight:600}}\
         .b{{font-weight:600}}.b,.why{{paint-order:stroke;stroke:var(--paper);stroke-width:5px}}\
         .soft{{fill:var(--soft);font-size:12px}}.mid{{text-anchor:middle;fill:var(--soft);font-size:12px}}\
         .end{{text-anchor:end}}.grid{{stroke:var(--line)}}.one{{stroke:var(--ink)}}\
         .band{{fill:var(--line);opacity:.55}}.n{{fill:var(--paper);stroke:var(--soft)}}\
         .piece{{stroke:var(--paper);stroke-width:2}}.half{{stroke-width:5;stroke-opacity:.55}}.range{{stroke-width:1.5}}{}\
         @media(prefers-color-scheme:dark){{svg{{--ink:#ececec;--soft:#a9a9a9;--line:#3d3d3d;\
         --paper:#161616}}{}}}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"16\" y=\"28\">{title}</text>",
        colours(false),
        colours(true)
    )?;
    Ok(())
}

/// What the marks stand for.
fn legend(picture: &mut String, sides: &[String]) -> Result<()> {
    let again = "-again".to_owned();
    let entries = std::iter::once(&again).chain(sides);
    let mut x = 24.0;
    for side in entries {
        let (class, index) = class(sides, side);
        let label = match side.strip_suffix("-again") {
            Some(_) => "the baseline again: the noise",
            None => side,
        };
        writeln!(
            picture,
            "<g class=\"{class}\">{}<text x=\"{:.1}\" y=\"57\">{}</text></g>",
            mark(index, x, 52.0),
            x + 12.0,
            escaped(label)
        )?;
        x += 34.0 + label.chars().count() as f64 * 7.6;
    }
    writeln!(
        picture,
        "<text class=\"soft\" x=\"16\" y=\"79\">mark: median; thick: middle half of the rounds; \
         thin: range; grey band: noise that is allowed</text>"
    )?;
    Ok(())
}

fn heading(body: &mut String, metric: &Value, case: &str, group: &[&Value], y: f64) {
    let unit = text(&metric["unit"]);
    let base = group.iter().find(|result| result["baseline"] == true);
    let base = base.map_or_else(String::new, |result| {
        let value = result["value"]["median"].as_f64().unwrap_or_default();
        format!(
            "{}: {}, ",
            escaped(text(&result["side"])),
            quantity(value, unit)
        )
    });
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<text class=\"b\" x=\"16\" y=\"{0:.1}\">{1}, {2}</text>\
         <text class=\"soft\" x=\"{TEXT}\" y=\"{0:.1}\">{base}{3} is better</text>",
        y + 18.0,
        escaped(text(&metric["label"])),
        escaped(case),
        text(&metric["better"]),
    );
}

fn row(
    marks: &mut String,
    result: &Value,
    metric: &Value,
    scale: &Scale,
    sides: &[String],
    y: f64,
) {
    let side = text(&result["side"]);
    let (class, index) = class(sides, side);
    let middle = y + 6.0;
    let value = result["value"]["median"].as_f64().unwrap_or_default();
    let value = quantity(value, text(&metric["unit"]));
    let at = |key: &str| result["ratio"][key].as_f64();
    let drawn = match (at("median"), at("low"), at("high"), at("least"), at("most")) {
        (Some(median), Some(low), Some(high), Some(least), Some(most)) => format!(
            "<g class=\"{class}\"><path class=\"range\" d=\"M{:.1} {middle}H{:.1}\"/>\
             <path class=\"half\" d=\"M{:.1} {middle}H{:.1}\"/>{}</g>\
             <text x=\"{TEXT}\" y=\"{:.1}\">{median:.2} ({low:.2} to {high:.2}); {value}</text>",
            scale.x(least),
            scale.x(most),
            scale.x(low),
            scale.x(high),
            mark(index, scale.x(median), middle),
            y + 10.0
        ),
        _ => format!(
            "<text class=\"soft why\" x=\"{:.1}\" y=\"{1:.1}\">{2}</text>\
             <text x=\"{TEXT}\" y=\"{1:.1}\">no ratio; {value}</text>",
            LEFT + 8.0,
            y + 10.0,
            escaped(text(&result["refused"])),
        ),
    };
    // Writing to a string cannot fail.
    let _ = writeln!(
        marks,
        "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}</text>{drawn}",
        LEFT - 12.0,
        y + 10.0,
        escaped(side)
    );
}

/// The scale's name, and where the figures come from.
fn foot(picture: &mut String, document: &Value, bottom: f64) -> Result<()> {
    writeln!(
        picture,
        "<text class=\"mid\" x=\"{:.1}\" y=\"{:.1}\">ratio to the baseline in the same round (no \
         unit, logarithmic)</text>",
        LEFT.midpoint(RIGHT),
        bottom + 38.0
    )?;
    let processors = &document["processors"];
    writeln!(
        picture,
        "<text class=\"soft\" x=\"16\" y=\"{:.1}\">{}; Linux {}, {processors} processors</text>",
        bottom + 62.0,
        escaped(text(&document["command"])),
        escaped(text(&document["versions"]["kernel"])),
    )?;
    Ok(())
}
