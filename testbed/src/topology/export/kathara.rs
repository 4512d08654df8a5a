//! A directory for Kathará: `lab.conf`, and a startup file for each device.
//!
//! A switch is a collision domain, which is how Kathará has switches, unless it has a trunk or does
//! something to frames: then it is a device with a bridge. A cable between two devices is a
//! collision domain, too.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Result, bail};

use super::Written;
use super::script::script;
use crate::lab::mac_text;
use crate::topology::{Kind, Link, Topology};

/// Names that Kathará keeps for itself.
const RESERVED: &[&str] = &["shared", "_test"];

pub(super) fn files(topology: &Topology, image: &str) -> Result<Vec<Written>> {
    let names = names(topology)?;
    let quoted = |text: &str| text.replace(['"', '\'', '\n'], " ");
    let mut text = format!(
        "LAB_NAME=\"{}\"\n",
        quoted(&topology.name).replace('=', " ")
    );
    let mut files = Vec::new();
    // NOTE(unwrap): writing to a String cannot fail, here and below.
    for (index, node) in topology.nodes.iter().enumerate() {
        if is_domain(topology, index) {
            continue;
        }
        let own = &names[index];
        writeln!(text, "\n{own}[image]=\"{}\"", quoted(image)).unwrap();
        let v6 = topology.plugs(index).flat_map(|(_, own, _)| &own.addresses);
        if v6.into_iter().any(|net| net.addr().is_ipv6()) {
            writeln!(text, "{own}[ipv6]=\"true\"").unwrap();
        }
        if node.kind == Kind::Router {
            writeln!(text, "{own}[sysctl]=\"net.ipv4.ip_forward=1\"").unwrap();
        }
        for (at, (link, end, _)) in topology.plugs(index).enumerate() {
            let domain = domain(topology, &names, link, &topology.links[link]);
            match node.kind {
                Kind::Switch => writeln!(text, "{own}[{at}]=\"{domain}\""),
                _ => writeln!(text, "{own}[{at}]=\"{domain}/{}\"", mac_text(end.mac)),
            }
            .unwrap();
        }
        let script = script(topology, index, |at, _| format!("eth{at}"))?;
        files.push((format!("{own}.startup"), script));
        if let Some(config) = topology.hamp_config(index)? {
            // A device's directory is copied over its files.
            files.push((format!("{own}/etc/hamp/hamp.toml"), config));
        }
    }
    files.push(("lab.conf".into(), text));
    Ok(files)
}

/// What the nodes are called: lower-case letters, digits and `_`.
fn names(topology: &Topology) -> Result<Vec<String>> {
    let mut taken: BTreeMap<String, &str> = BTreeMap::new();
    let nodes = topology.nodes.iter().map(|node| {
        let name = node.name.to_ascii_lowercase().replace('-', "_");
        if RESERVED.contains(&name.as_str()) {
            bail!("{}: Kathará keeps that name for itself", node.name);
        }
        if let Some(other) = taken.insert(name.clone(), &node.name) {
            bail!("{other} and {} are both {name} in Kathará", node.name);
        }
        Ok(name)
    });
    nodes.collect()
}

/// Whether a node is a collision domain and no device.
fn is_domain(topology: &Topology, index: usize) -> bool {
    let plain = |(_, own, other): (usize, &crate::topology::End, &crate::topology::End)| {
        own.sends.is_none() && topology.nodes[other.node].kind != Kind::Switch
    };
    topology.nodes[index].kind == Kind::Switch
        && topology.nodes[index].programs.is_empty()
        && topology.plugs(index).all(plain)
}

/// The collision domain that a cable leads to, or is.
fn domain(topology: &Topology, names: &[String], index: usize, link: &Link) -> String {
    let mut ends = link.ends.iter().map(|end| end.node);
    match ends.find(|node| is_domain(topology, *node)) {
        Some(node) => names[node].clone(),
        // No name of a switch: it has too many letters.
        None => format!(
            "{}__{}__{index}",
            names[link.ends[0].node], names[link.ends[1].node]
        ),
    }
}
