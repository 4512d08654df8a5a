//! How large blocks are, and where they stand.

use super::blocks::counts;
use super::{
    ACROSS, BAR, Block, CLEAR, DROP, Edge, GAP, NAMED, PAD, PORT, Spans, TRACK, WIDE, frame, size,
};
use crate::picture::CHAR;
use crate::topology::draw::card;
use crate::topology::{Kind, Topology};

pub(super) fn measure(
    topology: &Topology,
    blocks: &mut [Block],
    edges: &[Edge],
    index: usize,
    bands: usize,
) {
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
    let fit = ((WIDE / (block.card + GAP)) as usize).clamp(1, (ACROSS / bands.max(1)).max(2));
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

/// Gives every block its place; layers from top to bottom, bands from left to right.
pub(super) fn place(blocks: &mut [Block], edges: &[Edge], sites: &[Option<String>]) -> Spans {
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
