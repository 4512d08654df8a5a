//! A topology for Graphviz (the DOT language).

use std::fmt::Write as _;

use super::card;
use crate::topology::{Kind, Topology};

/// The topology as an undirected graph; sites are clusters. `dot -Tsvg` draws it.
pub fn dot(topology: &Topology) -> String {
    let mut out = format!(
        "graph {} {{\n  node [fontname=monospace fontsize=10];\n",
        quoted(&topology.name)
    );
    out.push_str("  edge [fontname=monospace fontsize=9];\n");
    let mut sites: Vec<&str> = Vec::new();
    for node in &topology.nodes {
        if let Some(site) = node.site.as_deref().filter(|s| !sites.contains(s)) {
            sites.push(site);
        }
    }
    for (number, site) in sites.iter().enumerate() {
        let _ = writeln!(
            out,
            "  subgraph cluster_{number} {{\n    label={};",
            quoted(site)
        );
        nodes(&mut out, topology, Some(site), "    ");
        out.push_str("  }\n");
    }
    nodes(&mut out, topology, None, "  ");
    for link in &topology.links {
        let [a, b] = &link.ends;
        let name = |node: usize| quoted(&topology.nodes[node].name);
        let ways: Vec<_> = [(a, "\u{2192} "), (b, "\u{2190} ")]
            .into_iter()
            .filter(|(end, _)| !end.sends.is_none())
            .map(|(end, way)| format!("{way}{}", card::words(&end.sends)))
            .collect();
        let mut about = String::new();
        for (key, end) in [("taillabel", a), ("headlabel", b)] {
            if topology.nodes[end.node].kind != Kind::Switch {
                let _ = write!(about, "{key}={} ", quoted(&end.interface));
            }
        }
        if !ways.is_empty() {
            let _ = write!(about, "label={} ", quoted(&ways.join("\n")));
        }
        let _ = writeln!(
            out,
            "  {} -- {} [{}];",
            name(a.node),
            name(b.node),
            about.trim_end()
        );
    }
    out + "}\n"
}

fn nodes(out: &mut String, topology: &Topology, site: Option<&str>, indent: &str) {
    for (index, node) in topology.nodes.iter().enumerate() {
        if node.site.as_deref() != site {
            continue;
        }
        let shape = match node.kind {
            Kind::Host => "box",
            Kind::Router => "ellipse",
            Kind::Switch => "underline",
        };
        let mut label = vec![node.name.clone()];
        if node.kind != Kind::Switch {
            label.extend(card::roles(topology, index));
            label.extend(
                topology
                    .plugs(index)
                    .flat_map(|(_, own, _)| own.addresses.iter().map(ToString::to_string)),
            );
        }
        let _ = writeln!(
            out,
            "{indent}{} [shape={shape} label={}];",
            quoted(&node.name),
            quoted(&label.join("\n"))
        );
    }
}

/// A string of the DOT language, in which only `"` and, before it, `\` need care.
fn quoted(text: &str) -> String {
    let text = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n");
    format!("\"{text}\"")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Impairment;

    #[test]
    fn sites_are_clusters_and_cables_are_edges() {
        let topology = Topology::new("a \"b\"")
            .switch("lan")
            .host("h")
            .link("lan", &["10.0.0.1/24"])
            .impaired_out(Impairment::delay_ms(2))
            .site("x");
        assert_eq!(
            dot(&topology),
            "graph \"a \\\"b\\\"\" {\n  node [fontname=monospace fontsize=10];\n  \
             edge [fontname=monospace fontsize=9];\n  \
             subgraph cluster_0 {\n    label=\"x\";\n    \"h\" [shape=box label=\"h\\n10.0.0.1/24\"];\n  }\n  \
             \"lan\" [shape=underline label=\"lan\"];\n  \
             \"h\" -- \"lan\" [taillabel=\"eth0\" label=\"\u{2192} 2 ms\"];\n}\n"
        );
    }
}
