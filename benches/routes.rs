//! What it costs to put the routes of a whole class into the kernel and to take them out again.
//!
//! Hosts built alike, each with one link: `ip`, one `ip -batch` for plain routes through a gateway, the
//! baseline; `ip nhid`, the same for routes through a nexthop group that is there already; `hamp`,
//! which makes the group too; and `hamp plain`, hamp with the hops in the routes. Our time begins with
//! what is wanted, not with prepared messages; that of `ip` with starting it.
//!
//! ```text
//! cargo bench --bench routes -- --quick
//! cargo bench --bench routes -- --json docs/figures/routes.json --plot docs/figures/routes.svg
//! ```
#![allow(missing_docs)]

#[allow(dead_code, reason = "each bench uses its part of the harness")]
mod side_by_side;

use std::fmt::Write as _;
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hamp::addr::Prefix;
use hamp::linux::fib::{Fib, Hop, Multipath};
use hamp::linux::netlink::Bulk;
use side_by_side::{Bench, Better, Limit, Measured, Metric, Sides, Unit};
use testbed::{Lab, Topology};

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const VIA: [&str; 2] = ["10.15.46.2", "fd15:46::2"];
/// Metric of the routes, and the id of the nexthop group for `ip`.
const METRIC: u32 = 15;
const GROUPS: [u32; 2] = [4, 6];
/// A batch takes as long as it takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(120);

const INSTALL: Metric = Metric {
    name: "install_ms",
    label: "install",
    unit: Unit::Milliseconds,
    better: Better::Lower,
    noise_limit: 0.15,
    part_of: None,
};
const REMOVE: Metric = Metric {
    name: "remove_ms",
    label: "remove",
    ..INSTALL
};
/// Of ours alone: all routes to another member.
const MOVE: Metric = Metric {
    name: "move_ms",
    label: "move",
    ..INSTALL
};

fn main() -> ExitCode {
    side_by_side::main("Routes of a whole class", |bench| {
        bench.version("iproute2", &version());
        let routes = bench.amount("routes", 65_536, 8_192);
        let routes = u32::try_from(routes)?;
        compare(bench, routes)
    })
}

fn version() -> String {
    let output = std::process::Command::new("ip").arg("-V").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default()
}

fn compare(bench: &mut Bench, routes: u32) -> Result<()> {
    let sides = Sides::baseline("ip", || Batch::new(routes, false).map(Batch::measure))?
        .and("ip nhid", || Batch::new(routes, true).map(Batch::measure))?
        .and("hamp", || Ours::new(routes, true).map(Ours::measure))?
        .and("hamp plain", || Ours::new(routes, false).map(Ours::measure))?;
    for case in FAMILIES {
        for metric in [INSTALL, REMOVE] {
            bench.limit(metric, case, "hamp", Limit::RatioAtMost(1.0));
        }
    }
    bench.compare("routes", (15, 5), &FAMILIES, sides)
}

/// A host with a link and two neighbours to send to.
fn lab() -> Result<Lab> {
    let topology = Topology::new("routes")
        .switch("w")
        .host("r")
        .link("w", &["10.15.46.1/24", "fd15:46::1/64"]);
    Lab::new(&topology)
}

/// The `number`th address of the class.
fn prefix(v6: bool, number: u32) -> Prefix {
    if v6 {
        let class = 0x2001_0002_0000_1546_u128 << 64;
        IpAddr::from((class | u128::from(number)).to_be_bytes()).into()
    } else {
        let class = u32::from_be_bytes([198, 18, 0, 0]);
        IpAddr::from((class | number).to_be_bytes()).into()
    }
}

/// Fails unless the kernel has this many of them.
fn count(bulk: &mut Bulk, expected: u32) -> Result<()> {
    let there = bulk.snapshot()?.routes.len();
    ensure!(there == usize::try_from(expected)?, "{there} routes");
    Ok(())
}

fn took(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// `ip -batch` over files that are written before.
struct Batch {
    lab: Lab,
    bulk: Bulk,
    routes: u32,
}

impl Batch {
    fn new(routes: u32, grouped: bool) -> Result<Self> {
        let lab = lab()?;
        let host = lab.host("r");
        for (v6, (via, group)) in VIA.iter().zip(GROUPS).enumerate() {
            let v6 = v6 == 1;
            host.sh(&format!(
                "ip nexthop add id 1{group} via {via} dev eth0 onlink; \
                 ip nexthop add id {group} group 1{group} type resilient buckets 128"
            ))?;
            let how = match grouped {
                true => format!("nhid {group}"),
                false => format!("via {via} dev eth0 onlink"),
            };
            let (mut add, mut del) = (String::new(), String::new());
            for number in 0..routes {
                let route = format!("{} proto 154 metric {METRIC}", prefix(v6, number));
                writeln!(add, "route add {route} {how}")?;
                writeln!(del, "route del {route}")?;
            }
            host.write(&format!("/run/add{group}"), &add)?;
            host.write(&format!("/run/del{group}"), &del)?;
        }
        let bulk = host.inside(Bulk::open)??;
        Ok(Self { lab, bulk, routes })
    }

    fn measure(mut self) -> impl FnMut(&str) -> Result<Measured> {
        move |case| {
            let group = GROUPS[usize::from(case == FAMILIES[1])];
            let file = |what: &str| format!("/run/{what}{group}");
            let install = self.run(&file("add"))?;
            count(&mut self.bulk, self.routes)?;
            let remove = self.run(&file("del"))?;
            count(&mut self.bulk, 0)?;
            Ok(vec![(INSTALL, install), (REMOVE, remove)])
        }
    }

    fn run(&self, file: &str) -> Result<f64> {
        let start = Instant::now();
        let done = self.lab.host("r").run_for(&["ip", "-batch", file], LIMIT)?;
        let took = took(start);
        done.ok()?;
        Ok(took)
    }
}

/// Ours: a table of what is wanted, and the kernel.
struct Ours {
    lab: Lab,
    bulk: Bulk,
    multipath: Multipath,
    routes: u32,
}

impl Ours {
    fn new(routes: u32, grouped: bool) -> Result<Self> {
        let lab = lab()?;
        let mut bulk = lab.host("r").inside(Bulk::open)??;
        let kernel = bulk.multipath()?;
        let multipath = if grouped { kernel } else { Multipath::Routes };
        Ok(Self {
            lab,
            bulk,
            multipath,
            routes,
        })
    }

    fn measure(mut self) -> impl FnMut(&str) -> Result<Measured> {
        move |case| {
            let v6 = case == FAMILIES[1];
            let index = || nix::net::if_::if_nametoindex("eth0");
            let link = self.lab.host("r").inside(index)??;
            let via: IpAddr = VIA[usize::from(v6)].parse()?;
            let other = if v6 { "fd15:46::3" } else { "10.15.46.3" }.parse()?;
            let mut fib = Fib::new(self.multipath);
            let install = self.want(&mut fib, v6, &[(Hop { link, via }, None)])?;
            count(&mut self.bulk, self.routes)?;
            let hops = [(Hop { link, via: other }, None)];
            let moved = self.want(&mut fib, v6, &hops)?;
            count(&mut self.bulk, self.routes)?;
            let remove = self.want(&mut fib, v6, &[])?;
            count(&mut self.bulk, 0)?;
            Ok(vec![(INSTALL, install), (REMOVE, remove), (MOVE, moved)])
        }
    }

    /// Wants all routes through these hops, and has it done.
    fn want(&mut self, fib: &mut Fib, v6: bool, hops: &[(Hop, Option<[u8; 6]>)]) -> Result<f64> {
        let start = Instant::now();
        for number in 0..self.routes {
            fib.set(prefix(v6, number), METRIC, hops);
        }
        let refused = self.bulk.carry_out(&fib.reconcile())?;
        let took = took(start);
        ensure!(refused.is_empty(), "{} refused", refused.len());
        Ok(took)
    }
}
