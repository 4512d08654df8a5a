//! The measurements in virtual time, in their quick form: what they say fits its schema, and what
//! they check holds.

#[path = "../../tests/netns/schema.rs"]
mod schema;

use anyhow::{Result, ensure};

/// What `hamp-lab measure` says, checked against its schema.
fn measure(arguments: &[&str]) -> Result<serde_json::Value> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hamp-lab"));
    let output = command
        .arg("measure")
        .args(arguments)
        .arg("--json")
        .output()?;
    ensure!(output.status.success(), "{arguments:?}: {output:?}");
    let document = serde_json::from_slice(&output.stdout)?;
    schema::check(&document).map_err(anyhow::Error::msg)?;
    Ok(document)
}

#[test]
fn clocks_200_ppm_off_refuse_no_honest_hello() -> Result<()> {
    let document = measure(&["clocks", "--quick"])?;
    let runs = document["runs"].as_array().expect("runs");
    assert_eq!(runs.len(), 2);
    for (run, hellos) in runs.iter().zip([3600, 6000]) {
        assert_eq!(run["refused"], serde_json::json!({}));
        // Three members, each at its own rate.
        let sent = run["hellos_sent"].as_u64().expect("a number");
        assert!(sent.abs_diff(3 * hellos) <= 3, "{sent}");
        // Everybody proves its time to the two others before the allowance is half used.
        assert!(run["anchors"].as_u64() > Some(15), "{run}");
    }
    Ok(())
}

#[test]
fn a_router_knows_a_crowd_and_has_its_table_back() -> Result<()> {
    let crowd = measure(&["crowd", "--quick"])?;
    for run in crowd["runs"].as_array().expect("runs") {
        assert_eq!(run["known"], 100);
        // A hundred hellos a second of each.
        let hellos = run["hellos"].as_u64().expect("a number");
        assert!(hellos.abs_diff(20_000) <= 200, "{run}");
    }
    let recovery = measure(&["recovery", "--quick"])?;
    for run in recovery["runs"].as_array().expect("runs") {
        let of = |key: &str| run[key].as_f64().expect("a number");
        assert!(of("recovered_ms") <= of("formula_ms") + 10.0, "{run}");
    }
    Ok(())
}

#[test]
fn clocks_further_apart_than_allowed_are_told() {
    let arguments = [
        "measure",
        "clocks",
        "--quick",
        "--hello-ms=1000",
        "--ppm=2000",
    ];
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hamp-lab"));
    let output = command.args(arguments).output().expect("hamp-lab runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("refused"),
        "{said}"
    );
}
