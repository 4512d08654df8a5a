//! A topology in kernel namespaces: hosts, programs, and the cable that is pulled.
//!
//! Building is fast because little is started and nothing waits for its turn: hosts start side by
//! side, all links are made by one `ip -batch`, and each host sets its addresses with one more, side
//! by side too. All hosts are told to end before the first one is waited for.
//!
//! File: `wire` links, addresses and routes.

mod wire;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use crate::host::{Host, Starting};
use crate::impair::Links;
use crate::process::Process;
use crate::topology::{Clock, Topology};

pub(crate) use wire::{carries, ip, tc};

/// Where a host that runs hamp has its configuration.
pub const HAMP_CONFIG: &str = "/run/lab/hamp.toml";
/// What hamp is called among the programs of a host.
pub const HAMP: &str = "hamp";

/// A running lab. Dropping it ends all hosts.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    pub(crate) links: Links,
    programs: Mutex<Vec<Running>>,
    took: Took,
    // Last: the programs run in them.
    hosts: Vec<Host>,
}

/// What the time to build a lab went on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// The first processes of all hosts.
    pub hosts: Duration,
    /// The cables.
    pub links: Duration,
    /// Bridges, addresses, routes, and bringing interfaces up.
    pub addresses: Duration,
    /// Waiting until all cables carry.
    pub carrier: Duration,
}

/// A program of the topology.
#[derive(Debug)]
struct Running {
    host: String,
    name: String,
    process: Process,
}

impl Lab {
    /// Builds `topology`: hosts, links, addresses and routes. Nothing runs in it before
    /// [`Lab::start`].
    ///
    /// # Errors
    /// The topology cannot be built, [`enter`](crate::enter()) was not called, or this machine
    /// refuses something; the message names the host and the remedy.
    pub fn new(topology: &Topology) -> Result<Self> {
        topology
            .check()
            .with_context(|| format!("topology {}", topology.name))?;
        if let Some(node) = topology.nodes.iter().find(|n| n.clock != Clock::default()) {
            bail!(
                "{} has a clock of its own: only the simulator has such clocks, all hosts of a lab \
                 have the machine's",
                node.name
            );
        }
        crate::enter::must_be_entered()?;
        let began = Instant::now();
        let starting: Vec<_> = topology
            .nodes
            .iter()
            .map(|node| Starting::begin(&node.name))
            .collect::<Result<_>>()?;
        // All are waited for, also when one fails: what started is ended before this returns.
        let started: Vec<_> = starting.into_iter().map(Starting::finish).collect();
        let hosts = started.into_iter().collect::<Result<_>>()?;
        let mut lab = Self {
            topology: topology.clone(),
            links: Links::default(),
            programs: Mutex::default(),
            took: Took {
                hosts: began.elapsed(),
                ..Took::default()
            },
            hosts,
        };
        lab.wire()?;
        lab.impair_all()?;
        Ok(lab)
    }

    /// What it was built from.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// What the time to build it went on.
    pub fn took(&self) -> Took {
        self.took
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.topology.name
    }

    /// All hosts, routers and switches, in the order they were described.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A host or switch by its name.
    ///
    /// # Panics
    /// If the lab has none of that name: the caller described the lab itself. [`Lab::find`] does
    /// not panic.
    pub fn host(&self, name: &str) -> &Host {
        // NOTE(unwrap): the names come from the same program that described the lab.
        self.find(name)
            .unwrap_or_else(|| panic!("lab {} has no host {name}", self.topology.name))
    }

    /// A host or switch by its name, if there is one.
    pub fn find(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|h| h.name() == name)
    }

    /// Pulls the cable of a host's interface at its other end (false) or plugs it in again (true):
    /// the host sees no carrier.
    pub fn carrier(&self, host: &str, interface: &str, up: bool) -> Result<()> {
        if self.pull(host, interface, up)? {
            return Ok(());
        }
        let end = self.host(host).interface(interface)?;
        let state = if up { "up" } else { "down" };
        self.host(&end.peer)
            .run(&["ip", "link", "set", "dev", &end.port, state])?
            .ok()?;
        Ok(())
    }

    /// Starts what the topology says runs in it: hamp first, then the programs. A program that runs
    /// already is left alone.
    ///
    /// # Errors
    /// A program cannot be started; that it ends later is no error.
    pub fn start(&self) -> Result<()> {
        let mut nodes = self.topology.nodes.iter();
        nodes.try_for_each(|node| self.start_host(&node.name))
    }

    /// As [`Lab::start`], of one host.
    ///
    /// # Errors
    /// Likewise, or there is no such host.
    pub fn start_host(&self, host: &str) -> Result<()> {
        let node = self.topology.node(host)?;
        let hamp = node.hamp.as_ref().map(|_| HAMP);
        let programs = node.programs.iter().map(|program| program.name.as_str());
        let mut all = hamp.into_iter().chain(programs);
        all.try_for_each(|name| self.start_program(host, name))
    }

    /// Ends what [`Lab::start`] has started on a host, all at once and unasked (`kill -9`).
    ///
    /// # Errors
    /// A process cannot be killed.
    pub fn kill(&self, host: &str) -> Result<()> {
        let programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let here = programs.iter().filter(|running| running.host == host);
        let alive: Vec<_> = here.filter(|r| r.process.exited().is_none()).collect();
        // None waits for the end of another.
        for running in &alive {
            running.process.signal(Signal::SIGKILL)?;
        }
        for running in &alive {
            running.process.kill()?;
        }
        Ok(())
    }

    /// Starts one program of a host, [`HAMP`] among them, unless it runs.
    ///
    /// # Errors
    /// The topology has no such program there, or it cannot be started.
    pub fn start_program(&self, host: &str, name: &str) -> Result<()> {
        if self.program(host, name, |process| process.exited().is_none()) == Some(true) {
            return Ok(());
        }
        let index = self.topology.position(host).context("no such host")?;
        let command = match self.topology.hamp_config(index)? {
            Some(text) if name == HAMP => {
                self.host(host).write(HAMP_CONFIG, &text)?;
                ["hamp", "run", "--config", HAMP_CONFIG]
                    .map(Into::into)
                    .into()
            }
            _ => {
                let programs = &self.topology.nodes[index].programs;
                let found = programs.iter().find(|program| program.name == name);
                let found = found.with_context(|| format!("{host} has no program {name:?}"))?;
                found.command.clone()
            }
        };
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        // A dropped handle kills what is left of the one before.
        programs.retain(|running| running.host != host || running.name != name);
        programs.push(Running {
            host: host.into(),
            name: name.into(),
            process: self.host(host).spawn(name, &command)?,
        });
        Ok(())
    }

    /// Looks at a program that [`Lab::start`] has started; `None` if it has not.
    pub fn program<T>(
        &self,
        host: &str,
        name: &str,
        look: impl FnOnce(&Process) -> T,
    ) -> Option<T> {
        let programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = programs.iter();
        let found = all.find(|running| running.host == host && running.name == name);
        found.map(|running| look(&running.process))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        let programs = self.programs.get_mut();
        programs.unwrap_or_else(PoisonError::into_inner).clear();
        for host in &mut self.hosts {
            host.end();
        }
    }
}
/// A link-layer address as everybody writes it.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}
