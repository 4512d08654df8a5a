//! Who answered requests: losses, and more than one member at a time.

use std::collections::BTreeSet;

use super::{asking, figure, is_plain, owner_before, requests_of};
use crate::report::{Check, Kind, Mark, Request, Round};

/// What is wrong with a request, for the detail of a check.
fn describe(request: &Request, mark: &Mark) -> String {
    let Request {
        host,
        family,
        service,
        outcome,
        ..
    } = request;
    let end = outcome.as_ref().unwrap_or_else(|e| e);
    let at = request.sent.ms_since(mark.from);
    format!(
        "{host} {service} v{family} {at:.0} ms into {:?}: {end}",
        mark.name
    )
}

/// Nothing is lost where nothing breaks (`undisturbed-lost`, `orderly-lost`), and after a fault only
/// in its window (`last-lost/EVENT`).
///
/// A plain connection, of a host without hamp, ends when another member answers for
/// the address: while that happens in good order, the one that is open at that moment
/// (`plain-broken`).
pub fn losses(round: &Round) -> Vec<Check> {
    let (mut quiet, mut orderly, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    let mut broken = Vec::new();
    for mark in &round.marks {
        let all = requests_of(round, mark);
        let lost: Vec<&Request> = all.filter(|r| r.outcome.is_err()).collect();
        match mark.kind {
            Kind::Quiet => quiet.extend(lost.iter().map(|r| describe(r, mark))),
            Kind::Orderly => {
                let mut open = BTreeSet::new();
                for request in &lost {
                    if !is_plain(round, request) {
                        orderly.push(describe(request, mark));
                    } else if !open.insert((&request.host, request.family)) {
                        broken.push(describe(request, mark));
                    }
                }
            }
            Kind::Fault => {
                let times = lost.iter().map(|r| r.sent.ms_since(mark.from));
                let last = times.reduce(f64::max).unwrap_or(0.0);
                // Without the member's name, which differs from run to run.
                let host = mark.host.as_deref();
                let event = host.and_then(|host| mark.name.strip_suffix(host));
                let event = event.unwrap_or(&mark.name).trim_end();
                let id = format!("last-lost/{}", event.replace([' ', '+'], "-"));
                let check = Check::at_most(id, last, round.window.as_secs_f64() * 1e3, "ms");
                let v4 = lost.iter().filter(|r| r.family == 4).count();
                faults.push(check.noted(format!("{v4} lost over v4, {} over v6", lost.len() - v4)));
            }
        }
    }
    let mut checks = vec![
        Check::none("undisturbed-lost", &quiet, "requests"),
        Check::none("orderly-lost", &orderly, "requests"),
    ];
    if !round.stock.is_empty() {
        checks.push(Check::none("plain-broken", &broken, "connections"));
    }
    checks.extend(faults);
    checks
}

/// One member answers while nothing happens; hosts in `apart` ask for another address.
pub fn undisturbed_members(round: &Round, apart: &[&str]) -> Check {
    let first = round.marks.first();
    let all = first.into_iter().flat_map(|mark| requests_of(round, mark));
    let all = all.filter(|request| !apart.contains(&&*request.host));
    let who: BTreeSet<_> = all.filter_map(|r| r.outcome.as_deref().ok()).collect();
    let who: Vec<_> = who.into_iter().collect();
    Check::at_most("undisturbed-members", figure(who.len()), 1.0, "members").noted(who.join(" "))
}

/// Who answers is one member in the settled part of each phase, and not the one that a fault has
/// struck.
///
/// A host in `forgetful` may have forgotten its entry and found another member, once a phase, since
/// it asks whoever is first at that moment; any other host stays with its member.
pub fn second_actor(round: &Round, forgetful: &[&str]) -> Check {
    let mut wrong = Vec::new();
    for mark in &round.marks {
        for (host, family) in asking(round) {
            let allowed = usize::from(forgetful.contains(&host));
            if let Some(what) = second(round, mark, host, family, allowed) {
                wrong.push(format!("{host} v{family} in {:?}: {what}", mark.name));
            }
        }
    }
    Check::none("second-actor", &wrong, "phases")
}

/// What is wrong with who answered a host in the settled part of a phase.
fn second(round: &Round, mark: &Mark, host: &str, family: u8, allowed: usize) -> Option<String> {
    let settled = requests_of(round, mark).filter(|r| r.sent >= mark.settled);
    let asked = settled.filter(|r| r.host == host && r.family == family);
    let answers: Vec<&str> = asked.filter_map(|r| r.outcome.as_deref().ok()).collect();
    let switches = answers.windows(2).filter(|w| w[0] != w[1]).count();
    if switches > allowed {
        let who: BTreeSet<_> = answers.into_iter().collect();
        let who: Vec<_> = who.into_iter().collect();
        return Some(format!("{} in turns, {switches} times", who.join(" and ")));
    }
    let struck = mark.host.as_deref().filter(|_| mark.kind == Kind::Fault)?;
    let count = answers.iter().filter(|m| **m == struck).count();
    (count > 0).then(|| format!("{struck} still answers, {count} times"))
}

/// After something happened, the old and the new member answer a host at the same time no longer
/// than the window.
pub fn handover_overlap(round: &Round) -> Check {
    let marks = round.marks.iter().filter(|mark| mark.kind != Kind::Quiet);
    let longest = marks.map(|mark| overlap(round, mark)).fold(0.0, f64::max);
    let limit = round.window.as_secs_f64() * 1e3;
    Check::at_most("handover-overlap", longest, limit, "ms")
}

/// From the first answer of a new member to a host to the last of the one before, in milliseconds.
fn overlap(round: &Round, mark: &Mark) -> f64 {
    let mut longest = 0.0f64;
    for (host, family) in asking(round) {
        let Some(before) = owner_before(round, host, family, mark.from) else {
            continue;
        };
        let by = |old: bool| {
            let asked =
                requests_of(round, mark).filter(move |r| r.host == host && r.family == family);
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
