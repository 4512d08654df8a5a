//! The story, once: build, disturb, recover, end.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::inject;
use super::load::{Ended, Load, Request, Service, Stream};
use super::services::{self, Servers};
use super::view::View;
use super::{A4, A6, DEAD_HELLOS, Kind, MEMBERS, Mark, look, window};
use crate::capture::{Capture, Captured, Stamp};
use crate::report::Program;
use crate::scenario::Options;
use crate::{Host, Lab, Process, wait};

/// A lab in which the story is played once.
pub(super) struct Round<'a> {
    options: &'a Options,
    hello: Duration,
    members: Vec<Member>,
    client: Option<Process>,
    forgets: Option<Process>,
    ended: Ended,
    loads: Vec<Load>,
    capture: Option<Capture>,
    told: Told,
    /// Of the frozen member, before it froze.
    epoch: serde_json::Value,
    // Last: everything above runs in its hosts.
    lab: Lab,
}

struct Member {
    name: &'static str,
    servers: Option<Servers>,
    daemon: Option<Process>,
}

/// What a round leaves for the analysis.
#[derive(Default)]
pub(super) struct Told {
    pub(super) hello: Duration,
    pub(super) marks: Vec<Mark>,
    pub(super) requests: Vec<Request>,
    pub(super) captured: Captured,
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
}

impl<'a> Round<'a> {
    /// Builds the lab and starts servers, daemons, capture and load.
    pub(super) fn build(options: &'a Options, hello: Duration) -> Result<Self> {
        let mut builder = Lab::builder("first-link").switch("switch");
        for (host, number) in MEMBERS
            .iter()
            .zip(11..)
            .chain([(&"client", 100), (&"stock", 101)])
        {
            let addresses = [
                format!("10.15.46.{number}/24"),
                format!("fd15:46::{number}/64"),
            ];
            let addresses = [addresses[0].as_str(), addresses[1].as_str()];
            builder = builder.host(host).link("switch", &addresses);
        }
        let lab = builder.build()?;
        let files = pcap_dir(options, hello)?;
        let capture = Capture::start(&lab, "switch", files.as_deref())?;
        let members = MEMBERS.map(|name| Member {
            name,
            servers: None,
            daemon: None,
        });
        let told = Told {
            hello,
            ..Told::default()
        };
        let mut round = Self {
            options,
            hello,
            members: members.into(),
            client: None,
            forgets: None,
            ended: Ended::default(),
            loads: Vec::new(),
            capture: Some(capture),
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
        for member in &mut self.members {
            member.servers = Some(Servers::start(self.lab.host(member.name))?);
        }
        for member in &self.members {
            let host = self.lab.host(member.name);
            member.servers.as_ref().map_or(Ok(()), |s| s.ready(host))?;
            let own = [host.address(false), host.address(true)];
            self.told.unicast.extend(own.into_iter().flatten());
        }
        Ok(())
    }

    fn daemons(&mut self) -> Result<()> {
        let hello = self.hello.as_millis();
        for (index, name) in MEMBERS.iter().enumerate() {
            // Distinct preferences, so that both addresses have the same owner and each fault hits
            // both families.
            let preference = 300 - 100 * index;
            self.lab.host(name).write(
                CONFIG,
                &format!(
                    "[node]\nname = \"{name}\"\nhello_ms = {hello}\ndead_hellos = {DEAD_HELLOS}\n\
                     interfaces = [\"eth0\"]\n\n[member]\naddresses = [\"{A4}\", \"{A6}\"]\n\
                     preference = {preference}\n"
                ),
            )?;
            self.start_daemon(index)?;
        }
        self.lab.host("client").write(
            CONFIG,
            &format!(
                "[node]\nname = \"client\"\nhello_ms = {hello}\ndead_hellos = {DEAD_HELLOS}\n\
                 interfaces = [\"eth0\"]\n\n[client]\nenabled = true\n"
            ),
        )?;
        self.start_client()?;
        for name in MEMBERS.iter().chain(&["client"]) {
            self.answers_status(name)?;
        }
        // A host without hamp reaches the class because its administrator made it on-link.
        self.lab.host("stock").sh(
            "ip route add 198.18.0.0/16 dev eth0; ip -6 route add 2001:2:0:1546::/112 dev eth0",
        )?;
        Ok(())
    }

    fn load(&mut self) -> Result<()> {
        let ms = Duration::from_millis;
        let to = |service: Service| {
            let port = if service == Service::Http { 80 } else { 53 };
            // NOTE(unwrap): our own constants are addresses.
            [A4, A6].map(|a| std::net::SocketAddr::new(a.parse().unwrap(), port))
        };
        let streams = |service, every: u64, offset: u64| {
            to(service)
                .into_iter()
                .zip([0, every / 2])
                .map(move |(to, more)| Stream {
                    service,
                    to,
                    every: ms(every),
                    offset: ms(offset + more),
                })
        };
        let client = streams(Service::Http, 20, 3)
            .chain(streams(Service::Dns, 50, 7))
            .collect();
        let stock = streams(Service::Dns, 50, 17).collect();
        self.loads.push(Load::start(
            self.lab.host("client"),
            "client",
            client,
            &self.ended,
        )?);
        self.loads.push(Load::start(
            self.lab.host("stock"),
            "stock",
            stock,
            &self.ended,
        )?);
        // Members count a host's questions: two less than 1.5 s apart are a first one and its
        // retry, which the next rank answers too. A host that really forgets asks less often than
        // that.
        let forget = format!(
            "while sleep 2; do echo neigh del {A4} dev eth0; echo neigh del {A6} dev eth0; done \
             | ip -force -batch - 2>/dev/null"
        );
        self.forgets = Some(
            self.lab
                .host("stock")
                .spawn("forgets", &["sh", "-c", &forget])?,
        );
        Ok(())
    }

    fn start_daemon(&mut self, index: usize) -> Result<()> {
        let member = &mut self.members[index];
        // A dropped handle kills what is left of the one before.
        member.daemon = None;
        let host = self.lab.host(member.name);
        member.daemon = Some(host.spawn("hamp", &["hamp", "run", "--config", CONFIG])?);
        Ok(())
    }

    fn start_client(&mut self) -> Result<()> {
        self.client = None;
        let host = self.lab.host("client");
        self.client = Some(host.spawn("hamp", &["hamp", "run", "--config", CONFIG])?);
        Ok(())
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

    /// Plays the story.
    pub(super) fn play(&mut self, view: &mut View, last: bool) -> Result<Told> {
        if let Err(error) = self.story(view, last) {
            wait::go_on()?;
            view.log(&format!("the story ends here: {error:#}"));
            self.told.broke = Some(format!("{error:#}"));
            self.end_last();
        }
        self.finish(view)
    }

    fn story(&mut self, view: &mut View, last: bool) -> Result<()> {
        let settle = self.window().max(Duration::from_millis(400));
        self.settle(view, "start", MEMBERS.len(), &["client"])?;
        self.begin(view, "undisturbed", Kind::Quiet, None)?;
        self.stay(view, self.either(1500, 5000))?;
        self.quiet_tail();

        self.leave(view, settle)?;
        self.fault(
            view,
            "kill daemon+servers",
            settle,
            Self::kill_all,
            Self::restart_all,
        )?;
        self.fault(
            view,
            "kill daemon",
            settle,
            Self::kill_daemon,
            Self::restart_daemon,
        )?;
        self.fault(view, "freeze daemon", settle, Self::freeze, Self::thaw)?;
        self.fault(view, "pull cable", settle, Self::unplug, Self::plug)?;

        self.begin(view, "programs", Kind::Quiet, None)?;
        // NOTE(unwrap): our own constants are addresses.
        let anycast = [A4, A6].map(|a| a.parse().unwrap());
        inject::send(self.lab.host("stock"), anycast)?;
        self.told.programs = services::programs(self.lab.host("client"));
        self.tick(view);
        self.quiet_tail();
        self.client_restart(view, settle)?;
        if last && !self.options.quick {
            self.entries(view)?;
        }
        Ok(())
    }

    /// Ends load and capture and hands over what they saw; the servers and daemons stay.
    fn finish(&mut self, view: &mut View) -> Result<Told> {
        self.forgets = None;
        for load in self.loads.drain(..) {
            load.finish()?;
        }
        self.tick(view);
        let capture = self.capture.take().context("no capture")?;
        self.told.captured = capture.finish()?;
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        self.told.requests = std::mem::take(&mut *ended);
        drop(ended);
        self.told.requests.sort_by_key(|r| r.sent);
        Ok(std::mem::take(&mut self.told))
    }

    // ===== the events =====

    fn leave(&mut self, view: &mut View, settle: Duration) -> Result<()> {
        let owner = self.owner_index()?;
        let name = MEMBERS[owner];
        self.begin(view, &format!("leave {name}"), Kind::Orderly, Some(name))?;
        view.state(name, "left");
        self.tell(name, "leave")?;
        let other = self.settle(view, "takeover", MEMBERS.len() - 1, &["client"])?;
        if other == owner {
            bail!("{name} has left and still answers");
        }
        self.settled_now();
        self.stay(view, settle)?;
        self.begin(view, &format!("join {name}"), Kind::Orderly, Some(name))?;
        self.tell(name, "join")?;
        self.recovered(view, name, settle)
    }

    /// `hamp leave` or `hamp join` on a member, for both addresses.
    fn tell(&self, name: &str, verb: &str) -> Result<()> {
        for address in [A4, A6] {
            let said = self.lab.host(name).run(&["hamp", verb, address])?.ok();
            said.with_context(|| format!("hamp {verb} {address} on {name}"))?;
        }
        Ok(())
    }

    fn fault(
        &mut self,
        view: &mut View,
        what: &str,
        settle: Duration,
        strike: fn(&mut Self, usize) -> Result<()>,
        repair: fn(&mut Self, usize) -> Result<&'static str>,
    ) -> Result<()> {
        let owner = self.owner_index()?;
        let name = MEMBERS[owner];
        // Asked before, so that nothing comes between the stamp and the fault.
        self.epoch = self.epoch_of(owner)?;
        self.begin(view, &format!("{what} {name}"), Kind::Fault, Some(name))?;
        strike(self, owner)?;
        view.state(name, what);
        let window = self.window();
        if let Some(mark) = self.told.marks.last_mut() {
            mark.settled = mark.from.plus(window);
        }
        self.stay(view, window + settle)?;
        self.begin(view, &format!("after: {what}"), Kind::Orderly, Some(name))?;
        let done = repair(self, owner)?;
        view.log(&format!("{name}: {done}"));
        self.recovered(view, name, settle)?;
        if what.starts_with("freeze") {
            let (before, now) = (self.epoch.take(), self.epoch_of(owner)?);
            let new = !now.is_null() && before != now;
            self.told
                .rejoined
                .push((new, format!("epoch {before} before, {now} after")));
        }
        Ok(())
    }

    fn kill_all(&mut self, index: usize) -> Result<()> {
        let member = &self.members[index];
        member
            .daemon
            .as_ref()
            .context("no daemon")?
            .signal(Signal::SIGKILL)?;
        member.servers.as_ref().context("no servers")?.kill()
    }

    fn restart_all(&mut self, index: usize) -> Result<&'static str> {
        let member = &mut self.members[index];
        let host = self.lab.host(member.name);
        member.servers = None;
        let servers = Servers::start(host)?;
        servers.ready(host)?;
        member.servers = Some(servers);
        self.start_daemon(index)?;
        Ok("servers and daemon started again")
    }

    fn kill_daemon(&mut self, index: usize) -> Result<()> {
        self.members[index]
            .daemon
            .as_ref()
            .context("no daemon")?
            .signal(Signal::SIGKILL)
    }

    fn restart_daemon(&mut self, index: usize) -> Result<&'static str> {
        self.start_daemon(index)?;
        Ok("daemon started again")
    }

    fn freeze(&mut self, index: usize) -> Result<()> {
        self.members[index]
            .daemon
            .as_ref()
            .context("no daemon")?
            .freeze()
    }

    fn thaw(&mut self, index: usize) -> Result<&'static str> {
        self.members[index]
            .daemon
            .as_ref()
            .context("no daemon")?
            .thaw()?;
        Ok("daemon wakes up")
    }

    /// The epoch of a member on its link, which a member that joins as new changes.
    fn epoch_of(&self, index: usize) -> Result<serde_json::Value> {
        let argv = ["hamp", "status", "--json"];
        let status = self.lab.host(MEMBERS[index]).run(&argv)?.ok()?;
        let status: serde_json::Value = serde_json::from_str(&status)?;
        Ok(status["links"][0]["epoch"].clone())
    }

    fn unplug(&mut self, index: usize) -> Result<()> {
        self.lab.carrier(MEMBERS[index], "eth0", false)
    }

    fn plug(&mut self, index: usize) -> Result<&'static str> {
        self.lab.carrier(MEMBERS[index], "eth0", true)?;
        Ok("cable plugged in again")
    }

    /// Kills the client's daemon under load and with open connections, and starts it again.
    fn client_restart(&mut self, view: &mut View, settle: Duration) -> Result<()> {
        let failures = Arc::new(Mutex::new((0, Vec::new())));
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let holders: Vec<_> = [A4, A6]
            .iter()
            .map(|address| {
                let (failures, stop) = (Arc::clone(&failures), Arc::clone(&stop));
                let body = move || super::load::hold_open(address, &stop, &failures);
                self.lab.host("client").thread("open", body)
            })
            .collect::<Result<_>>()?;
        let count = || failures.lock().unwrap_or_else(PoisonError::into_inner).0;
        wait::until(
            "answers on open connections",
            Duration::from_secs(5),
            || (count() >= 4).then_some(()),
        )?;
        self.begin(view, "kill client's daemon", Kind::Orderly, None)?;
        self.client
            .as_ref()
            .context("no daemon")?
            .signal(Signal::SIGKILL)?;
        self.settled_now();
        self.stay(view, settle)?;
        self.begin(view, "restart client's daemon", Kind::Orderly, None)?;
        self.start_client()?;
        self.answers_status("client")?;
        view.state("client", "back");
        self.settled_now();
        self.stay(view, settle)?;
        self.quiet_tail();
        stop.store(true, std::sync::atomic::Ordering::Release);
        for holder in holders {
            let _ = holder.join();
        }
        let seen = std::mem::take(&mut *failures.lock().unwrap_or_else(PoisonError::into_inner));
        self.told.established = Some(seen);
        Ok(())
    }

    /// Kills the client's daemon, then the member, and waits for the client's kernel to let go of
    /// its entries.
    fn entries(&mut self, view: &mut View) -> Result<()> {
        let owner = self.owner_index()?;
        let mac = self.lab.host(MEMBERS[owner]).interfaces()[0].mac;
        let mac = crate::lab::mac_text(mac);
        self.client
            .as_ref()
            .context("no daemon")?
            .signal(Signal::SIGKILL)?;
        // The traffic of this phase is lost for as long as the kernel takes: it is measured by its
        // entries alone.
        self.end_last();
        view.log(&format!(
            "kill client's daemon, then {}: how long do its entries live?",
            MEMBERS[owner]
        ));
        self.lab.carrier(MEMBERS[owner], "eth0", false)?;
        let (at, start) = (Stamp::now(), Instant::now());
        let limit = Duration::from_secs(70);
        for (family, address) in [(4, A4), (6, A6)] {
            loop {
                wait::go_on()?;
                let show = ["ip", "neigh", "show", "to", address, "dev", "eth0"];
                let entry = self.lab.host("client").run(&show)?.ok()?;
                if !entry.contains(&mac) || start.elapsed() > limit {
                    break;
                }
                self.options.stay(Duration::from_millis(100), || {})?;
            }
            self.told.entries.push((family, Stamp::now().ms_since(at)));
        }
        self.lab.carrier(MEMBERS[owner], "eth0", true)?;
        self.start_client()?;
        self.answers_status("client")
    }

    // ===== the clockwork =====

    fn window(&self) -> Duration {
        window(self.hello)
    }

    fn either(&self, quick_ms: u64, full_ms: u64) -> Duration {
        Duration::from_millis(if self.options.quick {
            quick_ms
        } else {
            full_ms
        })
    }

    /// Ends the phase before and begins another; with `--step`, after a key.
    fn begin(
        &mut self,
        view: &mut View,
        name: &str,
        kind: Kind,
        host: Option<&'static str>,
    ) -> Result<()> {
        if self.options.step && kind != Kind::Quiet {
            let at = host.unwrap_or("client");
            let look = look(self.lab.host(at), "hamp status");
            view.step(name, &look)?;
        }
        self.end_last();
        let now = Stamp::now();
        view.event(name, now);
        self.told.marks.push(Mark {
            name: name.into(),
            kind,
            host,
            from: now,
            settled: now,
            to: now,
        });
        Ok(())
    }

    fn end_last(&mut self) {
        if let Some(mark) = self.told.marks.last_mut()
            && mark.to == mark.from
        {
            mark.to = Stamp::now();
        }
    }

    fn settled_now(&mut self) {
        if let Some(mark) = self.told.marks.last_mut() {
            mark.settled = Stamp::now();
        }
    }

    /// Ends a phase whose last requests are answered when the next one begins.
    fn quiet_tail(&mut self) {
        self.end_last();
    }

    fn stay(&mut self, view: &mut View, time: Duration) -> Result<()> {
        let options = self.options;
        options.stay(time, || self.tick(view))
    }

    fn tick(&self, view: &mut View) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        view.tick(&ended, &self.told.marks, self.window());
    }

    /// Waits until the member is back and known, and one member answers; then stays for a while.
    fn recovered(&mut self, view: &mut View, name: &'static str, settle: Duration) -> Result<()> {
        view.state(name, "back");
        self.answers_status(name)?;
        self.settle(view, "recovery", MEMBERS.len(), &["client", name])?;
        self.settled_now();
        self.stay(view, settle)
    }

    /// Waits until these hosts know so many members, none of them leaving, and for a while each
    /// host has been answered by one member only; which one the client's is.
    fn settle(&mut self, view: &mut View, what: &str, live: usize, eyes: &[&str]) -> Result<usize> {
        let limit = self.hello * DEAD_HELLOS * 5 + Duration::from_secs(10);
        let start = Instant::now();
        loop {
            self.stay(view, Duration::from_millis(50))?;
            let answers = self.single_owner(self.span());
            if let Some(member) = answers
                && self.seen_by(eyes, live)?.is_some()
            {
                return Ok(member);
            }
            if start.elapsed() > limit {
                bail!(
                    "{what}: after {} ms {live} members are not known or no single one answers; {}",
                    limit.as_millis(),
                    self.recent()
                );
            }
        }
    }

    /// Waits until all daemons know all members and agree on one owner of both addresses.
    fn agree(&self) -> Result<()> {
        let limit = self.hello * DEAD_HELLOS * 5 + Duration::from_secs(10);
        let eyes: Vec<&str> = MEMBERS.into_iter().chain(["client"]).collect();
        wait::until_ok("all daemons to agree on an owner", limit, || {
            wait::go_on()?;
            self.seen_by(&eyes, MEMBERS.len())?.context("they do not")
        })
        .map(drop)
    }

    /// The owner of both addresses, if these hosts agree on it and see so many members of each,
    /// none of them leaving.
    fn seen_by(&self, eyes: &[&str], live: usize) -> Result<Option<usize>> {
        let mut owner = None;
        for host in eyes {
            let document = self
                .lab
                .host(host)
                .run(&["hamp", "members", "--json"])?
                .ok()?;
            let document: serde_json::Value = serde_json::from_str(&document)?;
            for address in [A4, A6] {
                let prefixes = document["links"][0]["prefixes"].as_array();
                let ours = |p: &&serde_json::Value| {
                    p["prefix"].as_str().and_then(|p| p.split('/').next()) == Some(address)
                };
                let Some(prefix) = prefixes.and_then(|all| all.iter().find(ours)) else {
                    return Ok(None);
                };
                let ranks = prefix["ranks"].as_array().map_or(&[][..], Vec::as_slice);
                let stays = |rank: &&serde_json::Value| rank["draining"] == false;
                let index = MEMBERS.iter().position(|m| {
                    let mac = self.lab.host(m).interfaces()[0].mac;
                    prefix["owner_mac"] == crate::lab::mac_text(mac)
                });
                if ranks.iter().filter(stays).count() != live
                    || index.is_none()
                    || (owner.is_some() && owner != index)
                {
                    return Ok(None);
                }
                owner = index;
            }
        }
        Ok(owner)
    }

    /// How long everything must have been answered by one member.
    fn span(&self) -> Duration {
        self.window().max(Duration::from_millis(300))
    }

    /// Ended requests that were sent within the last [`Self::span`].
    fn recent_requests(&self, span: Duration) -> Vec<Request> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Stamp::now();
        // In the order of their ends: one that was sent lately ended lately.
        let lately = ended
            .iter()
            .rev()
            .take_while(|r| now.ms_since(r.done) <= span.as_secs_f64() * 1e3);
        lately
            .filter(|r| now.ms_since(r.sent) <= span.as_secs_f64() * 1e3)
            .cloned()
            .collect()
    }

    /// The member that has answered the client over IPv4 for this long, if every host has had one
    /// member per family.
    fn single_owner(&self, span: Duration) -> Option<usize> {
        let recent = self.recent_requests(span);
        let mut members = std::collections::BTreeMap::new();
        let mut streams = std::collections::BTreeSet::new();
        for request in &recent {
            let member = request.outcome.as_ref().ok()?;
            if *members
                .entry((request.host, request.family))
                .or_insert(member)
                != member
            {
                return None;
            }
            streams.insert((request.host, request.service, request.family));
        }
        // Four streams of the client, two of the stock host.
        let member = *members.get(&("client", 4))?;
        (streams.len() == 6)
            .then(|| MEMBERS.iter().position(|m| m == member))
            .flatten()
    }

    /// What has happened lately, for an error.
    fn recent(&self) -> String {
        let mut counts = std::collections::BTreeMap::new();
        for r in self.recent_requests(self.span()) {
            let end = r.outcome.unwrap_or_else(|e| e);
            *counts
                .entry((r.host, r.service.name(), r.family, end))
                .or_insert(0) += 1;
        }
        let text =
            |((host, service, family, end), n)| format!("{host} {service} v{family} {end}: {n}");
        counts.into_iter().map(text).collect::<Vec<_>>().join("; ")
    }

    /// The member that the client has now.
    fn owner_index(&self) -> Result<usize> {
        let recent = self.recent_requests(self.span().max(self.hello));
        let last = recent.iter().find(|r| r.host == "client" && r.family == 4);
        last.and_then(|r| MEMBERS.iter().position(|m| r.outcome.as_deref() == Ok(*m)))
            .with_context(|| format!("nobody answers the client: {}", self.recent()))
    }
}

/// Where hosts have their daemon's configuration.
const CONFIG: &str = "/run/lab/hamp.toml";

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
