//! Strangers: hosts that claim an anycast address of a link without being members.
//!
//! Members share an address; a host that knows nothing of that takes it for its own, and every
//! frame in which it says so leads the caches of stock hosts to it. Who claims an address without
//! being known as its member is told to people, and the member that is rank 1 defends the address
//! as RFC 5227 §2.4 (c) allows: at once, and then as often as the defence interval at the most. As
//! long as an address is contested, rank 1 also answers each request once more, after the second
//! in which a stock host keeps the first of two ARP answers.
//!
//! A member that has just come may claim its address before this host has its report. So whoever
//! speaks the protocol, and everybody as long as this host is new on the link, has a dead time to
//! become known.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::earliest;
use crate::time::{Duration, Instant};
use crate::wire::frame::{Mac, Request};

/// An address is defended at most once in this span (RFC 5227 §1.1: DEFEND_INTERVAL).
pub const DEFEND_INTERVAL: Duration = Duration::from_secs(10);
/// An address counts as contested for so long after the last claim.
pub const CONTESTED: Duration = Duration::from_secs(60);
/// A contested request is answered again after this: Linux keeps the first of several answers
/// within one second (`locktime`).
pub const ANSWER_AGAIN: Duration = Duration::from_millis(1100);
/// One that was heard to speak the protocol is remembered for so long.
pub const SPOKE: Duration = Duration::from_secs(600);
/// Claims that wait to be judged, contested addresses and second answers at the same time, each.
pub const MAX_CLAIMS: usize = 256;

/// Somebody says that an address is its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Claim {
    /// The address.
    pub target: IpAddr,
    /// Where it would be.
    pub mac: Mac,
}

/// Who claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A member for the address, a router, or this host.
    Member,
    /// One that may be a member that is not known yet.
    Doubtful,
    /// Nobody that was ever heard.
    Stranger,
}

#[derive(Debug, Clone, Copy)]
struct Contest {
    last: Instant,
    defended: Option<Instant>,
    /// Claimed since it was defended.
    open: bool,
}

/// The strangers of one link.
#[derive(Debug, Clone, Default)]
pub struct Strangers {
    waiting: BTreeMap<Claim, Instant>,
    contests: BTreeMap<IpAddr, Contest>,
    again: Vec<(Instant, Request)>,
    spoke: BTreeMap<Mac, Instant>,
}

impl Strangers {
    /// Remembers that `mac` speaks the protocol, though it is not, or no longer, known.
    pub fn acquaint(&mut self, now: Instant, mac: Mac) {
        if self.spoke.len() >= MAX_CLAIMS && !self.spoke.contains_key(&mac) {
            self.spoke.retain(|_, at| now < *at + SPOKE);
            if self.spoke.len() >= MAX_CLAIMS {
                return;
            }
        }
        self.spoke.insert(mac, now);
    }

    /// Whether `mac` was heard to speak the protocol lately.
    pub fn spoke(&self, now: Instant, mac: Mac) -> bool {
        self.spoke.get(&mac).is_some_and(|at| now < *at + SPOKE)
    }

    /// A claim by one that has this `standing`; whether it is a stranger's for certain. One that is
    /// in doubt comes out of [`Self::poll_doubtful`] after `patience`.
    pub fn handle_claim(
        &mut self,
        now: Instant,
        claim: Claim,
        standing: Standing,
        patience: Duration,
    ) -> bool {
        match standing {
            Standing::Member => false,
            //= docs/spec/link.md#strangers
            //# A claim of one that was heard to speak the protocol, or that comes within a dead time of
            //# the link's start, MUST be judged a dead time later.
            Standing::Doubtful => {
                if self.waiting.len() < MAX_CLAIMS {
                    self.waiting.entry(claim).or_insert(now + patience);
                }
                false
            }
            Standing::Stranger => {
                self.contest(now, claim.target);
                true
            }
        }
    }

    /// A claim that was in doubt and is to be judged now.
    pub fn poll_doubtful(&mut self, now: Instant) -> Option<Claim> {
        let due = self.waiting.iter().find(|(_, at)| **at <= now);
        let claim = *due?.0;
        self.waiting.remove(&claim);
        Some(claim)
    }

    /// Notes that a stranger claims `target`.
    pub fn contest(&mut self, now: Instant, target: IpAddr) {
        if self.contests.len() >= MAX_CLAIMS && !self.contests.contains_key(&target) {
            return;
        }
        let contest = self.contests.entry(target).or_insert(Contest {
            last: now,
            defended: None,
            open: true,
        });
        contest.last = now;
        contest.open = true;
    }

    /// An address that is to be defended now, by whoever is rank 1 for it.
    //= docs/spec/link.md#strangers
    //# It MUST NOT defend an address more than once in 10 s; where a claim follows within that time,
    //# it MUST defend the address again at its end.
    pub fn poll_defence(&mut self, now: Instant) -> Option<IpAddr> {
        self.contests
            .retain(|_, c| c.open || now < c.last + CONTESTED);
        let (target, contest) = self
            .contests
            .iter_mut()
            .find(|(_, contest)| contest.defend_at().is_some_and(|at| at <= now))?;
        contest.open = false;
        contest.defended = Some(now);
        Some(*target)
    }

    /// Whether a stranger has claimed `target` lately.
    pub fn is_contested(&self, now: Instant, target: IpAddr) -> bool {
        let contest = self.contests.get(&target);
        contest.is_some_and(|contest| now < contest.last + CONTESTED)
    }

    /// A request that rank 1 has answered: where its target is contested, it is answered again.
    //= docs/spec/link.md#strangers
    //# For 60 s after a claim, the member of rank 1 MUST answer each request for the address a second
    //# time, 1.1 s after the first, with Override set.
    pub fn handle_answered(&mut self, now: Instant, request: &Request) {
        let known = self.again.iter().any(|(_, known)| known == request);
        if self.is_contested(now, request.target) && !known && self.again.len() < MAX_CLAIMS {
            self.again.push((now + ANSWER_AGAIN, *request));
        }
    }

    /// A request whose second answer is due.
    pub fn poll_again(&mut self, now: Instant) -> Option<Request> {
        let at = self.again.iter().position(|(at, _)| *at <= now)?;
        Some(self.again.swap_remove(at).1)
    }

    /// When one of the `poll_*` has something.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let defences = self.contests.values().filter_map(Contest::defend_at).min();
        let waiting = self.waiting.values().copied().min();
        let again = self.again.iter().map(|(at, _)| *at).min();
        earliest([defences, waiting, again])
    }

    /// Forgets every claim: the link is down, or this host slept.
    pub fn clear(&mut self) {
        self.waiting.clear();
        self.contests.clear();
        self.again.clear();
    }
}

impl Contest {
    fn defend_at(&self) -> Option<Instant> {
        let next = self.defended.map_or(self.last, |at| at + DEFEND_INTERVAL);
        self.open.then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEAD: Duration = Duration::from_secs(3);

    fn claim(last: u8) -> Claim {
        Claim {
            target: "198.18.0.1".parse().unwrap(),
            mac: [2, 0, 0, 0, 0, last],
        }
    }

    fn at(millis: u64) -> Instant {
        Instant::ZERO + Duration::from_millis(millis)
    }

    #[test]
    fn a_stranger_that_claims_every_second_is_met_with_a_defence_every_ten() {
        let mut strangers = Strangers::default();
        let mut defended = Vec::new();
        for tenth in 0..400 {
            let now = at(tenth * 100);
            if tenth % 10 == 0 && tenth < 250 {
                assert!(strangers.handle_claim(now, claim(1), Standing::Stranger, DEAD));
            }
            while strangers.poll_defence(now).is_some() {
                defended.push(tenth / 10);
            }
        }
        //= docs/spec/link.md#strangers
        //= type=test
        //# It MUST NOT defend an address more than once in 10 s; where a claim follows within that
        //# time, it MUST defend the address again at its end.
        assert_eq!(defended, [0, 10, 20, 30]);
        assert_eq!(strangers.poll_timeout(), None);
    }

    #[test]
    fn one_that_may_be_a_member_has_a_dead_time_to_become_known() {
        let mut strangers = Strangers::default();
        //= docs/spec/link.md#strangers
        //= type=test
        //# A claim of one that was heard to speak the protocol, or that comes within a dead time of
        //# the link's start, MUST be judged a dead time later.
        assert!(!strangers.handle_claim(at(0), claim(1), Standing::Doubtful, DEAD));
        assert_eq!(strangers.poll_timeout(), Some(at(3000)));
        assert_eq!(strangers.poll_doubtful(at(2999)), None);
        assert_eq!(strangers.poll_defence(at(2999)), None);
        assert_eq!(strangers.poll_doubtful(at(3000)), Some(claim(1)));
        assert_eq!(strangers.poll_doubtful(at(3000)), None);
    }

    #[test]
    fn a_contested_request_is_answered_once_more() {
        let mut strangers = Strangers::default();
        let request = Request {
            mac: [2, 0, 0, 0, 0, 9],
            source: "10.0.0.9".parse().unwrap(),
            target: claim(1).target,
            destination: crate::wire::frame::BROADCAST,
        };
        strangers.handle_answered(at(0), &request);
        assert_eq!(strangers.poll_timeout(), None, "nobody contests it");
        strangers.contest(at(0), request.target);
        strangers.handle_answered(at(0), &request);
        strangers.handle_answered(at(10), &request);
        assert_eq!(strangers.poll_again(at(1099)), None);
        assert_eq!(strangers.poll_again(at(1100)), Some(request));
        assert_eq!(strangers.poll_again(at(1110)), None);
        strangers.handle_answered(at(59_999), &request);
        assert_eq!(strangers.poll_again(at(61_099)), Some(request));
        strangers.handle_answered(at(60_000), &request);
        assert_eq!(strangers.poll_again(at(70_000)), None);
    }

    #[test]
    fn the_tables_are_bounded() {
        let mut strangers = Strangers::default();
        for n in 0..1000u32 {
            let [.., high, low] = n.to_be_bytes();
            let target = IpAddr::from([198, 18, high, low]);
            let mac = [2, 0, 0, 0, high, low];
            let claim = Claim { target, mac };
            strangers.acquaint(at(0), mac);
            strangers.handle_claim(at(0), claim, Standing::Doubtful, DEAD);
            strangers.contest(at(0), target);
        }
        assert_eq!(strangers.waiting.len(), MAX_CLAIMS);
        assert_eq!(strangers.contests.len(), MAX_CLAIMS);
        assert_eq!(strangers.spoke.len(), MAX_CLAIMS);
    }
}
