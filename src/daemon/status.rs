//! What the control socket answers: JSON documents, described in `docs/schemas/`.
//!
//! Every document has `schema`; keys name their unit; versions of a schema only add keys.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::Failure;
use super::config::shown;
use super::run::Daemon;
use crate::addr::Prefix;
use crate::linux::nft::{client, connections, link, member};
use crate::node::{Link, LinkId};
use crate::proto::Timing;
use crate::proto::ownership::Candidate;
use crate::proto::view::Peer;
use crate::time::{Duration, Instant};
use crate::wire::{MemberId, Record};

/// `hamp.done/1`: a command was carried out.
pub(super) fn done(command: &str, prefix: &Prefix) -> Value {
    json!({ "schema": "hamp.done/1", "command": command, "prefix": shown(prefix) })
}

/// `hamp.status/1`: everything about the node.
pub(super) async fn status(daemon: &Daemon, now: Instant) -> Result<Value, Failure> {
    let node = daemon.node.config();
    let roles = [
        (
            "member",
            daemon.config.member.is_some() || daemon.node.joined().next().is_some(),
        ),
        ("client", node.client),
    ];
    let entries = kernel_entries(daemon).await?;
    let mut links = Vec::new();
    for (id, link) in daemon.node.links() {
        links.push(link_status(daemon, now, id, link, &entries));
    }
    let serving: Vec<Value> = daemon
        .node
        .joined()
        .map(|(prefix, options)| {
            json!({ "prefix": shown(&prefix), "preference": options.preference })
        })
        .collect();
    Ok(json!({
        "schema": "hamp.status/1",
        "name": node.name,
        "version": env!("CARGO_PKG_VERSION"),
        "pid": std::process::id(),
        "uptime_ms": millis(now.saturating_duration_since(daemon.started)),
        "control": daemon.control,
        "state_dir": daemon.kernel.dir().path(),
        "roles": roles.iter().filter(|(_, on)| *on).map(|(role, _)| role).collect::<Vec<_>>(),
        "hello_ms": millis(node.timing.hello),
        "dead_ms": millis(node.timing.dead_time()),
        "class": node.class.prefixes(),
        "serving": serving,
        "links": links,
        "absent_interfaces": daemon.kernel.absent(),
        "connections": rebound(node.client)?.len(),
        "counters": counters(daemon),
    }))
}

/// `hamp.members/1`: who is on each link, and the ranks for what they serve.
pub(super) fn members(daemon: &Daemon, now: Instant) -> Value {
    let links: Vec<Value> = daemon
        .node
        .links()
        .map(|(id, link)| {
            json!({
                "link": daemon.kernel.name(id),
                "members": link_members(daemon, now, link),
                "prefixes": link_prefixes(link),
            })
        })
        .collect();
    json!({ "schema": "hamp.members/1", "links": links })
}

/// `hamp.neighbours/1`: the client's entries, as the node and as the kernel have them.
pub(super) async fn neighbours(daemon: &Daemon, now: Instant) -> Result<Value, Failure> {
    let entries = kernel_entries(daemon).await?;
    let links = daemon.node.links();
    let neighbours: Vec<Value> = links
        .flat_map(|(id, link)| link_neighbours(daemon, now, id, link, &entries))
        .collect();
    Ok(json!({ "schema": "hamp.neighbours/1", "neighbours": neighbours }))
}

/// `hamp.connections/1`: TCP connections that were bound to a member.
pub(super) fn connections() -> Result<Value, Failure> {
    let connections: Vec<Value> = rebound(true)?
        .iter()
        .map(|connection| {
            json!({
                "local": connection.local,
                "anycast": connection.anycast,
                "member": connection.member,
            })
        })
        .collect();
    Ok(json!({ "schema": "hamp.connections/1", "connections": connections }))
}

/// Rebound connections; none where the client's table is not there.
fn rebound(client: bool) -> Result<Vec<connections::Connection>, Failure> {
    if client {
        Ok(connections::connections().or_else(absent)?)
    } else {
        Ok(Vec::new())
    }
}

/// A table that does not exist has no contents.
fn absent<T: Default>(error: crate::linux::nft::Error) -> Result<T, crate::linux::nft::Error> {
    match error {
        crate::linux::nft::Error::Refused(why) if why.contains("No such file") => Ok(T::default()),
        error => Err(error),
    }
}

type KernelEntries = BTreeMap<(LinkId, IpAddr), (Option<[u8; 6]>, &'static str)>;

/// The kernel's own entries for the class.
async fn kernel_entries(daemon: &Daemon) -> Result<KernelEntries, Failure> {
    if !daemon.node.config().client {
        return Ok(KernelEntries::new());
    }
    let class = &daemon.node.config().class;
    let entries = daemon
        .kernel
        .netlink()
        .neighbours(|entry| class.contains(entry.address))
        .await?;
    let entries = entries.into_iter();
    Ok(entries
        .map(|e| ((LinkId(e.ifindex), e.address), (e.mac, e.state)))
        .collect())
}

fn link_status(
    daemon: &Daemon,
    now: Instant,
    id: LinkId,
    link: &Link,
    entries: &KernelEntries,
) -> Value {
    let state = link.state();
    let own = link.member();
    json!({
        "link": daemon.kernel.name(id),
        "index": id.0,
        "up": state.is_some(),
        "mac": state.map(|state| mac(&state.mac)),
        "ipv4": state.and_then(|state| state.ipv4),
        "ipv6": state.and_then(|state| state.ipv6),
        "mtu_bytes": state.map(|state| state.mtu),
        "id": format!("{:#}", own.identity().id),
        "phase": own.phase(),
        "epoch": own.epoch(),
        "serving": records(own.records().iter()),
        "members": link_members(daemon, now, link),
        "prefixes": link_prefixes(link),
        "neighbours": link_neighbours(daemon, now, id, link, entries),
    })
}

fn link_members(daemon: &Daemon, now: Instant, link: &Link) -> Vec<Value> {
    let identity = link.member().identity();
    let own = (!link.member().records().is_empty()).then(|| {
        let timing = daemon.node.config().timing;
        let mut own = one_member(identity.id, &identity.mac, timing);
        own.insert("own".into(), true.into());
        own.insert("name".into(), daemon.node.config().name.clone().into());
        own.insert("ipv4".into(), json!(identity.ipv4));
        own.insert("ipv6".into(), json!(identity.ipv6));
        own.insert("epoch".into(), link.member().epoch().into());
        own.insert("heard_ms".into(), 0.into());
        own.insert("serving".into(), records(link.member().records().iter()));
        Value::Object(own)
    });
    own.into_iter()
        .chain(link.peers().map(|(id, peer)| one_peer(now, id, peer)))
        .collect()
}

fn one_peer(now: Instant, id: MemberId, peer: &Peer) -> Value {
    let mut member = one_member(id, &peer.mac(), peer.timing());
    let (epoch, generation) = peer.version();
    member.insert("own".into(), false.into());
    member.insert("ipv4".into(), json!(peer.ipv4()));
    member.insert("ipv6".into(), json!(peer.ipv6()));
    member.insert("epoch".into(), epoch.into());
    member.insert("generation".into(), generation.into());
    let heard = millis(now.saturating_duration_since(peer.heard()));
    member.insert("heard_ms".into(), heard.into());
    member.insert("serving".into(), records(peer.records().iter()));
    Value::Object(member)
}

fn one_member(id: MemberId, address: &[u8; 6], timing: Timing) -> Map<String, Value> {
    let mut member = Map::new();
    member.insert("id".into(), format!("{id:#}").into());
    member.insert("mac".into(), mac(address).into());
    member.insert("hello_ms".into(), millis(timing.hello).into());
    member.insert("dead_ms".into(), millis(timing.dead_time()).into());
    member
}

/// Every prefix that somebody serves on the link, its owner and the ranks for its first address.
fn link_prefixes(link: &Link) -> Vec<Value> {
    link.owners()
        .map(|(prefix, owner)| {
            let ranks: Vec<Value> = link.ranks(prefix.addr()).iter().map(candidate).collect();
            json!({
                "prefix": shown(&prefix),
                "owner": format!("{:#}", owner.id),
                "owner_mac": mac(&owner.mac),
                "own": owner.own,
                "ranks": ranks,
            })
        })
        .collect()
}

fn candidate(candidate: &Candidate) -> Value {
    json!({
        "id": format!("{:#}", candidate.id),
        "mac": mac(&candidate.mac),
        "own": candidate.own,
        "draining": candidate.draining,
        "preference": candidate.preference,
    })
}

fn link_neighbours(
    daemon: &Daemon,
    now: Instant,
    id: LinkId,
    link: &Link,
    entries: &KernelEntries,
) -> Vec<Value> {
    let verified: BTreeMap<IpAddr, _> = link.neighbours().collect();
    let kernel = entries
        .keys()
        .filter(|(link, _)| *link == id)
        .map(|(_, address)| *address);
    let addresses: std::collections::BTreeSet<IpAddr> =
        verified.keys().copied().chain(kernel).collect();
    let describe = |address: IpAddr| {
        let entry = verified.get(&address);
        let kernel = entries.get(&(id, address));
        let known = entry.map(|entry| mac(&entry.mac));
        let seen = kernel.and_then(|(address, _)| address.as_ref()).map(mac);
        json!({
            "link": daemon.kernel.name(id),
            "address": address,
            "mac": known.or(seen),
            "member": entry.map(|entry| format!("{:#}", entry.member)),
            "verified": entry.is_some(),
            "age_ms": entry.map(|entry| millis(now.saturating_duration_since(entry.since))),
            "kernel_state": kernel.map(|(_, state)| *state),
        })
    };
    addresses.into_iter().map(describe).collect()
}

fn counters(daemon: &Daemon) -> Value {
    let counters = daemon.node.counters();
    let ignored: BTreeMap<&str, u64> = counters
        .ignored
        .iter()
        .map(|(reason, count)| (reason.as_str(), *count))
        .collect();
    let mut kernel = Map::new();
    for (name, table) in [
        ("member", member::TABLE),
        ("client", client::TABLE),
        ("link", link::TABLE),
    ] {
        let counted = connections::counters(table).unwrap_or_default();
        if !counted.is_empty() {
            let counted: BTreeMap<String, u64> = counted.into_iter().collect();
            kernel.insert(name.into(), json!(counted));
        }
    }
    json!({
        "received": counters.received,
        "sent": counters.sent,
        "ignored": ignored,
        "kernel_packets": kernel,
    })
}

fn records<'a>(records: impl Iterator<Item = &'a Record>) -> Value {
    let known = records.filter_map(|record| {
        let prefix = record.prefix()?;
        Some(json!({
            "prefix": shown(&prefix),
            "preference": record.preference,
            "draining": record.draining,
        }))
    });
    known.collect()
}

fn mac(address: &[u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
