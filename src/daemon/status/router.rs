//! A router's table, its routes, and who forwards on its links.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::scope;
use crate::addr::shown;
use crate::addr::{Prefix, is_host};
use crate::daemon::config::LastLink;
use crate::daemon::kernel::routes::Told;
use crate::daemon::run::Daemon;
use crate::linux::fib::Multipath;
use crate::linux::sysctl;
use crate::node::{Link, Route, Router};
use crate::proto::election::{Family, Forwarder};
use crate::wire::frame::mac_text;
use crate::wire::{MemberId, Record};

/// Prefixes that an answer lists: with all of a large router's the node's hellos would wait.
const LISTED: usize = 4096;

/// `hamp.routes/1`: the routes, and how the kernel's stand.
pub(in crate::daemon) fn routes(daemon: &Daemon) -> Value {
    let told = told(daemon);
    let refused = |prefix: &Prefix| {
        let name = prefix.to_string();
        let mut refusals = told.refusals.iter();
        refusals.any(|(what, _)| what.split(' ').any(|word| word == name))
    };
    let router = daemon.node.router();
    let listed: Vec<Value> = router
        .into_iter()
        .flat_map(Router::routes)
        .take(LISTED)
        .map(|route| {
            let state = if refused(&route.prefix) {
                "refused"
            } else if route.draining {
                "draining"
            } else {
                "installed"
            };
            json!({
                "prefix": shown(&route.prefix),
                "scope": scope(route.scope),
                "state": state,
                "hops": hops(daemon, &route),
            })
        })
        .collect();
    json!({
        "schema": "hamp.routes/1",
        "wanted": router.map_or(0, Router::route_count),
        "installed": told.installed,
        "stale": told.stale,
        "refused": told.refused,
        "refusals": refusals(&told),
        "groups": told.groups,
        "recovered": recovered(daemon),
        "routes": listed,
    })
}

fn recovered(daemon: &Daemon) -> bool {
    daemon.node.links().all(|(_, link)| link.is_recovered())
}

fn hops(daemon: &Daemon, route: &Route) -> Vec<Value> {
    let router = daemon.config.router();
    let multicast = router.is_some_and(|router| router.last_link == LastLink::Multicast);
    let multicast = multicast && is_host(&route.prefix);
    let hops = route.hops.iter();
    hops.map(|hop| {
        json!({
            "link": daemon.kernel.name(hop.link),
            "via": (!multicast).then_some(hop.address),
            "mac": (hop.mac != [0; 6]).then(|| mac_text(hop.mac)),
        })
    })
    .collect()
}

/// The router's part of `hamp.status/1`; null where this host is none.
pub(super) fn summary(daemon: &Daemon) -> Value {
    let (Some(table), Some(kernel)) = (daemon.node.router(), daemon.kernel.routes()) else {
        return Value::Null;
    };
    let (multipath, told) = kernel;
    let switches = sysctl::FORWARDING.map(|(family, path)| (family, sysctl::is_on(path)));
    let forwarding: BTreeMap<&str, bool> = switches.into_iter().collect();
    json!({
        "memberships": table.memberships(),
        "memberships_limit": table.config().memberships,
        "routes": table.route_count(),
        "recovered": recovered(daemon),
        "forwarding": forwarding,
        "multipath": match multipath {
            Multipath::Groups { resilient: true } => "resilient groups",
            Multipath::Groups { resilient: false } => "groups",
            Multipath::Routes => "routes",
        },
        "kernel_routes": told.installed,
        "kernel_groups": told.groups,
        "stale": told.stale,
        "refused": told.refused,
        "refusals": refusals(&told),
    })
}

fn told(daemon: &Daemon) -> Told {
    daemon
        .kernel
        .routes()
        .map(|kernel| kernel.1)
        .unwrap_or_default()
}

fn refusals(told: &Told) -> Vec<Value> {
    let named = told.refusals.iter();
    named
        .map(|(what, errno)| json!({ "what": what, "errno": errno }))
        .collect()
}

/// Who asks and who forwards on a link; null where this host is no router.
pub(super) fn roles(link: &Link) -> Value {
    if !link.is_routed() {
        return Value::Null;
    }
    let who = |router: Option<Forwarder>| {
        router.map(|router| json!({ "id": format!("{:#}", router.id), "own": router.own }))
    };
    json!({
        "querier": who(link.querier()),
        "forwarder_ipv4": who(link.forwarder(Family::V4)),
        "forwarder_ipv6": who(link.forwarder(Family::V6)),
    })
}

/// The router's table: who serves a prefix, on which link.
pub(super) fn table(daemon: &Daemon) -> Vec<Value> {
    let Some(router) = daemon.node.router() else {
        return Vec::new();
    };
    let mut table: BTreeMap<Prefix, Vec<Value>> = BTreeMap::new();
    for (id, link) in daemon.node.links().filter(|(_, link)| link.is_routed()) {
        let name = daemon.kernel.name(id);
        for (member, peer) in link.peers() {
            for record in peer.records().iter().take(LISTED) {
                let Some(prefix) = record.prefix() else {
                    continue;
                };
                if table.len() < LISTED || table.contains_key(&prefix) {
                    let members = table.entry(prefix).or_default();
                    members.push(membership(name, member, &record));
                }
            }
        }
    }
    let routed: BTreeMap<Prefix, usize> = router
        .routes()
        .map(|route| (route.prefix, route.hops.len()))
        .collect();
    let one = |(prefix, members): (Prefix, Vec<Value>)| {
        json!({
            "prefix": shown(&prefix),
            "next_hops": routed.get(&prefix).copied().unwrap_or_default(),
            "members": members,
        })
    };
    table.into_iter().map(one).collect()
}

fn membership(link: &str, member: MemberId, record: &Record) -> Value {
    json!({
        "link": link,
        "id": format!("{member:#}"),
        "preference": record.preference,
        "scope": scope(record.scope),
        "draining": record.draining,
        "lifetime_ms": super::millis(record.lifetime),
    })
}
