//! What an operator sees of a member in service: one line for monitoring, why a client is with whom it
//! is with, logs without a trace of the program's language, and an example that starts.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use testbed::harness::Test;
use testbed::{Host, Lab, Process, Topology, wait};

use crate::common::{LIMIT, configure, ready, report, serving, start};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_script_learns_whether_all_is_well",
        a_script_learns_whether_all_is_well,
    ),
    (
        "why_a_client_is_not_with_the_owner_is_told",
        why_a_client_is_not_with_the_owner_is_told,
    ),
    ("logs_are_for_people", logs_are_for_people),
    (
        "the_example_starts_as_it_stands",
        the_example_starts_as_it_stands,
    ),
];

pub(crate) const MEMBER: &str = "[member]\naddresses = [\"198.18.0.1\", \"2001:2:0:1546::1\"]\n";

pub(crate) fn link() -> Result<Lab> {
    let link = Topology::new("watched")
        .switch("sw")
        .host("one")
        .link("sw", &["10.15.46.1/24", "fd15:46::1/64"])
        .host("two")
        .link("sw", &["10.15.46.2/24", "fd15:46::2/64"])
        .host("three")
        .link("sw", &["10.15.46.3/24", "fd15:46::3/64"]);
    Lab::new(&link)
}

fn member(host: &Host, preference: u16) -> Result<Process> {
    configure(host, &format!("{MEMBER}preference = {preference}\n"))?;
    let daemon = start(host)?;
    serving(host, 2)?;
    Ok(daemon)
}

/// Waits until `hamp status --check` ends with `code`, and returns its line.
fn checks(host: &Host, code: i32, what: &str) -> Result<String> {
    wait::until_ok("the check says so", LIMIT, || {
        let output = host.run(&["hamp", "status", "--check"])?;
        let told = output.stdout.clone();
        ensure!(output.status.code() == Some(code), "{output:?}");
        ensure!(told.lines().count() == 1 && told.contains(what), "{told}");
        ensure!(output.stderr.is_empty(), "{output:?}");
        Ok(told)
    })
}

fn a_script_learns_whether_all_is_well() -> Result<()> {
    let lab = link()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    checks(one, 69, "HAMP UNKNOWN: no hamp daemon runs")?;
    let daemons = (member(one, 100)?, member(two, 100)?);
    checks(
        one,
        0,
        "HAMP OK: member on eth0, serves 2, knows 1 other members",
    )?;
    lab.carrier("one", "eth0", false)?;
    checks(one, 1, "HAMP WARNING: eth0 is down")?;
    lab.carrier("one", "eth0", true)?;
    checks(one, 0, "HAMP OK")?;
    wait::until_ok("it may be drained", LIMIT, || {
        one.run(&["hamp", "drain"])?.ok()
    })?;
    checks(one, 1, "HAMP WARNING: it is drained")?;
    one.run(&["hamp", "undrain"])?.ok()?;
    checks(one, 0, "HAMP OK")?;
    wait::until_ok("it may leave", LIMIT, || {
        one.run(&["hamp", "leave", "198.18.0.1"])?.ok()
    })?;
    checks(
        one,
        1,
        "198.18.0.1 is configured and was left (hamp join 198.18.0.1)",
    )?;
    let status = one.run(&["hamp", "status"])?.ok()?;
    ensure!(
        status.contains("left     198.18.0.1 (configured"),
        "{status}"
    );
    one.run(&["hamp", "join", "198.18.0.1"])?.ok()?;
    checks(one, 0, "HAMP OK")?;
    // A daemon that does not answer is there.
    daemons.0.freeze()?;
    checks(one, 1, "HAMP UNKNOWN: the daemon does not answer")?;
    daemons.0.thaw()?;
    checks(one, 0, "HAMP OK")?;
    one.sh("ip link set eth0 down; ip link set eth0 name old0")?;
    checks(one, 1, "eth0 does not exist")?;
    drop(daemons);
    let nobody = ["setpriv", "--reuid=65534", "--clear-groups"];
    let strange = one.run(&[&nobody[..], &["true"]].concat())?;
    if strange.status.success() {
        let check = [&nobody[..], &["hamp", "status", "--check"]].concat();
        let two_is_not_asked = two.run(&check)?;
        ensure!(
            two_is_not_asked.status.code() == Some(69),
            "{two_is_not_asked:?}"
        );
        let _two = member(two, 100)?;
        let refused = two.run(&check)?;
        ensure!(
            refused.status.code() == Some(77) && refused.stdout.starts_with("HAMP UNKNOWN: user"),
            "{refused:?}"
        );
    }
    Ok(())
}

fn why_a_client_is_not_with_the_owner_is_told() -> Result<()> {
    let lab = link()?;
    let (one, two, client) = (lab.host("one"), lab.host("two"), lab.host("three"));
    let _one = member(one, 100)?;
    configure(client, "[client]\n")?;
    let _client = start(client)?;
    for address in ["198.18.0.1", "2001:2:0:1546::1"] {
        wait::until_ok("an answer", LIMIT, || {
            client.run(&["ping", "-c1", "-W1", address])?.ok()
        })?;
        let why = report(client, &["why", address])?;
        let link = &why["links"][0];
        ensure!(
            link["entry"]["name"] == "one" && link["entry"]["why"].is_null(),
            "{why:#}"
        );
        ensure!(
            why["leaves_by"] == "eth0" && why["anycast"] == true,
            "{why:#}"
        );
    }
    let _two = member(two, 200)?;
    for address in ["198.18.0.1", "2001:2:0:1546::1"] {
        wait::until_ok("the better one is known", LIMIT, || {
            let why = report(client, &["why", address])?;
            let link = &why["links"][0];
            ensure!(link["ranks"][0]["name"] == "two", "{why:#}");
            ensure!(
                link["ranks"][1]["why"] == "preference 100, less than 200",
                "{why:#}"
            );
            let text = link["entry"]["why"].as_str().context("no reason")?;
            ensure!(
                text.starts_with("resolved ")
                    && text.contains("before two (")
                    && text.contains("joined, which has it now; asked for again in 5"),
                "{text}"
            );
            Ok(())
        })?;
        let text = client.run(&["hamp", "why", address])?.ok()?;
        ensure!(
            text.contains("leads to one (") && text.contains("not to rank 1"),
            "{text}"
        );
    }
    let neighbours = client.run(&["hamp", "neighbours"])?.ok()?;
    ensure!(
        neighbours.contains(" one ") && neighbours.contains("before two ("),
        "{neighbours}"
    );
    let members = client.run(&["hamp", "members"])?.ok()?;
    ensure!(members.contains("two:200 one:100"), "{members}");
    // One who cannot act for a family, and is listed all the same.
    two.sh("ip -4 address flush dev eth0")?;
    wait::until_ok("two has no rank", LIMIT, || {
        let why = report(client, &["why", "198.18.0.1"])?;
        let unranked = &why["links"][0]["unranked"][0];
        ensure!(unranked["name"] == "two", "{why:#}");
        ensure!(
            unranked["why"]
                .as_str()
                .is_some_and(|why| why.contains("no IPv4 address"))
        );
        Ok(())
    })
}

/// Texts that only a program's own language writes.
const RUST: [&str; 15] = [
    "os error",
    "invalid digit",
    "Some(",
    "None",
    "Ok(",
    "Err(",
    "\"?\"",
    "link=?",
    "V4(",
    "V6(",
    "LinkId",
    "{ ",
    "::",
    "\\\"",
    "Instant",
];

/// What a program's own language writes in a text, addresses apart.
pub(crate) fn rust_in(text: &str) -> Option<&'static str> {
    let address =
        |word: &&str| *word == "::" && (text.contains("2001:2:") || text.contains("fd15:"));
    let mut found = RUST.into_iter().filter(|word| text.contains(word));
    found.find(|word| !address(word))
}

fn logs_are_for_people() -> Result<()> {
    let lab = link()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let node = "[node]\nname = \"one\"\ninterfaces = [\"eth0\"]\nhello_ms = 100\nlog = \"hamp=trace,hamp::nft=info\"\n";
    let roles = format!("{node}{MEMBER}[client]\n[router]\n[trust]\nmode = \"off\"\n");
    one.write("/tmp/hamp.toml", &roles)?;
    let daemon = one.spawn("hamp", &["hamp", "run", "--config", "/tmp/hamp.toml"])?;
    ready(one, &daemon)?;
    let other = member(two, 100)?;
    wait::until_ok("the other is known", LIMIT, || {
        let members = report(one, &["members"])?;
        let known = members["links"][0]["members"].as_array().map(Vec::len);
        ensure!(known == Some(2), "{members:#}");
        Ok(())
    })?;
    for command in [
        "join 198.18.0.9",
        "leave 198.18.0.9 --force",
        "reload",
        "trust off",
        "drain",
        "undrain",
    ] {
        one.sh(&format!("hamp {command}"))?;
    }
    other.kill()?;
    lab.carrier("one", "eth0", false)?;
    wait::until_ok("the link is down", LIMIT, || {
        ensure!(report(one, &["status"])?["down_interfaces"][0] == "eth0");
        Ok(())
    })?;
    lab.carrier("one", "eth0", true)?;
    serving(one, 2)?;
    one.sh("ip link set eth0 down; ip link set eth0 name old0")?;
    wait::until_ok("the link is gone", LIMIT, || {
        ensure!(report(one, &["status"])?["absent_interfaces"][0] == "eth0");
        Ok(())
    })?;
    daemon.signal(Signal::SIGHUP)?;
    daemon.signal(Signal::SIGTERM)?;
    daemon.wait(LIMIT)?;
    let log = one.read(daemon.log())?;
    for line in log.lines() {
        ensure!(rust_in(line).is_none(), "{:?}: {line}", rust_in(line));
        ensure!(line.len() < 4200, "{} bytes: {line}", line.len());
        ensure!(!line.chars().any(char::is_control), "{line:?}");
    }
    for told in [
        "told to join prefix=\"198.18.0.9\"",
        "told to leave",
        "told to drain",
        "told to serve again",
        "link up link=\"eth0\" ipv4=10.15.46.1 ipv6=fd15:46::1",
        "link down link=\"eth0\"",
        "member joined link=\"eth0\" member=\"two (",
        "reloaded mode=\"off\"",
        "leaving",
    ] {
        ensure!(log.contains(told), "{told}: {log}");
    }
    Ok(())
}

fn the_example_starts_as_it_stands() -> Result<()> {
    let lab = link()?;
    let one = lab.host("one");
    let example = include_str!("../../examples/hamp.toml");
    one.write("/tmp/hamp.toml", example)?;
    let checked = one
        .run(&["hamp", "config", "check", "/tmp/hamp.toml"])?
        .ok()?;
    ensure!(
        checked.starts_with("/tmp/hamp.toml: good") && !checked.contains("warning"),
        "{checked}"
    );
    // Where no file is named, it is in one place.
    for command in [&["hamp", "run"][..], &["hamp", "config", "check"]] {
        let absent = one.run(command)?;
        ensure!(absent.status.code() == Some(78), "{absent:?}");
        ensure!(
            absent.stderr.starts_with("hamp: /etc/hamp/hamp.toml: "),
            "{absent:?}"
        );
    }
    let daemon = one.spawn("hamp", &["hamp", "run", "--config", "/tmp/hamp.toml"])?;
    ready(one, &daemon)?;
    checks(one, 0, "HAMP OK: member client on eth0, serves 2")?;
    ensure!(daemon.terminate(LIMIT)?.success());
    let log = one.read(daemon.log())?;
    ensure!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    Ok(())
}
