//! From requests and captures to figures and checks.

mod answers;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::inject;
use super::load::{Request, Service};
use super::round::Told;
use super::wire::{self, Asked};
use super::{A4, A6, window};
use crate::capture::Stamp;
use crate::report::{Check, Kind, Mark, Phase, Run, Takeover};

/// A request that was on its way when a fault struck is the fault's, if it was sent at most so long
/// before.
const IN_FLIGHT_MS: f64 = 50.0;
/// What an entry may live after its member, in milliseconds.
const ENTRY_LIMIT_MS: f64 = 60_000.0;

/// Adds a round to the report.
pub(super) fn add(run: &mut Run, told: &Told, started: Stamp) {
    let anycast: [IpAddr; 2] = [A4, A6].map(|a| a.parse().unwrap_or(IpAddr::from([0; 4])));
    for mark in &told.marks {
        phases(run, told, mark, started);
    }
    takeovers(run, told, started);
    let mut checks = Vec::new();
    if let Some(why) = &told.broke {
        checks.push(Check::none(
            "story-told",
            std::slice::from_ref(why),
            "failures",
        ));
    }
    answers::loads(&mut checks, told);
    let asked = wire::questions(&told.captured, anycast);
    answers::resolution(&mut checks, told, &asked);
    let segments = wire::segments(&told.captured, anycast, &told.unicast);
    let seen = format!(
        "{} SYNs, {} SYN-ACKs",
        segments.syns, segments.unicast_syn_acks
    );
    checks.push(Check::none("tcp-only-syn", &segments.violations, "segments").noted(seen));
    let unanswered = if segments.unicast_syn_acks == 0 {
        vec!["none seen".into()]
    } else {
        vec![]
    };
    checks.push(Check::none("tcp-unicast-syn-ack", &unanswered, "failures"));
    let injected = inject::found(&told.captured, anycast);
    let mut taken = injected.answers;
    if told.broke.is_none() && (injected.arrived < 18 || injected.syn_acks < 2) {
        taken.push(format!(
            "{} arrived, {} SYNs answered",
            injected.arrived, injected.syn_acks
        ));
    }
    let sent = format!("{} segments by hand", injected.arrived);
    checks.push(Check::none("tcp-nothing-but-syn-taken", &taken, "segments").noted(sent));
    checks.push(Check::at_most(
        "capture-lost",
        figure(told.captured.lost),
        0.0,
        "frames",
    ));
    let bad: Vec<String> = told
        .programs
        .iter()
        .filter(|p| p.answered_by.is_none())
        .map(|p| format!("{}: {}", p.command, p.error.as_deref().unwrap_or("?")))
        .collect();
    checks.push(
        Check::none("programs", &bad, "failures").noted(format!("{} run", told.programs.len())),
    );
    if let Some((requests, failures)) = &told.established {
        let note = format!("{requests} requests on open connections");
        checks.push(Check::none("established-survive", failures, "requests").noted(note));
    }
    for (new, how) in &told.rejoined {
        let not = if *new { vec![] } else { vec![how.clone()] };
        checks.push(Check::none("rejoins-as-new", &not, "failures"));
    }
    for (family, lived) in &told.entries {
        checks.push(Check::at_most(
            format!("entry-age-v{family}"),
            *lived,
            ENTRY_LIMIT_MS,
            "ms",
        ));
    }
    let hello = told.hello.as_millis();
    run.checks.extend(checks.into_iter().map(|c| Check {
        id: format!("{}/hello-{hello}ms", c.id),
        ..c
    }));
    run.programs.clone_from(&told.programs);
}

fn figure(count: impl TryInto<u32>) -> f64 {
    f64::from(count.try_into().unwrap_or(u32::MAX))
}

/// Whether a request belongs to a phase: sent in it, or lost on its way when the fault that begins
/// it struck.
fn belongs(request: &Request, mark: &Mark) -> bool {
    let flew = mark.kind == Kind::Fault
        && request.outcome.is_err()
        && request.sent < mark.from
        && request.done >= mark.from
        && mark.from.ms_since(request.sent) <= IN_FLIGHT_MS;
    (mark.from <= request.sent && request.sent < mark.to) || flew
}

/// The requests of a phase; one that a later fault took is the fault's alone.
pub(super) fn share<'a>(
    requests: &'a [Request],
    marks: &'a [Mark],
    mark: &'a Mark,
) -> impl Iterator<Item = &'a Request> {
    let later = |m: &&Mark| m.from > mark.from && m.kind == Kind::Fault;
    let taken = move |r: &Request| marks.iter().filter(later).any(|m| belongs(r, m));
    requests
        .iter()
        .filter(move |r| belongs(r, mark) && !taken(r))
}

fn of<'a>(told: &'a Told, mark: &'a Mark) -> impl Iterator<Item = &'a Request> {
    share(&told.requests, &told.marks, mark)
}

fn phases(run: &mut Run, told: &Told, mark: &Mark, started: Stamp) {
    let mut kinds: BTreeMap<(u8, Service, &str), Vec<&Request>> = BTreeMap::new();
    for request in of(told, mark) {
        kinds
            .entry((request.family, request.service, request.host))
            .or_default()
            .push(request);
    }
    for ((family, service, host), requests) in kinds {
        let mut by_member = BTreeMap::new();
        let mut times = Vec::new();
        let mut gap_ms = 0.0f64;
        let mut last: Option<Stamp> = None;
        for request in &requests {
            let Ok(member) = &request.outcome else {
                continue;
            };
            *by_member.entry(member.clone()).or_insert(0) += 1;
            times.push(request.done.ms_since(request.sent));
            gap_ms = gap_ms.max(last.map_or(0.0, |l| request.sent.ms_since(l)));
            last = Some(request.sent);
        }
        times.sort_by(f64::total_cmp);
        let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or(0.0);
        run.phases.push(Phase {
            name: mark.name.clone(),
            hello_ms: u64::try_from(told.hello.as_millis()).unwrap_or(u64::MAX),
            from_ms: mark.from.ms_since(started),
            to_ms: mark.to.ms_since(started),
            family,
            service: service.name().into(),
            from_host: host.into(),
            requests: requests.len(),
            ok: times.len(),
            failed: requests.len() - times.len(),
            by_member,
            gap_ms,
            p50_ms: at(50),
            p99_ms: at(99),
        });
    }
}

/// The last member that answered a host over a family before a moment.
fn owner_before<'a>(told: &'a Told, host: &str, family: u8, at: Stamp) -> Option<&'a str> {
    let mut before = told
        .requests
        .iter()
        .rev()
        .filter(|r| r.host == host && r.family == family && r.done < at);
    before.find_map(|r| r.outcome.as_deref().ok())
}

fn takeovers(run: &mut Run, told: &Told, started: Stamp) {
    for mark in told
        .marks
        .iter()
        .filter(|m| m.kind != Kind::Quiet && m.host.is_some())
    {
        for family in [4, 6] {
            let Some(before) = owner_before(told, "client", family, mark.from) else {
                continue;
            };
            let of_family: Vec<_> = of(told, mark).filter(|r| r.family == family).collect();
            let other = |r: &&&Request| {
                r.host == "client" && r.outcome.as_deref().is_ok_and(|m| m != before)
            };
            let Some(first) = of_family.iter().filter(other).min_by_key(|r| r.done) else {
                continue;
            };
            let lost: Vec<_> = of_family.iter().filter(|r| r.outcome.is_err()).collect();
            let fault = mark.kind == Kind::Fault;
            run.takeovers.push(Takeover {
                event: mark.name.clone(),
                hello_ms: u64::try_from(told.hello.as_millis()).unwrap_or(u64::MAX),
                family,
                at_ms: mark.from.ms_since(started),
                from: before.into(),
                to: first.outcome.clone().unwrap_or_default(),
                took_ms: first.done.ms_since(mark.from),
                lost: lost.len(),
                last_lost_ms: lost
                    .iter()
                    .map(|r| r.sent.ms_since(mark.from))
                    .reduce(f64::max),
                window_ms: if fault {
                    window(told.hello).as_secs_f64() * 1e3
                } else {
                    0.0
                },
            });
        }
    }
}
