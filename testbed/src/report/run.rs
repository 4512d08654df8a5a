//! The document `hamp-lab.run/1`: the figures of a run, the same for all scenarios
//! (`docs/schemas/hamp-lab.run-1.json`).

use std::collections::BTreeMap;

use serde::Serialize;

use crate::capture::Stamp;

/// One run of a scenario.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Always `hamp-lab.run/1`.
    pub schema: &'static str,
    /// Name of the scenario.
    pub scenario: String,
    /// What all randomness of the scenario came from; 0 if it has none.
    pub seed: u64,
    /// When it began, in milliseconds since 1970.
    pub started_unix_ms: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
    /// Longest time that the machine let a thread wait after its sleep was over, in milliseconds:
    /// what timing figures of this run have to be read with.
    pub stall_ms: f64,
    /// `root` or `user namespace`; `none` in virtual time.
    pub privilege: String,
    /// Whether it was the quick form.
    pub quick: bool,
    /// Versions of what took part.
    pub versions: BTreeMap<String, String>,
    /// Load, by phase, family and service.
    pub phases: Vec<Phase>,
    /// Each time another member became the one that answers.
    pub takeovers: Vec<Takeover>,
    /// Unmodified programs that were tried.
    pub programs: Vec<Program>,
    /// What an intruder tried, once for each mode; absent where there was none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attacks: Vec<Attack>,
    /// What was asserted.
    pub checks: Vec<Check>,
    /// What could not be done here, and why.
    pub unsupported: Vec<Unsupported>,
    /// Whether all checks passed.
    pub passed: bool,
}

impl Run {
    /// A run that begins at `started`, without a figure yet, in namespaces of this process.
    pub fn begin(scenario: &str, quick: bool, started: Stamp) -> Self {
        let mapped = crate::enter::is_mapped();
        Self {
            schema: "hamp-lab.run/1",
            scenario: scenario.into(),
            seed: 0,
            started_unix_ms: started.0 / 1_000_000,
            took_ms: 0,
            stall_ms: 0.0,
            privilege: if mapped { "user namespace" } else { "root" }.into(),
            quick,
            versions: BTreeMap::new(),
            phases: Vec::new(),
            takeovers: Vec::new(),
            programs: Vec::new(),
            attacks: Vec::new(),
            checks: Vec::new(),
            unsupported: Vec::new(),
            passed: false,
        }
    }

    /// The verdict, on a run that began at `started` and is over.
    pub fn end(&mut self, started: Stamp, stalls: &crate::wait::Stalls) {
        self.stall_ms = stalls.longest().as_secs_f64() * 1e3;
        self.passed = self.checks.iter().all(|check| check.passed);
        let took = Stamp::now().since(started).unwrap_or_default();
        self.took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    }
}

/// The requests of one phase, family and service.
#[derive(Clone, Debug, Serialize)]
pub struct Phase {
    /// Name of the phase.
    pub name: String,
    /// Hello interval of the members, in milliseconds.
    pub hello_ms: u64,
    /// Begin, in milliseconds since the run began.
    pub from_ms: f64,
    /// End, likewise.
    pub to_ms: f64,
    /// 4 or 6.
    pub family: u8,
    /// `http` or `dns`.
    pub service: String,
    /// The host that asked.
    pub from_host: String,
    /// Requests sent.
    pub requests: usize,
    /// Requests answered.
    pub ok: usize,
    /// Requests not answered in time or refused.
    pub failed: usize,
    /// Answers by member.
    pub by_member: BTreeMap<String, usize>,
    /// Longest time between two requests that were answered with none in between, in milliseconds.
    pub gap_ms: f64,
    /// Median time to the answer, in milliseconds.
    pub p50_ms: f64,
    /// 99th percentile of it, in milliseconds.
    pub p99_ms: f64,
}

/// Another member took over.
#[derive(Clone, Debug, Serialize)]
pub struct Takeover {
    /// What happened.
    pub event: String,
    /// Hello interval of the members, in milliseconds.
    pub hello_ms: u64,
    /// 4 or 6.
    pub family: u8,
    /// Moment of the event, in milliseconds since the run began.
    pub at_ms: f64,
    /// Who answered before.
    pub from: String,
    /// Who answers now.
    pub to: String,
    /// From the event to the first answer of the new one, in milliseconds.
    pub took_ms: f64,
    /// Requests lost, all services.
    pub lost: usize,
    /// From the event to the sending of the last lost request, in milliseconds; absent if none was
    /// lost.
    pub last_lost_ms: Option<f64>,
    /// The window in which losses are allowed, in milliseconds; 0 if none is.
    pub window_ms: f64,
}

/// An unmodified program that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Program {
    /// Its command line.
    pub command: String,
    /// 4 or 6.
    pub family: u8,
    /// The member that answered, if one did.
    pub answered_by: Option<String>,
    /// What went wrong, if something did.
    pub error: Option<String>,
}

/// Something that an intruder tried.
#[derive(Clone, Debug, Serialize)]
pub struct Attack {
    /// What was verified meanwhile: `off`, nothing, or `enforce`, everything.
    pub mode: String,
    /// Its name.
    pub attack: String,
    /// What it is.
    pub about: String,
    /// Begin, in milliseconds since the run began.
    pub from_ms: f64,
    /// End, likewise.
    pub to_ms: f64,
    /// Frames that the intruder sent.
    pub frames: u64,
    /// Requests of clients meanwhile.
    pub requests: usize,
    /// Those that the intruder answered.
    pub diverted: usize,
    /// Those that nobody answered, though a member was to.
    pub lost: usize,
    /// Those that another member answered than before, though that one lived.
    pub moved: usize,
    /// By host, what its hamp did not use meanwhile, by reason.
    pub refused: BTreeMap<String, BTreeMap<String, u64>>,
    /// Where a member was killed, by host: how long it was still listed there, in milliseconds;
    /// `None` to the end.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub listed_ms: BTreeMap<String, Option<f64>>,
    /// In a flood: percent of one processor that the router's hamp took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub router_percent: Option<f64>,
}

/// Something that was asserted.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// Stable identifier.
    pub id: String,
    /// Whether it holds.
    pub passed: bool,
    /// What was measured, in the unit that the identifier or `unit` says.
    pub measured: f64,
    /// What it may be at most.
    pub limit: f64,
    /// Unit of both: `ms`, `requests`, `frames`, `segments`, ...
    pub unit: &'static str,
    /// The first few things that made it fail, or what it was measured on.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Check {
    /// A check that `measured` is at most `limit`.
    pub fn at_most(id: impl Into<String>, measured: f64, limit: f64, unit: &'static str) -> Self {
        let passed = measured <= limit;
        Self {
            id: id.into(),
            passed,
            measured,
            limit,
            unit,
            detail: String::new(),
        }
    }

    /// A check that a list of violations is empty; the first ones become the detail.
    pub fn none(id: impl Into<String>, violations: &[String], unit: &'static str) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "a count of violations")]
        let measured = violations.len() as f64;
        let detail = violations
            .iter()
            .take(3)
            .cloned()
            .collect::<Vec<_>>()
            .join("; ");
        Self {
            detail,
            ..Self::at_most(id, measured, 0.0, unit)
        }
    }

    /// The same check with a note.
    #[must_use]
    pub fn noted(mut self, note: impl std::fmt::Display) -> Self {
        let gap = if self.detail.is_empty() { "" } else { "; " };
        self.detail = format!("{}{gap}{note}", self.detail);
        self
    }
}

/// What could not be done here.
#[derive(Clone, Debug, Serialize)]
pub struct Unsupported {
    /// What.
    pub what: String,
    /// Why.
    pub reason: String,
}
