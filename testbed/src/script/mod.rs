//! A scenario as data, played in kernel namespaces or in virtual time.
//!
//! A [`Script`] is a network, clients that keep asking, and what happens when. [`Script::play`]
//! plays it in either [`World`] and returns the same record from both: what happened, how each
//! request ended, and every frame. What is judged and drawn is this record, so nothing that judges
//! knows which world it came from.
//!
//! Time in a script counts from the moment at which all hosts that run hamp agree on who owns what.
//!
//! Files: `play` the order of things, `kernel` and `simulated` the two worlds, `agree` waiting until
//! hosts agree, `audience` who follows a script, [`events`] a record in words, [`compare`] the same
//! script in both worlds.

pub(crate) mod agree;
mod audience;
pub mod compare;
pub mod events;
mod kernel;
mod play;
mod simulated;

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::load::{Service, Stream};
use crate::report::Kind;
use crate::{Impairment, Topology};

pub use audience::Audience;

/// A scenario.
#[derive(Clone, Debug)]
pub struct Script {
    /// Where it is played; its hosts run hamp and programs as the topology says.
    pub topology: Topology,
    /// The anycast addresses that it is about.
    pub anycast: Vec<IpAddr>,
    /// Who asks.
    pub clients: Vec<Client>,
    /// What happens, in order.
    pub steps: Vec<Step>,
    /// When it is over.
    pub length: Duration,
}

/// A host that keeps asking.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its name.
    pub host: String,
    /// What it asks.
    pub stream: Stream,
}

/// Something that happens.
#[derive(Clone, Debug)]
pub struct Step {
    /// When.
    pub at: Duration,
    /// What it is called.
    pub name: String,
    /// What it may cost.
    pub kind: Kind,
    /// What is done.
    pub actions: Vec<Action>,
}

/// Something that is done to a host or to the network.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The host serves an address from now on.
    Join(String, IpAddr),
    /// The host serves an address no longer.
    Leave(String, IpAddr),
    /// Hamp and the programs of a host end at once, unasked.
    Kill(String),
    /// Hamp alone ends at once, unasked; the programs go on.
    KillHamp(String),
    /// What was killed is started again.
    Start(String),
    /// Hamp stops where it is.
    Freeze(String),
    /// Hamp goes on where it was.
    Thaw(String),
    /// A cable is pulled: host and interface.
    Unplug(String, String),
    /// A cable is plugged in again.
    Plug(String, String),
    /// The host forgets the link-layer addresses it has learned.
    Forget(String),
    /// What happens from now on to frames to and from a host's interface; its carrier stays.
    Impair {
        /// The host.
        host: String,
        /// Its interface.
        interface: String,
        /// What happens to frames that are sent to it.
        to_host: Impairment,
        /// What happens to frames that it sends.
        from_host: Impairment,
    },
    /// These hosts and all others do not hear one another any more.
    Partition(Vec<String>),
    /// Everybody hears everybody again.
    Heal,
}

impl Action {
    /// The host it happens to, if it is one.
    pub fn host(&self) -> Option<&str> {
        match self {
            Self::Join(host, _)
            | Self::Leave(host, _)
            | Self::Kill(host)
            | Self::KillHamp(host)
            | Self::Start(host)
            | Self::Freeze(host)
            | Self::Thaw(host)
            | Self::Unplug(host, _)
            | Self::Plug(host, _)
            | Self::Forget(host)
            | Self::Impair { host, .. } => Some(host),
            Self::Partition(hosts) => hosts.first().map(String::as_str),
            Self::Heal => None,
        }
    }
}

/// Where a script is played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum World {
    /// In network namespaces, by the kernel and by real programs.
    #[default]
    Kernel,
    /// In virtual time, with this seed.
    Virtual(u64),
}

impl World {
    /// `kernel` or `virtual time`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::Virtual(_) => "virtual time",
        }
    }
}

/// How a script is played.
#[derive(Clone, Debug, Default)]
pub struct Manner {
    /// Where the frames of kernel labs go, besides into the record.
    pub pcap: Option<PathBuf>,
}

impl Script {
    /// Nothing happens in `topology`, for no time.
    #[must_use]
    pub fn new(topology: Topology) -> Self {
        Self {
            topology,
            anycast: Vec::new(),
            clients: Vec::new(),
            steps: Vec::new(),
            length: Duration::ZERO,
        }
    }

    /// A host asks this service at this address every `every_ms` milliseconds.
    #[must_use]
    pub fn asks(mut self, host: &str, address: IpAddr, service: Service, every_ms: u64) -> Self {
        if !self.anycast.contains(&address) {
            self.anycast.push(address);
        }
        // Streams do not march in step.
        let offset = Duration::from_millis(3 + 7 * self.clients.len() as u64);
        self.clients.push(Client {
            host: host.into(),
            stream: Stream {
                service,
                to: SocketAddr::new(address, service.port()),
                every: Duration::from_millis(every_ms),
                offset,
            },
        });
        self
    }

    /// Something happens at this time.
    #[must_use]
    pub fn at(mut self, ms: u64, name: &str, kind: Kind, actions: Vec<Action>) -> Self {
        self.steps.push(Step {
            at: Duration::from_millis(ms),
            name: name.into(),
            kind,
            actions,
        });
        self
    }

    /// It is over at this time.
    #[must_use]
    pub fn until(mut self, ms: u64) -> Self {
        self.length = Duration::from_millis(ms);
        self
    }

    /// Whether it can be played.
    ///
    /// # Errors
    /// The topology cannot be built, a step or client names a host that is not there, or steps are
    /// not in order.
    pub fn check(&self) -> Result<()> {
        self.topology.check()?;
        for client in &self.clients {
            self.topology.node(&client.host)?;
        }
        let mut before = Duration::ZERO;
        for step in &self.steps {
            ensure!(step.at >= before, "{:?} is out of order", step.name);
            ensure!(step.at < self.length, "{:?} comes after the end", step.name);
            before = step.at;
            for action in &step.actions {
                if let Some(host) = action.host() {
                    self.topology
                        .node(host)
                        .with_context(|| step.name.clone())?;
                }
                match action {
                    Action::Unplug(host, interface)
                    | Action::Plug(host, interface)
                    | Action::Impair {
                        host, interface, ..
                    } => {
                        self.topology.plug(host, interface)?;
                    }
                    Action::Partition(hosts) => {
                        for host in hosts {
                            self.topology.node(host)?;
                        }
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// The longest hello interval and dead time of the hosts that run hamp.
    pub fn timing(&self) -> Result<(Duration, Duration)> {
        agree::timing(&self.topology)
    }
}
