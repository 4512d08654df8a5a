//! `hamp-lab graph` and `hamp-lab export`: what can be made of a topology file without running it.

use std::path::PathBuf;

use anyhow::Result;
use clap::ValueEnum;
use hamp::daemon::exit;
use testbed::Topology;
use testbed::topology::{draw, export};

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
    testbed::outln!("{}", drawn.trim_end());
    Ok(exit::OK)
}

#[derive(Debug, clap::Args)]
pub(super) struct Export {
    /// For which tool
    #[arg(value_enum)]
    format: export::Format,
    /// Topology file (docs/topology.md); - is standard input
    file: PathBuf,
    /// Directory to write to; the topology's name and the tool's otherwise
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Container image of the nodes: one with iproute2 and a shell
    #[arg(long)]
    image: Option<String>,
}

pub(super) fn export(arguments: &Export) -> Result<u8> {
    let (file, text) = read(&arguments.file)?;
    let topology = Topology::parse(&text, &file)?;
    let files = topology.export(arguments.format, arguments.image.as_deref())?;
    let tool = arguments.format.to_possible_value();
    let tool = tool.map_or_else(String::new, |value| value.get_name().to_owned());
    let directory = arguments.output.clone();
    let directory = directory.unwrap_or_else(|| format!("{}-{tool}", topology.name).into());
    export::write(&directory, &files)?;
    testbed::outln!("{}: {} files", directory.display(), files.len());
    testbed::outln!(
        "  see shared/README there, then: {}",
        arguments.format.command()
    );
    Ok(exit::OK)
}
