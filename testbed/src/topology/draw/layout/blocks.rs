//! What stands together, and in which layer and band.

use std::collections::{BTreeMap, VecDeque};

use super::{Area, Block, Edge};
use crate::topology::{Kind, Topology};

/// Hosts with one cable, into a switch of their site, belong to its block.
pub(super) fn blocks(topology: &Topology) -> Vec<Block> {
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

pub(super) fn edges(topology: &Topology, blocks: &[Block]) -> Vec<Edge> {
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
pub(super) fn layers(blocks: &mut [Block], edges: &[Edge]) {
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
pub(super) fn bands(topology: &Topology, blocks: &mut [Block]) -> Vec<Option<String>> {
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
pub(super) fn counts(blocks: &[Block], edges: &[Edge], index: usize) -> (usize, usize) {
    let up = |e: &&Edge| e.ends[1] == index && blocks[e.ends[0]].layer < blocks[index].layer;
    let ends = |e: &Edge| e.ends.iter().filter(|end| **end == index).count();
    let all: usize = edges.iter().map(ends).sum();
    let up = edges.iter().filter(up).count();
    (all - up, up)
}
