//! A topology as SVG.

use std::fmt::Write as _;

use super::card;
use super::layout::{Layout, Placed, layout};
use crate::picture::{CHAR, COLOURS, PICTURES, SHAPES, Text};
use crate::topology::{Kind, Topology};

/// The picture as a file of its own.
pub fn svg(topology: &Topology) -> String {
    let drawn = layout(topology);
    let (width, height) = (drawn.width.max(1.0), drawn.height.max(1.0));
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\"><title>{}</title><style>{PICTURES}</style>\
         <rect class=\"bg\" width=\"100%\" height=\"100%\"/>{SHAPES}{}</svg>\n",
        Text(&topology.name),
        body(topology, &drawn)
    )
}

/// The picture as part of a page that has the style and shapes of pictures.
pub fn drawing(topology: &Topology) -> String {
    let drawn = layout(topology);
    let (width, height) = (drawn.width.max(1.0), drawn.height.max(1.0));
    format!(
        "<svg role=\"img\" aria-label=\"Topology {}\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">{}</svg>",
        Text(&topology.name),
        body(topology, &drawn)
    )
}

fn body(topology: &Topology, drawn: &Layout) -> String {
    let mut out = String::new();
    for (_, area) in &drawn.sites {
        let _ = write!(
            out,
            "<rect class=\"site\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"8\"/>",
            area.x, area.y, area.width, area.height
        );
    }
    for wire in &drawn.wires {
        let points: Vec<_> = wire.way.iter().map(|(x, y)| format!("{x} {y}")).collect();
        let class = if wire.branch { "wire branch" } else { "wire" };
        let points = points.join("L");
        let _ = write!(out, "<path class=\"{class}\" d=\"M{points}\"/>");
    }
    let members: Vec<usize> = (0..topology.nodes.len())
        .filter(|node| !card::serves(topology, *node).is_empty())
        .collect();
    for placed in &drawn.nodes {
        node(
            &mut out,
            topology,
            placed,
            members.iter().position(|m| *m == placed.node),
        );
    }
    for wire in &drawn.wires {
        for (x, y, name) in &wire.names {
            let _ = write!(
                out,
                "<text class=\"dim halo\" x=\"{x}\" y=\"{y}\">{}</text>",
                Text(name)
            );
        }
    }
    for (name, area) in &drawn.sites {
        let _ = write!(
            out,
            "<text class=\"b halo\" x=\"{}\" y=\"{}\">{}</text>",
            area.x + 10.0,
            area.y + 15.0,
            Text(name)
        );
    }
    out
}

/// A node; a member has the colour that it has everywhere.
fn node(out: &mut String, topology: &Topology, placed: &Placed, member: Option<usize>) {
    let about = &topology.nodes[placed.node];
    let area = placed.area;
    let (x, y) = (area.x, area.y);
    if about.kind == Kind::Switch {
        let _ = write!(
            out,
            "<rect class=\"bus\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"3\"/>\
             <text class=\"onbus b\" x=\"{}\" y=\"{}\">{}</text>",
            area.width,
            area.height,
            x + 8.0,
            y + 15.0,
            Text(card::switch(topology, placed.node))
        );
        return;
    }
    let (class, corner) = match about.kind {
        Kind::Router => ("card router", 14),
        _ => ("card", 4),
    };
    let _ = write!(
        out,
        "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{}\" height=\"{}\" rx=\"{corner}\"/>",
        area.width, area.height
    );
    let mut left = x + 8.0;
    if let Some(index) = member {
        let _ = write!(
            out,
            "<rect class=\"m{} shape\" x=\"{left}\" y=\"{}\" width=\"9\" height=\"9\"/>",
            index % COLOURS,
            y + 9.0
        );
        left += 14.0;
    }
    let _ = write!(
        out,
        "<text class=\"b\" x=\"{left}\" y=\"{}\">{}</text>",
        y + 18.0,
        Text(&about.name)
    );
    if about.kind == Kind::Router {
        let after = left + (about.name.chars().count() as f64 + 1.0) * CHAR;
        let _ = write!(
            out,
            "<text class=\"dim\" x=\"{after}\" y=\"{}\">router</text>",
            y + 18.0
        );
    }
    for (index, line) in placed.lines.iter().enumerate() {
        let indent = line.chars().take_while(|c| *c == ' ').count();
        let at = x + 8.0 + indent as f64 * CHAR * 0.99;
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\">{}</text>",
            crate::picture::short(at, 1),
            y + 32.0 + index as f64 * 14.0,
            Text(line.trim_start())
        );
    }
}
