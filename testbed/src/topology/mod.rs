//! A network as data: hosts, routers and switches, the cables between them, and what runs where.
//!
//! A [`Topology`] is described once and built twice: [`Lab::new`](crate::Lab::new) makes it of
//! kernel namespaces, the simulator makes it in virtual time. It is written in Rust with the
//! methods of `build`, or read from a file.
//!
//! Files: `build` describing one, `check` what must hold of it, `file` reading and writing it as
//! TOML, [`draw`] pictures of it, [`export`] the same network for other tools.

mod build;
mod check;
pub mod draw;
pub mod export;
mod file;

use std::net::IpAddr;

use anyhow::{Context, Result};
use ipnet::IpNet;

use crate::impair::Impairment;

pub use check::{Mistake, NODES, Place};

/// Names of hosts end up in names of interfaces, which have 15 characters, and `.1` may follow.
pub const NAME_LENGTH: usize = 12;

/// Hosts, routers, switches and cables.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Topology {
    /// What it is called.
    pub name: String,
    /// Everything that a cable can be plugged into.
    pub nodes: Vec<Node>,
    /// The cables.
    pub links: Vec<Link>,
    /// What went wrong while it was described; the first is the error of [`Topology::check`].
    mistakes: Vec<String>,
}

/// What a node does with a frame that is not for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Nothing.
    Host,
    /// It forwards packets, IPv4 and IPv6.
    Router,
    /// It forwards frames: a learning bridge without spanning tree.
    Switch,
}

impl Kind {
    /// `host`, `router` or `switch`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Router => "router",
            Self::Switch => "switch",
        }
    }
}

/// A host, router or switch.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// At most [`NAME_LENGTH`] letters, digits and `-`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where it stands; nodes of one site are drawn together and partitioned together.
    pub site: Option<String>,
    /// Routes beyond those of its addresses.
    pub routes: Vec<Route>,
    /// The text of its `hamp.toml`, if it runs hamp. `node.name` and `node.interfaces` may be left
    /// out: see [`Topology::hamp_config`].
    pub hamp: Option<String>,
    /// Programs that run as long as the network does.
    pub programs: Vec<Program>,
    /// Its clock, in virtual time; in a kernel all hosts have the machine's.
    pub clock: Clock,
}

/// How a host's clock differs from true time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// How much too fast it is, in parts per million; slow is negative. At most [`PPM`].
    #[serde(default)]
    pub ppm: i32,
    /// What it shows when the simulation begins, in milliseconds: how long the host has run.
    #[serde(default)]
    pub ahead_ms: u64,
}

/// Most parts per million that a clock can be wrong by, in both directions.
pub const PPM: i32 = 100_000;
/// The most that a clock can show when a simulation begins: 1000 years, in milliseconds.
const AHEAD_MS: u64 = 1000 * 365 * 86_400_000;

/// A static route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Destination; `0.0.0.0/0` and `::/0` are the defaults.
    pub to: IpNet,
    /// The next hop.
    pub via: Via,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// To a router.
    Gateway(IpAddr),
    /// To the link of this interface: the destination is a neighbour.
    Interface(String),
}

/// A program that runs in a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// What it is called in the host.
    pub name: String,
    /// The program and its arguments.
    pub command: Vec<String>,
}

/// A cable.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Where it is plugged in.
    pub ends: [End; 2],
}

/// One end of a cable.
#[derive(Clone, Debug, PartialEq)]
pub struct End {
    /// Index into [`Topology::nodes`].
    pub node: usize,
    /// `eth0`, `eth1`, … on a host or router; on a switch the name of the node at the other end.
    pub interface: String,
    /// Link-layer address.
    pub mac: [u8; 6],
    /// Addresses with prefix lengths; none on a switch.
    pub addresses: Vec<IpNet>,
    /// What happens to the frames that this end sends.
    pub sends: Impairment,
}

impl Topology {
    /// The index of a node.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.name == name)
    }

    /// A node by its name.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn node(&self, name: &str) -> Result<&Node> {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.with_context(|| format!("{} has no host {name:?}", self.name))
    }

    /// The nodes that are not switches.
    pub fn hosts(&self) -> impl Iterator<Item = (usize, &Node)> {
        let all = self.nodes.iter().enumerate();
        all.filter(|(_, node)| node.kind != Kind::Switch)
    }

    /// The cables of a node in the order they were plugged in: index into [`Self::links`], its own
    /// end, the other end.
    pub fn plugs(&self, node: usize) -> impl Iterator<Item = (usize, &End, &End)> {
        self.links
            .iter()
            .enumerate()
            .flat_map(move |(index, link)| {
                let [a, b] = &link.ends;
                let own = (a.node == node).then_some((index, a, b));
                own.into_iter()
                    .chain((b.node == node).then_some((index, b, a)))
            })
    }

    /// The cable at a node's interface: index into [`Self::links`], and which of its ends that is.
    ///
    /// # Errors
    /// The node or the interface does not exist.
    pub fn plug(&self, node: &str, interface: &str) -> Result<(usize, usize)> {
        let position = self.position(node);
        let position = position.with_context(|| format!("{} has no host {node:?}", self.name))?;
        let is = |end: &End| end.node == position && end.interface == interface;
        let mut all = self.links.iter().enumerate();
        all.find_map(|(index, link)| Some((index, link.ends.iter().position(is)?)))
            .with_context(|| format!("{node} has no interface {interface:?}"))
    }

    /// The first IPv4 or IPv6 address of a node.
    pub fn address(&self, node: usize, v6: bool) -> Option<IpAddr> {
        let mut all = self.plugs(node).flat_map(|(_, own, _)| &own.addresses);
        all.find(|net| net.addr().is_ipv6() == v6).map(IpNet::addr)
    }

    /// The whole `hamp.toml` of a node that runs hamp: what is left out of its `node` table is its
    /// name and all its interfaces.
    ///
    /// # Errors
    /// The text is not TOML.
    pub fn hamp_config(&self, node: usize) -> Result<Option<String>> {
        let about = &self.nodes[node];
        let Some(text) = &about.hamp else {
            return Ok(None);
        };
        let mut whole: toml::Table =
            toml::from_str(text).with_context(|| format!("hamp of {}", about.name))?;
        let table = whole
            .entry("node")
            .or_insert_with(|| toml::Table::new().into());
        if let Some(table) = table.as_table_mut() {
            let interfaces: Vec<_> = self.plugs(node).map(|(_, own, _)| &own.interface).collect();
            table
                .entry("name")
                .or_insert_with(|| about.name.clone().into());
            table
                .entry("interfaces")
                .or_insert_with(|| interfaces.into_iter().cloned().collect::<Vec<_>>().into());
        }
        Ok(Some(toml::to_string(&whole)?))
    }
}
