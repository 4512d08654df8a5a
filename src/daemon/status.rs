//! What the control socket answers: JSON documents, described in `docs/schemas/`.
//!
//! Every document has `schema`; keys name their unit; versions of a schema only add keys.

mod neighbours;
mod progress;
mod ranks;
mod router;
mod trust;

use std::collections::BTreeMap;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use self::neighbours::Neighbours;
pub(super) use self::progress::{done, progress, unchanged};
use self::ranks::link_prefixes;
pub(super) use self::ranks::why;
pub(super) use self::router::routes;
pub(super) use self::trust::trust;
use super::run::Daemon;
use super::{Failure, exit};
use crate::addr::shown;
use crate::linux::nft::{client, connections, link, member};
use crate::node::trouble::{Course, Trouble};
use crate::node::{Link, LinkId};
use crate::proto::view::Peer;
use crate::proto::{Reason, Timing, What};
use crate::time::{Duration, Instant};
use crate::wire::frame::mac_text;
use crate::wire::{MemberId, Name, Record, Scope};

/// Records of others that are listed for a link: with all that a large router has, the node's hellos
/// would wait for the answer.
const LISTED: usize = 16_384;

/// An answer that is still to be completed with what the kernel says, which takes milliseconds:
/// the node goes on meanwhile.
pub(super) type Later = BoxFuture<'static, Result<Value, Failure>>;

/// `hamp.status/1`: everything about the node.
pub(super) fn status(daemon: &Daemon, now: Instant) -> Later {
    let node = daemon.node.config();
    let member = daemon.config.member.is_some() || daemon.node.joined().next().is_some();
    let roles = [
        ("member", member),
        ("client", node.client),
        ("router", daemon.node.router().is_some()),
    ];
    let links: Vec<Value> = daemon
        .node
        .links()
        .map(|(id, link)| link_status(daemon, now, id, link))
        .collect();
    let serving: Vec<Value> = daemon
        .node
        .joined()
        .map(|(prefix, options)| {
            json!({
                "prefix": shown(&prefix),
                "preference": options.preference,
                "scope": scope(options.scope),
            })
        })
        .collect();
    let mut status = json!({
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
        "drained": daemon.is_drained(),
        "left": daemon.left().iter().map(shown).collect::<Vec<_>>(),
        "links": links,
        "absent_interfaces": daemon.kernel.absent(),
        "down_interfaces": daemon.kernel.down(),
        "connections": 0,
        "trust": trust(daemon, now),
        "router": router::summary(daemon),
        "troubles": troubles(daemon, now),
        "pending": progress(daemon, None)["pending"],
        "counters": counters(daemon),
    });
    let (client, neighbours) = (node.client, Neighbours::new(daemon, now));
    let later = async move {
        for (at, neighbours) in neighbours.complete().await?.into_iter().enumerate() {
            status["links"][at]["neighbours"] = neighbours.into();
        }
        let asked = tokio::task::spawn_blocking(move || Ok((rebound(client)?.len(), rules())));
        let (connections, rules) = asked.await.unwrap_or_else(|error| Err(broken(&error)))?;
        status["connections"] = connections.into();
        status["counters"]["kernel_packets"] = rules;
        Ok(status)
    };
    later.boxed()
}

fn broken(error: &tokio::task::JoinError) -> Failure {
    Failure::new(exit::FAILED, error.to_string())
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
                "prefixes": link_prefixes(daemon, id, link),
            })
        })
        .collect();
    json!({ "schema": "hamp.members/1", "links": links, "table": router::table(daemon) })
}

/// `hamp.neighbours/1`: the client's entries, as the node and as the kernel have them.
pub(super) fn neighbours(daemon: &Daemon, now: Instant) -> Later {
    let neighbours = Neighbours::new(daemon, now);
    let later = async move {
        let neighbours = neighbours.complete().await?.concat();
        Ok(json!({ "schema": "hamp.neighbours/1", "neighbours": neighbours }))
    };
    later.boxed()
}

/// `hamp.connections/1`: TCP connections that were bound to a member.
pub(super) fn connections(daemon: &Daemon) -> Later {
    let client = daemon.node.config().client;
    let asked = tokio::task::spawn_blocking(move || rebound(client));
    let later = async move {
        let connections = asked.await.unwrap_or_else(|error| Err(broken(&error)))?;
        let connections: Vec<Value> = connections
            .iter()
            .map(|connection| {
                json!({
                    "local": connection.local,
                    "anycast": connection.anycast,
                    "member": connection.member,
                    "plain": connection.is_plain(),
                })
            })
            .collect();
        Ok(json!({ "schema": "hamp.connections/1", "connections": connections }))
    };
    later.boxed()
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

fn link_status(daemon: &Daemon, now: Instant, id: LinkId, link: &Link) -> Value {
    let state = link.state();
    let own = link.member();
    json!({
        "link": daemon.kernel.name(id),
        "index": id.0,
        "up": state.is_some(),
        "mac": state.map(|state| mac_text(state.mac)),
        "ipv4": state.and_then(|state| state.ipv4),
        "ipv6": state.and_then(|state| state.ipv6),
        "mtu_bytes": state.map(|state| state.mtu),
        "id": format!("{:#}", own.identity().id),
        "phase": own.phase(),
        "epoch": own.epoch(),
        "serving": records(own.records().iter()),
        "members": link_members(daemon, now, link),
        "prefixes": link_prefixes(daemon, id, link),
        "neighbours": [],
        "routing": router::roles(link),
    })
}

/// What others do that people should know of.
fn troubles(daemon: &Daemon, now: Instant) -> Vec<Value> {
    let links = daemon.node.links().flat_map(|(id, link)| {
        let link_name = daemon.kernel.name(id);
        let troubles = link.troubles(now);
        troubles.map(move |(what, course)| {
            trouble(now, Some(link_name), &what.to_string(), what, course)
        })
    });
    let host = daemon.kernel.troubles(now);
    let host = host.map(|(text, what, course)| trouble(now, None, &text, what, course));
    links.chain(host).collect()
}

fn trouble(
    now: Instant,
    link: Option<&str>,
    text: &str,
    trouble: &Trouble,
    course: &Course,
) -> Value {
    json!({
        "link": link,
        "kind": trouble.kind.as_str(),
        "text": text,
        "member": trouble.member.map(|id| format!("{id:#}")),
        "mac": trouble.mac.map(mac_text),
        "address": trouble.address,
        "interface": trouble.interface.map(|name| name.to_string()),
        "reason": trouble.reason.map(Reason::as_str),
        "since_ms": millis(now.saturating_duration_since(course.since)),
        "last_ms": millis(now.saturating_duration_since(course.last)),
        "count": course.count,
    })
}

fn link_members(daemon: &Daemon, now: Instant, link: &Link) -> Vec<Value> {
    let identity = link.member().identity();
    let mut room = LISTED;
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
    let peers = link.peers().map(|(id, peer)| {
        let listed = peer.records().len().min(room);
        room -= listed;
        one_peer(now, id, peer, listed)
    });
    own.into_iter().chain(peers).collect()
}

/// A member; so many of its records are listed.
fn one_peer(now: Instant, id: MemberId, peer: &Peer, listed: usize) -> Value {
    let mut member = one_member(id, &peer.mac(), peer.timing());
    let (epoch, generation) = peer.version();
    member.insert("own".into(), false.into());
    member.insert("name".into(), json!(peer.name().map(Name::as_str)));
    member.insert("ipv4".into(), json!(peer.ipv4()));
    member.insert("ipv6".into(), json!(peer.ipv6()));
    member.insert("epoch".into(), epoch.into());
    member.insert("generation".into(), generation.into());
    let heard = millis(now.saturating_duration_since(peer.heard()));
    member.insert("heard_ms".into(), heard.into());
    let serving = records(peer.records().iter().take(listed));
    member.insert("serving".into(), serving);
    member.insert("serving_count".into(), peer.records().len().into());
    Value::Object(member)
}

fn one_member(id: MemberId, address: &[u8; 6], timing: Timing) -> Map<String, Value> {
    let mut member = Map::new();
    member.insert("id".into(), format!("{id:#}").into());
    member.insert("mac".into(), mac_text(*address).into());
    member.insert("hello_ms".into(), millis(timing.hello).into());
    member.insert("dead_ms".into(), millis(timing.dead_time()).into());
    member
}

fn counters(daemon: &Daemon) -> Value {
    let counters = daemon.node.counters();
    let what = |(what, count): (What, u64)| (what.as_str(), count);
    let received: BTreeMap<&str, u64> = counters.received().map(what).collect();
    let sent: BTreeMap<&str, u64> = counters.sent().map(what).collect();
    let ignored = counters.ignored();
    let ignored: BTreeMap<&str, u64> = ignored.map(|(reason, n)| (reason.as_str(), n)).collect();
    let doubted = counters.doubted();
    let doubted: BTreeMap<&str, u64> = doubted.map(|(reason, n)| (reason.as_str(), n)).collect();
    json!({
        "received": received,
        "sent": sent,
        "ignored": ignored,
        "doubted": doubted,
        "kernel_packets": {},
    })
}

/// The rules' own counters, by table; a table that is not there has none.
fn rules() -> Value {
    let tables = [
        ("member", member::TABLE),
        ("client", client::TABLE),
        ("link", link::TABLE),
    ];
    let counted = tables.into_iter().filter_map(|(name, table)| {
        let counters = connections::counters(table).unwrap_or_default();
        let counters: BTreeMap<String, u64> = counters.into_iter().collect();
        (!counters.is_empty()).then(|| (name.to_owned(), json!(counters)))
    });
    Value::Object(counted.collect())
}

fn records(records: impl Iterator<Item = Record>) -> Value {
    let known = records.filter_map(|record| {
        let prefix = record.prefix()?;
        Some(json!({
            "prefix": shown(&prefix),
            "preference": record.preference,
            "scope": scope(record.scope),
            "draining": record.draining,
        }))
    });
    known.collect()
}

/// A scope as the configuration writes it.
pub fn scope(scope: Scope) -> &'static str {
    match scope {
        Scope::Site => "site",
        Scope::Global => "global",
        Scope::Link | Scope::Unknown(_) => "link",
    }
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
