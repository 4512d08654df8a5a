//! `hamp-lab measure`: how exact impairments are on this machine.
//!
//! Datagrams cross a link that is impaired in one direction; the kernel's own times of each, at
//! both ends, say what happened. What the simulator's machine says is what should have.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde::Serialize;

use super::Impairment;
use super::netem;
use super::probe::{Plan, Stream, stream};
use crate::lab::Lab;
use crate::topology::Topology;

/// Length of a full Ethernet frame, in bytes.
const FULL: usize = 1514;

/// How much to measure.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Arguments {
    /// A tenth of the datagrams: some seconds instead of a minute
    #[arg(long)]
    pub quick: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// How to get the right to make namespaces
    #[arg(long, value_enum, default_value_t, env = "HAMP_LAB_PRIVILEGE")]
    pub privilege: crate::Privilege,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    schema: &'static str,
    means: &'static str,
    kernel: String,
    processors: usize,
    plain_link: Delay,
    delay: Vec<Delay>,
    jitter: Jitter,
    chance: Vec<Chance>,
    rate: Vec<Rate>,
}

/// How long datagrams took beyond the delay that was set.
#[derive(Clone, Debug, Serialize)]
struct Delay {
    set_ms: f64,
    datagrams: usize,
    least_late_ms: f64,
    median_late_ms: f64,
    p99_late_ms: f64,
    worst_late_ms: f64,
}

/// How datagrams were spread around a delay.
#[derive(Clone, Debug, Serialize)]
struct Jitter {
    set_ms: f64,
    jitter_ms: f64,
    datagrams: usize,
    mean_ms: f64,
    p10_ms: f64,
    p50_ms: f64,
    p90_ms: f64,
    /// Greatest difference between the shares of datagrams that took less than any time and those
    /// of an even spread (Kolmogorov and Smirnov's statistic).
    largest_deviation: f64,
}

/// How often something happened.
#[derive(Clone, Debug, Serialize)]
struct Chance {
    what: &'static str,
    set_percent: f64,
    datagrams: usize,
    measured_percent: f64,
    /// Three standard deviations of the binomial distribution.
    chance_allows_percent: f64,
}

/// How fast frames came.
#[derive(Clone, Debug, Serialize)]
struct Rate {
    set_mbit: f64,
    datagrams: usize,
    measured_mbit: f64,
}

/// Measures, and prints the figures.
///
/// # Errors
/// This machine has no labs, or was too slow to see every frame.
pub fn run(arguments: &Arguments) -> Result<()> {
    crate::enter(arguments.privilege)?;
    let figures = measure(arguments.quick)?;
    if arguments.json {
        crate::outln!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        print(&figures);
    }
    Ok(())
}

/// Measures everything once.
///
/// # Errors
/// As [`run`].
pub fn measure(quick: bool) -> Result<Figures> {
    let lab = Lab::new(
        &Topology::new("measure")
            .switch("sw")
            .host("a")
            .link("sw", &["10.15.46.1/24"])
            .host("b")
            .link("sw", &["10.15.46.2/24"]),
    )?;
    let scale = if quick { 1 } else { 10 };
    let go = |how: Impairment, count: u32, gap: Duration, length: usize| -> Result<Stream> {
        lab.impair("b", "eth0", how, Impairment::default())?;
        let bits = u64::from(count * scale) * length as u64 * 8;
        let transmission = how.rate_bps.map_or(0, |rate| bits * 1000 / rate);
        let transmission = Duration::from_millis(transmission);
        let plan = Plan {
            count: count * scale,
            gap,
            length,
            patience: how.delay * 2 + transmission + Duration::from_millis(500),
        };
        let stream = stream(&lab, "a", "b", plan)?;
        ensure!(stream.missed == 0, "the capture missed {}", stream.missed);
        if let Some([passed, _]) = lab.passed("b", "eth0")? {
            ensure!(passed.overrun == 0, "{} frames overrun", passed.overrun);
        }
        Ok(stream)
    };
    let ms = Duration::from_millis(1);
    let plain = Impairment::default();
    let plain_link = late(0, &go(plain, 100, ms, 142)?)?;
    // From here on the link is relayed, with a delay of zero too.
    go(Impairment::delay_ms(1), 1, ms, 142)?;
    let mut delay = Vec::new();
    for set in [0, 1, 10, 100] {
        delay.push(late(set, &go(Impairment::delay_ms(set), 100, ms, 142)?)?);
    }
    let spread = plain.with_delay(10 * ms).with_jitter(5 * ms);
    let jitter = spread_of(10.0, 5.0, &go(spread, 50, 11 * ms, 142)?)?;
    let tenth = Duration::from_micros(200);
    let mut chance = Vec::new();
    for percent in [1.0, 10.0] {
        let stream = go(Impairment::loss_percent(percent), 1000, tenth, 142)?;
        chance.push(Chance::new("loss", percent, &stream, stream.lost()));
    }
    let stream = go(plain.with_duplicate(0.1), 1000, tenth, 142)?;
    let twice = stream.passages.iter().filter(|p| p.arrived.len() == 2);
    chance.push(Chance::new("duplicate", 10.0, &stream, twice.count()));
    let stream = go(plain.with_delay(10 * ms).with_reorder(0.1), 200, ms, 142)?;
    let early = stream.passages.iter().filter_map(|p| p.took_ms());
    let early = early.filter(|took| *took < 10.0).count();
    chance.push(Chance::new("reorder", 10.0, &stream, early));
    let mut rate = Vec::new();
    for (mbit, count) in [(1, 10), (10, 20), (100, 100), (1000, 200)] {
        let how = Impairment::default().with_rate(mbit * 1_000_000, 100_000_000);
        rate.push(came(mbit, &go(how, count, Duration::ZERO, FULL)?)?);
    }
    Ok(Figures {
        schema: "hamp-lab.impairments/1",
        means: netem::means()?.name(),
        kernel: kernel()?,
        processors: std::thread::available_parallelism()?.get(),
        plain_link,
        delay,
        jitter,
        chance,
        rate,
    })
}

/// The version of the kernel, without what its packager has added.
fn kernel() -> Result<String> {
    let name = nix::sys::utsname::uname()?;
    let release = name.release().to_string_lossy();
    Ok(release.split('-').next().unwrap_or_default().to_owned())
}

fn quantile(sorted: &[f64], of: f64) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "an index"
    )]
    let at = ((sorted.len() - 1) as f64 * of).round() as usize;
    sorted[at]
}

fn late(set: u64, stream: &Stream) -> Result<Delay> {
    let times = stream.times_ms();
    ensure!(stream.lost() == 0, "{} lost at {set} ms", stream.lost());
    let set_ms = set as f64;
    let late = |of: f64| quantile(&times, of) - set_ms;
    Ok(Delay {
        set_ms,
        datagrams: times.len(),
        least_late_ms: late(0.0),
        median_late_ms: late(0.5),
        p99_late_ms: late(0.99),
        worst_late_ms: late(1.0),
    })
}

fn spread_of(set_ms: f64, jitter_ms: f64, stream: &Stream) -> Result<Jitter> {
    let times = stream.times_ms();
    ensure!(stream.lost() == 0, "{} lost with jitter", stream.lost());
    let count = times.len() as f64;
    let even = |time: f64| ((time - set_ms + jitter_ms) / (2.0 * jitter_ms)).clamp(0.0, 1.0);
    let steps = times.iter().enumerate().flat_map(|(n, time)| {
        let (before, after) = (n as f64 / count, (n + 1) as f64 / count);
        [(before - even(*time)).abs(), (after - even(*time)).abs()]
    });
    Ok(Jitter {
        set_ms,
        jitter_ms,
        datagrams: times.len(),
        mean_ms: times.iter().sum::<f64>() / count,
        p10_ms: quantile(&times, 0.1),
        p50_ms: quantile(&times, 0.5),
        p90_ms: quantile(&times, 0.9),
        largest_deviation: steps.fold(0.0, f64::max),
    })
}

impl Chance {
    fn new(what: &'static str, set_percent: f64, stream: &Stream, times: usize) -> Self {
        let datagrams = stream.passages.len();
        let (count, share) = (datagrams as f64, set_percent / 100.0);
        Self {
            what,
            set_percent,
            datagrams,
            measured_percent: times as f64 / count * 100.0,
            chance_allows_percent: 3.0 * (share * (1.0 - share) / count).sqrt() * 100.0,
        }
    }
}

/// The rate at which a burst came: its bits in the time from its first moment to its last arrival.
fn came(mbit: u64, stream: &Stream) -> Result<Rate> {
    ensure!(
        stream.lost() == 0,
        "{} lost at {mbit} Mbit/s",
        stream.lost()
    );
    let sent = stream.passages.iter().map(|p| p.sent).min();
    let last = stream.passages.iter().map(|p| p.arrived[0]).max();
    let took_ms = last.unwrap_or_default().ms_since(sent.unwrap_or_default());
    let bits = (stream.passages.len() * FULL * 8) as f64;
    Ok(Rate {
        set_mbit: mbit as f64,
        datagrams: stream.passages.len(),
        measured_mbit: bits / took_ms / 1e3,
    })
}

fn print(figures: &Figures) {
    let Figures {
        means, processors, ..
    } = figures;
    crate::outln!("impairments by {means}, {processors} processors");
    crate::outln!("\ndelay           later than set: least   median      p99    worst");
    let row = |name: &str, d: &Delay| {
        crate::outln!(
            "{name:<28} {:>7.3} ms {:>5.3} ms {:>5.3} ms {:>5.3} ms",
            d.least_late_ms,
            d.median_late_ms,
            d.p99_late_ms,
            d.worst_late_ms
        );
    };
    row("plain link", &figures.plain_link);
    for delay in &figures.delay {
        row(&format!("{} ms", delay.set_ms), delay);
    }
    let j = &figures.jitter;
    crate::outln!(
        "\njitter {} ± {} ms: mean {:.3} ms, 10 % below {:.3}, half below {:.3}, 90 % below {:.3}, \
         largest deviation from even {:.3}",
        j.set_ms,
        j.jitter_ms,
        j.mean_ms,
        j.p10_ms,
        j.p50_ms,
        j.p90_ms,
        j.largest_deviation
    );
    crate::outln!("\nchance         set      measured");
    for c in &figures.chance {
        crate::outln!(
            "{:<10} {:>5} %  {:>8.2} %   (chance allows ± {:.2})",
            c.what,
            c.set_percent,
            c.measured_percent,
            c.chance_allows_percent
        );
    }
    crate::outln!("\nrate           set      measured");
    for r in &figures.rate {
        crate::outln!("{:>12} Mbit/s {:>8.2} Mbit/s", r.set_mbit, r.measured_mbit);
    }
}
