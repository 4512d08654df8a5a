//! `hamp-lab simulate`: how many hosts one processor can be.
//!
//! Members of one anycast address in each family, evenly spread over links of one switch each,
//! started at random moments of the first hello interval, then left alone: what is measured is
//! hellos sent, heard and checked.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::Sim;
use crate::topology::{NODES, Topology};

/// How much to simulate.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Members
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub hosts: usize,
    /// Links that they are spread over
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub links: usize,
    /// Minutes of virtual time
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub minutes: u32,
    /// Milliseconds between the hellos of a member
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    pub hello_ms: u32,
    /// What is random is drawn from this
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// A tenth of the hosts and links, for a minute
    #[arg(long)]
    pub quick: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What was simulated, and what it took.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    schema: &'static str,
    hosts: usize,
    links: usize,
    virtual_s: u64,
    hello_ms: u32,
    seed: u64,
    frames: u64,
    deliveries: u64,
    events: u64,
    /// Links on which not exactly one member owns the address of each family.
    disputed: usize,
    processor_s: f64,
    processor_ns_per_delivery: f64,
    wall_s: f64,
    peak_memory_bytes: u64,
    digest: String,
}

/// Simulates, and prints the figures.
///
/// # Errors
/// There are more hosts or links than addresses, or the machine cannot tell what it took.
pub fn run(arguments: &Arguments) -> Result<()> {
    let figures = measure(arguments)?;
    if arguments.json {
        crate::outln!("{}", serde_json::to_string_pretty(&figures)?);
        return Ok(());
    }
    let Figures {
        hosts,
        links,
        virtual_s,
        hello_ms,
        ..
    } = figures;
    crate::outln!(
        "{hosts} hosts on {links} links, a hello each {hello_ms} ms, {virtual_s} s of virtual time"
    );
    crate::outln!("frames sent      {:>12}", figures.frames);
    crate::outln!("frames heard     {:>12}", figures.deliveries);
    crate::outln!("events           {:>12}", figures.events);
    crate::outln!("disputed links   {:>12}", figures.disputed);
    crate::outln!("processor time   {:>12.2} s", figures.processor_s);
    crate::outln!(
        "  per frame heard{:>12.0} ns",
        figures.processor_ns_per_delivery
    );
    crate::outln!("wall time        {:>12.2} s", figures.wall_s);
    crate::outln!(
        "peak memory      {:>12} MiB",
        figures.peak_memory_bytes >> 20
    );
    crate::outln!("digest       {:>16}", figures.digest);
    Ok(())
}

fn measure(arguments: &Arguments) -> Result<Figures> {
    let part = if arguments.quick { 10 } else { 1 };
    let (hosts, links) = (arguments.hosts / part, arguments.links / part);
    let virtual_s = if arguments.quick {
        60
    } else {
        60 * u64::from(arguments.minutes)
    };
    ensure!(
        links > 0 && hosts >= links,
        "{hosts} hosts on {links} links: there must be a link, and a host on each"
    );
    let nodes = hosts.saturating_add(links);
    ensure!(
        nodes <= NODES,
        "{hosts} hosts on {links} links: more than {NODES} nodes"
    );
    let (wall, before) = (Instant::now(), processor_time()?);
    let hello = Duration::from_millis(arguments.hello_ms.into());
    let mut sim = Sim::new(&topology(hosts, links, arguments.hello_ms), arguments.seed)?;
    sim.forget_events();
    sim.start_within(hello)?;
    sim.run_for(Duration::from_secs(virtual_s));
    let disputed = links - owners(&sim, links)?;
    let processor = processor_time()?.saturating_sub(before);
    let totals = sim.totals();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let per_delivery = processor.as_secs_f64() * 1e9 / totals.deliveries.max(1) as f64;
    Ok(Figures {
        schema: "hamp-lab.simulate/1",
        hosts,
        links,
        virtual_s,
        hello_ms: arguments.hello_ms,
        seed: arguments.seed,
        frames: totals.frames,
        deliveries: totals.deliveries,
        events: totals.events,
        disputed,
        processor_s: processor.as_secs_f64(),
        processor_ns_per_delivery: per_delivery,
        wall_s: wall.elapsed().as_secs_f64(),
        peak_memory_bytes: peak_memory()?,
        digest: format!("{:016x}", sim.digest()),
    })
}

const ADDRESSES: [&str; 2] = ["198.18.0.1", "2001:2:0:1546::1"];

fn topology(hosts: usize, links: usize, hello_ms: u32) -> Topology {
    let [v4, v6] = ADDRESSES;
    let hamp =
        format!("[node]\nhello_ms = {hello_ms}\n[member]\naddresses = [\"{v4}\", \"{v6}\"]\n");
    let mut all = Topology::new("scale");
    for link in 0..links {
        let switch = format!("l{link}");
        all = all.switch(&switch);
        for host in (link..hosts).step_by(links) {
            let at = host / links + 1;
            let (high, low) = (at / 256, at % 256);
            let addresses = [format!("10.0.{high}.{low}/16"), format!("fd00::{at:x}/64")];
            all = all
                .host(&format!("h{host}"))
                .link(&switch, &addresses)
                .hamp(&hamp);
        }
    }
    all
}

/// On how many links one member owns each address.
fn owners(sim: &Sim, links: usize) -> Result<usize> {
    let mut owned = vec![0; links];
    for address in ADDRESSES {
        for host in sim.owners(address)? {
            let number: usize = host.trim_start_matches('h').parse()?;
            owned[number % links] += 1;
        }
    }
    Ok(owned
        .iter()
        .filter(|owners| **owners == ADDRESSES.len())
        .count())
}

/// What all threads of this process have used.
fn processor_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// The most memory that this process had (proc(5): VmHWM), in bytes.
fn peak_memory() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let text = line.context("/proc/self/status has no VmHWM")?;
    let kib: u64 = text.trim().trim_end_matches(" kB").parse()?;
    Ok(kib << 10)
}
