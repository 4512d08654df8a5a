//! `hamp-lab measure clocks`: whether hosts whose clocks run apart understand each other for days.
//!
//! Three members in enforce mode share a link: one clock is right, one fast, one slow. Nothing is
//! ever lost, so whatever one of them refuses of another is an honest message refused.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hamp::proto::{Reason, What};
use hamp::wire::Roles;
use serde::Serialize;

use super::{print, processor_time};
use crate::sim::{Sim, keys};
use crate::topology::Topology;

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Hours of virtual time
    #[arg(long, value_name = "N", default_value_t = 240)]
    pub hours: u32,
    /// Milliseconds between hellos; may be repeated
    #[arg(long = "hello-ms", value_name = "MS", default_values_t = [1000, 10])]
    pub hello_ms: Vec<u32>,
    /// Parts per million that one clock is too fast, and another too slow
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub ppm: i32,
    /// What is random is drawn from this
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// An hour at 1 s, and a minute at 10 ms
    #[arg(long)]
    pub quick: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    schema: &'static str,
    mode: &'static str,
    quick: bool,
    seed: u64,
    runs: Vec<Run>,
}

/// One interval.
#[derive(Clone, Debug, Serialize)]
struct Run {
    hello_ms: u32,
    virtual_s: u64,
    /// Clocks of the three hosts, in parts per million.
    clocks_ppm: [i32; 3],
    hellos_sent: u64,
    hellos_heard: u64,
    /// Of all hosts: messages refused, by reason.
    refused: BTreeMap<&'static str, u64>,
    queries: u64,
    anchors: u64,
    reports: u64,
    processor_s: f64,
    wall_s: f64,
    digest: String,
}

/// Measures, and prints the figures.
///
/// # Errors
/// An honest hello was refused or not heard, a member was taken for dead, or the machine cannot tell
/// what it took.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut figures = Figures {
        schema: "hamp-lab.clocks/1",
        mode: "enforce",
        quick: arguments.quick,
        seed: arguments.seed,
        runs: Vec::new(),
    };
    for hello_ms in &arguments.hello_ms {
        let seconds = match (arguments.quick, *hello_ms) {
            (true, 1000..) => 3600,
            (true, _) => 60,
            (false, _) => 3600 * u64::from(arguments.hours),
        };
        let run = one(*hello_ms, seconds, arguments.ppm, arguments.seed)?;
        if !arguments.json {
            tell(&run);
        }
        figures.runs.push(run);
    }
    if arguments.json {
        print(&figures)?;
    }
    for run in &figures.runs {
        run.check()?;
    }
    Ok(())
}

fn tell(run: &Run) {
    let [a, b, c] = run.clocks_ppm;
    crate::outln!(
        "a hello each {} ms, {} s, clocks {a:+}, {b:+} and {c:+} ppm",
        run.hello_ms,
        run.virtual_s
    );
    crate::outln!("hellos sent      {:>12}", run.hellos_sent);
    crate::outln!("hellos heard     {:>12}", run.hellos_heard);
    crate::outln!("refused          {:>12?}", run.refused);
    crate::outln!("queries          {:>12}", run.queries);
    crate::outln!("anchors          {:>12}", run.anchors);
    crate::outln!("processor time   {:>12.2} s", run.processor_s);
    crate::outln!("digest       {:>16}\n", run.digest);
}

impl Run {
    fn check(&self) -> Result<()> {
        let Self {
            hello_ms, refused, ..
        } = self;
        ensure!(refused.is_empty(), "{hello_ms} ms: refused {refused:?}");
        // Each hello is heard by the two others; the last ones may be on their way.
        let missing = (2 * self.hellos_sent).abs_diff(self.hellos_heard);
        ensure!(
            missing <= 6,
            "{hello_ms} ms: {missing} hellos were not heard"
        );
        Ok(())
    }
}

const HOSTS: [&str; 3] = ["right", "fast", "slow"];
/// Until everybody knows everybody.
const SETTLED: Duration = Duration::from_secs(5);

fn one(hello_ms: u32, seconds: u64, ppm: i32, seed: u64) -> Result<Run> {
    let (wall, before) = (Instant::now(), processor_time()?);
    let clocks_ppm = [0, ppm, -ppm];
    let hamp = format!("[node]\nhello_ms = {hello_ms}\n[member]\naddresses = [\"198.18.0.1\"]\n");
    let mut net = Topology::new("clocks").switch("sw");
    for (host, ppm) in HOSTS.iter().zip(clocks_ppm) {
        let number = net.nodes.len();
        net = net
            .host(host)
            .link("sw", &[format!("10.0.0.{number}/24")])
            .hamp(&hamp)
            // Nor do they begin to count at the same time.
            .clock(ppm, 1000 * number as u64 * 86_400);
    }
    let mut sim = Sim::new(&net, seed)?;
    let roles = Roles {
        member: true,
        router: true,
    };
    for (number, host) in (1..).zip(HOSTS) {
        sim.trust(host, keys::enforcing(number, roles))?;
    }
    sim.forget_events();
    sim.start_within(Duration::from_secs(1))?;
    sim.run_for(SETTLED);
    let begin = totals(&sim)?;
    sim.run_for(Duration::from_secs(seconds));
    let end = totals(&sim)?;
    let sent = |what| end.sent(what) - begin.sent(what);
    let refused = end.refused.iter().filter_map(|(reason, count)| {
        let before = begin.refused.get(reason).copied().unwrap_or_default();
        (*count > before).then_some((*reason, count - before))
    });
    Ok(Run {
        hello_ms,
        virtual_s: seconds,
        clocks_ppm,
        hellos_sent: sent(What::Hello),
        hellos_heard: end.hellos_heard - begin.hellos_heard,
        refused: refused.collect(),
        queries: sent(What::Query),
        anchors: sent(What::Anchor),
        reports: sent(What::Report),
        processor_s: processor_time()?.saturating_sub(before).as_secs_f64(),
        wall_s: wall.elapsed().as_secs_f64(),
        digest: format!("{:016x}", sim.digest()),
    })
}

/// What all hosts have counted.
#[derive(Default)]
struct Totals {
    sent: BTreeMap<What, u64>,
    hellos_heard: u64,
    refused: BTreeMap<&'static str, u64>,
}

impl Totals {
    fn sent(&self, what: What) -> u64 {
        self.sent.get(&what).copied().unwrap_or_default()
    }
}

fn totals(sim: &Sim) -> Result<Totals> {
    let mut all = Totals::default();
    for host in HOSTS {
        let node = sim
            .node(host)?
            .with_context(|| format!("{host} does not run"))?;
        for (what, count) in node.counters().sent() {
            *all.sent.entry(what).or_default() += count;
        }
        let mut received = node.counters().received();
        let hellos = received.find(|(what, _)| *what == What::Hello);
        all.hellos_heard += hellos.map_or(0, |(_, count)| count);
        for (reason, count) in node.counters().ignored() {
            // Announcements and answers at the start are not for these hosts.
            if reason != Reason::Unasked {
                *all.refused.entry(reason.as_str()).or_default() += count;
            }
        }
    }
    Ok(all)
}
