//! A leave that waits for a successor's sign of life, and is taken back when none comes.
//!
//! Who is in the view may have died a moment ago, or be about to leave itself. So a member that
//! must not leave an address to nobody says that it drains, serves on, and withdraws only when a
//! member that stays was heard after that. Of several that leave at once the one with the highest
//! id stays.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{JoinOptions, Node};
use crate::addr::Prefix;
use crate::proto::member::DRAIN;
use crate::time::Instant;

/// The pause between two looks at who is left.
const CHECK: Duration = Duration::from_millis(100);

/// A leave that is not done yet.
#[derive(Debug, Clone)]
pub(super) struct Departure {
    prefixes: BTreeMap<Prefix, JoinOptions>,
    /// Everything that the host serves is left.
    everything: bool,
    began: Instant,
    check_at: Instant,
    /// Everybody was asked for a sign of life.
    asked: bool,
}

/// A leave that was taken back: this host serves on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// What was to be left.
    pub prefixes: Vec<Prefix>,
    /// Everything that the host serves was to be left.
    pub everything: bool,
    /// The other members leave too; otherwise none was heard.
    pub all_leave: bool,
}

enum Verdict {
    Wait,
    Withdraw,
    Keep { all_leave: bool },
}

impl Node {
    /// Stops serving `prefixes`, once another member has taken over on every link: one that stays and
    /// was heard from now on. [`Node::poll_kept`] tells when none was. `everything` takes what is
    /// about to be left already along.
    pub fn hand_over(&mut self, now: Instant, prefixes: &[Prefix], everything: bool) {
        let mut leaving = BTreeMap::new();
        for prefix in prefixes.iter().map(Prefix::trunc) {
            leaving.extend(self.joined.remove(&prefix).map(|options| (prefix, options)));
        }
        if everything {
            let others = core::mem::take(&mut self.departures).into_iter();
            leaving.extend(others.flat_map(|other| other.prefixes));
        }
        self.settle_serving(now);
        let departure = Departure {
            prefixes: leaving,
            everything,
            began: now,
            check_at: now + CHECK,
            asked: false,
        };
        let held = self.patience(&departure) + DRAIN;
        self.drain_until(&departure, held);
        self.departures.push(departure);
        self.handle_timeout(now);
    }

    /// The next leave that was taken back.
    pub fn poll_kept(&mut self) -> Option<Kept> {
        self.kept.pop_front()
    }

    /// What is about to be left is left, whoever takes over.
    pub fn end_departures(&mut self, now: Instant) {
        for departure in core::mem::take(&mut self.departures) {
            self.drain_until(&departure, now.max(departure.began + DRAIN));
        }
    }

    pub(super) fn departures_at(&self) -> Option<Instant> {
        self.departures.iter().map(|one| one.check_at).min()
    }

    pub(super) fn follow_departures(&mut self, now: Instant) {
        if self.departures_at().is_none_or(|at| at > now) {
            return;
        }
        for mut departure in core::mem::take(&mut self.departures) {
            // What was joined again meanwhile stays.
            let joined = &self.joined;
            departure
                .prefixes
                .retain(|prefix, _| !joined.contains_key(prefix));
            match self.verdict(now, &departure) {
                Verdict::Wait => {
                    if !departure.asked && now >= departure.began + DRAIN / 2 {
                        departure.asked = true;
                        let links = self.links.values_mut();
                        links.for_each(super::link::Link::ask_everybody);
                    }
                    departure.check_at = now + CHECK;
                    self.departures.push(departure);
                }
                Verdict::Withdraw => self.drain_until(&departure, now),
                Verdict::Keep { all_leave } => {
                    self.kept.push_back(Kept {
                        prefixes: departure.prefixes.keys().copied().collect(),
                        everything: departure.everything,
                        all_leave,
                    });
                    self.joined.extend(departure.prefixes);
                    self.settle_serving(now);
                }
            }
        }
    }

    fn verdict(&self, now: Instant, departure: &Departure) -> Verdict {
        let (mut missing, mut all_leave, mut highest) = (false, false, false);
        for prefix in departure.prefixes.keys() {
            for (id, remaining) in self.remaining(*prefix) {
                let Some(link) = self.links.get(&id).filter(|_| !remaining.elsewhere) else {
                    continue;
                };
                let heard = |peer: &crate::proto::view::Peer| peer.heard() > departure.began;
                let mut members = remaining.members.iter();
                if members.any(|member| link.peer(*member).is_some_and(heard)) {
                    continue;
                }
                missing = true;
                if remaining.members.is_empty() && !remaining.draining.is_empty() {
                    all_leave = true;
                    let own = link.member().identity().id;
                    highest |= remaining.draining.iter().all(|other| *other < own);
                }
            }
        }
        if highest || (missing && now >= self.patience(departure)) {
            Verdict::Keep { all_leave }
        } else if missing || now < departure.began + DRAIN {
            Verdict::Wait
        } else {
            Verdict::Withdraw
        }
    }

    /// Until when a successor's sign of life is waited for.
    fn patience(&self, departure: &Departure) -> Instant {
        departure.began + DRAIN.max(self.config.timing.dead_time()) + CHECK * 2
    }

    fn drain_until(&mut self, departure: &Departure, until: Instant) {
        for link in self.links.values_mut() {
            for prefix in departure.prefixes.keys() {
                link.drain_until(*prefix, until);
            }
        }
    }
}
