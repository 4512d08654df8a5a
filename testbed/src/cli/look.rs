//! `hamp-lab check` and `hamp-lab list`: what this machine can do, and what there is to do.

use anyhow::Result;
use testbed::scenario::ALL;
use testbed::{Privilege, check};

pub(super) fn check(json: bool, privilege: Privilege) -> Result<u8> {
    let findings = check::look(privilege);
    if json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
        return Ok(findings.code());
    }
    for finding in &findings.findings {
        let mark = if finding.ok { "ok     " } else { "MISSING" };
        println!("{mark}  {:18} {}", finding.what, finding.found);
    }
    Ok(findings.code())
}

pub(super) fn list(json: bool) -> Result<u8> {
    if json {
        let labs: Vec<_> = ALL
            .iter()
            .map(|s| serde_json::json!({ "name": s.name, "about": s.about }))
            .collect();
        let document = serde_json::json!({ "schema": "hamp-lab.list/1", "labs": labs });
        println!("{}", serde_json::to_string_pretty(&document)?);
        return Ok(0);
    }
    for scenario in ALL {
        println!("{:16} {}", scenario.name, scenario.about);
    }
    Ok(0)
}
