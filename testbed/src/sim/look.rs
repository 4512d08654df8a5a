//! What can be seen of a simulation.

use std::hash::Hasher;
use std::net::IpAddr;

use anyhow::{Context, Result, bail};
use hamp::node::Node;

use super::digest::Digest;
use super::host::Host;
use super::machine::Machine;
use super::tape::Tape;
use super::{Device, Happened, Sim};
use crate::capture::Captured;
use crate::report::Request;

/// How much happened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Frames that hosts sent.
    pub frames: u64,
    /// Frames that hosts got.
    pub deliveries: u64,
    /// Events of hamp on all hosts.
    pub events: u64,
}

impl Sim {
    /// The name of the node with this index in the topology.
    ///
    /// # Panics
    /// The topology has fewer nodes.
    pub fn name(&self, node: usize) -> &str {
        &self.topology.nodes[node].name
    }

    /// The index of a node in the topology.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn position(&self, name: &str) -> Result<usize> {
        let found = self.nodes.get(name).copied();
        found.with_context(|| format!("there is no host {name:?}"))
    }

    /// hamp on a host; `None` while it does not run.
    ///
    /// # Errors
    /// There is no such host.
    pub fn node(&self, host: &str) -> Result<Option<&Node>> {
        let machine = self.host(self.position(host)?)?.machine.as_ref();
        Ok(machine.map(Machine::node))
    }

    /// Whether hamp runs on a host and is not frozen.
    ///
    /// # Errors
    /// There is no such host.
    pub fn acts(&self, host: &str) -> Result<bool> {
        Ok(self.host(self.position(host)?)?.acts())
    }

    /// The hosts that act, are plugged in and take themselves for the owner of `address` on one of
    /// their links; in the order of the topology.
    ///
    /// # Errors
    /// `address` is none.
    pub fn owners(&self, address: &str) -> Result<Vec<&str>> {
        let address: IpAddr = address
            .parse()
            .with_context(|| format!("{address:?} is no address"))?;
        let owns = |node: &Node| {
            node.links().any(|(_, link)| {
                let first = link.ranks(address).first().copied();
                link.state().is_some() && first.is_some_and(|first| first.own)
            })
        };
        let hosts = self.devices.iter().filter_map(|device| match device {
            Device::Host(host) if host.acts() => Some((host, host.machine.as_ref()?.node())),
            _ => None,
        });
        let owning = hosts.filter(|(_, node)| owns(node));
        Ok(owning.map(|(host, _)| host.name()).collect())
    }

    /// The one host that takes itself for the owner of `address`; `None` if that is nobody or more
    /// than one.
    ///
    /// # Errors
    /// `address` is none.
    pub fn owner(&self, address: &str) -> Result<Option<&str>> {
        Ok(match self.owners(address)?[..] {
            [one] => Some(one),
            _ => None,
        })
    }

    /// What hamp told its hosts so far, in the order it happened.
    pub fn events(&self) -> &[Happened] {
        self.events.as_deref().unwrap_or_default()
    }

    /// Keeps no events from now on: millions of leases take a lot of memory. The digest goes on
    /// counting them.
    pub fn forget_events(&mut self) {
        self.events = None;
    }

    /// The requests of clients that have ended so far, in the order of their ends.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Records every frame that a host sends or gets from now on.
    pub fn record(&mut self) {
        if self.tape.is_none() {
            self.tape = Some(Tape::new(self));
        }
    }

    /// The frames recorded so far, as a capture in the hosts would have them: a frame that is lost
    /// on its way was sent, and was not received. Time begins at zero.
    pub fn frames(&self) -> Option<&Captured> {
        self.tape.as_ref().map(Tape::captured)
    }

    /// How much happened so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// A hash over every frame sent and delivered and every event, with the time of each: two
    /// simulations with one digest went the same way.
    pub fn digest(&self) -> u64 {
        let mut whole = Digest::default();
        for part in &self.parts {
            whole.write_u64(part.digest.finish());
        }
        whole.finish()
    }

    pub(super) fn host(&self, node: usize) -> Result<&Host> {
        match &self.devices[node] {
            Device::Host(host) => Ok(host),
            Device::Switch(_) => bail!("{} is a switch", self.name(node)),
        }
    }

    /// The port that an interface of a host or switch is.
    pub(super) fn port(&self, node: &str, interface: &str) -> Result<usize> {
        let key = (self.position(node)?, interface.to_owned());
        let found = self.interfaces.get(&key).copied();
        found.with_context(|| format!("{node} has no interface {interface:?}"))
    }
}
