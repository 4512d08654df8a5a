//! Golden packets: frames that an independent encoder wrote or that Linux sent, and what becomes
//! of each of them, of every truncation and of every corruption.

#[path = "../fuzz/invariants.rs"]
mod invariants;
mod support;

use core::time::Duration;
use std::net::IpAddr;

use hamp::wire::frame::{self, Frame, Ignored};
use hamp::wire::{
    Authentication, Error, Message, MessageOption, RecordAddress, Scope, Statement, StatementKind,
};
use support::golden;

/// The membership message in a frame.
fn payload(frame: &[u8]) -> (IpAddr, &[u8]) {
    match Frame::parse(frame) {
        Ok(Frame::Message {
            source, payload, ..
        }) => (source, payload),
        other => panic!("not a message: {other:?}"),
    }
}

fn messages() -> impl Iterator<Item = (String, Vec<u8>)> {
    golden::all()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("linux-"))
}

fn statement(name: &str) -> (Statement, Authentication) {
    match Message::decode(payload(&golden::read(name)).1) {
        Ok(Message::Statement {
            statement,
            authentication,
            ..
        }) => (statement, authentication),
        other => panic!("{name} is not a statement: {other:?}"),
    }
}

#[test]
fn every_message_is_encoded_as_the_independent_encoder_wrote_it() {
    for (name, frame) in messages() {
        let (source, payload) = payload(&frame);
        let message = Message::decode(payload).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(message.encode(), payload, "{name}");
        let mac = frame[6..12].try_into().unwrap();
        assert_eq!(frame::message(mac, source, payload), frame, "{name}");
    }
}

#[test]
fn a_report_says_the_same_over_both_families() {
    let (four, six) = (golden::read("report-ipv4"), golden::read("report-ipv6"));
    assert_eq!(payload(&four).1, payload(&six).1);
    let (statement, authentication) = statement("report-ipv4");
    assert_eq!(authentication, Authentication::None);
    assert_eq!(statement.kind, StatementKind::Full { part: 0, parts: 1 });
    assert_eq!(
        (statement.interface, statement.counter, statement.generation),
        (3, 1, 1)
    );
    assert_eq!(statement.epoch, 1_795_176_000_000);
    assert_eq!(statement.ipv4, Some("10.15.46.1".parse().unwrap()));
    assert_eq!(
        statement.ipv6,
        Some("fe80::15:46ff:fe00:1".parse().unwrap())
    );
    assert_eq!(statement.mac, [2, 0x15, 0x46, 0, 0, 1]);
    assert_eq!(statement.dead_time(), Duration::from_secs(3));
    assert_eq!((statement.chain.base, statement.chain.length), (0, 1_024));
    let served: Vec<_> = statement
        .records
        .iter()
        .map(|record| record.prefix())
        .collect();
    assert_eq!(
        served,
        ["2001:2:0:1546::1/128", "198.18.0.1/32"].map(|prefix| prefix.parse().ok())
    );
}

#[test]
fn every_field_of_a_record_is_where_the_specification_puts_it() {
    let (statement, _) = statement("report-all-fields");
    let [half, whole, one] = &statement.records[..] else {
        panic!("{statement:?}")
    };
    assert_eq!(
        whole.address,
        RecordAddress::Prefix("198.18.4.0/24".parse().unwrap())
    );
    assert!(whole.draining);
    assert_eq!((whole.scope, whole.preference), (Scope::Site, 7));
    assert_eq!(
        (whole.lifetime, whole.serial),
        (Duration::from_secs(60), Some(0x2026_1120))
    );
    assert_eq!(half.prefix(), "2001:2:0:1546::8000/113".parse().ok());
    assert_eq!((half.scope, half.preference), (Scope::Global, 65_535));
    assert_eq!((half.draining, half.serial), (false, None));
    assert_eq!(one.prefix(), "198.18.4.0/32".parse().ok());
    let nonce = [0x15, 0x46, 0x15, 0x46, 0x15, 0x46, 0x15, 0x46];
    let mut reversed = nonce;
    reversed.reverse();
    assert_eq!(
        statement.options,
        [MessageOption::Nonces(vec![nonce, reversed])]
    );
}

#[test]
fn deltas_leaves_and_anchors_are_told_apart() {
    assert_eq!(
        statement("report-delta").0.kind,
        StatementKind::Delta { base: 1 }
    );
    let (leave, _) = statement("report-leave");
    assert!(leave.records.len() == 2 && leave.records.iter().all(|record| record.is_withdrawal()));
    let (anchor, _) = statement("anchor");
    assert_eq!(anchor.kind, StatementKind::Anchor);
    assert!(anchor.records.is_empty());
}

#[test]
fn parts_are_counted_in_two_bytes() {
    for (name, part, parts) in [
        ("report-part-1", 0, 2),
        ("report-part-2", 1, 2),
        ("report-part-257", 256, 300),
    ] {
        let kind = StatementKind::Full { part, parts };
        assert_eq!(statement(name).0.kind, kind, "{name}");
    }
}

#[test]
fn a_router_says_that_it_is_one() {
    let (router, _) = statement("report-router");
    assert!(router.router && router.records.is_empty());
    assert!(!statement("report-ipv4").0.router);
}

#[test]
fn what_a_later_version_adds_is_kept_and_not_understood() {
    let (statement, _) = statement("report-later-version");
    let unknown = RecordAddress::Unknown {
        family: 99,
        prefix_len: 16,
        address: b"xyz".to_vec(),
    };
    assert_eq!(statement.records[0].address, unknown);
    assert_eq!(statement.records[0].prefix(), None);
    let option = MessageOption::Unknown {
        kind: 0x4000,
        value: b"later".to_vec(),
    };
    assert_eq!(statement.options, [option]);
    for (name, kind, authentication) in [("unknown-type", 15, 0), ("unknown-authentication", 1, 9)]
    {
        let frame = golden::read(name);
        let Ok(Message::Unknown {
            kind: k,
            authentication: a,
            ..
        }) = Message::decode(payload(&frame).1)
        else {
            panic!("{name} was understood")
        };
        assert_eq!((k, a), (kind, authentication), "{name}");
    }
}

#[test]
fn a_signature_is_the_trailer_and_a_certificate_the_first_option() {
    for name in ["report-signed", "anchor-signed", "query-signed"] {
        let frame = golden::read(name);
        let bytes = payload(&frame).1;
        let (authentication, options) = match Message::decode(bytes) {
            Ok(Message::Statement {
                statement,
                authentication,
                ..
            }) => (authentication, statement.options),
            Ok(Message::Query {
                query,
                authentication,
                ..
            }) => (authentication, query.options),
            other => panic!("{name}: {other:?}"),
        };
        let signature = *bytes.last_chunk().unwrap();
        assert_eq!(
            authentication,
            Authentication::Ed25519 { signature },
            "{name}"
        );
        assert!(
            matches!(options[0], MessageOption::Certificate(_)),
            "{name}"
        );
    }
}

#[test]
fn a_query_names_one_member_or_everybody() {
    for (name, everybody, refresh, anchor, response) in [
        ("query-everybody", true, true, false, 300),
        ("query-anchor", true, false, true, 300),
        ("query-one", false, false, false, 50),
    ] {
        let frame = golden::read(name);
        let Ok(Message::Query { query, .. }) = Message::decode(payload(&frame).1) else {
            panic!("{name} is not a query")
        };
        assert_eq!(
            query.target == hamp::wire::MemberId::EVERYBODY,
            everybody,
            "{name}"
        );
        assert_eq!((query.refresh, query.anchor), (refresh, anchor), "{name}");
        assert_eq!(
            query.max_response,
            Duration::from_millis(response),
            "{name}"
        );
    }
}

#[test]
fn linux_asks_and_answers_as_the_views_expect() {
    let asker = [2, 0x15, 0x46, 0, 0, 0x0a];
    let owner = [2, 0x15, 0x46, 0, 0, 0x0b];
    let group = [0x33, 0x33, 0xff, 0, 0, 0x0b];
    for (name, source, target, destination) in [
        (
            "linux-arp-request",
            "10.15.46.10",
            "10.15.46.11",
            frame::BROADCAST,
        ),
        (
            "linux-neighbour-solicitation",
            "fd15:46::a",
            "fd15:46::b",
            group,
        ),
    ] {
        let request = frame::Request {
            mac: asker,
            source: source.parse().unwrap(),
            target: target.parse().unwrap(),
            destination,
        };
        assert_eq!(
            Frame::parse(&golden::read(name)),
            Ok(Frame::Request(request)),
            "{name}"
        );
        let built = frame::request(asker, request.source, request.target).unwrap();
        assert_eq!(built, golden::read(name), "{name}: we ask as Linux does");
        let answer = name
            .replace("request", "reply")
            .replace("solicitation", "advertisement");
        let built = frame::unicast_answer(&request, owner).unwrap();
        assert_eq!(
            built,
            golden::read(&answer),
            "{answer}: we answer as Linux does"
        );
        // Whether it is still there: the same question to it alone.
        let probe = frame::probe(owner, asker, request.source, request.target).unwrap();
        let asked = Frame::parse(&probe);
        let destination = owner;
        let alone = frame::Request {
            destination,
            ..request
        };
        assert_eq!(asked, Ok(Frame::Request(alone)), "{name} as a probe");
    }
    for (name, mac, target, announcement) in [
        ("linux-arp-reply", owner, "10.15.46.11", false),
        ("linux-neighbour-advertisement", owner, "fd15:46::b", false),
        ("linux-arp-announcement", asker, "10.15.46.10", true),
    ] {
        let target = target.parse().unwrap();
        let answer = frame::Answer {
            mac,
            target,
            stated: Some(mac),
            announcement,
            overrides: true,
        };
        assert_eq!(
            Frame::parse(&golden::read(name)),
            Ok(Frame::Answer(answer)),
            "{name}"
        );
    }
}

#[test]
fn no_truncation_is_taken_for_a_packet() {
    for (name, frame) in golden::all() {
        for length in 0..frame.len() {
            let parsed = Frame::parse(&frame[..length]);
            assert!(parsed.is_err(), "{name} cut to {length} bytes: {parsed:?}");
            invariants::decode(&frame[..length]);
        }
    }
    for (name, frame) in messages() {
        let (_, payload) = payload(&frame);
        for length in 0..payload.len() {
            let decoded = Message::decode(&payload[..length]);
            assert!(
                decoded.is_err(),
                "{name}'s message cut to {length} bytes: {decoded:?}"
            );
        }
    }
}

#[test]
fn no_flipped_bit_reaches_the_decoder() {
    for (name, frame) in messages() {
        let (_, original) = payload(&frame);
        for bit in 0..frame.len() * 8 {
            let mut flipped = frame.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            invariants::decode(&flipped);
            // Where no checksum looks (link-layer addresses, IPv6 flow label) the message is whole.
            if let Ok(Frame::Message { payload, .. }) = Frame::parse(&flipped) {
                assert_eq!(payload, original, "{name}, bit {bit}");
            }
        }
    }
}

#[test]
fn any_damage_under_a_right_checksum_keeps_the_invariants() {
    let mut random = support::Random::new(0x1546);
    for (_, frame) in messages() {
        let (source, original) = payload(&frame);
        for _ in 0..2_000 {
            let damaged = random.damage(original);
            invariants::decode(&damaged);
            let rebuilt = frame::message([2, 0, 0, 0, 0, 9], source, &damaged);
            assert_eq!(payload(&rebuilt).1, damaged);
        }
    }
}

#[test]
fn a_wrong_hop_limit_checksum_or_sender_is_named() {
    let hello = golden::read("hello-ipv4");
    // The TTL is byte 22; its neighbour, the protocol, and the header checksum are 23 to 25.
    let mut routed = hello.clone();
    routed[22] = 254;
    let sum = u16::from_be_bytes([routed[24], routed[25]]) + 0x0100;
    routed[24..26].copy_from_slice(&sum.to_be_bytes());
    assert_eq!(Frame::parse(&routed), Err(Ignored::HopLimit));
    routed[25] ^= 1;
    assert_eq!(Frame::parse(&routed), Err(Ignored::Checksum));

    //= docs/spec/membership.md#transport
    //= type=test
    //# A node MUST ignore a message whose IP or UDP checksum is wrong, or that has no UDP checksum.
    for (name, at) in [("hello-ipv4", 34), ("hello-ipv6", 54)] {
        for wrong in [[0, 0], [0xff, 0xff], [0x12, 0x34]] {
            let mut hello = golden::read(name);
            hello[at + 6..at + 8].copy_from_slice(&wrong);
            assert_eq!(Frame::parse(&hello), Err(Ignored::Checksum), "{name}");
        }
    }

    let mut hello = golden::read("hello-ipv6");
    hello[21] = 254;
    assert_eq!(Frame::parse(&hello), Err(Ignored::HopLimit));

    let mut request = golden::read("linux-arp-request");
    request[6 + 5] ^= 1;
    //= docs/spec/link.md#answers
    //= type=test
    //# A request or an answer whose stated link-layer address is not that of its frame MUST be
    //# ignored.
    assert_eq!(Frame::parse(&request), Err(Ignored::ForeignMac));
}

#[test]
fn a_statement_out_of_range_is_refused() {
    let good = golden::read("anchor");
    let good = payload(&good).1;
    assert!(Message::decode(good).is_ok());
    // Offsets in the message: 20 bytes of header, then the statement.
    let (dead_hellos, interval, base, length) = (20 + 70, 20 + 72, 20 + 92, 20 + 96);
    for (what, at, bytes) in [
        ("no hello is ever missed", dead_hellos, &[0][..]),
        ("hellos without pause", interval, &[0, 0, 0, 9]),
        ("hellos once in an hour", interval, &[0, 0x36, 0xee, 0x80]),
        ("a chain too long to hash", length, &[0, 0, 0x10, 0x01]),
        (
            "a chain beyond the last index",
            base,
            &[0xff, 0xff, 0xff, 0xff],
        ),
    ] {
        let mut bad = good.to_vec();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        //= docs/spec/membership.md#header
        //= type=test
        //# A receiver MUST ignore a message that ends before its fields do, goes on after them, or has a
        //# field outside the range stated here.
        assert!(
            matches!(Message::decode(&bad), Err(Error::Field(_) | Error::Timers)),
            "{what}"
        );
    }
}

#[test]
fn nobody_speaks_as_a_group() {
    for (name, address) in [
        ("linux-arp-request", 28),
        ("linux-neighbour-solicitation", 22),
    ] {
        let mut frame = golden::read(name);
        frame[6] |= 1;
        assert_eq!(
            Frame::parse(&frame),
            Err(Ignored::Malformed),
            "{name}: link-layer source"
        );

        let mut frame = golden::read(name);
        frame[address] = if address == 28 { 224 } else { 0xff };
        // The solicitation's checksum (bytes 56, 57) follows its changed source.
        if address == 22 {
            let sum = u16::from_be_bytes([frame[56], frame[57]]) - 0x0200;
            frame[56..58].copy_from_slice(&sum.to_be_bytes());
        }
        assert_eq!(
            Frame::parse(&frame),
            Err(Ignored::Malformed),
            "{name}: source"
        );
    }
}

#[test]
fn the_fuzz_corpus_holds_the_golden_packets_and_keeps_the_invariants() {
    for (name, frame) in golden::all() {
        golden::seed("decode", &format!("{name}.frame"), &frame);
        // A step of the other target: what it does, a length, and the bytes (see the invariants).
        let step = |kind: u8, bytes: &[u8]| {
            let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
            [&[kind], &length[..], bytes].concat()
        };
        let join = [step(7, &[0]), step(7, &[2]), step(6, &[0x0b, 0xb8])].concat();
        let pause = step(6, &[0x03, 0xe8]);
        if let Ok(Frame::Message {
            payload, source, ..
        }) = Frame::parse(&frame)
        {
            golden::seed("decode", &format!("{name}.message"), payload);
            let kind = if source.is_ipv4() { 2 } else { 3 };
            let said = step(kind, payload);
            golden::seed("node", &name, &[&join, &said[..], &pause, &said].concat());
            // The same words from somebody with a key: after ours, before and after a question.
            let vouched = [step(kind, payload), pause.clone(), step(kind + 9, payload)].concat();
            golden::seed(
                "signed",
                &name,
                &[&join, &vouched[..], &pause, &vouched].concat(),
            );
        } else {
            let seen = step(0, &frame);
            golden::seed("node", &name, &[&join, &seen[..], &pause, &seen].concat());
        }
    }
    for name in [
        "certificate-member",
        "certificate-router",
        "certificate-hosts",
        "revocation-list",
    ] {
        golden::seed("trust", name, &golden::trust(name));
    }
    for (target, holds) in [
        ("decode", invariants::decode as fn(&[u8])),
        ("trust", invariants::trust),
        ("node", invariants::node),
        ("signed", invariants::signed),
    ] {
        for entry in std::fs::read_dir(golden::corpus(target)).unwrap() {
            holds(&std::fs::read(entry.unwrap().path()).unwrap());
        }
    }
}

#[test]
fn a_name_is_for_people_alone() {
    let (named, _) = statement("report-named");
    let name = MessageOption::name(&named.options).unwrap();
    assert_eq!(name.as_str(), "größe-1");
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver MUST NOT use a name but to show it to people: it proves nothing, and two members
    //# may state the same.
    let (nameless, _) = statement("report-ipv4");
    assert_eq!(
        (named.digest, &named.records),
        (nameless.digest, &nameless.records)
    );
}
