//! From requests and captures to figures and checks.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::inject;
use super::load::{Request, Service};
use super::round::Told;
use super::wire::{self, Asked};
use super::{A4, A6, Kind, Mark, window};
use crate::capture::Stamp;
use crate::report::{Check, Phase, Run, Takeover};

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
    loads(&mut checks, told);
    let asked = wire::questions(&told.captured, anycast);
    resolution(&mut checks, told, &asked);
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

/// What is wrong with a request, for the detail of a check.
fn describe(request: &Request, mark: &Mark) -> String {
    let Request { host, family, .. } = request;
    let (service, end) = (
        request.service.name(),
        request.outcome.as_ref().unwrap_or_else(|e| e),
    );
    let at = request.sent.ms_since(mark.from);
    format!(
        "{host} {service} v{family} {at:.0} ms into {:?}: {end}",
        mark.name
    )
}

/// Losses and answers of more than one member.
fn loads(checks: &mut Vec<Check>, told: &Told) {
    let (mut quiet, mut orderly, mut second) = (Vec::new(), Vec::new(), Vec::new());
    for mark in &told.marks {
        let lost: Vec<&Request> = of(told, mark).filter(|r| r.outcome.is_err()).collect();
        match mark.kind {
            Kind::Quiet => quiet.extend(lost.iter().map(|r| describe(r, mark))),
            Kind::Orderly => orderly.extend(lost.iter().map(|r| describe(r, mark))),
            Kind::Fault => {
                let last = lost
                    .iter()
                    .map(|r| r.sent.ms_since(mark.from))
                    .reduce(f64::max);
                let limit = window(told.hello).as_secs_f64() * 1e3;
                // Without the member's name, which differs from run to run.
                let event = mark.host.and_then(|h| mark.name.strip_suffix(h));
                let event = event.unwrap_or(&mark.name).trim_end();
                let id = format!("last-lost/{}", event.replace([' ', '+'], "-"));
                let check = Check::at_most(id, last.unwrap_or(0.0), limit, "ms");
                let v4 = lost.iter().filter(|r| r.family == 4).count();
                checks.push(check.noted(format!("{v4} lost over v4, {} over v6", lost.len() - v4)));
            }
        }
        for (host, family) in ASKING {
            if let Some(what) = second_actor(told, mark, host, family) {
                second.push(format!("{host} v{family} in {:?}: {what}", mark.name));
            }
        }
    }
    if let Some(first) = told.marks.first() {
        let who: BTreeSet<_> = of(told, first)
            .filter_map(|r| r.outcome.as_deref().ok())
            .collect();
        let who: Vec<_> = who.into_iter().collect();
        let members = figure(who.len());
        let check = Check::at_most("undisturbed-members", members, 1.0, "members");
        checks.push(check.noted(who.join(" ")));
    }
    checks.insert(0, Check::none("undisturbed-lost", &quiet, "requests"));
    checks.insert(1, Check::none("orderly-lost", &orderly, "requests"));
    checks.insert(2, Check::none("second-actor", &second, "phases"));
    let overlap = told
        .marks
        .iter()
        .filter(|m| m.kind != Kind::Quiet)
        .map(|m| overlap(told, m));
    let limit = window(told.hello).as_secs_f64() * 1e3;
    checks.push(Check::at_most(
        "handover-overlap",
        overlap.fold(0.0, f64::max),
        limit,
        "ms",
    ));
}

/// Who asks, and over what.
const ASKING: [(&str, u8); 4] = [("client", 4), ("client", 6), ("stock", 4), ("stock", 6)];

/// What is wrong with who answered a host in the settled part of a phase.
///
/// One member answers. The stock host may have forgotten its entry and found another member, once,
/// since it asks whoever is first at that moment; a client of ours stays with its member. The
/// struck member does not answer at all.
fn second_actor(told: &Told, mark: &Mark, host: &str, family: u8) -> Option<String> {
    let settled = of(told, mark).filter(|r| r.sent >= mark.settled);
    let asked = settled.filter(|r| r.host == host && r.family == family);
    let answers: Vec<&str> = asked.filter_map(|r| r.outcome.as_deref().ok()).collect();
    let switches = answers.windows(2).filter(|w| w[0] != w[1]).count();
    let allowed = usize::from(host == "stock");
    if switches > allowed {
        let who: BTreeSet<_> = answers.into_iter().collect();
        let who: Vec<_> = who.into_iter().collect();
        return Some(format!("{} in turns, {switches} times", who.join(" and ")));
    }
    let struck = mark.host.filter(|_| mark.kind == Kind::Fault)?;
    let count = answers.iter().filter(|m| **m == struck).count();
    (count > 0).then(|| format!("{struck} still answers, {count} times"))
}

/// From the first answer of a new member to a host to the last of the one before, in milliseconds.
fn overlap(told: &Told, mark: &Mark) -> f64 {
    let mut longest = 0.0f64;
    for (host, family) in ASKING {
        let Some(before) = owner_before(told, host, family, mark.from) else {
            continue;
        };
        let by = |old: bool| {
            let asked = of(told, mark).filter(move |r| r.host == host && r.family == family);
            let answered = asked.filter(|r| r.outcome.is_ok());
            answered
                .filter(move |r| (r.outcome.as_deref() == Ok(before)) == old)
                .map(|r| r.sent)
        };
        if let (Some(new), Some(old)) = (by(false).min(), by(true).max()) {
            longest = longest.max(old.ms_since(new));
        }
    }
    longest
}

/// A question less than this after the one before it is its retry (design: ranks answer by the
/// count of questions).
const RETRY_MS: f64 = 1500.0;

/// Answers to ARP and neighbour solicitations, outside the windows.
///
/// A first question draws one answer, that of the owner. The n-th of a series draws at least one
/// and at most n, since rank k answers from the k-th on.
fn resolution(checks: &mut Vec<Check>, told: &Told, asked: &[Asked]) {
    let (mut wrong, mut overriding) = (Vec::new(), Vec::new());
    let mut first = [0u32; 2];
    let mut retries = 0u32;
    let mut series: BTreeMap<(usize, u8), (Stamp, usize)> = BTreeMap::new();
    for Asked { question, answers } in asked {
        let host = &told.captured.links[question.link].host;
        let last = series
            .entry((question.link, question.family))
            .or_insert((Stamp(0), 0));
        let number = if question.at.ms_since(last.0) < RETRY_MS {
            last.1 + 1
        } else {
            1
        };
        *last = (question.at, number);
        overriding.extend(
            answers
                .iter()
                .filter(|a| a.2)
                .map(|a| format!("{host}: {:.1} ms", a.0)),
        );
        // A question right before an event may lose its answer to it.
        let end = question.at.plus(std::time::Duration::from_millis(50));
        let calm = told
            .marks
            .iter()
            .find(|m| m.settled <= question.at && end < m.to);
        let Some(mark) = calm else { continue };
        if number == 1 {
            first[usize::from(question.family == 6)] += 1;
        } else {
            retries += 1;
        }
        if answers.is_empty() || answers.len() > number {
            let from: Vec<_> = answers.iter().map(|a| crate::lab::mac_text(a.1)).collect();
            let at = question.at.ms_since(mark.from);
            wrong.push(format!(
                "{host} v{} {at:.0} ms into {:?}, question {number}: {} answers {}",
                question.family,
                mark.name,
                answers.len(),
                from.join(" ")
            ));
        }
    }
    let seen = format!(
        "{} ARP, {} neighbour questions, {retries} retries",
        first[0], first[1]
    );
    checks.push(Check::none("one-answer-each", &wrong, "questions").noted(seen));
    checks.push(Check::none("override-clear", &overriding, "answers"));
    let few = if first[0] < 2 || first[1] < 2 {
        vec!["too few questions to say".into()]
    } else {
        vec![]
    };
    checks.push(Check::none("questions-asked", &few, "failures"));
}
