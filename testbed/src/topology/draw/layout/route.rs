//! Where cables leave blocks, and which way they go.

use std::collections::BTreeMap;

use super::blocks::counts;
use super::{
    Area, BAR, Block, CLEAR, DROP, Edge, FRAME, GAP, Layout, PORT, Placed, Spans, TRACK, Wire,
    frame, size,
};
use crate::picture::CHAR;
use crate::topology::draw::card;
use crate::topology::{Kind, Topology};

/// Gives every cable its places at the blocks, in the order of where it leads.
pub(super) fn ports(topology: &Topology, blocks: &[Block], edges: &mut [Edge]) {
    let middle = |b: usize| blocks[b].area.x + blocks[b].area.width / 2.0;
    for (index, block) in blocks.iter().enumerate() {
        for upwards in [false, true] {
            let mut mine: Vec<(f64, usize, usize)> = Vec::new();
            for (number, edge) in edges.iter().enumerate() {
                for end in 0..2 {
                    let other = edge.ends[1 - end];
                    let up = end == 1 && blocks[edge.ends[0]].layer < block.layer;
                    if edge.ends[end] == index && up == upwards {
                        mine.push((middle(other), number, end));
                    }
                }
            }
            mine.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let gutter = !upwards && !block.leaves.is_empty();
            let count = mine.len() as f64;
            for (place, (_, number, end)) in mine.into_iter().enumerate() {
                let place = place as f64;
                let x = if gutter {
                    block.area.x + (place + 0.5) * PORT
                } else {
                    block.area.x + block.area.width * (place + 0.5) / count
                };
                // Three pixels apart, so that a cable from above and one from below that turn at
                // the same place do not look like one.
                let x = (x / 6.0).round() * 6.0 + if upwards { 0.0 } else { 3.0 };
                edges[number].x[end] = x;
            }
        }
    }
    straighten(topology, blocks, edges);
    for edge in edges.iter_mut().filter(|e| (e.x[0] - e.x[1]).abs() < 8.0) {
        let bar = |end: usize| topology.nodes[blocks[edge.ends[end]].node].kind == Kind::Switch;
        let from = usize::from(!bar(0) && bar(1));
        edge.x = [edge.x[1 - from]; 2];
    }
}

/// Lets a cable that comes down anywhere above a switch go straight down to it.
fn straighten(topology: &Topology, blocks: &[Block], edges: &mut [Edge]) {
    for index in 0..edges.len() {
        let [upper, lower] = edges[index].ends.map(|end| &blocks[end]);
        let x = edges[index].x[0];
        let area = lower.area;
        let above = area.x + PORT / 2.0 <= x && x <= area.x + area.width - PORT / 2.0;
        let mut others = edges
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        let free = others
            .all(|(_, e)| e.ends[1] != edges[index].ends[1] || (e.x[1] - x).abs() >= PORT / 2.0);
        let switch = topology.nodes[lower.node].kind == Kind::Switch;
        if switch && upper.layer < lower.layer && above && free {
            edges[index].x[1] = x;
        }
    }
}

/// Turns places into areas and ways.
pub(super) fn draw(
    topology: &Topology,
    blocks: &mut [Block],
    edges: &[Edge],
    sites: &[Option<String>],
    spans: &Spans,
) -> Layout {
    let mut out = Layout::default();
    for (index, block) in blocks.iter().enumerate() {
        let (down, _) = counts(blocks, edges, index);
        hang(topology, block, down, &mut out);
    }
    let mut tracks: BTreeMap<usize, Vec<f64>> = BTreeMap::new();
    let mut order: Vec<&Edge> = edges.iter().collect();
    order.sort_by(|a, b| a.x[0].min(a.x[1]).total_cmp(&b.x[0].min(b.x[1])));
    for edge in order {
        wire(
            topology,
            blocks,
            edge,
            spans,
            frame(sites),
            &mut tracks,
            &mut out,
        );
    }
    for (band, site) in sites.iter().enumerate() {
        if let Some(name) = site {
            let mine = || blocks.iter().filter(|b| b.band == band).map(|b| b.area);
            let left = mine().map(|a| a.x).fold(f64::MAX, f64::min) - FRAME;
            let right = mine().map(|a| a.x + a.width).fold(0.0, f64::max) + FRAME;
            let top = mine().map(|a| a.y).fold(f64::MAX, f64::min) - 2.0 * FRAME;
            let bottom = mine().map(|a| a.y + a.height).fold(0.0, f64::max) + FRAME;
            let width = (right - left).max(name.chars().count() as f64 * CHAR + 2.0 * FRAME);
            let area = Area {
                x: left,
                y: top,
                width,
                height: bottom - top,
            };
            out.sites.push((name.clone(), area));
        }
    }
    let ends = |area: &Area| (area.x + area.width, area.y + area.height);
    let areas = out
        .nodes
        .iter()
        .map(|n| n.area)
        .chain(out.sites.iter().map(|s| s.1));
    let (width, height) = areas
        .map(|a| ends(&a))
        .fold((0.0f64, 0.0f64), |m, e| (m.0.max(e.0), m.1.max(e.1)));
    let turns = out
        .wires
        .iter()
        .flat_map(|w| &w.way)
        .map(|p| p.1)
        .fold(0.0, f64::max);
    (out.width, out.height) = (
        (width + GAP / 2.0).ceil(),
        (height.max(turns) + GAP / 2.0).ceil(),
    );
    out
}

/// A block's own node, and what hangs below it.
fn hang(topology: &Topology, block: &Block, down: usize, out: &mut Layout) {
    let switch = topology.nodes[block.node].kind == Kind::Switch;
    let area = block.area;
    let own = Area {
        height: if switch { BAR } else { area.height },
        ..area
    };
    let lines = if switch {
        Vec::new()
    } else {
        card::lines(topology, block.node)
    };
    out.nodes.push(Placed {
        node: block.node,
        area: own,
        lines,
    });
    let left = area.x + down as f64 * PORT;
    let mut y = area.y + BAR + DROP;
    let single = block.rows.len() == 1;
    for (row, leaves) in block.leaves.chunks(block.across).enumerate() {
        for (column, leaf) in leaves.iter().enumerate() {
            let x = left + column as f64 * (block.card + GAP) + GAP;
            let (_, height) = size(topology, *leaf);
            let area = Area {
                x,
                y,
                width: block.card,
                height,
            };
            out.nodes.push(Placed {
                node: *leaf,
                area,
                lines: card::lines(topology, *leaf),
            });
            let middle = x + block.card / 2.0;
            let trunk = x - GAP / 2.0;
            let way = if single {
                vec![(middle, block.area.y + BAR), (middle, y)]
            } else {
                vec![
                    (trunk, block.area.y + BAR),
                    (trunk, y + 14.0),
                    (x, y + 14.0),
                ]
            };
            out.wires.push(Wire {
                way,
                names: Vec::new(),
                branch: true,
            });
        }
        y += block.rows[row] + DROP;
    }
}

/// The way of a cable between two blocks: down, along a free track, and down or up again.
fn wire(
    topology: &Topology,
    blocks: &[Block],
    edge: &Edge,
    spans: &Spans,
    frame: f64,
    tracks: &mut BTreeMap<usize, Vec<f64>>,
    out: &mut Layout,
) {
    let [a, b] = edge.ends.map(|end| &blocks[end]);
    let switch = |block: &Block| topology.nodes[block.node].kind == Kind::Switch;
    let bottom = |block: &Block| {
        block.area.y
            + if switch(block) {
                BAR
            } else {
                block.area.height
            }
    };
    let same = a.layer == b.layer;
    let (from, to) = (bottom(a), if same { bottom(b) } else { b.area.y });
    let [x, end] = edge.x;
    let mut names = Vec::new();
    let link = &topology.links[edge.link];
    for (block, x, y) in [
        (a, x, from + 13.0),
        (b, end, if same { to + 13.0 } else { to - 6.0 }),
    ] {
        let own = link.ends.iter().find(|e| e.node == block.node);
        if let Some(own) = own.filter(|_| !switch(block) && topology.plugs(block.node).count() > 1)
        {
            names.push((x + 4.0, y, own.interface.clone()));
        }
    }
    let way = if (x - end).abs() < 0.5 && !same {
        vec![(x, from), (end, to)]
    } else {
        let (left, right) = (x.min(end), x.max(end));
        let used = tracks.entry(a.layer).or_default();
        let track = used
            .iter()
            .position(|until| *until + 6.0 < left)
            .unwrap_or(used.len());
        match used.get_mut(track) {
            Some(until) => *until = right,
            None => used.push(right),
        }
        let y = spans[a.layer].1 + CLEAR + frame + track as f64 * TRACK;
        vec![(x, from), (x, y), (end, y), (end, to)]
    };
    out.wires.push(Wire {
        way,
        names,
        branch: false,
    });
}
