//! hamp beside a member that was written from the specification alone, in Python: each finds the
//! other, answers it, believes its hellos through new chains, and notices when it leaves or dies.

#[path = "netns/daemon.rs"]
mod daemon;

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::Value;
use testbed::{Host, Lab, Process, Result, Topology, skippable, wait};

testbed::before_main!();

/// Longer than any wait here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);
const SERVED: [&str; 3] = ["198.18.0.1/32", "198.18.0.5/32", "2001:2:0:1546::5/128"];

fn lab(name: &str) -> Result<Lab> {
    let python = Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|output| output.status.success()) {
        return Err(testbed::skip("no python3: apt-get install -y python3"));
    }
    let topology = Topology::new(name)
        .switch("sw")
        .host("snake")
        .link("sw", &["10.15.46.5/24", "fd15:46::5/64"])
        .host("one")
        .link("sw", &["10.15.46.1/24", "fd15:46::1/64"])
        .host("two")
        .link("sw", &["10.15.46.2/24", "fd15:46::2/64"]);
    let lab = Lab::new(&topology)?;
    let snake = lab.host("snake");
    wait::until_ok("addresses without DAD", LIMIT, || {
        let tentative = snake.sh("ip -6 address show tentative")?;
        ensure!(tentative.is_empty(), "{tentative}");
        Ok(())
    })?;
    // Its kernel answers ARP and neighbour discovery; the latter only for addresses of the link.
    snake.sh(&format!("ip address add {} dev lo", SERVED[1]))?;
    snake.sh(&format!("ip address add {} dev eth0 nodad", SERVED[2]))?;
    Ok(lab)
}

/// Starts the other implementation: hellos each 100 ms, chains of 32, so a new one every 3 s.
fn start(host: &Host, options: &[&str]) -> Result<(Process, std::process::ChildStdin)> {
    // A host of a lab has a /tmp of its own, which may hide the checkout.
    host.write("/tmp/member.py", include_str!("interop/member.py"))?;
    host.write("/tmp/ed25519.py", include_str!("golden/ed25519.py"))?;
    let fixed = [
        "python3",
        "-B",
        "/tmp/member.py",
        "eth0",
        "snake",
        "100",
        "32",
    ];
    host.spawn_fed("member", &[&fixed[..], &SERVED, options].concat())
}

/// What it has said so far.
fn said(host: &Host, process: &Process) -> Result<Vec<Value>> {
    let text = host.read(process.log())?;
    let lines = text.lines().map(|line| {
        let event: Result<Value, _> = serde_json::from_str(line);
        event.with_context(|| text.clone())
    });
    lines.collect()
}

/// Waits until it has said something that is so; what that was.
fn says(
    host: &Host,
    process: &Process,
    what: &str,
    is_so: impl Fn(&Value) -> bool,
) -> Result<Value> {
    wait::until_ok(what, LIMIT, || {
        let events = said(host, process)?;
        let found = events.iter().find(|event| is_so(event)).cloned();
        found.with_context(|| format!("{events:#?}"))
    })
}

/// The prefixes of member `id` as a daemon knows them; `None` if it does not know the member.
fn known(host: &Host, id: &str) -> Result<Option<Vec<String>>> {
    let members = daemon::report(host, &["members"])?;
    let all = members["links"][0]["members"]
        .as_array()
        .context("members")?;
    let Some(member) = all.iter().find(|member| member["id"] == id) else {
        return Ok(None);
    };
    let prefixes = member["serving"].as_array().context("serving")?;
    let texts = prefixes.iter().map(|one| one["prefix"].to_string());
    Ok(Some(texts.collect()))
}

fn knows(host: &Host, id: &str, count: usize) -> Result<()> {
    wait::until_ok("the daemon knows it", LIMIT, || {
        let prefixes = known(host, id)?;
        ensure!(
            prefixes.as_ref().is_some_and(|all| all.len() == count),
            "{prefixes:?} of {id}: {:#}",
            daemon::report(host, &["status"])?
        );
        Ok(())
    })
}

/// How often a daemon has refused something for one of these reasons.
fn refused(host: &Host) -> Result<Vec<(String, u64)>> {
    let status = daemon::report(host, &["status"])?;
    let counted = status["counters"]["ignored"]
        .as_object()
        .with_context(|| format!("{status:#}"))?;
    // The second copy of each message, and what comes before its sender has reported.
    let usual = ["duplicate", "unknown_member", "unknown_chain", "not_ours"];
    let counted = counted
        .iter()
        .filter(|(why, _)| !usual.contains(&why.as_str()));
    let counted = counted.map(|(why, count)| (why.clone(), count.as_u64().unwrap_or(0)));
    Ok(counted.filter(|(_, count)| *count > 0).collect())
}

/// From the first word to the last, on a link where `one` serves and `two` asks.
fn live_together(lab: &Lab, trust: &str, options: &[&str]) -> Result<()> {
    let (snake, one, two) = (lab.host("snake"), lab.host("one"), lab.host("two"));
    let own = if trust.is_empty() {
        ""
    } else {
        "key = \"/tmp/hamp.key\"\ncertificate = \"/tmp/hamp.cert\"\n"
    };
    let tables = format!("[member]\n{}\n{trust}{own}", daemon::ADDRESSES);
    daemon::configure(one, &tables)?;
    daemon::configure(two, &format!("[client]\n{trust}"))?;
    let (served, asking) = (daemon::start(one)?, daemon::start(two)?);
    daemon::serving(one, 3)?;
    let (member, mut input) = start(snake, options)?;
    let active = says(snake, &member, "it begins", |event| {
        event["event"] == "active"
    })?;
    let id = active["member"].as_str().context("its id")?.to_owned();
    for host in [one, two] {
        knows(host, &id, SERVED.len())?;
    }
    let is_one = |event: &Value| {
        let prefixes = event["prefixes"].as_array().map_or(0, Vec::len);
        event["event"] == "peer" && prefixes == 3
    };
    let peer = says(snake, &member, "it knows hamp's member", is_one)?;
    for address in ["198.18.0.5", "2001:2:0:1546::5"] {
        wait::until_ok("an answer", LIMIT, || {
            two.run(&["ping", "-c1", "-W1", address])?.ok()
        })?;
    }
    // A daemon that begins anew asks, and is answered.
    ensure!(asking.terminate(LIMIT)?.success());
    let asking = daemon::start(two)?;
    knows(two, &id, SERVED.len())?;
    says(snake, &member, "it answers", |event| {
        event["event"] == "answered"
    })?;
    // Two chains later it lives as before, and nothing of it was refused.
    wait::until_ok("new chains", LIMIT, || {
        let events = said(snake, &member)?;
        let renewed = events.iter().filter(|event| event["event"] == "renewed");
        ensure!(renewed.count() >= 2, "{events:#?}");
        Ok(())
    })?;
    knows(two, &id, SERVED.len())?;
    let refusals = refused(two)?;
    ensure!(refusals.is_empty(), "{refusals:?}");
    let ignored: Vec<Value> = said(snake, &member)?;
    let odd = |event: &&Value| event["event"] == "ignored" && event["why"] != "unknown chain";
    ensure!(!ignored.iter().any(|event| odd(&event)), "{ignored:#?}");
    // hamp's member dies.
    served.kill()?;
    let gone = |event: &Value| event["event"] == "gone" && event["member"] == peer["member"];
    says(snake, &member, "it notices the death", gone)?;
    // It leaves.
    input.write_all(b"leave\n")?;
    says(snake, &member, "it leaves", |event| {
        event["event"] == "left"
    })?;
    let left = known(two, &id)?;
    ensure!(left.as_ref().is_none_or(Vec::is_empty), "{left:?}");
    ensure!(asking.terminate(LIMIT)?.success());
    Ok(())
}

#[test]
fn an_implementation_of_the_specification_and_hamp_live_together() -> Result<()> {
    skippable(|| live_together(&lab("interop")?, "", &[]))
}

#[test]
fn so_they_do_where_nobody_is_believed_without_a_certificate() -> Result<()> {
    skippable(|| {
        let lab = lab("interop-trust")?;
        // The authority is made on one host, keys where they stay, and the rest is handed around.
        let [snake, one, two] = ["snake", "one", "two"].map(|name| lab.host(name));
        one.sh("hamp authority new /tmp/authority")?;
        for host in [snake, one] {
            host.sh("hamp key new /tmp/hamp.key")?;
            one.write("/tmp/owner.pub", &host.read("/tmp/hamp.pub")?)?;
            one.sh(
                "hamp authority certify --authority /tmp/authority --key /tmp/owner.pub \
                 --prefix 198.18.0.0/16 --prefix 2001:2:0:1546::/112 --output /tmp/owner.cert",
            )?;
            host.write("/tmp/hamp.cert", &one.read("/tmp/owner.cert")?)?;
        }
        two.write("/tmp/authority.pub", &one.read("/tmp/authority.pub")?)?;
        live_together(
            &lab,
            "[trust]\nmode = \"enforce\"\nauthorities = [\"/tmp/authority.pub\"]\n",
            &["--key", "/tmp/hamp.key", "--certificate", "/tmp/hamp.cert"],
        )
    })
}
