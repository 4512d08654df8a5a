//! docs/spec/membership.md, sentence by sentence, where first_link_virtual.rs does not show it
//! (R14).

mod net;
mod support;

use std::net::IpAddr;
use std::time::Duration;

use hamp::addr::Prefix;
use hamp::node::{Change, Config, Event, JoinOptions, Limits, Node};
use hamp::proto::Reason;
use hamp::proto::member::LISTEN;
use hamp::proto::record_set::RecordSet;
use hamp::time::Instant;
use hamp::wire::frame::{self, Frame};
use hamp::wire::{
    Authentication, Hello, MemberId, Message, MessageOption, Query, Record, RecordAddress, Scope,
    Statement, StatementKind,
};
use net::{LATENCY, LINK, Net, V4, V6, host_state, ip};
use support::golden;
use testbed::Impairment;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

/// A member (host 0) and one that hears it (host 1), settled, and off the hellos' beat.
fn pair() -> Net {
    let mut net = Net::new(1);
    for number in [1, 2] {
        let host = net.add(number, SECOND, false);
        net.join(host, V4);
        net.join(host, V6);
    }
    net.run_for(5 * SECOND + 300 * MILLI);
    net
}

/// Says `message` as if host 0 did.
fn say(net: &mut Net, message: &Message) {
    let state = net.state(0);
    let frame = frame::message(state.mac, state.ipv4.unwrap().into(), &message.encode());
    net.inject(&frame);
    net.run_for(LATENCY + LATENCY);
}

/// The last statement that host 0 made, ready to be said again with changes.
fn last_statement(net: &Net) -> (MemberId, Statement) {
    let messages = net.messages_since(Instant::ZERO);
    let statement = |(_, host, message): &(Instant, usize, Message)| match message {
        Message::Statement {
            member, statement, ..
        } if *host == 0 => Some((*member, statement.clone())),
        _ => None,
    };
    messages.iter().rev().find_map(statement).unwrap()
}

fn as_message(member: MemberId, statement: Statement) -> Message {
    Message::Statement {
        member,
        statement,
        authentication: Authentication::None,
    }
}

/// The hellos that host 0 sent since `since`.
fn hellos(net: &Net, since: Instant) -> Vec<(Instant, MemberId, Hello)> {
    let messages = net.messages_since(since);
    let hello = |(at, host, message): &(Instant, usize, Message)| match message {
        Message::Hello { member, hello } if *host == 0 => Some((*at, *member, *hello)),
        _ => None,
    };
    messages.iter().filter_map(hello).collect()
}

/// Queries of host 1 since `since`, one per copy.
fn queries(net: &Net, since: Instant) -> Vec<(Instant, MemberId)> {
    let messages = net.messages_since(since);
    let query = |(at, host, message): &(Instant, usize, Message)| match message {
        Message::Query { query, .. } if *host == 1 => Some((*at, query.target)),
        _ => None,
    };
    messages.iter().filter_map(query).collect()
}

/// What host 1 knows that host 0 serves.
fn known(net: &Net) -> RecordSet {
    let link = net.link(1);
    let mac = net.state(0).mac;
    let peer = link.peers().find(|(_, peer)| peer.mac() == mac);
    peer.map(|(_, peer)| peer.records().clone())
        .unwrap_or_default()
}

fn record(prefix: &str) -> Record {
    Record {
        address: RecordAddress::Prefix(prefix.parse().unwrap()),
        draining: false,
        scope: Scope::Link,
        preference: 100,
        lifetime: 3 * SECOND,
        serial: None,
    }
}

/// Makes `statement` the next of its member: a generation later, with these records.
fn next(mut statement: Statement, kind: StatementKind, records: Vec<Record>) -> Statement {
    statement.counter += 1;
    statement.generation += 1;
    statement.digest = records.iter().cloned().collect::<RecordSet>().digest();
    statement.kind = kind;
    statement.records = records;
    statement
}

const FULL: StatementKind = StatementKind::Full { part: 0, parts: 1 };

// ===== Transport =====

#[test]
fn every_message_goes_out_once_per_family_with_ttl_255() {
    let mut net = pair();
    let since = net.now();
    net.leave(0, V4);
    net.run_for(5 * SECOND);
    let mut copies = std::collections::BTreeMap::<(Instant, Vec<u8>), Vec<bool>>::new();
    for sent in net.sent_since(since) {
        let Frame::Message {
            source, payload, ..
        } = sent.parsed()
        else {
            continue;
        };
        //= docs/spec/membership.md#transport
        //= type=test
        //# A node MUST send every message with a TTL or hop limit of 255.
        let hop_limit = if source.is_ipv4() {
            sent.frame[14 + 8]
        } else {
            sent.frame[14 + 7]
        };
        assert_eq!(hop_limit, 255);
        let own = net.state(sent.host);
        assert!([own.ipv4.unwrap().into(), own.ipv6.unwrap().into()].contains(&source));
        copies
            .entry((sent.at, payload.to_vec()))
            .or_default()
            .push(source.is_ipv4());
    }
    assert!(copies.len() > 10);
    //= docs/spec/membership.md#transport
    //= type=test
    //# A sender MUST send each message once on each address family that it has an address of on the
    //# link.
    assert!(
        copies.values().all(|families| families == &[true, false]),
        "{copies:?}"
    );
}

#[test]
fn a_host_of_one_family_says_everything_once() {
    let mut net = pair();
    let host = net.add(9, SECOND, false);
    net.drop_ipv6(host);
    net.run_for(MILLI);
    let since = net.now();
    net.join(host, V4);
    net.run_for(3 * SECOND);
    let mut own = net.sent_since(since);
    own.retain(|sent| sent.host == host);
    assert!(own.len() > 3);
    assert!(own.iter().all(|sent| {
        matches!(sent.parsed(), Frame::Message { source, .. } if source.is_ipv4())
    }));
}

#[test]
fn the_second_copy_changes_nothing() {
    let mut net = pair();
    let (before, since) = (net.ignored(1, Reason::Duplicate), net.now());
    net.run_for(10 * SECOND);
    //= docs/spec/membership.md#transport
    //= type=test
    //# A receiver MUST ignore the second copy of a message.
    assert_eq!(net.ignored(1, Reason::Duplicate), before + 10);
    assert_eq!(hellos(&net, since).len(), 20);
}

#[test]
fn more_records_than_a_datagram_holds_arrive_in_parts() {
    let mut net = pair();
    let since = net.now();
    for low in 1..=200 {
        net.join(0, &format!("198.18.7.{low}"));
    }
    net.run_for(5 * SECOND);
    //= docs/spec/membership.md#transport
    //= type=test
    //# A message MUST NOT be fragmented; records that do not fit one datagram are split over several.
    for sent in net.sent_since(since) {
        assert!(sent.frame.len() <= 14 + 1500);
        let ipv4 = sent.frame[12..14] == [8, 0];
        assert!(
            !ipv4 || sent.frame[20] & 0xe0 == 0x40,
            "don't fragment, no more fragments"
        );
    }
    assert_eq!(known(&net).len(), 202);
}

/// A report of thousands of records leaves time to take it in.
#[test]
fn a_long_report_goes_out_in_bursts() {
    let mut net = Net::new(7);
    let host = net.add(1, SECOND, false);
    net.add(2, SECOND, false);
    for number in 0..4_000 {
        net.join(host, &format!("2001:2:0:1546::{number:x}"));
    }
    net.run_for(3 * SECOND);
    assert_eq!(known(&net).len(), 4_000);
    let mut sent: Vec<_> = net
        .messages_since(Instant::ZERO)
        .into_iter()
        .filter_map(|(at, _, message)| match message {
            Message::Statement { statement, .. } => Some((at, statement)),
            _ => None,
        })
        .collect();
    sent.dedup();
    let StatementKind::Full { part: 0, parts } = sent[0].1.kind else {
        panic!("{:?}", sent[0])
    };
    assert!(parts > 64);
    sent.truncate(parts.into());
    for (first, next) in sent.iter().zip(&sent[64..]) {
        //= docs/spec/membership.md#transport
        //= type=test
        //# A sender MUST NOT send more than 64 messages of a full report at once, nor the next 64
        //# within 10 ms.
        assert!(next.0 >= first.0 + 10 * MILLI);
    }
}

/// What a lost part keeps from a receiver is asked for, and arrives.
#[test]
fn a_report_whose_part_is_lost_is_asked_for() {
    let node = |number: u8| {
        let config = hamp::node::Config::default();
        let mut node = Node::new(config, [number; 32], 1);
        node.handle_link(Instant::ZERO, LINK, Some(host_state(number)));
        node
    };
    let (mut member, mut receiver) = (node(1), node(2));
    for low in 0..=255 {
        let prefix = format!("198.18.7.{low}/32").parse().unwrap();
        member
            .join(Instant::ZERO, prefix, JoinOptions::default())
            .unwrap();
    }
    let (mut now, mut last_part, mut asked) = (Instant::ZERO, None, None);
    while now < Instant::ZERO + 5 * SECOND && asked.is_none() {
        now += MILLI;
        for node in [&mut member, &mut receiver] {
            node.handle_timeout(now);
            while node.poll_event().is_some() {}
        }
        // The second part is lost, and so is its repetition.
        while let Some(sent) = member.poll_transmit() {
            let Ok(Frame::Message { payload, .. }) = Frame::parse(&sent.frame) else {
                continue;
            };
            if let Message::Statement { statement, .. } = Message::decode(payload).unwrap()
                && let StatementKind::Full { part, parts } = statement.kind
            {
                assert!(parts > 1);
                if part == 1 {
                    continue;
                }
                last_part = Some(now);
            }
            receiver.handle_frame(now, LINK, &sent.frame, false);
        }
        while let Some(sent) = receiver.poll_transmit() {
            asked = last_part.map(|_| now).or(asked);
            member.handle_frame(now, LINK, &sent.frame, false);
        }
    }
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver that got a part of a report and none for 300 ms since, but not all of them, MUST
    //# query the member.
    assert_eq!(asked, last_part.map(|last| last + 300 * MILLI));
    let known = |node: &Node| {
        let (_, link) = node.links().next().unwrap();
        link.peers()
            .map(|(_, peer)| peer.records().len())
            .sum::<usize>()
    };
    assert_eq!(known(&receiver), 0);
    while now < Instant::ZERO + 10 * SECOND {
        now += MILLI;
        member.handle_timeout(now);
        receiver.handle_timeout(now);
        while let Some(sent) = member.poll_transmit() {
            receiver.handle_frame(now, LINK, &sent.frame, false);
        }
    }
    assert_eq!(known(&receiver), 256);
}

// ===== Header =====

#[test]
fn what_is_not_a_message_of_ours_is_ignored_with_its_reason() {
    let mut net = pair();
    let (id, statement) = last_statement(&net);
    let good = as_message(id, next(statement, FULL, vec![record("198.18.0.9/32")])).encode();
    let change = |at: usize, value: u8| {
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes
    };
    let own = match net
        .messages_since(Instant::ZERO)
        .iter()
        .find(|(_, host, _)| *host == 1)
    {
        Some((_, _, message)) => message.sender(),
        None => panic!("host 1 never spoke"),
    };
    let mut as_ourselves = good.clone();
    let mine = net.state(1).mac;
    as_ourselves[4..20].copy_from_slice(&own.0);
    let state = net.state(0);
    for (what, bytes, reason) in [
        //= docs/spec/membership.md#header
        //= type=test
        //# A receiver MUST ignore a message of another version.
        ("version 2", change(0, 0x21), Reason::UnknownMessage),
        //= docs/spec/membership.md#header
        //= type=test
        //# A receiver MUST ignore a message whose length field is not the length of the datagram's
        //# payload.
        (
            "a length",
            change(3, good[3].wrapping_add(1)),
            Reason::MalformedMessage,
        ),
        //= docs/spec/membership.md#header
        //= type=test
        //# A receiver MUST ignore a message of an unknown type or authentication type.
        ("type 9", change(0, 0x19), Reason::UnknownMessage),
        ("authentication 7", change(1, 7), Reason::UnknownMessage),
        //= docs/spec/membership.md#header
        //= type=test
        //# A receiver MUST ignore a message that carries its own member id and comes from its own
        //# link-layer address.
        ("our own id", as_ourselves, Reason::OwnId),
    ] {
        let (before, records) = (net.ignored(1, reason), known(&net));
        let mac = match reason {
            Reason::OwnId => mine,
            _ => state.mac,
        };
        net.inject(&frame::message(mac, state.ipv4.unwrap().into(), &bytes));
        net.run_for(LATENCY + LATENCY);
        assert_eq!(net.ignored(1, reason), before + 1, "{what}");
        assert_eq!(known(&net), records, "{what}");
    }
}

#[test]
fn a_message_from_off_the_link_is_ignored() {
    let mut net = pair();
    let mut routed = golden::read("hello-ipv6");
    routed[14 + 7] = 254;
    net.inject(&routed);
    net.run_for(SECOND);
    //= docs/spec/membership.md#transport
    //= type=test
    //# A node MUST ignore a message whose TTL or hop limit is not 255.
    assert_eq!(net.ignored(1, Reason::HopLimit), 1);
}

// ===== Statement =====

#[test]
fn an_option_of_a_later_version_does_not_hide_the_records() {
    let mut net = pair();
    let (id, statement) = last_statement(&net);
    let mut statement = next(statement, FULL, vec![record("198.18.0.9/32")]);
    let value = b"later".to_vec();
    statement.options.push(MessageOption::Unknown {
        kind: 0x4000,
        value,
    });
    say(&mut net, &as_message(id, statement));
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver MUST keep the meaning of a statement that carries options that it does not know, and
    //# ignore those options.
    assert!(known(&net).get(&"198.18.0.9/32".parse().unwrap()).is_some());
}

#[test]
fn a_statement_is_refused_when_it_is_not_its_senders() {
    let mut net = pair();
    let (id, statement) = last_statement(&net);
    let forged = as_message(id, next(statement, FULL, vec![record("198.18.0.9/32")])).encode();
    let (own, other) = (net.state(0), host_state(77));
    let before = known(&net);
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver MUST refuse a statement whose link-layer or IP source is not one of the addresses it
    //# states.
    for (mac, source) in [
        (other.mac, own.ipv4.unwrap().into()),
        (own.mac, other.ipv4.unwrap().into()),
        (own.mac, ip("fd00::77")),
    ] {
        let refused = net.ignored(1, Reason::ForeignSource);
        net.inject(&frame::message(mac, source, &forged));
        net.run_for(LATENCY + LATENCY);
        assert_eq!(net.ignored(1, Reason::ForeignSource), refused + 1);
        assert_eq!(known(&net), before);
    }
}

#[test]
fn a_statement_for_another_link_is_refused_though_its_member_made_it() {
    let mut net = pair();
    let (id, statement) = last_statement(&net);
    let mut relayed = next(statement, FULL, vec![record("198.18.0.9/32")]);
    relayed.interface += 1;
    let (other, before) = (host_state(77), known(&net));
    (relayed.mac, relayed.ipv4, relayed.ipv6) = (other.mac, other.ipv4, other.ipv6);
    let refused = net.ignored(1, Reason::ForeignSource);
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver MUST refuse a statement that has the epoch of a member that it knows, but another
    //# interface: it was made for another link.
    let frame = as_message(id, relayed).encode();
    let source = other.ipv4.unwrap().into();
    net.inject(&frame::message(other.mac, source, &frame));
    net.run_for(LATENCY + LATENCY);
    assert_eq!(net.ignored(1, Reason::ForeignSource), refused + 1);
    assert_eq!(known(&net), before);
}

#[test]
fn a_statement_is_refused_with_an_address_of_no_other_host() {
    let mut net = pair();
    let (id, statement) = last_statement(&net);
    let (before, own) = (known(&net), net.state(1));
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver MUST refuse a statement that states an address which no other host of the link can
    //# have: a loopback, group or broadcast address, one of the class, or one of its own.
    let ipv4 = [
        "127.0.0.1",
        "0.0.0.1",
        "224.0.0.5",
        "255.255.255.255",
        "198.18.0.1",
    ]
    .map(|text| (text.parse().ok(), statement.ipv6));
    let ipv6 = ["::1", "ff02::1", "::ffff:192.0.2.1", "2001:2:0:1546::1"]
        .map(|text| (statement.ipv4, text.parse().ok()));
    let mine = [(own.ipv4, statement.ipv6), (statement.ipv4, own.ipv6)];
    let mac = net.state(0).mac;
    for (ipv4, ipv6) in ipv4.into_iter().chain(ipv6).chain(mine) {
        // It comes by the family whose address is good, and by the other one too.
        let mut forged = next(statement.clone(), FULL, vec![record("198.18.0.9/32")]);
        (forged.ipv4, forged.ipv6) = (ipv4, ipv6);
        let forged = as_message(id, forged).encode();
        for source in [IpAddr::from(ipv4.unwrap()), ipv6.unwrap().into()] {
            let refused = net.ignored(1, Reason::ForeignSource);
            net.inject(&frame::message(mac, source, &forged));
            net.run_for(LATENCY + LATENCY);
            let now = net.ignored(1, Reason::ForeignSource);
            assert_eq!(now, refused + 1, "{ipv4:?} {ipv6:?} from {source}");
            assert_eq!(known(&net), before);
        }
    }
}

#[test]
fn an_old_statement_is_refused() {
    let mut net = pair();
    let (id, now) = last_statement(&net);
    let before = known(&net);
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver MUST refuse a statement whose epoch and counter are not larger than the last ones of
    //# that member.
    for (epoch, counter, reason) in [
        (now.epoch, now.counter, Reason::Duplicate),
        (now.epoch, now.counter - 1, Reason::Replay),
        (now.epoch - 1, now.counter + 100, Reason::Replay),
    ] {
        let refused = net.ignored(1, reason);
        let mut old = next(now.clone(), FULL, vec![record("198.18.0.9/32")]);
        (old.epoch, old.counter) = (epoch, counter);
        say(&mut net, &as_message(id, old));
        assert_eq!(net.ignored(1, reason), refused + 1);
        assert_eq!(known(&net), before);
    }
}

#[test]
fn a_record_outside_the_class_is_skipped_and_the_others_count() {
    let mut net = pair();
    let (id, statement) = last_statement(&net);
    let (inside, outside) = (record("198.18.0.9/32"), record("192.0.2.1/32"));
    let both = next(statement, FULL, vec![inside.clone(), outside.clone()]);
    say(&mut net, &as_message(id, both.clone()));
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver MUST skip a record outside its class, and use the others.
    assert_eq!(net.ignored(1, Reason::OutsideClass), 1);
    assert_eq!(net.ignored(1, Reason::DigestMismatch), 0);
    assert!(known(&net).iter().eq([inside.clone()]));
    // It is still part of the digest that a delta is checked by.
    let more = record("198.18.0.10/32");
    let all: RecordSet = [&inside, &outside, &more].into_iter().collect();
    let base = both.generation;
    let mut delta = next(both, StatementKind::Delta { base }, vec![more.clone()]);
    delta.digest = all.digest();
    say(&mut net, &as_message(id, delta));
    assert_eq!(net.ignored(1, Reason::DigestMismatch), 0);
    assert_eq!(known(&net).iter().collect::<Vec<_>>(), [inside, more]);
}

#[test]
fn a_prefix_that_is_none_counts_for_the_digest_alone() {
    let mut net = pair();
    let (id, statement) = last_statement(&net);
    let strange = |prefix_len, address: &[u8]| Record {
        address: RecordAddress::Unknown {
            family: 4,
            prefix_len,
            address: address.to_vec(),
        },
        ..record("198.18.0.9/32")
    };
    // Longer than the address, below its length, and of another size.
    for odd in [
        strange(33, &[198, 18, 0, 1]),
        strange(24, &[198, 18, 0, 1]),
        strange(32, &[198, 18, 0, 1, 7]),
    ] {
        let records = vec![record("198.18.0.9/32"), odd];
        let statement = next(last_statement(&net).1, FULL, records);
        say(&mut net, &as_message(id, statement));
        //= docs/spec/membership.md#statement
        //= type=test
        //# A receiver MUST take a record whose address, prefix length and family are no prefix that it
        //# knows for one of a family that it does not know.
        assert_eq!(net.ignored(1, Reason::DigestMismatch), 0);
        assert_eq!(known(&net).prefixes().count(), 1);
    }
    let _ = statement;
}

#[test]
fn a_full_report_with_a_wrong_digest_is_refused() {
    let mut net = pair();
    let (id, statement) = last_statement(&net);
    let before = known(&net);
    let mut statement = next(statement, FULL, vec![record("198.18.0.9/32")]);
    statement.digest[0] ^= 1;
    say(&mut net, &as_message(id, statement));
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver MUST refuse a full report whose records do not have the stated digest.
    assert_eq!(net.ignored(1, Reason::DigestMismatch), 1);
    assert_eq!(known(&net), before);
}

#[test]
fn a_family_of_a_later_version_counts_for_the_digest_alone() {
    let mut net = pair();
    let (id, statement) = last_statement(&net);
    let unknown = Record {
        address: RecordAddress::Unknown {
            family: 99,
            prefix_len: 16,
            address: b"later".to_vec(),
        },
        ..record("198.18.0.9/32")
    };
    let records = vec![record("198.18.0.9/32"), unknown];
    say(&mut net, &as_message(id, next(statement, FULL, records)));
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver MUST keep records of families that it does not know for the digest, and use them for
    //# nothing else.
    assert_eq!(net.ignored(1, Reason::DigestMismatch), 0);
    assert_eq!(known(&net).len(), 2);
    assert_eq!(known(&net).prefixes().count(), 1);
}

#[test]
fn members_and_records_are_bounded() {
    let limits = Limits {
        members: 2,
        records: 3,
        all_records: 6,
    };
    let mut receiver = Node::new(
        Config {
            limits,
            ..Config::default()
        },
        [9; 32],
        1,
    );
    let now = Instant::from_millis(1_000);
    receiver.handle_link(now, LINK, Some(host_state(9)));
    let (_, template) = last_statement(&pair());
    let mut hear = |number: u8, records: u8| {
        let state = host_state(number);
        let records = (0..records)
            .map(|low| record(&format!("198.18.0.{low}/32")))
            .collect();
        let mut statement = next(template.clone(), FULL, records);
        (statement.mac, statement.ipv4, statement.ipv6) = (state.mac, state.ipv4, state.ipv6);
        let message = as_message(MemberId([number; 16]), statement).encode();
        let frame = frame::message(state.mac, state.ipv4.unwrap().into(), &message);
        receiver.handle_frame(now, LINK, &frame, false);
        let refused = [Reason::TableFull, Reason::MemberLimit, Reason::LinkLimit];
        let refused = refused.map(|reason| receiver.counters().ignored_for(reason));
        let full: u64 = refused.iter().sum();
        (receiver.links().next().unwrap().1.peers().count(), full)
    };
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver MUST bound the number of members and of records that it keeps.
    assert_eq!(hear(1, 4), (1, 1), "too many records");
    assert_eq!(hear(2, 3), (2, 1));
    assert_eq!(hear(4, 1), (2, 2), "too many members");
    //= docs/spec/membership.md#statement
    //= type=test
    //# Of more records than it has room for, a receiver MUST keep those that it can use before
    //# others, and of these the first in the order of the digest.
    let link = receiver.links().next().unwrap().1;
    let (_, first) = link.peers().next().unwrap();
    let kept: Vec<_> = first
        .records()
        .prefixes()
        .map(|(p, _)| p.to_string())
        .collect();
    assert_eq!(kept, ["198.18.0.0/32", "198.18.0.1/32", "198.18.0.2/32"]);
    // What has changed since cannot be told from what is held: all of it is asked for.
    while receiver.poll_transmit().is_some() {}
    let state = host_state(1);
    let mut delta = next(
        template,
        StatementKind::Delta { base: 0 },
        vec![record("198.18.0.9/32")],
    );
    (delta.mac, delta.ipv4, delta.ipv6) = (state.mac, state.ipv4, state.ipv6);
    (delta.counter, delta.generation) = (delta.counter + 1, delta.generation + 1);
    let message = as_message(MemberId([1; 16]), delta).encode();
    let frame = frame::message(state.mac, state.ipv4.unwrap().into(), &message);
    let now = now + SECOND;
    receiver.handle_frame(now, LINK, &frame, false);
    receiver.handle_timeout(now);
    let sent = core::iter::from_fn(|| receiver.poll_transmit());
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver that has not kept all records of a member MUST query it upon a delta.
    assert!(
        sent.map(|sent| sent.frame)
            .any(|sent| asks(&sent, MemberId([1; 16])))
    );
}

/// Whether a frame is a query to `member`.
fn asks(frame: &[u8], member: MemberId) -> bool {
    let Ok(Frame::Message { payload, .. }) = Frame::parse(frame) else {
        return false;
    };
    matches!(Message::decode(payload), Ok(Message::Query { query, .. }) if query.target == member)
}

#[test]
fn a_member_that_has_moved_and_whose_report_is_lost_is_asked() {
    let mut net = pair();
    let (id, _) = last_statement(&net);
    let hello = Message::Hello {
        member: id,
        hello: Hello {
            chain: [9; 8],
            index: 9,
            value: [9; 16],
        },
    };
    let elsewhere = frame::message(
        [2, 0, 0, 0, 0, 0xaa],
        net.state(0).ipv4.unwrap().into(),
        &hello.encode(),
    );
    net.set_link(0, false);
    net.run_for(SECOND + SECOND / 2);
    let since = net.now();
    net.inject(&elsewhere);
    net.run_for(SECOND / 2);
    let asked = net.messages_since(since).into_iter();
    //= docs/spec/membership.md#hello
    //= type=test
    //# A receiver that refuses a hello for its source MUST query the member if it does not know the
    //# chain, and has not heard the member for a hello interval: it may have moved, and its report be
    //# lost.
    let mut queries = asked.filter(|(_, host, message)| {
        *host == 1 && matches!(message, Message::Query { query, .. } if query.target == id)
    });
    assert!(queries.next().is_some());
}

#[test]
fn one_that_only_says_that_it_will_be_silent_for_hours_makes_place() {
    let limits = Limits {
        members: 2,
        records: 4,
        all_records: 5,
    };
    let config = Config {
        limits,
        ..Config::default()
    };
    let mut receiver = Node::new(config, [9; 32], 1);
    let start = Instant::from_millis(1_000);
    receiver.handle_link(start, LINK, Some(host_state(9)));
    let (_, template) = last_statement(&pair());
    let mut hear = |after: Duration, number: u8, records: u8| {
        let state = host_state(number);
        let records = (0..records).map(|low| record(&format!("198.18.0.{low}/32")));
        let mut statement = next(template.clone(), FULL, records.collect());
        (statement.mac, statement.ipv4, statement.ipv6) = (state.mac, state.ipv4, state.ipv6);
        (statement.hello_interval, statement.dead_hellos) = (60 * SECOND, 255);
        let message = as_message(MemberId([number; 16]), statement).encode();
        let frame = frame::message(state.mac, state.ipv4.unwrap().into(), &message);
        receiver.handle_frame(start + after, LINK, &frame, false);
        let (_, link) = receiver.links().next().unwrap();
        link.peers().map(|(id, _)| id.0[0]).collect::<Vec<_>>()
    };
    assert_eq!(hear(Duration::ZERO, 1, 4), [1]);
    assert_eq!(hear(SECOND, 2, 2), [1, 2], "its share is its own");
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver that has no place for a new member MUST forget the one that was silent for longest, if
    //# that is longer than its own dead time.
    assert_eq!(hear(2 * SECOND, 3, 1), [1, 2]);
    assert_eq!(hear(3 * SECOND, 3, 1), [2, 3]);
}

#[test]
fn a_delta_that_does_not_fit_leaves_the_records_and_asks() {
    //= docs/spec/membership.md#statement
    //= type=test
    //# A receiver that holds an older generation than the base of a delta, or gets another digest than
    //# the stated one, MUST keep the records it has and query the member.
    for wrong_digest in [false, true] {
        let mut net = pair();
        let (id, statement) = last_statement(&net);
        let (before, since) = (known(&net), net.now());
        let base = if wrong_digest {
            statement.generation
        } else {
            statement.generation + 1
        };
        let kind = StatementKind::Delta { base };
        let mut statement = next(statement, kind, vec![record("198.18.0.9/32")]);
        statement.generation = base + 1;
        say(&mut net, &as_message(id, statement));
        let reason = if wrong_digest {
            Reason::DigestMismatch
        } else {
            Reason::GenerationGap
        };
        assert_eq!(net.ignored(1, reason), 1);
        assert_eq!(known(&net), before);
        assert_eq!(
            queries(&net, since).first().map(|(_, target)| *target),
            Some(id)
        );
    }
}

// ===== Hello =====

#[test]
fn whoever_missed_the_records_of_a_hello_asks_until_it_has_them() {
    let mut net = pair();
    let deaf = |net: &mut Net, loss: f64| {
        let (to, from) = (Impairment::loss_percent(loss), Impairment::default());
        net.sim.impair("s2", "eth0", to, from).unwrap();
    };
    // It forgets everybody, and the first that it hears is a change.
    net.sim.kill("s2").unwrap();
    deaf(&mut net, 100.0);
    net.sim.start("s2").unwrap();
    net.run_for(3 * SECOND);
    deaf(&mut net, 0.0);
    net.join(0, "198.18.0.7");
    net.run_for(LATENCY + LATENCY);
    assert!(known(&net).is_empty());
    // The answer to its question is lost, and the change when it is repeated.
    deaf(&mut net, 100.0);
    net.run_for(2 * SECOND);
    deaf(&mut net, 0.0);
    //= docs/spec/membership.md#hello
    //= type=test
    //# A receiver that accepts a hello of a generation whose records it neither has nor is collecting
    //# MUST query the member.
    net.run_for(SECOND + 700 * MILLI);
    assert_eq!(known(&net).len(), 3);
}

#[test]
fn a_hello_is_sent_at_each_multiple_of_the_interval() {
    let mut net = pair();
    let (id, statement) = last_statement(&net);
    let since = net.now();
    net.run_for(5 * SECOND);
    let hellos = hellos(&net, since);
    assert_eq!(hellos.len(), 2 * 5);
    //= docs/spec/membership.md#hello
    //= type=test
    //# A member MUST send a hello each time its time reaches a multiple of its hello interval.
    for pair in hellos.chunks(2) {
        let ((at, sender, hello), second) = (pair[0], pair[1]);
        assert_eq!((at, sender, hello), second, "one per family");
        assert_eq!(sender, id);
        let epoch = hellos[0].0 - hellos[0].2.index * SECOND;
        assert_eq!(at, epoch + hello.index * SECOND);
        assert_eq!(hello.chain, statement.chain_id(id));
    }
}

/// Lets host 1 hear one hello of host 0 after `change`, and tells the reason why it was refused.
fn refusal(
    change: impl FnOnce(&mut Hello),
    late: Duration,
    mac: u8,
) -> (Vec<Reason>, Net, Instant) {
    let mut net = pair();
    let (_, member, mut hello) = *hellos(&net, Instant::ZERO).last().unwrap();
    change(&mut hello);
    net.freeze(0);
    net.run_for(late);
    let since = net.now();
    let before = net.node(1).counters().clone();
    let state = host_state(mac);
    let message = Message::Hello { member, hello }.encode();
    let source = net.state(0).ipv4.unwrap().into();
    net.inject(&frame::message(state.mac, source, &message));
    net.run_for(LATENCY + LATENCY);
    let grown = |(reason, count)| (before.ignored_for(reason) < count).then_some(reason);
    let after = net.node(1).counters();
    let reasons = after.ignored().filter_map(grown).collect();
    (reasons, net, since)
}

#[test]
fn a_hello_that_proves_nothing_is_refused_with_its_reason() {
    let none = Duration::ZERO;
    //= docs/spec/membership.md#hello
    //= type=test
    //# A receiver MUST refuse a hello whose link-layer or IP source is not one that the member has
    //# stated.
    assert_eq!(
        refusal(|hello| hello.index += 1, none, 77).0,
        [Reason::ForeignSource]
    );

    //= docs/spec/membership.md#hello
    //= type=test
    //# A receiver MUST refuse a hello of a chain that it does not know, and query the member.
    let (reasons, net, since) = refusal(|hello| hello.chain[0] ^= 1, none, 1);
    assert_eq!(reasons, [Reason::UnknownChain]);
    assert_eq!(queries(&net, since).len(), 2, "one query, two families");

    //= docs/spec/membership.md#hello
    //= type=test
    //# A receiver MUST refuse, before it hashes anything, a hello whose index is ahead of the member's
    //# time by more than the dead time and the drift of the clocks.
    let (reasons, net, since) = refusal(|hello| hello.index += 5, none, 1);
    assert_eq!(reasons, [Reason::IndexAhead]);
    //= docs/spec/membership.md#hello
    //= type=test
    //# A receiver that refuses a hello for its index MUST query the member, since the statement that it
    //# measures by may have come late.
    assert_eq!(queries(&net, since).len(), 2);

    //= docs/spec/membership.md#hello
    //= type=test
    //# A receiver MUST refuse a hello whose index lies behind the member's time by more than the dead
    //# time and the drift of the clocks.
    let (reasons, net, since) = refusal(|hello| hello.index -= 4, 1_700 * MILLI, 1);
    assert_eq!(reasons, [Reason::IndexBehind]);
    assert_eq!(queries(&net, since).len(), 2);

    //= docs/spec/membership.md#hello
    //= type=test
    //# A receiver MUST refuse a hello whose index is not larger than the last one accepted.
    assert_eq!(refusal(|_| (), none, 1).0, [Reason::Duplicate]);
    assert_eq!(
        refusal(|hello| hello.index -= 1, none, 1).0,
        [Reason::Replay]
    );

    //= docs/spec/membership.md#hello
    //= type=test
    //# A receiver MUST refuse a hello whose value does not hash down to the last value known.
    assert_eq!(
        refusal(|hello| hello.index += 1, none, 1).0,
        [Reason::WrongValue]
    );
}

#[test]
fn a_member_that_was_not_heard_is_forgotten_at_its_dead_time() {
    let mut net = pair();
    let last = hellos(&net, Instant::ZERO).last().unwrap().0;
    net.freeze(0);
    net.run_for((last + 3 * SECOND - MILLI).saturating_duration_since(net.now()));
    assert_eq!(known(&net).len(), 2);
    net.run_for(2 * MILLI);
    //= docs/spec/membership.md#hello
    //= type=test
    //# A member that was not heard for its dead time is dead, and a receiver MUST forget it.
    assert_eq!(net.link(1).peers().count(), 0);
    let dead = |(_, host, event): &(Instant, usize, Event)| {
        *host == 1
            && matches!(
                event,
                Event::Member {
                    change: Change::Dead,
                    ..
                }
            )
    };
    assert!(net.events().iter().any(dead));
}

// ===== Query =====

fn query(target: MemberId, nonce: u8, max_response: Duration) -> Message {
    Message::Query {
        asker: MemberId([0x77; 16]),
        query: Query {
            epoch: 1,
            counter: nonce.into(),
            target,
            nonce: [nonce; 8],
            max_response,
            refresh: false,
            anchor: false,
            interval: Duration::ZERO,
            options: Vec::new(),
        },
        authentication: Authentication::None,
    }
}

/// Full reports of host 0 since `since`, one per answer, with the nonces they carry.
fn answers(net: &Net, since: Instant) -> Vec<(Instant, Vec<[u8; 8]>)> {
    let mut answers: Vec<_> = net
        .messages_since(since)
        .into_iter()
        .filter_map(|(at, host, message)| match message {
            Message::Statement { statement, .. }
                if host == 0 && matches!(statement.kind, StatementKind::Full { .. }) =>
            {
                let nonces = statement
                    .options
                    .into_iter()
                    .find_map(|option| match option {
                        MessageOption::Nonces(nonces) => Some(nonces),
                        _ => None,
                    });
                Some((at, nonces.unwrap_or_default()))
            }
            _ => None,
        })
        .collect();
    answers.dedup();
    answers
}

#[test]
fn a_query_is_answered_in_full_within_the_maximum_response() {
    let mut delays = std::collections::BTreeSet::new();
    for round in 0..10 {
        let mut net = pair();
        net.run_for(round * MILLI);
        let (id, _) = last_statement(&net);
        let target = if round % 2 == 0 {
            id
        } else {
            MemberId::EVERYBODY
        };
        let since = net.now();
        let asked = query(target, 5, 200 * MILLI).encode();
        let asker = host_state(77);
        net.inject(&frame::message(
            asker.mac,
            asker.ipv4.unwrap().into(),
            &asked,
        ));
        net.run_for(SECOND);
        let answers = answers(&net, since);
        //= docs/spec/membership.md#query
        //= type=test
        //# A member MUST answer a query to it or to everybody at a random time within the maximum response:
        //# with an anchor where that is enough for all it answers, else with a full report.
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].1, [[5; 8]]);
        let delay = answers[0].0.saturating_duration_since(since);
        assert!(delay <= 200 * MILLI + LATENCY, "{delay:?}");
        delays.insert(delay);
    }
    // The same host in the same state draws the same numbers, so a few rounds coincide.
    assert!(!delays.contains(&LATENCY), "not at once");
}

#[test]
fn an_anchor_answers_those_who_ask_for_no_more() {
    for full in [false, true] {
        let mut net = pair();
        let since = net.now();
        let asker = host_state(77);
        for (nonce, anchor) in [(5, true), (6, !full)] {
            let mut asked = query(MemberId::EVERYBODY, nonce, 100 * MILLI);
            if let Message::Query { query, .. } = &mut asked {
                query.anchor = anchor;
            }
            let source = asker.ipv4.unwrap().into();
            net.inject(&frame::message(asker.mac, source, &asked.encode()));
        }
        net.run_for(SECOND);
        let kind = |(_, host, message): (Instant, usize, Message)| match message {
            Message::Statement { statement, .. } if host == 0 => {
                let nonces = MessageOption::Nonces(vec![[5; 8], [6; 8]]);
                assert_eq!(statement.options.first(), Some(&nonces));
                Some(statement.kind)
            }
            _ => None,
        };
        let mut kinds: Vec<_> = net
            .messages_since(since)
            .into_iter()
            .filter_map(kind)
            .collect();
        kinds.dedup();
        //= docs/spec/membership.md#query
        //= type=test
        //# A member MUST answer a query to it or to everybody at a random time within the maximum response:
        //# with an anchor where that is enough for all it answers, else with a full report.
        assert_eq!(kinds, [if full { FULL } else { StatementKind::Anchor }]);
    }
}

#[test]
fn the_second_copy_of_a_query_draws_no_second_answer() {
    let mut net = pair();
    let (since, before) = (net.now(), net.ignored(0, Reason::Duplicate));
    let asker = host_state(77);
    let asked = query(last_statement(&net).0, 5, Duration::ZERO).encode();
    for source in [asker.ipv4.unwrap().into(), asker.ipv6.unwrap().into()] {
        net.inject(&frame::message(asker.mac, source, &asked));
        // The first copy is answered before the second arrives.
        net.run_for(20 * MILLI);
    }
    //= docs/spec/membership.md#transport
    //= type=test
    //# A receiver MUST ignore the second copy of a message.
    assert_eq!(net.ignored(0, Reason::Duplicate), before + 1);
    net.run_for(500 * MILLI);
    let nonces: Vec<_> = answers(&net, since)
        .into_iter()
        .map(|(_, nonces)| nonces)
        .collect();
    assert_eq!(nonces, [[[5; 8]]]);
}

#[test]
fn a_query_to_somebody_else_is_not_answered() {
    let mut net = pair();
    let since = net.now();
    let asked = query(MemberId([0x55; 16]), 5, Duration::ZERO).encode();
    let asker = host_state(77);
    net.inject(&frame::message(
        asker.mac,
        asker.ipv4.unwrap().into(),
        &asked,
    ));
    net.run_for(SECOND);
    assert_eq!(answers(&net, since), []);
}

#[test]
fn many_queries_get_few_answers_that_carry_every_nonce() {
    let mut net = pair();
    let since = net.now();
    let asker = host_state(77);
    for nonce in 1..=30 {
        let asked = query(MemberId::EVERYBODY, nonce, Duration::ZERO).encode();
        net.inject(&frame::message(
            asker.mac,
            asker.ipv4.unwrap().into(),
            &asked,
        ));
        net.run_for(20 * MILLI);
    }
    net.run_for(SECOND);
    let answers = answers(&net, since);
    //= docs/spec/membership.md#query
    //= type=test
    //# A member MUST NOT answer more often than once in 300 ms, or once in a hello interval where that is
    //# shorter.
    assert!(
        answers
            .windows(2)
            .all(|two| two[1].0 >= two[0].0 + 300 * MILLI),
        "{answers:?}"
    );
    let nonces: Vec<_> = answers
        .iter()
        .flat_map(|(_, nonces)| nonces.clone())
        .collect();
    assert_eq!(nonces, (1..=30).map(|nonce| [nonce; 8]).collect::<Vec<_>>());
}

#[test]
fn queries_that_allow_a_late_answer_do_not_put_off_the_others() {
    let mut net = pair();
    let since = net.now();
    let asker = host_state(77);
    let ask = |net: &mut Net, nonce, span| {
        let asked = query(MemberId::EVERYBODY, nonce, span).encode();
        let frame = frame::message(asker.mac, asker.ipv4.unwrap().into(), &asked);
        net.inject(&frame);
        net.run_for(MILLI);
    };
    for nonce in 1..=40 {
        ask(&mut net, nonce, 60 * SECOND);
    }
    net.run_for(400 * MILLI);
    assert!(!answers(&net, since).is_empty());
    ask(&mut net, 99, Duration::ZERO);
    net.run_for(400 * MILLI);
    let mut nonces = answers(&net, since)
        .into_iter()
        .flat_map(|(_, nonces)| nonces);
    assert!(nonces.any(|nonce| nonce == [99; 8]));
}

#[test]
fn a_node_asks_once_in_300_ms() {
    let mut net = pair();
    net.freeze(0);
    let since = net.now();
    for chain in 0..=100 {
        let hello = Hello {
            chain: [chain; 8],
            index: 1,
            value: [0; 16],
        };
        say(
            &mut net,
            &Message::Hello {
                member: MemberId([0x66; 16]),
                hello,
            },
        );
        net.run_for(10 * MILLI);
    }
    let mut queries = queries(&net, since);
    queries.dedup();
    assert!(queries.len() >= 3, "{queries:?}");
    //= docs/spec/membership.md#query
    //= type=test
    //# A node MUST NOT query the same target on a link more often than once in 300 ms, or once in a hello
    //# interval where that is shorter.
    assert!(
        queries
            .windows(2)
            .all(|two| two[1].0 >= two[0].0 + 300 * MILLI),
        "{queries:?}"
    );
}

// ===== The member =====

#[test]
fn a_member_listens_before_it_speaks_serves_or_answers() {
    let mut net = Net::new(1);
    let host = net.add(1, SECOND, false);
    let since = net.now();
    net.join(host, V4);
    net.run_for(LISTEN - MILLI);
    net.ask([2, 0, 0, 0, 0, 0x99], V4);
    net.run_for(MILLI / 2);
    let statements = |net: &Net| {
        let messages = net.messages_since(since);
        messages
            .iter()
            .filter(|(_, _, m)| matches!(m, Message::Statement { .. }))
            .count()
    };
    let serves = |net: &Net| {
        net.events()
            .iter()
            .any(|(_, _, e)| matches!(e, Event::Serve { .. } | Event::Lease { .. }))
    };
    //= docs/spec/membership.md#the-member
    //= type=test
    //# A member MUST listen for 500 ms before its first report, so that its first rank is the right one.
    assert_eq!(statements(&net), 0);
    //= docs/spec/membership.md#the-member
    //= type=test
    //# A member MUST NOT answer for an address or serve it before it has reported.
    assert!(!serves(&net));
    assert_eq!(net.answers_since(since, V4, false), []);
    net.run_for(MILLI);
    assert_eq!(statements(&net), 2, "one per family");
    assert!(serves(&net));
}

#[test]
fn a_change_is_reported_at_once_and_once_more_within_a_second() {
    for low in 1..20 {
        let mut net = pair();
        let since = net.now();
        let address = format!("198.18.9.{low}");
        net.join(0, &address);
        net.run_for(3 * SECOND);
        let prefix: Prefix = ip(&address).into();
        let mut reports: Vec<_> = net
            .messages_since(since)
            .into_iter()
            .filter_map(|(at, _, message)| match message {
                Message::Statement { statement, .. } => {
                    let carries = statement.records.iter().any(|r| r.prefix() == Some(prefix));
                    carries.then_some(at)
                }
                _ => None,
            })
            .collect();
        reports.dedup();
        //= docs/spec/membership.md#the-member
        //= type=test
        //# A report of a change MUST be sent at once and repeated once at a random time within 1 s.
        assert_eq!(reports.len(), 2, "{reports:?}");
        assert_eq!(reports[0], since);
        assert!(reports[1] <= since + SECOND);
    }
}

#[test]
fn a_member_whose_link_comes_back_is_another() {
    let mut net = pair();
    let (id, before) = last_statement(&net);
    net.set_link(0, false);
    net.run_for(SECOND / 2);
    let since = net.now();
    net.set_link(0, true);
    net.run_for(LISTEN - MILLI);
    let early = net.messages_since(since);
    assert!(
        early
            .iter()
            .all(|(_, host, m)| *host != 0 || matches!(m, Message::Query { .. }))
    );
    net.run_for(SECOND);
    let (again, after) = last_statement(&net);
    assert_eq!(again, id, "it replaces itself");
    //= docs/spec/membership.md#the-member
    //= type=test
    //# A member whose link comes back MUST start a new epoch in the same way.
    assert!(after.epoch > before.epoch);
}

#[test]
fn a_link_that_was_removed_comes_back_as_another_life() {
    let mut net = pair();
    let state = net.state(0);
    net.act(0, |node, now| {
        node.remove_link(now, LINK);
        assert_eq!(node.links().count(), 0);
        node.handle_link(now, LINK, Some(state));
    });
    net.run_for(SECOND);
    assert_eq!(net.ignored(1, Reason::Replay), 0);
    assert_eq!(known(&net).len(), 2);
}

#[test]
fn options_of_a_join_reach_the_others() {
    let mut net = pair();
    let options = JoinOptions {
        preference: 7,
        scope: Scope::Site,
        serial: Some(42),
    };
    let prefix: Prefix = "198.18.4.0/24".parse().unwrap();
    net.join_with(0, "198.18.4.0/24", options);
    net.run_for(3 * SECOND);
    let records = known(&net);
    let record = records.get(&prefix).unwrap();
    assert_eq!(
        (record.preference, record.scope, record.serial),
        (7, Scope::Site, Some(42))
    );
}
