//! Two routers between a link and the members elsewhere: when one goes, or its route, the other one
//! tells the link.

use anyhow::{Context, Result, ensure};
use testbed::harness::Test;
use testbed::{Host, Lab, wait};

use crate::common::LIMIT;
use crate::support::{answers, lab};

pub(crate) const TESTS: &[Test] = &[
    (
        "the_successor_of_a_router_that_ends_or_dies_tells_stock_hosts",
        the_successor_of_a_router_that_ends_or_dies_tells_stock_hosts,
    ),
    (
        "a_router_without_a_route_leaves_hosts_to_one_that_has_a_route",
        a_router_without_a_route_leaves_hosts_to_one_that_has_a_route,
    ),
];

const ADDRESSES: [&str; 2] = ["198.18.0.1", "2001:2:0:1546::1"];

fn site() -> Result<Lab> {
    let router = |name: &str, last: u32| {
        format!(
            r#"
            [router.{name}]
            links = [{{ to = "lan", addresses = ["10.15.46.{last}/24", "fd15:46::{last}/64"] }},
                     {{ to = "far", addresses = ["10.9.9.{last}/24", "fd09::{last}/64"] }}]
            [router.{name}.hamp.node]
            hello_ms = 100
            [router.{name}.hamp.router]
            "#
        )
    };
    let lab = lab(&format!(
        r#"
        [switch.lan]
        [switch.far]
        {} {}
        [host.m]
        links = [{{ to = "far", addresses = ["10.9.9.100/24", "fd09::100/64"] }}]
        routes = [{{ to = "10.15.46.0/24", via = "10.9.9.12" }}, {{ to = "fd15:46::/64", via = "fd09::12" }}]
        [host.m.hamp.node]
        hello_ms = 100
        [host.m.hamp.member]
        addresses = ["198.18.0.1", "2001:2:0:1546::1"]
        [host.d]
        links = [{{ to = "lan", addresses = ["10.15.46.100/24", "fd15:46::100/64"] }}]
        routes = [{{ to = "198.18.0.0/16", via = "eth0" }}, {{ to = "2001:2:0:1546::/112", via = "eth0" }}]
        [host.c]
        links = [{{ to = "lan", addresses = ["10.15.46.101/24", "fd15:46::101/64"] }}]
        [host.c.hamp.node]
        hello_ms = 100
        [host.c.hamp.client]
        "#,
        router("r1", 11),
        router("r2", 12),
    ))?;
    for host in ["d", "c"] {
        for address in ADDRESSES {
            wait::until_ok("an answer", LIMIT, || {
                ensure!(answers(lab.host(host), address)?);
                Ok(())
            })?;
        }
    }
    Ok(lab)
}

/// The longest that `what` keeps each of `hosts` from an answer of either address, in pings of 50 ms.
fn away(lab: &Lab, hosts: &[&str], what: impl FnOnce() -> Result<()>) -> Result<Vec<u32>> {
    let asked: Vec<(&Host, &str)> = hosts
        .iter()
        .flat_map(|host| ADDRESSES.map(|address| (lab.host(host), address)))
        .collect();
    for (host, address) in &asked {
        host.sh(&format!(
            "(ping -i0.05 -W1 -w5 {address} >/run/p{address} 2>&1; echo end >>/run/p{address}) &"
        ))?;
    }
    let answered = |host: &Host, address: &str| -> Result<Vec<u32>> {
        let told = host.sh(&format!("cat /run/p{address}"))?;
        let numbers = told.split("icmp_seq=").skip(1);
        Ok(numbers
            .filter_map(|rest| rest.split(' ').next()?.parse().ok())
            .collect())
    };
    for (host, address) in &asked {
        wait::until_ok("answers", LIMIT, || {
            ensure!(answered(host, address)?.len() > 5);
            Ok(())
        })?;
    }
    what()?;
    let mut longest = vec![0; hosts.len()];
    for (at, (host, address)) in asked.iter().enumerate() {
        wait::until_ok("the end", LIMIT, || {
            ensure!(host.sh(&format!("tail -1 /run/p{address}"))?.trim() == "end");
            Ok(())
        })?;
        let numbers = answered(host, address)?;
        let gaps = numbers.windows(2).map(|pair| pair[1] - pair[0]);
        // What was lost at the end counts too.
        let end = 95_u32.saturating_sub(*numbers.last().context("no answer")?);
        let longest = &mut longest[at / ADDRESSES.len()];
        *longest = (*longest).max(gaps.max().unwrap_or_default()).max(end);
    }
    Ok(longest)
}

fn hamp(lab: &Lab, host: &str, signal: &str) -> Result<()> {
    let kill = format!("pkill -{signal} -x hamp");
    lab.host(host).sh(&kill).map(drop)
}

fn the_successor_of_a_router_that_ends_or_dies_tells_stock_hosts() -> Result<()> {
    for (signal, limit) in [("TERM", 20), ("KILL", 30)] {
        let lab = site()?;
        // A router that is off: it forwards nothing any more.
        let gaps = away(&lab, &["d"], || {
            hamp(&lab, "r1", signal)?;
            let off = "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0";
            lab.host("r1").sh(off).map(drop)
        })?;
        ensure!(
            gaps[0] <= limit,
            "{signal}: away for {} pings of 50 ms",
            gaps[0]
        );
    }
    Ok(())
}

fn a_router_without_a_route_leaves_hosts_to_one_that_has_a_route() -> Result<()> {
    let lab = site()?;
    let hosts = ["d", "c"];
    let gaps = away(&lab, &hosts, || {
        lab.host("r1").sh("ip link set eth1 down").map(drop)
    })?;
    for (host, gap) in hosts.into_iter().zip(gaps) {
        ensure!(gap <= 30, "{host}: away for {gap} pings of 50 ms");
    }
    lab.host("r1")
        .sh("ip link set eth1 up; ip addr replace fd09::11/64 dev eth1 nodad")?;
    // Whoever asks now is answered too.
    for host in hosts {
        lab.host(host)
            .sh("ip neigh flush all; ip -6 neigh flush all")?;
        for address in ADDRESSES {
            wait::until_ok("an answer", LIMIT, || {
                ensure!(answers(lab.host(host), address)?);
                Ok(())
            })?;
        }
    }
    Ok(())
}
