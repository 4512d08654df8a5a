//! What golden packets, cut and damaged, do to a host: nothing, except to its counters.

mod net;
mod support;

use std::time::Duration;

use hamp::wire::Message;
use hamp::wire::frame::{self, Frame};
use net::{LINK, Net, V4, V6};
use support::{Random, golden};

/// A member that is a client too, with a peer, in the middle of its life. Nothing is due.
fn host() -> Net {
    let mut net = Net::new(1);
    for number in [1, 2] {
        let host = net.add(number, Duration::from_secs(1), true);
        net.join(host, V4);
        net.join(host, V6);
    }
    net.run_for(Duration::from_secs(5));
    net
}

/// What a host may show of an input: its state, what it sends and does, what it counted.
struct Outcome {
    state: String,
    emitted: usize,
    ignored: u64,
    received: u64,
}

fn outcome(net: &mut Net, frame: &[u8]) -> Outcome {
    net.act(0, |node, now| {
        node.handle_frame(now, LINK, frame, false);
        let mut emitted = 0;
        while node.poll_transmit().is_some() {
            emitted += 1;
        }
        while node.poll_event().is_some() {
            emitted += 1;
        }
        let counters = node.counters();
        Outcome {
            emitted,
            state: known(&format!("{:?}", node.links().collect::<Vec<_>>())),
            ignored: counters.ignored().map(|(_, count)| count).sum(),
            received: counters.received().map(|(_, count)| count).sum(),
        }
    })
}

/// Everything a host knows, except its counters and what it tells people of those it refuses.
fn known(state: &str) -> String {
    let (before, rest) = state.split_once("refused_peers: ").expect("the refused");
    let (_, rest) = rest.split_once("stale: ").expect("what follows them");
    let (middle, rest) = rest.split_once(" due: ").expect("when it is due");
    let (_, after) = rest.split_once(" frames: ").expect("what follows it");
    [before, middle, after].concat()
}

/// Asserts that `frame` changes nothing but a counter, and at most one.
fn changes_nothing(net: &mut Net, what: &str, frame: &[u8]) {
    let before = outcome(net, &[]);
    let after = outcome(net, frame);
    //= docs/spec/membership.md#header
    //= type=test
    //# An ignored message MUST change nothing but a counter, and what people are told of its sender.
    assert_eq!(after.state, before.state, "{what}");
    assert_eq!(after.emitted, 0, "{what}");
    assert_eq!(after.received, before.received, "{what}");
    assert!(after.ignored <= before.ignored + 1, "{what}");
}

fn payload(frame: &[u8]) -> Option<Vec<u8>> {
    match Frame::parse(frame) {
        Ok(Frame::Message { payload, .. }) => Some(payload.to_vec()),
        _ => None,
    }
}

#[test]
fn no_truncated_frame_changes_anything_but_a_counter() {
    let mut net = host();
    for (name, frame) in golden::all() {
        for length in 0..frame.len() {
            changes_nothing(
                &mut net,
                &format!("{name}, {length} bytes"),
                &frame[..length],
            );
        }
    }
}

#[test]
fn no_truncated_message_in_a_whole_frame_changes_anything_but_a_counter() {
    let mut net = host();
    for (name, frame) in golden::all() {
        let Some(payload) = payload(&frame) else {
            continue;
        };
        let mac = frame[6..12].try_into().unwrap();
        for length in 0..payload.len() {
            let cut = frame::message(mac, [10, 15, 46, 1].into(), &payload[..length]);
            changes_nothing(&mut net, &format!("{name}, {length} bytes"), &cut);
        }
    }
}

#[test]
fn no_flipped_bit_changes_anything_but_a_counter() {
    let mut net = host();
    let mut random = Random::new(0x826);
    for (name, frame) in golden::all() {
        let Some(payload) = payload(&frame) else {
            continue;
        };
        // One bit of each byte: all of them are tried in golden.rs, where a try costs nothing.
        for byte in 0..frame.len() {
            let bit = byte * 8 + random.below(8);
            let mut flipped = frame.clone();
            flipped[byte] ^= 1 << (bit % 8);
            // A receiver does not look at the link-layer destination or the flow label; a hello
            // or query does not say which link-layer address it is from.
            let says_mac = name.starts_with("report") || name.starts_with("anchor");
            let whole = matches!(Frame::parse(&flipped), Ok(Frame::Message { payload: p, mac, .. })
                if p == payload && (mac == frame[6..12] || !says_mac));
            if !whole {
                changes_nothing(&mut net, &format!("{name}, bit {bit}"), &flipped);
            }
        }
    }
}

#[test]
fn no_undecodable_damage_changes_anything_but_a_counter() {
    let mut net = host();
    let mut random = Random::new(0x1546);
    for (name, frame) in golden::all() {
        let Some(payload) = payload(&frame) else {
            continue;
        };
        let mac = frame[6..12].try_into().unwrap();
        for _ in 0..200 {
            let damaged = random.damage(&payload);
            if Message::decode(&damaged).is_err() {
                let framed = frame::message(mac, [10, 15, 46, 1].into(), &damaged);
                changes_nothing(&mut net, &format!("{name}: {damaged:02x?}"), &framed);
            }
        }
    }
}

#[test]
fn what_this_version_does_not_know_changes_nothing_but_a_counter() {
    let mut net = host();
    for name in ["unknown-type", "unknown-authentication"] {
        changes_nothing(&mut net, name, &golden::read(name));
    }
}
