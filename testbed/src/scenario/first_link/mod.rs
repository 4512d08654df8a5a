//! `first-link`: the main job on real input.
//!
//! ```text
//!                      box
//!                       |
//!    s1       s2       s3      client    stock
//!   .11      .12      .13       .100     .101     10.15.46.0/24, fd15:46::/64
//!    |        |        |         |         |
//!   -+--------+--------+---------+---------+-     one bridge, each link captured
//! ```
//! s1, s2 and s3 serve 198.18.0.1 and 2001:2:0:1546::1 with nginx, named and sshd; `client` runs
//! hamp as a client, `stock` knows nothing of it and forgets its neighbour entries all the time. `box`
//! stands for a container behind s3, which forwards for it: it asks for 198.18.0.2 and
//! 2001:2:0:1546::2, which s1 and s2 serve. While all three ask at a steady rate, the member that answers leaves, is killed with its servers, is
//! killed alone, freezes, and has its cable pulled; each time it comes back.
//!
//! Files: `hold` connections that stay open, `inject` segments
//! by hand, `round` the story, `analysis` from all that to figures and checks, `view` what a person
//! sees.

mod analysis;
mod hold;
mod inject;
mod round;
mod view;

use std::time::Duration;

use anyhow::Result;

use super::{Options, Scenario, hands};
use crate::capture::Stamp;
use crate::report::{Run, Story, Unsupported};
use crate::{Topology, enter};
use view::View;

/// The IPv4 address that the members share.
pub(crate) const A4: &str = "198.18.0.1";
/// The IPv6 address that the members share.
pub(crate) const A6: &str = "2001:2:0:1546::1";
/// What only the first two members serve.
const OTHERS: [&str; 2] = ["198.18.0.2", "2001:2:0:1546::2"];
/// One line about it.
const ABOUT: &str =
    "three members share one address on one link and lose one another in several ways";
/// The lab.
pub(super) const LAB: Scenario = Scenario {
    name: "first-link",
    about: ABOUT,
    virtual_too: false,
    run,
};
/// The members; the first is preferred.
const MEMBERS: [&str; 3] = ["s1", "s2", "s3"];
/// What a loss window may last beyond the dead time.
const SLACK: Duration = Duration::from_millis(200);
/// Hellos that may be missed.
const DEAD_HELLOS: u32 = 3;

/// Dead time and slack: the window after a fault in which requests may be lost.
fn window(hello: Duration) -> Duration {
    hello * DEAD_HELLOS + SLACK
}

/// Runs it: once with hellos at 50 ms, and unless `quick` once more at 1 s before that.
fn run(options: &Options) -> Result<Story> {
    let started = Stamp::now();
    let mut view = View::new(options, started);
    let mut run = Run::begin("first-link", options.quick, started);
    if enter::is_mapped() {
        run.unsupported.push(Unsupported {
            what: "ssh to sshd".into(),
            reason: "sshd changes to another user before it knows who logs in, and a user \
                     namespace of an ordinary user has one user only; run as root"
                .into(),
        });
    }
    let (mut topology, mut rounds) = (Topology::default(), Vec::new());
    let stalls = crate::wait::Stalls::watch()?;
    let hellos: &[u64] = match options {
        Options {
            undisturbed: Some(_),
            ..
        } => &[1000],
        Options { quick: true, .. } => &[50],
        _ => &[1000, 50],
    };
    for (index, hello) in hellos.iter().enumerate() {
        let last = index + 1 == hellos.len();
        let hello = Duration::from_millis(*hello);
        view.begin(hello);
        let mut round = round::Round::build(options, hello)?;
        if index == 0 {
            run.versions = super::versions(round.host("client"), PROGRAMS);
            topology = round.lab().topology().clone();
        }
        let told = round.play(&mut view, last)?;
        analysis::add(&mut run, &told, started);
        view.round(&run, hello);
        let mut played = told.round;
        if hellos.len() > 1 {
            played.name = format!("hello {} ms", hello.as_millis());
        }
        rounds.push(played);
        if last {
            run.end(started, &stalls);
            view.end(&run);
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

/// What takes part, and how it says its version.
const PROGRAMS: &[(&str, &str)] = &[
    ("linux", "uname -r"),
    ("nft", "nft --version"),
    ("iproute2", "ip -V"),
    ("nginx", "nginx -v 2>&1"),
    ("named", "named -v"),
    ("curl", "curl --version"),
    ("dig", "dig -v 2>&1"),
    ("ssh", "ssh -V 2>&1"),
];
