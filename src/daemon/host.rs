//! Whether a configuration is one for this host, as its kernel says: the same before a start and
//! when it is only looked over.

use std::collections::BTreeSet;
use std::path::Path;

use super::config::Config;
use super::{Failure, interfaces, overlap};
use crate::addr::Prefix;
use crate::linux::netlink::Netlink;

/// What was found out about a configuration that this host can start with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fit {
    /// The interfaces that it means, by the kernel's names; one that does not exist as it is named.
    pub interfaces: Vec<String>,
    /// What would not keep the daemon from starting, and is most likely not what was meant.
    pub warnings: Vec<String>,
}

/// Checks the configuration in `file` against what the kernel says of this host. `left`: what a
/// daemon is known to have put on lo.
///
/// # Errors
/// An interface is named as none can be, the class holds what is in use, or there is no such group;
/// or the kernel does not tell.
pub async fn check(file: &Path, config: &Config, left: &BTreeSet<Prefix>) -> Result<Fit, Failure> {
    let netlink = Netlink::open()
        .await
        .map_err(|error| Failure::io("netlink", &error))?;
    let (links, around) = (netlink.links().await?, netlink.around().await?);
    let interfaces = interfaces::check(file, config, &links)?;
    let warnings = overlap::check(file, config, (&links, &around), left)?;
    config.group(file)?;
    Ok(Fit {
        interfaces,
        warnings,
    })
}
