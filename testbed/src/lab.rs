//! A topology in kernel namespaces: hosts, wiring, programs, and the cable that is pulled.
//!
//! Building is fast because little is started and nothing waits for its turn: hosts start side by
//! side, all links are made by one `ip -batch`, and each host sets its addresses with one more, side
//! by side too. All hosts are told to end before the first one is waited for.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;
use nix::sys::signal::Signal;

use crate::host::{Host, Interface, PATH, Starting};
use crate::impair::Links;
use crate::process::{Process, collect};
use crate::topology::{End, Kind, Topology, Via};
use crate::wait;

/// Where a host that runs hamp has its configuration.
pub const HAMP_CONFIG: &str = "/run/lab/hamp.toml";
/// What hamp is called among the programs of a host.
pub const HAMP: &str = "hamp";

/// The index of the first cable's first end; those that the kernel gives by itself are smaller.
const FIRST_INDEX: usize = 10;
/// How many hosts are configured side by side.
const BATCHES: usize = 32;
/// How long one of them may take.
const BATCH_LIMIT: Duration = Duration::from_secs(10);
/// How long cables may take until they carry frames.
const CARRIER_LIMIT: Duration = Duration::from_secs(10);

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

    /// Makes links, addresses and routes.
    fn wire(&mut self) -> Result<()> {
        let Self {
            topology,
            hosts,
            links: impaired,
            took,
            ..
        } = self;
        let began = Instant::now();
        let mut links = String::new();
        let mut inner: Vec<String> = vec!["link set lo up\n".into(); hosts.len()];
        for (text, node) in inner.iter_mut().zip(&topology.nodes) {
            if node.kind == Kind::Switch {
                text.push_str("link add br0 type bridge forward_delay 0\nlink set br0 up\n");
            }
        }
        for (number, link) in topology.links.iter().enumerate() {
            let [a, b] = &link.ends;
            // The kernel looks at a change of carrier at once if the two ends have different
            // numbers, and within a second if they have the same.
            let index = FIRST_INDEX + 2 * number;
            let [at_a, at_b] = [(a, index), (b, index + 1)].map(|(end, index)| {
                let (mac, pid) = (mac_text(end.mac), hosts[end.node].pid());
                let name = &end.interface;
                format!("name {name} index {index} address {mac} netns {pid}")
            });
            // NOTE(unwrap): writing to a String cannot fail, here and below.
            match impaired.cable(topology, number)? {
                None => writeln!(links, "link add {at_a} type veth peer {at_b}").unwrap(),
                Some((netns, [inner_a, inner_b])) => write!(
                    links,
                    "link add {at_a} type veth peer name {inner_a} index {} netns {netns}\n\
                     link add {at_b} type veth peer name {inner_b} index {index} netns {netns}\n",
                    index + 1,
                )
                .unwrap(),
            }
            for (own, other) in [(a, b), (b, a)] {
                plug(&mut inner[own.node], topology.nodes[own.node].kind, own);
                let peer = topology.nodes[other.node].name.clone();
                hosts[own.node].interfaces.push(Interface {
                    name: own.interface.clone(),
                    peer,
                    port: other.interface.clone(),
                    mac: own.mac,
                    addresses: own.addresses.clone(),
                });
            }
        }
        for (text, node) in inner.iter_mut().zip(&topology.nodes) {
            for route in &node.routes {
                match &route.via {
                    Via::Gateway(via) => writeln!(text, "route add {} via {via}", route.to),
                    Via::Interface(dev) => writeln!(text, "route add {} dev {dev}", route.to),
                }
                .unwrap();
            }
        }
        ip(&links, None).context("make links")?;
        impaired.raise(topology)?;
        took.links = began.elapsed();
        for (host, node) in hosts.iter().zip(&topology.nodes) {
            if node.kind == Kind::Router {
                host.sysctl("ipv4/ip_forward", "1")?;
                host.sysctl("ipv6/conf/all/forwarding", "1")?;
            }
        }
        let all: Vec<_> = hosts.iter().zip(&inner).collect();
        all.chunks(BATCHES).try_for_each(configure)?;
        took.addresses = began.elapsed() - took.links;
        for host in hosts.iter() {
            let all: Vec<_> = host.interfaces.iter().map(|i| i.name.as_str()).collect();
            carries(host, &all)?;
        }
        took.carrier = began.elapsed() - took.links - took.addresses;
        Ok(())
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

/// Runs each host's lines in it, all side by side.
fn configure(hosts: &[(&Host, &String)]) -> Result<()> {
    let started: Vec<_> = hosts
        .iter()
        .map(|(host, text)| (host.name(), batch("ip", text, Some(host))))
        .collect();
    let end = |(name, started): (&str, Result<Child>)| {
        let ended = started.and_then(|child| collect("ip -batch", child, BATCH_LIMIT)?.ok());
        ended.with_context(|| name.to_owned()).map(drop)
    };
    // Every child is collected before the first error is returned: a host cannot end before.
    let ended: Vec<_> = started.into_iter().map(end).collect();
    ended.into_iter().collect()
}

/// Waits until interfaces of a host carry frames. The kernel tells a bridge of a port's carrier
/// from a queue of its own; a frame that comes before is lost, and the next ARP request is a second
/// away.
pub(crate) fn carries(host: &Host, interfaces: &[&str]) -> Result<()> {
    wait::until_ok(
        &format!("{} to carry frames", host.name()),
        CARRIER_LIMIT,
        || {
            let running = host.inside(running)??;
            match interfaces.iter().find(|name| !running.contains(**name)) {
                Some(down) => bail!("{down} has no carrier"),
                None => Ok(()),
            }
        },
    )
}

/// The interfaces of the calling thread's namespace that carry frames.
fn running() -> nix::Result<BTreeSet<String>> {
    let all = getifaddrs()?.filter(|i| i.flags.contains(InterfaceFlags::IFF_RUNNING));
    Ok(all.map(|i| i.interface_name).collect())
}

/// The lines that bring up one end of a cable.
fn plug(text: &mut String, kind: Kind, end: &End) {
    let name = &end.interface;
    if kind == Kind::Switch {
        writeln!(text, "link set dev {name} master br0 up").unwrap();
        return;
    }
    for address in &end.addresses {
        let nodad = if address.addr().is_ipv6() {
            " nodad"
        } else {
            ""
        };
        writeln!(text, "address add {address} dev {name}{nodad}").unwrap();
    }
    writeln!(text, "link set dev {name} up").unwrap();
}

/// A link-layer address as everybody writes it.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

/// Runs `ip -batch` with this text, in a host or in the calling thread's namespaces.
pub(crate) fn ip(text: &str, host: Option<&Host>) -> Result<()> {
    collect("ip -batch", batch("ip", text, host)?, BATCH_LIMIT)?.ok()?;
    Ok(())
}

/// The same with `tc`.
pub(crate) fn tc(text: &str, host: Option<&Host>) -> Result<()> {
    collect("tc -batch", batch("tc", text, host)?, BATCH_LIMIT)?.ok()?;
    Ok(())
}

/// Starts `ip` or `tc` with `-batch` and this text.
fn batch(program: &'static str, text: &str, host: Option<&Host>) -> Result<Child> {
    let mut command = Command::new(program);
    command
        .args(["-batch", "-"])
        .env("PATH", PATH)
        .stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = match host {
        Some(host) => host.inside(move || command.spawn())?,
        None => command.spawn(),
    };
    let mut child = child.with_context(|| format!("start {program} (package iproute2)"))?;
    if let Some(mut input) = child.stdin.take() {
        // Should it end before it has read everything, its status and its last words say why.
        let _ = input.write_all(text.as_bytes());
    }
    Ok(child)
}
