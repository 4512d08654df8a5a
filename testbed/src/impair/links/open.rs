//! Opening links: the inner veth pairs, and the relay or netem between them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result, ensure};

use super::{Open, inner_ends, switch_end};
use crate::impair::netem::{self, Means};
use crate::impair::relay::{Port, Wiring};
use crate::impair::{Impairment, random};
use crate::lab::{self, Lab};

impl Lab {
    /// Puts a relay, or netem, in the way of the frames of links that are still plain.
    pub(super) fn open(&self, indexes: &[usize]) -> Result<()> {
        let _one_at_a_time = self.links.opening.lock();
        let topology = self.topology();
        let plain = |index: &&usize| !self.links.state().open.contains_key(index);
        let plain: Vec<usize> = indexes.iter().filter(plain).copied().collect();
        if plain.is_empty() {
            return Ok(());
        }
        let means = netem::means()?;
        let mut ports: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for index in plain {
            let link = &topology.links[index];
            match switch_end(topology, link) {
                Some(end) => ports
                    .entry(link.ends[end].node)
                    .or_default()
                    .push((index, end)),
                None => {
                    let [a, b] = link
                        .ends
                        .each_ref()
                        .map(|end| &topology.nodes[end.node].name);
                    let opened = self.open_cable(index, means);
                    opened.with_context(|| format!("impair the cable between {a} and {b}"))?;
                }
            }
        }
        for (switch, ports) in ports {
            let opened = self.open_ports(switch, &ports, means);
            opened.with_context(|| format!("impair cables of {}", topology.nodes[switch].name))?;
        }
        Ok(())
    }

    /// Between ports of a switch and its bridge: numbers of links, and which of their ends is the
    /// port.
    fn open_ports(&self, switch: usize, ports: &[(usize, usize)], means: Means) -> Result<()> {
        let host = &self.hosts()[switch];
        let (mut make, mut leave, mut connect) = (String::new(), String::new(), String::new());
        let mut names = Vec::new();
        for (index, end) in ports {
            let port = self.topology().links[*index].ends[*end].interface.clone();
            let (inner, joins) = (format!("relay~{index}"), format!("port~{index}"));
            write!(
                make,
                "link add name {inner} type veth peer name {joins}\n\
                 link set dev {inner} addrgenmode none\n\
                 link set dev {port} addrgenmode none\n\
                 link set dev {inner} up\n\
                 link set dev {joins} master br0 up\n"
            )
            .unwrap();
            writeln!(leave, "link set dev {port} nomaster").unwrap();
            connect += &netem::connect(&port, &inner);
            names.push([port, inner, joins]);
        }
        lab::ip(&make, Some(host))?;
        // A bridge forwards nothing from a port before it has heard of its carrier.
        let made: Vec<_> = names.iter().flat_map(|names| &names[1..]).collect();
        lab::carries(
            host,
            &made.into_iter().map(String::as_str).collect::<Vec<_>>(),
        )?;
        lab::ip(&leave, Some(host))?;
        if means == Means::Netem {
            lab::tc(&connect, Some(host))?;
            for (index, _) in ports {
                self.opened(*index, means, 0);
            }
            return Ok(());
        }
        let sockets = host.inside(move || -> Result<Vec<[Port; 2]>> {
            let open = |[port, inner, _]: &[String; 3]| Ok([Port::open(port)?, Port::open(inner)?]);
            names.iter().map(open).collect()
        })??;
        for ((index, end), [outer, inner]) in ports.iter().zip(sockets) {
            // The switch's own end of the link is behind the inner pair.
            let sockets = match end {
                1 => [outer, inner],
                _ => [inner, outer],
            };
            self.relay_ports(*index, sockets)?;
        }
        Ok(())
    }

    /// Between the two halves of a cable.
    fn open_cable(&self, index: usize, means: Means) -> Result<()> {
        let wired = self.links.cable(self.topology(), index)?.is_some();
        ensure!(
            wired,
            "it was built as one veth pair, which cannot be opened while it runs: impair it in \
             the topology, or put a switch between the two"
        );
        let [a, b] = inner_ends(index);
        let ports = self.links.relay()?.inside(move || {
            if means == Means::Netem {
                lab::tc(&netem::connect(&a, &b), None)?;
                return Ok(None);
            }
            Ok(Some([Port::open(&a)?, Port::open(&b)?]))
        })?;
        match ports {
            Some(ports) => self.relay_ports(index, ports),
            None => {
                self.opened(index, means, 0);
                Ok(())
            }
        }
    }

    fn relay_ports(&self, index: usize, ports: [Port; 2]) -> Result<()> {
        let seed = seed()?;
        let line = self.links.relay()?.add(Wiring {
            ports,
            sends: Default::default(),
            random: [0, 1].map(|end| random(seed, index, end)),
        })?;
        self.opened(index, Means::Relay, line);
        Ok(())
    }

    fn opened(&self, index: usize, means: Means, line: usize) {
        let open = Open { means, line };
        self.links.state().open.insert(index, open);
    }

    /// Impairs with netem what the ends 0 and 1 of a link send.
    pub(super) fn set_netem(&self, index: usize, sends: &[Impairment; 2]) -> Result<()> {
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
