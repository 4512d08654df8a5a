//! `hamp-lab graph` and `hamp-lab export`: what can be made of a topology file without running it.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use hamp::daemon::exit;
use testbed::Topology;
use testbed::topology::draw;

use super::up::read;

#[derive(Debug, clap::Args)]
pub(super) struct Graph {
    /// Topology file (docs/topology.md); - is standard input
    file: PathBuf,
    /// What to print
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// A drawing for terminals
    #[default]
    Text,
    /// A picture
    Svg,
    /// Input for Graphviz
    Dot,
}

pub(super) fn graph(arguments: &Graph) -> Result<u8> {
    let (file, text) = read(&arguments.file)?;
    let topology = Topology::parse(&text, &file)?;
    let drawn = match arguments.format {
        Format::Text => draw::text(&topology),
        Format::Svg => draw::svg(&topology),
        Format::Dot => draw::dot(&topology),
    };
    println!("{}", drawn.trim_end());
    Ok(exit::OK)
}
