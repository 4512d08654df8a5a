//! Members and clients on one link, in virtual time: the bounds of the specification
//! (R4, R5, R6, R27).

mod net;

use std::time::Duration;

use hamp::node::{Change, Event, Node};
use hamp::proto::Reason;
use hamp::wire::frame::{self, Frame, Mac};
use hamp::wire::{Message, StatementKind};
use net::{Net, V4, V6, host_state, ip};
use testbed::sim::seeds::RandomTest;

const STOCK: [u8; 6] = [2, 0, 0, 0, 0, 0x99];
const SECOND: Duration = Duration::from_secs(1);
const FAST: Duration = Duration::from_millis(50);
/// Latency of a few frames, and nothing else.
const SLACK: Duration = Duration::from_millis(1);

#[test]
fn members_agree_on_ranks_and_one_answers_each_first_request() {
    for hello in [SECOND, FAST] {
        for target in [V4, V6] {
            let mut net = Net::first_link(1, 5, hello);
            let owner = net.owner(target);
            for _ in 0..20 {
                let since = net.now();
                net.ask(STOCK, target);
                net.run_for(2 * SECOND);
                let answers = net.answers_since(since, target, false);
                assert_eq!(
                    answers.iter().map(|(_, host)| *host).collect::<Vec<_>>(),
                    [owner]
                );
            }
        }
    }
}

#[test]
fn an_answer_to_a_solicitation_has_override_clear_and_the_members_own_source() {
    let mut net = Net::first_link(1, 3, SECOND);
    let since = net.now();
    net.ask(STOCK, V6);
    net.run_for(SECOND);
    let mut sent = net.sent_since(since).into_iter();
    let sent = sent
        .find(|sent| matches!(sent.parsed(), Frame::Answer(answer) if !answer.announcement))
        .unwrap();
    let own = net.state(sent.host).ipv6.unwrap();
    assert_eq!(sent.frame[22..38], own.octets(), "source");
    assert_eq!(sent.frame[54], 136, "neighbour advertisement");
    assert_eq!(
        //= docs/spec/link.md#answers
        //= type=test
        //# The Override flag of an answer MUST be clear (RFC 4861 §7.2.4).
        sent.frame[58] & 0xe0,
        0x40,
        "solicited, neither router nor override"
    );
}

//= docs/spec/link.md#ranks
//= type=test
//# A member MUST NOT be ranked for an address of a family that it has no unicast address of on the
//# link.
#[test]
fn a_member_without_an_address_of_the_family_is_not_ranked() {
    let mut net = Net::first_link(18, 3, SECOND);
    let fault = net.now();
    for host in [0, 1] {
        net.drop_ipv6(host);
    }
    net.run_for(SECOND);
    assert_eq!(net.owner(V6), 2);
    let announced = net.answers_since(fault, V6, true);
    assert!(!announced.is_empty() && announced.iter().all(|(_, host)| *host == 2));
    let since = net.now();
    net.ask(STOCK, V6);
    net.run_for(SECOND);
    assert_eq!(net.answers_since(since, V6, false).len(), 1);
    for host in 0..4 {
        let link = net.link(host);
        assert_eq!(link.ranks(ip(V6)).len(), 1);
        assert_eq!(link.ranks(ip(V4)).len(), 3);
    }
}

#[test]
fn later_requests_are_answered_by_later_ranks() {
    // Rank 1 and 2 are frozen a moment ago: nobody knows yet, and rank 3 answers the third.
    let mut net = Net::first_link(3, 4, 10 * SECOND);
    let ranks: Vec<_> = {
        let link = net.link(0);
        let ranks = link.ranks(ip(V4)).into_iter();
        ranks.map(|candidate| net.with_mac(candidate.mac)).collect()
    };
    net.freeze(ranks[0]);
    let since = net.now();
    net.ask(STOCK, V4);
    net.run_for(SECOND);
    assert_eq!(net.answers_since(since, V4, false), []);
    net.ask(STOCK, V4);
    net.run_for(SECOND);
    let answers = net.answers_since(since, V4, false);
    assert_eq!(
        answers.iter().map(|(_, host)| *host).collect::<Vec<_>>(),
        [ranks[1]]
    );

    net.freeze(ranks[1]);
    net.run_for(2 * SECOND);
    let since = net.now();
    for _ in 0..3 {
        net.ask(STOCK, V4);
        net.run_for(SECOND);
    }
    let mut answering: Vec<_> = net
        .answers_since(since, V4, false)
        .iter()
        .map(|(_, host)| *host)
        .collect();
    answering.sort_unstable();
    let mut expected = vec![ranks[2], ranks[3]];
    expected.sort_unstable();
    assert_eq!(answering, expected);
}

#[test]
fn a_dead_member_is_replaced_within_the_dead_time_and_announced_three_times() {
    for hello in [SECOND, FAST] {
        let mut net = Net::first_link(4, 3, hello);
        let dead = net.owner(V4);
        net.freeze(dead);
        let fault = net.now();
        net.run_for(3 * hello + SLACK);
        let next = net.owner(V4);
        let first = net.answers_since(fault, V4, true);
        assert_eq!(
            first.iter().map(|(_, host)| *host).collect::<Vec<_>>(),
            [next]
        );
        assert!(first[0].0 <= fault + 3 * hello + SLACK);
        net.run_for(5 * SECOND);
        assert_eq!(net.answers_since(fault, V4, true).len(), 3);
    }
}

#[test]
fn a_dead_member_that_was_not_the_owner_is_announced_by_the_owner_too() {
    // A member that joined later became the owner, but caches still hold the former one.
    let mut net = Net::first_link(4, 3, SECOND);
    let owner = net.owner(V4);
    let other = (0..3).find(|host| *host != owner).unwrap();
    net.freeze(other);
    let fault = net.now();
    net.run_for(4 * SECOND);
    let announcements = net.answers_since(fault, V4, true);
    assert!(!announcements.is_empty());
    assert!(announcements.iter().all(|(_, host)| *host == owner));
}

#[test]
fn a_leaving_member_serves_until_its_successor_has_announced_itself() {
    let mut net = Net::first_link(5, 3, SECOND);
    let leaver = net.owner(V4);
    let since = net.now();
    net.leave(leaver, V4);
    net.run_for(3 * SECOND);
    let announced = net.answers_since(since, V4, true)[0];
    assert_ne!(announced.1, leaver);
    let withdrawn = net
        .events()
        .iter()
        .find_map(|(at, host, event)| match event {
            Event::Withdraw { prefix, .. } if prefix.addr() == ip(V4) => Some((*at, *host)),
            _ => None,
        })
        .unwrap();
    assert_eq!(withdrawn.1, leaver);
    //= docs/spec/membership.md#the-member
    //= type=test
    //# A member that leaves while another serves the prefix, or while a router is on the link,
    //# MUST mark the record as draining, serve on for at least 1 s, and only then withdraw it.
    assert!(withdrawn.0 >= announced.0 + Duration::from_millis(900));
    let later: Vec<_> = net
        .answers_since(since, V4, true)
        .into_iter()
        .filter(|(_, host)| *host == leaver)
        .collect();
    assert_eq!(later, []);
    // The other address of the leaver is not touched.
    let link = net.link(leaver);
    assert!(link.ranks(ip(V6)).iter().any(|candidate| candidate.own));
}

#[test]
fn a_leave_is_said_twice_and_the_last_leave_ends_the_hellos() {
    let mut net = Net::first_link(6, 2, SECOND);
    let since = net.now();
    net.leave(0, V4);
    net.leave(0, V6);
    net.run_for(4 * SECOND);
    let withdrawals = net
        .messages_since(since)
        .into_iter()
        .filter(|(_, host, message)| {
            *host == 0
                && matches!(message, Message::Statement { statement, .. }
                    if statement.records.iter().any(|record| record.is_withdrawal()))
        })
        .count();
    // Two times two families at the least.
    //= docs/spec/membership.md#the-member
    //= type=test
    //# A member MUST withdraw a record with lifetime 0 when it leaves.
    assert!(withdrawals >= 4, "{withdrawals}");
    let since = net.now();
    net.run_for(5 * SECOND);
    assert!(
        net.messages_since(since)
            .iter()
            .all(|(_, host, _)| *host != 0)
    );
    assert!(net.node(0).is_idle());
}

#[test]
fn what_changes_at_one_moment_is_one_generation() {
    let mut net = Net::first_link(19, 2, SECOND);
    let generation = |net: &Net| {
        let link = net.link(1);
        let id = net.link(0).member().identity().id;
        link.peers()
            .find(|(peer, _)| *peer == id)
            .unwrap()
            .1
            .version()
            .1
    };
    let before = generation(&net);
    net.act(0, Node::shutdown);
    net.run_for(SECOND / 2);
    assert_eq!(generation(&net), before + 1, "both prefixes drain");
    net.run_for(SECOND);
    assert_eq!(generation(&net), before + 2, "both prefixes are withdrawn");
}

#[test]
fn a_member_that_was_frozen_for_longer_than_its_dead_time_rejoins_as_new() {
    for hello in [SECOND, FAST] {
        let mut net = Net::first_link(7, 3, hello);
        let frozen = net.owner(V4);
        let epoch = |net: &Net| {
            let link = net.link(frozen);
            link.member().epoch()
        };
        let before = epoch(&net);
        net.freeze(frozen);
        net.run_for(3 * hello + SLACK);
        // Requests that came while it slept wait in its socket.
        net.ask(STOCK, V4);
        net.run_for(SECOND);
        let since = net.now();
        net.thaw(frozen);
        //= docs/spec/membership.md#the-member
        //= type=test
        //# A member that finds that it has said nothing for its dead time MUST take itself for
        //# dead: it starts a new epoch and listens again before it speaks, answers or acts.
        assert!(epoch(&net) > before);
        assert_eq!(
            net.answers_since(since, V4, false),
            [],
            "it acted on what it believed"
        );
        net.run_for(3 * SECOND);
        assert_eq!(net.owner(V4), frozen);
        let rejoined = net.events().iter().any(|(at, host, event)| {
            *at >= since && *host == frozen && matches!(event, Event::Rejoined { .. })
        });
        assert!(rejoined);
    }
}

#[test]
fn a_short_freeze_changes_nothing() {
    let mut net = Net::first_link(8, 3, SECOND);
    let frozen = net.owner(V4);
    net.freeze(frozen);
    net.run_for(Duration::from_millis(2800));
    net.thaw(frozen);
    let since = net.now();
    net.run_for(10 * SECOND);
    assert_eq!(net.owner(V4), frozen);
    assert_eq!(net.answers_since(since, V4, true), []);
    let lasting = |event: &Event| {
        matches!(event, Event::Rejoined { .. })
            || matches!(
                event,
                Event::Member {
                    change: Change::Dead,
                    ..
                }
            )
    };
    assert!(!net.events().iter().any(|(_, _, event)| lasting(event)));
}

#[test]
fn a_pulled_cable_moves_the_address_and_the_member_rejoins_as_new() {
    let mut net = Net::first_link(9, 3, SECOND);
    let pulled = net.owner(V4);
    let fault = net.now();
    net.set_link(pulled, false);
    net.run_for(3 * SECOND + SLACK);
    let owners = net.owners(V4);
    assert_eq!(owners.len(), 1);
    assert_ne!(owners[0], pulled);
    assert!(net.answers_since(fault, V4, true)[0].0 <= fault + 3 * SECOND + SLACK);
    net.run_for(5 * SECOND);
    net.set_link(pulled, true);
    net.run_for(2 * SECOND);
    assert_eq!(net.owner(V4), pulled);
}

#[test]
fn a_lease_is_renewed_with_each_hello_and_never_by_a_member_that_listens() {
    let mut net = Net::first_link(10, 1, SECOND);
    // Off the hellos' beat, so that neither end of the span falls on one.
    net.run_for(SECOND / 4);
    let since = net.now();
    net.run_for(10 * SECOND);
    let events = net.events();
    let leases = events.iter().filter(|(at, _, event)| {
        *at >= since
            && matches!(event, Event::Lease { lasts, prefixes, .. }
            if lasts == &(3 * SECOND) && prefixes.len() == 2)
    });
    assert_eq!(leases.count(), 10);
    net.freeze(0);
    net.run_for(5 * SECOND);
    let woke = net.now();
    net.thaw(0);
    net.run_for(hamp::proto::member::LISTEN - SLACK);
    let early = net.events().iter().any(|(at, _, event)| {
        *at >= woke && matches!(event, Event::Lease { .. } | Event::Serve { .. })
    });
    assert!(!early);
}

#[test]
fn a_clients_entry_is_the_first_verified_answer_and_moves_when_its_member_dies() {
    for target in [V4, V6] {
        let mut net = Net::first_link(11, 3, SECOND);
        let client = 3;
        net.kernel_asks(client, target);
        net.run_for(SECOND);
        let owner = net.owner(target);
        assert_eq!(entry(&net, client, target), Some(net.state(owner).mac));
        net.freeze(owner);
        net.run_for(3 * SECOND + SLACK);
        let next = net.owner(target);
        //= docs/spec/link.md#a-client-s-entries
        //= type=test
        //# An entry whose member dies, leaves or drains MUST move at once to the member that is
        //# rank 1 then, or be removed when there is none.
        assert_eq!(entry(&net, client, target), Some(net.state(next).mac));
        assert!(net.events().iter().any(|(_, host, event)| *host == client
            && matches!(
                event,
                Event::Member {
                    change: Change::Dead,
                    ..
                }
            )));
    }
}

#[test]
fn no_entry_lives_longer_than_60_s_however_busy_it_is() {
    let mut net = Net::first_link(12, 3, SECOND);
    let client = 3;
    net.kernel_asks(client, V4);
    net.run_for(SECOND);
    let since = net.now();
    for _ in 0..200 {
        net.run_for(SECOND / 2);
        if net.link(client).neighbours().next().is_some() {
            net.kernel_asks(client, V4);
        }
    }
    let removed = net.events().iter().find_map(|(at, host, event)| {
        (*at >= since && *host == client && matches!(event, Event::Neighbour { mac: None, .. }))
            .then_some(*at)
    });
    //= docs/spec/link.md#a-client-s-entries
    //= type=test
    //# An entry MUST NOT live for longer than 60 s, however busy it is.
    assert!(removed.unwrap() <= since + 60 * SECOND);
}

#[test]
fn a_false_answer_is_recognised_and_not_used() {
    let mut net = Net::first_link(13, 3, SECOND);
    let client = 3;
    let request = frame::request(
        host_state(100).mac,
        host_state(100).ipv4.unwrap().into(),
        ip(V4),
    )
    .unwrap();
    net.act(client, |node, now| {
        node.handle_frame(now, net::LINK, &request, true);
    });
    let question = frame::Request {
        mac: host_state(100).mac,
        source: host_state(100).ipv4.unwrap().into(),
        target: ip(V4),
        destination: frame::BROADCAST,
    };
    let forged = frame::answer(&question, STOCK, None).unwrap();
    net.inject(&forged);
    net.run_for(SECOND);
    assert_eq!(entry(&net, client, V4), None);
    //= docs/spec/link.md#a-client-s-entries
    //= type=test
    //# A client MUST use the first answer that comes from a known member for the target, and no
    //# answer of anybody else.
    assert_eq!(net.ignored(client, Reason::ForeignAnswer), 1);
}

/// A probe for duplicates by `mac`.
fn duplicates(mac: Mac, target: &str) -> Vec<u8> {
    let source = if target == V6 { "::" } else { "0.0.0.0" };
    let probe = frame::request(mac, ip(source), ip(target)).unwrap();
    // A solicitation from nobody has no link-layer option (RFC 4861 §7.1.1).
    if target == V6 {
        without_link_layer_option(&probe)
    } else {
        probe
    }
}

#[test]
fn a_probe_for_duplicates_finds_the_address_in_use() {
    let mut net = Net::first_link(14, 3, SECOND);
    for target in [V4, V6] {
        let since = net.now();
        net.inject(&duplicates(STOCK, target));
        net.run_for(2 * SECOND);
        let answers: Vec<_> = net.sent_since(since).into_iter().collect();
        let mut answers = answers.iter().filter_map(|sent| match sent.parsed() {
            Frame::Answer(answer) if answer.target == ip(target) => {
                Some((sent.host, answer, sent.frame[..6].to_vec()))
            }
            _ => None,
        });
        //= docs/spec/link.md#answers
        //= type=test
        //# A probe for duplicates MUST be answered as any other request, so that a host that is no
        //# member finds the address in use.
        let (host, answer, to) = answers.next().unwrap();
        assert_eq!(host, net.owner(target));
        assert_eq!(answers.next(), None, "one answer");
        assert_eq!(answer.stated, Some(net.state(host).mac));
        // To all nodes by neighbour discovery: the asker has no address to be told at.
        let all_nodes = [0x33, 0x33, 0, 0, 0, 1];
        let expected = if target == V6 { all_nodes } else { STOCK };
        assert_eq!(to, expected);
        assert!(target == V4 || (answer.announcement && !answer.overrides));
    }
    // The first does not live, but others do not know yet.
    let owner = net.owner(V4);
    net.freeze(owner);
    let since = net.now();
    for _ in 0..2 {
        assert_eq!(net.answers_since(since, V4, false), []);
        net.inject(&duplicates(STOCK, V4));
        net.run_for(SECOND);
    }
    assert_eq!(net.answers_since(since, V4, false).len(), 1);
}

#[test]
fn a_probe_for_duplicates_by_a_member_is_not_answered() {
    let mut net = Net::first_link(14, 2, SECOND);
    let since = net.now();
    let other = 1 - net.owner(V4);
    net.inject(&duplicates(net.state(other).mac, V4));
    net.run_for(2 * SECOND);
    //= docs/spec/link.md#answers
    //= type=test
    //# A member MUST NOT answer a probe for duplicates by a member that serves the address.
    assert_eq!(net.answers_since(since, V4, false), []);
    for host in 0..2 {
        assert_eq!(net.ignored(host, Reason::AddressProbe), 1);
    }
}

#[test]
fn a_lost_report_is_asked_for_and_a_lost_link_heals() {
    let (package, file) = ("hamp", "first_link_virtual");
    let name = "a_lost_report_is_asked_for";
    let test = RandomTest {
        package,
        file,
        name,
    };
    test.run(40, |seed| {
        let mut net = Net::first_link(seed, 3, SECOND);
        net.set_loss(30);
        let late = net.add(50, SECOND, false);
        net.join(late, V4);
        net.run_for(20 * SECOND);
        net.set_loss(0);
        net.run_for(5 * SECOND);
        for host in [0, 1, 2, 3] {
            let others = if host == 3 { 4 } else { 3 };
            assert_eq!(net.link(host).peers().count(), others, "host {host}");
        }
        net.owner(V4);
    });
}

#[test]
fn chains_are_renewed_without_a_question_or_a_gap() {
    let hello = Duration::from_millis(10);
    let mut net = Net::first_link(15, 2, hello);
    let since = net.now();
    net.run_for(60 * SECOND);
    let messages = net.messages_since(since);
    assert!(
        !messages
            .iter()
            .any(|(_, _, message)| matches!(message, Message::Query { .. }))
    );
    let anchors = messages
        .iter()
        .filter(|(_, _, message)| {
            matches!(message, Message::Statement { statement, .. }
                if statement.kind == StatementKind::Anchor)
        })
        .count();
    // Two members, two families, a chain of 1,024 hellos.
    //= docs/spec/membership.md#hello
    //= type=test
    //# Before a chain ends, a member MUST publish the next one in an anchor.
    assert!((20..=28).contains(&anchors), "{anchors}");
    assert!(
        !net.events().iter().any(|(at, _, event)| *at > since
            && matches!(event, Event::Member { .. } | Event::Owner { .. }))
    );
}

#[test]
fn hellos_that_are_replayed_forged_or_held_back_prove_nothing() {
    let mut net = Net::first_link(16, 2, SECOND);
    net.run_for(2 * SECOND);
    let victim = 0;
    let hello = net
        .sent()
        .iter()
        .rev()
        .find(|sent| {
            sent.host == victim
                && matches!(Frame::parse(&sent.frame), Ok(Frame::Message { payload, .. })
                    if matches!(Message::decode(payload), Ok(Message::Hello { .. })))
        })
        .unwrap()
        .frame
        .clone();
    net.freeze(victim);
    let fault = net.now();
    // Replays do not keep it alive.
    for _ in 0..6 {
        net.inject(&hello);
        net.run_for(SECOND / 2);
    }
    net.run_for(SECOND);
    let died = net.events().iter().find_map(|(at, host, event)| {
        (*host == 1
            && matches!(
                event,
                Event::Member {
                    change: Change::Dead,
                    ..
                }
            ))
        .then_some(*at)
    });
    assert!(died.unwrap() <= fault + 3 * SECOND + SLACK);
    assert!(net.ignored(1, Reason::Duplicate) + net.ignored(1, Reason::Replay) > 0);
}

#[test]
fn a_message_with_a_foreign_source_or_our_own_id_changes_nothing() {
    let mut net = Net::first_link(17, 2, SECOND);
    let report = net
        .sent()
        .iter()
        .find(|sent| {
            sent.host == 0
                && matches!(Frame::parse(&sent.frame), Ok(Frame::Message { payload, .. })
                    if matches!(Message::decode(payload), Ok(Message::Statement { .. })))
        })
        .unwrap()
        .frame
        .clone();
    let Ok(Frame::Message { payload, .. }) = Frame::parse(&report) else {
        unreachable!()
    };
    let foreign = frame::message(STOCK, ip("10.0.0.99"), payload);
    net.inject(&foreign);
    net.run_for(SECOND);
    assert_eq!(net.ignored(1, Reason::ForeignSource), 1);
    assert_eq!(net.ignored(0, Reason::ForeignSource), 1);
}

fn entry(net: &Net, host: usize, target: &str) -> Option<[u8; 6]> {
    let link = net.link(host);
    link.neighbours()
        .find(|(address, _)| *address == ip(target))
        .map(|(_, entry)| entry.mac)
}

fn without_link_layer_option(request: &[u8]) -> Vec<u8> {
    let mut frame = request[..request.len() - 8].to_vec();
    let length = u16::try_from(frame.len() - 54).unwrap();
    frame[18..20].copy_from_slice(&length.to_be_bytes());
    let source: [u8; 16] = frame[22..38].try_into().unwrap();
    let destination: [u8; 16] = frame[38..54].try_into().unwrap();
    frame[56..58].fill(0);
    let body = frame[58..].to_vec();
    let kind = etherparse::Icmpv6Type::NeighborSolicitation;
    let checksum = kind.calc_checksum(source, destination, &body[4..]).unwrap();
    frame[56..58].copy_from_slice(&checksum.to_be_bytes());
    frame
}
