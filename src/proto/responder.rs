//! The responder: answers ARP requests and neighbour solicitations by rank.
//!
//! Rank 1 answers every request, rank 2 from an asker's second request on, all others from its
//! third, after a random delay. So one answer is sent as long as rank 1 lives, and a member that
//! died a moment ago costs the asker one retransmission (about 1 s), not an outage. Requests are
//! counted per asker and target; a pause starts a new count, since hosts that get no answer start
//! over with their next packet.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::Reason;
use super::random::Random;
use crate::time::{Duration, Instant};
use crate::wire::frame::{Mac, Request};

/// A gap this long between two requests starts a new count: Linux repeats after 1.02 s.
pub const COUNT_GAP: Duration = Duration::from_millis(1500);
/// The same between two probes for duplicates, up to 2 s apart (RFC 5227 §1.1: PROBE_MAX).
pub const PROBE_GAP: Duration = Duration::from_millis(2500);
/// Ranks 3 and lower spread their answers over this span, within RFC 4861's
/// MAX_ANYCAST_DELAY_TIME (1 s) and within the second that ARP waits after its third request.
pub const LATE_DELAY: Duration = Duration::from_millis(500);
/// Askers and targets that are counted at the same time; beyond, a request counts as a first.
pub const MAX_COUNTS: usize = 4096;
/// Delayed answers waiting at the same time; beyond, there is none.
pub const MAX_DELAYED: usize = 256;
/// Requested addresses that are remembered for announcements.
pub const MAX_ASKED: usize = 1024;

/// The responder of one link.
#[derive(Debug, Clone, Default)]
pub struct Responder {
    counts: BTreeMap<(Mac, IpAddr), Count>,
    delayed: Vec<(Instant, Request)>,
    asked: BTreeMap<IpAddr, Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Count {
    requests: u8,
    last: Instant,
}

impl Responder {
    /// Whether to answer `request` at once, `rank` (1 is best) being this host's for its target.
    ///
    /// # Errors
    /// Why not; the answer may still come out of [`Self::poll_answer`] later.
    pub fn handle_request(
        &mut self,
        now: Instant,
        request: &Request,
        rank: usize,
        random: &mut Random,
    ) -> Result<(), Reason> {
        if !request.is_for_duplicates() {
            self.remember(now, request.target);
        }
        // A probe to this host's own link-layer address asks whether it still lives.
        //= docs/spec/link.md#answers
        //# A member MUST answer every request that is sent to its own link-layer address alone.
        if request.is_probe() {
            return Ok(());
        }
        let gap = match request.is_for_duplicates() {
            true => PROBE_GAP,
            false => COUNT_GAP,
        };
        let count = usize::from(self.count(now, (request.mac, request.target), gap));
        match rank {
            //= docs/spec/link.md#answers
            //# The member of rank 1 MUST answer every request.
            1 => Ok(()),
            //= docs/spec/link.md#answers
            //# The member of rank 2 MUST answer from the second request of a count on, and no
            //# earlier.
            2 if count >= 2 => Ok(()),
            //= docs/spec/link.md#answers
            //# The members of lower ranks MUST answer from the third request of a count on, and no
            //# earlier, each after a random delay of at most 500 ms.
            3.. if count >= 3 && self.delayed.len() < MAX_DELAYED => {
                self.delayed.push((now + random.span(LATE_DELAY), *request));
                Err(Reason::NotMyTurn)
            }
            _ => Err(Reason::NotMyTurn),
        }
    }

    /// An answer whose delay has passed; whether this host still serves is checked again then.
    pub fn poll_answer(&mut self, now: Instant) -> Option<Request> {
        let at = self.delayed.iter().position(|(at, _)| *at <= now)?;
        Some(self.delayed.swap_remove(at).1)
    }

    /// When [`Self::poll_answer`] has an answer.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.delayed.iter().map(|(at, _)| *at).min()
    }

    /// The addresses that were asked for lately.
    pub fn asked(&self) -> impl Iterator<Item = IpAddr> {
        self.asked.keys().copied()
    }

    fn count(&mut self, now: Instant, key: (Mac, IpAddr), gap: Duration) -> u8 {
        let fresh = |count: &Count| now.saturating_duration_since(count.last) <= gap;
        if self.counts.len() >= MAX_COUNTS && !self.counts.contains_key(&key) {
            self.counts.retain(|_, count| fresh(count));
            //= docs/spec/link.md#answers
            //# The table of counts MUST be bounded; a request that does not fit counts as a first.
            if self.counts.len() >= MAX_COUNTS {
                return 1;
            }
        }
        let count = self.counts.entry(key).or_insert(Count {
            requests: 0,
            last: now,
        });
        //= docs/spec/link.md#answers
        //# A gap of more than 1.5 s between two requests, or of more than 2.5 s between two probes for
        //# duplicates, MUST start a new count.
        count.requests = if fresh(count) {
            count.requests.saturating_add(1)
        } else {
            1
        };
        count.last = now;
        count.requests
    }

    /// Notes that somebody asked for `target`, whoever answers.
    pub fn remember(&mut self, now: Instant, target: IpAddr) {
        if self.asked.len() >= MAX_ASKED && !self.asked.contains_key(&target) {
            let oldest = self
                .asked
                .iter()
                .min_by_key(|(_, at)| **at)
                .map(|(target, _)| *target);
            oldest.and_then(|oldest| self.asked.remove(&oldest));
        }
        self.asked.insert(target, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(asker: u8) -> Request {
        Request {
            mac: [2, 0, 0, 0, 0, asker],
            source: "10.0.0.9".parse().unwrap(),
            target: "198.18.0.1".parse().unwrap(),
            destination: crate::wire::frame::BROADCAST,
        }
    }

    /// Requests `gap` apart; the number of the first that is answered at once.
    fn first_answered(rank: usize, gap: Duration) -> Option<u64> {
        first_of(&request(1), rank, gap)
    }

    fn first_of(request: &Request, rank: usize, gap: Duration) -> Option<u64> {
        let mut responder = Responder::default();
        let mut random = Random::new(1);
        (1..=6).find(|nth| {
            let now = Instant::ZERO + gap * u32::try_from(*nth).unwrap();
            responder
                .handle_request(now, request, rank, &mut random)
                .is_ok()
        })
    }

    #[test]
    fn ranks_one_and_two_answer_from_the_request_of_their_number_on() {
        let second = Duration::from_millis(1020);
        //= docs/spec/link.md#answers
        //= type=test
        //# The member of rank 1 MUST answer every request.
        assert_eq!(first_answered(1, second), Some(1));
        //= docs/spec/link.md#answers
        //= type=test
        //# The member of rank 2 MUST answer from the second request of a count on, and no earlier.
        assert_eq!(first_answered(2, second), Some(2));
        assert_eq!(first_answered(3, second), None);
    }

    #[test]
    fn a_pause_starts_a_new_count() {
        let probe = Request {
            source: "0.0.0.0".parse().unwrap(),
            ..request(1)
        };
        let more = Duration::from_micros(1);
        //= docs/spec/link.md#answers
        //= type=test
        //# A gap of more than 1.5 s between two requests, or of more than 2.5 s between two probes for
        //# duplicates, MUST start a new count.
        assert_eq!(first_answered(2, COUNT_GAP + more), None);
        assert_eq!(first_of(&probe, 2, PROBE_GAP), Some(2));
        assert_eq!(first_of(&probe, 2, PROBE_GAP + more), None);
    }

    #[test]
    fn ranks_three_and_lower_answer_the_third_request_after_a_delay() {
        for rank in [3, 4, 100] {
            let mut responder = Responder::default();
            let mut random = Random::new(7);
            let mut now = Instant::ZERO;
            for _ in 0..3 {
                now += Duration::from_secs(1);
                let result = responder.handle_request(now, &request(1), rank, &mut random);
                assert_eq!(result, Err(Reason::NotMyTurn));
            }
            //= docs/spec/link.md#answers
            //= type=test
            //# The members of lower ranks MUST answer from the third request of a count on, and no
            //# earlier, each after a random delay of at most 500 ms.
            let at = responder.poll_timeout().unwrap();
            assert!(at <= now + LATE_DELAY);
            assert_eq!(responder.poll_answer(at), Some(request(1)));
            assert_eq!(responder.poll_answer(at), None);
        }
    }

    #[test]
    fn askers_are_counted_apart_and_the_table_is_bounded() {
        let mut responder = Responder::default();
        let mut random = Random::new(1);
        for n in 0..u32::try_from(MAX_COUNTS).unwrap() + 10 {
            let mut asker = request(0);
            asker.mac[2..].copy_from_slice(&n.to_be_bytes());
            let result = responder.handle_request(Instant::ZERO, &asker, 2, &mut random);
            assert_eq!(result, Err(Reason::NotMyTurn));
        }
        //= docs/spec/link.md#answers
        //= type=test
        //# The table of counts MUST be bounded; a request that does not fit counts as a first.
        assert_eq!(responder.counts.len(), MAX_COUNTS);
    }

    #[test]
    fn a_probe_to_our_own_link_layer_address_is_always_answered() {
        let mut responder = Responder::default();
        let probe = Request {
            destination: [2, 0, 0, 0, 0, 99],
            ..request(1)
        };
        //= docs/spec/link.md#answers
        //= type=test
        //# A member MUST answer every request that is sent to its own link-layer address alone.
        let result = responder.handle_request(Instant::ZERO, &probe, 9, &mut Random::new(1));
        assert_eq!(result, Ok(()));
    }
}
