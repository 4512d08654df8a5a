//! The node as a configuration makes it.

use super::trust;
use crate::daemon::config::Config;
use crate::daemon::trust::Keyring;
use crate::daemon::{Failure, clock, exit};
use crate::node::{JoinOptions, Node};
use crate::time::Instant;

/// A node for this configuration, with what it serves from the start: nothing if it is `drained`.
pub(super) fn node(
    now: Instant,
    config: &Config,
    keyring: &Keyring,
    drained: bool,
) -> Result<Node, Failure> {
    let secret = clock::secret()
        .map_err(|error| Failure::new(exit::MISSING, format!("randomness: {error}")))?;
    let mut node = config.node(host_name);
    trust::prepare(&mut node, config, keyring);
    let mut node = Node::new(node, secret, clock::epoch());
    trust::settle(&mut node, now, keyring);
    for prefix in config.addresses().into_iter().filter(|_| !drained) {
        let options = JoinOptions {
            preference: config.preference(),
            scope: config.scope().into(),
            ..JoinOptions::default()
        };
        let joined = node.join(now, prefix, options);
        joined.map_err(|error| Failure::new(exit::CONFIG, error.to_string()))?;
    }
    Ok(node)
}

/// What the kernel calls this host.
pub fn host_name() -> String {
    let name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    name.unwrap_or_else(|| "localhost".to_owned())
}
