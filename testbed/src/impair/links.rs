//! Impaired links of kernel labs: how they are wired, and changed while they run.
//!
//! A switch's port of an impaired link leaves the bridge; an inner veth pair takes its place there,
//! and the relay passes frames between the two. So a link can become impaired at any time, and its
//! host sees no carrier lost. A cable between two hosts that is impaired from the start consists of
//! two pairs that meet in a namespace of the lab's own. A link without impairment is what it was
//! before: one veth pair.
//!
//! Files: `open` puts something in the way of a link's frames.

mod open;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result, ensure};

use super::Impairment;
use super::netem::{self, Means};
use super::relay::{Barred, Passed, Relay};
use crate::lab::{self, Lab};
use crate::topology::{End, Kind, Link, Topology};

/// The impaired links of a lab.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Started with the first link that needs it.
    relay: OnceLock<Relay>,
    state: Mutex<State>,
    /// Held by whoever opens links.
    opening: Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    /// Those that are not plain, by their number in the topology.
    open: BTreeMap<usize, Open>,
    /// Handles that netem has been given so far.
    handles: u16,
    /// Which of the parts of a partition each node is in; all in one if empty.
    groups: Vec<u32>,
}

/// A link whose frames can be impaired.
#[derive(Clone, Copy, Debug)]
struct Open {
    means: Means,
    /// The relay's number for it.
    line: usize,
}

impl Links {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn relay(&self) -> Result<&Relay> {
        if let Some(relay) = self.relay.get() {
            return Ok(relay);
        }
        let started = Relay::start()?;
        Ok(self.relay.get_or_init(|| started))
    }

    /// For an impaired cable between two hosts, where `ip` shall put the inner ends, and what they
    /// are called.
    pub(crate) fn cable(
        &self,
        topology: &Topology,
        index: usize,
    ) -> Result<Option<(String, [String; 2])>> {
        let link = &topology.links[index];
        let plain = link.ends.iter().all(|end| end.sends.is_none());
        if plain || switch_end(topology, link).is_some() {
            return Ok(None);
        }
        Ok(Some((self.relay()?.path(), inner_ends(index))))
    }

    /// Brings up the inner ends of all impaired cables between hosts, which have been made: the
    /// hosts see a carrier.
    pub(crate) fn raise(&self, topology: &Topology) -> Result<()> {
        let mut text = String::new();
        for index in 0..topology.links.len() {
            for end in self
                .cable(topology, index)?
                .iter()
                .flat_map(|(_, inner)| inner)
            {
                // NOTE(unwrap): writing to a String cannot fail, here and below. Inner ends may
                // not speak for themselves: no link-local address, so no neighbour discovery.
                write!(
                    text,
                    "link set dev {end} addrgenmode none\nlink set dev {end} up\n"
                )
                .unwrap();
            }
        }
        if text.is_empty() {
            return Ok(());
        }
        self.relay()?.inside(move || lab::ip(&text, None))
    }
}

/// What the inner ends of a cable between two hosts are called. No node has a name with this
/// letter.
fn inner_ends(index: usize) -> [String; 2] {
    [format!("a~{index}"), format!("b~{index}")]
}

/// The end of a link that is a switch's port: what is opened for a relay.
fn switch_end(topology: &Topology, link: &Link) -> Option<usize> {
    let is_switch = |end: &End| topology.nodes[end.node].kind == Kind::Switch;
    link.ends.iter().position(is_switch)
}

impl Lab {
    /// Impairs from the start what the topology says.
    pub(crate) fn impair_all(&self) -> Result<()> {
        let sends = |link: &Link| link.ends.each_ref().map(|end| end.sends);
        let links = self.topology().links.iter().map(sends).enumerate();
        let bad = links.filter(|(_, sends)| sends.iter().any(|one| !one.is_none()));
        let bad: BTreeMap<usize, [Impairment; 2]> = bad.collect();
        self.open(&bad.keys().copied().collect::<Vec<_>>())?;
        let mut all = bad.into_iter();
        all.try_for_each(|(index, sends)| self.set_link(index, sends))
    }

    /// Changes what happens to frames of a link from now on: those sent *to* the host at this
    /// interface, and those sent *from* it, both from one moment on. Frames under way arrive as
    /// they would have. The host's carrier stays; a link that becomes impaired for the first time
    /// loses the frames of a few milliseconds.
    ///
    /// # Errors
    /// There is no such host or interface; an impairment is out of range; or it is a cable between
    /// two hosts that the topology did not impair: such a cable is one veth pair, which cannot be
    /// opened.
    pub fn impair(
        &self,
        host: &str,
        interface: &str,
        to_host: Impairment,
        from_host: Impairment,
    ) -> Result<()> {
        let (index, end) = self.topology().plug(host, interface)?;
        let mut sends = [to_host; 2];
        sends[end] = from_host;
        self.set_link(index, sends)
    }

    /// What became of the frames of a relayed link: those to the host at this interface, and those
    /// from it. `None` on a plain link, and with netem.
    ///
    /// # Errors
    /// There is no such host or interface.
    pub fn passed(&self, host: &str, interface: &str) -> Result<Option<[Passed; 2]>> {
        let (index, end) = self.topology().plug(host, interface)?;
        let open = self.links.state().open.get(&index).copied();
        let Some(open) = open.filter(|open| open.means == Means::Relay) else {
            return Ok(None);
        };
        let passed = self.links.relay()?.count(open.line)?;
        Ok(Some([passed[1 - end], passed[end]]))
    }

    /// Parts `side` from all others of their present part: no frame of one host arrives at a host
    /// of another part, and no carrier goes down. Parts can be parted again.
    ///
    /// # Errors
    /// There is no such host, or frames between the parts pass a cable that cannot be impaired
    /// ([`Lab::impair`]).
    pub fn partition(&self, side: &[impl AsRef<str>]) -> Result<()> {
        let topology = self.topology();
        let nodes = side.iter().map(|name| {
            let found = topology.position(name.as_ref());
            found.with_context(|| format!("{} has no host {:?}", topology.name, name.as_ref()))
        });
        let nodes: Vec<usize> = nodes.collect::<Result<_>>()?;
        let mut groups = self.links.state().groups.clone();
        groups.resize(topology.nodes.len(), 0);
        let next = groups.iter().max().map_or(0, |last| last + 1);
        for node in nodes {
            groups[node] = next;
        }
        self.group(groups)
    }

    /// Ends all partitions.
    ///
    /// # Errors
    /// The lab has ended.
    pub fn heal(&self) -> Result<()> {
        self.group(Vec::new())
    }

    /// Pulls an impaired cable between two hosts at its inner end, or plugs it in; false if it is
    /// no such cable.
    pub(crate) fn pull(&self, host: &str, interface: &str, up: bool) -> Result<bool> {
        let (index, end) = self.topology().plug(host, interface)?;
        if self.links.cable(self.topology(), index)?.is_none() {
            return Ok(false);
        }
        let state = if up { "up" } else { "down" };
        let text = format!("link set dev {} {state}\n", inner_ends(index)[end]);
        self.links.relay()?.inside(move || lab::ip(&text, None))?;
        Ok(true)
    }

    fn group(&self, groups: Vec<u32>) -> Result<()> {
        let topology = self.topology();
        let group = |node: usize| groups.get(node).copied().unwrap_or(0);
        // A switch sends no frames of its own.
        let speaks = |end: &&End| topology.nodes[end.node].kind != Kind::Switch;
        let all: Vec<&End> = topology.links.iter().flat_map(|link| &link.ends).collect();
        let barred_at = |own: &End| -> Barred {
            let others = all.iter().copied().filter(speaks);
            let others = others.filter(|other| group(other.node) != group(own.node));
            others.map(|other| other.mac).collect()
        };
        let barred: Vec<[Barred; 2]> = topology
            .links
            .iter()
            .map(|link| {
                // Between two hosts of one part nobody else's frames pass.
                let inner = link.ends.iter().all(|end| speaks(&end))
                    && group(link.ends[0].node) == group(link.ends[1].node);
                link.ends.each_ref().map(|end| {
                    if inner || !speaks(&end) {
                        Barred::new()
                    } else {
                        barred_at(end)
                    }
                })
            })
            .collect();
        let parted = |index: &usize| barred[*index].iter().any(|barred| !barred.is_empty());
        let parted: Vec<usize> = (0..barred.len()).filter(parted).collect();
        self.open(&parted)?;
        let open = self.links.state().open.clone();
        for (index, open) in open {
            match open.means {
                Means::Relay => self.links.relay()?.bar(open.line, barred[index].clone())?,
                Means::Netem => ensure!(
                    !parted.contains(&index),
                    "partitions need the relay: leave {} unset",
                    netem::VARIABLE
                ),
            }
        }
        self.links.state().groups = groups;
        Ok(())
    }

    fn set_link(&self, index: usize, sends: [Impairment; 2]) -> Result<()> {
        for impairment in &sends {
            impairment.check()?;
        }
        if sends.iter().any(|impairment| !impairment.is_none()) {
            self.open(&[index])?;
        }
        let open = self.links.state().open.get(&index).copied();
        match open.map(|open| open.means) {
            None => Ok(()),
            Some(Means::Relay) => {
                let line = open.map_or(0, |open| open.line);
                self.links.relay()?.set(line, sends)
            }
            Some(Means::Netem) => self.set_netem(index, &sends),
        }
    }
}
