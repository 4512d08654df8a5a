//! A topology as text for a terminal: each switch with what is plugged into it, then the cables
//! that end at no switch.

use std::fmt::Write as _;

use super::card;
use crate::topology::{End, Kind, Topology};

/// The topology in lines of text, without a colour.
pub fn text(topology: &Topology) -> String {
    let mut out = format!("{}\n", topology.name);
    for (index, node) in topology.nodes.iter().enumerate() {
        if node.kind == Kind::Switch {
            switch(&mut out, topology, index);
        }
    }
    let is_switch = |end: &End| topology.nodes[end.node].kind == Kind::Switch;
    let cables: Vec<_> = topology
        .links
        .iter()
        .filter(|l| !l.ends.iter().any(is_switch))
        .collect();
    if !cables.is_empty() {
        out.push('\n');
    }
    for link in cables {
        let [a, b] = link.ends.each_ref().map(|end| at(topology, end));
        let [there, back] = link.ends.each_ref().map(|end| card::words(&end.sends));
        let _ = write!(out, "{a} \u{2500}\u{2500} {b}");
        let _ = match (there.is_empty(), back.is_empty(), there == back) {
            (true, true, _) => writeln!(out),
            (_, _, true) => writeln!(out, "   both ways {there}"),
            (_, true, _) => writeln!(out, "   \u{2192} {there}"),
            (true, ..) => writeln!(out, "   \u{2190} {back}"),
            _ => writeln!(out, "   \u{2192} {there}   \u{2190} {back}"),
        };
    }
    rest(&mut out, topology);
    out
}

/// `r1:eth0 10.0.0.1/30`.
fn at(topology: &Topology, end: &End) -> String {
    let addresses: String = end.addresses.iter().map(|a| format!(" {a}")).collect();
    format!(
        "{}:{}{addresses}",
        topology.nodes[end.node].name, end.interface
    )
}

fn switch(out: &mut String, topology: &Topology, index: usize) {
    let name = &topology.nodes[index].name;
    let site = topology.nodes[index].site.as_ref();
    let site = site.map_or_else(String::new, |s| format!("   at {s}"));
    let _ = writeln!(out, "\n{name} (switch){site}");
    let count = topology.plugs(index).count();
    for (number, (_, own, other)) in topology.plugs(index).enumerate() {
        let branch = if number + 1 == count {
            "\u{2514}"
        } else {
            "\u{251c}"
        };
        let peer = &topology.nodes[other.node];
        let mut about: Vec<String> = Vec::new();
        if peer.kind == Kind::Switch {
            about.push("(switch)".into());
        } else {
            about.push(
                at(topology, other)
                    .split_once(':')
                    .map_or_else(String::new, |(_, rest)| rest.into()),
            );
            if peer.kind == Kind::Router {
                about.push("router".into());
            }
        }
        for (way, how) in [("out", &other.sends), ("in", &own.sends)] {
            if !how.is_none() {
                about.push(format!("{way} {}", card::words(how)));
            }
        }
        let _ = writeln!(
            out,
            "{branch}\u{2500} {:<12} {}",
            peer.name,
            about.join("   ")
        );
    }
}

/// What runs where, as far as something does.
fn rest(out: &mut String, topology: &Topology) {
    let mut lines = String::new();
    for (index, node) in topology.nodes.iter().enumerate() {
        let mut about = card::roles(topology, index);
        about.extend(node.programs.iter().map(|p| format!("runs {}", p.name)));
        if topology.plugs(index).next().is_none() && node.kind != Kind::Switch {
            about.push("no cable".into());
        }
        if node.kind != Kind::Switch
            && let Some(site) = &node.site
        {
            about.insert(0, format!("at {site}"));
        }
        if !about.is_empty() {
            let _ = writeln!(lines, "{:<12} {}", node.name, about.join(", "));
        }
    }
    if !lines.is_empty() {
        out.push('\n');
        out.push_str(&lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Impairment;

    #[test]
    fn every_cable_is_a_line() {
        let topology = Topology::new("two")
            .switch("lan")
            .host("a")
            .link("lan", &["10.0.0.1/24"])
            .hamp("[member]\naddresses = [\"198.18.0.1\"]\n")
            .router("r")
            .link("lan", &["10.0.0.254/24"])
            .router("far")
            .cable("r", &["10.1.0.1/30"], &["10.1.0.2/30"])
            .impaired(Impairment::delay_ms(5))
            .site("tokyo");
        assert_eq!(
            text(&topology),
            "two\n\n\
             lan (switch)\n\
             \u{251c}\u{2500} a            eth0 10.0.0.1/24\n\
             \u{2514}\u{2500} r            eth0 10.0.0.254/24   router\n\n\
             far:eth0 10.1.0.1/30 \u{2500}\u{2500} r:eth1 10.1.0.2/30   both ways 5 ms\n\n\
             a            serves 198.18.0.1\n\
             far          at tokyo\n"
        );
    }
}
