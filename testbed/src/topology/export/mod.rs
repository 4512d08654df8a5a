//! The same network for those who outgrow one machine: as a directory for containerlab or Kathará.
//!
//! Both run containers, so what a host does to itself is the same for both: a shell script, which
//! names interfaces, sets addresses, routes and impairments (with the kernel's netem), and starts
//! hamp and the programs. They differ in how cables are written.
//!
//! Files: `script` a node's own commands, `containerlab` and `kathara` the rest of the directory.

mod containerlab;
mod kathara;
mod script;

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::Topology;

/// What to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A `.clab.yml` file (containerlab.dev), and a script for each node
    Containerlab,
    /// `lab.conf` and startup files (kathara.org)
    Kathara,
}

impl Format {
    /// The container image of a node unless another one is asked for: one with iproute2 and a shell.
    fn image(self) -> &'static str {
        match self {
            Self::Containerlab => "nicolaka/netshoot",
            Self::Kathara => "kathara/base",
        }
    }

    /// What a user does with the directory.
    pub fn command(self) -> &'static str {
        match self {
            Self::Containerlab => "sudo containerlab deploy",
            Self::Kathara => "sudo kathara lstart --privileged",
        }
    }
}

/// A file of the directory: its path there, and what is in it.
pub type Written = (String, String);

/// What both directories say about the programs that containers do not have.
const SHARED: &str = "\
Put the programs hamp and hamp-lab here, built for the image of the nodes. Nodes see this directory
as /shared, and look there for programs first.
";

impl Topology {
    /// The files of a directory that makes another tool build this network.
    ///
    /// # Errors
    /// It cannot be built, or the tool has no name for one of the nodes.
    pub fn export(&self, format: Format, image: Option<&str>) -> Result<Vec<Written>> {
        self.check()?;
        let image = image.unwrap_or(format.image());
        let mut files = match format {
            Format::Containerlab => containerlab::files(self, image)?,
            Format::Kathara => kathara::files(self, image)?,
        };
        files.push(("shared/README".into(), SHARED.into()));
        Ok(files)
    }
}

/// Writes files below a directory, which is made if it is not there.
///
/// # Errors
/// One of them is there already, or cannot be written.
pub fn write(directory: &Path, files: &[Written]) -> Result<()> {
    for (name, _) in files {
        let path = directory.join(name);
        ensure!(
            !path.exists(),
            "{} is there already; remove it, or choose another directory (--output)",
            path.display()
        );
    }
    for (name, text) in files {
        let path = directory.join(name);
        let parent = path.parent().unwrap_or(directory);
        std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
