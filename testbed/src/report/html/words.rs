//! The steps that decided, in words.

use crate::capture::Stamp;
use crate::report::deciding::Step;
use crate::report::story::Mark;
use crate::report::traffic::{Sent, Traffic};

/// The steps as lines of text.
pub(crate) fn words(steps: &[Step<'_>], traffic: &Traffic, mark: &Mark) -> Vec<String> {
    let line = |step: &Step<'_>| {
        let what = match step {
            Step::Event(_) => mark.name.clone(),
            Step::Silence { host, .. } => silence(host),
            Step::Frame { sent, note } => {
                let to = match sent.to.iter().map(|t| t.0.as_str()).collect::<Vec<_>>() {
                    none if none.is_empty() => "nobody".to_owned(),
                    to => to.join(", "),
                };
                format!("{} to {to}: {}", sent.from, text(sent, note, traffic))
            }
        };
        format!("{} {what}", time(step.at(), mark.from))
    };
    steps.iter().map(line).collect()
}

/// That nothing was heard of a host.
pub(super) fn silence(host: &str) -> String {
    format!("{host} has been silent for the dead time")
}

/// A frame in words, with what is to be said about it.
pub(super) fn text(sent: &Sent, note: &str, traffic: &Traffic) -> String {
    let words = sent.what.words(|mac| traffic.host(mac));
    if note.is_empty() {
        words
    } else {
        format!("{words} ({note})")
    }
}

/// Milliseconds, or seconds if there are many of them.
pub(super) fn time(at: Stamp, zero: Stamp) -> String {
    let ms = at.ms_since(zero);
    if ms.abs() < 10_000.0 {
        format!("{ms:+.1} ms")
    } else {
        format!("{:+.2} s", ms / 1e3)
    }
}
