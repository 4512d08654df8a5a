//! What an operator does with a member in service: takes it out and brings it back without loss,
//! never by mistake the last one, and learns who did so.

use anyhow::{Result, ensure};
use testbed::harness::Test;
use testbed::{Host, Lab, Process, Topology, wait};

use crate::common::{LIMIT, configure, ready, report, serving, start};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_leave_waits_for_the_takeover_and_loses_nothing",
        a_leave_waits_for_the_takeover_and_loses_nothing,
    ),
    (
        "the_last_member_leaves_by_force_alone",
        the_last_member_leaves_by_force_alone,
    ),
    (
        "a_drained_host_stays_drained_over_a_restart",
        a_drained_host_stays_drained_over_a_restart,
    ),
    (
        "a_router_counts_the_members_that_it_knows_elsewhere",
        a_router_counts_the_members_that_it_knows_elsewhere,
    ),
    (
        "a_group_may_ask_and_change_nothing",
        a_group_may_ask_and_change_nothing,
    ),
];

/// A router that is a member too knows who would serve on elsewhere; others cannot see what it knows.
fn a_router_counts_the_members_that_it_knows_elsewhere() -> Result<()> {
    let two = Topology::new("operator-router")
        .switch("left")
        .switch("right")
        .host("r")
        .link("left", &["10.15.46.1/24", "fd15:46::1/64"])
        .link("right", &["10.15.47.1/24", "fd15:47::1/64"])
        .host("far")
        .link("right", &["10.15.47.2/24", "fd15:47::2/64"]);
    let lab = Lab::new(&two)?;
    let (r, far) = (lab.host("r"), lab.host("far"));
    let node = "[node]\nname = \"r\"\ninterfaces = [\"eth0\", \"eth1\"]\nhello_ms = 100\n";
    r.write("/tmp/hamp.toml", &format!("{node}{MEMBER}[router]\n"))?;
    let _router = start(r)?;
    serving(r, 2)?;
    let told = refused(r, &["leave", A4])?;
    ensure!(
        told.contains("on eth0") && told.contains("on eth1"),
        "{told}"
    );
    let _far = member(far)?;
    wait::until_ok("the router knows the other", LIMIT, || {
        r.run(&["hamp", "leave", A4])?.ok()
    })?;
    let told = refused(far, &["leave", A4])?;
    ensure!(
        told.contains("what router r (") && told.contains("cannot be seen from here"),
        "{told}"
    );
    Ok(())
}

const A4: &str = "198.18.0.1";
const A6: &str = "2001:2:0:1546::1";
const MEMBER: &str = "[member]\naddresses = [\"198.18.0.1\", \"2001:2:0:1546::1\"]\n";

/// Two members and a stock host on a link.
fn link() -> Result<Lab> {
    let link = Topology::new("operator")
        .switch("sw")
        .host("one")
        .link("sw", &["10.15.46.1/24", "fd15:46::1/64"])
        .host("two")
        .link("sw", &["10.15.46.2/24", "fd15:46::2/64"])
        .host("stock")
        .link("sw", &["10.15.46.9/24", "fd15:46::9/64"]);
    let lab = Lab::new(&link)?;
    let routes =
        "ip route add 198.18.0.0/16 dev eth0; ip -6 route add 2001:2:0:1546::/112 dev eth0";
    lab.host("stock").sh(routes)?;
    Ok(lab)
}

fn member(host: &Host) -> Result<Process> {
    configure(host, MEMBER)?;
    let daemon = start(host)?;
    serving(host, 2)?;
    Ok(daemon)
}

/// Waits until `host` knows `count` members.
fn knows(host: &Host, count: usize) -> Result<()> {
    wait::until_ok("the members know each other", LIMIT, || {
        let members = report(host, &["members"])?;
        let known = members["links"][0]["members"]
            .as_array()
            .map_or(0, Vec::len);
        ensure!(known == count, "{members:#}");
        Ok(())
    })
}

/// What a command says that fails with 1.
fn refused(host: &Host, command: &[&str]) -> Result<String> {
    let output = host.run(&[&["hamp"], command].concat())?;
    ensure!(output.status.code() == Some(1), "{output:?}");
    Ok(output.stderr)
}

fn log(host: &Host, daemon: &Process) -> Result<String> {
    host.read(daemon.log())
}

fn a_leave_waits_for_the_takeover_and_loses_nothing() -> Result<()> {
    let lab = link()?;
    let (one, two, stock) = (lab.host("one"), lab.host("two"), lab.host("stock"));
    let daemons = (member(one)?, member(two)?);
    knows(one, 2)?;
    knows(two, 2)?;
    let pings = [A4, A6].map(|address| {
        let ping = ["ping", "-i0.02", "-w30", "-W1", address];
        stock.spawn("ping", &ping)
    });
    for host in [one, two] {
        let told = report(host, &["leave", "--all"])?;
        ensure!(told["waited_ms"].as_u64() >= Some(1000), "{told:#}");
        // It has left when the command ends, and the other has both.
        let status = report(host, &["status"])?;
        ensure!(
            status["links"][0]["serving"] == serde_json::json!([]),
            "{status:#}"
        );
        let members = report(host, &["members"])?;
        for prefix in members["links"][0]["prefixes"]
            .as_array()
            .into_iter()
            .flatten()
        {
            ensure!(prefix["own"] == false, "{members:#}");
        }
        for address in [A4, A6] {
            let told = host.run(&["hamp", "join", address])?.ok()?;
            ensure!(told == format!("{address} is served\n"), "{told}");
            let open = host.sh("nft list table inet hamp_member")?;
            ensure!(open.contains(address), "{open}");
        }
        knows(if host.name() == "one" { two } else { one }, 2)?;
    }
    let one_address = one.run(&["hamp", "leave", A4])?.ok()?;
    ensure!(
        one_address.starts_with("left 198.18.0.1; two has it on eth0"),
        "{one_address}"
    );
    for ping in pings {
        let ping = ping?;
        ping.signal(nix::sys::signal::Signal::SIGINT)?;
        ping.wait(LIMIT)?;
        let told = stock.read(ping.log())?;
        ensure!(told.contains(" 0% packet loss"), "{told}");
    }
    let log = log(one, &daemons.0)?;
    for what in ["told to leave", "told to join", "user=0", "process="] {
        ensure!(log.contains(what), "{what}: {log}");
    }
    Ok(())
}

fn the_last_member_leaves_by_force_alone() -> Result<()> {
    let lab = link()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let _one = member(one)?;
    configure(two, "[member]\naddresses = [\"198.18.0.2\"]\n")?;
    let other = start(two)?;
    serving(two, 1)?;
    knows(one, 2)?;
    for command in [
        &["leave", A4][..],
        &["leave", A6],
        &["leave", "--all"],
        &["drain"],
    ] {
        let told = refused(one, command)?;
        ensure!(
            told.contains("has no other member on eth0")
                && told.contains("do not serve it: two (")
                && told.contains("--force"),
            "{told}"
        );
    }
    let serves = report(one, &["status"])?["links"][0]["serving"].clone();
    ensure!(serves.as_array().map(Vec::len) == Some(2), "{serves:#}");
    // Who is about to leave takes nothing over.
    report(two, &["join", A4])?;
    two.sh("hamp leave 198.18.0.1 --no-wait")?;
    let told = refused(one, &["leave", A4])?;
    ensure!(told.contains("no other member"), "{told}");
    wait::until_ok("two has left", LIMIT, || {
        let members = report(one, &["members"])?;
        let left = members["links"][0]["prefixes"][0]["ranks"].as_array();
        ensure!(left.map(Vec::len) == Some(1), "{members:#}");
        Ok(())
    })?;
    let told = one.run(&["hamp", "leave", A4, "--force"])?.ok()?;
    ensure!(
        told == "left 198.18.0.1; nobody serves it on eth0\n",
        "{told}"
    );
    // Nobody on a link that is down has to be thought of.
    lab.carrier("one", "eth0", false)?;
    wait::until_ok("the link is down", LIMIT, || {
        let status = report(one, &["status"])?;
        ensure!(status["down_interfaces"][0] == "eth0", "{status:#}");
        Ok(())
    })?;
    one.run(&["hamp", "leave", A6])?.ok()?;
    // And a join that cannot be served says what is missing, when its time is over.
    let told = refused(one, &["join", A6, "--timeout", "1"])?;
    ensure!(
        told.contains("no link is up (eth0)") && told.contains("hamp status shows how far"),
        "{told}"
    );
    let told = one.run(&["hamp", "status"])?.ok()?;
    ensure!(
        told.contains("pending  2001:2:0:1546::1 not served yet: no link is up (eth0)"),
        "{told}"
    );
    drop(other);
    Ok(())
}

fn a_drained_host_stays_drained_over_a_restart() -> Result<()> {
    let lab = link()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let before = crate::common::kernel(one)?;
    let daemon = member(one)?;
    let _two = member(two)?;
    two.sh("hamp join 198.18.0.5")?;
    report(one, &["join", "198.18.0.5", "--preference", "7"])?;
    one.run(&["hamp", "join", "198.18.1.0/24"])?.ok()?;
    let told = refused(one, &["leave", "198.18.1.7"])?;
    ensure!(
        told.contains("as part of 198.18.1.0/24") && told.contains("try: hamp leave 198.18.1.0/24"),
        "{told}"
    );
    let told = one.run(&["hamp", "why", "198.18.1.7"])?.ok()?;
    ensure!(
        told.contains("nobody else") && told.contains("it stays on this host"),
        "{told}"
    );
    one.run(&["hamp", "leave", "198.18.1.0/24", "--force"])?
        .ok()?;
    knows(one, 2)?;
    knows(two, 2)?;
    let told = one.run(&["hamp", "drain"])?.ok()?;
    ensure!(
        told.starts_with("3 prefixes: left")
            && told.ends_with("them on eth0\n")
            && told.contains("; two has "),
        "{told}"
    );
    let told = one.run(&["hamp", "drain"])?.ok()?;
    ensure!(told.starts_with("drained already"), "{told}");
    let told = refused(one, &["leave", A4])?;
    ensure!(told.contains("this host is drained"), "{told}");
    let told = one.run(&["hamp", "why", A4])?.ok()?;
    ensure!(
        told.contains("which is drained (hamp undrain)") && told.contains("it stays on this host"),
        "{told}"
    );
    let drained = |host: &Host| -> Result<()> {
        let status = report(host, &["status"])?;
        ensure!(status["drained"] == true, "{status:#}");
        ensure!(status["serving"] == serde_json::json!([]), "{status:#}");
        let told = host.run(&["hamp", "status"])?.ok()?;
        ensure!(told.contains("drained: hamp undrain"), "{told}");
        // A service that is updated meanwhile can bind its address.
        host.sh("ip address show dev lo | grep -q 198.18.0.5")?;
        ensure!(refused(host, &["join", "198.18.0.9"])?.contains("hamp undrain"));
        Ok(())
    };
    drained(one)?;
    ensure!(daemon.terminate(LIMIT)?.success());
    let daemon = one.spawn("hamp", &["hamp", "run", "--config", "/tmp/hamp.toml"])?;
    ready(one, &daemon)?;
    drained(one)?;
    let told = log(one, &daemon)?;
    ensure!(
        told.contains("this host is drained and serves nothing"),
        "{told}"
    );
    daemon.kill()?;
    let daemon = one.spawn("hamp", &["hamp", "run", "--config", "/tmp/hamp.toml"])?;
    ready(one, &daemon)?;
    drained(one)?;
    let told = report(one, &["undrain"])?;
    ensure!(
        told["prefixes"].as_array().map(Vec::len) == Some(3),
        "{told:#}"
    );
    let again = one.run(&["hamp", "undrain"])?.ok()?;
    ensure!(again == "not drained: nothing to do\n", "{again}");
    let status = report(one, &["status"])?;
    ensure!(status["drained"] == false, "{status:#}");
    let joined = status["serving"].as_array().into_iter().flatten();
    let preferences: Vec<_> = joined.map(|one| one["preference"].clone()).collect();
    ensure!(preferences == [100, 7, 100], "{status:#}");
    ensure!(daemon.terminate(LIMIT)?.success());
    crate::common::same(&before, &crate::common::kernel(one)?)
}

fn a_group_may_ask_and_change_nothing() -> Result<()> {
    let lab = link()?;
    let one = lab.host("one");
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534"];
    let alone = [&nobody[..], &["--clear-groups", "true"]].concat();
    if !one.run(&alone)?.status.success() {
        // In a user namespace of one user there are no groups of others.
        return Ok(());
    }
    for control in ["@hamp", "/run/hamp.socket"] {
        let node = format!(
            "[node]\ninterfaces = [\"eth0\"]\nhello_ms = 100\ngroup = \"daemon\"\ncontrol = \"{control}\"\n"
        );
        one.write("/tmp/hamp.toml", &format!("{node}{MEMBER}"))?;
        let daemon = one.spawn("hamp", &["hamp", "run", "--config", "/tmp/hamp.toml"])?;
        let asks = |who: &[&str], words: &str| -> Result<(Option<i32>, String)> {
            let words: Vec<&str> = words.split(' ').collect();
            let command = [&nobody[..], who, &["hamp"], &words, &["--control", control]].concat();
            let output = one.run(&command)?;
            Ok((output.status.code(), output.stderr))
        };
        let member = &["--groups=7,1"][..];
        wait::until_ok("a member of the group may ask", LIMIT, || {
            ensure!(daemon.exited().is_none(), "{}", log(one, &daemon)?);
            for words in [
                "status",
                "members",
                "neighbours",
                "connections",
                "routes",
                "trust",
            ] {
                let (code, told) = asks(member, words)?;
                ensure!(code == Some(0), "{words}: {told}");
            }
            Ok(())
        })?;
        for words in [
            "join 198.18.0.9",
            "leave --all --force",
            "drain",
            "undrain",
            "reload",
            "trust off",
        ] {
            let (code, told) = asks(member, words)?;
            ensure!(
                code == Some(77) && told.contains("not change it"),
                "{words}: {told}"
            );
        }
        let (code, told) = asks(&["--groups=7"], "status")?;
        ensure!(code == Some(77), "{told}");
        ensure!(
            control.starts_with('/') || told.contains("may not ask this daemon"),
            "{told}"
        );
        ensure!(
            control.starts_with('/') || told.contains("as a member of group daemon"),
            "{told}"
        );
        let (code, told) = asks(&["--groups=7"], "leave 198.18.0.1")?;
        ensure!(code == Some(77) && !told.contains("group daemon"), "{told}");
        ensure!(
            control.starts_with('/') || told.contains("may not command this daemon"),
            "{told}"
        );
        ensure!(daemon.terminate(LIMIT)?.success());
    }
    one.write(
        "/tmp/hamp.toml",
        "[node]\ninterfaces = [\"eth0\"]\ngroup = \"no-such\"\n",
    )?;
    let wrong = one.run(&["hamp", "run", "--config", "/tmp/hamp.toml"])?;
    ensure!(wrong.status.code() == Some(78), "{wrong:?}");
    ensure!(
        wrong.stderr.contains("hamp.toml:3: node.group"),
        "{wrong:?}"
    );
    Ok(())
}
