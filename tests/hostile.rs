//! What a stranger on the link can make a host do, and cannot.

mod net;

use std::time::{Duration, Instant as Clock};

use hamp::node::{Config, Node};
use hamp::proto::Reason;
use hamp::proto::record_set::RecordSet;
use hamp::time::Instant;
use hamp::wire::frame;
use hamp::wire::{
    Authentication, ChainParameters, Hello, MemberId, Message, Record, RecordAddress, Scope,
    Statement, StatementKind,
};
use net::{LINK, host_state};

/// A host that serves nothing, and the time.
fn listener(config: Config) -> (Node, Instant) {
    let mut node = Node::new(config, [9; 32], 1);
    let now = Instant::from_millis(1_000);
    node.handle_link(now, LINK, Some(host_state(9)));
    (node, now)
}

/// A full report of the stranger `number`, who serves `prefixes`.
fn report(number: u8, prefixes: impl Iterator<Item = String>) -> Statement {
    let state = host_state(number);
    let records: Vec<Record> = prefixes
        .map(|prefix| Record {
            address: RecordAddress::Prefix(prefix.parse().unwrap()),
            draining: false,
            scope: Scope::Link,
            preference: 100,
            lifetime: Duration::from_secs(3),
            serial: None,
        })
        .collect();
    Statement {
        kind: StatementKind::Full { part: 0, parts: 1 },
        interface: 1,
        epoch: 1,
        counter: 1,
        time: Duration::ZERO,
        generation: 1,
        digest: records.iter().cloned().collect::<RecordSet>().digest(),
        ipv4: state.ipv4,
        ipv6: state.ipv6,
        mac: state.mac,
        hello_interval: Duration::from_secs(1),
        dead_hellos: 3,
        router: false,
        chain: ChainParameters {
            end: [0; 16],
            base: 0,
            length: 1024,
        },
        records,
        options: Vec::new(),
    }
}

/// Says `statement` to `node`, as the member `id`.
fn say(node: &mut Node, now: Instant, id: [u8; 16], statement: Statement) {
    let state = (statement.mac, statement.ipv4.unwrap());
    let message = Message::Statement {
        member: MemberId(id),
        statement,
        authentication: Authentication::None,
    };
    let frame = frame::message(state.0, state.1.into(), &message.encode());
    node.handle_frame(now, LINK, &frame, false);
    while node.poll_event().is_some() {}
    while node.poll_transmit().is_some() {}
}

#[test]
fn thousands_of_prefixes_do_not_hold_a_host_up() {
    let (mut node, now) = listener(Config::default());
    let began = Clock::now();
    for stranger in 1..=4u8 {
        let net = |n: u32| match n % 9 {
            0 => format!("198.18.{}.0/24", n % 256),
            _ => format!(
                "198.18.{}.{}/32",
                n / 256 + 16 * u32::from(stranger),
                n % 256
            ),
        };
        let prefixes: std::collections::BTreeSet<_> = (0..4_000).map(net).collect();
        let statement = report(stranger, prefixes.into_iter());
        say(&mut node, now, [stranger; 16], statement);
    }
    let took = began.elapsed();
    let (_, link) = node.links().next().unwrap();
    let owners: Vec<_> = link.owners().collect();
    assert!(owners.len() > 14_000, "{}", owners.len());
    for (prefix, owner) in owners.iter().step_by(100) {
        let first = link.ranks(prefix.network()).first().copied();
        assert_eq!(first, Some(*owner), "{prefix}");
    }
    // Half a second without optimisation; going through all records for each of them takes minutes.
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn wrong_hellos_far_ahead_cost_little() {
    let (mut node, now) = listener(Config::default());
    let mut statement = report(1, ["198.18.0.1/32".to_owned()].into_iter());
    statement.time = Duration::from_secs(900);
    let chain = statement.chain_id(MemberId([1; 16]));
    let (mac, source) = (statement.mac, statement.ipv4.unwrap());
    say(&mut node, now, [1; 16], statement);
    let mut hello = |after: u64, index| {
        let value = [7; 16];
        let hello = Hello {
            chain,
            index,
            value,
        };
        let member = MemberId([1; 16]);
        let message = Message::Hello { member, hello }.encode();
        let frame = frame::message(mac, source.into(), &message);
        node.handle_frame(now + Duration::from_millis(after), LINK, &frame, false);
        let count = |reason| node.counters().ignored_for(reason);
        [count(Reason::WrongValue), count(Reason::RateLimited)]
    };
    //= docs/spec/membership.md#hello
    //= type=test
    //# A receiver MUST NOT hash more than 64 times for a hello within 300 ms after one of that member
    //# whose value was wrong.
    assert_eq!(hello(0, 900), [1, 0]);
    assert_eq!(hello(1, 900), [1, 1]);
    assert_eq!(hello(299, 899), [1, 2]);
    assert_eq!(hello(300, 900), [2, 2]);
}
