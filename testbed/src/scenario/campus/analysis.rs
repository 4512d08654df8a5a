//! From requests and captures to figures and checks.

use std::collections::BTreeSet;
use std::net::IpAddr;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};

use super::network::INSIDE;
use super::round::{EVERY, Told};
use crate::capture::{Stamp, ends};
use crate::judge;
use crate::report::{Check, Kind, Mark, Round, Run};
use crate::scenario::services;
use crate::who::DNS_PORT;

/// What a host's packets begin with; each router takes one.
const TTL: u8 = 64;

/// Adds a round to the report.
pub(super) fn add(run: &mut Run, told: &Told, started: Stamp) {
    let round = &told.round;
    run.phases.extend(judge::phases(round, started));
    run.takeovers
        .extend(judge::takeovers(round, "client", started));
    let mut checks = Vec::new();
    if let Some(why) = &told.broke {
        let why = std::slice::from_ref(why);
        checks.push(Check::none("story-told", why, "failures"));
    }
    checks.push(answerers(told));
    checks.extend(judge::losses(round));
    checks.extend(gaps(round));
    checks.extend(routers(round));
    checks.push(judge::second_actor(round, &[]));
    checks.push(judge::handover_overlap(round));
    checks.push(Check::none("site-stays-inside", &told.site, "routes"));
    let segments = judge::segments(round, &told.unicast, &told.stock, services::binds_each);
    checks.extend(segments.checks());
    checks.push(judge::whole(round));
    let bad: Vec<String> = told
        .programs
        .iter()
        .filter(|p| p.answered_by.as_deref() != Some("near"))
        .map(|p| {
            let end = p.error.as_ref().or(p.answered_by.as_ref());
            format!("{}: {}", p.command, end.map_or("?", String::as_str))
        })
        .collect();
    let count = format!("{} run", told.programs.len());
    checks.push(Check::none("programs", &bad, "failures").noted(count));
    let hello = round.hello.as_millis();
    run.checks.extend(checks.into_iter().map(|c| Check {
        id: format!("{}/hello-{hello}ms", c.id),
        ..c
    }));
    run.programs.clone_from(&told.programs);
}

/// In the settled part of each phase the member answers that is the nearest then.
fn answerers(told: &Told) -> Check {
    let mut wrong = Vec::new();
    for (mark, (name, expected)) in told.round.marks.iter().zip(&told.expected) {
        let settled = judge::requests_of(&told.round, mark)
            .filter(|r| r.sent >= mark.settled && r.host != INSIDE);
        let who: BTreeSet<_> = settled.filter_map(|r| r.outcome.as_deref().ok()).collect();
        if who.len() != 1 || !who.contains(expected) {
            let who: Vec<_> = who.into_iter().collect();
            wrong.push(format!("{name}: {} for {expected}", who.join(" and ")));
        }
    }
    let phases = format!("{} phases", told.expected.len());
    Check::none("nearest-answers", &wrong, "phases").noted(phases)
}

/// An answer of named from an anycast address, as it came to a host.
fn answers<'a>(round: &'a Round, host: &'a str, from: IpAddr) -> impl Iterator<Item = Stamp> + 'a {
    let at = move |frame: &&crate::capture::Frame| {
        !frame.from_host && round.captured.links[frame.link].host == host
    };
    round
        .captured
        .frames
        .iter()
        .filter(at)
        .filter_map(move |frame| {
            let packet = LaxSlicedPacket::from_ethernet(&frame.bytes).ok()?;
            let Some(TransportSlice::Udp(udp)) = &packet.transport else {
                return None;
            };
            let ours = udp.source_port() == DNS_PORT && ends(&packet)?.0 == from;
            ours.then_some(frame.at)
        })
}

/// How long the clients' links carried no answer after each fault (`gap-vN/EVENT`), by the kernel's
/// time of the frames.
fn gaps(round: &Round) -> Vec<Check> {
    let mut checks = Vec::new();
    let faults = round.marks.iter().filter(|mark| mark.kind == Kind::Fault);
    for mark in faults {
        for address in &round.anycast {
            let worst = ["client", "stock"].map(|host| gap(round, mark, host, *address));
            let worst = worst.into_iter().fold(0.0, f64::max);
            // The last answer came up to one interval before the fault, the next request up to one
            // after the end of the window.
            let limit = (round.window + EVERY * 2).as_secs_f64() * 1e3;
            let family = if address.is_ipv6() { 6 } else { 4 };
            let event = mark.name.replace(' ', "-");
            let id = format!("gap-v{family}/{event}");
            checks.push(Check::at_most(id, worst, limit, "ms"));
        }
    }
    checks
}

/// The longest time without an answer around a fault, in milliseconds; from the last answer before
/// it, so that a gap that began with it counts in full.
fn gap(round: &Round, mark: &Mark, host: &str, address: IpAddr) -> f64 {
    let mut before = mark.from;
    let mut longest = 0.0f64;
    for at in answers(round, host, address) {
        if at < mark.from {
            before = at;
        } else if at <= mark.to {
            longest = longest.max(at.ms_since(before));
            before = at;
        }
    }
    longest.max(mark.to.ms_since(before))
}

/// How many routers a question passed on its way to near and to far (`routers-to-MEMBER`): what is
/// missing of its first TTL. `nearest` is this number; near's must be less.
fn routers(round: &Round) -> Vec<Check> {
    let mut checks = Vec::new();
    for (member, expected) in [("near", 3), ("spare", 3), ("far", 4)] {
        let mut seen = BTreeSet::new();
        for frame in round
            .captured
            .frames
            .iter()
            .filter(|frame| !frame.from_host)
        {
            // What is behind a member is on another interface of it.
            let link = &round.captured.links[frame.link];
            if link.host != member || link.interface != "eth0" {
                continue;
            }
            let Ok(packet) = LaxSlicedPacket::from_ethernet(&frame.bytes) else {
                continue;
            };
            let Some(TransportSlice::Udp(udp)) = &packet.transport else {
                continue;
            };
            let to = ends(&packet).map(|(_, to)| to);
            if udp.destination_port() != DNS_PORT
                || !to.is_some_and(|to| round.anycast.contains(&to))
            {
                continue;
            }
            let left = match &packet.net {
                Some(LaxNetSlice::Ipv4(ip)) => ip.header().ttl(),
                Some(LaxNetSlice::Ipv6(ip)) => ip.header().hop_limit(),
                _ => continue,
            };
            seen.insert(TTL.saturating_sub(left));
        }
        let wrong: Vec<String> = if seen == BTreeSet::from([expected]) {
            Vec::new()
        } else {
            vec![format!("{seen:?} for {expected}")]
        };
        let id = format!("routers-to-{member}");
        checks.push(Check::none(id, &wrong, "failures").noted(format!("{expected} routers")));
    }
    checks
}

/// Who took over from whom, and when.
pub(super) fn table(run: &Run) -> Vec<String> {
    let head = format!(
        "{:22} {:6}  {:16} {:>10} {:>6} {:>12}",
        "", "family", "", "first after", "lost", "of at most"
    );
    let mut lines = vec![String::new(), head];
    for takeover in &run.takeovers {
        let limit = if takeover.window_ms > 0.0 {
            format!("{:.0} ms", takeover.window_ms)
        } else {
            "none lost".into()
        };
        lines.push(format!(
            "{:22} IPv{:<3}  {:16} {:>7.0} ms {:>6} {:>12}",
            takeover.event,
            takeover.family,
            format!("{} -> {}", takeover.from, takeover.to),
            takeover.took_ms,
            takeover.lost,
            limit
        ));
    }
    lines
}
