//! Which packets are chosen.

use testbed::report::deciding::{Step, steps};
use testbed::report::traffic::Traffic;

use crate::story::{Tape, at, story};

/// The steps of the fault at 1 s, as `host note` or what they are, with their milliseconds.
fn chosen(tape: Tape) -> Vec<(i64, String)> {
    let mut round = story(20, 100, "").rounds.remove(0);
    round.captured = tape.captured();
    let traffic = Traffic::of(&round.captured);
    let steps = steps(&round, &traffic, &round.marks[1]);
    let told = steps.iter().map(|step| {
        let what = match step {
            Step::Event(_) => "event".to_owned(),
            Step::Silence { host, .. } => format!("{host} silent"),
            Step::Frame { sent, note } => format!("{} {note}", sent.from).trim_end().into(),
        };
        (step.at().ms_since(at(0.0)).round() as i64, what)
    });
    told.collect()
}

fn told(steps: &[(i64, String)]) -> Vec<(i64, &str)> {
    steps
        .iter()
        .map(|(ms, what)| (*ms, what.as_str()))
        .collect()
}

#[test]
fn the_last_hello_and_the_end_of_the_dead_time_frame_a_fault() {
    let mut tape = Tape::default();
    tape.hello(900.0, 0, 1);
    tape.hello(950.0, 0, 2);
    tape.hello(990.0, 1, 3);
    assert_eq!(
        told(&chosen(tape)),
        [
            (950, "s1 the last one"),
            (1000, "event"),
            (1100, "s1 silent")
        ]
    );
}

#[test]
fn who_is_heard_again_within_the_dead_time_was_not_silent() {
    let mut tape = Tape::default();
    tape.hello(950.0, 0, 1);
    tape.hello(1080.0, 0, 2);
    assert_eq!(
        told(&chosen(tape)),
        [(950, "s1 the last one"), (1000, "event")]
    );
}

#[test]
fn the_first_connection_to_another_member_decides() {
    let mut tape = Tape::default();
    tape.syn(800.0, 0, 1, true);
    tape.syn(1010.0, 0, 2, true);
    tape.syn(1020.0, 0, 3, false);
    tape.syn(1200.0, 1, 4, true);
    tape.syn(1300.0, 1, 5, true);
    assert_eq!(
        told(&chosen(tape)),
        [
            (1000, "event"),
            (1020, "client no answer"),
            (1200, "client"),
            (1200, "s2")
        ]
    );
}

#[test]
fn a_port_that_is_used_again_in_the_next_phase_is_another_connection() {
    let mut tape = Tape::default();
    tape.syn(1020.0, 0, 7, false);
    tape.syn(2600.0, 1, 7, true);
    assert_eq!(
        told(&chosen(tape)),
        [(1000, "event"), (1020, "client no answer")]
    );
}

#[test]
fn a_phase_in_which_nothing_is_sent_has_no_steps() {
    assert_eq!(chosen(Tape::default()), []);
}
