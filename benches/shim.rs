//! What TCP to an anycast address costs through the kernel's rules, beside plain TCP.
//!
//! Pairs of hosts on a switch, built alike: `plain`, `plain-again` (the noise) and `shim`, whose
//! client has the shim's rules and whose server the member's gate. In the pair `shim`, `bystander`
//! is a connection to the server's own address: what the rules cost those who do not use them.
//!
//! ```text
//! cargo bench --bench shim -- --quick
//! cargo bench --bench shim -- --json docs/figures/shim.json --plot docs/figures/shim.svg
//! ```
//!
//! Connect latency is that of `connect()` alone, the server's TCP in the same call chain (veth has
//! no queue): the worst case for a ratio, since a real network only adds to both sides. Throughput
//! is bytes per second of processor time, both ends on one processor: what each byte costs.
#![allow(missing_docs)]

#[allow(dead_code, reason = "each bench uses its part of the harness")]
mod side_by_side;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use hamp::addr::{Class, Prefix};
use hamp::linux::nft::{Own, Tables, Unicast};
use hamp::proto::rebind::member::Mode;
use side_by_side::tcp::{Towards, connects, listen, transfer};
use side_by_side::{Bench, Better, Limit, Measured, Metric, Sides, Unit};
use testbed::{Host, Lab, Topology};

const FAMILIES: [&str; 2] = ["IPv4", "IPv6"];
const OWN: [&str; 2] = ["10.15.46.2", "fd15:46::2"];
const OWN_SUBNETS: [&str; 2] = ["10.15.46.2/24", "fd15:46::2/64"];
const ANYCAST: [&str; 2] = ["198.18.0.1", "2001:2:0:1546::1"];
const PORT: u16 = 8_000;

const CONNECT_P50: Metric = Metric {
    name: "connect_p50_ns",
    label: "connect, median",
    unit: Unit::Nanoseconds,
    better: Better::Lower,
    noise_limit: 0.05,
    part_of: None,
};
const CONNECT_P99: Metric = Metric {
    name: "connect_p99_ns",
    label: "connect, 99th percentile",
    noise_limit: 0.15,
    ..CONNECT_P50
};
const MARKED_P50: Metric = Metric {
    name: "connect_marked_p50_ns",
    label: "connect of hamp's client",
    ..CONNECT_P50
};
const STOCK_P50: Metric = Metric {
    name: "connect_stock_p50_ns",
    label: "connect without hamp",
    ..CONNECT_P50
};
const LARGE_UP: Metric = Metric {
    name: "up_large_bytes_per_processor_s",
    label: "large segments to the server",
    unit: Unit::BytesPerSecond,
    better: Better::Higher,
    noise_limit: 0.05,
    part_of: None,
};
const LARGE_DOWN: Metric = Metric {
    name: "down_large_bytes_per_processor_s",
    label: "large segments to the client",
    ..LARGE_UP
};
const SMALL_UP: Metric = Metric {
    name: "up_mtu_bytes_per_processor_s",
    label: "small segments to the server",
    ..LARGE_UP
};
const SMALL_DOWN: Metric = Metric {
    name: "down_mtu_bytes_per_processor_s",
    label: "small segments to the client",
    ..LARGE_UP
};

fn main() -> ExitCode {
    side_by_side::main("What the TCP shim costs", |bench| {
        bench.version("nftables", &nft_version());
        let connects = usize::try_from(bench.amount("connects_per_round", 2_000, 300))?;
        compare(bench, "connect", Segments::Large, move |pair, to, case| {
            let times = connects_of(pair, to, case, connects)?;
            let at = |share: usize| times[times.len() * share / 100];
            Ok(vec![(CONNECT_P50, at(50)), (CONNECT_P99, at(99))])
        })?;
        members(bench, connects)?;
        let lasts = Duration::from_millis(bench.amount("transfer_ms", 300, 50));
        for (what, segments, [up, down]) in [
            ("large segments", Segments::Large, [LARGE_UP, LARGE_DOWN]),
            ("small segments", Segments::Small, [SMALL_UP, SMALL_DOWN]),
        ] {
            compare(bench, what, segments, move |pair, to, case| {
                Ok(vec![
                    (up, pair.transfer(to, case, lasts, Towards::Server)?),
                    (down, pair.transfer(to, case, lasts, Towards::Client)?),
                ])
            })?;
        }
        Ok(())
    })
}

/// What a member pays for telling clients apart, and what a client without hamp pays for the member.
fn members(bench: &mut Bench, connects: usize) -> Result<()> {
    let side = |metric: Metric, pair: Pair, to: [&'static str; 2]| {
        move |case: &str| {
            let family = usize::from(case == FAMILIES[1]);
            let times = connects_of(&pair, to, family, connects)?;
            Ok(vec![(metric, times[times.len() / 2])])
        }
    };
    let marked = |mode| {
        let pair = Pair::new(Segments::Large)?;
        pair.load_client()?;
        pair.load_member(mode)?;
        Ok(side(MARKED_P50, pair, ANYCAST))
    };
    let sides =
        Sides::baseline("rebind", || marked(Mode::Rebind))?.and("auto", || marked(Mode::Auto))?;
    bench.compare(
        "connect of hamp's client, by mode of the member",
        (31, 15),
        &FAMILIES,
        sides,
    )?;
    let plain = || Ok(side(STOCK_P50, Pair::new(Segments::Large)?, OWN));
    let stock = || {
        let pair = Pair::new(Segments::Large)?;
        pair.load_member(Mode::Auto)?;
        Ok(side(STOCK_P50, pair, ANYCAST))
    };
    let sides = Sides::baseline("plain", plain)?.and("stock", stock)?;
    bench.compare(
        "connect of a client without hamp",
        (31, 15),
        &FAMILIES,
        sides,
    )?;
    for family in FAMILIES {
        bench.limit(MARKED_P50, family, "auto", Limit::RatioAtMost(1.02));
        bench.limit(STOCK_P50, family, "stock", Limit::RatioAtMost(1.05));
    }
    Ok(())
}

fn nft_version() -> String {
    let output = std::process::Command::new("nft").arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    text.unwrap_or_default()
}

/// Measures `what` on the plain pair, on the shim's, and past the shim's.
fn compare(
    bench: &mut Bench,
    what: &str,
    segments: Segments,
    measure: impl Fn(&Pair, [&str; 2], usize) -> Result<Measured> + Copy,
) -> Result<()> {
    let side = |pair: Rc<Pair>, to: [&'static str; 2]| {
        move |case: &str| measure(&pair, to, usize::from(case == FAMILIES[1]))
    };
    let shim = Rc::new(Pair::new(segments)?);
    shim.load_client()?;
    shim.load_member(Mode::Auto)?;
    let plain = || Ok(side(Rc::new(Pair::new(segments)?), OWN));
    let sides = Sides::baseline("plain", plain)?
        .and("shim", || Ok(side(shim.clone(), ANYCAST)))?
        .and("bystander", || Ok(side(shim.clone(), OWN)))?;
    bench.compare(what, (31, 7), &FAMILIES, sides)
}

/// How much the kernel hands to an interface at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Segments {
    /// Up to 64 kB, as usual.
    Large,
    /// A packet.
    Small,
}

/// A client and a server on a switch, the server listening over each family.
struct Pair {
    lab: Lab,
    listeners: [TcpListener; 2],
}

impl Pair {
    fn new(segments: Segments) -> Result<Self> {
        let topology = Topology::new("pair")
            .switch("w")
            .host("c")
            .link("w", &["10.15.46.1/24", "fd15:46::1/64"])
            .host("s")
            .link("w", &["10.15.46.2/24", "fd15:46::2/64"]);
        let lab = Lab::new(&topology)?;
        if segments == Segments::Small {
            for host in ["c", "s"] {
                lab.host(host).sh("ip link set eth0 gso_max_segs 1")?;
            }
        }
        let listen = |all: &str| listen(lab.host("s"), SocketAddr::new(all.parse()?, PORT));
        let listeners = [listen("0.0.0.0")?, listen("::")?];
        Ok(Self { lab, listeners })
    }

    /// The client's routes to the anycast addresses, without hamp.
    fn load_routes(&self) -> Result<()> {
        let (client, server) = self.ends();
        let mac = testbed::lab::mac_text(server.interfaces()[0].mac);
        for address in ANYCAST {
            client.sh(&format!(
                "ip route replace {address} dev eth0; \
                 ip neigh replace {address} lladdr {mac} dev eth0 nud permanent"
            ))?;
        }
        Ok(())
    }

    /// The shim's rules.
    fn load_client(&self) -> Result<()> {
        self.ends().0.inside(|| -> Result<()> {
            let mut tables = Tables::start(Class::default(), &[])?;
            tables.attach(nix::net::if_::if_nametoindex("eth0")?, "eth0")?;
            Ok(tables.load_client()?)
        })?
    }

    /// The addresses, and a member's gate.
    fn load_member(&self, mode: Mode) -> Result<()> {
        self.load_routes()?;
        let server = self.ends().1;
        for address in ANYCAST {
            server.sh(&format!("ip route add local {address} dev lo"))?;
        }
        server.inside(move || -> Result<()> {
            let mut tables = Tables::start(Class::default(), &[])?;
            tables.load_member(mode, true)?;
            tables.set_own(&own()?)?;
            let served = ANYCAST.map(|address| Ok(address.parse::<IpAddr>()?.into()));
            let served = served.into_iter().collect::<Result<Vec<Prefix>>>()?;
            Ok(tables.lease(&served, Duration::from_secs(24 * 3600))?)
        })?
    }

    fn ends(&self) -> (&Host, &Host) {
        (self.lab.host("c"), self.lab.host("s"))
    }

    fn transfer(
        &self,
        to: [&str; 2],
        family: usize,
        lasts: Duration,
        towards: Towards,
    ) -> Result<f64> {
        let to = SocketAddr::new(to[family].parse()?, PORT);
        let listener = &self.listeners[family];
        let moved = transfer(self.ends(), to, listener, lasts, towards, (1, 1))?;
        Ok(moved.per_processor_s)
    }
}

/// What the server's gate knows of it.
fn own() -> Result<Own> {
    let unicast = OWN_SUBNETS.into_iter().map(|own| {
        let subnet: Prefix = own.parse()?;
        Ok(Unicast {
            interface: "eth0".to_owned(),
            address: subnet.addr(),
            subnet: subnet.trunc(),
            universal: true,
        })
    });
    Ok(Own {
        unicast: unicast.collect::<Result<_>>()?,
        macs: Vec::new(),
    })
}

fn connects_of(pair: &Pair, to: [&str; 2], family: usize, count: usize) -> Result<Vec<f64>> {
    let to = SocketAddr::new(to[family].parse()?, PORT);
    connects(pair.ends().0, to, &pair.listeners[family], count)
}
