//! Time from left to right: who answered, who owned the address, what was lost, what happened.
//!
//! Positions in time are shares of the width, so that the picture can be made wider without making
//! its texts wider: where texts do not meet at the least width, they meet at none. Requests of a
//! long time are counted in bins; those of a moment are shown one by one.

mod lanes;
mod marks;

use std::fmt::Write as _;

use crate::capture::Stamp;
use crate::picture::{CHAR, PICTURES, SHAPES, Text, cut, short};
use crate::report::packet::family;
use crate::report::story::{Request, Round};
use crate::report::traffic::Traffic;

/// Heights, in pixels.
const LANE: f64 = 28.0;
const ROW: f64 = 16.0;
const AXIS: f64 = 26.0;

/// Which part of a round is drawn, and how.
pub(crate) struct Chart<'a> {
    pub(crate) round: &'a Round,
    pub(crate) traffic: &'a Traffic,
    /// What times are counted from.
    pub(crate) zero: Stamp,
    pub(crate) from: Stamp,
    pub(crate) to: Stamp,
    /// Times in milliseconds rather than seconds.
    pub(crate) fine: bool,
}

/// A drawn chart in two parts, so that the left one stays when the right one scrolls.
pub(crate) struct Drawn {
    pub(crate) labels: String,
    pub(crate) chart: String,
    pub(crate) labels_width: f64,
    /// Least width of the chart.
    pub(crate) width: f64,
    pub(crate) height: f64,
}

/// The whole of a round.
pub(crate) fn whole<'a>(round: &'a Round, traffic: &'a Traffic, zero: Stamp) -> Option<Chart<'a>> {
    let begins = round.marks.iter().map(|m| m.from);
    let ends = round.marks.iter().map(|m| m.to);
    let sent = || round.requests.iter().map(|r| r.sent);
    Some(Chart {
        round,
        traffic,
        zero,
        from: begins.chain(sent()).min()?,
        to: ends.chain(sent()).max()?,
        fine: false,
    })
}

/// The whole of a round as a file of its own.
pub(crate) fn picture(round: &Round, traffic: &Traffic, zero: Stamp) -> String {
    let drawn = whole(round, traffic, zero).map(|chart| chart.draw());
    let Some(drawn) = drawn else {
        return "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"1\" height=\"1\"/>\n".into();
    };
    let (left, width, height) = (drawn.labels_width, drawn.width, drawn.height);
    let all = left + width + 12.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{all}\" height=\"{height}\" \
         viewBox=\"0 0 {all} {height}\"><title>Who answered, over time</title>\
         <style>{PICTURES}.t4,.t16{{display:none}}</style>\
         <rect class=\"bg\" width=\"100%\" height=\"100%\"/>{SHAPES}\
         <svg width=\"{left}\" height=\"{height}\">{}</svg>\
         <svg x=\"{left}\" width=\"{width}\" height=\"{height}\" overflow=\"visible\">{}</svg></svg>\n",
        drawn.labels, drawn.chart
    )
}

impl Chart<'_> {
    pub(crate) fn draw(&self) -> Drawn {
        let families = self.families();
        let (rows, width) = self.names();
        let mut drawn = Drawn {
            labels: String::new(),
            chart: String::new(),
            labels_width: 64.0,
            width,
            height: 0.0,
        };
        let top = rows.iter().map(|r| r.row + 1).max().unwrap_or(0) as f64 * ROW + 6.0;
        let mut y = top;
        let (mut middle, mut over) = (String::new(), String::new());
        for family in &families {
            y = self.family(*family, y, &mut drawn, &mut middle, &mut over);
        }
        let bottom = y;
        self.windows(&mut drawn.chart, top, bottom);
        drawn.chart += &middle;
        self.ticks(&mut drawn.chart, bottom, width);
        self.marks(&mut drawn.chart, &rows, bottom);
        drawn.chart += &over;
        drawn.height = bottom + AXIS;
        drawn
    }

    /// Where a moment is, as a share of the width.
    fn x(&self, at: Stamp) -> f64 {
        let all = self.to.ms_since(self.from).max(1e-6);
        (at.ms_since(self.from) / all * 100.0).clamp(0.0, 100.0)
    }

    fn span(&self, from: Stamp, to: Stamp) -> (String, String) {
        let (a, b) = (self.x(from), self.x(to));
        (short(a, 3), short((b - a).max(0.05), 3))
    }

    fn has(&self, at: Stamp) -> bool {
        self.from <= at && at <= self.to
    }

    fn requests(&self, family: u8) -> impl Iterator<Item = &Request> {
        let all = &self.round.requests;
        let begin = all.partition_point(|r| r.sent < self.from);
        let end = all.partition_point(|r| r.sent <= self.to);
        let shown = all.get(begin..end).unwrap_or_default();
        shown.iter().filter(move |r| r.family == family)
    }

    fn families(&self) -> Vec<u8> {
        let asked = |f: &u8| self.round.requests.iter().any(|r| r.family == *f);
        let served = |f: &u8| self.round.anycast.iter().any(|a| family(*a) == *f);
        [4, 6]
            .into_iter()
            .filter(|f| asked(f) || served(f))
            .collect()
    }
}

impl Drawn {
    /// A lane's name, left of it.
    fn label(&mut self, name: &str, y: f64) {
        let name = cut(name, 16);
        self.labels_width = self
            .labels_width
            .max(name.chars().count() as f64 * CHAR + 22.0);
        let _ = write!(
            self.labels,
            "<text x=\"12\" y=\"{y}\">{}</text>",
            Text(name)
        );
    }
}
