//! A topology as a picture (SVG), as text for a terminal, and for Graphviz.
//!
//! Files: `card` what is said about a node, `layout` where everything is, `svg`, `text` and `dot`
//! the three forms.

mod card;
mod dot;
mod layout;
mod svg;
mod text;

pub use dot::dot;
pub use svg::{drawing, svg};
pub use text::text;

use super::Topology;

/// More nodes than a picture can show.
const MOST: usize = 200;

/// Whether a picture of it would help anybody.
pub fn is_drawable(topology: &Topology) -> bool {
    topology.nodes.len() <= MOST
}
