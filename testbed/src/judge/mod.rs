//! What must hold of a [`Round`], whatever it was played in: figures and checks from requests and
//! frames.
//!
//! Files: `figures` requests counted by phase, and takeovers; `answers` who answered requests;
//! `resolution` who answered ARP and neighbour solicitations; `segments` the rule of TCP.

mod answers;
mod figures;
#[cfg(test)]
mod fixture;
mod resolution;
mod segments;

use std::collections::BTreeSet;

use crate::capture::Stamp;
use crate::report::{Check, Kind, Mark, Request, Round};

pub use answers::{handover_overlap, losses, second_actor, undisturbed_members};
pub use figures::{phases, takeovers};
pub use resolution::{Asked, Resolution, questions, resolution};
pub use segments::{Segments, segments};

/// A request that was on its way when a fault struck is the fault's, if it was sent at most so long
/// before.
const IN_FLIGHT_MS: f64 = 50.0;

/// A count as a figure.
pub fn figure(count: impl TryInto<u32>) -> f64 {
    f64::from(count.try_into().unwrap_or(u32::MAX))
}

/// Whether the capture is whole.
pub fn whole(round: &Round) -> Check {
    Check::at_most("capture-lost", figure(round.captured.lost), 0.0, "frames")
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
pub fn share<'a>(
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

/// The requests of a phase of a round, as [`share`] says.
pub fn requests_of<'a>(round: &'a Round, mark: &'a Mark) -> impl Iterator<Item = &'a Request> {
    share(&round.requests, &round.marks, mark)
}

/// Whether a request was made on a plain connection: the host knows nothing of hamp.
fn is_plain(round: &Round, request: &Request) -> bool {
    request.service == "http" && round.stock.contains(&request.host)
}

/// The last member that answered a host over a family before a moment.
fn owner_before<'a>(round: &'a Round, host: &str, family: u8, at: Stamp) -> Option<&'a str> {
    let mut before = round
        .requests
        .iter()
        .rev()
        .filter(|r| r.host == host && r.family == family && r.done < at);
    before.find_map(|r| r.outcome.as_deref().ok())
}

/// Who asks, and over which family, each once.
fn asking(round: &Round) -> BTreeSet<(&str, u8)> {
    let all = round.requests.iter();
    all.map(|request| (&*request.host, request.family))
        .collect()
}
