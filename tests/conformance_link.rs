//! docs/spec/link.md, sentence by sentence, where first_link_virtual.rs does not show it
//! (R3, R5, R27).

mod net;

use std::net::IpAddr;
use std::time::Duration;

use hamp::addr::Prefix;
use hamp::node::{Event, JoinOptions};
use hamp::proto::Reason;
use hamp::proto::record_set::RecordSet;
use hamp::wire::frame;
use hamp::wire::{Authentication, ChainParameters, MemberId, Message, Statement, StatementKind};
use net::{LATENCY, LINK, Net, V4, V6, host_state, ip};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
const STOCK: [u8; 6] = [2, 0, 0, 0, 0, 0x99];

/// The order of hosts for `target`, as `host` sees it.
fn ranks(net: &Net, host: usize, target: &str) -> Vec<usize> {
    let link = net.link(host);
    let ranks = link.ranks(ip(target)).into_iter();
    ranks.map(|candidate| net.with_mac(candidate.mac)).collect()
}

/// The ids of the hosts, as the others know them.
fn ids(net: &Net) -> Vec<MemberId> {
    let members = (0..net.count()).map(|host| net.link(host).member());
    members.map(|member| member.identity().id).collect()
}

/// SipHash-2-4 written out from its paper, with an all-zero key.
fn siphash(bytes: &[u8]) -> u64 {
    let mut v: [u64; 4] = [
        0x736f_6d65_7073_6575,
        0x646f_7261_6e64_6f6d,
        0x6c79_6765_6e65_7261,
        0x7465_6462_7974_6573,
    ];
    let round = |v: &mut [u64; 4]| {
        v[0] = v[0].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(13) ^ v[0];
        v[0] = v[0].rotate_left(32);
        v[2] = v[2].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(16) ^ v[2];
        v[0] = v[0].wrapping_add(v[3]);
        v[3] = v[3].rotate_left(21) ^ v[0];
        v[2] = v[2].wrapping_add(v[1]);
        v[1] = v[1].rotate_left(17) ^ v[2];
        v[2] = v[2].rotate_left(32);
    };
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len() / 8 * 8 + 7, 0);
    padded.push(u8::try_from(bytes.len() % 256).unwrap());
    for word in padded
        .chunks(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
    {
        v[3] ^= word;
        (0..2).for_each(|_| round(&mut v));
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut v));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn score(member: MemberId, target: &str) -> u64 {
    let mut bytes = member.0.to_vec();
    match ip(target) {
        IpAddr::V4(address) => {
            bytes.push(4);
            bytes.extend(address.octets());
        }
        IpAddr::V6(address) => {
            bytes.push(6);
            bytes.extend(address.octets());
        }
    }
    siphash(&bytes)
}

// ===== Ranks =====

#[test]
fn members_are_ranked_by_draining_then_preference_then_score() {
    // The paper's test vector has another key; this one is of the zero key and no bytes.
    assert_eq!(siphash(&[]), 0x1e92_4b9d_7377_00d7);
    for target in [V4, V6] {
        let mut net = Net::new(1);
        for (number, preference) in [(1, 100), (2, 100), (3, 100), (4, 200), (5, 50)] {
            let host = net.add(number, SECOND, false);
            let options = JoinOptions {
                preference,
                ..JoinOptions::default()
            };
            net.join_with(host, target, options);
        }
        net.run_for(3 * SECOND);
        let ids = ids(&net);
        let mut equals = vec![0, 1, 2];
        equals.sort_by_key(|host| std::cmp::Reverse(score(ids[*host], target)));
        let expected = [vec![3], equals.clone(), vec![4]].concat();
        //= docs/spec/link.md#ranks
        //= type=test
        //# Members MUST be ranked by these, in this order: not draining before draining; higher
        //# preference; higher score; lower member id.
        for host in 0..5 {
            assert_eq!(
                ranks(&net, host, target),
                expected,
                "as host {host} sees it"
            );
        }
        net.leave(3, target);
        net.run_for(100 * MILLI);
        let draining = [equals, vec![4, 3]].concat();
        for host in 0..5 {
            assert_eq!(
                ranks(&net, host, target),
                draining,
                "as host {host} sees it"
            );
        }
    }
}

#[test]
fn the_longest_prefix_decides_who_the_candidates_are() {
    let mut net = Net::new(1);
    for (number, prefix) in [
        (1, "198.18.0.0/24"),
        (2, "198.18.0.0/24"),
        (3, "198.18.0.1/32"),
    ] {
        let host = net.add(number, SECOND, false);
        net.join(host, prefix);
    }
    net.run_for(3 * SECOND);
    assert_eq!(ranks(&net, 0, V4), [2]);
    let mut others = ranks(&net, 0, "198.18.0.7");
    others.sort_unstable();
    assert_eq!(others, [0, 1]);
}

// ===== Answers =====

#[test]
fn nobody_answers_for_an_address_that_it_does_not_serve() {
    let mut net = Net::first_link(1, 3, SECOND);
    let since = net.now();
    for _ in 0..3 {
        net.ask(STOCK, "198.18.0.200");
        net.run_for(SECOND);
    }
    //= docs/spec/link.md#answers
    //= type=test
    //# A host MUST NOT answer for an address that it does not serve.
    assert_eq!(net.answers_since(since, "198.18.0.200", false), []);
    for member in 0..3 {
        assert_eq!(net.ignored(member, Reason::NotServed), 3);
    }
}

// ===== Takeover =====

#[test]
fn a_takeover_is_announced_at_once_and_twice_more() {
    for target in [V4, V6] {
        let mut net = Net::first_link(2, 3, SECOND);
        let dead = net.owner(target);
        net.freeze(dead);
        let since = net.now();
        net.run_for(10 * SECOND);
        let announced = net.answers_since(since, target, true);
        let next = net.owner(target);
        //= docs/spec/link.md#takeover
        //= type=test
        //# When a member that served a prefix dies, drains it or leaves it, the member that is rank 1 then
        //# MUST announce the address at once, and twice more at intervals of 1.1 s.
        let pauses: Vec<_> = announced
            .windows(2)
            .map(|two| two[1].0.saturating_duration_since(two[0].0))
            .collect();
        assert_eq!(pauses, [1_100 * MILLI, 1_100 * MILLI]);
        assert!(announced.iter().all(|(_, host)| *host == next));
    }
}

#[test]
fn an_announcement_ends_when_the_departed_member_is_heard() {
    let mut net = Net::first_link(3, 3, SECOND);
    let dead = net.owner(V4);
    net.freeze(dead);
    net.run_for(3 * SECOND + MILLI);
    let since = net.now();
    // It listens for 500 ms as new, and then reports, before the second announcement is due.
    net.thaw(dead);
    net.run_for(10 * SECOND);
    //= docs/spec/link.md#takeover
    //= type=test
    //# A member MUST stop announcing when it is no longer rank 1 or when the departed member is heard
    //# again.
    assert_eq!(net.answers_since(since, V4, true), []);
    assert_eq!(net.owner(V4), dead);
}

#[test]
fn nothing_but_a_departure_is_announced() {
    let mut net = Net::first_link(4, 2, SECOND);
    let since = net.now();
    let late = net.add(50, SECOND, false);
    net.join(late, V4);
    net.join(late, V6);
    net.run_for(3 * SECOND);
    let options = JoinOptions {
        preference: 200,
        ..JoinOptions::default()
    };
    let better = net.add(51, SECOND, false);
    net.join_with(better, V4, options);
    net.run_for(60 * SECOND);
    assert_eq!(net.owner(V4), better);
    //= docs/spec/link.md#takeover
    //= type=test
    //# A member MUST NOT announce an address for any other reason, but to defend it against a
    //# stranger.
    for target in [V4, V6] {
        assert_eq!(net.answers_since(since, target, true), []);
    }
}

#[test]
fn of_a_whole_prefix_what_was_asked_for_is_announced() {
    let mut net = Net::new(5);
    let prefix: Prefix = "198.18.4.0/24".parse().unwrap();
    for number in [1, 2] {
        let host = net.add(number, SECOND, false);
        net.join(host, &prefix.to_string());
    }
    net.run_for(3 * SECOND);
    net.ask(STOCK, "198.18.4.9");
    net.run_for(SECOND);
    let owner = net.owner("198.18.4.9");
    net.freeze(owner);
    let since = net.now();
    net.run_for(4 * SECOND);
    assert!(!net.answers_since(since, "198.18.4.9", true).is_empty());
    assert_eq!(net.answers_since(since, "198.18.4.10", true), []);
}

// ===== A client's entries =====

#[test]
fn an_answer_that_nobody_asked_for_is_not_used() {
    let mut net = Net::first_link(6, 2, SECOND);
    let client = 2;
    let owner = net.state(net.owner(V4));
    let question = frame::Request {
        mac: host_state(100).mac,
        source: host_state(100).ipv4.unwrap().into(),
        target: ip(V4),
        destination: frame::BROADCAST,
    };
    let answer = frame::answer(&question, owner.mac, owner.ipv6).unwrap();
    net.inject(&answer);
    net.run_for(LATENCY + LATENCY);
    //= docs/spec/link.md#a-client-s-entries
    //= type=test
    //# A client MUST NOT use an answer that it did not ask for.
    assert_eq!(net.ignored(client, Reason::Unasked), 1);
    let link = net.link(client);
    assert_eq!(link.neighbours().count(), 0);
}

#[test]
fn an_entry_of_the_last_member_goes_with_it() {
    let mut net = Net::first_link(7, 1, SECOND);
    let client = 1;
    net.kernel_asks(client, V6);
    net.run_for(SECOND);
    net.leave(0, V6);
    net.run_for(100 * MILLI);
    let removed = |host: usize, event: &Event| {
        host == client
            && matches!(event, Event::Neighbour { address, mac: None, link: LINK } if *address == ip(V6))
    };
    assert!(
        net.events()
            .iter()
            .any(|(_, host, event)| removed(*host, event))
    );
}

#[test]
fn where_no_member_is_a_router_answers_and_nobody_else() {
    let mut net = Net::new(8);
    let client = net.add(100, SECOND, true);
    net.run_for(SECOND);
    let (router, other) = (host_state(0xfe), host_state(0x66));
    let message = Message::Statement {
        member: MemberId([7; 16]),
        statement: Statement {
            kind: StatementKind::Full { part: 0, parts: 1 },
            interface: 1,
            epoch: 1,
            counter: 1,
            time: Duration::ZERO,
            generation: 1,
            digest: RecordSet::default().digest(),
            ipv4: router.ipv4,
            ipv6: router.ipv6,
            mac: router.mac,
            router: true,
            hello_interval: SECOND,
            dead_hellos: 3,
            chain: ChainParameters {
                end: [0; 16],
                base: 0,
                length: 1024,
            },
            records: Vec::new(),
            options: Vec::new(),
        },
        authentication: Authentication::None,
    };
    let source = router.ipv4.unwrap().into();
    net.inject(&frame::message(router.mac, source, &message.encode()));
    net.kernel_asks(client, V4);
    net.run_for(10 * MILLI);
    let question = frame::Request {
        mac: host_state(100).mac,
        source: host_state(100).ipv4.unwrap().into(),
        target: ip(V4),
        destination: frame::BROADCAST,
    };
    for state in [other, router] {
        net.inject(&frame::answer(&question, state.mac, state.ipv6).unwrap());
    }
    net.run_for(10 * MILLI);
    //= docs/spec/link.md#a-client-s-entries
    //= type=test
    //# A client that knows no member for the target on the link MUST take the link's routers for
    //# members for it.
    assert_eq!(net.ignored(client, Reason::ForeignAnswer), 1);
    let entries: Vec<_> = net.link(client).neighbours().collect();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].0, entries[0].1.mac), (ip(V4), router.mac));
    // It stays as long as the router lives.
    net.run_for(2 * SECOND);
    assert_eq!(net.link(client).neighbours().count(), 1);
    net.run_for(2 * SECOND);
    assert_eq!(net.link(client).neighbours().count(), 0);
}
