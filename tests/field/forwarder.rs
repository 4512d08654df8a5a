//! Two routers between a link and the members elsewhere: when one goes, or its route, the other one
//! tells the link.

use anyhow::{Context, Result, ensure};
use testbed::harness::Test;
use testbed::{Lab, wait};

use crate::common::LIMIT;
use crate::support::{lab, pings};

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
                ensure!(pings(lab.host(host), address, 1)? == 1);
                Ok(())
            })?;
        }
    }
    Ok(lab)
}

/// The longest that `what` keeps `host` from an answer of either address, in pings of 50 ms.
fn away(lab: &Lab, host: &str, what: impl FnOnce() -> Result<()>) -> Result<u32> {
    let host = lab.host(host);
    for address in ADDRESSES {
        host.sh(&format!(
            "(ping -i0.05 -W1 -w5 {address} >/run/p{address} 2>&1; echo end >>/run/p{address}) &"
        ))?;
    }
    let answered = |address: &str| -> Result<Vec<u32>> {
        let told = host.sh(&format!("cat /run/p{address}"))?;
        let numbers = told.split("icmp_seq=").skip(1);
        Ok(numbers
            .filter_map(|rest| rest.split(' ').next()?.parse().ok())
            .collect())
    };
    for address in ADDRESSES {
        wait::until_ok("answers", LIMIT, || {
            ensure!(answered(address)?.len() > 5);
            Ok(())
        })?;
    }
    what()?;
    let mut longest = 0;
    for address in ADDRESSES {
        wait::until_ok("the end", LIMIT, || {
            ensure!(host.sh(&format!("tail -1 /run/p{address}"))?.trim() == "end");
            Ok(())
        })?;
        let numbers = answered(address)?;
        let gaps = numbers.windows(2).map(|pair| pair[1] - pair[0]);
        // What was lost at the end counts too.
        let end = 95_u32.saturating_sub(*numbers.last().context("no answer")?);
        longest = longest.max(gaps.max().unwrap_or_default()).max(end);
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
        let gap = away(&lab, "d", || {
            hamp(&lab, "r1", signal)?;
            let off = "sysctl -qw net.ipv4.ip_forward=0 net.ipv6.conf.all.forwarding=0";
            lab.host("r1").sh(off).map(drop)
        })?;
        ensure!(gap <= limit, "{signal}: away for {gap} pings of 50 ms");
    }
    Ok(())
}

fn a_router_without_a_route_leaves_hosts_to_one_that_has_a_route() -> Result<()> {
    let lab = site()?;
    for host in ["d", "c"] {
        let gap = away(&lab, host, || {
            lab.host("r1").sh("ip link set eth1 down").map(drop)
        })?;
        ensure!(gap <= 30, "{host}: away for {gap} pings of 50 ms");
        lab.host("r1")
            .sh("ip link set eth1 up; ip addr replace fd09::11/64 dev eth1 nodad")?;
        // Whoever asks now is answered too.
        lab.host(host)
            .sh("ip neigh flush all; ip -6 neigh flush all")?;
        for address in ADDRESSES {
            wait::until_ok("an answer", LIMIT, || {
                ensure!(pings(lab.host(host), address, 1)? == 1);
                Ok(())
            })?;
        }
    }
    Ok(())
}
