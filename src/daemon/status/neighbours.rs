//! A client's neighbour entries, as the node and as the kernel have them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};

use super::millis;
use super::ranks::{astray, name};
use crate::addr::Class;
use crate::daemon::Failure;
use crate::daemon::run::Daemon;
use crate::linux::netlink::Netlink;
use crate::node::{Link, LinkId};
use crate::time::{Duration, Instant};
use crate::wire::MemberId;
use crate::wire::frame::{Mac, mac_text};

/// An entry that the node has verified.
struct Known {
    mac: Mac,
    member: MemberId,
    name: Option<String>,
    preference: Option<u16>,
    age: Duration,
    /// Why it does not lead to the owner.
    why: Option<String>,
}

/// A link's verified entries.
type Verified = BTreeMap<IpAddr, Known>;

/// What the node knows of a client's entries, before the kernel is asked.
pub(super) struct Neighbours {
    netlink: Netlink,
    class: Option<Class>,
    links: Vec<(LinkId, String, Verified)>,
}

impl Neighbours {
    pub(super) fn new(daemon: &Daemon, now: Instant) -> Self {
        let node = daemon.node.config();
        let verified = |id: LinkId, link: &Link| -> Verified {
            let known = link.neighbours().map(|(at, entry)| {
                let ranks = link.ranks(at);
                let member = ranks.iter().find(|ranked| ranked.id == entry.member);
                let known = Known {
                    mac: entry.mac,
                    member: entry.member,
                    name: name(daemon, id, entry.member),
                    preference: member.map(|member| member.preference),
                    age: now.saturating_duration_since(entry.since),
                    why: astray(daemon, now, (id, link), at, entry),
                };
                (at, known)
            });
            known.collect()
        };
        let links = daemon.node.links();
        Self {
            netlink: daemon.kernel.netlink().clone(),
            class: node.client.then(|| node.class.clone()),
            links: links
                .map(|(id, link)| (id, daemon.kernel.name(id).to_owned(), verified(id, link)))
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
                let known = entry.map(|entry| entry.mac);
                json!({
                    "link": name,
                    "address": address,
                    "mac": known.or(kernel.and_then(|kernel| kernel.mac)).map(mac_text),
                    "member": entry.map(|entry| format!("{:#}", entry.member)),
                    "name": entry.and_then(|entry| entry.name.as_deref()),
                    "preference": entry.and_then(|entry| entry.preference),
                    "why": entry.and_then(|entry| entry.why.as_deref()),
                    "verified": entry.is_some(),
                    "age_ms": entry.map(|entry| millis(entry.age)),
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
