//! A member at another link-layer or unicast address: who talks to it goes on.

use anyhow::{Context, Result, ensure};
use testbed::harness::Test;
use testbed::{Host, Lab, wait};

use crate::common::LIMIT;
use crate::support::lab;

pub(crate) const TESTS: &[Test] = &[
    (
        "a_stock_host_follows_a_member_to_another_link_layer_address",
        a_stock_host_follows_a_member_to_another_link_layer_address,
    ),
    (
        "a_stock_host_follows_a_member_through_a_card_that_is_down_for_a_moment",
        a_stock_host_follows_a_member_through_a_card_that_is_down_for_a_moment,
    ),
    (
        "a_member_that_is_renumbered_is_reached_all_the_time",
        a_member_that_is_renumbered_is_reached_all_the_time,
    ),
    (
        "a_connection_outlives_another_link_layer_address",
        a_connection_outlives_another_link_layer_address,
    ),
];

const V4: &str = "198.18.0.1";
const V6: &str = "2001:2:0:1546::1";

/// A member that owns both addresses, another one, a client and a stock host.
fn link() -> Result<Lab> {
    let lab = lab(r#"
        [switch.lan]
        [host.a]
        links = [{ to = "lan", addresses = ["10.15.46.1/24", "fd15:46::1/64"] }]
        programs = { who = "hamp-lab who" }
        [host.a.hamp.node]
        hello_ms = 100
        [host.a.hamp.member]
        addresses = ["198.18.0.1", "2001:2:0:1546::1"]
        preference = 300
        [host.b]
        links = [{ to = "lan", addresses = ["10.15.46.2/24", "fd15:46::2/64"] }]
        programs = { who = "hamp-lab who" }
        [host.b.hamp.node]
        hello_ms = 100
        [host.b.hamp.member]
        addresses = ["198.18.0.1", "2001:2:0:1546::1"]
        [host.c]
        links = [{ to = "lan", addresses = ["10.15.46.9/24", "fd15:46::9/64"] }]
        [host.c.hamp.node]
        hello_ms = 100
        [host.c.hamp.client]
        [host.d]
        links = [{ to = "lan", addresses = ["10.15.46.10/24", "fd15:46::10/64"] }]
        routes = [{ to = "198.18.0.0/16", via = "eth0" }, { to = "2001:2:0:1546::/112", via = "eth0" }]
    "#)?;
    for host in ["c", "d"] {
        for address in [V4, V6] {
            wait::until_ok("an answer", LIMIT, || {
                lab.host(host).sh(&format!("ping -c1 -W1 {address}"))
            })?;
        }
    }
    Ok(lab)
}

/// The longest that `what` keeps each host from an answer of each address, in pings of 50 ms.
fn away(lab: &Lab, hosts: &[&str], what: impl FnOnce(&Host) -> Result<()>) -> Result<Vec<u32>> {
    for host in hosts {
        lab.host(host).sh(&format!(
            "for v in {V4} {V6}; do (ping -i0.05 -W1 -w4 $v >/run/p$v 2>&1; echo end >>/run/p$v) & done"
        ))?;
    }
    let answered = |host: &str, address: &str| -> Result<Vec<u32>> {
        let told = lab.host(host).sh(&format!("cat /run/p{address}"))?;
        let numbers = told.split("icmp_seq=").skip(1);
        let numbers = numbers.filter_map(|rest| rest.split(' ').next()?.parse().ok());
        Ok(numbers.collect())
    };
    for host in hosts {
        wait::until_ok("answers", LIMIT, || {
            ensure!(answered(host, V4)?.len() > 5 && answered(host, V6)?.len() > 5);
            Ok(())
        })?;
    }
    what(lab.host("a"))?;
    let mut gaps = Vec::new();
    for host in hosts {
        for address in [V4, V6] {
            wait::until_ok("the end", LIMIT, || {
                let told = lab.host(host).sh(&format!("tail -1 /run/p{address}"))?;
                ensure!(told.trim() == "end");
                Ok(())
            })?;
            let numbers = answered(host, address)?;
            let gap = numbers.windows(2).map(|pair| pair[1] - pair[0]).max();
            let last = numbers.last().context("no answer")?;
            // What was lost at the end counts too.
            let end = 77_u32.saturating_sub(*last);
            gaps.push(gap.unwrap_or_default().max(end));
        }
    }
    Ok(gaps)
}

fn a_stock_host_follows_a_member_to_another_link_layer_address() -> Result<()> {
    let lab = link()?;
    let gaps = away(&lab, &["c", "d"], |a| {
        a.sh("ip link set eth0 address 02:aa:aa:aa:aa:aa").map(drop)
    })?;
    ensure!(
        gaps.iter().all(|gap| *gap <= 20),
        "pings of 50 ms: {gaps:?}"
    );
    // Nobody counts the one that it was beside it.
    let members = lab.host("c").sh("hamp members --json")?;
    ensure!(!members.contains("02:15:46:00:01:00"), "{members}");
    Ok(())
}

fn a_stock_host_follows_a_member_through_a_card_that_is_down_for_a_moment() -> Result<()> {
    let lab = link()?;
    let gaps = away(&lab, &["d"], |a| {
        let again = "ip link set eth0 down && ip link set eth0 address 02:aa:aa:aa:aa:ab && \
                     ip link set eth0 up && ip addr replace fd15:46::1/64 dev eth0 nodad";
        a.sh(again).map(drop)
    })?;
    ensure!(
        gaps.iter().all(|gap| *gap <= 60),
        "pings of 50 ms: {gaps:?}"
    );
    Ok(())
}

fn a_member_that_is_renumbered_is_reached_all_the_time() -> Result<()> {
    let lab = link()?;
    let gaps = away(&lab, &["c", "d"], |a| {
        let other = "ip addr add 10.15.46.77/24 dev eth0 && ip addr del 10.15.46.1/24 dev eth0; \
                     ip addr replace 10.15.46.77/24 dev eth0 && \
                     ip addr add fd15:46::77/64 dev eth0 nodad && ip addr del fd15:46::1/64 dev eth0";
        a.sh(other).map(drop)
    })?;
    ensure!(
        gaps.iter().all(|gap| *gap <= 40),
        "pings of 50 ms: {gaps:?}"
    );
    Ok(())
}

fn a_connection_outlives_another_link_layer_address() -> Result<()> {
    let lab = link()?;
    for (address, port) in [(V4, 81), (V6, 82)] {
        let (a, c) = (lab.host("a"), lab.host("c"));
        let server = format!(
            r#"cat >/run/s.py <<'EOF'
import socket
s = socket.create_server(("::", {port}), family=socket.AF_INET6, dualstack_ipv6=True)
c, _ = s.accept()
while data := c.recv(100): c.sendall(data)
EOF
python3 /run/s.py >/run/s.log 2>&1 &"#
        );
        a.sh(&server)?;
        let client = format!(
            r#"cat >/run/c.py <<'EOF'
import socket, time, os
for _ in range(100):
    try:
        c = socket.create_connection(("{address}", {port}), timeout=3); break
    except OSError: time.sleep(0.05)
c.settimeout(5)
c.sendall(b"one"); assert c.recv(100) == b"one"
open("/run/ready{port}", "w")
while not os.path.exists("/run/go{port}"): time.sleep(0.02)
t = time.time()
c.sendall(b"two"); assert c.recv(100) == b"two"
open("/run/done{port}", "w").write(str(time.time() - t))
EOF
python3 /run/c.py >/run/c{port}.log 2>&1 &"#
        );
        c.sh(&client)?;
        let there = |file: &str| {
            wait::until_ok("the connection", LIMIT, || {
                c.sh(&format!("cat /run/{file}{port}"))
                    .with_context(|| c.sh(&format!("cat /run/c{port}.log")).unwrap_or_default())
            })
        };
        there("ready")?;
        a.sh(&format!("ip link set eth0 address 02:aa:aa:aa:aa:{port}"))?;
        c.sh(&format!("touch /run/go{port}"))?;
        let took = there("done")?;
        ensure!(took.trim().parse::<f64>()? < 2.0, "{address}: {took}");
    }
    Ok(())
}
