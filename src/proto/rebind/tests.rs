//! Every state against every event.

use super::*;

const A: &str = "198.18.0.1:80";
const C: &str = "10.9.0.1:40000";
const U1: &str = "10.9.0.2:80";
const U2: &str = "10.9.0.3:80";
const ISN: u32 = u32::MAX;

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const SYN_ACK: Flags = Flags::SYN.and(Flags::ACK);
const RST_ACK: Flags = Flags::RST.and(Flags::ACK);
const FIN_ACK: Flags = Flags::FIN.and(Flags::ACK);

fn at(seconds: u64) -> Instant {
    Instant::from_millis(seconds * 1_000)
}

fn segment(source: &str, destination: &str, flags: Flags) -> Segment {
    Segment {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
        flags,
        sequence: ISN,
        acknowledgement: ISN.wrapping_add(1),
        length: 0,
    }
}

fn ends(source: &str, destination: &str) -> Verdict {
    Verdict::Rewrite {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

/// A segment for the program comes from `anycast`.
fn incoming(anycast: &str) -> Verdict {
    ends(anycast, C)
}

/// A segment of the program goes to `member`.
fn outgoing(member: &str) -> Verdict {
    ends(C, member)
}

/// The machine in one of its states: nothing known, asked, bound to U1.
fn machine(state: &str) -> Rebind {
    let mut machine = Rebind::new(Class::default());
    if state != "idle" {
        let syn = machine.handle_outgoing(at(0), &segment(C, A, SYN));
        assert_eq!(syn, Verdict::Pass);
    }
    if state == "bound" {
        let syn_ack = machine.handle_incoming(at(0), &segment(U1, C, SYN_ACK), false);
        assert_eq!(syn_ack, incoming(A));
    }
    machine
}

#[test]
fn every_segment_in_every_state() {
    let (pass, to_u1) = (Verdict::Pass, outgoing(U1));
    let (from_a, no_syn) = (incoming(A), Verdict::Drop(Reason::NotASyn));
    // What; sent by us; the verdict in the states idle, asked, bound.
    let table = [
        ("a SYN", segment(C, A, SYN), true, [pass, pass, pass]),
        ("an ACK", segment(C, A, ACK), true, [no_syn, no_syn, to_u1]),
        (
            "a FIN",
            segment(C, A, FIN_ACK),
            true,
            [no_syn, no_syn, to_u1],
        ),
        (
            "a RST",
            segment(C, A, Flags::RST),
            true,
            [no_syn, no_syn, to_u1],
        ),
        ("an ACK elsewhere", segment(C, U1, ACK), true, [pass; 3]),
        (
            "the SYN-ACK",
            segment(U1, C, SYN_ACK),
            false,
            [pass, from_a, from_a],
        ),
        (
            "another's SYN-ACK",
            segment(U2, C, SYN_ACK),
            false,
            [pass, from_a, pass],
        ),
        (
            "a refusal",
            segment(U1, C, RST_ACK),
            false,
            [pass, from_a, from_a],
        ),
        (
            "another's refusal",
            segment(U2, C, RST_ACK),
            false,
            [pass, from_a, pass],
        ),
        ("data", segment(U1, C, ACK), false, [pass, pass, from_a]),
        (
            "another's data",
            segment(U2, C, ACK),
            false,
            [pass, pass, pass],
        ),
        (
            "a bare RST",
            segment(U1, C, Flags::RST),
            false,
            [pass, pass, from_a],
        ),
        ("a SYN in", segment(U1, C, SYN), false, [pass, pass, pass]),
    ];
    for (what, segment, sent, verdicts) in table {
        for (state, expected) in ["idle", "asked", "bound"].into_iter().zip(verdicts) {
            let mut machine = machine(state);
            let verdict = match sent {
                true => machine.handle_outgoing(at(1), &segment),
                false => machine.handle_incoming(at(1), &segment, false),
            };
            //= docs/spec/tcp.md#the-client
            //= type=test
            //# A client MUST send to an anycast address no segment but a SYN without ACK, and those
            //# of a plain connection.
            assert_eq!(verdict, expected, "{what} in state {state}");
        }
    }
}

#[test]
fn a_syn_ack_must_fit_in_ports_address_and_acknowledgement() {
    for (source, destination, off) in [
        ("10.9.0.2:81", C, 0),
        (U1, "10.9.0.1:40001", 0),
        (U1, "10.9.0.9:40000", 0),
        (U1, C, 1),
        (U1, C, u32::MAX),
    ] {
        let mut machine = machine("asked");
        let mut wrong = segment(source, destination, SYN_ACK);
        wrong.acknowledgement = wrong.acknowledgement.wrapping_add(off);
        let verdict = machine.handle_incoming(at(1), &wrong, false);
        assert_eq!(verdict, Verdict::Pass, "{wrong:?}");
        let right = machine.handle_incoming(at(1), &segment(U2, C, SYN_ACK), false);
        assert_eq!(right, incoming(A), "still waiting");
    }
}

#[test]
fn a_syn_with_data_may_be_acknowledged_with_or_without_it() {
    for (acknowledged, expected) in [
        (0, Verdict::Pass),
        (1, incoming(A)),
        (101, incoming(A)),
        (102, Verdict::Pass),
    ] {
        let mut machine = machine("idle");
        let mut syn = segment(C, A, SYN);
        syn.length = 100;
        machine.handle_outgoing(at(0), &syn);
        let mut syn_ack = segment(U1, C, SYN_ACK);
        syn_ack.acknowledgement = ISN.wrapping_add(acknowledged);
        let verdict = machine.handle_incoming(at(0), &syn_ack, false);
        assert_eq!(verdict, expected, "{acknowledged} acknowledged");
    }
}

#[test]
fn a_segment_that_matches_another_connection_fully_is_not_ours() {
    for state in ["idle", "asked", "bound"] {
        let mut machine = machine(state);
        for flags in [SYN_ACK, RST_ACK, ACK] {
            let verdict = machine.handle_incoming(at(1), &segment(U1, C, flags), true);
            assert_eq!(verdict, Verdict::Pass, "{state}");
        }
        assert_eq!(machine.connections().count(), 0, "{state}");
        if state == "asked" {
            let verdict = machine.handle_incoming(at(1), &segment(U2, C, SYN_ACK), false);
            assert_eq!(verdict, incoming(A), "still asked");
        }
    }
}

#[test]
fn an_anycast_address_is_a_peer_only_where_it_was_asked_itself() {
    let (other, drop) = ("198.18.0.2:80", Verdict::Drop(Reason::AnycastSource));
    for flags in [SYN_ACK, RST_ACK, ACK, Flags::RST, SYN] {
        for state in ["idle", "asked", "bound"] {
            let mut machine = machine(state);
            let verdict = machine.handle_incoming(at(1), &segment(other, C, flags), false);
            assert_eq!(verdict, drop, "{flags:?} in {state}");
            let mut wrong = segment(A, C, flags);
            wrong.acknowledgement = 7;
            let verdict = machine.handle_incoming(at(1), &wrong, false);
            assert_eq!(verdict, drop, "{flags:?} in {state}");
        }
    }
    let mut machine = machine("asked");
    let plain = machine.handle_incoming(at(1), &segment(A, C, SYN_ACK), false);
    assert_eq!(plain, Verdict::Pass);
    for flags in [ACK, FIN_ACK, Flags::RST] {
        let verdict = machine.handle_outgoing(at(1), &segment(C, A, flags));
        assert_eq!(verdict, Verdict::Pass);
        let late = machine.handle_incoming(at(1), &segment(U1, C, SYN_ACK), false);
        assert_eq!(late, Verdict::Pass, "and not from A");
    }
    let connection = machine.connections().next().unwrap();
    assert_eq!(connection.member, connection.anycast);
}

#[test]
fn two_anycast_addresses_on_the_same_ports_differ_on_the_wire() {
    let (b, own) = ("198.18.0.2:80", "10.9.0.1:16384");
    for members in [[U1, U2], [U1, U1]] {
        let mut machine = machine("asked");
        let mut syn = segment(C, b, SYN);
        syn.sequence = 7_000;
        for _ in 0..2 {
            let verdict = machine.handle_outgoing(at(0), &syn);
            assert_eq!(verdict, ends(own, b), "repeated, it is the same");
        }
        let mut answer = segment(members[1], own, SYN_ACK);
        answer.acknowledgement = 7_001;
        let verdict = machine.handle_incoming(at(1), &answer, false);
        assert_eq!(verdict, ends(b, C));
        let verdict = machine.handle_incoming(at(1), &segment(members[0], C, SYN_ACK), false);
        assert_eq!(verdict, incoming(A));
        let verdict = machine.handle_outgoing(at(2), &segment(C, A, ACK));
        assert_eq!(verdict, outgoing(members[0]));
        let verdict = machine.handle_outgoing(at(2), &segment(C, b, ACK));
        assert_eq!(verdict, ends(own, members[1]));
    }
}

#[test]
fn a_port_of_the_machines_own_is_one_that_nobody_has() {
    let mut machine = machine("asked");
    // A program has bound one of them itself.
    machine.handle_outgoing(at(0), &segment("10.9.0.1:16384", A, SYN));
    let verdict = machine.handle_outgoing(at(0), &segment(C, "198.18.0.2:80", SYN));
    assert_eq!(verdict, ends("10.9.0.1:16385", "198.18.0.2:80"));
    let program = segment("10.9.0.1:16385", A, SYN);
    let verdict = machine.handle_outgoing(at(0), &program);
    assert_eq!(verdict, ends("10.9.0.1:16386", A), "it comes after");
    for port in 0..100 {
        let to = format!("198.18.1.{port}:80");
        let verdict = machine.handle_outgoing(at(0), &segment(C, &to, SYN));
        assert!(matches!(verdict, Verdict::Rewrite { .. }), "{verdict:?}");
    }
}

#[test]
fn the_same_ports_can_be_used_again_with_another_member() {
    let mut machine = machine("bound");
    machine.handle_outgoing(at(9), &segment(C, A, SYN));
    let late = machine.handle_incoming(at(9), &segment(U1, C, ACK), false);
    assert_eq!(late, Verdict::Pass, "the one before is over");
    machine.handle_incoming(at(9), &segment(U2, C, SYN_ACK), false);
    let verdict = machine.handle_outgoing(at(9), &segment(C, A, ACK));
    assert_eq!(verdict, outgoing(U2));
    assert_eq!(machine.connections().count(), 1);
}

//= docs/spec/tcp.md#the-client
//= type=test
//# A client SHOULD forget a SYN 15 seconds after its last repetition, so that what nobody answers
//# leaves room for others.
#[test]
fn everything_is_forgotten_in_its_time() {
    let seconds = |span: Duration| span.as_secs();
    let cases: [(&str, &[Flags], u64); 4] = [
        ("asked", &[], seconds(ASK_TIME)),
        ("bound", &[], seconds(IDLE_TIME)),
        ("bound", &[FIN_ACK], seconds(IDLE_TIME) + 10),
        ("bound", &[Flags::RST], seconds(CLOSE_TIME) + 10),
    ];
    for (state, sent, expected) in cases {
        let mut machine = machine(state);
        for flags in sent {
            machine.handle_outgoing(at(10), &segment(C, A, *flags));
        }
        let mut ended = at(0);
        while let Some(next) = machine.poll_timeout() {
            assert!(next > ended, "{state}: time goes on");
            ended = next;
            machine.handle_timeout(ended);
        }
        assert_eq!(ended, at(expected), "{state} {sent:?}");
        assert_eq!(machine.connections().count(), 0);
        assert!(machine.flows.is_empty() && machine.timers.is_empty());
    }
}

#[test]
fn the_table_is_bounded_and_reuse_does_not_fill_it() {
    let mut machine = machine("idle");
    let syn = |port: usize| {
        let mut syn = segment(C, A, SYN);
        syn.source
            .set_port(u16::try_from(port % MAX_FLOWS).unwrap());
        syn.destination
            .set_port(u16::try_from(port / MAX_FLOWS).unwrap());
        syn
    };
    for port in (0..MAX_FLOWS).chain(0..10) {
        let verdict = machine.handle_outgoing(at(0), &syn(port));
        assert_eq!(verdict, Verdict::Pass);
    }
    assert_eq!(machine.timers.len(), MAX_FLOWS);
    let verdict = machine.handle_outgoing(at(0), &syn(MAX_FLOWS));
    assert_eq!(verdict, Verdict::Drop(Reason::TableFull));
    machine.handle_timeout(at(15));
    assert_eq!(
        machine.handle_outgoing(at(15), &syn(MAX_FLOWS)),
        Verdict::Pass
    );
}
