//! `node.group`: whose members may ask the daemon.

use std::path::Path;

use super::{Config, Error, KeyPath};
use crate::daemon::control;

/// Refuses what is no name of a group, whatever groups this host has.
pub(super) fn check(group: &str) -> Result<(), String> {
    if group.is_empty() {
        return Err("is the name of a group; without the key nobody but root may ask".to_owned());
    }
    if group.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!(
            "\"{group}\" is a number: write the group's name (getent group {group})"
        ));
    }
    let strange = |c: char| c == ':' || c == ',' || c == '/' || c.is_whitespace() || c.is_control();
    if group.contains(strange) || group.starts_with('-') {
        return Err(format!("{group:?} is no name of a group"));
    }
    Ok(())
}

impl Config {
    /// The group whose members may ask the daemon, as the configuration in `file` names it.
    ///
    /// # Errors
    /// This host has no such group.
    pub fn group(&self, file: &Path) -> Result<Option<u32>, Error> {
        let Some(group) = &self.node.group else {
            return Ok(None);
        };
        let known = control::group(group).ok_or_else(|| {
            let message = format!("there is no group \"{group}\": groupadd --system {group}");
            Error::at(file, &KeyPath::of(&["node", "group"]), message)
        });
        known.map(Some)
    }
}
