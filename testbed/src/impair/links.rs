//! Impaired links of kernel labs: how they are wired, and changed while they run.
//!
//! A switch's port of an impaired link leaves the bridge; an inner veth pair takes its place there,
//! and the relay passes frames between the two. So a link can become impaired at any time, and its
//! host sees no carrier lost. A cable between two hosts that is impaired from the start consists of
//! two pairs that meet in a namespace of the lab's own. A link without impairment is what it was
//! before: one veth pair.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use anyhow::{Context, Result, ensure};

use super::netem::{self, Means};
use super::relay::{Barred, Passed, Port, Relay, Wiring};
use super::{Impairment, random};
use crate::lab::{self, Lab};
use crate::topology::{Kind, Link, Topology};

/// The impaired links of a lab.
#[derive(Debug, Default)]
pub(crate) struct Links {
    /// Started with the first link that needs it.
    relay: OnceLock<Relay>,
    state: Mutex<State>,
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
    /// The relay's number for it; with netem, its own.
    line: usize,
    sends: [Impairment; 2],
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
    let is_switch = |end: &crate::topology::End| topology.nodes[end.node].kind == Kind::Switch;
    link.ends.iter().position(is_switch)
}

impl Lab {
    /// Impairs from the start what the topology says.
    pub(crate) fn impair_all(&self) -> Result<()> {
        let links = &self.topology().links;
        for (index, link) in links.iter().enumerate() {
            let sends = [link.ends[0].sends, link.ends[1].sends];
            if sends.iter().any(|impairment| !impairment.is_none()) {
                self.set_link(index, sends)?;
            }
        }
        Ok(())
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
        for (index, link) in topology.links.iter().enumerate() {
            let barred = [0, 1].map(|end| {
                let own = &link.ends[end];
                if topology.nodes[own.node].kind == Kind::Switch {
                    return Barred::new();
                }
                let all = topology.links.iter().flat_map(|link| &link.ends);
                // A switch sends no frames of its own.
                all.filter(|other| topology.nodes[other.node].kind != Kind::Switch)
                    .filter(|other| group(other.node) != group(own.node))
                    .map(|other| other.mac)
                    .collect()
            });
            let needed = barred.iter().any(|barred| !barred.is_empty());
            let crosses = switch_end(topology, link).is_some()
                || group(link.ends[0].node) != group(link.ends[1].node);
            let open = self.links.state().open.get(&index).copied();
            let open = match open {
                None if needed && crosses => self.open(index)?,
                Some(open) => open,
                None => continue,
            };
            ensure!(
                open.means == Means::Relay,
                "partitions need the relay: leave {} unset",
                netem::VARIABLE
            );
            self.links.relay()?.bar(open.line, barred)?;
        }
        self.links.state().groups = groups;
        Ok(())
    }

    fn set_link(&self, index: usize, sends: [Impairment; 2]) -> Result<()> {
        for impairment in &sends {
            impairment.check()?;
        }
        let open = self.links.state().open.get(&index).copied();
        let mut open = match open {
            None if sends.iter().all(Impairment::is_none) => return Ok(()),
            None => self.open(index)?,
            Some(open) => open,
        };
        match open.means {
            Means::Relay => self.links.relay()?.set(open.line, sends)?,
            Means::Netem => self.set_netem(index, &sends)?,
        }
        open.sends = sends;
        self.links.state().open.insert(index, open);
        Ok(())
    }

    /// Puts a relay, or netem, in the way of a link's frames.
    fn open(&self, index: usize) -> Result<Open> {
        let means = netem::means()?;
        let link = &self.topology().links[index];
        let line = match switch_end(self.topology(), link) {
            Some(end) => self.open_port(index, end, means),
            None => self.open_cable(index, means),
        };
        let open = Open {
            means,
            line: line.with_context(|| format!("impair {}", self.link_name(index)))?,
            sends: Default::default(),
        };
        self.links.state().open.insert(index, open);
        Ok(open)
    }

    /// Between a switch's port and its bridge.
    fn open_port(&self, index: usize, end: usize, means: Means) -> Result<usize> {
        let own = &self.topology().links[index].ends[end];
        let switch = &self.hosts()[own.node];
        let port = own.interface.clone();
        let inner = format!("relay~{index}");
        let mut text = String::new();
        write!(
            text,
            "link add name {inner} type veth peer name port~{index}\n\
             link set dev {inner} addrgenmode none\n\
             link set dev {port} addrgenmode none\n\
             link set dev {inner} up\n\
             link set dev port~{index} master br0 up\n"
        )
        .unwrap();
        lab::ip(&text, Some(switch))?;
        lab::carries(switch, &[&inner, &format!("port~{index}")])?;
        let leave = format!("link set dev {port} nomaster\n");
        if means == Means::Netem {
            lab::ip(&leave, Some(switch))?;
            lab::tc(&netem::connect(&port, &inner), Some(switch))?;
            return Ok(index);
        }
        lab::ip(&leave, Some(switch))?;
        let opened = switch
            .inside(move || -> Result<_> { Ok([Port::open(&port)?, Port::open(&inner)?]) })??;
        // Its own end of the link is behind the inner pair.
        let ports = if end == 1 {
            opened
        } else {
            let [outer, inner] = opened;
            [inner, outer]
        };
        self.relay_ports(index, ports)
    }

    /// Between the two halves of a cable.
    fn open_cable(&self, index: usize, means: Means) -> Result<usize> {
        let wired = self.links.cable(self.topology(), index)?.is_some();
        ensure!(
            wired,
            "it was built as one veth pair, which cannot be opened while it runs: impair it in \
             the topology, or put a switch between the two"
        );
        let [a, b] = inner_ends(index);
        let relay = self.links.relay()?;
        let ports = relay.inside(move || {
            if means == Means::Netem {
                lab::tc(&netem::connect(&a, &b), None)?;
                return Ok(None);
            }
            Ok(Some([Port::open(&a)?, Port::open(&b)?]))
        })?;
        ports.map_or(Ok(index), |ports| self.relay_ports(index, ports))
    }

    fn relay_ports(&self, index: usize, ports: [Port; 2]) -> Result<usize> {
        let seed = seed()?;
        self.links.relay()?.add(Wiring {
            ports,
            sends: Default::default(),
            random: [0, 1].map(|end| random(seed, index, end)),
        })
    }

    fn set_netem(&self, index: usize, sends: &[Impairment; 2]) -> Result<()> {
        let handle = {
            let mut state = self.links.state();
            state.handles = state.handles % 0x7fff + 1;
            state.handles
        };
        let link = &self.topology().links[index];
        let Some(end) = switch_end(self.topology(), link) else {
            let [a, b] = inner_ends(index);
            // What end 0 sends leaves the inner end that faces end 1.
            let text = netem::impair(&b, handle, &sends[0]) + &netem::impair(&a, handle, &sends[1]);
            return self.links.relay()?.inside(move || lab::tc(&text, None));
        };
        let own = &link.ends[end];
        let to_switch = netem::impair(&format!("relay~{index}"), handle, &sends[1 - end]);
        let to_host = netem::impair(&own.interface, handle, &sends[end]);
        lab::tc(&(to_switch + &to_host), Some(&self.hosts()[own.node]))
    }

    fn link_name(&self, index: usize) -> String {
        let name = |end: &crate::topology::End| self.topology().nodes[end.node].name.clone();
        let [a, b] = &self.topology().links[index].ends;
        format!("the cable between {} and {}", name(a), name(b))
    }
}

/// What the random generators of all links begin from: `HAMP_LAB_SEED`, or 1546.
fn seed() -> Result<u64> {
    match std::env::var("HAMP_LAB_SEED") {
        Ok(text) => text
            .parse()
            .with_context(|| format!("HAMP_LAB_SEED={text} is no number")),
        Err(_) => Ok(1546),
    }
}
