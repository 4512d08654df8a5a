//! `hamp join`, `leave`, `drain`, `undrain`: told to the daemon, and waited for.
//!
//! A member that leaves serves on until another has taken over, and one that joins listens first. So
//! a command that returned at once would tell a script nothing: it asks the daemon how far things
//! are, for as long as they may take.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Report, ask, number, told};
use crate::addr::Prefix;
use crate::daemon::config::{AddressOrPrefix, MemberScope};
use crate::daemon::control::{self, Request};
use crate::daemon::{Failure, exit};

/// The pause between two questions: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// What is pending, and named, at most.
const NAMED: usize = 5;

/// Prefixes whose owners are looked up, of a command that is about several.
const OWNED: usize = 64;

/// How long a command waits.
#[derive(Debug, clap::Args)]
pub(super) struct Waiting {
    /// Return at once, instead of when it is done
    #[arg(long)]
    no_wait: bool,
    /// Wait so long at most (default: two dead times and a second)
    #[arg(long, value_name = "SECONDS", conflicts_with = "no_wait", value_parser = number::in_range(0..=u32::MAX))]
    timeout: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Join {
    /// An address, or a prefix ADDR/LEN, of the anycast class
    #[arg(value_name = "ADDR[/LEN]")]
    prefix: AddressOrPrefix,
    /// Members with a higher preference answer first (default: as configured)
    #[arg(long, value_parser = number::in_range(0..=u16::MAX))]
    preference: Option<u16>,
    /// How far routers may carry it (default: as configured)
    #[arg(long, value_enum)]
    scope: Option<MemberScope>,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    report: Report,
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "hamp leave [OPTIONS] <ADDR[/LEN]>\n       hamp leave [OPTIONS] --all")]
pub(super) struct Leave {
    /// What is served now
    #[arg(
        value_name = "ADDR[/LEN]",
        required_unless_present = "all",
        conflicts_with = "all"
    )]
    prefix: Option<AddressOrPrefix>,
    /// Everything that is served now
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    end: End,
}

/// The end of serving something.
#[derive(Debug, clap::Args)]
pub(super) struct End {
    /// Even if no other member serves it
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    report: Report,
}

#[derive(Debug, clap::Args)]
pub(super) struct Undrain {
    #[command(flatten)]
    waiting: Waiting,
    #[command(flatten)]
    report: Report,
}

impl Join {
    pub(super) fn run(self) -> Result<String, Failure> {
        let prefix = self.prefix.0.trunc();
        let request = Request::Join {
            prefix,
            preference: self.preference,
            scope: self.scope,
        };
        self.waiting
            .tell(&self.report, &request, Some(prefix), true)
    }
}

impl Leave {
    pub(super) fn run(self) -> Result<String, Failure> {
        let prefix = self.prefix.map(|prefix| prefix.0.trunc());
        let force = self.end.force;
        self.end.tell(&Request::Leave { prefix, force }, prefix)
    }
}

impl End {
    pub(super) fn drain(self) -> Result<String, Failure> {
        let force = self.force;
        self.tell(&Request::Drain { force }, None)
    }

    fn tell(self, request: &Request, prefix: Option<Prefix>) -> Result<String, Failure> {
        self.waiting.tell(&self.report, request, prefix, self.force)
    }
}

impl Undrain {
    pub(super) fn run(self) -> Result<String, Failure> {
        self.waiting
            .tell(&self.report, &Request::Undrain, None, true)
    }
}

impl Waiting {
    /// Has the daemon do something, and waits until it is done. Where `alone` is all right, nobody
    /// need serve the prefix in the end.
    fn tell(
        &self,
        report: &Report,
        request: &Request,
        prefix: Option<Prefix>,
        alone: bool,
    ) -> Result<String, Failure> {
        let socket = report.control.name();
        let began = Instant::now();
        let mut done = control::ask(socket, request)?;
        if self.no_wait || (done["unchanged"] == true && *request == Request::Undrain) {
            return Ok(report.show(&done, told::started));
        }
        let dead = Duration::from_millis(done["dead_ms"].as_u64().unwrap_or(3000));
        let limit = match self.timeout {
            Some(seconds) => Duration::from_secs(seconds.into()),
            None => dead * 2 + Duration::from_secs(1),
        };
        let mut pause = PAUSE.0;
        let last = loop {
            let progress = control::ask(socket, &Request::Progress { prefix })?;
            taken_back(&progress, request)?;
            let missing = missing(&progress, request, alone);
            if missing.is_empty() {
                break progress;
            }
            if began.elapsed() >= limit {
                let message = format!(
                    "after {:.1} s: {}",
                    began.elapsed().as_secs_f32(),
                    missing.join("; ")
                );
                let failure = Failure::new(exit::FAILED, message);
                return Err(failure.with_remedy(
                    "it goes on by itself; hamp status shows how far; --timeout waits longer",
                ));
            }
            sleep(pause);
            pause = (pause * 2).min(PAUSE.1);
        };
        done["waited_ms"] = u64::try_from(began.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .into();
        done["owners"] = match prefix {
            Some(_) => last["owners"].clone(),
            None => owners(socket, &done)?.into(),
        };
        Ok(report.show(&done, told::finished))
    }
}

/// Who has each of the prefixes that a command was about, as far as they are told.
fn owners(socket: &str, done: &Value) -> Result<Vec<Value>, Failure> {
    let mut owners = Vec::new();
    for name in ask::list(&done["prefixes"]).take(OWNED) {
        let Some(AddressOrPrefix(prefix)) = name.as_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let prefix = Some(prefix);
        let progress = control::ask(socket, &Request::Progress { prefix })?;
        for owner in ask::list(&progress["owners"]) {
            let mut owner = owner.clone();
            owner["prefix"] = name.clone();
            owners.push(owner);
        }
    }
    Ok(owners)
}

/// Fails when the daemon has taken a leave back.
fn taken_back(progress: &Value, request: &Request) -> Result<(), Failure> {
    if !matches!(request, Request::Leave { .. } | Request::Drain { .. }) {
        return Ok(());
    }
    let kept = progress["kept"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let kept = kept.map(|one| format!("{}: {}", text(&one["prefix"]), text(&one["why"])));
    let kept: Vec<String> = kept.take(NAMED).collect();
    if kept.is_empty() {
        return Ok(());
    }
    let failure = Failure::new(exit::FAILED, kept.join("\n  "));
    Err(failure.with_remedy(
        "see hamp members, have another host serve it first, or --force to leave it to nobody",
    ))
}

/// What is still to happen before the request is carried out.
fn missing(progress: &Value, request: &Request, alone: bool) -> Vec<String> {
    let serves = matches!(request, Request::Join { .. } | Request::Undrain);
    let command = if serves { "join" } else { "leave" };
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let list = |key: &str| progress[key].as_array().into_iter().flatten();
    let pending = list("pending").filter(|one| one["command"] == command);
    let mut missing: Vec<String> = pending.map(told::pending).collect();
    if !serves && !alone {
        let here = list("owners").filter(|owner| owner["elsewhere"] == false);
        let orphaned = here.filter(|owner| owner["id"].is_null() || owner["own"] == true);
        missing
            .extend(orphaned.map(|owner| format!("nobody serves it on {}", text(&owner["link"]))));
    }
    if missing.len() > NAMED {
        let more = missing.len() - NAMED;
        missing.truncate(NAMED);
        missing.push(format!("and {more} more"));
    }
    missing
}
