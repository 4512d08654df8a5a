//! What a message costs to read and to write, by its size. `cargo bench --bench wire`
#![allow(missing_docs)]

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use hamp::addr;
use hamp::wire::frame::{self, Frame};
use hamp::wire::{
    Authentication, ChainParameters, Hello, MemberId, Message, Record, RecordAddress, Scope,
    Statement, StatementKind,
};

const MAC: [u8; 6] = [2, 0x15, 0x46, 0, 0, 1];
const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 15, 46, 1));

fn report(records: u8) -> Message {
    let record = |host| Record {
        address: RecordAddress::Prefix(addr::host([198, 18, 0, host].into())),
        draining: false,
        scope: Scope::Link,
        preference: 100,
        lifetime: Duration::from_secs(3),
        serial: None,
    };
    Message::Statement {
        member: MemberId([7; 16]),
        statement: Statement {
            kind: StatementKind::Full { part: 0, parts: 1 },
            interface: 2,
            epoch: 1,
            counter: 1,
            time: Duration::ZERO,
            generation: 1,
            digest: [9; 16],
            ipv4: Some([10, 15, 46, 1].into()),
            ipv6: Some("fe80::1".parse().expect("an address")),
            mac: MAC,
            hello_interval: Duration::from_secs(1),
            dead_hellos: 3,
            router: false,
            chain: ChainParameters {
                end: [1; 16],
                base: 0,
                length: 1_024,
            },
            records: (0..records).map(record).collect(),
            options: Vec::new(),
        },
        authentication: Authentication::None,
    }
}

fn hello() -> Message {
    let hello = Hello {
        chain: [3; 8],
        index: 7,
        value: [5; 16],
    };
    Message::Hello {
        member: MemberId([7; 16]),
        hello,
    }
}

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    let sizes = [0, 1, 16, 64].map(|count| (format!("report of {count}"), report(count)));
    for (name, message) in [("hello".to_owned(), hello())].into_iter().chain(sizes) {
        let bytes = message.encode();
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_with_input(
            BenchmarkId::new("decode", &name),
            &bytes,
            |bencher, bytes| {
                bencher.iter(|| Message::decode(black_box(bytes)));
            },
        );
        group.bench_with_input(
            BenchmarkId::new("encode", &name),
            &message,
            |bencher, message| {
                bencher.iter(|| black_box(message).encode());
            },
        );
    }
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    let asker = [2, 0, 0, 0, 0, 9];
    let hello = hello().encode();
    let arp = frame::request(asker, SOURCE, [198, 18, 0, 1].into()).expect("one family");
    let ns = frame::request(
        asker,
        "fe80::9".parse().expect("an address"),
        "2001:2:0:1546::1".parse().expect("an address"),
    );
    let own = Some("fe80::1".parse().expect("an address"));
    for (name, request) in [("ARP", arp), ("NDP", ns.expect("one family"))] {
        group.bench_function(format!("parse {name} request"), |bencher| {
            bencher.iter(|| Frame::parse(black_box(&request)).is_ok());
        });
        let Ok(Frame::Request(request)) = Frame::parse(&request) else {
            unreachable!("it was built as a request")
        };
        group.bench_function(format!("build {name} answer"), |bencher| {
            bencher.iter(|| frame::answer(black_box(&request), MAC, own));
        });
    }
    let framed = frame::message(MAC, SOURCE, &hello);
    group.bench_function("parse hello's UDP", |bencher| {
        bencher.iter(|| Frame::parse(black_box(&framed)).is_ok());
    });
    group.bench_function("build hello's UDP", |bencher| {
        bencher.iter(|| frame::message(MAC, SOURCE, black_box(&hello)));
    });
}

criterion_group!(benches, messages, frames);
criterion_main!(benches);
