//! The lab `intruder` in its quick form and from outside: the attacks succeed where nothing is
//! verified, and are refused, each for its reason, where everything is.

#[path = "../../tests/netns/schema.rs"]
mod schema;
#[allow(dead_code, reason = "nothing is interrupted here")]
#[path = "started/mod.rs"]
mod started;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use hamp::daemon::exit;
use serde_json::Value;
use started::{lab, needs_lab};
use testbed::{harness, skip};

fn main() -> ExitCode {
    harness::main(&[("off_lets_through_what_enforce_refuses", quick)])
}

/// A machine that stood still for half a dead time of the quick form, in milliseconds.
const STALL_MS: f64 = 300.0;

fn quick() -> Result<()> {
    needs_lab()?;
    let dir = std::env::temp_dir().join(format!("hamp-intruder-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let path = |file: &str| dir.join(file).to_str().context("path").map(str::to_owned);
    let (json, report) = (path("run.json")?, path("report")?);
    let args = [
        "run", "intruder", "--quick", "--json", &json, "--report", &report,
    ];
    let read = || -> Result<Value> { Ok(serde_json::from_str(&fs::read_to_string(&json)?)?) };
    let (mut code, mut out, mut err) = lab(&args)?;
    if code == Some(i32::from(exit::MISSING)) && err.contains("scapy") {
        return Err(skip(err.trim().to_owned()));
    }
    // Living members were taken for dead: such a run measured the machine. It is shown and done
    // again, and the second time counts in any case.
    if code == Some(1) && read()?["stall_ms"].as_f64().unwrap_or(0.0) >= STALL_MS {
        println!("once more, the machine stood still:\n{out}");
        (code, out, err) = lab(&args)?;
    }
    ensure!(code == Some(0), "exit {code:?}\n{out}{err}");
    let wide: Vec<_> = out.lines().filter(|l| l.chars().count() > 80).collect();
    ensure!(wide.is_empty(), "lines of more than 80 columns: {wide:?}");
    let document = read()?;
    schema::check(&document).map_err(anyhow::Error::msg)?;
    let attacks = document["attacks"].as_array().context("no attacks")?;
    for mode in ["off", "enforce"] {
        let mounted = attacks.iter().filter(|attack| attack["mode"] == mode);
        ensure!(mounted.count() >= 2, "{mode}: {attacks:#?}");
    }
    let page = fs::read_to_string(dir.join("report/index.html"))?;
    for wanted in [
        "forged-join",
        "unsigned",
        "hamp-lab up examples/labs/intruder.toml",
    ] {
        ensure!(page.contains(wanted), "no {wanted} on the page");
    }
    fs::remove_dir_all(dir)?;
    Ok(())
}
