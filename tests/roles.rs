//! Routers, and hosts with keys, as daemons in hosts of a lab.

#[path = "netns/daemon.rs"]
mod common;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use testbed::{Host, Lab, Process, Topology, wait};

use common::{LIMIT, configure, lab, report, same, start};

fn main() -> ExitCode {
    testbed::init();
    testbed::harness::main(&[
        (
            "a_router_sends_where_members_are_and_its_routes_outlive_its_daemon",
            a_router_sends_where_members_are_and_its_routes_outlive_its_daemon,
        ),
        (
            "a_router_that_does_not_forward_says_so",
            a_router_that_does_not_forward_says_so,
        ),
        (
            "trust_is_switched_and_read_again_while_it_runs",
            trust_is_switched_and_read_again_while_it_runs,
        ),
        (
            "a_new_key_takes_over_without_a_request_lost",
            a_new_key_takes_over_without_a_request_lost,
        ),
    ])
}

const SERVED: [&str; 2] = ["198.18.0.1", "2001:2:0:1546::1"];
const MEMBER: &str = "[member]\naddresses = [\"198.18.0.1\", \"2001:2:0:1546::1\"]\n";

// ===== Routers =====

/// Two links with members, and one without, whose client has never heard of hamp.
fn campus() -> Result<Lab> {
    let member = |topology: Topology, name: &str, link: &str, net: u8, own: u8| {
        let own = [
            format!("10.{net}.0.{own}/24"),
            format!("fd00:{net}::{own}/64"),
        ];
        topology
            .host(name)
            .link(link, &own)
            .route("default", &format!("10.{net}.0.254"))
            .route("::/0", &format!("fd00:{net}::fe"))
    };
    let mut topology = Topology::new("router")
        .switch("left")
        .switch("right")
        .switch("out")
        .router("r")
        .link("left", &["10.1.0.254/24", "fd00:1::fe/64"])
        .link("right", &["10.2.0.254/24", "fd00:2::fe/64"])
        .link("out", &["10.3.0.254/24", "fd00:3::fe/64"]);
    topology = member(topology, "a", "left", 1, 1);
    topology = member(topology, "b", "left", 1, 2);
    topology = member(topology, "c", "right", 2, 1);
    topology = member(topology, "far", "out", 3, 1);
    Lab::new(&topology)
}

const ROUTER: &str =
    "[node]\ninterfaces = [\"eth0\", \"eth1\", \"eth2\"]\nhello_ms = 100\n[router]\n";

/// All of the kernel that a router's daemon may touch.
fn state(host: &Host) -> Result<String> {
    host.sh(
        "ip route show table all | grep -v cache; ip -6 route show table all | sed '/local fe80/d'; \
         ip rule; ip -6 rule; \
         ip nexthop show; ip -6 nexthop show; ip neigh show proto 154; nft list ruleset; \
         cat /proc/sys/net/ipv4/conf/*/send_redirects; ls -A /run/hamp 2>/dev/null || true",
    )
}

/// Waits until the router has a route to each served address with so many next hops.
fn routed(router: &Host, hops: usize) -> Result<()> {
    wait::until_ok("the routes", LIMIT, || {
        let routes = report(router, &["routes"])?;
        let list = routes["routes"].as_array().context("routes")?;
        ensure!(list.len() == if hops == 0 { 0 } else { 2 }, "{routes:#}");
        for route in list {
            let have = route["hops"].as_array().map(Vec::len);
            ensure!(have == Some(hops), "{routes:#}");
        }
        ensure!(routes["refused"] == 0, "{routes:#}");
        for (family, address) in ["-4", "-6"].iter().zip(SERVED) {
            let kernel = router.sh(&format!("ip {family} route show {address} proto 154"))?;
            ensure!(kernel.is_empty() == (hops == 0), "{hops} hops: {kernel}");
        }
        Ok(())
    })
}

/// Constant requests: every 20 ms one to each address.
fn constant(host: &Host) -> Result<Vec<Process>> {
    static STARTED: AtomicUsize = AtomicUsize::new(0);
    let ping = |address: &&str| {
        // Each has a log of its own.
        let name = format!("ping{}", STARTED.fetch_add(1, Ordering::Relaxed));
        host.spawn(&name, &["ping", "-i", "0.02", "-W", "2", address])
    };
    SERVED.iter().map(ping).collect()
}

/// Ends constant requests: how many there were, and how many got no answer.
fn lost(host: &Host, pings: &[Process]) -> Result<(u64, u64)> {
    let mut sum = (0, 0);
    for ping in pings {
        ping.signal(Signal::SIGINT)?;
        ping.wait(LIMIT)?;
        let told = host.read(ping.log())?;
        let line = told.lines().find(|line| line.contains("transmitted"));
        let line = line.with_context(|| told.clone())?;
        let number = |what: &str| -> Result<u64> {
            let words: Vec<&str> = line.split([' ', ',']).filter(|w| !w.is_empty()).collect();
            let at = words
                .iter()
                .position(|word| *word == what)
                .context("a number")?;
            let before = words[..at].iter().rev().find_map(|word| word.parse().ok());
            before.with_context(|| line.to_owned())
        };
        let (sent, received) = (number("transmitted")?, number("received")?);
        // The last one may have been on its way.
        sum = (sum.0 + sent, sum.1 + sent.saturating_sub(received + 1));
    }
    Ok(sum)
}

fn answers(host: &Host) -> Result<()> {
    for address in SERVED {
        wait::until_ok("an answer", LIMIT, || {
            let asked = host.run(&["ping", "-c1", "-W1", address])?;
            asked.ok().with_context(|| address.to_owned())
        })?;
    }
    Ok(())
}

fn a_router_sends_where_members_are_and_its_routes_outlive_its_daemon() -> Result<()> {
    let lab = campus()?;
    let (r, far) = (lab.host("r"), lab.host("far"));
    let before = state(r)?;
    r.write("/tmp/hamp.toml", ROUTER)?;
    let router = start(r)?;
    let members = ["a", "b", "c"].map(|name| lab.host(name));
    let mut daemons = Vec::new();
    for host in members {
        configure(host, MEMBER)?;
        daemons.push(start(host)?);
    }
    routed(r, 3)?;
    answers(far)?;
    let status = report(r, &["status"])?;
    ensure!(
        status["roles"] == serde_json::json!(["router"]),
        "{status:#}"
    );
    let own = &status["links"][0]["routing"]["forwarder_ipv6"]["own"];
    ensure!(own == true, "{status:#}");
    let table = report(r, &["members"])?;
    let entry = &table["table"][0];
    ensure!(
        entry["members"].as_array().map(Vec::len) == Some(3),
        "{table:#}"
    );
    for command in ["status", "members", "routes", "trust"] {
        r.run(&["hamp", command])?.ok()?;
    }

    // A member leaves, another is killed: the others go on.
    let pings = constant(far)?;
    for address in SERVED {
        report(members[0], &["leave", address])?;
    }
    routed(r, 2)?;
    let (sent, none) = lost(far, &pings)?;
    ensure!(none == 0, "{none} of {sent} lost by a leave");
    daemons[1].kill()?;
    routed(r, 1)?;
    answers(far)?;
    for address in SERVED {
        report(members[0], &["join", address])?;
    }
    routed(r, 2)?;

    // The router's daemon is killed: its routes stay, and the next one takes them over.
    wait::until_ok("the table is complete", LIMIT, || {
        ensure!(report(r, &["routes"])?["recovered"] == true);
        Ok(())
    })?;
    let pings = constant(far)?;
    let routes = r.sh("ip route show proto 154; ip -6 route show proto 154")?;
    router.kill()?;
    let kept = r.sh("ip route show proto 154; ip -6 route show proto 154")?;
    ensure!(kept == routes, "{routes}, then {kept}");
    answers(far)?;
    let next = start(r)?;
    wait::until_ok("the table is back", LIMIT, || {
        let routes = report(r, &["routes"])?;
        ensure!(
            routes["recovered"] == true && routes["stale"] == 0,
            "{routes:#}"
        );
        Ok(())
    })?;
    routed(r, 2)?;
    let log = r.read(next.log())?;
    ensure!(
        log.contains("routes of an earlier daemon taken over"),
        "{log}"
    );
    let (sent, none) = lost(far, &pings)?;
    ensure!(sent > 20 && none == 0, "{none} of {sent} lost by a restart");

    // What nobody confirms after a crash is swept.
    next.kill()?;
    daemons[2].terminate(LIMIT)?;
    let third = start(r)?;
    routed(r, 1)?;
    answers(far)?;

    let status = third.terminate(LIMIT)?;
    ensure!(status.success(), "{status}: {}", r.read(third.log())?);
    same(&before, &state(r)?)
}

fn a_router_that_does_not_forward_says_so() -> Result<()> {
    let lab = lab()?;
    let one = lab.host("one");
    one.sysctl("ipv4/ip_forward", "0")?;
    one.sysctl("ipv6/conf/all/forwarding", "1")?;
    configure(one, "[router]\n")?;
    let router = start(one)?;
    let log = one.read(router.log())?;
    ensure!(log.contains("sysctl -w net.ipv4.ip_forward=1"), "{log}");
    ensure!(!log.contains("ipv6.conf.all.forwarding=1"), "{log}");
    let status = report(one, &["status"])?;
    let expected = serde_json::json!({ "ipv4": false, "ipv6": true });
    ensure!(status["router"]["forwarding"] == expected, "{status:#}");
    ensure!(one.sh("cat /proc/sys/net/ipv4/ip_forward")?.trim() == "0");
    router.terminate(LIMIT)?;
    Ok(())
}

// ===== Trust =====

/// The directory of the keys, in every host.
const KEYS: &str = "/tmp/keys";

/// Makes an authority on `host`.
fn authority(host: &Host) -> Result<()> {
    host.sh(&format!(
        "mkdir -p {KEYS} && cd {KEYS} && hamp authority new ca.key"
    ))?;
    Ok(())
}

/// Makes a key that `authority` certifies, and brings all that `host` needs there.
fn certify(authority: &Host, host: &Host, name: &str, options: &str) -> Result<()> {
    authority.sh(&format!(
        "cd {KEYS} && hamp key new {name}.key && hamp authority certify --authority ca.key \
         --key {name}.pub --prefix 198.18.0.0/16 --prefix 2001:2:0:1546::/112 {options} \
         --output {name}.cert"
    ))?;
    host.sh(&format!("mkdir -p {KEYS}"))?;
    for file in [
        "ca.pub".to_owned(),
        format!("{name}.cert"),
        format!("{name}.key"),
    ] {
        let path = format!("{KEYS}/{file}");
        host.write(&path, &authority.read(&path)?)?;
    }
    host.sh(&format!("chmod 600 {KEYS}/{name}.key"))?;
    Ok(())
}

fn trust(mode: &str, name: Option<&str>) -> String {
    let own = name
        .map(|name| format!("key = \"{KEYS}/{name}.key\"\ncertificate = \"{KEYS}/{name}.cert\"\n"));
    let own = own.unwrap_or_default();
    format!("[trust]\nmode = \"{mode}\"\n{own}authorities = [\"{KEYS}/ca.pub\"]\n")
}

/// Ids of the others that serve something, as `host` sees it, and whether they are verified.
fn known(host: &Host) -> Result<Vec<(String, bool)>> {
    let members = report(host, &["members"])?;
    let trust = report(host, &["trust"])?;
    let verified = |id: &Value| {
        let mut all = trust["members"].as_array().into_iter().flatten();
        all.any(|member| member["id"] == *id && member["verified"] == true)
    };
    let list = members["links"][0]["members"]
        .as_array()
        .context("members")?;
    let served = list.iter().filter(|member| {
        let serving = member["serving"]
            .as_array()
            .is_some_and(|list| !list.is_empty());
        serving && member["own"] == false
    });
    let one = |member: &Value| Some((member["id"].as_str()?.to_owned(), verified(&member["id"])));
    Ok(served.filter_map(one).collect())
}

fn knows(host: &Host, what: &str, holds: impl Fn(&[(String, bool)]) -> bool) -> Result<()> {
    wait::until_ok(what, LIMIT, || {
        let known = known(host)?;
        ensure!(holds(&known), "{known:?}");
        Ok(())
    })
}

fn trust_is_switched_and_read_again_while_it_runs() -> Result<()> {
    let lab = Lab::new(
        &Topology::new("trust")
            .switch("sw")
            .host("one")
            .link("sw", &["10.15.46.1/24", "fd15:46::1/64"])
            .host("two")
            .link("sw", &["10.15.46.2/24", "fd15:46::2/64"])
            .host("client")
            .link("sw", &["10.15.46.9/24", "fd15:46::9/64"]),
    )?;
    let [one, two, client] = ["one", "two", "client"].map(|name| lab.host(name));
    authority(one)?;
    certify(one, one, "one", "--serial 7")?;
    certify(one, client, "unused", "")?;
    configure(one, &format!("{MEMBER}{}", trust("count", Some("one"))))?;
    configure(two, MEMBER)?;
    configure(client, &format!("[client]\n{}", trust("off", None)))?;
    let _members = (start(one)?, start(two)?);
    let daemon = start(client)?;
    knows(client, "both, unchecked", |known| {
        known.len() == 2 && known.iter().all(|(_, verified)| !verified)
    })?;

    // Counted, used.
    report(client, &["trust", "count"])?;
    wait::until_ok("it is counted", LIMIT, || {
        // What is said only when it is asked for has to be asked for.
        report(two, &["join", "198.18.0.2"])?;
        report(two, &["leave", "198.18.0.2", "--force"])?;
        let trust = report(client, &["trust"])?;
        ensure!(trust["doubted"]["unsigned"].as_u64() > Some(0), "{trust:#}");
        Ok(())
    })?;
    ensure!(known(client)?.len() == 2, "counted, and used");

    // Refused.
    report(client, &["trust", "enforce"])?;
    let only_one = |known: &[(String, bool)]| known.len() == 1 && known[0].1;
    knows(client, "one alone", only_one)?;
    wait::until_ok("it is counted", LIMIT, || {
        let trust = report(client, &["trust"])?;
        ensure!(trust["refused"]["unsigned"].as_u64() > Some(0), "{trust:#}");
        Ok(())
    })?;
    let text = client.run(&["hamp", "trust"])?.ok()?;
    ensure!(
        text.contains("enforce: what nobody vouches for is refused"),
        "{text}"
    );
    let own = report(one, &["trust"])?;
    ensure!(own["own"]["serial"] == 7, "{own:#}");
    let refused = two.run(&["hamp", "trust", "enforce"])?;
    ensure!(refused.status.code() == Some(78), "{refused:?}");
    ensure!(refused.stderr.contains("trust.authorities"), "{refused:?}");

    // Taken back: the list is read on a hangup, a broken file changes nothing.
    one.sh(&format!(
        "cd {KEYS} && hamp authority revoke --authority ca.key --list revoked 7"
    ))?;
    let list = format!("{KEYS}/revoked");
    client.write(&list, &one.read(&list)?)?;
    let with_list = |mode: &str| {
        let trust = trust(mode, None);
        configure(
            client,
            &format!("[client]\n{trust}revoked = [\"{list}\"]\n"),
        )
    };
    with_list("strict")?;
    let refused = client.run(&["hamp", "reload"])?;
    ensure!(refused.status.code() == Some(78), "{refused:?}");
    ensure!(refused.stderr.contains("trust.mode"), "{refused:?}");
    knows(client, "nothing changed", only_one)?;
    with_list("enforce")?;
    daemon.signal(Signal::SIGHUP)?;
    knows(client, "nobody", <[_]>::is_empty)?;
    // Whose certificate it was says so, as soon as it has the list.
    let own = trust("count", Some("one"));
    configure(one, &format!("{MEMBER}{own}revoked = [\"{list}\"]\n"))?;
    let reloaded = report(one, &["reload"])?;
    ensure!(reloaded["trust"]["own"]["revoked"] == true, "{reloaded:#}");
    let text = one.run(&["hamp", "trust"])?.ok()?;
    ensure!(text.contains("IS REVOKED"), "{text}");
    ensure!(daemon.exited().is_none(), "{}", client.read(daemon.log())?);

    // The file's mode counts again with the next reload, and says what a restart is needed for.
    let text = format!("[client]\n[member]\n{}", trust("off", None));
    configure(client, &text)?;
    let reloaded = report(client, &["reload"])?;
    let expected = serde_json::json!(["member"]);
    ensure!(reloaded["needs_restart"] == expected, "{reloaded:#}");
    knows(client, "both again", |known| known.len() == 2)?;
    daemon.terminate(LIMIT)?;
    Ok(())
}

fn a_new_key_takes_over_without_a_request_lost() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    authority(one)?;
    for name in ["first", "second"] {
        certify(one, one, name, "")?;
    }
    certify(one, two, "unused", "")?;
    configure(one, &format!("{MEMBER}{}", trust("enforce", Some("first"))))?;
    configure(two, &format!("[client]\n{}", trust("enforce", None)))?;
    let (daemon, client) = (start(one)?, start(two)?);
    answers(two)?;
    let first = known(two)?;
    ensure!(first.len() == 1 && first[0].1, "{first:?}");
    let pings = constant(two)?;
    let second = trust("enforce", Some("second"));
    configure(one, &format!("{MEMBER}{second}"))?;
    daemon.signal(Signal::SIGHUP)?;
    // The new one is there before the former one goes.
    knows(two, "both ids", |known| {
        known.len() == 2 && known.iter().all(|(_, verified)| *verified)
    })?;
    knows(two, "the new id alone", |known| {
        known.len() == 1 && known[0] != first[0]
    })?;
    std::thread::sleep(Duration::from_millis(500));
    let (sent, none) = lost(two, &pings)?;
    ensure!(
        sent > 100 && none == 0,
        "{none} of {sent} lost by a roll-over"
    );
    let connections = report(one, &["status"])?;
    ensure!(
        connections["links"][0]["phase"] == "active",
        "{connections:#}"
    );
    drop(client);
    Ok(())
}
