//! Where everything is.
//!
//! A switch is a bar; the hosts that are plugged into it alone hang below it. A switch with its
//! hosts, and each other node, is a *block*. Blocks stand in layers by their distance from the
//! middle of the network, so that a cable ends in the same layer or the next, and sites in bands
//! side by side. Cables leave a block at its bottom or top and turn in the *channel* between two
//! layers, each on a track of its own: so no cable crosses a block, and no text meets another.

use std::collections::{BTreeMap, VecDeque};

use super::card;
use crate::picture::CHAR;
use crate::topology::{Kind, Topology};

/// Height of a line of text, and what is around the lines of a card.
const LINE: f64 = 14.0;
const PAD: f64 = 8.0;
/// Height of a switch.
pub(super) const BAR: f64 = 22.0;
/// Between cards, and between blocks.
const GAP: f64 = 20.0;
/// From a switch to the hosts below it.
const DROP: f64 = 18.0;
/// Beside each cable that leaves a block.
const PORT: f64 = 24.0;
/// Beside one whose interface is named.
const NAMED: f64 = 56.0;
/// Between tracks.
const TRACK: f64 = 10.0;
/// Room for names of interfaces above and below a channel.
const CLEAR: f64 = 20.0;
/// Around a site, and for its name.
const FRAME: f64 = 16.0;
/// Hosts side by side below a switch.
const ACROSS: usize = 6;
/// ... as far as they are not wider than this.
const WIDE: f64 = 1000.0;

/// A rectangle.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Area {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A placed node.
#[derive(Clone, Debug)]
pub(super) struct Placed {
    pub(super) node: usize,
    pub(super) area: Area,
    /// Its lines of text below its name; none for a switch.
    pub(super) lines: Vec<String>,
}

/// A cable: the corners of its way, and names of interfaces beside it.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    pub(super) way: Vec<(f64, f64)>,
    pub(super) names: Vec<(f64, f64, String)>,
}

/// A laid out topology.
#[derive(Clone, Debug, Default)]
pub(super) struct Layout {
    pub(super) nodes: Vec<Placed>,
    pub(super) wires: Vec<Wire>,
    pub(super) sites: Vec<(String, Area)>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A node with the hosts that hang below it.
struct Block {
    node: usize,
    leaves: Vec<usize>,
    layer: usize,
    band: usize,
    area: Area,
    /// Hosts side by side.
    across: usize,
    /// Width of a card below, and heights of their rows.
    card: f64,
    rows: Vec<f64>,
}

/// A cable between blocks.
struct Edge {
    link: usize,
    /// Blocks; the first is in the upper layer, if they are in two.
    ends: [usize; 2],
    /// Where it leaves each.
    x: [f64; 2],
}

/// Lays out a topology.
pub(super) fn layout(topology: &Topology) -> Layout {
    let mut blocks = blocks(topology);
    let mut edges = edges(topology, &blocks);
    layers(&mut blocks, &edges);
    for edge in &mut edges {
        if blocks[edge.ends[0]].layer > blocks[edge.ends[1]].layer {
            edge.ends.swap(0, 1);
        }
    }
    let sites = bands(topology, &mut blocks);
    for index in 0..blocks.len() {
        measure(topology, &mut blocks, &edges, index);
    }
    let spans = place(&mut blocks, &edges, &sites);
    ports(topology, &blocks, &mut edges);
    draw(topology, &mut blocks, &edges, &sites, &spans)
}

/// The width of a card, and its height.
fn size(topology: &Topology, node: usize) -> (f64, f64) {
    let lines = card::lines(topology, node);
    let name = topology.nodes[node].name.chars().count()
        + if topology.nodes[node].kind == Kind::Router {
            9
        } else {
            3
        };
    let longest = lines
        .iter()
        .map(|l| l.chars().count())
        .max()
        .unwrap_or(0)
        .max(name);
    (
        longest as f64 * CHAR + 2.0 * PAD,
        (lines.len() + 1) as f64 * LINE + 2.0 * PAD - 2.0,
    )
}

/// Hosts with one cable, into a switch of their site, belong to its block.
fn blocks(topology: &Topology) -> Vec<Block> {
    let home = |node: usize| {
        let about = &topology.nodes[node];
        let mut plugs = topology.plugs(node);
        let (_, _, other) = plugs.next()?;
        let peer = &topology.nodes[other.node];
        let leaf = plugs.next().is_none() && about.kind != Kind::Switch;
        (leaf && peer.kind == Kind::Switch && peer.site == about.site).then_some(other.node)
    };
    let homes: Vec<_> = (0..topology.nodes.len()).map(home).collect();
    let cores = (0..topology.nodes.len()).filter(|node| homes[*node].is_none());
    let block = |node: usize| Block {
        node,
        leaves: (0..homes.len())
            .filter(|leaf| homes[*leaf] == Some(node))
            .collect(),
        layer: 0,
        band: 0,
        area: Area::default(),
        across: 1,
        card: 0.0,
        rows: Vec::new(),
    };
    cores.map(block).collect()
}

fn edges(topology: &Topology, blocks: &[Block]) -> Vec<Edge> {
    let of: BTreeMap<usize, usize> = blocks
        .iter()
        .zip(0..)
        .map(|(b, index)| (b.node, index))
        .collect();
    let edge = |(index, link): (usize, &crate::topology::Link)| {
        let ends = [of.get(&link.ends[0].node)?, of.get(&link.ends[1].node)?];
        Some(Edge {
            link: index,
            ends: ends.map(|e| *e),
            x: [0.0; 2],
        })
    };
    topology
        .links
        .iter()
        .enumerate()
        .filter_map(|(i, l)| edge((i, l)))
        .collect()
}

/// Distances from a block; `None` where no cable leads.
fn distances(count: usize, edges: &[Edge], from: usize) -> Vec<Option<usize>> {
    let mut found = vec![None; count];
    found[from] = Some(0);
    let mut queue = VecDeque::from([from]);
    while let Some(block) = queue.pop_front() {
        let next = found[block].map(|d| d + 1);
        for edge in edges.iter().filter(|e| e.ends.contains(&block)) {
            let other = if edge.ends[0] == block {
                edge.ends[1]
            } else {
                edge.ends[0]
            };
            if found[other].is_none() {
                found[other] = next;
                queue.push_back(other);
            }
        }
    }
    found
}

/// Each part's layers count from the block whose farthest one is nearest.
fn layers(blocks: &mut [Block], edges: &[Edge]) {
    let mut done = vec![false; blocks.len()];
    for start in 0..blocks.len() {
        if done[start] {
            continue;
        }
        let part = distances(blocks.len(), edges, start);
        let part: Vec<usize> = (0..blocks.len()).filter(|b| part[*b].is_some()).collect();
        let far = |b: &&usize| {
            distances(blocks.len(), edges, **b)
                .into_iter()
                .flatten()
                .max()
        };
        let root = part.iter().min_by_key(far).copied().unwrap_or(start);
        let layers = distances(blocks.len(), edges, root);
        for block in part {
            blocks[block].layer = layers[block].unwrap_or(0);
            done[block] = true;
        }
    }
}

/// Gives each site a band, and the nodes without one a band of theirs.
fn bands(topology: &Topology, blocks: &mut [Block]) -> Vec<Option<String>> {
    let mut sites: Vec<Option<String>> = Vec::new();
    for block in blocks {
        let site = &topology.nodes[block.node].site;
        block.band = sites.iter().position(|s| s == site).unwrap_or(sites.len());
        if block.band == sites.len() {
            sites.push(site.clone());
        }
    }
    sites
}

/// Cables of a block that leave it downwards (those within a layer do) and upwards.
fn counts(blocks: &[Block], edges: &[Edge], index: usize) -> (usize, usize) {
    let up = |e: &&Edge| e.ends[1] == index && blocks[e.ends[0]].layer < blocks[index].layer;
    let ends = |e: &Edge| e.ends.iter().filter(|end| **end == index).count();
    let all: usize = edges.iter().map(ends).sum();
    let up = edges.iter().filter(up).count();
    (all - up, up)
}

fn measure(topology: &Topology, blocks: &mut [Block], edges: &[Edge], index: usize) {
    let (down, up) = counts(blocks, edges, index);
    let node = blocks[index].node;
    let block = &mut blocks[index];
    if topology.nodes[node].kind != Kind::Switch {
        let (width, height) = size(topology, node);
        let ports = down.max(up) as f64 * NAMED;
        (block.area.width, block.area.height) = (width.max(ports), height);
        return;
    }
    let sizes: Vec<_> = block
        .leaves
        .iter()
        .map(|leaf| size(topology, *leaf))
        .collect();
    block.card = sizes.iter().map(|s| s.0).fold(0.0, f64::max);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a few"
    )]
    let fit = ((WIDE / (block.card + GAP)) as usize).clamp(1, ACROSS);
    let rows = sizes.len().div_ceil(fit).max(1);
    block.across = sizes.len().div_ceil(rows).max(1);
    block.rows = sizes
        .chunks(block.across)
        .map(|row| row.iter().map(|s| s.1).fold(0.0, f64::max))
        .collect();
    let gutter = if sizes.is_empty() {
        0.0
    } else {
        down as f64 * PORT
    };
    let cards = if sizes.is_empty() {
        0.0
    } else {
        block.across as f64 * (block.card + GAP)
    };
    let label = card::switch(topology, node).chars().count() as f64 * CHAR + 2.0 * PAD + 12.0;
    let least = label.max(down.max(up) as f64 * PORT).max(110.0);
    block.area.width = (gutter + cards).max(least);
    let below: f64 = block.rows.iter().map(|row| row + DROP).sum();
    block.area.height = BAR + below;
}

/// Room around sites, if there are any.
fn frame(sites: &[Option<String>]) -> f64 {
    if sites.iter().any(Option::is_some) {
        FRAME
    } else {
        0.0
    }
}

/// Where a layer begins and ends, from top to bottom.
type Spans = Vec<(f64, f64)>;

/// Gives every block its place; layers from top to bottom, bands from left to right.
fn place(blocks: &mut [Block], edges: &[Edge], sites: &[Option<String>]) -> Spans {
    let (bands, frame) = (sites.len(), frame(sites));
    let layers = blocks.iter().map(|b| b.layer + 1).max().unwrap_or(0);
    let mut cells: Vec<Vec<Vec<usize>>> = vec![vec![Vec::new(); bands]; layers];
    for (index, block) in blocks.iter().enumerate() {
        cells[block.layer][block.band].push(index);
    }
    across(blocks, &cells, frame);
    // Each pass moves blocks towards those they are cabled to.
    for pass in 0..6 {
        let order: Vec<usize> = if pass % 2 == 0 {
            (0..layers).collect()
        } else {
            (0..layers).rev().collect()
        };
        for layer in order {
            for cell in &mut cells[layer] {
                let middles: Vec<_> = cell
                    .iter()
                    .map(|b| (pulled(blocks, edges, *b), *b))
                    .collect();
                let mut sorted = middles;
                sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                *cell = sorted.into_iter().map(|(_, b)| b).collect();
            }
            across(blocks, &cells, frame);
        }
    }
    let mut spans = Vec::new();
    let mut y = GAP / 2.0 + 2.0 * frame;
    for layer in 0..layers {
        let of = |b: &&mut Block| b.layer == layer;
        let mut bottom = y;
        for block in blocks.iter_mut().filter(of) {
            block.area.y = y;
            bottom = bottom.max(y + block.area.height);
        }
        spans.push((y, bottom));
        let turning = edges
            .iter()
            .filter(|e| blocks[e.ends[0]].layer == layer)
            .count();
        y = bottom + 2.0 * CLEAR + turning as f64 * TRACK + 3.0 * frame;
    }
    spans
}

/// The mean of the middles of a block's neighbours.
fn pulled(blocks: &[Block], edges: &[Edge], index: usize) -> f64 {
    let middle = |b: usize| blocks[b].area.x + blocks[b].area.width / 2.0;
    let others = edges.iter().filter(|e| e.ends.contains(&index));
    let others: Vec<f64> = others
        .map(|e| {
            middle(if e.ends[0] == index {
                e.ends[1]
            } else {
                e.ends[0]
            })
        })
        .collect();
    if others.is_empty() {
        middle(index)
    } else {
        others.iter().sum::<f64>() / others.len() as f64
    }
}

/// Places blocks from left to right, each cell in the middle of its band.
fn across(blocks: &mut [Block], cells: &[Vec<Vec<usize>>], frame: f64) {
    let mut x = GAP / 2.0;
    let bands = cells.first().map_or(0, Vec::len);
    for band in 0..bands {
        let wide = |cell: &[usize], blocks: &[Block]| {
            let sum: f64 = cell.iter().map(|b| blocks[*b].area.width + 2.0 * GAP).sum();
            (sum - 2.0 * GAP).max(0.0)
        };
        let all = cells
            .iter()
            .map(|layer| wide(&layer[band], blocks))
            .fold(0.0, f64::max);
        for layer in cells {
            let mut at = x + frame + (all - wide(&layer[band], blocks)) / 2.0;
            for block in &layer[band] {
                blocks[*block].area.x = at;
                at += blocks[*block].area.width + 2.0 * GAP;
            }
        }
        x += all + 2.0 * frame + GAP;
    }
}

/// Gives every cable its places at the blocks, in the order of where it leads.
fn ports(topology: &Topology, blocks: &[Block], edges: &mut [Edge]) {
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
    for edge in edges.iter_mut().filter(|e| (e.x[0] - e.x[1]).abs() < 8.0) {
        let bar = |end: usize| topology.nodes[blocks[edge.ends[end]].node].kind == Kind::Switch;
        let from = usize::from(!bar(0) && bar(1));
        edge.x = [edge.x[1 - from]; 2];
    }
}

/// Turns places into areas and ways.
fn draw(
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
    out.wires.push(Wire { way, names });
}
