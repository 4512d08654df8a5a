//! The lanes of a chart: one for each member of a family, and one for what was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{Chart, Drawn, LANE};
use crate::picture::{COLOURS, short};
use crate::report::packet::{self, What};
use crate::report::story::{Mark, Request};

/// Requests are counted in at most so many bins, and in at least so many.
const BINS: std::ops::RangeInclusive<usize> = 60..=480;
/// Requests of a family in a bin, on average, unless there are more.
const IN_BIN: usize = 8;
/// More requests than this are not shown one by one.
const SINGLE: usize = 420;
const GAP: f64 = 7.0;
/// Lanes for members of one family; those who answered least share none.
const LANES: usize = 12;

impl Chart<'_> {
    /// Whether requests are shown one by one.
    pub(crate) fn is_single(&self) -> bool {
        self.fine
            && [4, 6]
                .iter()
                .all(|family| self.requests(*family).count() <= SINGLE)
    }

    pub(super) fn family(
        &self,
        family: u8,
        y: f64,
        drawn: &mut Drawn,
        out: &mut String,
        over: &mut String,
    ) -> f64 {
        let mut y = y;
        let served: Vec<_> = self
            .round
            .anycast
            .iter()
            .filter(|a| a.is_ipv4() == (family == 4))
            .collect();
        let _ = write!(
            drawn.labels,
            "<text class=\"b\" x=\"0\" y=\"{}\">IPv{family}</text>",
            y + 12.0
        );
        if let [address, ..] = served.as_slice() {
            let more = if served.len() > 1 { ", \u{2026}" } else { "" };
            let _ = write!(
                over,
                "<text class=\"dim halo\" x=\"0\" y=\"{}\">{address}{more}</text>",
                y + 12.0
            );
        }
        y += 18.0;
        let lanes = self.lanes(family);
        let services = self.services();
        let single = self.is_single();
        let highest = lanes
            .iter()
            .map(|(name, _)| self.bins(family, Some(name)).into_iter().max().unwrap_or(0));
        let highest = highest.max().unwrap_or(0).max(1);
        let owners = self.traffic.owners(
            &|a| self.round.anycast.contains(&a) && packet::family(a) == family,
            self.to,
        );
        for (name, colour) in &lanes {
            drawn.label(name, y + LANE / 2.0 + 4.0);
            self.background(out, name, y);
            if single {
                let of = self
                    .requests(family)
                    .filter(|r| r.outcome.as_ref() == Ok(name));
                let _ = write!(out, "<g class=\"m{colour} shape\">");
                self.shapes(out, of, &services, y);
                out.push_str("</g>");
            } else {
                area(out, &self.bins(family, Some(name)), highest, *colour, y);
            }
            for (_, from, to) in owners
                .iter()
                .filter(|(owner, from, to)| owner == name && *to >= self.from && *from <= self.to)
            {
                let (x, width) = self.span(*from, *to);
                let _ = write!(
                    out,
                    "<rect class=\"m{colour} shape\" x=\"{x}%\" y=\"{}\" width=\"{width}%\" height=\"4\"/>",
                    y + LANE - 2.0
                );
            }
            self.signs(out, name, family, y);
            y += LANE + GAP;
        }
        drawn.label("lost", y + 12.0);
        let _ = write!(
            out,
            "<line class=\"rule\" x1=\"0\" x2=\"100%\" y1=\"{0}\" y2=\"{0}\"/>",
            y + 8.0
        );
        if single {
            let lost = self.requests(family).filter(|r| r.outcome.is_err());
            self.crosses(out, lost.map(|r| self.x(r.sent)), y + 8.0);
        } else {
            let bins = self.bins(family, None);
            let all = bins.len() as f64;
            let bins = bins.iter().enumerate().filter(|(_, n)| **n > 0);
            let at = bins.map(|(bin, _)| (bin as f64 + 0.5) / all * 100.0);
            self.crosses(out, at, y + 8.0);
        }
        y + 18.0 + GAP
    }

    /// Members, and others that answered, with the number of their colour.
    fn lanes(&self, family: u8) -> Vec<(String, usize)> {
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for request in self.round.requests.iter().filter(|r| r.family == family) {
            if let Ok(member) = &request.outcome {
                *counts.entry(member).or_default() += 1;
            }
        }
        let known = self.round.members.iter().map(String::as_str);
        let others = counts.keys().copied();
        let others = others.filter(|n| self.round.members.iter().all(|m| m != n));
        let mut all: Vec<_> = known.chain(others).zip(0..).collect();
        if all.len() > LANES {
            all.sort_by_key(|(name, index)| (usize::MAX - counts.get(name).unwrap_or(&0), *index));
            all.truncate(LANES);
            all.sort_by_key(|(_, index)| *index);
        }
        all.into_iter()
            .map(|(name, index)| (name.into(), index % COLOURS))
            .collect()
    }

    /// The lane, and when hellos of its member were heard.
    fn background(&self, out: &mut String, name: &str, y: f64) {
        let dead = self.round.dead.as_secs_f64() * 1e3;
        for (from, to) in self.traffic.alive(name, dead.max(1.0)) {
            if to < self.from || from > self.to {
                continue;
            }
            let (x, width) = self.span(from, to);
            let _ = write!(
                out,
                "<rect class=\"alive\" x=\"{x}%\" y=\"{y}\" width=\"{width}%\" height=\"{LANE}\"/>"
            );
        }
        let _ = write!(
            out,
            "<rect class=\"lane\" x=\"0\" y=\"{y}\" width=\"100%\" height=\"{LANE}\"/>"
        );
    }

    fn services(&self) -> Vec<&str> {
        let all: BTreeSet<_> = self
            .round
            .requests
            .iter()
            .map(|r| r.service.as_str())
            .collect();
        all.into_iter().collect()
    }

    fn shapes<'r>(
        &self,
        out: &mut String,
        requests: impl Iterator<Item = &'r Request>,
        services: &[&str],
        y: f64,
    ) {
        let room = LANE - 8.0;
        for request in requests {
            let index = services
                .iter()
                .position(|s| *s == request.service)
                .unwrap_or(0);
            let y = y + 2.0 + room * (index as f64 + 0.5) / services.len() as f64;
            let _ = write!(
                out,
                "<use href=\"#s{}\" x=\"{}%\" y=\"{}\"/>",
                index % 3,
                short(self.x(request.sent), 2),
                short(y, 1)
            );
        }
    }

    fn crosses(&self, out: &mut String, at: impl Iterator<Item = f64>, y: f64) {
        for x in at {
            let _ = write!(
                out,
                "<use class=\"bad\" href=\"#cross\" x=\"{}%\" y=\"{y}\"/>",
                short(x, 2)
            );
        }
    }

    /// Announcements of a host, and what happened at it.
    fn signs(&self, out: &mut String, name: &str, wanted: u8, y: f64) {
        let mut last = f64::MIN;
        for sent in self.traffic.between(self.from, self.to) {
            let What::Answer {
                target,
                announcement: true,
                ..
            } = sent.what
            else {
                continue;
            };
            let x = self.x(sent.at);
            // Said three times in a second: once is enough where that is a hair's breadth.
            if sent.from == name
                && packet::family(target) == wanted
                && self.round.anycast.contains(&target)
                && x - last > 0.4
            {
                last = x;
                let _ = write!(
                    out,
                    "<use class=\"sign\" href=\"#said\" x=\"{}%\" y=\"{}\"/>",
                    short(x, 3),
                    y + LANE - 7.0
                );
            }
        }
        let here = |m: &&Mark| m.host.as_deref() == Some(name) && self.has(m.from);
        for mark in self.round.marks.iter().filter(here) {
            let _ = write!(
                out,
                "<use class=\"sign\" href=\"#event\" x=\"{}%\" y=\"{}\"/>",
                short(self.x(mark.from), 3),
                y + 9.0
            );
        }
    }

    /// Requests by bin: answered by a member, or lost.
    fn bins(&self, family: u8, member: Option<&str>) -> Vec<usize> {
        let all = (self.requests(family).count() / IN_BIN).clamp(*BINS.start(), *BINS.end());
        let mut bins = vec![0; all];
        for request in self.requests(family) {
            if request.outcome.as_deref().ok() == member {
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "clamped"
                )]
                let bin = (self.x(request.sent) / 100.0 * all as f64) as usize;
                bins[bin.min(all - 1)] += 1;
            }
        }
        bins
    }
}

/// Counts as a filled line, in a picture of its own that is stretched.
fn area(out: &mut String, bins: &[usize], highest: usize, colour: usize, y: f64) {
    if bins.iter().all(|n| *n == 0) {
        return;
    }
    let (height, all) = (LANE - 6.0, bins.len());
    let mut path = format!("M0 {height}");
    let mut before = 0;
    for (index, count) in bins.iter().enumerate() {
        if *count != before {
            let to = height * (1.0 - *count as f64 / highest as f64);
            let _ = write!(path, "H{index}V{}", short(to, 1));
            before = *count;
        }
    }
    let _ = write!(
        out,
        "<svg x=\"0\" y=\"{y}\" width=\"100%\" height=\"{height}\" viewBox=\"0 0 {all} {height}\" \
         preserveAspectRatio=\"none\"><path class=\"m{colour} shape\" vector-effect=\"non-scaling-stroke\" \
         d=\"{path}H{all}V{height}Z\"/></svg>"
    );
}
