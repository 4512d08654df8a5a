//! `hamp-lab run campus`, from outside: that BIRD and FRR carry hamp's routes, that the nearest member
//! answers, and what it costs when it leaves or is killed (R13).

#[path = "../../tests/netns/schema.rs"]
mod schema;
#[path = "started/mod.rs"]
mod started;

use std::fs;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;
use started::{Started, lab, needs_lab};
use testbed::{harness, routing};

fn main() -> ExitCode {
    harness::main(&[
        ("the_quick_form_passes", the_quick_form_passes),
        (
            "the_committed_figures_are_as_described",
            the_committed_figures_are_as_described,
        ),
        ("nothing_stays_after_kill_9", nothing_stays_after_kill_9),
    ])
}

/// Half of the quick form's dead time, in milliseconds.
const STALL_MS: f64 = 150.0;
/// The quick form may take so long, in milliseconds.
const QUICK_MS: u64 = 20_000;

/// BIRD and FRR besides what every lab needs.
fn needs_routing() -> Result<()> {
    needs_lab()?;
    routing::installed().map_err(|why| testbed::skip(format!("{why:#}")))
}

fn the_quick_form_passes() -> Result<()> {
    needs_routing()?;
    let dir = std::env::temp_dir().join(format!("hamp-campus-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let path = |name: &str| -> Result<String> {
        let path = dir.join(name);
        Ok(path.to_str().context("path")?.to_owned())
    };
    let (json, report, pcap) = (path("run.json")?, path("report")?, path("pcap")?);
    let args = [
        "run", "campus", "--quick", "--json", &json, "--report", &report, "--pcap", &pcap,
    ];
    let read = || -> Result<Value> { Ok(serde_json::from_str(&fs::read_to_string(&json)?)?) };
    let (mut code, mut out, mut err) = lab(&args)?;
    // A machine that stands still for half of the dead time makes living members miss their hellos:
    // such a run measured the machine. It is shown and done again, and the third time counts.
    for _ in 0..2 {
        if code != Some(1) || read()?["stall_ms"].as_f64().unwrap_or(0.0) < STALL_MS {
            break;
        }
        println!("once more, the machine stood still:\n{out}");
        (code, out, err) = lab(&args)?;
    }
    ensure!(code == Some(0), "exit {code:?}\n{out}{err}");
    let wide: Vec<_> = out.lines().filter(|l| l.chars().count() > 80).collect();
    ensure!(wide.is_empty(), "lines of more than 80 columns: {wide:?}");
    let document = read()?;
    schema::check(&document).map_err(anyhow::Error::msg)?;
    ensure!(document["scenario"] == "campus" && document["quick"] == true);
    let took = document["took_ms"].as_u64().unwrap_or(u64::MAX);
    ensure!(took <= QUICK_MS, "took {took} ms");
    figures(&document)?;
    let page = fs::read_to_string(dir.join("report/index.html"))?;
    ensure!(
        page.contains("hamp-lab run campus --quick"),
        "no command on the page"
    );
    ensure!(fs::metadata(dir.join("pcap/lab.pcapng"))?.len() > 100_000);
    fs::remove_dir_all(dir)?;
    Ok(())
}

/// What a run that passed must have measured, whatever its own verdict rests on.
fn figures(document: &Value) -> Result<()> {
    let array = |key: &str| document[key].as_array().cloned().unwrap_or_default();
    for family in [4, 6] {
        let of = |key: &str, event: &str| -> Vec<Value> {
            let name = if key == "phases" { "name" } else { "event" };
            let mut all = array(key);
            all.retain(|one| one["family"] == family && one[name] == event);
            all
        };
        let steady = of("phases", "undisturbed");
        // Over each family three hosts ask two services.
        ensure!(
            steady.len().is_multiple_of(6) && !steady.is_empty(),
            "{steady:?}"
        );
        for stream in &steady {
            let requests = stream["requests"].as_u64().unwrap_or(0);
            ensure!(requests >= 50 && stream["failed"] == 0, "{stream}");
            let nearest = if stream["from_host"] == "box" {
                "far"
            } else {
                "near"
            };
            ensure!(
                stream["by_member"]
                    .as_object()
                    .is_some_and(|by| by.len() == 1 && by.contains_key(nearest)),
                "{stream}"
            );
        }
        for (event, from, to) in [
            ("near leaves", "near", "spare"),
            ("spare leaves", "spare", "far"),
            ("near is killed", "near", "spare"),
            ("spare is killed", "spare", "far"),
        ] {
            let takeovers = of("takeovers", event);
            ensure!(
                !takeovers.is_empty(),
                "nobody took over after {event:?} over v{family}"
            );
            for takeover in takeovers {
                ensure!(
                    takeover["from"] == from && takeover["to"] == to,
                    "{takeover}"
                );
                ensure!(
                    !event.ends_with("leaves") || takeover["lost"] == 0,
                    "{takeover}"
                );
            }
        }
    }
    let programs = array("programs");
    ensure!(programs.len() >= 6, "{programs:?}");
    ensure!(
        programs
            .iter()
            .all(|program| program["answered_by"] == "near"),
        "{programs:?}"
    );
    for wanted in [
        "gap-v4/spare-is-killed",
        "gap-v6/near-is-killed",
        "routers-to-near",
        "site-stays-inside",
    ] {
        let is = |check: &Value| {
            check["id"]
                .as_str()
                .is_some_and(|id| id.starts_with(wanted))
        };
        ensure!(array("checks").iter().any(is), "no check {wanted}");
    }
    Ok(())
}

fn the_committed_figures_are_as_described() -> Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/figures/campus.json");
    let document: Value = serde_json::from_str(&fs::read_to_string(path)?)?;
    schema::check(&document).map_err(anyhow::Error::msg)?;
    ensure!(document["passed"] == true && document["quick"] == false);
    figures(&document)
}

fn nothing_stays_after_kill_9() -> Result<()> {
    needs_routing()?;
    // When hosts are there, and when servers and routing daemons are.
    for (round, processes) in [5, 25].into_iter().enumerate() {
        let lab = Started::begin(&format!("campus{round}"), &["run", "campus", "--quick"])?;
        lab.grown(processes)?;
        kill(lab.pid(), Signal::SIGKILL)?;
        lab.gone()
            .with_context(|| format!("killed with {processes} processes"))?;
    }
    Ok(())
}
