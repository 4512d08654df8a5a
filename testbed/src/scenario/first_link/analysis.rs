//! From requests and captures to figures and checks.

use super::inject;
use super::round::Told;
use crate::capture::Stamp;
use crate::judge;
use crate::report::{Check, Run};
use crate::scenario::services;

/// What an entry may live after its member, in milliseconds.
const ENTRY_LIMIT_MS: f64 = 60_000.0;

/// Adds a round to the report.
pub(super) fn add(run: &mut Run, told: &Told, started: Stamp) {
    let round = &told.round;
    run.phases.extend(judge::phases(round, started));
    run.takeovers
        .extend(judge::takeovers(round, "client", started));
    let mut checks = Vec::new();
    if let Some(why) = &told.broke {
        checks.push(Check::none(
            "story-told",
            std::slice::from_ref(why),
            "failures",
        ));
    }
    checks.extend(judge::losses(round));
    checks.push(judge::second_actor(round, &["stock"]));
    checks.push(judge::undisturbed_members(round, &["box"]));
    checks.push(judge::handover_overlap(round));
    if !round.captured.links.is_empty() {
        checks.extend(captured(told));
    }
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
    let hello = round.hello.as_millis();
    run.checks.extend(checks.into_iter().map(|c| Check {
        id: format!("{}/hello-{hello}ms", c.id),
        ..c
    }));
    run.programs.clone_from(&told.programs);
}

/// What the link's frames show.
fn captured(told: &Told) -> Vec<Check> {
    let round = &told.round;
    let mut checks = judge::resolution(round, 2);
    let left_out = |port| inject::by_hand(port) || services::binds_each(port);
    let segments = judge::segments(round, &told.unicast, &told.stock, left_out);
    checks.extend(segments.checks());
    let injected = inject::found(&round.captured, &round.anycast);
    let mut taken = injected.answers;
    if told.broke.is_none() && (injected.arrived < 18 || injected.syn_acks < 2) {
        taken.push(format!(
            "{} arrived, {} SYNs answered",
            injected.arrived, injected.syn_acks
        ));
    }
    let sent = format!("{} segments by hand", injected.arrived);
    checks.push(Check::none("tcp-nothing-but-syn-taken", &taken, "segments").noted(sent));
    checks.push(judge::whole(round));
    checks
}
