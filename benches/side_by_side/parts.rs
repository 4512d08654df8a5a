//! What the time goes on: a bar of the parts of a figure, one after the other.

use std::fmt::Write as _;

use serde_json::Value;

use super::document::quantity;
use super::plot::{COLOURS, LEFT, RIGHT, TEXT, escaped, list, text};

/// Height of one side's bar with its legend, in pixels.
const HEIGHT: f64 = 46.0;

/// A part: its label, its median, and the unit of that.
type Part<'a> = (&'a str, f64, &'a str);

/// Draws the parts of `metric` in `case`, of each side that has some, from `y` on; the height.
pub(super) fn draw(
    picture: &mut String,
    document: &Value,
    metric: &str,
    case: &str,
    y: f64,
) -> f64 {
    let mut sides: Vec<(&str, Vec<Part<'_>>)> = Vec::new();
    let metrics = list(&document["metrics"]).iter();
    for part in metrics.filter(|part| part["part_of"] == metric) {
        let results = list(&document["results"]).iter();
        for result in results.filter(|result| result["metric"] == part["name"]) {
            let value = result["value"]["median"].as_f64();
            let (Some(value), true) = (value, result["case"] == case) else {
                continue;
            };
            let part = (text(&part["label"]), value, text(&part["unit"]));
            let side = text(&result["side"]);
            match sides.iter_mut().find(|(name, _)| *name == side) {
                Some((_, parts)) => parts.push(part),
                None => sides.push((side, vec![part])),
            }
        }
    }
    for (index, (side, parts)) in sides.iter().enumerate() {
        bar(picture, side, parts, HEIGHT.mul_add(index as f64, y));
    }
    HEIGHT * sides.len() as f64
}

/// One side's bar, and below it what its pieces are.
fn bar(picture: &mut String, side: &str, parts: &[Part<'_>], y: f64) {
    let total: f64 = parts.iter().map(|(_, value, _)| value).sum();
    // Writing to a string cannot fail, here and below.
    let _ = writeln!(
        picture,
        "<text class=\"end\" x=\"{:.1}\" y=\"{:.1}\">{}, its parts</text>",
        LEFT - 12.0,
        y + 12.0,
        escaped(side)
    );
    let mut x = LEFT;
    let mut legend = LEFT;
    for (index, (label, value, unit)) in parts.iter().enumerate() {
        let class = format!("s{}", index % COLOURS.len());
        let width = (RIGHT - LEFT) * value / total;
        let label = format!("{label} {}", quantity(*value, unit));
        let _ = writeln!(
            picture,
            "<rect class=\"{class} piece\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"14\"/><rect class=\"{class}\" x=\"{legend:.1}\" y=\"{:.1}\" width=\"9\" \
             height=\"9\"/><text class=\"soft why\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            y + 22.0,
            legend + 15.0,
            y + 31.0,
            escaped(&label)
        );
        x += width;
        legend += 30.0 + label.chars().count() as f64 * 6.7;
    }
    if let Some((_, _, unit)) = parts.first() {
        let total = quantity(total, unit);
        let _ = writeln!(
            picture,
            "<text x=\"{TEXT}\" y=\"{:.1}\">{total} in all</text>",
            y + 12.0
        );
    }
}
