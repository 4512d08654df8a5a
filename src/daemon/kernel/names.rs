//! What interfaces are called: those of the configuration by the kernel's names, as they are now.

use super::Kernel;
use crate::daemon::config::{Config, Router};
use crate::daemon::interfaces;
use crate::linux::netlink::Link;
use crate::node::LinkId;

/// Names as the configuration has them, altnames among them.
#[derive(Debug)]
pub(super) struct Names {
    /// Of the interfaces to speak on.
    all: Vec<String>,
    /// Of those that this host is a router on, where it is not on all.
    routed: Option<Vec<String>>,
}

impl Names {
    pub(super) fn new(config: &Config) -> Self {
        let router = config.router().cloned();
        Self {
            all: config.node.interfaces.clone(),
            routed: router.and_then(|router| router.interfaces),
        }
    }
}

impl Kernel {
    /// Finds out which interfaces are meant, and tells which of them were renamed so that they are
    /// meant no longer.
    pub(super) fn follow_names(&mut self, links: &[Link]) {
        let real = |name: &String| interfaces::real(links, name).to_owned();
        let meant: Vec<String> = self.names.all.iter().map(real).collect();
        for (configured, real) in self.names.all.iter().zip(&meant) {
            if configured != real && !self.interfaces.contains(real) {
                tracing::info!(
                    interface = configured,
                    link = real,
                    "altname of an interface"
                );
            }
        }
        self.interfaces = meant;
        if let (Some(router), Some(routed)) = (&mut self.router, &self.names.routed) {
            router.interfaces = Some(routed.iter().map(real).collect());
        }
        for link in links {
            let was = self.links.get(&LinkId(link.index));
            let was = was.filter(|was| was.name != link.name);
            if let (Some(was), false) = (was, self.interfaces.contains(&link.name)) {
                let remedy = format!(
                    "ip link property add dev {0} altname {1}, or write {0} in node.interfaces and restart",
                    link.name, was.name
                );
                tracing::warn!(
                    link = was.name,
                    remedy,
                    "renamed to {}, which is not configured: nothing is served or reached there",
                    link.name
                );
            }
        }
    }

    /// Whether this host is a router of the link with this name.
    pub fn routes_on(&self, name: &str) -> bool {
        let acts = |router: &Router| router.acts_on(name);
        self.router.as_ref().is_some_and(acts)
    }

    /// Names of configured interfaces that do not exist.
    pub fn absent(&self) -> Vec<&str> {
        let exists = |name: &String| self.links.values().any(|attached| attached.name == *name);
        let all = self.names.all.iter().zip(&self.interfaces);
        let absent = all.filter(|(_, real)| !exists(real));
        absent.map(|(configured, _)| configured.as_str()).collect()
    }
}
