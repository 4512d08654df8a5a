//! From snapshots to rates and events.

use std::collections::{BTreeMap, VecDeque};

use crate::hold::{HostLook, Snapshot};

/// Events that are kept.
const EVENTS: usize = 200;

/// What is shown.
#[derive(Debug)]
pub struct State {
    /// The name of the lab.
    pub(super) name: String,
    pub(super) last: Option<Snapshot>,
    /// Requests in a second, by the place of the host.
    pub(super) rates: Vec<f64>,
    /// What changed: milliseconds since the lab runs, and what. The newest comes first.
    pub(super) events: VecDeque<(u64, String)>,
}

/// Who takes whom for the owner of an address: owners, each with those who say so.
pub(super) type Views = BTreeMap<String, BTreeMap<String, Vec<String>>>;

impl State {
    /// Nothing is known yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            last: None,
            rates: Vec::new(),
            events: VecDeque::new(),
        }
    }

    /// Takes the next snapshot.
    pub fn update(&mut self, next: Snapshot) {
        if let Some(last) = self.last.take() {
            let seconds = seconds(next.up_ms.saturating_sub(last.up_ms));
            let pairs = || last.hosts.iter().zip(&next.hosts);
            if seconds > 0.0 {
                let rate = |(before, now): (&HostLook, &HostLook)| {
                    // After a pause it counts from zero.
                    seconds_rate(now.requests.checked_sub(before.requests), seconds)
                };
                self.rates = pairs().map(rate).collect();
            }
            let mut events = Vec::new();
            pairs().for_each(|(before, now)| host_events(before, now, &mut events));
            let (before, now) = (views(&last), views(&next));
            for (prefix, now) in &now {
                let before = before.get(prefix).map(owners);
                let now = owners(now);
                match before {
                    Some(before) if before == now => {}
                    Some(before) => events.push(format!("{prefix}: {before} -> {now}")),
                    None => events.push(format!("{prefix}: {now}")),
                }
            }
            for prefix in before.keys().filter(|prefix| !now.contains_key(*prefix)) {
                events.push(format!("{prefix}: nobody"));
            }
            for event in events {
                self.events.push_front((next.up_ms, event));
            }
            self.events.truncate(EVENTS);
        }
        self.last = Some(next);
    }
}

fn seconds(ms: u64) -> f64 {
    std::time::Duration::from_millis(ms).as_secs_f64()
}

fn seconds_rate(count: Option<u64>, seconds: f64) -> f64 {
    let count = u32::try_from(count.unwrap_or_default()).unwrap_or(u32::MAX);
    f64::from(count) / seconds
}

/// What hosts say about the owners of each address.
pub(super) fn views(snapshot: &Snapshot) -> Views {
    let mut views = Views::new();
    for host in &snapshot.hosts {
        for owner in &host.owners {
            let by = views.entry(owner.prefix.clone()).or_default();
            let by = by.entry(owner.owner.clone()).or_default();
            if !by.contains(&host.name) {
                by.push(host.name.clone());
            }
        }
    }
    views
}

/// The owners of an address in words: more than one if views differ.
pub(super) fn owners(views: &BTreeMap<String, Vec<String>>) -> String {
    let names: Vec<_> = views.keys().map(String::as_str).collect();
    names.join(" or ")
}

fn host_events(before: &HostLook, now: &HostLook, events: &mut Vec<String>) {
    let name = &now.name;
    match (before.answers, now.answers) {
        (Some(true), Some(false)) => events.push(format!("{name}: hamp does not answer")),
        (Some(false), Some(true)) => events.push(format!("{name}: hamp answers again")),
        _ => {}
    }
    for program in &now.programs {
        let earlier = before.programs.iter().find(|one| one.name == program.name);
        let ended = earlier.and_then(|earlier| earlier.ended.as_ref());
        if let (None, Some(how)) = (ended, &program.ended) {
            events.push(format!("{name}: {} has ended: {how}", program.name));
        }
    }
    if now.answers == Some(true) && before.answers == Some(true) && before.serving != now.serving {
        let serving = match &now.serving[..] {
            [] => "nothing".into(),
            serving => serving.join(" "),
        };
        events.push(format!("{name}: serves {serving}"));
    }
}
