//! `hamp run`: the loop that drives a node.

mod answer;
mod serving;
mod start;
mod trust;

pub use start::host_name;
pub use trust::load as read_trust;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IsTerminal};
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::pin;

use futures_util::FutureExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::config::Config;
use super::control::{self, Call, Listener};
use super::kernel::remote::Remote;
use super::kernel::{Frame, Kernel, RENEW};
use super::trust::Keyring;
use super::{Failure, clock, exit, host, log, notify};
use crate::addr::Prefix;
use crate::linux::checks;
use crate::linux::netlink::Changes;
use crate::linux::place::Place;
use crate::linux::state::StateDir;
use crate::linux::sysctl;
use crate::node::{Event, Node, Router};
use crate::proto::trust::Mode;
use crate::time::{Duration, Instant};

/// Frames that are handled in one turn of the loop at most.
const BURST: usize = 64;
/// Frames that may wait for the node before a tap stops reading and the kernel drops them.
const FRAMES: usize = 256;
/// Requests that may wait.
const CALLS: usize = 16;

/// What the command line adds to the configuration.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Control socket instead of the configured one.
    pub control: Option<String>,
    /// Logs as JSON lines.
    pub log_json: bool,
}

/// Runs a daemon until it is told to stop. Errors: what is missing, or what failed on the way;
/// `exit::INTERRUPTED` as an error after an interrupt from the terminal.
pub fn run(file: &Path, options: &Options) -> Result<(), Failure> {
    let config = Config::load(file)?;
    log::start(&config.node.log, options.log_json)?;
    checks::all()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("runtime", &error))?;
    let keyring = trust::load(file, &config)?;
    runtime.block_on(drive(file, config, &keyring, options))
}

async fn drive(
    file: &Path,
    config: Config,
    keyring: &Keyring,
    options: &Options,
) -> Result<(), Failure> {
    let mut dir = StateDir::open(config.node.state.as_deref()).unwrap_or_else(|error| {
        tracing::warn!(
            %error,
            "no state directory: what this daemon changes is not put back after a crash; \
             set HAMP_STATE to a directory of yours"
        );
        StateDir::in_memory()
    });
    let control = options
        .control
        .clone()
        .unwrap_or_else(|| config.node.control.clone());
    // Both are held until the end of this function, or of this process.
    let lock = dir
        .lock()
        .map_err(|error| Failure::io("state directory", &error))?;
    let running = || control::running(dir.state.control.as_deref());
    let _lock = lock.ok_or_else(running)?;
    let place = Place::take(&dir).map_err(|error| Failure::io("the daemon's place", &error))?;
    let place = place.ok_or_else(running)?;
    if let Some(stranger) = &place.stranger {
        tracing::warn!("the name @hamp-daemon is held by {stranger}, which is no hamp daemon");
    }
    let fit = host::check(file, &config, &dir.state.prefixes).await;
    let fit = fit.inspect_err(|_| dir.remove_if_empty())?;
    for warning in fit.warnings {
        tracing::warn!("{warning}");
    }
    let (calls, called) = mpsc::channel(CALLS);
    let group = config.group(file)?;
    let listener = Listener::start(&control, place.usual(&dir), group, calls)?;
    dir.state.control = Some(listener.name().to_owned());
    let (frames, seen) = mpsc::channel(FRAMES);
    let now = clock::now();
    let node = start::node(now, &config, keyring, dir.state.drained.is_some())?;
    let kernel = Kernel::start(&config, dir, frames).await?;
    let mut daemon = Daemon {
        file: file.to_owned(),
        config,
        node,
        kernel,
        control: listener.name().to_owned(),
        started: now,
        stopping: None,
        renew_at: now,
        warned_ms: 0,
        kept: BTreeMap::new(),
    };
    // Whatever ends this, also a panic, nothing of ours stays behind.
    let running = async {
        daemon.kernel.adopt(now, &daemon.config).await?;
        let inputs = Inputs::new(&daemon.config, &daemon.kernel, seen, called)?;
        daemon.run(inputs).await
    };
    let ended = AssertUnwindSafe(running).catch_unwind().await;
    notify::send("STOPPING=1");
    let ended = ended.unwrap_or_else(|_| Err(Failure::new(exit::FAILED, "the daemon panicked")));
    let stopped = daemon.kernel.stop().await;
    ended.and(stopped)
}

/// What wakes the loop.
struct Inputs {
    frames: mpsc::Receiver<Frame>,
    calls: mpsc::Receiver<Call>,
    changes: Changes,
    remote: Remote,
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Inputs {
    fn new(
        config: &Config,
        kernel: &Kernel,
        frames: mpsc::Receiver<Frame>,
        calls: mpsc::Receiver<Call>,
    ) -> Result<Self, Failure> {
        let failed = |error| Failure::io("signals", &error);
        let changes = Changes::subscribe(kernel.netlink());
        let proxy = config.router().is_some_and(|router| router.proxy);
        let remote = if proxy {
            Remote::watch(config.class())?
        } else {
            Remote::none()
        };
        Ok(Self {
            frames,
            calls,
            changes: changes.map_err(|error| Failure::io("netlink", &error))?,
            remote,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            hangup: signal(SignalKind::hangup()).map_err(failed)?,
        })
    }
}

/// The end of a daemon, once it has begun.
#[derive(Debug, Clone, Copy)]
struct Stopping {
    /// Stop anyway, even if the node still has something to say.
    by: Instant,
    interrupted: bool,
}

/// A node and the machine it runs on.
pub(super) struct Daemon {
    file: PathBuf,
    pub(super) config: Config,
    pub(super) node: Node,
    pub(super) kernel: Kernel,
    pub(super) control: String,
    pub(super) started: Instant,
    stopping: Option<Stopping>,
    renew_at: Instant,
    /// When people were last told that the certificate ends, in milliseconds since 1970.
    warned_ms: u64,
    /// What was to be left last and is served on, and why.
    pub(super) kept: BTreeMap<Prefix, &'static str>,
}

impl Daemon {
    async fn run(&mut self, mut inputs: Inputs) -> Result<(), Failure> {
        self.follow_links().await?;
        let addresses: Vec<Prefix> = self.wanted().into_keys().collect();
        self.kernel.hold(clock::now(), &addresses).await?;
        for name in self.kernel.absent() {
            tracing::warn!(interface = name, "no such interface yet");
        }
        if self.config.router().is_some() {
            for (family, path) in sysctl::FORWARDING {
                if !sysctl::is_on(path) {
                    let remedy = format!("sysctl -w {}=1", path.replace('/', "."));
                    tracing::warn!(family, remedy, "this router's kernel forwards nothing");
                }
            }
        }
        tracing::info!(
            name = self.node.config().name,
            control = self.control,
            member = self.config.member.is_some(),
            client = self.config.is_client(),
            "ready"
        );
        if self.is_drained() {
            tracing::warn!("this host is drained and serves nothing: hamp undrain");
        }
        notify::send("READY=1");
        self.renew_at = clock::now();
        loop {
            self.drain(clock::now()).await?;
            let now = clock::now();
            if let Some(stopping) = self.stopping
                && (self.node.is_idle() || stopping.by <= now)
            {
                let interrupted = Failure::new(exit::INTERRUPTED, "interrupted");
                return if stopping.interrupted {
                    Err(interrupted)
                } else {
                    Ok(())
                };
            }
            let due = [
                Some(self.renew_at),
                self.node.poll_timeout(),
                self.stopping.map(|s| s.by),
            ];
            let due = due.into_iter().flatten().min().unwrap_or(now);
            let sleep = pin!(tokio::time::sleep(due.saturating_duration_since(now)));
            // In this order: what is due comes before what others say, and stopping before all.
            let input = tokio::select! {
                biased;
                _ = inputs.terminate.recv() => Input::Stop { interrupted: false },
                // The terminal that it was started from is gone; without one, a wish to read its
                // files again.
                _ = inputs.hangup.recv() => if io::stderr().is_terminal() {
                    Input::Stop { interrupted: false }
                } else {
                    Input::Reload
                },
                _ = inputs.interrupt.recv() => Input::Stop { interrupted: true },
                () = sleep => Input::Due,
                change = inputs.changes.next() => Input::Links(change),
                prefixes = inputs.remote.next() => Input::Remote(prefixes),
                Some(frame) = inputs.frames.recv() => Input::Frame(frame),
                Some(call) = inputs.calls.recv() => Input::Call(call),
            };
            let woke = clock::now();
            // What was due already while this was busy is no pause.
            let overslept = woke.saturating_duration_since(due.max(now));
            let input = match input {
                Input::Frame(_) if overslept > self.config.dead() => Input::Due,
                input => input,
            };
            if let Input::Links(Some(())) = input {
                // One look around is the answer to all that has changed by now.
                while let Some(Some(())) = inputs.changes.next().now_or_never() {}
            }
            if overslept > self.config.dead() {
                self.forget_the_pause(&mut inputs, overslept);
                self.node.handle_timeout(woke);
            }
            self.handle(woke, input).await?;
            // Frames come in bursts; the rest of one is read without another look around.
            for _ in 1..BURST {
                let Ok(frame) = inputs.frames.try_recv() else {
                    break;
                };
                self.handle(woke, Input::Frame(frame)).await?;
            }
            if self.renew_at <= woke {
                self.renew_at = woke + RENEW;
                self.keep_time(woke);
                if self.kernel.is_to_relink(woke) {
                    self.follow_links().await?;
                }
                self.look_around(woke, false).await;
                let renewed = self.kernel.renew(woke).await;
                retried("not renewed", renewed);
            }
        }
    }

    async fn handle(&mut self, now: Instant, input: Input) -> Result<(), Failure> {
        match input {
            Input::Due => self.node.handle_timeout(now),
            Input::Frame(Frame {
                link,
                bytes,
                outgoing,
            }) => {
                self.node.handle_frame(now, link, &bytes, outgoing);
            }
            Input::Links(Some(())) => {
                let followed = self.follow_links().await;
                retried("links not followed", followed);
            }
            Input::Links(None) => {
                return Err(Failure::new(exit::FAILED, "the netlink connection broke"));
            }
            Input::Remote(prefixes) => {
                tracing::debug!(prefixes = prefixes.len(), "routes of others");
                self.node.set_remote(prefixes);
            }
            Input::Reload => {
                if let Err(failure) = self.reload(now) {
                    tracing::error!(%failure, "not reloaded: everything stays as it was");
                }
            }
            Input::Call(call) => {
                let later = self.answer(now, call.request, call.asker).await;
                tokio::spawn(async move {
                    let answer = later
                        .await
                        .unwrap_or_else(|failure| control::refusal(&failure));
                    // An asker that went away wants no answer.
                    let _ = call.answer.send(answer);
                });
            }
            Input::Stop { interrupted } => match &mut self.stopping {
                Some(stopping) => stopping.by = now,
                None => {
                    tracing::info!("leaving");
                    let patience = self.config.dead() * 2 + Duration::from_secs(5);
                    self.stopping = Some(Stopping {
                        by: now + patience,
                        interrupted,
                    });
                    self.node.shutdown(now);
                }
            },
        }
        Ok(())
    }

    /// This process did not run for a while: what waits is old, and the leases have ended.
    fn forget_the_pause(&self, inputs: &mut Inputs, overslept: Duration) {
        let mut frames = self.kernel.discard();
        while inputs.frames.try_recv().is_ok() {
            frames += 1;
        }
        let paused_ms = u64::try_from(overslept.as_millis()).unwrap_or(u64::MAX);
        tracing::warn!(
            paused_ms,
            frames,
            "paused: what came meanwhile is forgotten"
        );
    }

    async fn follow_links(&mut self) -> Result<(), Failure> {
        let changes = self.kernel.relink().await?;
        if let Some(class) = self.kernel.other_class() {
            self.node.set_class(clock::now(), class);
        }
        for (link, state) in changes {
            match &state {
                Some(state) => tracing::info!(
                    link = self.kernel.name(link),
                    ipv4 = state.ipv4.map(tracing::field::display),
                    ipv6 = state.ipv6.map(tracing::field::display),
                    "link up"
                ),
                None => tracing::info!(link = self.kernel.name(link), "link down"),
            }
            let routed = self.kernel.routes_on(self.kernel.name(link));
            self.node.set_routed(link, routed);
            if self.kernel.has(link) {
                self.node.handle_link(clock::now(), link, state);
            } else {
                self.node.remove_link(clock::now(), link);
            }
        }
        self.look_around(clock::now(), true).await;
        Ok(())
    }

    /// Tells the node whose addresses are on each link, as far as the kernel knows.
    async fn look_around(&mut self, now: Instant, at_once: bool) {
        if self.kernel.look_around(now, at_once).await || at_once {
            for (link, around) in self.kernel.surroundings() {
                self.node.handle_surroundings(now, link, around);
            }
        }
    }

    /// Tells the kernel all routes again: their next hops' neighbour entries are to be others.
    fn tell_routes(&mut self) {
        let routes = self.node.router().into_iter().flat_map(Router::routes);
        for route in routes {
            self.kernel.route(&route);
        }
    }

    /// Events first: a gate opens before the world is told that it is open.
    async fn drain(&mut self, now: Instant) -> Result<(), Failure> {
        if self
            .kernel
            .set_verified(self.node.trust().mode() == Mode::Enforce)?
        {
            self.tell_routes();
        }
        retried("not held", self.keep(now).await);
        while let Some(event) = self.node.poll_event() {
            self.tell(&event);
            if let Event::Owner { link, prefix, .. } = event
                && let Some(on_link) = self.node.link(link)
            {
                self.kernel.serve_elsewhere(on_link, link, prefix);
            }
            let applied = self.kernel.apply(now, &event).await;
            retried("the kernel did not take it", applied);
        }
        for (id, link) in self.node.links() {
            self.kernel.follow_class(id, link);
        }
        self.kernel.commit_verified()?;
        self.kernel.close_gates()?;
        self.kernel.commit_routes();
        while let Some(transmit) = self.node.poll_transmit() {
            self.kernel.send(&transmit);
        }
        Ok(())
    }
}

/// What the kernel refuses while the daemon runs is tried again: with the next renewal, or when it is
/// found missing.
fn retried(what: &str, done: Result<(), Failure>) {
    if let Err(failure) = done {
        tracing::warn!(%failure, "{what}: tried again");
    }
}

enum Input {
    Stop { interrupted: bool },
    Reload,
    Links(Option<()>),
    Remote(BTreeSet<Prefix>),
    Due,
    Frame(Frame),
    Call(Call),
}
