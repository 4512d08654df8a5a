//! What TCP to an anycast address costs through the kernel's rules, beside plain TCP.
//!
//! Three pairs of hosts, built alike: `plain`, `plain-again` (the noise) and `shim`, whose client
//! has the shim's rules and whose server the member's gate. In the pair `shim`, `bystander` is a
//! connection to the server's own address: what the rules cost those who do not use them.
//!
//! ```text
//! cargo bench --bench shim -- --quick
//! cargo bench --bench shim -- --json docs/figures/shim.json
//! ```
//!
//! Connect latency is that of `connect()` alone, the server's TCP in the same call chain (veth has
//! no queue): the worst case for a ratio, since a real network only adds to both sides.
#![allow(missing_docs)]

mod side_by_side;

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use hamp::addr::{Class, Prefix};
use hamp::linux::nft::Tables;
use hamp::proto::random::Random;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use serde_json::json;
use side_by_side::{AGAIN, BASELINE, Figures, Measured, Metric, Task};
use socket2::{Domain, Protocol, Socket, Type};
use testbed::{Host, Lab, Topology};

const SHIM: &str = "shim";
const BYSTANDER: &str = "bystander";
/// A variant and the pair of hosts it runs in.
const VARIANTS: [(&str, &str); 4] = [
    (BASELINE, "plain"),
    (AGAIN, "again"),
    (SHIM, "shim"),
    (BYSTANDER, "shim"),
];
const FAMILIES: [(&str, bool); 2] = [("IPv4", false), ("IPv6", true)];
const OWN: [&str; 2] = ["10.15.46.2", "fd15:46::2"];
const ANYCAST: [&str; 2] = ["198.18.0.1", "2001:2:0:1546::1"];

const CONNECT_P50: Metric = Metric {
    name: "connect_p50_ns",
    noise_limit: 0.05,
};
const CONNECT_P99: Metric = Metric {
    name: "connect_p99_ns",
    noise_limit: 0.15,
};
const LARGE: [Metric; 2] = [
    Metric {
        name: "up_large_bytes_per_s",
        noise_limit: 0.10,
    },
    Metric {
        name: "down_large_bytes_per_s",
        noise_limit: 0.10,
    },
];
const SMALL: [Metric; 2] = [
    Metric {
        name: "up_mtu_bytes_per_s",
        noise_limit: 0.10,
    },
    Metric {
        name: "down_mtu_bytes_per_s",
        noise_limit: 0.10,
    },
];

/// How much is measured.
struct Amount {
    rounds: usize,
    connects: usize,
    transfer: Duration,
}

struct Options {
    amount: Amount,
    quick: bool,
    json: Option<String>,
    seed: u64,
}

fn main() -> ExitCode {
    testbed::init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs it too, and has no time for it.
    if !arguments.iter().any(|word| word == "--bench") {
        println!("cargo bench --bench shim -- [--quick] [--rounds N] [--seed N] [--json FILE]");
        return ExitCode::SUCCESS;
    }
    match options(&arguments).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("shim: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn options(arguments: &[String]) -> Result<Options> {
    let mut words = arguments.iter().map(String::as_str);
    let (mut quick, mut rounds, mut json) = (false, None, None);
    let mut seed = SystemTime::now()
        .duration_since(UNIX_EPOCH)?
        .as_secs()
        .max(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("{word} what?"));
        match word {
            "--bench" => {}
            "--quick" => quick = true,
            "--rounds" => rounds = Some(value()?.parse()?),
            "--seed" => seed = value()?.parse()?,
            "--json" => json = Some(value()?.to_owned()),
            other => return Err(anyhow!("unknown option {other}")),
        }
    }
    let amount = match quick {
        true => Amount {
            rounds: rounds.unwrap_or(5),
            connects: 300,
            transfer: Duration::from_millis(50),
        },
        false => Amount {
            rounds: rounds.unwrap_or(31),
            connects: 2_000,
            transfer: Duration::from_millis(300),
        },
    };
    Ok(Options {
        amount,
        quick,
        json,
        seed,
    })
}

fn run(options: &Options) -> Result<()> {
    let began = Instant::now();
    testbed::enter(testbed::Privilege::Auto)?;
    let lab = build()?;
    let mut figures = Figures::default();
    let mut random = Random::new(options.seed);
    let amount = &options.amount;
    let progress = |what: &'static str| {
        move |round: usize| eprintln!("{what}: round {round} of {}", amount.rounds)
    };
    let listeners = listeners(&lab)?;
    let mut latency = Vec::new();
    for ((variant, pair), (case, v6), listener) in &listeners {
        let client = lab.host(&format!("{pair}-c"));
        let to = target(variant, *v6, listener.local_addr()?.port());
        latency.push(Task {
            variant,
            case,
            run: Box::new(move || connects(client, to, listener, amount.connects)),
        });
    }
    figures.measure(&latency, amount.rounds, &mut random, progress("connect"))?;
    for (metrics, what) in [(LARGE, "large segments"), (SMALL, "segments of one packet")] {
        if what != "large segments" {
            for pair in ["plain", "again", "shim"]
                .iter()
                .flat_map(|p| [format!("{p}-c"), format!("{p}-s")])
            {
                lab.host(&pair).sh("ip link set eth0 gso_max_segs 1")?;
            }
        }
        let mut transfers = Vec::new();
        for ((variant, pair), (case, v6), listener) in &listeners {
            let [client, server] = ["c", "s"].map(|end| lab.host(&format!("{pair}-{end}")));
            let to = target(variant, *v6, listener.local_addr()?.port());
            transfers.push(Task {
                variant,
                case,
                run: Box::new(move || {
                    let up = transfer(client, server, to, listener, amount.transfer, true)?;
                    let down = transfer(client, server, to, listener, amount.transfer, false)?;
                    Ok(vec![(metrics[0], up), (metrics[1], down)])
                }),
            });
        }
        figures.measure(&transfers, amount.rounds, &mut random, progress(what))?;
    }
    let (results, table) = figures.report();
    let kernel = nix::sys::utsname::uname()?
        .release()
        .to_string_lossy()
        .into_owned();
    let document = json!({
        "schema": "hamp.bench.shim/1",
        "quick": options.quick,
        "seed": options.seed,
        "rounds": amount.rounds,
        "connects_per_round": amount.connects,
        "transfer_ms": u64::try_from(amount.transfer.as_millis())?,
        "took_ms": u64::try_from(began.elapsed().as_millis())?,
        "versions": { "hamp": env!("CARGO_PKG_VERSION"), "kernel": kernel },
        "processors": std::thread::available_parallelism()?.get(),
        "results": results,
    });
    if let Some(path) = &options.json {
        let text = serde_json::to_string_pretty(&document)? + "\n";
        std::fs::write(path, text).with_context(|| path.clone())?;
    }
    print!("{table}");
    Ok(())
}

/// The three pairs, and the rules in one of them.
fn build() -> Result<Lab> {
    let mut topology = Topology::new("shim");
    for pair in ["plain", "again", "shim"] {
        topology = topology
            .switch(&format!("{pair}-w"))
            .host(&format!("{pair}-c"))
            .link(&format!("{pair}-w"), &["10.15.46.1/24", "fd15:46::1/64"])
            .host(&format!("{pair}-s"))
            .link(&format!("{pair}-w"), &["10.15.46.2/24", "fd15:46::2/64"]);
    }
    let lab = Lab::new(&topology)?;
    let (client, server) = (lab.host("shim-c"), lab.host("shim-s"));
    let mac = |host: &Host| {
        host.interfaces()[0]
            .mac
            .map(|byte| format!("{byte:02x}"))
            .join(":")
    };
    for address in ANYCAST {
        client.sh(&format!(
            "ip route add {address} dev eth0; \
             ip neigh add {address} lladdr {} dev eth0 nud permanent",
            mac(server)
        ))?;
        server.sh(&format!("ip route add local {address} dev lo"))?;
    }
    client.inside(|| -> Result<()> {
        let mut tables = Tables::start(Class::default(), &[])?;
        tables.attach(nix::net::if_::if_nametoindex("eth0")?, "eth0")?;
        Ok(tables.load_client()?)
    })??;
    server.inside(|| -> Result<()> {
        let mut tables = Tables::start(Class::default(), &[])?;
        tables.load_member()?;
        let own = OWN.map(|own| Ok(("eth0".to_owned(), own.parse::<IpAddr>()?)));
        tables.set_unicast(&own.into_iter().collect::<Result<Vec<_>>>()?)?;
        let served = ANYCAST.map(|address| Ok(address.parse::<IpAddr>()?.into()));
        let served = served.into_iter().collect::<Result<Vec<Prefix>>>()?;
        Ok(tables.lease(&served, Duration::from_secs(24 * 3600))?)
    })??;
    Ok(lab)
}

type Place = (
    (&'static str, &'static str),
    (&'static str, bool),
    TcpListener,
);

/// A server for every variant and family.
fn listeners(lab: &Lab) -> Result<Vec<Place>> {
    let mut listeners = Vec::new();
    for (place, port) in VARIANTS.into_iter().zip(8_000..) {
        for family in FAMILIES {
            let own: IpAddr = OWN[usize::from(family.1)].parse()?;
            let server = lab.host(&format!("{}-s", place.1));
            let listener = server.thread("listen", move || listen(SocketAddr::new(own, port)))?;
            let listener = listener.join().map_err(|_| anyhow!("listen panicked"))??;
            listeners.push((place, family, listener));
        }
    }
    Ok(listeners)
}

fn listen(at: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&at.into())?;
    socket.listen(4_096)?;
    Ok(socket.into())
}

fn target(variant: &str, v6: bool, port: u16) -> SocketAddr {
    let addresses = if variant == SHIM { ANYCAST } else { OWN };
    // NOTE(unwrap): a constant.
    SocketAddr::new(addresses[usize::from(v6)].parse().unwrap(), port)
}

/// Client on the first processor, server on the second, if there is one.
fn pin(processor: usize) -> Result<()> {
    let processors = std::thread::available_parallelism()?.get();
    let mut set = CpuSet::new();
    set.set(processor % processors)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Median and 99th percentile of `connect()`. The same thread drains the listener in between, so
/// no other one has to be woken up.
fn connects(
    client: &Host,
    to: SocketAddr,
    listener: &TcpListener,
    count: usize,
) -> Result<Measured> {
    const BATCH: usize = 100;
    let listener = listener.try_clone()?;
    let times = client.thread("connect", move || -> Result<Vec<f64>> {
        pin(0)?;
        let mut times = Vec::with_capacity(count);
        while times.len() < count {
            for _ in 0..BATCH {
                let domain = Domain::for_address(to);
                let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
                let before = Instant::now();
                socket.connect(&to.into())?;
                times.push(before.elapsed().as_nanos() as f64);
                socket.set_linger(Some(Duration::ZERO))?;
            }
            for _ in 0..BATCH {
                drop(listener.accept()?);
            }
        }
        Ok(times)
    })?;
    let mut times = times.join().map_err(|_| anyhow!("connect panicked"))??;
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times[times.len() * share / 100];
    Ok(vec![(CONNECT_P50, at(50)), (CONNECT_P99, at(99))])
}

/// Bytes per second from the client (`up`) or to it, as the receiver counts them.
fn transfer(
    client: &Host,
    server: &Host,
    to: SocketAddr,
    listener: &TcpListener,
    lasts: Duration,
    up: bool,
) -> Result<f64> {
    let end = move |processor: usize, mut stream: Socket, sends: bool| -> Result<f64> {
        pin(processor)?;
        let mut buffer = vec![0; 128 * 1024];
        let began = Instant::now();
        let mut bytes = 0;
        while !sends || began.elapsed() < lasts {
            let moved = match sends {
                true => stream.write(&buffer)?,
                false => stream.read(&mut buffer)?,
            };
            if moved == 0 {
                break;
            }
            bytes += moved;
        }
        Ok(bytes as f64 / began.elapsed().as_secs_f64())
    };
    let listener = listener.try_clone()?;
    let serving = server.thread("serve", move || end(1, listener.accept()?.0.into(), !up))?;
    let using = client.thread("use", move || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.connect(&to.into())?;
        end(0, socket, up)
    })?;
    let used = using.join().map_err(|_| anyhow!("a sender panicked"))??;
    let served = serving
        .join()
        .map_err(|_| anyhow!("a receiver panicked"))??;
    Ok(if up { served } else { used })
}
