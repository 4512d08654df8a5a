//! What goes through all lanes: the axis of time, what happened, and where requests may be lost.

use std::fmt::Write as _;

use super::{Chart, ROW};
use crate::picture::{CHAR, Text, cut, short};
use crate::report::story::{Kind, Mark};

/// Characters of a mark's name.
const NAME: usize = 30;

/// A mark and where its name stands.
pub(super) struct Name<'a> {
    mark: &'a Mark,
    pub(super) row: usize,
    /// The name ends at the mark instead of beginning there.
    ends: bool,
}

impl Chart<'_> {
    /// Where requests may be lost.
    pub(super) fn windows(&self, out: &mut String, top: f64, bottom: f64) {
        for mark in self.round.marks.iter().filter(|m| m.kind == Kind::Fault) {
            let end = mark.from.plus(self.round.window);
            if end < self.from || mark.from > self.to {
                continue;
            }
            let (x, width) = self.span(mark.from, end);
            let height = bottom - top;
            let _ = write!(
                out,
                "<rect class=\"hatch\" x=\"{x}%\" y=\"{top}\" width=\"{width}%\" height=\"{height}\"/>"
            );
        }
    }

    pub(super) fn marks(&self, out: &mut String, rows: &[Name<'_>], bottom: f64) {
        for name in rows {
            let class = if name.mark.kind == Kind::Fault {
                "fault"
            } else {
                "mark"
            };
            let (x, y) = (short(self.x(name.mark.from), 3), name.row as f64 * ROW);
            let _ = write!(
                out,
                "<line class=\"{class}\" x1=\"{x}%\" x2=\"{x}%\" y1=\"{y}\" y2=\"{bottom}\"/>"
            );
        }
        for name in rows {
            let (x, y) = (
                short(self.x(name.mark.from), 3),
                name.row as f64 * ROW + 11.0,
            );
            let (class, dx) = if name.ends {
                ("halo end", -5)
            } else {
                ("halo", 5)
            };
            let whole = Text(&name.mark.name);
            let text = Text(cut(&name.mark.name, NAME));
            let _ = write!(
                out,
                "<text class=\"{class}\" x=\"{x}%\" dx=\"{dx}\" y=\"{y}\"><title>{whole}</title>{text}</text>"
            );
        }
    }

    /// Puts the names of the marks into rows in which they do not meet, and says how wide the chart
    /// has to be for that.
    pub(super) fn names(&self) -> (Vec<Name<'_>>, f64) {
        let mut width = 560.0;
        loop {
            let placed = self.placed(width);
            let rows = placed.iter().map(|p| p.row).max().unwrap_or(0);
            if rows < 5 || width > 2400.0 {
                return (placed, width);
            }
            width *= 1.2;
        }
    }

    fn placed(&self, width: f64) -> Vec<Name<'_>> {
        let mut ends: Vec<f64> = Vec::new();
        let mut placed = Vec::new();
        for mark in self.round.marks.iter().filter(|m| self.has(m.from)) {
            let x = self.x(mark.from) / 100.0 * width;
            let long = cut(&mark.name, NAME).chars().count() as f64 * CHAR + 12.0;
            let ends_here = x + long > width;
            let (a, b) = if ends_here {
                (x - long, x)
            } else {
                (x, x + long)
            };
            let row = ends.iter().position(|end| *end <= a).unwrap_or(ends.len());
            match ends.get_mut(row) {
                Some(end) => *end = b,
                None => ends.push(b),
            }
            placed.push(Name {
                mark,
                row,
                ends: ends_here,
            });
        }
        placed
    }

    pub(super) fn ticks(&self, out: &mut String, y: f64, width: f64) {
        let _ = write!(
            out,
            "<line class=\"rule\" x1=\"0\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/>"
        );
        let zooms: &[u32] = if self.fine { &[1] } else { &[1, 4, 16] };
        for zoom in zooms {
            let (unit, name) = if self.fine {
                (1.0, "ms")
            } else {
                (1000.0, "s")
            };
            let all = self.to.ms_since(self.from) / unit;
            let least = all * 72.0 / (width * f64::from(*zoom));
            let step = nice(least);
            let first = (self.from.ms_since(self.zero) / unit / step).ceil();
            let _ = write!(out, "<g class=\"t{zoom} dim\">");
            for index in 0..2000 {
                let value = (first + f64::from(index)) * step;
                let share = (value - self.from.ms_since(self.zero) / unit) / all * 100.0;
                if share > 100.0 {
                    break;
                }
                let class = match share {
                    s if s > 94.0 => "dim end",
                    s if s < 4.0 => "dim",
                    _ => "dim mid",
                };
                let x = short(share, 3);
                let text = short(value, 3);
                let _ = write!(
                    out,
                    "<line class=\"rule\" x1=\"{x}%\" x2=\"{x}%\" y1=\"{y}\" y2=\"{}\"/>\
                     <text class=\"{class}\" x=\"{x}%\" y=\"{}\">{text} {name}</text>",
                    y + 5.0,
                    y + 18.0
                );
            }
            out.push_str("</g>");
        }
    }
}

/// The next of 1, 2, 5, 10, 20, ... and their fractions that is at least `least`.
fn nice(least: f64) -> f64 {
    let base = 10f64.powf(least.max(1e-6).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|s| s * base);
    steps
        .into_iter()
        .find(|s| *s >= least)
        .unwrap_or(base * 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_an_axis_are_round() {
        let steps = [0.3, 1.0, 1.1, 4.0, 70.0].map(nice);
        for (step, wanted) in steps.into_iter().zip([0.5, 1.0, 2.0, 5.0, 100.0]) {
            assert!((step - wanted).abs() < 1e-9, "{step} is not {wanted}");
        }
    }
}
