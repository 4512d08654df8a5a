//! A client's neighbour entries, as the node and as the kernel have them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};

use super::{mac, millis};
use crate::addr::Class;
use crate::daemon::Failure;
use crate::daemon::run::Daemon;
use crate::linux::netlink::Netlink;
use crate::node::{Link, LinkId};
use crate::time::{Duration, Instant};
use crate::wire::MemberId;
use crate::wire::frame::Mac;

/// A link's verified entries: link-layer address, member, age.
type Verified = BTreeMap<IpAddr, (Mac, MemberId, Duration)>;

/// What the node knows of a client's entries, before the kernel is asked.
pub(super) struct Neighbours {
    netlink: Netlink,
    class: Option<Class>,
    links: Vec<(LinkId, String, Verified)>,
}

impl Neighbours {
    pub(super) fn new(daemon: &Daemon, now: Instant) -> Self {
        let node = daemon.node.config();
        let verified = |link: &Link| {
            let age = |since| now.saturating_duration_since(since);
            let entries = link.neighbours();
            entries
                .map(|(at, entry)| (at, (entry.mac, entry.member, age(entry.since))))
                .collect()
        };
        let links = daemon.node.links();
        Self {
            netlink: daemon.kernel.netlink().clone(),
            class: node.client.then(|| node.class.clone()),
            links: links
                .map(|(id, link)| (id, daemon.kernel.name(id).to_owned(), verified(link)))
                .collect(),
        }
    }

    /// For each link the entries of both, in the order of their addresses.
    pub(super) async fn complete(self) -> Result<Vec<Vec<Value>>, Failure> {
        let Some(class) = self.class else {
            return Ok(vec![Vec::new(); self.links.len()]);
        };
        let entries = self
            .netlink
            .neighbours(|entry| class.contains(entry.address))
            .await?;
        let describe = |id: LinkId, name: &str, verified: &Verified| {
            let own = entries.iter().filter(|entry| entry.ifindex == id.0);
            let kernel: BTreeMap<IpAddr, _> = own.map(|entry| (entry.address, entry)).collect();
            let addresses: BTreeSet<&IpAddr> = verified.keys().chain(kernel.keys()).collect();
            let describe = |address: &IpAddr| {
                let entry = verified.get(address);
                let kernel = kernel.get(address);
                let known = entry.map(|(address, ..)| *address);
                json!({
                    "link": name,
                    "address": address,
                    "mac": known.or(kernel.and_then(|kernel| kernel.mac)).as_ref().map(mac),
                    "member": entry.map(|(_, member, _)| format!("{member:#}")),
                    "verified": entry.is_some(),
                    "age_ms": entry.map(|(_, _, age)| millis(*age)),
                    "kernel_state": kernel.map(|kernel| kernel.state),
                })
            };
            addresses.into_iter().map(describe).collect()
        };
        Ok(self
            .links
            .iter()
            .map(|(id, name, verified)| describe(*id, name, verified))
            .collect())
    }
}
