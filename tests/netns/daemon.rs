//! A daemon in a host of a lab: started, asked, watched, ended.
#![allow(dead_code, reason = "each test binary uses its part of this module")]

#[path = "schema.rs"]
pub(crate) mod schema;

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;
use testbed::{Host, Lab, Process, Topology, wait};

/// Longer than any wait here takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

pub(crate) const ADDRESSES: &str =
    r#"addresses = ["198.18.0.1", "198.18.7.0/24", "2001:2:0:1546::1"]"#;

pub(crate) fn lab() -> Result<Lab> {
    let pair = Topology::new("daemon")
        .switch("sw")
        .host("one")
        .link("sw", &["10.15.46.1/24", "fd15:46::1/64"])
        .host("two")
        .link("sw", &["10.15.46.2/24", "fd15:46::2/64"]);
    Lab::new(&pair)
}

/// Writes a configuration with fast hellos and these tables.
pub(crate) fn configure(host: &Host, tables: &str) -> Result<()> {
    let node = format!(
        "[node]\nname = \"{}\"\ninterfaces = [\"eth0\"]\nhello_ms = 100\n",
        host.name()
    );
    host.write("/tmp/hamp.toml", &format!("{node}{tables}"))
}

pub(crate) fn member(host: &Host) -> Result<Process> {
    configure(host, &format!("[member]\n{ADDRESSES}\n"))?;
    start(host)
}

pub(crate) fn start(host: &Host) -> Result<Process> {
    let daemon = host.spawn("hamp", &["hamp", "run", "--config", "/tmp/hamp.toml"])?;
    ready(host, &daemon)?;
    Ok(daemon)
}

/// Waits until a daemon answers, and its links are there.
pub(crate) fn ready(host: &Host, daemon: &Process) -> Result<()> {
    wait::until_ok("the daemon answers", LIMIT, || {
        ensure!(daemon.exited().is_none(), "{}", host.read(daemon.log())?);
        let status = report(host, &["status"])?;
        ensure!(status["links"][0]["up"] == true, "{status:#}");
        Ok(())
    })
}

pub(crate) fn report(host: &Host, command: &[&str]) -> Result<Value> {
    let output = host.run(&[&["hamp"], command, &["--json"]].concat())?;
    let answer = serde_json::from_str(&output.ok()?)?;
    schema::check(&answer).map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(answer)
}

/// Waits until this host serves all of its addresses.
pub(crate) fn serving(host: &Host, count: usize) -> Result<()> {
    wait::until_ok("it serves", LIMIT, || {
        let status = report(host, &["status"])?;
        ensure!(
            status["links"][0]["phase"] == "active" || count == 0,
            "{status:#}"
        );
        let held = host.sh("ip -o address show dev lo | grep -c -e 198.18 -e 1546 || true")?;
        let held: usize = held.trim().parse()?;
        ensure!(held == count, "{held} of {count}");
        Ok(())
    })
}

/// Everything of the kernel that a daemon may touch. The kernel's own notes (neighbours that it
/// found itself, its link-local address once DAD is done, counters of lifetimes) are left out.
pub(crate) fn kernel(host: &Host) -> Result<String> {
    host.sh(
        "ip -o address show dev lo; ip -o address show dev eth0 | sed 's, tentative,,'; \
         ip route show table all | grep -v cache; ip -6 route show table all | sed '/local fe80/d'; \
         ip rule; ip -6 rule; \
         ip neigh | grep -e proto -e 198.18 -e 1546 || true; \
         nft list ruleset; \
         cat /proc/sys/net/ipv6/ip_nonlocal_bind /proc/sys/net/ipv4/tcp_mtu_probing /proc/sys/net/ipv4/conf/*/arp_announce; \
         ip maddress show dev eth0 | sed 's, users.*,,'; ls -A /run/hamp 2>/dev/null || true",
    )
}

/// Fails with the lines that differ; the kernel lists groups in the order they were joined in.
pub(crate) fn same(before: &str, after: &str) -> Result<()> {
    let only = |these: &str, those: &str| -> Vec<String> {
        let new = |line: &&str| !those.lines().any(|other| other == *line);
        these.lines().filter(new).map(str::to_owned).collect()
    };
    let (gone, new) = (only(before, after), only(after, before));
    ensure!(
        gone.is_empty() && new.is_empty(),
        "gone: {gone:#?}, new: {new:#?}"
    );
    Ok(())
}

pub(crate) fn ends_clean(daemon: &Process, host: &Host, before: &str) -> Result<()> {
    let status = daemon.terminate(LIMIT)?;
    ensure!(status.success(), "{status}: {}", host.read(daemon.log())?);
    let after = kernel(host)?;
    same(before, &after)
}
