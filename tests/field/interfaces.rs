//! How people name interfaces: altnames are found, what no interface can be called is refused with
//! what to write, and a renamed one is followed or told; `hamp config check` says what `hamp run` does.

use anyhow::{Result, ensure};
use testbed::{Host, Lab, Topology, wait};

use crate::common::{LIMIT, report, schema, start};
use crate::support::pings;

pub(crate) const TESTS: &[testbed::harness::Test] = &[
    (
        "interfaces::an_altname_is_served_on_and_followed",
        an_altname_is_served_on_and_followed,
    ),
    (
        "interfaces::what_no_interface_is_called_is_refused_with_what_to_write",
        what_no_interface_is_called_is_refused_with_what_to_write,
    ),
    (
        "interfaces::a_check_says_what_a_start_would",
        a_check_says_what_a_start_would,
    ),
    (
        "interfaces::more_addresses_than_groups_are_answered",
        more_addresses_than_groups_are_answered,
    ),
];

const ALTNAME: &str = "enp0s31f6-a-name-that-is-longer-than-fifteen-bytes";

fn lab(name: &str) -> Result<Lab> {
    Lab::new(
        &Topology::new(name)
            .switch("sw")
            .host("one")
            .link("sw", &["10.15.46.1/24", "fd15:46::1/64"])
            .host("two")
            .link("sw", &["10.15.46.2/24", "fd15:46::2/64"]),
    )
}

fn configure(host: &Host, interfaces: &str, tables: &str) -> Result<()> {
    let node = format!("[node]\ninterfaces = [{interfaces}]\nhello_ms = 100\n");
    host.write("/tmp/hamp.toml", &format!("{node}{tables}"))
}

/// What a start and a check say and end with; a start that goes on is ended.
fn both(host: &Host) -> Result<[(Option<i32>, String); 2]> {
    let run = host.run(&["timeout", "5", "hamp", "run", "--config", "/tmp/hamp.toml"])?;
    let check = host.run(&["hamp", "config", "check", "/tmp/hamp.toml"])?;
    Ok([
        (run.status.code(), run.stderr),
        (check.status.code(), check.stderr),
    ])
}

fn an_altname_is_served_on_and_followed() -> Result<()> {
    let lab = lab("altname")?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    one.sh(&format!(
        "ip link property add dev eth0 altname {ALTNAME} altname lan"
    ))?;
    let member = "[member]\naddresses = [\"198.18.0.1\", \"2001:2:0:1546::1\"]\n";
    let routed = format!("{member}[router]\ninterfaces = [\"{ALTNAME}\"]\n");
    configure(one, &format!("\"{ALTNAME}\""), &routed)?;
    two.sh("ip route add 198.18.0.0/15 dev eth0 && ip route add 2001:2::/48 dev eth0")?;
    let daemon = start(one)?;
    let status = report(one, &["status"])?;
    ensure!(status["links"][0]["link"] == "eth0", "{status:#}");
    ensure!(
        status["absent_interfaces"]
            .as_array()
            .is_some_and(Vec::is_empty),
        "{status:#}"
    );
    let answered = || {
        wait::until_ok("both are answered", LIMIT, || {
            for address in ["198.18.0.1", "2001:2:0:1546::1"] {
                ensure!(pings(two, address, 1)? == 1, "{address}");
            }
            Ok(())
        })
    };
    answered()?;
    let told = one.run(&["hamp", "config", "check", "/tmp/hamp.toml", "--json"])?;
    let told: serde_json::Value = serde_json::from_str(&told.ok()?)?;
    schema::check(&told).map_err(|error| anyhow::anyhow!("{error}"))?;
    ensure!(
        told["interfaces"] == serde_json::json!(["eth0"]),
        "{told:#}"
    );
    // The altname stays with it, under whatever name.
    one.sh(
        "ip link set eth0 down && ip link set eth0 name net7 && ip link set net7 up && \
            ip address replace fd15:46::1/64 dev net7 nodad",
    )?;
    wait::until_ok("the renamed one is followed", LIMIT, || {
        let status = report(one, &["status"])?;
        ensure!(status["links"][0]["link"] == "net7", "{status:#}");
        Ok(())
    })?;
    answered()?;
    // Without it nothing tells that this is the one that is meant.
    one.sh(&format!("ip link property del dev net7 altname {ALTNAME}"))?;
    wait::until_ok("its end is told", LIMIT, || {
        let status = report(one, &["status"])?;
        ensure!(status["absent_interfaces"][0] == ALTNAME, "{status:#}");
        Ok(())
    })?;
    daemon.terminate(LIMIT)?;
    configure(one, "\"net7\"", member)?;
    let daemon = start(one)?;
    one.sh("ip link set net7 down && ip link set net7 name eth0 && ip link set eth0 up")?;
    wait::until_ok("the rename is told", LIMIT, || {
        let log = one.read(daemon.log())?;
        ensure!(
            log.contains("renamed to eth0, which is not configured"),
            "{log}"
        );
        Ok(())
    })?;
    one.sh("ip link property add dev eth0 altname net7 && \
            ip address replace fd15:46::1/64 dev eth0 nodad")?;
    answered()?;
    daemon.terminate(LIMIT)?;
    Ok(())
}

fn what_no_interface_is_called_is_refused_with_what_to_write() -> Result<()> {
    let lab = lab("names")?;
    let one = lab.host("one");
    one.sh(
        "ip link property add dev eth0 altname Uplink7 && ip link set eth0 alias backbone && \
         ip link set eth0 address 02:00:00:00:15:46",
    )?;
    let index = one.sh("ip -o link show eth0 | cut -d: -f1")?;
    for (name, write) in [
        ("eth*", "write each interface, \"eth0\""),
        ("eth+", "write each interface, \"eth0\""),
        ("et[h]0", "write each interface, \"eth0\""),
        ("wlan?", "write each interface, as `ip -br link` lists it"),
        ("backbone", "write \"eth0\""),
        ("ETH0", "write \"eth0\""),
        ("uplink7", "write \"Uplink7\""),
        (index.trim(), "write \"eth0\""),
        ("02:00:00:00:15:46", "write \"eth0\""),
        ("10.15.46.1", "write \"eth0\""),
        ("eth0@if5", "write the interface alone, \"eth0\""),
        ("eth0:1", "write the interface alone, \"eth0\""),
        ("enp0s31f6np0v12345", "longer than an interface's name"),
    ] {
        configure(
            one,
            &format!("\n  \"nosuch0\",\n  \"{name}\""),
            "[client]\n",
        )?;
        for (code, told) in both(one)? {
            ensure!(code == Some(78), "{name}: {code:?} {told}");
            let place = "/tmp/hamp.toml:4: node.interfaces";
            for part in [place, write, &format!("\"{name}\"")] {
                ensure!(told.contains(part), "{name}: no {part} in {told}");
            }
        }
    }
    configure(one, "\"eth0\", \"Uplink7\"", "[client]\n")?;
    for (code, told) in both(one)? {
        ensure!(code == Some(78) && told.contains("listed twice"), "{told}");
    }
    Ok(())
}

fn a_check_says_what_a_start_would() -> Result<()> {
    let lab = lab("checked")?;
    let one = lab.host("one");
    let class = "[class]\nipv4 = [\"240.0.0.0/4\", \"10.15.46.0/24\"]\n";
    configure(one, "\"eth0\"", &format!("[client]\n{class}"))?;
    for (code, told) in both(one)? {
        let place = "/tmp/hamp.toml:6: class.ipv4";
        ensure!(code == Some(78) && told.contains(place), "{told}");
        ensure!(told.contains("holds 10.15.46.0"), "{told}");
    }
    configure(
        one,
        "\"eth0\"",
        "[member]\naddresses = [\"240.0.0.1\"]\ntcp = \"plain\"\n[class]\nipv4 = [\"240.0.0.0/4\"]\n",
    )?;
    let daemon = start(one)?;
    let text = one
        .run(&["hamp", "config", "check", "/tmp/hamp.toml"])?
        .ok()?;
    for line in ["class     240.0.0.0/4 2001:2:0:1546::/112\n", "tcp plain\n"] {
        ensure!(text.contains(line), "{text}");
    }
    daemon.terminate(LIMIT)?;
    Ok(())
}

/// 300 addresses need as many solicited-node groups, more than the socket's memory is made to hold.
fn more_addresses_than_groups_are_answered() -> Result<()> {
    let lab = lab("groups")?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let small = one.sh("sysctl -qw net.core.optmem_max=4096 2>/dev/null && echo small || true")?;
    let addresses: Vec<String> = (1..=300)
        .map(|n| format!("\"2001:2:0:1546::{n:x}\""))
        .collect();
    let member = format!("[member]\naddresses = [{}]\n", addresses.join(", "));
    configure(one, "\"eth0\"", &member)?;
    two.sh("ip route add 2001:2::/48 dev eth0")?;
    let daemon = start(one)?;
    wait::until_ok("the first and the last are answered", LIMIT, || {
        for address in ["2001:2:0:1546::1", "2001:2:0:1546::12c"] {
            ensure!(pings(two, address, 1)? == 1, "{address}");
        }
        Ok(())
    })?;
    let log = one.read(daemon.log())?;
    ensure!(!log.contains("group not joined"), "{log}");
    if small.trim() == "small" {
        let told = log
            .matches("the kernel joins no more multicast groups")
            .count();
        ensure!(told == 1, "{told} times: {log}");
        let all = one.sh("ip -d link show eth0")?;
        ensure!(all.contains("allmulti 1"), "{all}");
    }
    daemon.terminate(LIMIT)?;
    Ok(())
}
