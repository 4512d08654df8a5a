//! The story, once: build, disturb, recover, end.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::super::first_link::{A4, A6};
use super::super::services::{self, Servers};
use super::super::{Options, hands};
use super::network::{self, Daemon};
use super::{DEAD_HELLOS, MEMBERS, Teller, window};
use crate::capture::{Capture, Stamp};
use crate::lab::HAMP;
use crate::load::{Ended, Load, Service, Stream};
use crate::report::{self, Kind, Mark, Program, Request};
use crate::{Host, Lab, Process, wait};

/// Addresses that near and far serve for their site alone.
const SITE: [&str; 2] = ["198.18.0.2", "2001:2:0:1546::2"];
/// Streams of requests through the network: two services over two families, of client and of stock.
const STREAMS: usize = 8;
/// Time between two requests of a stream.
pub(super) const EVERY: Duration = Duration::from_millis(20);
/// What a member may serve on after it has left, less what a settled phase lasts at least.
const DRAINED: Duration = Duration::from_millis(700);
/// How long routers and routing daemons may take to agree, beyond five dead times.
const PATIENCE: Duration = Duration::from_secs(15);

/// A lab in which the story is played once.
pub(super) struct Round<'a> {
    options: &'a Options,
    hello: Duration,
    servers: BTreeMap<&'static str, Servers>,
    _daemons: Vec<Daemon>,
    ended: Ended,
    loads: Vec<Load>,
    capture: Option<Capture>,
    told: Told,
    // Last: everything above runs in its hosts.
    lab: Lab,
}

/// What a round leaves for the analysis.
#[derive(Default)]
pub(super) struct Told {
    pub(super) round: report::Round,
    pub(super) programs: Vec<Program>,
    /// Unicast addresses of the members.
    pub(super) unicast: Vec<IpAddr>,
    /// Those of hosts that know nothing of hamp.
    pub(super) stock: Vec<IpAddr>,
    /// Who is to answer in each phase, by its name.
    pub(super) expected: Vec<(String, &'static str)>,
    /// Where an address of a site was told that must not be, and where it was not that should.
    pub(super) site: Vec<String>,
    /// What kept the story from going on.
    pub(super) broke: Option<String>,
}

impl<'a> Round<'a> {
    /// Builds the lab and starts servers, hamp, routing daemons, capture and load.
    pub(super) fn build(options: &'a Options, hello: Duration, teller: &Teller) -> Result<Self> {
        let lab = Lab::new(&network::topology(hello.as_millis()))?;
        let file = options.pcap.as_ref().map(|dir| {
            let name = format!("hello-{}ms.pcapng", hello.as_millis());
            dir.join(if options.quick {
                "lab.pcapng".into()
            } else {
                name
            })
        });
        if let Some(dir) = &options.pcap {
            std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
        }
        let capture = Capture::all(&lab, file.as_deref())?;
        // NOTE(unwrap): our own constants are addresses.
        let anycast = [A4, A6].map(|address| address.parse().unwrap());
        let told = Told {
            round: report::Round {
                hello,
                dead: hello * DEAD_HELLOS,
                window: window(hello),
                anycast: anycast.into(),
                members: MEMBERS.map(String::from).into(),
                stock: ["stock", network::INSIDE].map(String::from).into(),
                ..report::Round::default()
            },
            ..Told::default()
        };
        if !crate::enter::is_mapped() {
            let members = MEMBERS.map(|name| lab.host(name));
            services::share_key(lab.host("client"), &members)?;
        }
        lab.start()?;
        let mut round = Self {
            options,
            hello,
            servers: BTreeMap::new(),
            _daemons: Vec::new(),
            ended: Ended::default(),
            loads: Vec::new(),
            capture: Some(capture),
            told,
            lab,
        };
        round.serve(&MEMBERS)?;
        for name in MEMBERS.into_iter().chain(["client", "east", "west"]) {
            round.answers_status(name)?;
        }
        round._daemons = network::start(&round.lab)?;
        teller.tell("hamp, nginx and named run on 3 members, hamp and BIRD or FRR on routers");
        for name in MEMBERS {
            let host = round.lab.host(name);
            let own = [host.address(false), host.address(true)];
            round.told.unicast.extend(own.into_iter().flatten());
        }
        for name in ["stock", network::INSIDE] {
            let host = round.lab.host(name);
            let own = [host.address(false), host.address(true)];
            round.told.stock.extend(own.into_iter().flatten());
        }
        for name in ["near", "far"] {
            for address in SITE {
                let join = ["hamp", "join", address, "--scope", "site", "--no-wait"];
                round.host(name).run(&join)?.ok()?;
            }
        }
        Ok(round)
    }

    /// The lab it is played in.
    pub(super) fn lab(&self) -> &Lab {
        &self.lab
    }

    fn host(&self, name: &str) -> &Host {
        self.lab.host(name)
    }

    /// Starts the servers of members and waits until they answer.
    fn serve(&mut self, members: &[&'static str]) -> Result<()> {
        for name in members {
            self.servers.remove(name);
            let started = Servers::start(self.lab.host(name))?;
            self.servers.insert(name, started);
        }
        for name in members {
            self.servers[name].ready(self.lab.host(name))?;
        }
        Ok(())
    }

    /// Waits until hamp on a host answers; the error carries the end of its log.
    fn answers_status(&self, name: &str) -> Result<()> {
        let host = self.host(name);
        let answer = || host.run(&["hamp", "status", "--json"])?.ok();
        wait::until_ok(&format!("hamp status on {name}"), PATIENCE, answer)
            .map(drop)
            .map_err(|error| {
                let log = host.read("/run/lab/log/hamp.log").unwrap_or_default();
                let from = log.lines().count().saturating_sub(8);
                let tail: Vec<_> = log.lines().skip(from).collect();
                error.context(format!("hamp on {name} says:\n{}", tail.join("\n")))
            })
    }

    fn limit(&self) -> Duration {
        self.hello * DEAD_HELLOS * 5 + PATIENCE
    }

    /// Waits until routes to both addresses are where they should be.
    fn routed(&self) -> Result<()> {
        let shows = |router: &str, address: &str, wanted: &str| -> Result<()> {
            let argv = ["ip", "route", "get", address];
            let said = self.host(router).run(&argv)?.ok()?;
            if said.contains(wanted) {
                return Ok(());
            }
            bail!("{router} routes {address} elsewhere: {}", said.trim_end())
        };
        wait::until_ok("routes through the network", self.limit(), || {
            wait::go_on()?;
            for address in [A4, A6] {
                // access to core, core to east, and hub, which hears of both sites, to west.
                for (router, interface) in [("access", "eth2"), ("core", "eth2"), ("hub", "eth1")] {
                    shows(router, address, &format!(" dev {interface} "))?;
                }
            }
            for back in ["10.0.1.1", "10.0.6.1", "fd00:0:0:1::1", "fd00:0:0:6::1"] {
                shows("east", back, " dev eth1 ")?;
                shows("west", back, " dev eth1 ")?;
            }
            Ok(())
        })
    }

    /// Addresses of a site are routed on its router, and nobody else has heard of them.
    fn site(&mut self) -> Result<()> {
        let metric = |router: &str, address: &str| -> Result<String> {
            let family = if address.contains(':') { "-6" } else { "-4" };
            let argv = ["ip", family, "route", "show", address];
            self.host(router).run(&argv)?.ok()
        };
        let routed = || -> Result<()> {
            for router in ["east", "west"] {
                for address in SITE {
                    let said = metric(router, address)?;
                    if !said.contains("metric 16") {
                        bail!("{address} on {router}: {said:?}");
                    }
                }
            }
            Ok(())
        };
        wait::until_ok("routes of a site", self.limit(), routed)?;
        let mut wrong = Vec::new();
        for router in ["core", "hub", "access"] {
            for address in SITE {
                let said = metric(router, address)?;
                if !said.trim().is_empty() {
                    wrong.push(format!("{router} has {}", said.trim_end()));
                }
            }
        }
        self.told.site = wrong;
        Ok(())
    }

    fn load(&mut self) -> Result<()> {
        let streams = |services: &[Service], offset: u64| -> Vec<Stream> {
            let mut streams = Vec::new();
            for service in services {
                for address in [A4, A6] {
                    // Streams do not march in step.
                    let offset = offset + 3 * streams.len() as u64;
                    streams.push(Stream {
                        service: *service,
                        // NOTE(unwrap): our own constants are addresses.
                        to: SocketAddr::new(address.parse().unwrap(), service.port()),
                        every: EVERY,
                        offset: Duration::from_millis(offset),
                    });
                }
            }
            streams
        };
        for (host, streams) in [
            ("client", streams(&[Service::Http, Service::Dns], 1)),
            ("stock", streams(&[Service::Dns, Service::Http], 15)),
            (network::INSIDE, streams(&[Service::Dns, Service::Http], 8)),
        ] {
            let load = Load::start(self.lab.host(host), streams, &self.ended)?;
            self.loads.push(load);
        }
        Ok(())
    }

    /// Plays the story.
    pub(super) fn play(&mut self, teller: &Teller) -> Result<Told> {
        if let Err(error) = self.story(teller) {
            wait::go_on()?;
            teller.tell(&format!("the story ends here: {error:#}"));
            self.told.broke = Some(format!("{error:#}"));
        }
        self.end_last();
        for load in self.loads.drain(..) {
            load.finish()?;
        }
        let capture = self.capture.take().context("no capture")?;
        self.told.round.captured = capture.finish()?;
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        self.told.round.requests = std::mem::take(&mut *ended);
        drop(ended);
        self.told.round.requests.sort_by_key(|request| request.sent);
        Ok(std::mem::take(&mut self.told))
    }

    fn story(&mut self, teller: &Teller) -> Result<()> {
        self.routed()?;
        teller.tell("BIRD and FRR have carried the routes to all routers");
        self.site()?;
        self.load()?;
        self.answered_by("near")?;
        self.begin(teller, "undisturbed", Kind::Quiet, None, "near")?;
        let quiet = if self.options.quick { 1500 } else { 5000 };
        self.options.stay(Duration::from_millis(quiet), || {})?;

        for (leaver, next) in [("near", "spare"), ("spare", "far")] {
            let name = format!("{leaver} leaves");
            self.begin(teller, &name, Kind::Orderly, Some(leaver), next)?;
            self.leave(leaver)?;
            self.settle(teller, next)?;
            // It serves on for a second, and is not to be its successor's successor.
            self.options.stay(DRAINED, || {})?;
        }
        let name = "near and spare return";
        self.begin(teller, name, Kind::Orderly, Some("near"), "near")?;
        // As after work on the hosts. hamp has the addresses on lo for half a second before it serves
        // them: named, which binds each address by itself, is late for a plain `hamp join`.
        let both = ["spare", "near"];
        for name in both {
            self.hamp(name, |hamp| hamp.signal(Signal::SIGTERM))?;
        }
        for name in both {
            self.hamp(name, |hamp| hamp.wait(PATIENCE).map(drop))?;
            self.lab.start_program(name, HAMP)?;
        }
        self.settle(teller, "near")?;

        for (victim, next) in [("near", "spare"), ("spare", "far")] {
            let name = format!("{victim} is killed");
            self.begin(teller, &name, Kind::Fault, Some(victim), next)?;
            self.lab.kill(victim)?;
            self.servers[victim].kill()?;
            let window = window(self.hello);
            self.options.stay(window, || {})?;
            self.settle(teller, next)?;
            // The window is what may be lost, whoever answers before it ends.
            if let Some(mark) = self.told.round.marks.last_mut() {
                mark.settled = mark.settled.max(mark.from.plus(window));
            }
        }
        self.begin(
            teller,
            "near and spare start",
            Kind::Orderly,
            Some("near"),
            "near",
        )?;
        self.serve(&["near", "spare"])?;
        for name in ["spare", "near"] {
            self.lab.start_host(name)?;
            self.answers_status(name)?;
        }
        self.settle(teller, "near")?;

        self.begin(teller, "programs", Kind::Quiet, None, "near")?;
        self.told.programs = services::programs(self.lab.host("client"));
        Ok(())
    }

    /// Does something to the hamp of a host.
    fn hamp(&self, name: &str, what: impl FnOnce(&Process) -> Result<()>) -> Result<()> {
        self.lab
            .program(name, HAMP, what)
            .context("hamp does not run")?
    }

    /// `hamp leave` on a member, for both addresses.
    fn leave(&self, name: &str) -> Result<()> {
        for address in [A4, A6] {
            let said = self
                .host(name)
                .run(&["hamp", "leave", address, "--force", "--no-wait"])?
                .ok();
            said.with_context(|| format!("hamp leave {address} on {name}"))?;
        }
        Ok(())
    }

    /// Ends the phase before and begins another; with `--step`, after a key.
    fn begin(
        &mut self,
        teller: &Teller,
        name: &str,
        kind: Kind,
        host: Option<&'static str>,
        expected: &'static str,
    ) -> Result<()> {
        if self.options.step && kind != Kind::Quiet {
            hands::step(name, &hands::look(self.host("core"), "ip route"))?;
        }
        self.end_last();
        teller.tell(&format!("* {name}"));
        let now = Stamp::now();
        self.told.expected.push((name.into(), expected));
        self.told.round.marks.push(Mark {
            name: name.into(),
            kind,
            host: host.map(Into::into),
            from: now,
            settled: now,
            to: now,
        });
        Ok(())
    }

    fn end_last(&mut self) {
        if let Some(mark) = self.told.round.marks.last_mut()
            && mark.to == mark.from
        {
            mark.to = Stamp::now();
        }
    }

    /// Waits until this member answers, notes when that was so, and stays a while.
    fn settle(&mut self, teller: &Teller, member: &str) -> Result<()> {
        self.answered_by(member)?;
        if let Some(mark) = self.told.round.marks.last_mut() {
            mark.settled = Stamp::now();
        }
        teller.tell(&format!("  {member} answers"));
        let stay = if self.options.quick { 200 } else { 1000 };
        self.options.stay(Duration::from_millis(stay), || {})
    }

    /// Waits until every stream has been answered by this member alone for a while.
    fn answered_by(&self, member: &str) -> Result<()> {
        let (begun, limit) = (Instant::now(), self.limit());
        loop {
            self.options.stay(Duration::from_millis(50), || {})?;
            let mut recent = self.recent(Duration::from_millis(200));
            recent.retain(|request| request.host != network::INSIDE);
            let mut streams = std::collections::BTreeSet::new();
            let all = recent.iter().all(|request| {
                streams.insert((&request.host, &request.service, request.family));
                request.outcome.as_deref() == Ok(member)
            });
            if all && streams.len() == STREAMS {
                return Ok(());
            }
            if begun.elapsed() > limit {
                let mut said: Vec<_> = recent
                    .iter()
                    .map(|r| {
                        let end = r.outcome.as_ref().unwrap_or_else(|error| error);
                        format!("{} {} v{} {end}", r.host, r.service, r.family)
                    })
                    .collect();
                said.sort();
                said.dedup();
                bail!(
                    "after {} ms {member} does not answer everybody: {}",
                    limit.as_millis(),
                    said.join("; ")
                );
            }
        }
    }

    /// Ended requests that were sent within this time.
    fn recent(&self, span: Duration) -> Vec<Request> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, span) = (Stamp::now(), span.as_secs_f64() * 1e3);
        // In the order of their ends: one that was sent lately ended lately.
        let lately = ended
            .iter()
            .rev()
            .take_while(|r| now.ms_since(r.done) <= span);
        lately
            .filter(|r| now.ms_since(r.sent) <= span)
            .cloned()
            .collect()
    }
}
