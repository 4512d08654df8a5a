//! A script in network namespaces: real daemons, real servers, the kernel's time.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use super::play::Stage;
use super::{Action, Manner, Script};
use crate::capture::{Capture, Captured, Stamp};
use crate::lab::HAMP;
use crate::load::{Ended, Load, Stream};
use crate::report::Request;
use crate::{Lab, Process, wait};

/// How long hosts may take to agree, beyond five dead times.
const PATIENCE: Duration = Duration::from_secs(10);

/// The lab that a script is played in.
pub(super) struct Kernel {
    clients: Vec<(String, Vec<Stream>)>,
    loads: Vec<Load>,
    ended: Ended,
    capture: Capture,
    dead: Duration,
    // Last: everything above runs in its hosts.
    lab: Lab,
}

impl Kernel {
    pub(super) fn new(script: &Script, manner: &Manner) -> Result<Self> {
        let lab = Lab::new(&script.topology)?;
        let file = manner.pcap.as_ref().map(|dir| dir.join("lab.pcapng"));
        let capture = Capture::all(&lab, file.as_deref())?;
        let mut clients: Vec<(String, Vec<Stream>)> = Vec::new();
        for client in &script.clients {
            let stream = client.stream.clone();
            match clients.iter_mut().find(|(host, _)| *host == client.host) {
                Some((_, streams)) => streams.push(stream),
                None => clients.push((client.host.clone(), vec![stream])),
            }
        }
        Ok(Self {
            clients,
            loads: Vec::new(),
            ended: Ended::default(),
            capture,
            dead: script.timing()?.1,
            lab,
        })
    }

    /// Something that the hamp of a host is told by `hamp VERB ADDRESS`.
    fn tell(&self, host: &str, verb: &str, address: &str) -> Result<()> {
        // A script has a time for everything: it waits for nothing, and takes down what it likes.
        let force: &[&str] = if verb == "leave" { &["--force"] } else { &[] };
        let told = [&["hamp", verb, address, "--no-wait"], force].concat();
        self.lab.host(host).run(&told)?.ok()?;
        Ok(())
    }

    fn hamp(&self, host: &str, what: impl FnOnce(&Process) -> Result<()>) -> Result<()> {
        let done = self.lab.program(host, HAMP, what);
        done.with_context(|| format!("{host} does not run hamp"))?
    }
}

impl Stage for Kernel {
    fn now(&self) -> Stamp {
        Stamp::now()
    }

    fn begin(&mut self) -> Result<()> {
        self.lab.start()?;
        self.lab.agree(self.dead * 5 + PATIENCE)?;
        for (host, streams) in &self.clients {
            let load = Load::start(self.lab.host(host), streams.clone(), &self.ended)?;
            self.loads.push(load);
        }
        Ok(())
    }

    fn run_until(&mut self, at: Stamp) -> Result<()> {
        loop {
            wait::go_on()?;
            let Some(left) = at.since(Stamp::now()) else {
                return Ok(());
            };
            std::thread::sleep(left.min(Duration::from_millis(20)));
        }
    }

    fn act(&mut self, action: &Action) -> Result<()> {
        match action {
            Action::Join(host, address) => self.tell(host, "join", &address.to_string()),
            Action::Leave(host, address) => self.tell(host, "leave", &address.to_string()),
            Action::Kill(host) => self.lab.kill(host),
            Action::KillHamp(host) => self.hamp(host, |hamp| hamp.signal(Signal::SIGKILL)),
            Action::Start(host) => self.lab.start_host(host),
            Action::Freeze(host) => self.hamp(host, Process::freeze),
            Action::Thaw(host) => self.hamp(host, Process::thaw),
            Action::Unplug(host, interface) => self.lab.carrier(host, interface, false),
            Action::Plug(host, interface) => self.lab.carrier(host, interface, true),
            Action::Forget(host) => {
                let host = self.lab.host(host);
                // Each family once: an entry that is flushed twice is asked for twice.
                host.sh("ip -4 neigh flush all; ip -6 neigh flush all")
                    .map(drop)
            }
            Action::Impair {
                host,
                interface,
                to_host,
                from_host,
            } => self.lab.impair(host, interface, *to_host, *from_host),
            Action::Partition(hosts) => self.lab.partition(hosts),
            Action::Heal => self.lab.heal(),
        }
    }

    fn ended(&self, from: usize) -> Vec<Request> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.get(from..).unwrap_or_default().to_vec()
    }

    fn finish(&mut self) -> Result<()> {
        self.loads.drain(..).try_for_each(Load::finish)
    }

    fn lab(&self) -> Option<&Lab> {
        Some(&self.lab)
    }

    fn end(self: Box<Self>) -> Result<(Vec<Request>, Captured)> {
        let captured = self.capture.finish()?;
        let ended = Arc::clone(&self.ended);
        let mut ended = ended.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((std::mem::take(&mut *ended), captured))
    }
}
