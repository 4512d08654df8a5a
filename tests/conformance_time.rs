//! The member's time (docs/spec/membership.md): a member and a receiver that enforces, and an
//! attacker between them who holds back, drops and replays what they say.

use core::net::Ipv4Addr;

use hamp::addr::Class;
use hamp::proto::member::{Identity, Member, Speech};
use hamp::proto::random::Random;
use hamp::proto::view::{Limits, Question, Source, View};
use hamp::proto::{Reason, Timing};
use hamp::time::{Duration, Instant};
use hamp::wire::{
    MemberId, MessageOption, Query, Record, RecordAddress, Scope, Statement, StatementKind,
};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
const ID: MemberId = MemberId([1; 16]);
const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SOURCE: Source = Source {
    mac: MAC,
    address: core::net::IpAddr::V4(ADDRESS),
};
/// The dead time of both.
const DEAD: Duration = Duration::from_secs(3);

/// A member that was born at zero and serves one address.
fn member(epoch: u64) -> Member {
    let identity = Identity {
        id: ID,
        interface: 1,
        mac: MAC,
        ipv4: Some(ADDRESS),
        ipv6: None,
        mtu: 1500,
        sealing: 0,
    };
    let mut member = Member::new(identity, Timing::default(), [7; 32], epoch);
    let record = Record {
        address: RecordAddress::Prefix("198.18.0.1/32".parse().unwrap()),
        draining: false,
        scope: Scope::Global,
        preference: 100,
        lifetime: DEAD,
        serial: None,
    };
    assert!(member.join(Instant::ZERO, record));
    member
}

fn receiver(secret: u8) -> View {
    let mut view = View::new(
        Class::default(),
        Limits::default(),
        Timing::default(),
        [secret; 32],
    );
    view.set_strict(true);
    view
}

/// The two, and all that the member ever said, with when.
struct Pair {
    now: Instant,
    member: Member,
    view: View,
    said: Vec<(Instant, Speech)>,
    questions: Vec<(Instant, Question)>,
    random: Random,
}

impl Pair {
    fn new() -> Self {
        Self {
            now: Instant::ZERO,
            member: member(1),
            view: receiver(9),
            said: Vec::new(),
            questions: Vec::new(),
            random: Random::new(4),
        }
    }

    /// Both go on for `span` and hear each other, as far as `deliver` and `asked` let them.
    fn run(&mut self, span: Duration, deliver: bool, asked: bool) {
        let until = self.now + span;
        loop {
            let next = [self.member.poll_timeout(), self.view.poll_timeout()];
            let Some(next) = next.into_iter().flatten().min().filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(next);
            self.step(deliver, asked);
        }
    }

    fn step(&mut self, deliver: bool, asked: bool) {
        self.member.handle_timeout(self.now, &mut self.random);
        self.view.handle_timeout(self.now);
        while let Some(question) = self.view.poll_question(self.now) {
            self.questions.push((self.now, question));
            if asked {
                self.ask(question);
            }
        }
        while let Some(speech) = self.member.poll_transmit() {
            if deliver {
                // What is refused here is asserted by those who refuse something.
                let _ = hear(&mut self.view, self.now, &speech);
            }
            self.said.push((self.now, speech));
        }
        while self.member.poll_event().is_some() || self.view.poll_event().is_some() {}
    }

    /// The member hears `question`.
    fn ask(&mut self, question: Question) {
        let query = Query {
            epoch: 1,
            counter: 1,
            target: question.target,
            nonce: question.nonce,
            max_response: 100 * MILLI,
            refresh: false,
            anchor: question.anchor,
            interval: Duration::ZERO,
            options: Vec::new(),
        };
        let _ = self
            .member
            .handle_query(self.now, &query, true, &mut self.random);
    }

    fn known(&self) -> bool {
        self.view
            .get(ID)
            .is_some_and(|peer| !peer.records().is_empty())
    }

    /// Lets the member go on until the receiver has forgotten it, feeding it `held` then and there.
    fn die(&mut self, died: Instant, mut feed: impl FnMut(&mut View, Instant)) -> Duration {
        while self.known() {
            self.now += MILLI;
            feed(&mut self.view, self.now);
            self.view.handle_timeout(self.now);
            // Questions are asked, and nobody answers.
            let _ = self.view.poll_question(self.now);
            assert!(self.now < died + 100 * DEAD, "it lives for ever");
        }
        self.now.saturating_duration_since(died)
    }
}

fn hear(view: &mut View, now: Instant, speech: &Speech) -> Result<(), Reason> {
    match speech {
        Speech::Statement(statement) => view.handle_statement(now, SOURCE, ID, statement, None),
        Speech::Hello(hello) => view.handle_hello(now, SOURCE, ID, hello),
    }
}

fn statement(speech: &Speech) -> Option<&Statement> {
    match speech {
        Speech::Statement(statement) => Some(statement),
        Speech::Hello(_) => None,
    }
}

#[test]
fn an_unknown_epoch_is_asked_before_it_is_believed() {
    let mut pair = Pair::new();
    // The member's first report comes while nothing of the receiver's has reached the member.
    pair.run(SECOND, true, false);
    let (_, first) = pair
        .said
        .iter()
        .find(|(_, s)| statement(s).is_some())
        .unwrap();
    //= docs/spec/membership.md#proof-of-time
    //= type=test
    //# In enforce mode a receiver MUST NOT believe a statement of an epoch that it does not know, or
    //# change anything for it, unless it carries a nonce of the receiver; it MUST query the member
    //# instead.
    assert_eq!(
        hear(&mut pair.view, pair.now, &first.clone()),
        Err(Reason::Unchallenged)
    );
    assert!(!pair.known());
    let asked = pair.questions.last().unwrap().1;
    assert!(asked.target == ID || asked.target == MemberId::EVERYBODY);
    pair.run(SECOND, true, true);
    assert!(pair.known());
}

#[test]
fn a_recorded_answer_is_no_answer_to_somebody_who_restarted() {
    let mut pair = Pair::new();
    pair.run(5 * SECOND, true, true);
    assert!(pair.known());
    // The receiver restarts; everything that the member ever said is played to it.
    pair.view = receiver(10);
    for (_, speech) in &pair.said {
        assert!(hear(&mut pair.view, pair.now, speech).is_err());
        let _ = pair.view.poll_question(pair.now);
    }
    assert!(!pair.known());
}

#[test]
fn nonces_depend_on_a_secret() {
    let draw = |secret| {
        let mut view = receiver(secret);
        let mut now = Instant::ZERO;
        let mut draw = || {
            now += SECOND;
            view.ask(ID);
            view.poll_question(now).unwrap().nonce
        };
        [draw(), draw(), draw()]
    };
    //= docs/spec/membership.md#proof-of-time
    //= type=test
    //# A nonce MUST NOT be foretold by anybody else: whoever could would collect a member's answers
    //# in advance.
    let all = [draw(1), draw(2)].concat();
    let different: std::collections::BTreeSet<_> = all.iter().collect();
    assert_eq!(different.len(), all.len());
}

#[test]
fn an_answer_counts_for_three_quarters_of_the_dead_time() {
    for (late, believed) in [(2_250 * MILLI, true), (2_251 * MILLI, false)] {
        let mut pair = Pair::new();
        pair.run(SECOND, false, false);
        pair.view.ask(ID);
        let question = pair.view.poll_question(pair.now).unwrap();
        let asked = pair.now;
        pair.ask(question);
        pair.run(SECOND, false, false);
        let nonces = MessageOption::Nonces(vec![question.nonce]);
        let answer = pair.said.iter().find_map(|(_, speech)| {
            statement(speech).filter(|statement| statement.options.contains(&nonces))
        });
        let heard = pair
            .view
            .handle_statement(asked + late, SOURCE, ID, answer.unwrap(), None);
        //= docs/spec/membership.md#proof-of-time
        //= type=test
        //# A receiver MUST NOT take a nonce for its own that it sent more than three quarters of the
        //# member's dead time ago.
        assert_eq!(heard.is_ok(), believed, "{heard:?}");
    }
}

#[test]
fn a_statement_from_another_time_is_refused() {
    let mut pair = Pair::new();
    pair.run(10 * SECOND, true, true);
    let newest = pair
        .said
        .iter()
        .rev()
        .find_map(|(_, s)| statement(s))
        .unwrap();
    let base = newest.clone();
    let say = |pair: &mut Pair, time: Duration| {
        let mut statement = base.clone();
        statement.kind = StatementKind::Anchor;
        statement.records.clear();
        statement.options.clear();
        statement.counter += 1 + u32::try_from(time.as_millis()).unwrap();
        statement.time = time;
        hear(&mut pair.view, pair.now, &Speech::Statement(statement))
    };
    //= docs/spec/membership.md#proof-of-time
    //= type=test
    //# In enforce mode a receiver MUST refuse a statement whose time is off the member's time by more
    //# than the dead time and the drift of the clocks, and query the member.
    for (time, expected) in [
        (
            10 * SECOND - DEAD - 10 * MILLI,
            Err(Reason::StatementBehind),
        ),
        (10 * SECOND - DEAD + 10 * MILLI, Ok(())),
        (10 * SECOND + DEAD - 10 * MILLI, Ok(())),
        (10 * SECOND + DEAD + 10 * MILLI, Err(Reason::StatementAhead)),
    ] {
        assert_eq!(say(&mut pair, time), expected, "{time:?}");
    }
    pair.questions.clear();
    pair.run(SECOND, false, false);
    assert_eq!(pair.questions.len(), 1);
}

#[test]
fn a_late_sign_of_life_counts_from_when_it_was_made() {
    let mut pair = Pair::new();
    pair.run(5_200 * MILLI, true, true);
    let from = pair.said.len();
    // The hello of 6 s is held back, and is the last.
    pair.run(1_500 * MILLI, false, true);
    let held = pair.said.split_off(from);
    let died = pair.now;
    pair.now += 2 * SECOND;
    for (_, speech) in &held {
        assert_eq!(hear(&mut pair.view, pair.now, speech), Ok(()));
    }
    let lived = pair.die(died, |_, _| {});
    //= docs/spec/membership.md#proof-of-time
    //= type=test
    //# A member whose time is proved lives for a dead time from when it made its last sign of life,
    //# however late that came.
    let made = Duration::from_millis(6_000) + DEAD;
    let dead = pair.now.saturating_duration_since(Instant::ZERO);
    assert!(
        dead >= made && dead <= made + 300 * MILLI,
        "{dead:?}, {lived:?}"
    );
}

/// The attacker holds back answers as long as they count, lets the clocks' allowance grow as far
/// as it may, and deals out the hellos one by one, each at the last moment that it is believed.
#[test]
fn a_dead_member_is_forgotten_within_two_dead_times_whatever_is_withheld() {
    let mut longest = Duration::ZERO;
    for held_back in [Duration::ZERO, SECOND, 2 * SECOND, 2_249 * MILLI] {
        for age in [SECOND, 700 * SECOND, 1_490 * SECOND] {
            let mut pair = Pair::new();
            pair.run(20 * SECOND, false, false);
            // One answer, as late as it counts.
            pair.view.ask(ID);
            let question = pair.view.poll_question(pair.now).unwrap();
            pair.ask(question);
            let from = pair.said.len();
            pair.run(held_back.max(200 * MILLI), false, false);
            for (_, speech) in &pair.said[from..] {
                let _ = hear(&mut pair.view, pair.now, speech);
            }
            assert!(pair.known(), "{held_back:?}");
            // From then on hellos pass, and no answer.
            pair.run(age, true, false);
            assert!(pair.known(), "{held_back:?} {age:?}");
            // The last hellos are held back; then the member dies, and they are dealt one by one,
            // the oldest first, each just before the receiver would forget the member.
            let from = pair.said.len();
            pair.run(2 * SECOND, false, false);
            assert!(pair.known(), "{held_back:?} {age:?}");
            let died = pair.now;
            let held: Vec<_> = pair.said[from..].to_vec();
            let mut held = held.iter();
            let lived = pair.die(died, |view, now| {
                let dies = view.get(ID).map(hamp::proto::view::Peer::dies_at);
                if dies.is_some_and(|dies| dies <= now + MILLI)
                    && let Some((_, speech)) = held.next()
                {
                    let _ = hear(view, now, speech);
                }
            });
            longest = longest.max(lived);
            assert!(lived <= 2 * DEAD, "{held_back:?} {age:?}: {lived:?}");
        }
    }
    // The attack is worth something, or the test would be worth nothing.
    assert!(longest > DEAD * 3 / 2, "{longest:?}");
}

#[test]
fn a_member_is_asked_for_its_time_before_its_proof_is_stale() {
    let mut pair = Pair::new();
    pair.run(2 * SECOND, true, true);
    assert!(pair.known());
    pair.questions.clear();
    pair.run(740 * SECOND, true, false);
    assert_eq!(pair.questions, []);
    pair.run(20 * SECOND, true, false);
    //= docs/spec/membership.md#proof-of-time
    //= type=test
    //# In enforce mode a receiver MUST query a member whose time it was last told, in an answer, 250
    //# dead times of the member ago.
    assert!(pair.questions.first().is_some_and(|(_, q)| q.anchor));
    pair.run(730 * SECOND, true, false);
    assert!(pair.known());
    pair.run(20 * SECOND, true, false);
    //= docs/spec/membership.md#proof-of-time
    //= type=test
    //# In enforce mode a receiver MUST refuse the hellos of a member that has not answered a question
    //# of it for 500 dead times of the member.
    assert!(!pair.known());
}

#[test]
fn one_that_begins_to_enforce_asks_everybody_and_believes_who_answers() {
    for answered in [true, false] {
        let mut pair = Pair::new();
        pair.view.set_strict(false);
        pair.run(5 * SECOND, true, true);
        assert!(pair.known());
        pair.questions.clear();
        pair.view.set_strict(true);
        pair.run(10 * SECOND, true, answered);
        //= docs/spec/membership.md#proof-of-time
        //= type=test
        //# A receiver that begins to enforce MUST query everybody, and refuse the hellos of those that
        //# have not answered.
        assert_eq!(pair.questions[0].1.target, MemberId::EVERYBODY);
        assert_eq!(pair.known(), answered);
    }
}
