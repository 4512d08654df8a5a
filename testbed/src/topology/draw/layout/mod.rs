//! Where everything is.
//!
//! A switch is a bar; the hosts that are plugged into it alone hang below it. A switch with its
//! hosts, and each other node, is a *block*. Blocks stand in layers by their distance from the
//! middle of the network, so that a cable ends in the same layer or the next, and sites in bands
//! side by side. Cables leave a block at its bottom or top and turn in the *channel* between two
//! layers, each on a track of its own: so no cable crosses a block, and no text meets another.

mod blocks;
mod place;
mod route;

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
/// Hosts side by side below a switch, fewer if there are several sites.
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
    /// To a host below its switch; such cables share their ways, as they share the switch.
    pub(super) branch: bool,
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
    let mut blocks = blocks::blocks(topology);
    let mut edges = blocks::edges(topology, &blocks);
    blocks::layers(&mut blocks, &edges);
    for edge in &mut edges {
        if blocks[edge.ends[0]].layer > blocks[edge.ends[1]].layer {
            edge.ends.swap(0, 1);
        }
    }
    let sites = blocks::bands(topology, &mut blocks);
    for index in 0..blocks.len() {
        place::measure(topology, &mut blocks, &edges, index, sites.len());
    }
    let spans = place::place(&mut blocks, &edges, &sites);
    route::ports(topology, &blocks, &mut edges);
    route::draw(topology, &mut blocks, &edges, &sites, &spans)
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
