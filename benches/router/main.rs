//! What a router's table costs at scale, and how near that is to what the machine allows.
//!
//! ```text
//! cargo bench --bench router
//! cargo bench --bench router -- --json docs/figures/router.json
//! ```
//!
//! The first form is criterion's, by the clock on the wall. The second fills a table of 65,536
//! addresses with 16 members and writes what was measured as JSON: bytes by an allocator that
//! counts, times in processor time, the median of several rounds; each beside the limit that it is
//! a share of, measured in the same run.
#![allow(missing_docs)]

mod allocator;
mod site;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use criterion::{BatchSize, Criterion, Throughput};
use hamp::proto::chain::{Chain, Tail};
use hamp::proto::record_set::RecordSet;
use hamp::proto::trust::SecretKey;
use hamp::wire::frame::Frame;
use hamp::wire::{MemberId, Message};
use nix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use site::Site;

#[global_allocator]
static ALLOCATOR: allocator::Counting = allocator::Counting;

/// Addresses of the full table, and members that each serve all of them.
const ADDRESSES: usize = 65_536;
const MEMBERS: usize = 16;
/// Sizes at which a hello is measured.
const SIZES: [usize; 3] = [1, 1_000, ADDRESSES];
/// Hellos of a round.
const HELLOS: u32 = 500;
const ROUNDS: usize = 5;
/// What is copied to measure the memory: more than the caches hold.
const COPIED: usize = 256 << 20;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let result = match arguments.find(|argument| argument == "--json") {
        Some(_) => write(arguments.next()),
        None => {
            by_criterion();
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("router: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Processor time of this thread: other programs do not count.
fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has it");
    now.into()
}

/// Seconds of processor time that `what` takes, the median of some rounds; `make` is not counted.
fn seconds<T, R>(rounds: usize, mut make: impl FnMut() -> T, mut what: impl FnMut(T) -> R) -> f64 {
    let mut taken: Vec<f64> = (0..rounds)
        .map(|_| {
            let input = make();
            let begin = processor_time();
            let output = black_box(what(black_box(input)));
            let taken = processor_time().saturating_sub(begin).as_secs_f64();
            drop(output);
            taken
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    taken[rounds / 2]
}

fn by_criterion() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("refresh by hello");
    for addresses in SIZES {
        let mut site = Site::new(1, addresses);
        site.report_all();
        let hellos = site.hellos(0, HELLOS);
        group.throughput(Throughput::Elements(hellos.len() as u64));
        group.bench_function(format!("{addresses} addresses"), |bencher| {
            let again = || site.router.clone();
            bencher.iter_batched_ref(
                again,
                |router| site::hear(router, &hellos),
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("records taken in");
    let site = Site::new(1, ADDRESSES);
    let report = site.reports[0].clone();
    group.throughput(Throughput::Elements(ADDRESSES as u64));
    group.sample_size(10);
    group.bench_function("from bytes to routes", |bencher| {
        let again = || site.router.clone();
        bencher.iter_batched_ref(
            again,
            |router| site::hear(router, &report),
            BatchSize::LargeInput,
        );
    });
    group.finish();
    let (text, key) = (vec![7; 1200], SecretKey::from_bytes(&[1; 32]));
    let (signature, public) = (key.sign(&text), key.public());
    criterion.bench_function("Ed25519 verification of 1200 bytes", |bencher| {
        bencher.iter(|| public.verifies(black_box(&text), &signature));
    });
    criterion.final_summary();
}

fn write(path: Option<String>) -> Result<()> {
    let path = path.context("--json FILE")?;
    let copy = copy_rate();
    eprintln!("memory: {:.1} GB/s copied", copy / 1e9);
    let document = json!({
        "schema": "hamp.router-scale/1",
        "addresses": ADDRESSES,
        "members": MEMBERS,
        "memory_copied_bytes_per_s": copy.round(),
        "table": table(copy)?,
        "stages": stages(),
        "hello": hello()?,
        "signature": signature(),
    });
    let text = serde_json::to_string_pretty(&document)?;
    println!("{text}");
    // Cargo runs benches in the package's directory.
    std::fs::write(&path, text + "\n").with_context(|| path)
}

/// Bytes a second that one core copies.
fn copy_rate() -> f64 {
    let from = vec![1_u8; COPIED];
    let mut to = vec![0_u8; COPIED];
    let taken = seconds(ROUNDS, || (), |()| to.copy_from_slice(black_box(&from)));
    COPIED as f64 / taken
}

/// A table of all addresses by all members: what it holds of memory, and what filling it takes.
fn table(copy: f64) -> Result<Value> {
    let memberships = ADDRESSES * MEMBERS;
    let before = allocator::held();
    let site = Site::new(MEMBERS, ADDRESSES);
    let (reports, empty) = (site.reports, site.router);
    let packets: usize = reports.iter().map(Vec::len).sum();
    let bytes: usize = reports.iter().flatten().map(|(_, frame)| frame.len()).sum();
    let mut taken = Vec::new();
    let mut each = vec![Vec::new(); MEMBERS];
    let (mut held, mut peak) = (0, 0);
    for _ in 0..ROUNDS {
        let mut router = empty.clone();
        let (start, mut all) = (allocator::held(), 0.0);
        allocator::forget_peak();
        for (member, report) in reports.iter().enumerate() {
            let begin = processor_time();
            site::hear(&mut router, report);
            let time = processor_time().saturating_sub(begin).as_secs_f64();
            each[member].push(time);
            all += time;
        }
        taken.push(all);
        held = allocator::held() - start;
        peak = allocator::peak() - start;
        let table = router.router().context("a router")?;
        ensure!(
            table.memberships() == memberships,
            "{} memberships",
            table.memberships()
        );
        ensure!(
            table.route_count() == ADDRESSES,
            "{} routes",
            table.route_count()
        );
    }
    taken.sort_by(f64::total_cmp);
    let median = taken[ROUNDS / 2];
    let rate = memberships as f64 / median;
    let by_member = each.iter_mut().map(|times| {
        times.sort_by(f64::total_cmp);
        (ADDRESSES as f64 / times[ROUNDS / 2]).round()
    });
    // What has to be read and written at least: the datagrams, and an entry of 32 bytes.
    let moved = bytes as f64 / memberships as f64 + 32.0;
    Ok(json!({
        "memberships": memberships,
        "bytes_per_membership": held as f64 / memberships as f64,
        "peak_bytes_per_membership": peak as f64 / memberships as f64,
        "limit_bytes_per_membership": 128,
        "datagrams": packets,
        "datagram_bytes": bytes,
        "filled_in_s": median,
        "records_per_s": rate.round(),
        "records_per_s_by_member": by_member.collect::<Vec<_>>(),
        "wanted_records_per_s": 5_000_000,
        "share_of_memory_copied": rate * moved / copy,
        "harness_bytes": allocator::held() - before - held,
    }))
}

/// What one member's report costs, stage by stage, in nanoseconds a record.
fn stages() -> Value {
    let site = Site::new(1, ADDRESSES);
    let frames = &site.reports[0];
    let per_record = |seconds: f64| seconds * 1e9 / ADDRESSES as f64;
    let payloads: Vec<&[u8]> = frames
        .iter()
        .filter_map(|(_, frame)| match Frame::parse(frame) {
            Ok(Frame::Message { payload, .. }) => Some(payload),
            _ => None,
        })
        .collect();
    let parse = seconds(
        ROUNDS,
        || (),
        |()| {
            frames
                .iter()
                .filter(|(_, frame)| Frame::parse(frame).is_ok())
                .count()
        },
    );
    let decode = seconds(
        ROUNDS,
        || (),
        |()| {
            payloads
                .iter()
                .filter(|payload| Message::decode(payload).is_ok())
                .count()
        },
    );
    let parts: Vec<_> = payloads
        .iter()
        .filter_map(|payload| match Message::decode(payload) {
            Ok(Message::Statement { statement, .. }) => Some(statement.records),
            _ => None,
        })
        .collect();
    let collect = seconds(
        ROUNDS,
        || (),
        |()| {
            parts
                .iter()
                .map(|part| part.iter().collect())
                .collect::<Vec<RecordSet>>()
        },
    );
    let sets: Vec<RecordSet> = parts.iter().map(|part| part.iter().collect()).collect();
    let concat = seconds(ROUNDS, || (), |()| RecordSet::concat(&sets));
    let whole = RecordSet::concat(&sets);
    let digest = seconds(ROUNDS, || (), |()| whole.digest());
    let encoded: usize = 16 * ADDRESSES;
    let plain = vec![5_u8; encoded];
    let hash = seconds(ROUNDS, || (), |()| Sha256::digest(&plain));
    let all = seconds(
        ROUNDS,
        || site.router.clone(),
        |mut router| {
            site::hear(&mut router, frames);
            router
        },
    );
    json!({
        "parse_ns_per_record": per_record(parse),
        "decode_ns_per_record": per_record(decode),
        "collect_ns_per_record": per_record(collect),
        "join_parts_ns_per_record": per_record(concat),
        "digest_ns_per_record": per_record(digest),
        "sha256_alone_ns_per_record": per_record(hash),
        "all_ns_per_record": per_record(all),
    })
}

/// A refresh by hello, from bytes to a member that lives on, by how many addresses that keeps.
fn hello() -> Result<Value> {
    let mut refresh = Vec::new();
    for addresses in SIZES {
        let mut site = Site::new(1, addresses);
        site.report_all();
        let frames = site.hellos(0, HELLOS);
        let taken = seconds(
            ROUNDS,
            || site.router.clone(),
            |mut router| {
                site::hear(&mut router, &frames);
                router
            },
        );
        let mut router = site.router.clone();
        let before: u64 = router.counters().received().map(|(_, count)| count).sum();
        site::hear(&mut router, &frames);
        let after: u64 = router.counters().received().map(|(_, count)| count).sum();
        ensure!(
            after - before == u64::from(HELLOS),
            "{} hellos used",
            after - before
        );
        refresh.push(json!({
            "addresses": addresses,
            "ns": taken * 1e9 / f64::from(HELLOS),
        }));
    }
    let member = MemberId([7; 16]);
    let chain = Chain::new(member, [1; 16], 0);
    let values: Vec<_> = (1..=1000)
        .filter_map(|index| Some((index, chain.value(index)?)))
        .collect();
    let start = Tail::new(chain.parameters());
    let verify = seconds(
        ROUNDS,
        || start,
        |mut tail| {
            let mut good = 0;
            for (index, value) in &values {
                good += usize::from(tail.advance(member, *index, *value).is_ok());
            }
            assert_eq!(good, values.len());
        },
    );
    let text = [7_u8; 52];
    let hash = seconds(
        ROUNDS,
        || (),
        |()| {
            for _ in 0..1000 {
                black_box(Sha256::digest(black_box(&text)));
            }
        },
    );
    Ok(json!({
        "limit_ns": 1000,
        "refresh": refresh,
        "verify_ns": verify * 1e9 / values.len() as f64,
        "sha256_of_52_bytes_ns": hash * 1e6,
        "verify_share_of_sha256": hash * 1e6 / (verify * 1e9 / values.len() as f64),
    }))
}

/// What verifying a signature costs, and how many records that is spread over.
fn signature() -> Value {
    let (text, key) = (vec![7; 1200], SecretKey::from_bytes(&[1; 32]));
    let (signature, public) = (key.sign(&text), key.public());
    let taken = seconds(
        ROUNDS,
        || (),
        |()| {
            for _ in 0..100 {
                assert!(public.verifies(black_box(&text), &signature));
            }
        },
    );
    json!({ "verify_ns": taken * 1e7, "bytes": text.len() })
}
