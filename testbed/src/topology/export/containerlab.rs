//! A directory for containerlab: `NAME.clab.yml`, and a script for each node.
//!
//! All nodes are of the kind `linux`, switches too: a node with a bridge of its own needs nothing on
//! the machine, where the kind `bridge` wants one made before. `network-mode: none` leaves `eth0` to
//! the topology.

use std::fmt::Write as _;

use anyhow::Result;

use super::Written;
use super::script::{HAMP_CONFIG, script};
use crate::topology::Topology;

pub(super) fn files(topology: &Topology, image: &str) -> Result<Vec<Written>> {
    let name = name(&topology.name);
    let mut text = format!("name: {}\n\ntopology:\n  nodes:\n", string(&name));
    let mut files = Vec::new();
    // NOTE(unwrap): writing to a String cannot fail, here and below.
    for (index, node) in topology.nodes.iter().enumerate() {
        let own = &node.name;
        let hamp = topology.hamp_config(index)?;
        writeln!(text, "    {}:\n      kind: linux", string(own)).unwrap();
        writeln!(text, "      image: {}", string(image)).unwrap();
        writeln!(text, "      network-mode: none\n      binds:").unwrap();
        writeln!(
            text,
            "        - {}",
            string(&format!("{own}/setup.sh:/setup.sh:ro"))
        )
        .unwrap();
        writeln!(text, "        - \"shared:/shared:ro\"").unwrap();
        if let Some(config) = hamp {
            let bind = format!("{own}/hamp.toml:{HAMP_CONFIG}:ro");
            writeln!(text, "        - {}", string(&bind)).unwrap();
            files.push((format!("{own}/hamp.toml"), config));
        }
        if let Some(site) = &node.site {
            writeln!(text, "      labels:\n        site: {}", string(site)).unwrap();
        }
        writeln!(text, "      exec:\n        - \"sh /setup.sh\"").unwrap();
        let script = script(topology, index, |_, own| own.interface.clone())?;
        files.push((format!("{own}/setup.sh"), script));
    }
    text.push_str("  links:");
    if topology.links.is_empty() {
        text.push_str(" []");
    }
    text.push('\n');
    for link in &topology.links {
        let ends = link.ends.each_ref().map(|end| {
            let node = &topology.nodes[end.node].name;
            string(&format!("{node}:{}", end.interface))
        });
        writeln!(text, "    - endpoints: [{}]", ends.join(", ")).unwrap();
    }
    files.push((format!("{name}.clab.yml"), text));
    Ok(files)
}

/// A name of a lab, which becomes part of the names of containers.
fn name(of: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let name: String = of
        .chars()
        .map(|c| if allowed(c) { c } else { '-' })
        .collect();
    match name.trim_start_matches(['-', '_']) {
        "" => "lab".into(),
        name => name.into(),
    }
}

/// A string in quotes: those of JSON are YAML, too.
fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
