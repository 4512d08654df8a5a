//! Who is who: a host at another link-layer address is who it was, two hosts with one id are told
//! apart, and a peer that nobody believes is named (R3, R6).

mod net;
mod support;

use std::time::Duration;

use hamp::node::{Config, Event, JoinOptions, LinkId, Node, TroubleKind};
use hamp::proto::Reason;
use hamp::proto::trust::{Credentials, SecretKey};
use hamp::time::Instant;
use hamp::wire::frame::{self, Frame, Mac};
use hamp::wire::{Certificate, Roles};
use net::{LINK, Net, V4, V6, host_state, ip};
use support::golden;

const SECOND: Duration = Duration::from_secs(1);
const NEW: Mac = [2, 0, 0, 0, 0, 0xaa];
const STOCK: Mac = [2, 0, 0, 0, 0, 0x99];

/// Two members, of which the first owns everything, and a client.
fn owned() -> Net {
    let mut net = Net::new(1);
    for (number, preference) in [(1, 300), (2, 100)] {
        let host = net.add(number, SECOND, false);
        let options = JoinOptions {
            preference,
            ..JoinOptions::default()
        };
        net.join_with(host, V4, options);
        net.join_with(host, V6, options);
    }
    net.add(100, SECOND, true);
    net.run_for(3 * SECOND);
    net
}

fn move_to(net: &mut Net, host: usize, link: LinkId, mac: Mac) {
    let mut state = net.state(host);
    state.mac = mac;
    net.act(host, |node, now| node.handle_link(now, link, Some(state)));
}

/// What was announced since `since`: by which link-layer address, to whom, what.
fn announced(net: &Net, since: Instant) -> Vec<(Mac, Mac, std::net::IpAddr)> {
    let sent = net.sent_since(since).into_iter();
    let told = sent.filter_map(|sent| match sent.parsed() {
        Frame::Answer(answer) if answer.announcement => {
            let to = *sent.frame.first_chunk::<6>().unwrap();
            Some((answer.mac, to, answer.target))
        }
        _ => None,
    });
    told.collect()
}

#[test]
fn an_owner_that_moves_says_so_and_is_who_it_was() {
    let mut net = owned();
    for target in [V4, V6] {
        net.kernel_asks(2, target);
    }
    net.run_for(SECOND);
    let id = net.link(0).member().identity().id;
    let since = net.now();
    move_to(&mut net, 0, LINK, NEW);
    net.run_for(SECOND / 10);
    //= docs/spec/membership.md#header
    //= type=test
    //# A member without a key MUST keep its id for as long as it lives, whatever becomes of its
    //# link-layer address.
    assert_eq!(net.link(0).member().identity().id, id);
    let known: Vec<_> = net
        .link(2)
        .peers()
        .map(|(id, peer)| (id, peer.mac()))
        .collect();
    assert_eq!(known.len(), 2);
    assert!(known.contains(&(id, NEW)), "nobody counts it twice");
    //= docs/spec/link.md#a-client-s-entries
    //= type=test
    //# An entry whose member states another link-layer address MUST follow it at once.
    let entries: Vec<_> = net
        .link(2)
        .neighbours()
        .map(|(_, entry)| entry.mac)
        .collect();
    assert_eq!(entries, [NEW, NEW]);
    net.run_for(3 * SECOND);
    let told = announced(&net, since);
    let own = net.state(0);
    let unicast = [own.ipv4.unwrap().into(), own.ipv6.unwrap().into()];
    //= docs/spec/link.md#takeover
    //= type=test
    //# A member whose link-layer address changes MUST announce what it owns, and its own unicast
    //# addresses, as one does that takes over; and tell those whom it has answered for what another
    //# member owns.
    for target in [ip(V4), ip(V6)].into_iter().chain(unicast) {
        let of = told.iter().filter(|(_, _, address)| *address == target);
        assert_eq!(of.count(), 3, "{target}");
    }
    assert!(told.iter().all(|(mac, ..)| *mac == NEW), "{told:?}");
}

#[test]
fn one_that_owns_nothing_tells_those_alone_whom_it_has_answered() {
    let mut net = Net::new(2);
    let low = net.add(1, SECOND, false);
    net.join(low, V4);
    net.run_for(2 * SECOND);
    net.ask(STOCK, V4);
    net.run_for(SECOND);
    let high = net.add(2, SECOND, false);
    let options = JoinOptions {
        preference: 300,
        ..JoinOptions::default()
    };
    net.join_with(high, V4, options);
    net.run_for(3 * SECOND);
    assert_eq!(net.owner(V4), high);
    let since = net.now();
    move_to(&mut net, low, LINK, NEW);
    net.run_for(4 * SECOND);
    let told = announced(&net, since);
    let told: Vec<_> = told
        .iter()
        .filter(|(.., target)| *target == ip(V4))
        .collect();
    assert_eq!(told, [&(NEW, STOCK, ip(V4)); 3]);
}

#[test]
fn an_interface_that_is_made_again_has_the_member_of_the_one_before() {
    let mut node = Node::new(Config::default(), [7; 32], 1);
    let mut now = Instant::from_millis(1_000);
    let mut state = host_state(1);
    node.handle_link(now, LINK, Some(state));
    let prefix = ip(V4).into();
    node.join(now, prefix, JoinOptions::default()).unwrap();
    let mut sent = Vec::new();
    let mut live = |node: &mut Node, now: &mut Instant| {
        let end = *now + SECOND;
        while let Some(due) = node.poll_timeout().filter(|due| *due <= end) {
            *now = due.max(*now);
            node.handle_timeout(*now);
            let frames = core::iter::from_fn(|| node.poll_transmit());
            sent.extend(frames.map(|transmit| transmit.frame));
        }
        *now = end;
        core::mem::take(&mut sent)
    };
    live(&mut node, &mut now);
    let member = |node: &Node| {
        let (_, link) = node.links().next().unwrap();
        (link.member().identity().id, link.member().epoch())
    };
    let (id, epoch) = member(&node);
    node.remove_link(now, LINK);
    state.mac = NEW;
    node.handle_link(now, LinkId(LINK.0 + 7), Some(state));
    let told = live(&mut node, &mut now);
    // The same member in a new life, which takes the place of the old one everywhere.
    assert_eq!(member(&node).0, id);
    assert!(member(&node).1 > epoch);
    let announced = |frame: &Vec<u8>| {
        matches!(Frame::parse(frame), Ok(Frame::Answer(answer))
            if answer.target == ip(V4) && answer.mac == NEW && answer.announcement)
    };
    assert_eq!(told.iter().filter(|frame| announced(frame)).count(), 1);
}

#[test]
fn one_that_was_away_for_long_leaves_others_where_they_are() {
    let mut net = owned();
    net.set_link(0, false);
    net.run_for(5 * SECOND);
    assert_eq!(net.owner(V4), 1);
    net.set_link(0, true);
    let since = net.now();
    move_to(&mut net, 0, LINK, NEW);
    net.run_for(4 * SECOND);
    assert_eq!(net.owner(V4), 0);
    let told = announced(&net, since);
    assert!(
        told.iter().all(|(.., target)| *target != ip(V4)),
        "{told:?}"
    );
}

/// Two hosts with one id; the second began later, and its statements come by another address.
fn clones() -> (Net, usize, usize) {
    let mut net = Net::new(3);
    let first = net.add(1, SECOND, false);
    net.join(first, V4);
    let credentials = clone_credentials();
    net.act(first, |node, now| {
        node.set_credentials(now, Some(credentials.clone()));
    });
    net.run_for(3 * SECOND);
    let second = net.add(2, SECOND, false);
    net.act(second, |node, now| {
        node.set_credentials(now, Some(credentials));
    });
    net.join(second, V4);
    net.add(100, SECOND, true);
    net.run_for(5 * SECOND);
    (net, first, second)
}

fn clone_credentials() -> std::sync::Arc<Credentials> {
    let key = SecretKey::from_bytes(&[5; 32]);
    let certificate = Certificate {
        roles: Roles {
            member: true,
            router: false,
        },
        serial: 1,
        authority: SecretKey::from_bytes(&[6; 32]).public().authority(),
        key: key.public().to_bytes(),
        not_before: 0,
        not_after: u64::MAX,
        limit: 10,
        prefixes: vec!["198.18.0.0/16".parse().unwrap()],
        hosts: vec![],
        signature: [0; 64],
    };
    std::sync::Arc::new(Credentials::new(key, certificate).unwrap())
}

#[test]
fn of_two_hosts_with_one_id_one_answers_and_everybody_names_both() {
    let (mut net, first, second) = clones();
    let since = net.now();
    net.ask(STOCK, V4);
    net.run_for(SECOND);
    let answered: Vec<_> = net
        .answers_since(since, V4, false)
        .into_iter()
        .map(|(_, host)| host)
        .collect();
    //= docs/spec/link.md#ranks
    //= type=test
    //# Of two hosts with one id, a host MUST rank the one with the larger epoch alone; of equal epochs,
    //# that with the lower link-layer address.
    assert_eq!(answered.len(), 1, "{answered:?}");
    let loser = [first, second]
        .into_iter()
        .find(|host| *host != answered[0])
        .unwrap();
    net.run_for(10 * SECOND);
    for (host, others) in [
        (first, vec![second]),
        (second, vec![first]),
        (2, vec![first, second]),
    ] {
        for other in others {
            let mac = net.state(other).mac;
            let now = net.now();
            let mut told = net.link(host).troubles(now);
            let named = told.any(|(trouble, _)| {
                trouble.kind == TroubleKind::SameIdentity && trouble.mac == Some(mac)
            });
            assert!(named, "host {host} names {other}");
        }
    }
    // The one that yielded acts again once the other is gone.
    net.set_link(answered[0], false);
    net.run_for(5 * SECOND);
    let since = net.now();
    net.ask(STOCK, V4);
    net.run_for(SECOND);
    let again: Vec<_> = net
        .answers_since(since, V4, false)
        .into_iter()
        .map(|(_, host)| host)
        .collect();
    assert_eq!(again, [loser]);
}

#[test]
fn a_healthy_link_has_no_troubles() {
    let mut net = Net::first_link(4, 3, SECOND);
    net.set_loss(10);
    net.run_for(60 * SECOND);
    for host in 0..net.count() {
        let told: Vec<_> = net.link(host).troubles(net.now()).collect();
        assert!(told.is_empty(), "host {host}: {told:?}");
    }
}

#[test]
fn a_peer_that_is_refused_for_longer_than_its_dead_time_is_named_with_the_reason() {
    let mut net = owned();
    type Change<'a> = &'a dyn Fn(&mut Vec<u8>);
    let strange = |net: &mut Net, payload: &[u8], change: Change<'_>| {
        let mut frame = frame::message(STOCK, ip("10.0.0.99"), payload);
        change(&mut frame);
        net.inject(&frame);
        net.run_for(SECOND);
    };
    let told = |net: &Net| {
        let told = net.link(1).troubles(net.now());
        let told = told.filter(|(trouble, _)| trouble.mac == Some(STOCK));
        told.map(|(trouble, _)| (trouble.kind, trouble.reason))
            .collect::<Vec<_>>()
    };
    let anchor = golden::read("anchor");
    let Ok(Frame::Message { payload, .. }) = Frame::parse(&anchor) else {
        panic!("no message");
    };
    let mut later = payload.to_vec();
    later[0] = 0x21;
    let mut slow = payload.to_vec();
    slow[20 + 72..20 + 76].copy_from_slice(&[0xff; 4]);
    let ignore = |_: &mut Vec<u8>| {};
    // The port of the datagram, whose checksum no longer fits: nobody gets as far as that.
    let port = |frame: &mut Vec<u8>| frame[36..38].copy_from_slice(&1022_u16.to_be_bytes());
    let unfinished = |frame: &mut Vec<u8>| frame[40] ^= 1;
    let cases: [(Reason, &[u8], Change<'_>); 4] = [
        (Reason::UnknownMessage, &later, &ignore),
        (Reason::Timers, &slow, &ignore),
        (Reason::WrongPort, payload, &port),
        (Reason::Checksum, payload, &unfinished),
    ];
    for (reason, bytes, change) in cases {
        strange(&mut net, bytes, change);
        assert!(told(&net).is_empty(), "{reason:?}: once is no trouble");
        for _ in 0..4 {
            strange(&mut net, bytes, change);
        }
        assert_eq!(told(&net), [(TroubleKind::RefusedPeer, Some(reason))]);
        net.run_for(200 * SECOND);
    }
}

#[test]
fn a_client_that_has_moved_says_where_its_unicast_addresses_are() {
    let mut net = Net::first_link(23, 2, SECOND);
    let since = net.now();
    move_to(&mut net, 2, LINK, NEW);
    net.run_for(4 * SECOND);
    let told = announced(&net, since);
    let own = net.state(2);
    //= docs/spec/link.md#takeover
    //= type=test
    //# A client or router whose link-layer address changes MUST announce its own unicast addresses
    //# likewise.
    let unicast: [std::net::IpAddr; 2] = [own.ipv4.unwrap().into(), own.ipv6.unwrap().into()];
    for target in unicast {
        let of = told
            .iter()
            .filter(|(mac, _, address)| *mac == NEW && *address == target);
        assert_eq!(of.count(), 3, "{target}");
    }
    assert_eq!(told.len(), 6, "{told:?}");
}

#[test]
fn who_is_answered_is_told_to_the_host_unless_a_member_has_the_address() {
    let mut net = Net::first_link(24, 2, SECOND);
    let ask = |net: &mut Net, mac, from: &str| {
        let since = net.now();
        net.inject(&frame::request(mac, ip(from), ip(V4)).unwrap());
        net.run_for(SECOND);
        let events = net.events().into_iter().filter(|(at, ..)| *at >= since);
        let askers = events.filter(|(_, _, event)| matches!(event, Event::Asker { .. }));
        askers
            .map(|(_, host, event)| (host, event))
            .collect::<Vec<_>>()
    };
    let told = ask(&mut net, STOCK, "10.0.0.153");
    let expected = Event::Asker {
        link: LINK,
        address: ip("10.0.0.153"),
        mac: STOCK,
    };
    assert_eq!(told, [(net.owner(V4), expected)]);
    for member in [1, 2] {
        let told = ask(&mut net, STOCK, &format!("10.0.0.{member}"));
        assert!(told.is_empty(), "{told:?}");
    }
}
