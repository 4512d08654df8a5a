//! docs/spec/link.md, "Strangers": hosts that claim an anycast address without being members.

mod net;

use std::time::Duration;

use hamp::node::{Event, TroubleKind};
use hamp::proto::{Reason, What};
use hamp::time::Instant;
use hamp::wire::frame::{self, Frame};
use net::{Net, V4, V6, host_state, ip};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
const STRANGER: [u8; 6] = [2, 0, 0, 0, 0, 0x77];
const STOCK: [u8; 6] = [2, 0, 0, 0, 0, 0x99];

/// The stranger announces `target`.
fn announce(net: &mut Net, target: &str) {
    let own = host_state(0x77).ipv6;
    net.inject(&frame::announcement(ip(target), STRANGER, own).unwrap());
}

/// Who has told people of the stranger's claim since `since`, and when.
fn told(net: &Net, since: Instant) -> Vec<(Instant, usize)> {
    let events = net.events().into_iter().filter(|(at, ..)| *at >= since);
    let claims = events.filter(|(_, _, event)| {
        matches!(event, Event::Trouble { trouble, .. }
            if trouble.kind == TroubleKind::ForeignClaim && trouble.mac == Some(STRANGER))
    });
    claims.map(|(at, host, _)| (at, host)).collect()
}

#[test]
fn a_claim_is_told_by_all_and_met_by_the_first_alone() {
    for target in [V4, V6] {
        let mut net = Net::first_link(21, 3, SECOND);
        let since = net.now();
        announce(&mut net, target);
        net.run_for(SECOND);
        //= docs/spec/link.md#strangers
        //= type=test
        //# A claim MUST be counted and told to people with its link-layer address, by members, clients
        //# and routers alike.
        let mut who: Vec<_> = told(&net, since).iter().map(|(_, host)| *host).collect();
        who.sort_unstable();
        assert_eq!(who, [0, 1, 2, 3]);
        for host in 0..3 {
            assert_eq!(net.ignored(host, Reason::ForeignClaim), 1);
        }
        assert_eq!(net.ignored(3, Reason::ForeignAnswer), 1);
        //= docs/spec/link.md#strangers
        //= type=test
        //# The member of rank 1 MUST defend an address that a stranger claims, at once, with one
        //# announcement (RFC 5227 §2.4 (c), RFC 4861 §7.2.6).
        //= docs/spec/link.md#strangers
        //= type=test
        //# Members of other ranks MUST NOT defend the address.
        let defences = net.answers_since(since, target, true);
        assert_eq!(defences.len(), 1);
        assert_eq!(defences[0].1, net.owner(target));
        assert!(defences[0].0 <= since + MILLI);
        // The defence is news for no member.
        net.run_for(20 * SECOND);
        assert_eq!(told(&net, since).len(), 4);
        assert_eq!(net.answers_since(since, target, true).len(), 1);
    }
}

#[test]
fn whoever_uses_the_address_claims_it() {
    for (target, other) in [(V4, "10.0.0.9"), (V6, "fd00::9")] {
        let mut net = Net::first_link(22, 2, SECOND);
        let since = net.now();
        // A question from it; an answer to all, in the name of a third host.
        net.inject(&frame::request(STRANGER, ip(target), ip(other)).unwrap());
        net.run_for(SECOND);
        assert_eq!(told(&net, since).len(), 3);
        assert_eq!(net.answers_since(since, target, true).len(), 1);
    }
    let mut net = Net::first_link(22, 2, SECOND);
    let since = net.now();
    let mut forged = frame::announcement(ip(V4), STRANGER, None).unwrap();
    forged[6..12].copy_from_slice(&STOCK);
    net.inject(&forged);
    net.run_for(SECOND);
    assert_eq!(told(&net, since).len(), 3, "it names whom it states");
    assert_eq!(net.ignored(0, Reason::ForeignMac), 1);
}

#[test]
fn nobody_defends_an_address_that_nobody_serves() {
    let mut net = Net::first_link(23, 2, SECOND);
    let since = net.now();
    announce(&mut net, "198.18.7.7");
    net.run_for(SECOND);
    assert_eq!(net.answers_since(since, "198.18.7.7", true), []);
    assert_eq!(told(&net, since).len(), 3);
}

#[test]
fn a_contested_request_is_answered_twice() {
    for target in [V4, V6] {
        let mut net = Net::first_link(24, 3, SECOND);
        announce(&mut net, target);
        net.run_for(SECOND);
        let since = net.now();
        net.ask(STOCK, target);
        net.run_for(5 * SECOND);
        //= docs/spec/link.md#strangers
        //= type=test
        //# For 60 s after a claim, the member of rank 1 MUST answer each request for the address a second
        //# time, 1.1 s after the first, with Override set.
        let answers = net.answers_since(since, target, false);
        assert_eq!(answers.len(), 2);
        assert_eq!(answers[1].0, answers[0].0 + 1_100 * MILLI);
        let overrides = |sent: &net::Sent| match sent.parsed() {
            Frame::Answer(answer) if answer.target == ip(target) => Some(answer.overrides),
            _ => None,
        };
        let sent = net.sent_since(since);
        let flags: Vec<_> = sent.iter().filter_map(overrides).collect();
        assert_eq!(flags, [target == V4, true]);
        net.run_for(60 * SECOND);
        let since = net.now();
        net.ask(STOCK, target);
        net.run_for(5 * SECOND);
        assert_eq!(net.answers_since(since, target, false).len(), 1);
    }
}

#[test]
fn a_member_that_is_not_known_yet_is_no_stranger() {
    let mut net = Net::first_link(25, 2, SECOND);
    let since = net.now();
    // One that joins, and one that comes back from behind a cable that was pulled.
    let late = net.add(50, SECOND, false);
    net.join(late, V4);
    net.run_for(3 * SECOND);
    net.set_link(1, false);
    net.run_for(10 * SECOND);
    net.set_link(1, true);
    let own = net.state(1);
    net.inject(&frame::announcement(ip(V4), own.mac, own.ipv6).unwrap());
    net.run_for(10 * SECOND);
    let claims = net.events().into_iter().filter(|(at, _, event)| {
        *at >= since && matches!(event, Event::Trouble { trouble, .. } if trouble.kind == TroubleKind::ForeignClaim)
    });
    assert_eq!(claims.count(), 0);
}

#[test]
fn one_that_left_and_still_claims_the_address_is_told_of_after_a_dead_time() {
    let mut net = Net::first_link(26, 3, SECOND);
    net.leave(0, V4);
    net.run_for(10 * SECOND);
    let own = net.state(0);
    let since = net.now();
    net.inject(&frame::announcement(ip(V4), own.mac, own.ipv6).unwrap());
    net.run_for(10 * SECOND);
    let claims: Vec<_> = net
        .events()
        .into_iter()
        .filter(|(at, _, event)| {
            *at >= since
                && matches!(event, Event::Trouble { trouble, .. }
                if trouble.kind == TroubleKind::ForeignClaim && trouble.mac == Some(own.mac))
        })
        .map(|(at, ..)| at)
        .collect();
    // The two other members and the client.
    assert_eq!(claims.len(), 3);
    assert!(claims.iter().all(|at| *at >= since + 3 * SECOND));
    assert_eq!(net.answers_since(since, V4, true).len(), 1);
}

#[test]
fn no_member_probes_for_duplicates() {
    let mut net = Net::first_link(27, 3, SECOND);
    net.run_for(20 * SECOND);
    //= docs/spec/link.md#answers
    //= type=test
    //# A member MUST NOT probe for duplicates of an anycast address (RFC 4862 §5.4): among members,
    //# sharing it is no conflict.
    for sent in net.sent() {
        assert!(!matches!(sent.parsed(), Frame::Request(r) if r.is_for_duplicates()));
    }
    let sent = net.node(0).counters().sent();
    assert!(!sent.into_iter().any(|(what, _)| what == What::Defence));
}
