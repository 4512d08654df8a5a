//! Requests counted by phase, and takeovers.

use std::collections::BTreeMap;

use super::{is_plain, owner_before, requests_of};
use crate::capture::Stamp;
use crate::report::{Kind, Phase, Request, Round, Takeover};

/// The requests of each phase by family, service and host; times count from `started`.
pub fn phases(round: &Round, started: Stamp) -> Vec<Phase> {
    let mut phases = Vec::new();
    for mark in &round.marks {
        let mut kinds: BTreeMap<(u8, &str, &str), Vec<&Request>> = BTreeMap::new();
        for request in requests_of(round, mark) {
            let kind = (request.family, &*request.service, &*request.host);
            kinds.entry(kind).or_default().push(request);
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
            phases.push(Phase {
                name: mark.name.clone(),
                hello_ms: u64::try_from(round.hello.as_millis()).unwrap_or(u64::MAX),
                from_ms: mark.from.ms_since(started),
                to_ms: mark.to.ms_since(started),
                family,
                service: service.into(),
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
    phases
}

/// Each time `client` was answered by another member than before, by what happened and family; times
/// count from `started`. A connection of a host without hamp that an orderly hand-over ends is
/// [`losses`](super::losses)'s.
pub fn takeovers(round: &Round, client: &str, started: Stamp) -> Vec<Takeover> {
    let mut takeovers = Vec::new();
    for mark in round
        .marks
        .iter()
        .filter(|m| m.kind != Kind::Quiet && m.host.is_some())
    {
        for family in [4, 6] {
            let Some(before) = owner_before(round, client, family, mark.from) else {
                continue;
            };
            let of_family: Vec<_> = requests_of(round, mark)
                .filter(|r| r.family == family)
                .collect();
            let other =
                |r: &&&Request| r.host == client && r.outcome.as_deref().is_ok_and(|m| m != before);
            let Some(first) = of_family.iter().filter(other).min_by_key(|r| r.done) else {
                continue;
            };
            let fault = mark.kind == Kind::Fault;
            let counts = |r: &&&Request| r.outcome.is_err() && (fault || !is_plain(round, r));
            let lost: Vec<_> = of_family.iter().filter(counts).collect();
            takeovers.push(Takeover {
                event: mark.name.clone(),
                hello_ms: u64::try_from(round.hello.as_millis()).unwrap_or(u64::MAX),
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
                    round.window.as_secs_f64() * 1e3
                } else {
                    0.0
                },
            });
        }
    }
    takeovers
}
