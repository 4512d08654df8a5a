//! Checks of who answered: requests, and questions for the link-layer address.

use super::*;

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
pub(super) fn loads(checks: &mut Vec<Check>, told: &Told) {
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
                let event = mark
                    .host
                    .as_ref()
                    .and_then(|h| mark.name.strip_suffix(h.as_str()));
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
    let struck = mark.host.as_deref().filter(|_| mark.kind == Kind::Fault)?;
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
pub(super) fn resolution(checks: &mut Vec<Check>, told: &Told, asked: &[Asked]) {
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
