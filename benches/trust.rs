//! What it costs to sign, to check, and to refuse. `cargo bench --bench trust`
#![allow(missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use hamp::proto::Reason;
use hamp::proto::trust::{CheckLimits, Credentials, Mode, SecretKey, Signed, Trust};
use hamp::time::Instant;
use hamp::wire::{
    Authentication, AuthorityId, Certificate, ChainParameters, Message, Record, RecordAddress,
    Roles, Scope, Statement, StatementKind,
};

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
const NOW: Instant = Instant::from_millis(1_000);
const WALL: u64 = 1_795_176_000_000;
/// About as many as a datagram of 1,500 bytes takes beside a certificate.
const RECORDS: u8 = 45;

fn credentials(authority: &SecretKey) -> Credentials {
    let key = SecretKey::from_bytes(&[2; 32]);
    let certificate = authority.certify(Certificate {
        roles: Roles {
            member: true,
            router: false,
        },
        serial: 1,
        authority: AuthorityId([0; 16]),
        key: key.public().to_bytes(),
        not_before: WALL,
        not_after: WALL + 1_000_000,
        limit: 65_536,
        prefixes: vec!["198.18.0.0/16".parse().expect("a prefix")],
        hosts: vec![],
        signature: [0; 64],
    });
    Credentials::new(key, certificate).expect("its own key")
}

fn report(credentials: &Credentials) -> Message {
    let record = |n| Record {
        address: RecordAddress::Prefix(format!("198.18.7.{n}/32").parse().expect("a prefix")),
        draining: false,
        scope: Scope::Link,
        preference: 100,
        lifetime: Duration::from_secs(3),
        serial: None,
    };
    Message::Statement {
        member: credentials.member(),
        statement: Statement {
            kind: StatementKind::Full { part: 0, parts: 1 },
            interface: 1,
            epoch: 1,
            counter: 1,
            time: Duration::ZERO,
            generation: 1,
            digest: [0; 16],
            ipv4: Some([10, 0, 0, 1].into()),
            ipv6: None,
            mac: MAC,
            hello_interval: Duration::from_secs(1),
            dead_hellos: 3,
            router: false,
            chain: ChainParameters {
                end: [0; 16],
                base: 0,
                length: 1024,
            },
            records: (0..RECORDS).map(record).collect(),
            options: Vec::new(),
        },
        authentication: Authentication::None,
    }
}

fn trust(authority: &SecretKey, checks: u32) -> Trust {
    let limits = CheckLimits {
        known: checks,
        failed: checks,
        strangers: checks,
    };
    let mut trust = Trust::new(Mode::Enforce, [authority.public()], limits);
    trust.set_wall(NOW, WALL);
    trust
}

fn benches(criterion: &mut Criterion) {
    let authority = SecretKey::from_bytes(&[1; 32]);
    let credentials = credentials(&authority);
    let unsigned = report(&credentials);
    let payload = credentials.sign(unsigned.clone());
    let message = Message::decode(&payload).expect("our own");
    let fresh = || Signed::new(&payload);

    criterion.bench_function("sign a report", |bencher| {
        let draft = || unsigned.clone();
        bencher.iter_batched(draft, |m| credentials.sign(m), BatchSize::SmallInput);
    });
    criterion.bench_function("check a report of a known member", |bencher| {
        let mut trust = trust(&authority, u32::MAX);
        let first = trust.check(NOW, MAC, &message, Some(&fresh()));
        first.expect("a good signature");
        bencher.iter_batched(
            fresh,
            |signed| {
                let checked = trust.check(NOW, MAC, &message, Some(&signed));
                assert!(black_box(checked).is_ok());
            },
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("check a report and its certificate", |bencher| {
        bencher.iter_batched(
            || (trust(&authority, u32::MAX), fresh()),
            |(mut trust, signed)| {
                let checked = trust.check(NOW, MAC, &message, Some(&signed));
                assert!(black_box(checked).is_ok());
            },
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("refuse an unsigned report", |bencher| {
        let mut trust = trust(&authority, u32::MAX);
        bencher.iter(|| {
            let refused = trust.check(NOW, MAC, black_box(&unsigned), None);
            assert_eq!(refused, Err(Reason::Unsigned));
        });
    });
    criterion.bench_function("refuse a report of a flood", |bencher| {
        let mut trust = trust(&authority, 0);
        let signed = fresh();
        bencher.iter(|| {
            let refused = trust.check(NOW, MAC, black_box(&message), Some(&signed));
            assert_eq!(refused, Err(Reason::TooManyChecks));
        });
    });
}

criterion_group!(group, benches);
criterion_main!(group);
