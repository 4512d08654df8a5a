//! `campus`: members behind several routers, and the nearest one.
//!
//! ```text
//!  client, stock                        east (hamp, BIRD) --+-- near   first choice on its link
//!       |                                /                  +-- spare
//!     access ------- core --------------
//!     (FRR)         (BIRD) \
//!                           hub (BIRD) --- west (hamp, FRR) ---- far
//! ```
//! near, spare and far serve 198.18.0.1 and 2001:2:0:1546::1 with nginx and named. hamp on east and
//! west puts routes to them into the kernel, their routing daemons carry these over BGP with what
//! `hamp export` has written, and the three routers in between know nothing of hamp. near is three
//! routers from the clients, far is four. While both clients ask, members leave and are killed, the
//! nearest first; each time the next nearest takes over.
//!
//! Files: `network` the hosts and their routing daemons, `round` the story, `analysis` from all that
//! to figures and checks.

mod analysis;
mod network;
mod round;

use std::time::Duration;

use anyhow::Result;

use super::words::{self, wrapped};
use super::{Options, Scenario, hands};
use crate::capture::Stamp;
use crate::report::{Run, Story};
use crate::{Topology, routing};

/// One line about it.
const ABOUT: &str =
    "members behind routers with BIRD and FRR: the nearest one, then the next nearest";
/// The lab.
pub(super) const LAB: Scenario = Scenario {
    name: "campus",
    about: ABOUT,
    virtual_too: false,
    run,
};
/// The members, the nearest first.
const MEMBERS: [&str; 3] = ["near", "spare", "far"];
/// Hellos that may be missed.
const DEAD_HELLOS: u32 = 3;
/// What a loss window may last beyond the dead time: a withdrawal on its way through the routers
/// (notice of the kernel, BGP, kernel, three times), and a busy machine.
const SLACK: Duration = Duration::from_millis(400);

/// Dead time and slack: the window after a fault in which requests may be lost.
fn window(hello: Duration) -> Duration {
    hello * DEAD_HELLOS + SLACK
}

/// Runs it: with hellos at 100 ms, and unless `quick` before that at 1 s.
fn run(options: &Options) -> Result<Story> {
    routing::installed()?;
    let started = Stamp::now();
    let teller = Teller { options, started };
    let mut run = Run::begin("campus", options.quick, started);
    let (mut topology, mut rounds) = (Topology::default(), Vec::new());
    let stalls = crate::wait::Stalls::watch()?;
    let hellos: &[u64] = if options.quick { &[100] } else { &[1000, 100] };
    teller.wrap(&format!("campus: {ABOUT}"));
    for (index, hello) in hellos.iter().enumerate() {
        let hello = Duration::from_millis(*hello);
        teller.wrap(&format!("hellos every {} ms", hello.as_millis()));
        let mut round = round::Round::build(options, hello, &teller)?;
        if index == 0 {
            run.versions = super::versions(round.lab().host("access"), PROGRAMS);
            topology = round.lab().topology().clone();
        }
        let told = round.play(&teller)?;
        analysis::add(&mut run, &told, started);
        let mut played = told.round;
        if hellos.len() > 1 {
            played.name = format!("hello {} ms", hello.as_millis());
        }
        rounds.push(played);
        if index + 1 == hellos.len() {
            run.end(started, &stalls);
            for line in analysis::table(&run).iter().chain(&words::end(&run)) {
                teller.line(line);
            }
            if options.keep {
                hands::keep(round.lab(), "client")?;
            }
        }
    }
    Ok(Story {
        about: ABOUT.into(),
        topology,
        run,
        started,
        commands: Vec::new(),
        rounds,
    })
}

/// The story on a terminal.
struct Teller<'a> {
    options: &'a Options,
    started: Stamp,
}

impl Teller<'_> {
    fn line(&self, text: &str) {
        let text = text.trim_end();
        if self.options.to_stderr {
            eprintln!("{text}");
        } else {
            crate::outln!("{text}");
        }
    }

    fn wrap(&self, text: &str) {
        wrapped(text, "").iter().for_each(|line| self.line(line));
    }

    /// What happens now.
    fn tell(&self, text: &str) {
        let seconds = Stamp::now().ms_since(self.started) / 1e3;
        for line in wrapped(&format!("{seconds:7.1} s  {text}"), "             ") {
            self.line(&line);
        }
    }
}

/// What takes part, and how it says its version.
const PROGRAMS: &[(&str, &str)] = &[
    ("linux", "uname -r"),
    ("bird", "bird --version 2>&1"),
    ("frr", "zebra --version"),
    ("nft", "nft --version"),
    ("nginx", "nginx -v 2>&1"),
    ("named", "named -v"),
    ("curl", "curl --version"),
    ("dig", "dig -v 2>&1"),
];
