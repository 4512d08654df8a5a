//! What the machines cost per packet. `cargo bench --bench machines`
#![allow(missing_docs)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hamp::node::{Config, Heard, JoinOptions, LinkId, LinkState, Node};
use hamp::proto::chain::{CHAIN_LENGTH, Chain, Tail};
use hamp::proto::ownership;
use hamp::time::Instant;
use hamp::wire::MemberId;
use hamp::wire::frame;

const LINK: LinkId = LinkId(2);
const ANYCAST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1));

fn state(number: u8) -> LinkState {
    LinkState {
        mac: [2, 0, 0, 0, 0, number],
        ipv4: Some(Ipv4Addr::new(10, 0, 0, number)),
        ipv6: Some(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, number.into())),
        mtu: 1500,
    }
}

/// `count` members of one address that know each other, and the time.
fn members(count: u8) -> (Vec<Node>, Instant) {
    let mut now = Instant::from_millis(1_000);
    let mut nodes: Vec<Node> = (1..=count)
        .map(|number| {
            let config = Config {
                name: format!("host {number}"),
                ..Config::default()
            };
            let mut node = Node::new(config, [number; 32], 1);
            node.handle_link(now, LINK, Some(state(number)));
            let joined = node.join(now, ANYCAST.into(), JoinOptions::default());
            joined.expect("an anycast address");
            node
        })
        .collect();
    let end = now + Duration::from_secs(3);
    while now < end {
        now += Duration::from_millis(10);
        for speaker in 0..nodes.len() {
            nodes[speaker].handle_timeout(now);
            while nodes[speaker].poll_event().is_some() {}
            while let Some(transmit) = nodes[speaker].poll_transmit() {
                for (listener, node) in nodes.iter_mut().enumerate() {
                    if listener != speaker {
                        node.handle_frame(now, LINK, &transmit.frame, false);
                    }
                }
            }
        }
    }
    (nodes, now)
}

fn chains(criterion: &mut Criterion) {
    let member = MemberId([7; 16]);
    let chain = Chain::new(member, [1; 16], 0);
    let tail = Tail::new(chain.parameters());
    for index in [1, 4, CHAIN_LENGTH] {
        let value = chain.value(index).expect("a value of the chain");
        criterion.bench_function(
            &format!("hello verified after {index} intervals"),
            |bencher| {
                bencher.iter_batched_ref(
                    || tail,
                    |tail| tail.advance(member, black_box(index), value),
                    BatchSize::SmallInput,
                );
            },
        );
    }
    criterion.bench_function("chain made", |bencher| {
        bencher.iter(|| Chain::new(member, black_box([1; 16]), 0));
    });
    criterion.bench_function("rank score", |bencher| {
        bencher.iter(|| ownership::score(black_box(member), ANYCAST));
    });
}

fn nodes(criterion: &mut Criterion) {
    for count in [3, 16] {
        let (mut nodes, mut now) = members(count);
        let ranks = |node: &Node| node.links().next().expect("a link").1.ranks(ANYCAST);
        assert_eq!(ranks(&nodes[0]).len(), usize::from(count), "all are known");
        criterion.bench_function(&format!("ranks of {count} members"), |bencher| {
            bencher.iter(|| ranks(black_box(&nodes[0])));
        });
        let owner = nodes
            .iter()
            .position(|node| ranks(node)[0].own)
            .expect("one owns it");
        let asker = Ipv4Addr::new(10, 0, 0, 99).into();
        let request = frame::request([2, 0, 0, 0, 0, 99], asker, ANYCAST).expect("one family");
        let owner = &mut nodes[owner];
        criterion.bench_function(
            &format!("ARP request answered, {count} members"),
            |bencher| {
                bencher.iter(|| {
                    now += Duration::from_micros(1);
                    owner.handle_frame(now, LINK, black_box(&request), false);
                    let answer = owner.poll_transmit();
                    while owner.poll_event().is_some() || owner.poll_transmit().is_some() {}
                    answer
                });
            },
        );
    }
}

/// How many hellos are heard, each in two copies.
const HELLOS: u64 = 60;

/// A host that knows a member, and what that member says in the next minute.
fn minute() -> (Node, Vec<(Instant, Heard)>) {
    let begin = Instant::from_millis(1_000);
    let host = |number: u8| {
        let mut node = Node::new(Config::default(), [number; 32], 1);
        node.handle_link(begin, LINK, Some(state(number)));
        node
    };
    let (mut member, mut listener) = (host(1), host(2));
    let joined = member.join(begin, ANYCAST.into(), JoinOptions::default());
    joined.expect("an anycast address");
    let mut frames = Vec::new();
    // Hellos begin a second after its first report, which comes after half a second.
    for half in 0..2 * (HELLOS + 2) {
        let now = begin + Duration::from_millis(500 * half);
        member.handle_timeout(now);
        while member.poll_event().is_some() {}
        while let Some(transmit) = member.poll_transmit() {
            let heard = Heard::read(&transmit.frame);
            if half < 4 {
                listener.handle_heard(now, LINK, &heard, false);
            } else {
                frames.push((now, heard));
            }
        }
    }
    (listener, frames)
}

fn hellos(criterion: &mut Criterion) {
    let (mut listener, frames) = minute();
    for (now, heard) in &frames {
        listener.handle_heard(*now, LINK, heard, false);
    }
    let used: u64 = listener.counters().received().map(|(_, count)| count).sum();
    assert!(used >= HELLOS, "{used} frames used");
    let mut group = criterion.benchmark_group("hellos");
    group.throughput(Throughput::Elements(frames.len() as u64));
    group.bench_function("heard, and their second copies", |bencher| {
        bencher.iter_batched_ref(
            minute,
            |(listener, frames)| {
                for (now, heard) in frames {
                    listener.handle_heard(*now, LINK, black_box(heard), false);
                }
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, chains, nodes, hellos);
criterion_main!(benches);
