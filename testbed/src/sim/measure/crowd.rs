//! `hamp-lab measure crowd`: what a router pays for a thousand members on one link that say hello
//! every 10 ms.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use hamp::proto::What;
use hamp::proto::trust::Mode;
use hamp::time::Duration;
use serde::Serialize;

use super::print;
use super::star::{Kind, Star};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Members on the link
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub members: usize,
    /// Milliseconds between the hellos of a member
    #[arg(long, value_name = "MS", default_value_t = 10)]
    pub hello_ms: u32,
    /// Seconds of virtual time that are measured
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub seconds: u32,
    /// A tenth of the members, for two seconds
    #[arg(long)]
    pub quick: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Figures {
    schema: &'static str,
    quick: bool,
    members: usize,
    hello_ms: u32,
    virtual_s: u32,
    runs: Vec<Run>,
}

#[derive(Clone, Debug, Serialize)]
struct Run {
    mode: &'static str,
    frames: u64,
    hellos: u64,
    known: usize,
    refused: BTreeMap<&'static str, u64>,
    /// Of the router's calls.
    processor_ms_per_virtual_s: f64,
    processor_ns_per_hello: f64,
}

/// The link is fast enough not to matter.
const RATE: u64 = 10_000_000_000;
const SETTLED: Duration = Duration::from_secs(5);

/// Measures, and prints the figures.
///
/// # Errors
/// The router does not know every member at the end, or the machine cannot tell what it took.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (members, seconds) = match arguments.quick {
        true => (arguments.members.div_ceil(10), 2),
        false => (arguments.members, arguments.seconds),
    };
    let mut figures = Figures {
        schema: "hamp-lab.crowd/1",
        quick: arguments.quick,
        members,
        hello_ms: arguments.hello_ms,
        virtual_s: seconds,
        runs: Vec::new(),
    };
    for mode in [Mode::Off, Mode::Enforce] {
        let run = one(members, arguments.hello_ms, seconds, mode)?;
        if !arguments.json {
            crate::outln!(
                "{:<8} {members} members, a hello each {} ms: {:.1} ms of a processor in a second, {:.0} ns \
                 a hello; refused {:?}",
                run.mode,
                arguments.hello_ms,
                run.processor_ms_per_virtual_s,
                run.processor_ns_per_hello,
                run.refused
            );
        }
        figures.runs.push(run);
    }
    if arguments.json {
        print(&figures)?;
    }
    for run in &figures.runs {
        ensure!(
            run.known == members,
            "{}: the router knows {} members",
            run.mode,
            run.known
        );
    }
    Ok(())
}

fn one(members: usize, hello_ms: u32, seconds: u32, mode: Mode) -> Result<Run> {
    let mut star = Star::new(Kind {
        members,
        addresses: 1,
        hello_ms,
        mode,
        rate: RATE,
    })?;
    star.restart_router();
    while star.now().as_millis() < SETTLED.as_millis() as u64 {
        star.step()?;
    }
    let refused = |star: &Star| -> BTreeMap<_, _> {
        star.refused()
            .map(|(reason, count)| (reason.as_str(), count))
            .collect()
    };
    let hellos = |star: &Star| {
        let mut received = star.router().counters().received();
        received
            .find(|(what, _)| *what == What::Hello)
            .map_or(0, |(_, count)| count)
    };
    let (used, frames, heard, before) = (star.used, star.frames, hellos(&star), refused(&star));
    let end = star.now() + Duration::from_secs(seconds.into());
    while star.now() < end {
        star.step()?;
    }
    let used = (star.used - used).as_secs_f64();
    let hellos = hellos(&star) - heard;
    let new = refused(&star).into_iter().filter_map(|(reason, count)| {
        let known = before.get(reason).copied().unwrap_or_default();
        (count > known).then_some((reason, count - known))
    });
    let known = star
        .router()
        .links()
        .map(|(_, link)| link.peers().count())
        .sum();
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let per_hello = used * 1e9 / hellos.max(1) as f64;
    Ok(Run {
        mode: mode.as_str(),
        frames: star.frames - frames,
        hellos,
        known,
        refused: new.collect(),
        processor_ms_per_virtual_s: used * 1e3 / f64::from(seconds),
        processor_ns_per_hello: per_hello,
    })
}
