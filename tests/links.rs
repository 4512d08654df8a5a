//! Links of other kinds and in other numbers: point-to-point ones without link-layer addresses,
//! several on a host, and more addresses than a datagram has room for.

#[path = "netns/daemon.rs"]
mod common;

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use hamp::node::{JoinOptions, LinkId, LinkState, Node};
use hamp::time::{Duration, Instant};
use hamp::wire::frame::Frame;
use serde_json::Value;
use testbed::{Host, Lab, Process, Topology, skip, wait};

use common::{LIMIT, lab, report, start};

fn main() -> ExitCode {
    testbed::init();
    testbed::harness::main(&[
        (
            "where_nobody_asks_nothing_is_announced",
            where_nobody_asks_nothing_is_announced,
        ),
        (
            "the_ends_of_a_tunnel_are_members_and_clients",
            the_ends_of_a_tunnel_are_members_and_clients,
        ),
        (
            "a_router_sends_to_the_other_end_of_a_tunnel",
            a_router_sends_to_the_other_end_of_a_tunnel,
        ),
        (
            "every_link_of_a_host_has_a_life_of_its_own",
            every_link_of_a_host_has_a_life_of_its_own,
        ),
        (
            "five_thousand_addresses_are_heard",
            five_thousand_addresses_are_heard,
        ),
    ])
}

//= docs/spec/membership.md#transport
//= type=test
//# On a link without link-layer addresses a member MUST NOT announce or answer for an address by
//# ARP or neighbour discovery.
fn where_nobody_asks_nothing_is_announced() -> Result<()> {
    // The same takeover is announced where there are link-layer addresses.
    for (mac, announced) in [([2, 0, 0, 0, 0, 1], true), ([0; 6], false)] {
        let other = |own: [u8; 6]| {
            if own == [0; 6] {
                own
            } else {
                [2, 0, 0, 0, 0, 2]
            }
        };
        let mut now = Instant::from_micros(1_000_000);
        let mut ends = [end("one", 1, mac), end("two", 2, other(mac))];
        for (node, state) in &mut ends {
            node.handle_link(now, LINK, Some(*state));
            for address in ["198.18.0.1/32", "2001:2:0:1546::1/128"] {
                node.join(now, address.parse()?, JoinOptions::default())?;
            }
        }
        let mut seen = [0, 0];
        // The rank-1 member of each address leaves in the middle.
        for turn in 0..600 {
            if turn == 300 {
                let owner = ends
                    .iter()
                    .position(|(node, _)| owns(node))
                    .context("an owner")?;
                ends[owner].0.shutdown(now);
            }
            for from in [0, 1] {
                ends[from].0.handle_timeout(now);
                while ends[from].0.poll_event().is_some() {}
                while let Some(sent) = ends[from].0.poll_transmit() {
                    let message = matches!(Frame::parse(&sent.frame), Ok(Frame::Message { .. }));
                    seen[usize::from(message)] += 1;
                    ends[1 - from].0.handle_frame(now, LINK, &sent.frame, false);
                }
            }
            now += Duration::from_millis(10);
        }
        ensure!(seen[1] > 20, "they hear each other: {seen:?}");
        ensure!((seen[0] > 0) == announced, "{seen:?}");
    }
    Ok(())
}

const LINK: LinkId = LinkId(7);

fn end(name: &str, number: u8, mac: [u8; 6]) -> (Node, LinkState) {
    let config = hamp::node::Config {
        name: name.to_owned(),
        ..Default::default()
    };
    let state = LinkState {
        mac,
        ipv4: Some(Ipv4Addr::new(10, 99, 0, number)),
        ipv6: Some(Ipv6Addr::new(0xfd99, 0, 0, 0, 0, 0, 0, number.into())),
        mtu: 1500,
    };
    (Node::new(config, [number; 32], 1), state)
}

/// Whether this host is rank 1 for the IPv4 address.
fn owns(node: &Node) -> bool {
    let mut owners = node.links().flat_map(|(_, link)| link.owners());
    owners.any(|(prefix, owner)| owner.own && prefix.addr().is_ipv4())
}

/// One end of a tunnel that carries bare IP packets in UDP. It ends with its process.
fn tunnel(host: &Host, own: u8, other: u8) -> Result<Process> {
    if !host
        .run(&["sh", "-c", "command -v socat"])?
        .status
        .success()
    {
        return Err(skip("socat is missing: apt-get install socat"));
    }
    if !host
        .run(&["sh", "-c", ": <>/dev/net/tun"])?
        .status
        .success()
    {
        return Err(skip("an ordinary user may not open /dev/net/tun here"));
    }
    let inside = format!("TUN:10.99.0.{own}/30,tun-name=tun0,tun-type=tun,iff-no-pi,iff-up");
    let outside = format!("UDP-DATAGRAM:10.15.46.{other}:4789,bind=10.15.46.{own}:4789,reuseaddr");
    let carrier = host.spawn("tunnel", &["socat", &inside, &outside])?;
    wait::until_ok("the tunnel's end is there", LIMIT, || {
        ensure!(carrier.exited().is_none(), "{}", host.read(carrier.log())?);
        host.sh("ip link show tun0")
    })?;
    host.sh(&format!(
        "ip -6 address replace fd99::{own}/64 dev tun0 nodad"
    ))?;
    Ok(carrier)
}

fn configure(host: &Host, links: &str, tables: &str) -> Result<()> {
    let name = host.name();
    let node = format!("[node]\nname = \"{name}\"\ninterfaces = [{links}]\nhello_ms = 100\n");
    host.write("/tmp/hamp.toml", &format!("{node}{tables}"))
}

/// The members that the host knows of on its link of this number.
fn members(host: &Host, link: usize) -> Result<Vec<Value>> {
    let members = report(host, &["members"])?;
    let list = members["links"][link]["members"].as_array();
    Ok(list.context("members")?.clone())
}

fn pings(host: &Host, address: &str) -> Result<()> {
    wait::until_ok("an answer", LIMIT, || {
        host.run(&["ping", "-c1", "-W1", address])?
            .ok()
            .context(address.to_owned())
    })?;
    Ok(())
}

//= docs/spec/membership.md#transport
//= type=test
//# On a link without link-layer addresses a node MUST state and expect the one that is all zero.
fn the_ends_of_a_tunnel_are_members_and_clients() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let ends = (tunnel(one, 1, 2)?, tunnel(two, 2, 1)?);
    let rules =
        |host: &Host| host.sh("nft list ruleset; ip rule; ip route show table all proto 154");
    let before = (rules(one)?, rules(two)?);
    let addresses = r#"addresses = ["198.18.0.1", "2001:2:0:1546::1"]"#;
    configure(one, "\"tun0\"", &format!("[member]\n{addresses}\n"))?;
    configure(
        two,
        "\"tun0\"",
        "[member]\naddresses = [\"198.18.0.2\"]\n[client]\n",
    )?;
    let daemons = (start(one)?, start(two)?);
    for address in ["198.18.0.1", "2001:2:0:1546::1"] {
        pings(two, address)?;
    }
    // Each end knows the other, both have all-zero link-layer addresses.
    for (host, other) in [(one, "10.99.0.2"), (two, "10.99.0.1")] {
        wait::until_ok("the other end is known", LIMIT, || {
            let members = members(host, 0)?;
            let known = members.iter().find(|member| member["ipv4"] == *other);
            let known = known.with_context(|| format!("{members:#?}"))?;
            ensure!(known["mac"] == "00:00:00:00:00:00", "{known:#}");
            Ok(())
        })?;
    }
    // TCP goes on with the member's own address, as on any link.
    let server = one.spawn(
        "server",
        &[
            "socat",
            "TCP6-LISTEN:80,fork,reuseaddr",
            "SYSTEM:echo $SOCAT_SOCKADDR",
        ],
    )?;
    for (anycast, unicast) in [
        ("198.18.0.1", ":ffff:0a63:0001]"),
        ("[2001:2:0:1546::1]", "[fd99:"),
    ] {
        let said = wait::until_ok("a connection", LIMIT, || {
            two.run(&[
                "socat",
                "-T5",
                "-",
                &format!("TCP:{anycast}:80,connect-timeout=2"),
            ])?
            .ok()
        })?;
        ensure!(said.contains(unicast), "{anycast}: {said}");
    }
    drop(server);
    // A join and a leave are heard at the other end.
    report(one, &["join", "198.18.0.7"])?;
    pings(two, "198.18.0.7")?;
    report(one, &["leave", "198.18.0.7", "--force"])?;
    // No neighbour was ever asked for across the tunnel, in either family.
    for host in [one, two] {
        let asked = host.sh("ip neigh show dev tun0; ip -6 neigh show dev tun0 nud reachable")?;
        ensure!(!asked.contains("lladdr"), "{asked}");
    }
    // One end goes away, and a new interface takes its name.
    ends.1.terminate(LIMIT)?;
    wait::until_ok("the link is gone, the member dead", LIMIT, || {
        let status = report(two, &["status"])?;
        ensure!(status["absent_interfaces"][0] == "tun0", "{status:#}");
        ensure!(members(one, 0)?.len() == 1);
        Ok(())
    })?;
    let again = tunnel(two, 2, 1)?;
    pings(two, "198.18.0.1")?;
    pings(two, "2001:2:0:1546::1")?;
    wait::until_ok("the member is back", LIMIT, || {
        ensure!(members(one, 0)?.len() == 2);
        Ok(())
    })?;
    for (daemon, host) in [(&daemons.0, one), (&daemons.1, two)] {
        let status = daemon.terminate(LIMIT)?;
        ensure!(status.success(), "{}", host.read(daemon.log())?);
    }
    ensure!((rules(one)?, rules(two)?) == before);
    drop((ends.0, again));
    Ok(())
}

fn a_router_sends_to_the_other_end_of_a_tunnel() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let _ends = (tunnel(one, 1, 2)?, tunnel(two, 2, 1)?);
    configure(one, "\"tun0\"", "[router]\n")?;
    let addresses = r#"addresses = ["198.18.0.1", "2001:2:0:1546::1"]"#;
    configure(two, "\"tun0\"", &format!("[member]\n{addresses}\n"))?;
    let (router, member) = (start(one)?, start(two)?);
    let routed = |ways: &[&str]| {
        wait::until_ok("the routes", LIMIT, || {
            let routes = report(one, &["routes"])?;
            let list = routes["routes"].as_array().context("routes")?;
            let hops = list.iter().map(|route| &route["hops"][0]);
            ensure!(hops.clone().all(|hop| hop["mac"].is_null()), "{routes:#}");
            let via: Vec<&str> = hops.filter_map(|hop| hop["via"].as_str()).collect();
            ensure!(via == ways && routes["refused"] == 0, "{routes:#}");
            Ok(())
        })
    };
    routed(&["10.99.0.2", "fd99::2"])?;
    for address in ["198.18.0.1", "2001:2:0:1546::1"] {
        pings(one, address)?;
        let way = one.sh(&format!("ip route get {address}"))?;
        ensure!(way.contains("dev tun0"), "{way}");
    }
    report(two, &["leave", "198.18.0.1", "--force"])?;
    routed(&["fd99::2"])?;
    member.kill()?;
    routed(&[])?;
    router.terminate(LIMIT)?;
    Ok(())
}

/// What the member with this address on a link serves, as `host` sees it; nothing: it is not there.
fn serves(host: &Host, link: usize, ipv4: &str) -> Result<Vec<String>> {
    let members = members(host, link)?;
    let known = members.iter().find(|member| member["ipv4"] == *ipv4);
    let serving = known.and_then(|known| known["serving"].as_array());
    let prefixes = serving
        .into_iter()
        .flatten()
        .map(|record| &record["prefix"]);
    Ok(prefixes
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect())
}

fn sees(host: &Host, link: usize, ipv4: &str, expected: &[&str]) -> Result<()> {
    wait::until_ok("what it serves is heard", LIMIT, || {
        let seen = serves(host, link, ipv4)?;
        ensure!(seen == expected, "{ipv4} on link {link}: {seen:?}");
        Ok(())
    })
}

fn every_link_of_a_host_has_a_life_of_its_own() -> Result<()> {
    let topology = Topology::new("two-links")
        .switch("left")
        .switch("right")
        .host("one")
        .link("left", &["10.15.46.1/24", "fd15:46::1/64"])
        .link("right", &["10.15.47.1/24", "fd15:47::1/64"])
        .host("two")
        .link("left", &["10.15.46.2/24", "fd15:46::2/64"])
        .link("right", &["10.15.47.2/24", "fd15:47::2/64"])
        .host("three")
        .link("right", &["10.15.47.3/24", "fd15:47::3/64"]);
    let lab = Lab::new(&topology)?;
    let (one, two, three) = (lab.host("one"), lab.host("two"), lab.host("three"));
    let both = "\"eth0\", \"eth1\"";
    configure(one, both, "[member]\naddresses = [\"198.18.0.1\"]\n")?;
    configure(two, both, "[client]\n")?;
    configure(
        three,
        "\"eth0\"",
        "[member]\naddresses = [\"198.18.0.1\"]\n",
    )?;
    let daemons = (start(one)?, start(two)?, start(three)?);
    let ends = [(0, "10.15.46.1"), (1, "10.15.47.1")];
    for (link, address) in ends {
        sees(two, link, address, &["198.18.0.1"])?;
    }
    sees(two, 1, "10.15.47.3", &["198.18.0.1"])?;
    let lives = |host: &Host| -> Result<Vec<(Value, Value, Value)>> {
        let status = report(host, &["status"])?;
        let links = status["links"].as_array().context("links")?;
        let life = |link: &Value| {
            (
                link["index"].clone(),
                link["epoch"].clone(),
                link["id"].clone(),
            )
        };
        Ok(links.iter().map(life).collect())
    };
    let before = lives(one)?;
    ensure!(before.len() == 2 && before[0].0 != before[1].0 && before[0].2 != before[1].2);

    // What is joined and left is so on both.
    report(one, &["join", "2001:2:0:1546::1"])?;
    for (link, address) in ends {
        sees(two, link, address, &["198.18.0.1", "2001:2:0:1546::1"])?;
    }
    pings(two, "2001:2:0:1546::1")?;
    report(one, &["leave", "2001:2:0:1546::1", "--force"])?;
    for (link, address) in ends {
        sees(two, link, address, &["198.18.0.1"])?;
    }

    // One link goes and comes back: a new life there, the same one on the other.
    lab.carrier("one", "eth0", false)?;
    sees(two, 0, "10.15.46.1", &[])?;
    pings(two, "198.18.0.1")?;
    lab.carrier("one", "eth0", true)?;
    sees(two, 0, "10.15.46.1", &["198.18.0.1"])?;
    let after = lives(one)?;
    ensure!(
        after[0].1.as_u64() > before[0].1.as_u64(),
        "{before:?} {after:?}"
    );
    ensure!(after[1] == before[1], "{before:?} {after:?}");

    // Who comes anew asks on every link, and is told everything.
    daemons.1.kill()?;
    let again = start(two)?;
    for (link, address) in ends {
        sees(two, link, address, &["198.18.0.1"])?;
    }
    sees(two, 1, "10.15.47.3", &["198.18.0.1"])?;
    let sent = report(one, &["status"])?;
    ensure!(
        sent["counters"]["sent"]["report"].as_u64() > Some(4),
        "{sent:#}"
    );
    for (daemon, host) in [(&daemons.0, one), (&again, two), (&daemons.2, three)] {
        let status = daemon.terminate(LIMIT)?;
        ensure!(status.success(), "{}", host.read(daemon.log())?);
    }
    Ok(())
}

fn five_thousand_addresses_are_heard() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let addresses: Vec<String> = (0..4800)
        .map(|n| format!("\"198.18.{}.{}\"", 1 + n / 200, 1 + n % 200))
        .chain((0..200).map(|n| format!("\"2001:2:0:1546::{n:x}\"")))
        .collect();
    let node = "[node]\ninterfaces = [\"eth0\"]\n";
    let limits = "[limits]\nrecords_per_member = 6000\n";
    let many = format!("[member]\naddresses = [{}]\n", addresses.join(", "));
    // As by default, the member itself is held to the limit that others would hold it to.
    one.write("/tmp/hamp.toml", &format!("{node}{many}"))?;
    let refused = one.run(&["hamp", "run", "--config", "/tmp/hamp.toml"])?;
    ensure!(refused.status.code() == Some(78), "{refused:?}");
    ensure!(
        refused.stderr.contains("more than 4096 prefixes"),
        "{refused:?}"
    );
    one.write("/tmp/hamp.toml", &format!("{node}{limits}{many}"))?;
    two.write("/tmp/hamp.toml", &format!("{node}{limits}[client]\n"))?;
    let watcher = start(two)?;
    let daemon = one.spawn("hamp", &["hamp", "run", "--config", "/tmp/hamp.toml"])?;
    let heard = |expected: usize| {
        // The log first: to list five thousand costs the daemon more than to hear of them.
        let told = if expected == 5000 {
            "member joined"
        } else {
            "member changed"
        };
        wait::until_ok("a member is heard", LIMIT * 6, || {
            ensure!(two.read(watcher.log())?.contains(told), "not {told} yet");
            Ok(())
        })?;
        wait::until_ok("all of them are heard", LIMIT * 3, || {
            let seen = serves(two, 0, "10.15.46.1")?.len();
            ensure!(seen == expected, "{seen} of {expected}");
            Ok(())
        })
    };
    heard(5000)?;
    for address in ["198.18.1.1", "198.18.24.200", "2001:2:0:1546::c7"] {
        pings(two, address)?;
    }
    // One change is a delta, not five thousand records again.
    let sent = |host: &Host| -> Result<u64> {
        let status = report(host, &["status"])?;
        status["counters"]["sent"]["report"]
            .as_u64()
            .context("reports")
    };
    let before = sent(one)?;
    report(one, &["leave", "198.18.1.1", "--force"])?;
    heard(4999)?;
    let after = sent(one)?;
    ensure!(after - before <= 12, "{before} reports, then {after}");
    let log = one.read(daemon.log())?;
    ensure!(!log.contains("paused") && !log.contains("away"), "{log}");
    daemon.terminate(LIMIT * 6)?;
    drop(watcher);
    Ok(())
}
