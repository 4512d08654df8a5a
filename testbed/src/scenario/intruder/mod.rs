//! `intruder`: what somebody on the link can do who has no keys, or the wrong ones.
//!
//! ```text
//!                         box
//!                          |
//!    one --- tap --+      two    near                  desk
//!     .11          |      .12     .90                  .91
//!                  |       |       |                    |
//!     lan     -----+-------+-------+----+---     ---+---+-----+---  other
//!     10.15.46.0/24        |            |           |         |     10.15.47.0/24
//!                          |            +- router --+         |
//!                      intruder .1         |     |        intruder .1
//!                                       client  stock
//! ```
//! one and two serve 198.18.0.1 and 2001:2:0:1546::1, one is preferred. near, desk and client keep
//! asking, and two that know nothing of hamp: stock, and box behind two. The intruder answers requests as everybody does who gets them; the switch `tap` is its own.
//! Each attack is mounted where nothing is verified, and again where everything is.
//!
//! Files: `attack` the attacks, `tool` scapy in a host, `keys` who has which, `prepare` and `stage` the
//! lab and how an attack is mounted, `look` what is asked of it meanwhile, `judge` what became of
//! requests.

mod attack;
mod judge;
mod keys;
mod look;
mod prepare;
mod stage;
mod tool;

use anyhow::Result;

use super::{Options, Scenario, hands};
use crate::capture::Stamp;
use crate::report::{Run, Story};
use crate::wait::Stalls;
use stage::{Mode, Stage};

/// The IPv4 address that the members share.
const A4: &str = "198.18.0.1";
/// The IPv6 address that the members share.
const A6: &str = "2001:2:0:1546::1";
/// One line about it.
const ABOUT: &str =
    "an intruder forges, replays, relays, withholds and floods, without keys and with";

/// The lab.
pub(super) const LAB: Scenario = Scenario {
    name: "intruder",
    about: ABOUT,
    virtual_too: false,
    run,
};

fn run(options: &Options) -> Result<Story> {
    let started = Stamp::now();
    let stalls = Stalls::watch()?;
    let mut run = Run::begin(LAB.name, options.quick, started);
    let mut stage = Stage::build(options, started)?;
    run.versions = stage.versions();
    for mode in Mode::ALL {
        stage.enter(mode)?;
        for attack in attack::ALL.iter().filter(|a| a.quick || !options.quick) {
            stage.mount(attack)?;
        }
        stage.close()?;
    }
    stage.judge(&mut run);
    run.end(started, &stalls);
    stage.tell(&super::words::end(&run));
    if options.keep {
        hands::keep(&stage.lab, "intruder")?;
    }
    Ok(Story {
        about: ABOUT.into(),
        topology: stage.lab.topology().clone(),
        run,
        started,
        commands: vec![(
            "By hand".into(),
            "hamp-lab up examples/labs/intruder.toml".into(),
        )],
        rounds: stage.rounds(),
    })
}
