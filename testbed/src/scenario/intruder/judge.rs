//! What became of requests while an attack lasted, and what had to.

use std::collections::BTreeMap;
use std::time::Duration;

use super::attack::{Attack, Harm};
use super::stage::Mode;
use crate::capture::Stamp;
use crate::judge::figure;
use crate::report::{self, Check, Mark, Request};

/// What a host refused, by reason.
pub(super) type Refused = BTreeMap<String, u64>;

/// Slack of what is looked at from outside: starting a command takes its time.
const LOOK: Duration = Duration::from_millis(300);
/// Percent of one processor that the router's daemon may take in a flood.
const SHARE: f64 = 60.0;

/// An attack that was mounted.
#[derive(Clone, Debug)]
pub(super) struct Mounted {
    pub(super) attack: &'static Attack,
    pub(super) mode: Mode,
    pub(super) mark: Mark,
    /// Frames that the intruder sent.
    pub(super) frames: u64,
    /// By host.
    pub(super) refused: BTreeMap<String, Refused>,
    /// When `one` was killed.
    pub(super) killed: Option<Stamp>,
    /// How long a host still listed it, now and then or always, in milliseconds; `None` to the end.
    pub(super) listed_ms: Vec<(String, Option<f64>)>,
    /// Percent of one processor that the router's daemon took.
    pub(super) share: Option<f64>,
    /// Dead time.
    pub(super) dead: Duration,
}

/// The requests that were sent while an attack lasted.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) requests: usize,
    /// Answered by the intruder.
    pub(super) diverted: Vec<String>,
    /// Not answered.
    pub(super) lost: Vec<String>,
    /// Answered by another member than the one that was to answer, or that is first.
    pub(super) moved: Vec<String>,
}

impl Mounted {
    /// What became of the requests.
    pub(super) fn outcome(&self, requests: &[Request]) -> Outcome {
        let mut outcome = Outcome::default();
        let during = |r: &&Request| self.mark.from <= r.sent && r.sent < self.mark.to;
        for request in requests.iter().filter(during) {
            outcome.requests += 1;
            let expected = self.expected(requests, request);
            let Request {
                host,
                service,
                family,
                ..
            } = request;
            let at = request.sent.ms_since(self.mark.from);
            let what = format!("{host} {service} v{family} after {at:.0} ms");
            match (&request.outcome, expected) {
                (Ok(who), _) if who == "intruder" => outcome.diverted.push(what),
                // Entries end after a minute, and who asks anew is answered by `one`.
                (Ok(who), Some(member)) if who != member && who != "one" => {
                    outcome.moved.push(format!("{what}: {who}"));
                }
                (Err(error), Some(_)) => outcome.lost.push(format!("{what}: {error}")),
                _ => {}
            }
        }
        outcome
    }

    /// Who is to answer a request; `None`: nobody has to.
    fn expected<'a>(&self, requests: &'a [Request], request: &Request) -> Option<&'a str> {
        if let Some(killed) = self.killed {
            if request.sent > killed.plus(self.dead * 2) {
                return Some("two");
            } else if request.done >= killed {
                return None;
            }
        }
        let same = |r: &&Request| r.host == request.host && r.family == request.family;
        let mut before = requests.iter().rev().filter(same);
        before.find_map(|r| (r.done < self.mark.from).then(|| r.outcome.as_deref().ok())?)
    }

    /// What had to hold.
    pub(super) fn checks(&self, requests: &[Request]) -> Vec<Check> {
        let outcome = self.outcome(requests);
        let id = |what: &str| format!("{}/{}/{what}", self.mode.name(), self.attack.name);
        if self.mode == Mode::Off {
            let harmed = match self.attack.off {
                Harm::Diverted => !outcome.diverted.is_empty(),
                Harm::Disturbed => {
                    !(outcome.diverted.is_empty()
                        && outcome.lost.is_empty()
                        && outcome.moved.is_empty())
                }
                Harm::Undead => {
                    let late = self.dead_ms() > 2.0 * self.dead.as_secs_f64() * 1e3;
                    late && !outcome.lost.is_empty()
                }
                Harm::None => return Vec::new(),
            };
            let failed = (!harmed).then(|| "nothing of it was seen".to_owned());
            let check = Check::none(id("succeeds"), failed.as_slice(), "failures");
            return vec![check.noted(self.summary(&outcome))];
        }
        let mut checks = vec![
            Check::none(id("diverted"), &outcome.diverted, "requests"),
            Check::none(id("lost"), &outcome.lost, "requests"),
            Check::none(id("moved"), &outcome.moved, "requests"),
        ];
        let unseen: Vec<_> = self
            .attack
            .refused
            .iter()
            .filter(|(host, reasons)| {
                let seen = self.refused.get(*host);
                !reasons
                    .iter()
                    .any(|reason| seen.is_some_and(|seen| seen.contains_key(*reason)))
            })
            .map(|(host, reasons)| format!("{host} refused nothing as {}", reasons.join(" or ")))
            .collect();
        if !self.attack.refused.is_empty() {
            checks.push(Check::none(id("refused"), &unseen, "reasons"));
        }
        if self.killed.is_some() {
            let limit = (self.dead * 2 + LOOK).as_secs_f64() * 1e3;
            let id = id("dead-within-2-dead-times");
            let check = Check::at_most(id, self.dead_ms(), limit, "ms");
            let by: Vec<_> = self
                .listed_ms
                .iter()
                .map(|(host, ms)| match ms {
                    Some(ms) => format!("{host} {ms:.0} ms"),
                    None => format!("{host} to the end"),
                })
                .collect();
            checks.push(check.noted(by.join(", ")));
        }
        if let Some(share) = self.share {
            let rate = figure(u32::try_from(self.frames).unwrap_or(u32::MAX))
                / self
                    .mark
                    .to
                    .since(self.mark.from)
                    .unwrap_or_default()
                    .as_secs_f64();
            let check = Check::at_most(id("router-cpu-share"), share, SHARE, "% of one");
            checks.push(check.noted(format!("{rate:.0} frames/s")));
        }
        checks
    }

    /// How long the dead member was listed anywhere, in milliseconds.
    pub(super) fn dead_ms(&self) -> f64 {
        let all = self.listed_ms.iter();
        all.map(|(_, ms)| ms.unwrap_or(f64::from(u32::MAX)))
            .fold(0.0, f64::max)
    }

    /// A line about it.
    pub(super) fn summary(&self, outcome: &Outcome) -> String {
        let Outcome {
            requests,
            diverted,
            lost,
            moved,
        } = outcome;
        let mut text = format!(
            "of {requests} requests {} diverted, {} lost",
            diverted.len(),
            lost.len()
        );
        if !moved.is_empty() {
            text += &format!(", {} to another member", moved.len());
        }
        if let Some(share) = self.share {
            text += &format!("; router {share:.0} %");
        }
        if self.killed.is_some() {
            text += &match self.listed_ms.iter().find(|(_, ms)| ms.is_none()) {
                Some((host, _)) => format!("; dead, yet listed by {host} to the end"),
                None => format!("; dead after {:.0} ms", self.dead_ms()),
            };
        }
        text
    }

    /// Reasons that were counted, all hosts together, most frequent first.
    pub(super) fn reasons(&self) -> String {
        let mut all: BTreeMap<&str, u64> = BTreeMap::new();
        for (reason, count) in self.refused.values().flatten() {
            *all.entry(reason).or_default() += count;
        }
        let mut all: Vec<_> = all.into_iter().collect();
        all.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let words = all
            .iter()
            .map(|(reason, count)| format!("{reason} {count}"));
        words.collect::<Vec<_>>().join(", ")
    }

    /// For the document of the run.
    pub(super) fn figures(&self, requests: &[Request], started: Stamp) -> report::Attack {
        let outcome = self.outcome(requests);
        report::Attack {
            mode: self.mode.name().into(),
            attack: self.attack.name.into(),
            about: self.attack.about.into(),
            from_ms: self.mark.from.ms_since(started),
            to_ms: self.mark.to.ms_since(started),
            frames: self.frames,
            requests: outcome.requests,
            diverted: outcome.diverted.len(),
            lost: outcome.lost.len(),
            moved: outcome.moved.len(),
            refused: self.refused.clone(),
            listed_ms: self.listed_ms.iter().cloned().collect(),
            router_percent: self.share,
        }
    }
}
