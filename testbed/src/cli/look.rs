//! `hamp-lab check` and `hamp-lab list`: what this machine can do, and what there is to do.

use anyhow::Result;
use serde_json::{Value, json};
use testbed::hold::{self, Found};
use testbed::scenario;
use testbed::{Privilege, check};

pub(super) fn check(json: bool, privilege: Privilege) -> Result<u8> {
    let findings = check::look(privilege);
    if json {
        testbed::outln!("{}", serde_json::to_string_pretty(&findings)?);
        return Ok(findings.code());
    }
    for finding in &findings.findings {
        let mark = if finding.ok { "ok     " } else { "MISSING" };
        testbed::outln!("{mark}  {:18} {}", finding.what, finding.found);
    }
    Ok(findings.code())
}

pub(super) fn list(json: bool) -> Result<u8> {
    let up: Vec<Value> = hold::find()?.iter().map(running).collect();
    if json {
        let labs: Vec<_> = scenario::all()
            .map(|s| json!({ "name": s.name, "about": s.about }))
            .collect();
        let document = json!({ "schema": "hamp-lab.list/1", "labs": labs, "up": up });
        testbed::outln!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(0);
    }
    testbed::outln!("labs to run (hamp-lab run NAME):");
    for scenario in scenario::all() {
        testbed::outln!("  {:16} {}", scenario.name, scenario.about);
    }
    testbed::outln!("\nlabs that are up (hamp-lab up FILE, down NAME):");
    if up.is_empty() {
        testbed::outln!("  none");
    }
    for lab in &up {
        let text = |key: &str| match &lab[key] {
            Value::String(text) => text.clone(),
            Value::Null => "-".into(),
            other => other.to_string(),
        };
        let state = match lab["up_ms"].as_u64() {
            Some(ms) => format!(
                "{} nodes, {}",
                lab["hosts"].as_array().map_or(0, Vec::len),
                age(ms)
            ),
            None => "it does not answer".into(),
        };
        testbed::outln!(
            "  {:16} {state}, user {}, process {}, {}",
            text("name"),
            text("uid"),
            text("pid"),
            text("file")
        );
    }
    Ok(0)
}

/// A lab that is up, as in `list --json`; what its holder does not say is null.
fn running(lab: &Found) -> Value {
    let about = if lab.is_ours() {
        lab.about()
            .ok()
            .and_then(|about| serde_json::to_value(about).ok())
    } else {
        let output = lab.as_its_user().args(["list", "--json"]).output();
        let document = output
            .ok()
            .and_then(|output| serde_json::from_slice::<Value>(&output.stdout).ok());
        let all = document.and_then(|document| document["up"].as_array().cloned());
        all.into_iter()
            .flatten()
            .find(|one| one["name"] == *lab.name)
    };
    let about = about.unwrap_or_default();
    json!({
        "name": lab.name,
        "uid": lab.uid,
        "pid": about["pid"],
        "file": about["file"],
        "up_ms": about["up_ms"],
        "hosts": about["hosts"],
    })
}

/// How long something has lasted, roughly.
fn age(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("for {seconds} s"),
        seconds @ 120..7200 => format!("for {} min", seconds / 60),
        seconds => format!("for {} h", seconds / 3600),
    }
}
