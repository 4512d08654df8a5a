//! Which packets decided who answers after something happened, chosen by rule.
//!
//! Of a phase of a story that begins with an event at a host, these are:
//!
//! 1. the last hello of that host before the event, its first report after it, and the moment it
//!    has been silent for the dead time, or its first hello after a silence;
//! 2. for each family the first opening (a SYN; a datagram where nobody uses TCP) to an anycast
//!    address that nobody answers;
//! 3. each member's first announcement (gratuitous ARP, unsolicited advertisement) for each family;
//! 4. for each family the first question who has the address, with its answers, and its repeats as
//!    long as it has none;
//! 5. for each family the first opening that another host answers than the one before, or else the
//!    first that is answered at all, with its answer.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::packet::{What, family};
use super::story::{Kind, Mark, Round};
use super::traffic::{Sent, Traffic};
use crate::capture::Stamp;

/// A question is repeated at most so often (RFC 4861 §10, and Linux for ARP).
const QUESTIONS: usize = 3;
/// An answer comes within this time or belongs to another question.
const ANSWER: Duration = Duration::from_millis(1500);
/// More steps than a reader follows.
const MOST: usize = 40;

/// Something a sequence diagram shows.
#[derive(Clone, Debug)]
pub enum Step<'a> {
    /// What happened.
    Event(Stamp),
    /// A host has not been heard for the dead time.
    Silence {
        /// Since when it counts as dead.
        at: Stamp,
        /// The host.
        host: &'a str,
    },
    /// A frame.
    Frame {
        /// The frame.
        sent: &'a Sent,
        /// What is to be said about it, if anything.
        note: String,
    },
}

impl Step<'_> {
    /// When it was.
    pub fn at(&self) -> Stamp {
        match self {
            Self::Event(at) | Self::Silence { at, .. } => *at,
            Self::Frame { sent, .. } => sent.at,
        }
    }
}

/// Chooses the steps of a phase, in order. A phase in which nothing happened has none.
pub fn steps<'a>(round: &'a Round, traffic: &'a Traffic, mark: &'a Mark) -> Vec<Step<'a>> {
    let chosen = Choice {
        round,
        traffic,
        mark,
        steps: vec![Step::Event(mark.from)],
    };
    chosen.all()
}

struct Choice<'a> {
    round: &'a Round,
    traffic: &'a Traffic,
    mark: &'a Mark,
    steps: Vec<Step<'a>>,
}

/// Something that asks for a service, and what was answered first.
struct Opening<'a> {
    asked: &'a Sent,
    answer: Option<&'a Sent>,
}

impl<'a> Choice<'a> {
    fn all(mut self) -> Vec<Step<'a>> {
        if self.mark.kind == Kind::Quiet {
            return Vec::new();
        }
        if let Some(host) = &self.mark.host {
            self.messages(host);
        }
        self.announcements();
        let families: BTreeMap<u8, ()> = self
            .round
            .anycast
            .iter()
            .map(|a| (family(*a), ()))
            .collect();
        for family in families.into_keys() {
            self.questions(family);
            self.openings(family);
        }
        if self.steps.len() == 1 {
            return Vec::new();
        }
        self.steps
            .sort_by_key(|step| (step.at(), !matches!(step, Step::Event(_))));
        self.steps.truncate(MOST);
        self.steps
    }

    fn show(&mut self, sent: &'a Sent, note: impl Into<String>) {
        let note = note.into();
        self.steps.push(Step::Frame { sent, note });
    }

    fn is_anycast(&self, address: IpAddr) -> bool {
        self.round.anycast.contains(&address)
    }

    /// What the phase's links carried.
    fn after(&self) -> &'a [Sent] {
        self.traffic.between(self.mark.from, self.mark.to)
    }

    fn messages(&mut self, host: &'a str) {
        let mark = self.mark;
        let mine = |s: &&Sent| s.from == host;
        let before = self.traffic.between(Stamp(0), mark.from);
        let last = before.iter().rev().filter(mine).find(|s| s.is_hello());
        let after = self.after();
        let next = after.iter().filter(mine).find(|s| s.is_hello());
        let dead = |from: Stamp| from.plus(self.round.dead);
        let lived = last.filter(|l| dead(l.at) > mark.from);
        let died = lived.filter(|l| dead(l.at) < mark.to && next.is_none_or(|n| n.at > dead(l.at)));
        if let Some(report) = after.iter().filter(mine).find(|s| s.is_report()) {
            self.show(report, "");
        }
        if let (Some(last), Kind::Fault) = (lived, mark.kind) {
            self.show(last, "the last one");
        }
        if let Some(last) = died {
            let at = dead(last.at);
            self.steps.push(Step::Silence { at, host });
        }
        if let (Some(next), None) = (next, lived) {
            self.show(next, "the first one");
        }
    }

    fn announcements(&mut self) {
        let mut firsts: BTreeMap<(u8, &str), (&'a Sent, usize)> = BTreeMap::new();
        for sent in self.after() {
            let What::Answer {
                target,
                announcement: true,
                ..
            } = sent.what
            else {
                continue;
            };
            if self.is_anycast(target) {
                let entry = firsts.entry((family(target), &sent.from));
                entry.or_insert((sent, 0)).1 += 1;
            }
        }
        for (sent, times) in firsts.into_values() {
            let note = match times {
                1 => String::new(),
                n => format!("said {n} times"),
            };
            self.show(sent, note);
        }
    }

    fn questions(&mut self, wanted: u8) {
        let after = self.after();
        let asks = |sent: &&Sent| {
            matches!(sent.what, What::Question { target, probe: false, .. }
                if self.is_anycast(target) && family(target) == wanted)
        };
        let Some(first) = after.iter().find(asks) else {
            return;
        };
        let same: Vec<_> = after
            .iter()
            .filter(|s| s.from == first.from && s.what == first.what)
            .take(QUESTIONS)
            .collect();
        for (index, question) in same.iter().enumerate() {
            let end = question.at.plus(ANSWER);
            let end = same.get(index + 1).map_or(end, |next| next.at.min(end));
            let answers: Vec<_> = self
                .traffic
                .between(question.at, end)
                .iter()
                .filter(|s| answers(s, wanted) && s.claims().is_some_and(|a| self.is_anycast(a)))
                .filter(|s| self.traffic.host(s.destination).as_ref() == Some(&question.from))
                .collect();
            self.show(question, if answers.is_empty() { "no answer" } else { "" });
            for answer in &answers {
                self.show(answer, "");
            }
            if !answers.is_empty() {
                break;
            }
        }
    }

    fn openings(&mut self, wanted: u8) {
        let tcp = self.conversations(wanted, true);
        let all = if tcp.is_empty() {
            self.conversations(wanted, false)
        } else {
            tcp
        };
        let (before, after): (Vec<_>, Vec<_>) =
            all.into_iter().partition(|o| o.asked.at < self.mark.from);
        let lost: Vec<_> = after.iter().filter(|o| o.answer.is_none()).collect();
        if let Some(first) = lost.first() {
            let note = match lost.len() - 1 {
                0 => "no answer".into(),
                more => format!("no answer, nor to {more} more"),
            };
            self.show(first.asked, note);
        }
        let owner = before.iter().rev().find_map(|o| o.answer).map(|a| &a.from);
        let other = |o: &&Opening| o.answer.is_some_and(|a| Some(&a.from) != owner);
        let answered = |o: &&Opening| o.answer.is_some();
        let when = |o: &&Opening| o.answer.map(|a| a.at);
        let found = after.iter().filter(other).min_by_key(when);
        let found = found.or_else(|| after.iter().filter(answered).min_by_key(when));
        if let Some(opening) = found {
            self.show(opening.asked, "");
            if let Some(answer) = opening.answer {
                self.show(answer, "");
            }
        }
    }

    /// Openings of the phase, and of a while before it, over a family.
    fn conversations(&self, wanted: u8, tcp: bool) -> Vec<Opening<'a>> {
        let begin = Stamp(self.mark.from.0.saturating_sub(1_000_000_000));
        // An answer may come after the phase, to what was asked in it.
        let all = self.traffic.between(begin, self.mark.to.plus(ANSWER));
        let mut openings: Vec<Opening<'a>> = Vec::new();
        let mut open: BTreeMap<SocketAddr, usize> = BTreeMap::new();
        for sent in all.iter().filter(|s| s.what.family() == Some(wanted)) {
            let (from, to, asks) = match &sent.what {
                What::Syn { from, to, ack } if tcp => (*from, *to, !ack),
                What::Datagram { from, to } if !tcp => (*from, *to, self.is_anycast(to.ip())),
                _ => continue,
            };
            if asks && sent.at >= self.mark.to {
                // The port is used again, by what belongs to the next phase.
                open.remove(&from);
            } else if asks && self.is_anycast(to.ip()) {
                // A router on the way sends it once more.
                let known = open.get(&from).map(|i| &openings[*i]);
                if known.is_some_and(|o| o.answer.is_none() && o.asked.from != sent.from) {
                    continue;
                }
                open.insert(from, openings.len());
                openings.push(Opening {
                    asked: sent,
                    answer: None,
                });
            } else if !asks && let Some(index) = open.get(&to) {
                openings[*index].answer.get_or_insert(sent);
            }
        }
        openings
    }
}

fn answers(sent: &Sent, wanted: u8) -> bool {
    matches!(sent.what, What::Answer { target, announcement: false, .. } if family(target) == wanted)
}
