//! The story, once: build, disturb, recover, end.
//!
//! Here the lab is built; `story` has the order of things, `events` what happens, `watch` the waiting.

mod events;
mod story;
mod watch;

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ChildStdin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::hold;
use super::inject;
use super::view::View;
use super::{A4, A6, DEAD_HELLOS, MEMBERS, OTHERS, window};
use crate::capture::{Capture, Stamp};
use crate::lab::HAMP;
use crate::load::{Ended, Load, Service, Stream};
use crate::report::{self, Kind, Mark, Program, Request};
use crate::scenario::services::{self, Servers};
use crate::scenario::{Options, hands};
use crate::{Host, Lab, Process, Topology, wait};

/// A lab in which the story is played once.
pub(super) struct Round<'a> {
    options: &'a Options,
    hello: Duration,
    /// The servers of each member.
    servers: [Option<Servers>; MEMBERS.len()],
    /// `ip -batch` on the stock host.
    forgets: Option<(Process, ChildStdin)>,
    /// When it last forgot its entries, and whether nothing else happened then.
    forgot: (Instant, bool),
    ended: Ended,
    loads: Vec<Load>,
    capture: Option<Capture>,
    told: Told,
    /// Of the frozen member, before it froze.
    epoch: serde_json::Value,
    // Last: everything above runs in its hosts.
    lab: Lab,
}

/// What a round leaves for the analysis.
#[derive(Default)]
pub(super) struct Told {
    pub(super) round: report::Round,
    pub(super) programs: Vec<Program>,
    /// Requests on connections that were open before the client's daemon was killed, and those of
    /// them that failed.
    pub(super) established: Option<(usize, Vec<String>)>,
    /// How long the client's kernel kept an entry of a dead member without its daemon, by family,
    /// in milliseconds.
    pub(super) entries: Vec<(u8, f64)>,
    /// Why the frozen member did not come back as a new one, if it did not.
    pub(super) rejoined: Vec<(bool, String)>,
    /// What kept the story from going on.
    pub(super) broke: Option<String>,
    /// Unicast addresses of the members.
    pub(super) unicast: Vec<IpAddr>,
    /// Those of the host that knows nothing of hamp.
    pub(super) stock: Vec<IpAddr>,
}

impl<'a> Round<'a> {
    /// Builds the lab and starts servers, daemons, capture and load.
    pub(super) fn build(options: &'a Options, hello: Duration) -> Result<Self> {
        let lab = Lab::new(&topology(hello))?;
        forward(lab.host("s3"))?;
        // Hours of frames do not fit into memory.
        let capture = if options.undisturbed.is_none() {
            let files = pcap_dir(options, hello)?;
            Some(Capture::start(&lab, "switch", files.as_deref())?)
        } else {
            None
        };
        // NOTE(unwrap): our own constants are addresses.
        let anycast = [A4, A6].map(|address| address.parse().unwrap());
        let told = Told {
            round: report::Round {
                hello,
                dead: hello * DEAD_HELLOS,
                window: window(hello),
                anycast: anycast.into(),
                members: MEMBERS.map(String::from).into(),
                stock: ["stock", "box"].map(String::from).into(),
                ..report::Round::default()
            },
            ..Told::default()
        };
        let mut round = Self {
            options,
            hello,
            servers: Default::default(),
            forgets: None,
            forgot: (Instant::now(), true),
            ended: Ended::default(),
            loads: Vec::new(),
            capture,
            told,
            epoch: serde_json::Value::Null,
            lab,
        };
        round.servers()?;
        round.daemons()?;
        round.agree()?;
        round.load()?;
        Ok(round)
    }

    /// The lab it is played in.
    pub(super) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// A host of the lab.
    pub(super) fn host(&self, name: &str) -> &Host {
        self.lab.host(name)
    }

    fn servers(&mut self) -> Result<()> {
        if !crate::enter::is_mapped() {
            let members: Vec<&Host> = MEMBERS.iter().map(|m| self.lab.host(m)).collect();
            services::share_key(self.lab.host("client"), &members)?;
        }
        for (servers, name) in self.servers.iter_mut().zip(MEMBERS) {
            *servers = Some(Servers::start(self.lab.host(name))?);
        }
        for (servers, name) in self.servers.iter().zip(MEMBERS) {
            let host = self.lab.host(name);
            servers.as_ref().map_or(Ok(()), |s| s.ready(host))?;
            let own = [host.address(false), host.address(true)];
            self.told.unicast.extend(own.into_iter().flatten());
        }
        let stock = self.lab.host("stock");
        let own = [stock.address(false), stock.address(true)];
        self.told.stock.extend(own.into_iter().flatten());
        Ok(())
    }

    fn daemons(&self) -> Result<()> {
        self.lab.start()?;
        for name in MEMBERS.iter().chain(&["client"]) {
            self.answers_status(name)?;
        }
        Ok(())
    }

    fn load(&mut self) -> Result<()> {
        let ms = Duration::from_millis;
        // Hours need no fifty requests a second.
        let slower = if self.options.undisturbed.is_some() {
            5
        } else {
            1
        };
        let streams = |to: [&str; 2], service: Service, every: u64, offset: u64| {
            let every = every * slower;
            // NOTE(unwrap): our own constants are addresses.
            let to = to.map(|a| std::net::SocketAddr::new(a.parse().unwrap(), service.port()));
            to.into_iter()
                .zip([0, every / 2])
                .map(move |(to, more)| Stream {
                    service,
                    to,
                    every: ms(every),
                    offset: ms(offset + more),
                })
        };
        let shared = [A4, A6];
        let client = streams(shared, Service::Http, 20, 3)
            .chain(streams(shared, Service::Dns, 50, 7))
            .collect();
        let stock = streams(shared, Service::Dns, 50, 17)
            .chain(streams(shared, Service::Http, 50, 27))
            .collect();
        let behind = streams(OTHERS, Service::Dns, 50, 37)
            .chain(streams(OTHERS, Service::Http, 50, 47))
            .collect();
        for (host, streams) in [("client", client), ("stock", stock), ("box", behind)] {
            let load = Load::start(self.lab.host(host), streams, &self.ended)?;
            self.loads.push(load);
        }
        if self.options.undisturbed.is_some() {
            return Ok(());
        }
        let argv = ["ip", "-force", "-batch", "-"];
        self.forgets = Some(self.lab.host("stock").spawn_fed("forgets", &argv)?);
        self.forgot = (Instant::now(), true);
        Ok(())
    }

    /// Looks at the daemon of a host.
    fn daemon(&self, host: &str, what: impl FnOnce(&Process) -> Result<()>) -> Result<()> {
        self.lab.program(host, HAMP, what).context("no daemon")?
    }

    /// Waits until the daemon of a host answers; the error carries the end of its log.
    fn answers_status(&self, name: &str) -> Result<()> {
        let host = self.lab.host(name);
        let limit = Duration::from_secs(10);
        let answer = || host.run_for(&["hamp", "status", "--json"], limit)?.ok();
        wait::until_ok(&format!("hamp status on {name}"), limit, answer)
            .map(drop)
            .map_err(|e| {
                let log = host.read("/run/lab/log/hamp.log").unwrap_or_default();
                let tail: Vec<_> = log.lines().rev().take(8).collect();
                let tail: Vec<_> = tail.into_iter().rev().collect();
                e.context(format!("the daemon on {name} says:\n{}", tail.join("\n")))
            })
    }
}

/// The link, with hellos at this interval.
fn topology(hello: Duration) -> Topology {
    let node = format!(
        "[node]\nhello_ms = {}\ndead_hellos = {DEAD_HELLOS}\n",
        hello.as_millis()
    );
    let addresses = |number: u8| {
        [
            format!("10.15.46.{number}/24"),
            format!("fd15:46::{number}/64"),
        ]
    };
    let mut topology = Topology::new("first-link").switch("switch");
    // Distinct preferences, so that both addresses have the same owner and each fault hits both
    // families.
    for ((name, number), preference) in MEMBERS.iter().zip(11..).zip([300, 200, 100]) {
        let [b4, b6] = OTHERS;
        let others = if *name == "s3" {
            String::new()
        } else {
            format!(", \"{b4}\", \"{b6}\"")
        };
        let member = format!(
            "interfaces = [\"eth0\"]\n[member]\naddresses = [\"{A4}\", \"{A6}\"{others}]\n\
             preference = {preference}\n"
        );
        topology = topology
            .host(name)
            .link("switch", &addresses(number))
            .hamp(format!("{node}{member}"));
    }
    topology
        .host("box")
        .cable(
            "s3",
            &["10.88.0.2/24", "fd88::2/64"],
            &["10.88.0.1/24", "fd88::1/64"],
        )
        .route("default", "10.88.0.1")
        .route("default", "fd88::1")
        .host("client")
        .link("switch", &addresses(100))
        .hamp(format!("{node}[client]\nenabled = true\n"))
        .host("stock")
        .link("switch", &addresses(101))
        // A host without hamp reaches the class because its administrator made it on-link.
        .route("198.18.0.0/16", "eth0")
        .route("2001:2:0:1546::/112", "eth0")
}

/// Makes a host forward for what is behind it, as one with containers does.
fn forward(host: &Host) -> Result<()> {
    host.sysctl("ipv4/ip_forward", "1")?;
    host.sysctl("ipv6/conf/all/forwarding", "1")?;
    let rules = ["ip saddr 10.88.0.0/24", "ip6 saddr fd88::/64"]
        .map(|behind| format!("{behind} oifname eth0 masquerade\n"))
        .concat();
    host.sh(&format!(
        "nft -f - <<'END'\ntable inet behind {{ chain out {{\n\
         type nat hook postrouting priority srcnat\n{rules}}}\n}}\nEND"
    ))
    .map(drop)
}

/// A directory per round, so that the second does not overwrite the first.
fn pcap_dir(options: &Options, hello: Duration) -> Result<Option<PathBuf>> {
    let Some(dir) = &options.pcap else {
        return Ok(None);
    };
    let dir = if options.quick {
        dir.clone()
    } else {
        dir.join(format!("hello-{}ms", hello.as_millis()))
    };
    std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
    Ok(Some(dir))
}
