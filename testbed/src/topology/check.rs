//! What must hold of a network before it is built.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;

use super::{End, Kind, NAME_LENGTH, Node, Topology, Via};

/// Nodes have 16 bits in a link-layer address, and the cables of a host 8.
const NODES: usize = 1 << 16;
const CABLES: usize = 1 << 8;

impl Topology {
    /// Whether it can be built.
    ///
    /// # Errors
    /// The first thing that is wrong, with the name of the host it is wrong with.
    pub fn check(&self) -> Result<()> {
        if let Some(mistake) = self.mistakes.first() {
            bail!("{mistake}");
        }
        ensure!(self.nodes.len() <= NODES, "more than {NODES} nodes");
        for link in &self.links {
            let [a, b] = &link.ends;
            for end in [a, b] {
                ensure!(end.node < self.nodes.len(), "a cable ends nowhere");
                let name = &self.nodes[end.node].name;
                end.sends
                    .check()
                    .with_context(|| format!("{} of {name}", end.interface))?;
            }
            ensure!(
                a.node != b.node,
                "{} is plugged into itself",
                self.nodes[a.node].name
            );
        }
        let mut names = BTreeSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            ensure!(
                is_name(&node.name),
                "{:?} is no name for a {}: 1 to {NAME_LENGTH} letters, digits and -",
                node.name,
                node.kind.name()
            );
            ensure!(
                names.insert(&node.name),
                "two nodes are called {:?}",
                node.name
            );
            self.check_node(index, node)
                .with_context(|| node.name.clone())?;
        }
        self.check_loops()
    }

    fn check_node(&self, index: usize, node: &Node) -> Result<()> {
        let own: Vec<&End> = self.plugs(index).map(|(_, own, _)| own).collect();
        let interfaces: BTreeSet<_> = own.iter().map(|end| &end.interface).collect();
        ensure!(
            interfaces.len() == own.len(),
            "two interfaces have one name"
        );
        if node.kind == Kind::Switch {
            let set = own.iter().find(|end| !end.addresses.is_empty());
            ensure!(set.is_none(), "a switch has no addresses");
            let extra = !node.routes.is_empty() || node.hamp.is_some();
            ensure!(!extra, "a switch has no routes and no hamp");
        } else {
            ensure!(own.len() <= CABLES, "more than {CABLES} cables");
        }
        let mut addresses = BTreeSet::new();
        for net in own.iter().flat_map(|end| &end.addresses) {
            ensure!(
                addresses.insert(net.addr()),
                "{} is there twice",
                net.addr()
            );
        }
        for route in &node.routes {
            match &route.via {
                Via::Gateway(via) => ensure!(
                    via.is_ipv6() == matches!(route.to, IpNet::V6(_)),
                    "route {} via {via}: one is IPv4 and the other IPv6",
                    route.to
                ),
                Via::Interface(name) => ensure!(
                    interfaces.contains(name),
                    "route {} via {name:?}: no such interface, and no address either",
                    route.to
                ),
            }
        }
        let mut programs = BTreeSet::new();
        for program in &node.programs {
            ensure!(
                programs.insert(&program.name),
                "two programs are called {:?}",
                program.name
            );
            ensure!(
                !program.command.is_empty(),
                "program {:?} has no command",
                program.name
            );
        }
        if let Some(text) = self.hamp_config(index)? {
            hamp::daemon::config::Config::parse(&text, "its hamp.toml")?;
        }
        Ok(())
    }

    /// Two ways between two switches would carry a broadcast round and round.
    fn check_loops(&self) -> Result<()> {
        let mut groups: BTreeMap<usize, usize> = BTreeMap::new();
        let root = |groups: &BTreeMap<usize, usize>, mut at: usize| {
            while let Some(up) = groups.get(&at) {
                at = *up;
            }
            at
        };
        for link in &self.links {
            let [a, b] = link.ends.each_ref().map(|end| end.node);
            if self.nodes[a].kind != Kind::Switch || self.nodes[b].kind != Kind::Switch {
                continue;
            }
            let (from, to) = (root(&groups, a), root(&groups, b));
            ensure!(
                from != to,
                "switches {} and {} are connected twice: frames would circle for ever",
                self.nodes[a].name,
                self.nodes[b].name
            );
            groups.insert(from, to);
        }
        Ok(())
    }
}

/// Whether this can be the name of a node.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=NAME_LENGTH).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed)
}
