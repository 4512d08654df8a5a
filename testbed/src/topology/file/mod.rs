//! Topologies as TOML files (`docs/topology.md` has every key).
//!
//! The order of definitions does not matter, except that it numbers things: nodes, and thereby
//! link-layer addresses, in the order of the file; the interfaces of a host in the order of its own
//! `links`, then of the cables that end at it. Every error, also of [`Topology::check`] and of hamp's
//! own configuration inside, names file, line and key.
//!
//! Files: `keys` what may be written, `read` from there to a topology, `write` back.

mod keys;
mod read;
mod write;

use std::path::Path;

use hamp::daemon::config::Error;

use super::Topology;

impl Topology {
    /// Reads a file. Its name without `.toml` is the topology's, unless it says otherwise.
    ///
    /// # Errors
    /// It cannot be read, or not be built; with the line and the key.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Error {
            file: file.clone(),
            line: None,
            key: None,
            message: error.to_string(),
        })?;
        Self::parse(&text, &file)
    }

    /// Reads a file's text; `file` is its name in errors.
    ///
    /// # Errors
    /// It cannot be built; with the line and the key.
    pub fn parse(text: &str, file: &str) -> Result<Self, Error> {
        read::read(text, file)
    }

    /// The file that describes it. Reading that gives the same topology, except that cables may
    /// come in another order.
    ///
    /// # Errors
    /// A node's hamp configuration is not TOML.
    pub fn to_toml(&self) -> anyhow::Result<String> {
        write::write(self)
    }
}
