//! `hamp-lab measure recovery`: how soon a router that starts anew has its whole table back, beside
//! the formula of docs/spec/router.md.

use anyhow::{Result, ensure};
use hamp::proto::pin;
use hamp::proto::trust::Mode;
use hamp::time::Duration;
use serde::Serialize;

use super::print;
use super::star::{Kind, Star};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// A hundredth of the addresses of the large table, and the two slower links
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
    runs: Vec<Run>,
}

#[derive(Clone, Debug, Serialize)]
struct Run {
    mode: &'static str,
    members: usize,
    memberships: usize,
    rate_mbit: u64,
    /// What the router heard until its table was whole.
    frames: u64,
    /// With a processor that takes no time.
    recovered_ms: f64,
    /// What the router's calls took.
    processor_ms: f64,
    /// When the router was done with all that, on this processor.
    with_processor_ms: f64,
    formula_ms: f64,
}

/// Members, and addresses of each.
const TABLES: [(usize, u32); 2] = [(10, 1), (16, 65_536)];
const RATES_MBIT: [u64; 3] = [100, 1_000, 10_000];
/// When everybody has said everything twice.
const SETTLED: Duration = Duration::from_secs(6);
/// The formula's: a full frame, in bytes.
const DATAGRAM: f64 = 1294.0;

/// Measures, and prints the figures.
///
/// # Errors
/// The table is not whole after a minute, or the machine cannot tell what it took.
pub fn run(arguments: &Arguments) -> Result<()> {
    let mut figures = Figures {
        schema: "hamp-lab.recovery/1",
        quick: arguments.quick,
        runs: Vec::new(),
    };
    for mode in [Mode::Off, Mode::Enforce] {
        for (members, addresses) in TABLES {
            let addresses = match arguments.quick {
                true => addresses.div_ceil(100),
                false => addresses,
            };
            for rate_mbit in RATES_MBIT
                .into_iter()
                .take(if arguments.quick { 2 } else { 3 })
            {
                let run = one(mode, members, addresses, rate_mbit)?;
                if !arguments.json {
                    crate::outln!(
                        "{:<8}{:>8} memberships of {members} members at {rate_mbit:>5} Mbit/s: {:>7.1} ms, the \
                         formula says {:>7.1}; {:>7.1} ms of a processor, with it {:>7.1}",
                        run.mode,
                        run.memberships,
                        run.recovered_ms,
                        run.formula_ms,
                        run.processor_ms,
                        run.with_processor_ms
                    );
                }
                figures.runs.push(run);
            }
        }
    }
    if arguments.json {
        print(&figures)?;
    }
    Ok(())
}

fn one(mode: Mode, members: usize, addresses: u32, rate_mbit: u64) -> Result<Run> {
    let mut star = Star::new(Kind {
        members,
        addresses,
        hello_ms: 1000,
        mode,
        rate: rate_mbit * 1_000_000,
    })?;
    while star.now().as_millis() < SETTLED.as_millis() as u64 {
        star.step()?;
    }
    let wanted = members * addresses as usize;
    let begun = star.now();
    star.restart_router();
    let held = |star: &Star| {
        star.router()
            .router()
            .map_or(0, |table| table.memberships())
    };
    while held(&star) < wanted {
        star.step()?;
        let took = star.now().saturating_duration_since(begun);
        let refused: Vec<_> = star.refused().collect();
        ensure!(
            took < Duration::from_secs(60),
            "{} of {wanted} memberships after {took:?}; refused {refused:?}",
            held(&star)
        );
    }
    let ms = |span: Duration| span.as_secs_f64() * 1e3;
    // Nobody here answers for a member's own address: three questions tell so.
    let proof = match mode {
        Mode::Enforce => ms(pin::ANSWER_TIME) * f64::from(pin::MAX_ASKED),
        _ => 0.0,
    };
    let each = star.frames.div_ceil(members as u64);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let (bursts, whole) = (each.div_ceil(64) as f64, star.frames as f64 * DATAGRAM);
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    let on_wire = whole * 8.0 / (rate_mbit as f64 * 1e3);
    Ok(Run {
        mode: mode.as_str(),
        members,
        memberships: wanted,
        rate_mbit,
        frames: star.frames,
        recovered_ms: ms(star.now().saturating_duration_since(begun)),
        processor_ms: ms(star.used),
        with_processor_ms: ms(star.busy_until.saturating_duration_since(begun)),
        formula_ms: 100.0 + (10.0 * bursts).max(on_wire) + proof,
    })
}
