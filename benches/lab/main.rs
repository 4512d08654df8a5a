//! What a lab costs: creating and removing one, and what its links take from TCP.
//!
//! Creation is measured beside the plain shell way: the same network from a script with one `ip`
//! for each namespace, link and address, and from `ip -batch`. Both run in a private world of their
//! own. A host of a lab is more than such a namespace: it has its own processes, mounts and name.
//!
//! Throughput is measured beside a veth pair that `ip` made by hand.
//!
//! ```text
//! cargo bench --bench lab -- --quick
//! cargo bench --bench lab -- --json docs/figures/lab.json --plot docs/figures/lab.svg
//! ```
#![allow(missing_docs)]

mod creation;
mod shell;
#[allow(dead_code, reason = "each bench uses its part of the harness")]
#[path = "../side_by_side/mod.rs"]
mod side_by_side;
mod throughput;

use std::process::{Command, ExitCode};

use anyhow::Result;

fn main() -> ExitCode {
    side_by_side::main("What a lab costs", |bench| {
        bench.version("iproute2", &iproute2()?);
        creation::compare(bench)?;
        throughput::compare(bench)
    })
}

fn iproute2() -> Result<String> {
    let output = Command::new("ip").arg("-V").output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
