//! Whom to ask, how often, and which nonces are ours.

use std::collections::{BTreeMap, VecDeque};

use crate::proto::Timing;
use crate::time::{Duration, Instant};
use crate::wire::MemberId;

/// Questions in the time in which one member is asked once at most.
const BURST: usize = 32;
/// Members that wait to be asked one by one; when there are more, everybody is asked.
const WAITING: usize = 32;
/// Questions whose nonces are remembered: those of more than two seconds at 32 in 300 ms.
const REMEMBERED: usize = 256;

/// A question to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Who is asked; [`MemberId::EVERYBODY`] for all.
    pub target: MemberId,
    /// What makes the answer ours.
    pub nonce: [u8; 8],
    /// Whether the time alone is asked for.
    pub anchor: bool,
}

#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Instant,
    target: MemberId,
    nonce: [u8; 8],
    anchor: bool,
}

/// Questions that wait, and those that were asked.
#[derive(Debug, Clone)]
pub(super) struct Questions {
    timing: Timing,
    secret: [u8; 32],
    drawn: u64,
    /// When each may be asked, and whether for the time alone.
    waiting: BTreeMap<MemberId, (Instant, bool)>,
    /// Oldest first; at most [`REMEMBERED`].
    asked: VecDeque<Asked>,
    /// When everybody was asked last.
    everybody: Option<Instant>,
}

impl Questions {
    pub(super) fn new(timing: Timing, secret: [u8; 32]) -> Self {
        Self {
            timing,
            secret,
            drawn: 0,
            waiting: BTreeMap::new(),
            asked: VecDeque::new(),
            everybody: None,
        }
    }

    /// Forgets what waits. What was asked may still be answered.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Plans a question to `target`, for the time alone if `anchor`.
    pub(super) fn plan(&mut self, target: MemberId, anchor: bool) {
        if let Some((_, waits)) = self.waiting.get_mut(&target) {
            *waits &= anchor;
            return;
        }
        if self.waiting.len() < WAITING || target == MemberId::EVERYBODY {
            //= docs/spec/membership.md#query
            //# A node MUST NOT query the same target on a link more often than once in 300 ms, or once
            //# in a hello interval where that is shorter.
            let recent = self.asked.iter().rev().take(BURST);
            let last = recent
                .filter(|asked| asked.target == target)
                .max_by_key(|asked| asked.at);
            let at = last.map_or(Instant::ZERO, |asked| asked.at + self.timing.ask_interval());
            self.waiting.insert(target, (at, anchor));
            return;
        }
        // Somebody may be making up members. Those that exist answer to everybody's name.
        //= docs/spec/membership.md#query
        //# A node that has more than 32 members to query MUST query everybody instead, but not more
        //# often than once in its dead time.
        let at = self.everybody.map_or(Instant::ZERO, |last| {
            last + self.timing.dead_time().max(Duration::from_millis(300))
        });
        self.waiting.insert(MemberId::EVERYBODY, (at, false));
    }

    /// What to ask now, with a fresh nonce.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Question> {
        if now < self.next()? {
            return None;
        }
        let due = |(_, (at, _)): &(&MemberId, &(Instant, bool))| *at <= now;
        let (target, (_, anchor)) = self.waiting.iter().find(due)?;
        let (target, anchor) = (*target, *anchor);
        self.waiting.remove(&target);
        if target == MemberId::EVERYBODY {
            self.everybody = Some(now);
            self.waiting.retain(|_, (_, other)| anchor && !*other);
        }
        let nonce = self.nonce();
        if self.asked.len() == REMEMBERED {
            self.asked.pop_front();
        }
        let at = now;
        self.asked.push_back(Asked {
            at,
            target,
            nonce,
            anchor,
        });
        Some(Question {
            target,
            nonce,
            anchor,
        })
    }

    /// When there is something to ask.
    pub(super) fn next(&self) -> Option<Instant> {
        let first = self.waiting.values().map(|(at, _)| *at).min()?;
        //= docs/spec/membership.md#query
        //# A node MUST NOT send more than 32 queries on a link in the same time.
        let full = self.asked.len().checked_sub(BURST);
        let free = full.map_or(Instant::ZERO, |oldest| {
            self.asked[oldest].at + self.timing.ask_interval()
        });
        Some(first.max(free))
    }

    /// Whether no question for records waits, and none was asked less than `span` ago.
    pub(super) fn is_settled(&self, now: Instant, span: Duration) -> bool {
        let waits = self.waiting.values().any(|(_, anchor)| !anchor);
        let recent = |asked: &Asked| !asked.anchor && now < asked.at + span;
        !waits && !self.asked.iter().any(recent)
    }

    /// Whether `nonce` was sent no longer than `good` ago.
    pub(super) fn asked(&self, now: Instant, nonce: &[u8; 8], good: Duration) -> bool {
        let mut asked = self.asked.iter().filter(|asked| asked.nonce == *nonce);
        asked.any(|asked| now <= asked.at + good)
    }

    //= docs/spec/membership.md#proof-of-time
    //# A nonce MUST NOT be foretold by anybody else: whoever could would collect a member's answers
    //# in advance.
    fn nonce(&mut self) -> [u8; 8] {
        self.drawn += 1;
        let mut text = b"hamp nonce 1".to_vec();
        text.extend(self.secret);
        text.extend(self.drawn.to_be_bytes());
        crate::wire::hash(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> MemberId {
        let mut id = [1; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        MemberId(id)
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn all(questions: &mut Questions, now: Instant) -> Vec<MemberId> {
        core::iter::from_fn(|| questions.poll(now))
            .map(|question| question.target)
            .collect()
    }

    #[test]
    fn a_member_is_asked_once_in_300_ms_and_others_do_not_wait_for_it() {
        let mut questions = Questions::new(Timing::default(), [1; 32]);
        for now in [0, 100, 200] {
            questions.plan(id(1), false);
            questions.plan(id(2 + now), false);
            let expected = if now == 0 {
                vec![id(1), id(2)]
            } else {
                vec![id(2 + now)]
            };
            assert_eq!(all(&mut questions, at(now.into())), expected, "{now}");
        }
        assert_eq!(questions.next(), Some(at(300)));
        assert_eq!(all(&mut questions, at(300)), [id(1)]);
    }

    #[test]
    fn made_up_members_cost_32_questions_in_300_ms_and_one_to_everybody_in_a_dead_time() {
        let mut questions = Questions::new(Timing::default(), [1; 32]);
        let mut asked = Vec::new();
        for now in 0..6_000 {
            questions.plan(id(now), false);
            let now = at(now.into());
            asked.extend(
                all(&mut questions, now)
                    .into_iter()
                    .map(|target| (now, target)),
            );
        }
        for (first, next) in asked.iter().zip(&asked[32..]) {
            //= docs/spec/membership.md#query
            //= type=test
            //# A node MUST NOT send more than 32 queries on a link in the same time.
            assert!(next.0 >= first.0 + Duration::from_millis(300));
        }
        let everybody: Vec<_> = asked
            .iter()
            .filter(|(_, target)| *target == MemberId::EVERYBODY)
            .map(|(now, _)| *now)
            .collect();
        //= docs/spec/membership.md#query
        //= type=test
        //# A node that has more than 32 members to query MUST query everybody instead, but not more
        //# often than once in its dead time.
        assert_eq!(everybody.len(), 2, "{everybody:?}");
        assert!(everybody[1] >= everybody[0] + Duration::from_secs(3));
    }

    #[test]
    fn a_question_for_everything_is_not_forgotten_for_one_for_the_time() {
        let mut questions = Questions::new(Timing::default(), [1; 32]);
        questions.plan(id(1), false);
        questions.plan(id(1), true);
        questions.plan(id(2), true);
        questions.plan(MemberId::EVERYBODY, true);
        let asked: Vec<_> = core::iter::from_fn(|| questions.poll(at(0)))
            .map(|question| (question.target, question.anchor))
            .collect();
        assert_eq!(asked, [(MemberId::EVERYBODY, true), (id(1), false)]);
    }
}
