//! The deciding packets as a sequence diagram: hosts side by side, time from top to bottom.
//!
//! Each step has a height of its own, so no two texts meet; a frame to a group is one line with a
//! dot at each host that got it.

use std::fmt::Write as _;

use super::words::{silence, text, time};
use crate::picture::{CHAR, PICTURES, SHAPES, Text, short, wrap};
use crate::report::deciding::Step;
use crate::report::story::{Kind, Mark, Round};
use crate::report::traffic::{Sent, Traffic};

/// Width of the column of times.
const TIMES: f64 = 92.0;
/// Height of a line of text.
const LINE: f64 = 14.0;
/// Height of the hosts' names.
const HEAD: f64 = 34.0;
/// More lifelines than a page shows side by side.
const LIVES: usize = 10;

/// A diagram; `id` is unique in the page.
pub(crate) fn diagram(
    id: &str,
    steps: &[Step<'_>],
    round: &Round,
    traffic: &Traffic,
    mark: &Mark,
) -> String {
    Picture::new(steps, round, traffic, mark).draw(id, steps).0
}

/// A diagram as a file of its own.
pub(crate) fn picture(steps: &[Step<'_>], round: &Round, traffic: &Traffic, mark: &Mark) -> String {
    let drawn = Picture::new(steps, round, traffic, mark);
    let width = drawn.width;
    let (inner, height) = drawn.draw("title", steps);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\"><style>{PICTURES}</style>\
         <rect class=\"bg\" width=\"100%\" height=\"100%\"/>{SHAPES}{inner}</svg>\n"
    )
}

/// The hosts that take part: those that send something, that something is sent to alone, to which
/// it happened, and the members; in the order of their links.
fn lives(steps: &[Step<'_>], round: &Round, traffic: &Traffic, mark: &Mark) -> Vec<String> {
    let mut parts: Vec<&str> = mark.host.as_deref().into_iter().collect();
    for step in steps {
        if let Step::Frame { sent, .. } = step {
            parts.push(&sent.from);
            if !sent.is_group() {
                parts.extend(sent.to.iter().map(|t| t.0.as_str()));
                parts.extend(traffic.hosts.get(&sent.destination).map(String::as_str));
            }
        }
    }
    parts.extend(round.members.iter().map(String::as_str));
    let mut chosen: Vec<&str> = Vec::new();
    for part in parts {
        if !chosen.contains(&part) && chosen.len() < LIVES {
            chosen.push(part);
        }
    }
    let place = |name: &&str| round.captured.links.iter().position(|l| l.host == **name);
    chosen.sort_by_key(|name| place(name).unwrap_or(usize::MAX));
    chosen.into_iter().map(String::from).collect()
}

struct Picture<'a> {
    width: f64,
    column: f64,
    lives: Vec<String>,
    traffic: &'a Traffic,
    mark: &'a Mark,
    out: String,
}

impl<'a> Picture<'a> {
    fn new(steps: &[Step<'_>], round: &Round, traffic: &'a Traffic, mark: &'a Mark) -> Self {
        let lives = lives(steps, round, traffic, mark);
        let column = (520.0 / lives.len().max(1) as f64).max(118.0);
        Self {
            width: TIMES + column * lives.len() as f64,
            column,
            lives,
            traffic,
            mark,
            out: String::new(),
        }
    }

    /// The picture and its height.
    fn draw(mut self, id: &str, steps: &[Step<'_>]) -> (String, f64) {
        let mut y = HEAD;
        let mut struck = None;
        for step in steps {
            if matches!(step, Step::Event(_)) {
                struck = Some(y + 10.0);
            }
            y = self.step(step, y);
        }
        let bottom = y + 4.0;
        let mut lines = String::new();
        for index in 0..self.lives.len() {
            self.life(&mut lines, index, struck, bottom);
        }
        let drawn = format!(
            "<svg role=\"img\" aria-labelledby=\"{id}\" width=\"{0}\" height=\"{bottom}\" \
             viewBox=\"0 0 {0} {bottom}\"><title id=\"{id}\">Deciding packets: {1}</title>{lines}{2}</svg>",
            self.width,
            Text(&self.mark.name),
            self.out
        );
        (drawn, bottom)
    }

    /// A host's name and the line below it; broken where something broke.
    fn life(&self, out: &mut String, index: usize, struck: Option<f64>, bottom: f64) {
        let name = &self.lives[index];
        let x = self.x(index);
        let wide = (name.chars().count() as f64 * CHAR + 16.0).max(44.0);
        let broken = self.mark.kind == Kind::Fault && self.mark.host.as_ref() == Some(name);
        let middle = struck.filter(|_| broken).unwrap_or(bottom);
        let _ = write!(
            out,
            "<line class=\"life\" x1=\"{x}\" x2=\"{x}\" y1=\"22\" y2=\"{middle}\"/>\
             <line class=\"life gone\" x1=\"{x}\" x2=\"{x}\" y1=\"{middle}\" y2=\"{bottom}\"/>\
             <rect class=\"card\" x=\"{}\" y=\"2\" width=\"{wide}\" height=\"20\" rx=\"3\"/>\
             <text class=\"mid b\" x=\"{x}\" y=\"16\">{}</text>",
            x - wide / 2.0,
            Text(name)
        );
    }

    fn x(&self, index: usize) -> f64 {
        TIMES + self.column * (index as f64 + 0.5)
    }

    fn place(&self, host: &str) -> Option<f64> {
        let index = self.lives.iter().position(|l| l == host)?;
        Some(self.x(index))
    }

    fn step(&mut self, step: &Step<'_>, y: f64) -> f64 {
        let when = time(step.at(), self.mark.from);
        let _ = write!(
            self.out,
            "<text class=\"dim end\" x=\"{}\" y=\"{}\">{when}</text>",
            TIMES - 12.0,
            y + 11.0
        );
        match step {
            Step::Event(_) => {
                let at = self.mark.host.as_deref().and_then(|h| self.place(h));
                self.line_across(
                    &self.mark.name.clone(),
                    at,
                    y,
                    self.mark.kind == Kind::Fault,
                )
            }
            Step::Silence { host, .. } => {
                let at = self.place(host);
                self.line_across(&silence(host), at, y, false)
            }
            Step::Frame { sent, note } => self.frame(sent, note, y),
        }
    }

    fn line_across(&mut self, text: &str, at: Option<f64>, y: f64, fault: bool) -> f64 {
        let y = self.texts(text, TIMES, y, "b halo");
        let class = if fault { "fault" } else { "mark" };
        let _ = write!(
            self.out,
            "<line class=\"{class}\" x1=\"{TIMES}\" x2=\"{}\" y1=\"{y}\" y2=\"{y}\"/>",
            self.width
        );
        if let Some(x) = at {
            let _ = write!(
                self.out,
                "<use class=\"sign\" href=\"#event\" x=\"{x}\" y=\"{y}\"/>"
            );
        }
        y + 12.0
    }

    /// Wrapped text that begins at `x`, or as far to the left as it needs; the y below it.
    fn texts(&mut self, text: &str, x: f64, y: f64, class: &str) -> f64 {
        let most = ((self.width - TIMES - 8.0) / CHAR).max(20.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some tens"
        )]
        let lines = wrap(text, most as usize, 4);
        let longest = lines.iter().map(|l| l.chars().count()).max().unwrap_or(0) as f64 * CHAR;
        let x = x.min(self.width - longest - 4.0).max(TIMES);
        let mut y = y + 11.0;
        for line in &lines {
            let _ = write!(
                self.out,
                "<text class=\"{class}\" x=\"{}\" y=\"{y}\">{}</text>",
                short(x, 1),
                Text(line)
            );
            y += LINE;
        }
        y - 5.0
    }

    fn frame(&mut self, sent: &Sent, note: &str, y: f64) -> f64 {
        let Some(from) = self.place(&sent.from) else {
            return y;
        };
        let mut to: Vec<f64> = sent
            .to
            .iter()
            .filter_map(|(host, _)| self.place(host))
            .collect();
        to.sort_by(f64::total_cmp);
        let meant = self
            .traffic
            .hosts
            .get(&sent.destination)
            .and_then(|host| self.place(host));
        let left = to.iter().copied().chain(meant).fold(from, f64::min);
        let y = self.texts(&text(sent, note, self.traffic), left + 6.0, y, "halo") + 4.0;
        if to.is_empty() {
            // Nobody got it: it ends on its way.
            let end = meant.map_or(from + self.column * 0.4, |to| from + (to - from) * 0.6);
            self.line(from, end, y);
            let _ = write!(
                self.out,
                "<use class=\"bad\" href=\"#cross\" x=\"{end}\" y=\"{y}\"/>"
            );
        }
        let (first, last) = (to.first().copied(), to.last().copied());
        for end in [first.filter(|x| *x < from), last.filter(|x| *x > from)]
            .into_iter()
            .flatten()
        {
            self.line(from, end, y);
            let way = if end > from { -7.0 } else { 7.0 };
            let _ = write!(
                self.out,
                "<path class=\"tip\" d=\"M{end} {y}l{way}-4v8Z\"/>"
            );
        }
        for x in to
            .iter()
            .filter(|x| Some(**x) != first && Some(**x) != last)
        {
            let _ = write!(
                self.out,
                "<circle class=\"tip\" cx=\"{x}\" cy=\"{y}\" r=\"3\"/>"
            );
        }
        let _ = write!(
            self.out,
            "<circle class=\"from\" cx=\"{from}\" cy=\"{y}\" r=\"3.2\"/>"
        );
        y + 9.0
    }

    fn line(&mut self, from: f64, to: f64, y: f64) {
        let _ = write!(
            self.out,
            "<line class=\"go\" x1=\"{from}\" x2=\"{to}\" y1=\"{y}\" y2=\"{y}\"/>"
        );
    }
}
