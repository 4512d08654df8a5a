//! `hamp join`, `leave`, `drain`, `undrain`: told to the daemon, and waited for.
//!
//! A member that leaves serves on until another has taken over, and one that joins listens first. So
//! a command that returned at once would tell a script nothing: it asks the daemon how far things
//! are, for as long as they may take.

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Report;
use crate::addr::Prefix;
use crate::daemon::config::{AddressOrPrefix, MemberScope};
use crate::daemon::control::{Request, ask};
use crate::daemon::{Failure, exit};

/// The pause between two questions: at first, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// What is pending, and named, at most.
const NAMED: usize = 5;

/// How long a command waits.
#[derive(Debug, clap::Args)]
pub(super) struct Waiting {
    /// Return at once, instead of when it is done
    #[arg(long)]
    no_wait: bool,
    /// Wait so long at most (default: two dead times and a second)
    #[arg(long, value_name = "SECONDS", conflicts_with = "no_wait")]
    timeout: Option<u32>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Join {
    /// An address, or a prefix ADDR/LEN, of the anycast class
    #[arg(value_name = "ADDR[/LEN]")]
    prefix: AddressOrPrefix,
    /// Members with a higher preference answer first (default: as configured)
    #[arg(long)]
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
        let control = report.control.name();
        let began = Instant::now();
        let mut done = ask(control, request)?;
        if self.no_wait {
            return Ok(report.show(&done, started));
        }
        let dead = Duration::from_millis(done["dead_ms"].as_u64().unwrap_or(3000));
        let limit = match self.timeout {
            Some(seconds) => Duration::from_secs(seconds.into()),
            None => dead * 2 + Duration::from_secs(1),
        };
        let mut pause = PAUSE.0;
        let last = loop {
            let progress = ask(control, &Request::Progress { prefix })?;
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
                    "it goes on: see hamp status, wait longer with --timeout, or not with --no-wait",
                ));
            }
            sleep(pause);
            pause = (pause * 2).min(PAUSE.1);
        };
        done["waited_ms"] = u64::try_from(began.elapsed().as_millis())
            .unwrap_or(u64::MAX)
            .into();
        done["owners"] = last["owners"].clone();
        Ok(report.show(&done, finished))
    }
}

/// What is still to happen before the request is carried out.
fn missing(progress: &Value, request: &Request, alone: bool) -> Vec<String> {
    let serves = matches!(request, Request::Join { .. } | Request::Undrain);
    let command = if serves { "join" } else { "leave" };
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let list = |key: &str| progress[key].as_array().into_iter().flatten();
    let pending = list("pending").filter(|one| one["command"] == command);
    let mut missing: Vec<String> = pending
        .map(|one| {
            let on = match one["link"].as_str() {
                Some(link) => format!(" on {link}"),
                None => String::new(),
            };
            let state = if serves {
                "not served yet"
            } else {
                "still served"
            };
            format!(
                "{} {state}{on}: {}",
                text(&one["prefix"]),
                text(&one["why"])
            )
        })
        .collect();
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

/// What is said of a command that was taken, and not waited for.
fn started(done: &Value) -> String {
    let doing = match done["command"].as_str() {
        Some("join") => "joining",
        Some("leave") => "leaving",
        Some("drain") => "draining",
        _ => "serving again",
    };
    format!("{doing} {}\n", what(done))
}

/// What is said of a command that was carried out.
fn finished(done: &Value) -> String {
    let what = what(done);
    match done["command"].as_str() {
        Some("join") => return format!("{what} is served\n"),
        Some("undrain") => return format!("{what}: served again\n"),
        Some("drain") => {
            return format!("{what}: left, until hamp undrain, also after a restart\n");
        }
        _ => {}
    }
    let owners = done["owners"].as_array();
    let mut text = String::new();
    for owner in owners.into_iter().flatten() {
        let link = owner["link"].as_str().unwrap_or_default();
        text += &match owner["name"].as_str() {
            Some(name) => format!("; {name} has it on {link}"),
            None if owner["elsewhere"] == true => {
                format!("; on {link} this host answers for members elsewhere")
            }
            None => format!("; nobody serves it on {link}"),
        };
    }
    format!("left {what}{text}\n")
}

fn what(done: &Value) -> String {
    let prefixes = done["prefixes"].as_array().map_or(0, Vec::len);
    match done["prefix"].as_str() {
        Some("all") if prefixes == 0 => "nothing".to_owned(),
        Some("all") => format!("{prefixes} prefixes"),
        prefix => prefix.unwrap_or_default().to_owned(),
    }
}
