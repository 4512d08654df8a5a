//! Who counts on each link in enforce mode, as rules of the kernel.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{HIDDEN, Kernel};
use crate::daemon::Failure;
use crate::node::{LinkId, Verified};

/// What the node has said, and whether the rules have it.
#[derive(Debug, Default)]
pub(super) struct Believed {
    links: BTreeMap<LinkId, Arc<Verified>>,
    changed: bool,
}

impl Kernel {
    /// Believes only these on a link, with the next [`Kernel::commit_verified`].
    pub(super) fn believe(&mut self, link: LinkId, verified: &Arc<Verified>) {
        if verified.hosts.is_empty() {
            self.believed.links.remove(&link);
        } else {
            self.believed.links.insert(link, Arc::clone(verified));
        }
        self.believed.changed = true;
    }

    /// Has the rules say what the node has said since the last call.
    pub fn commit_verified(&mut self) -> Result<(), Failure> {
        if !std::mem::take(&mut self.believed.changed) {
            return Ok(());
        }
        let links = self.links.iter().filter_map(|(id, attached)| {
            let verified = self.believed.links.get(id)?;
            Some((attached.name.as_str(), verified.as_ref()))
        });
        let links: Vec<_> = links.collect();
        Ok(self.tables.set_verified(&links)?)
    }

    /// What an earlier daemon left of them goes, unless the node says it again.
    pub(super) fn doubt_verified(&mut self) {
        self.believed.changed = true;
    }

    /// Renews the rules, or ends them where nobody enforces.
    pub(super) fn lease_verified(&mut self) -> Result<(), Failure> {
        let names = self.links.values().map(|attached| attached.name.as_str());
        let names: Vec<&str> = names.filter(|_| self.verified).collect();
        Ok(self.tables.lease_verified(&names, HIDDEN)?)
    }
}
