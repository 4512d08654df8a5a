//! Who acts for an address, in which order, and why a client is with whom it is with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

use futures_util::FutureExt;
use serde_json::{Value, json};

use super::Later;
use super::neighbours::Neighbours;
use crate::addr::{Prefix, shown};
use crate::daemon::run::Daemon;
use crate::daemon::{Failure, exit, plain};
use crate::node::{Link, LinkId};
use crate::proto::ownership::Candidate;
use crate::proto::resolver::{Entry, MAX_AGE};
use crate::time::Instant;
use crate::wire::frame::mac_text;
use crate::wire::{MemberId, Name};

/// Prefixes whose ranks are listed for a link: with all that a large router has, the node's hellos
/// would wait for the answer.
const RANKED: usize = 4096;

/// Every prefix that somebody serves on the link, its owner and the ranks for its first address.
pub(super) fn link_prefixes(daemon: &Daemon, id: LinkId, link: &Link) -> Vec<Value> {
    link.owners()
        .take(RANKED)
        .map(|(prefix, owner)| {
            json!({
                "prefix": shown(&prefix),
                "owner": format!("{:#}", owner.id),
                "owner_name": name(daemon, id, owner.id),
                "owner_mac": mac_text(owner.mac),
                "own": owner.own,
                "ranks": ranks(daemon, id, &link.ranks(prefix.addr())),
            })
        })
        .collect()
}

/// The name that a member's host states.
pub(super) fn name(daemon: &Daemon, link: LinkId, id: MemberId) -> Option<String> {
    let link = daemon.node.link(link)?;
    if link.member().identity().id == id {
        return Some(daemon.node.config().name.clone());
    }
    link.peer(id)?
        .name()
        .map(|name| Name::as_str(name).to_owned())
}

fn ranks(daemon: &Daemon, link: LinkId, ranks: &[Candidate]) -> Vec<Value> {
    let before = std::iter::once(None).chain(ranks.iter().map(Some));
    let ranked = ranks.iter().zip(before);
    ranked
        .map(|(candidate, before)| {
            json!({
                "id": format!("{:#}", candidate.id),
                "name": name(daemon, link, candidate.id),
                "mac": mac_text(candidate.mac),
                "own": candidate.own,
                "draining": candidate.draining,
                "preference": candidate.preference,
                "why": place(candidate, before),
            })
        })
        .collect()
}

/// Why a candidate comes after the one before it.
fn place(candidate: &Candidate, before: Option<&Candidate>) -> String {
    let Some(before) = before else {
        return "rank 1: it has the address".to_owned();
    };
    if candidate.draining && !before.draining {
        "it is about to leave".to_owned()
    } else if candidate.preference < before.preference {
        let (less, more) = (candidate.preference, before.preference);
        format!("preference {less}, less than {more}")
    } else {
        "same preference, lower score for this address".to_owned()
    }
}

/// Why a client's entry does not lead to the owner of its address; `None`: it does.
pub(super) fn astray(
    daemon: &Daemon,
    now: Instant,
    (id, link): (LinkId, &Link),
    address: IpAddr,
    entry: &Entry,
) -> Option<String> {
    let ranks = link.ranks(address);
    let Some(owner) = ranks.first() else {
        return Some("no member on this link serves it: a router stands in".to_owned());
    };
    if owner.id == entry.member {
        return None;
    }
    let age = now.saturating_duration_since(entry.since);
    let owned = daemon.called(id, owner.id);
    let before = match link.peer(owner.id) {
        _ if owner.own => "while another member answers this host".to_owned(),
        Some(peer) if peer.known_since() > entry.since => {
            format!("before {owned} joined, which has it now")
        }
        _ => format!("before {owned} came to be rank 1 for it"),
    };
    let left = MAX_AGE.saturating_sub(age).as_secs();
    let age = age.as_secs();
    Some(format!(
        "resolved {age} s ago, {before}; asked for again in {left} s at most"
    ))
}

/// `hamp.why/1`: where an address leads from here, and why.
///
/// Errors: it is no anycast address here.
pub(in crate::daemon) fn why(daemon: &Daemon, now: Instant, address: IpAddr) -> Later {
    if let Some(failure) = no_anycast(daemon, address) {
        return std::future::ready(Err(failure)).boxed();
    }
    let class = daemon.config.class();
    let links: Vec<Value> = daemon
        .node
        .links()
        .map(|(id, link)| {
            let candidates = link.ranks(address);
            json!({
                "link": daemon.kernel.name(id),
                "up": link.state().is_some(),
                "ranks": ranks(daemon, id, &candidates),
                "unranked": unranked(daemon, (id, link), address, &candidates),
                "entry": null,
            })
        })
        .collect();
    let router = daemon.node.router();
    let mut routes = router.into_iter().flat_map(crate::node::Router::routes);
    let elsewhere = routes.find(|route| route.prefix.contains(&address));
    let mut answer = json!({
        "schema": "hamp.why/1",
        "address": address,
        "anycast": true,
        "drained": daemon.is_drained(),
        "client": daemon.node.config().client,
        "served_here": daemon.node.joined().any(|(prefix, _)| prefix.contains(&address)),
        "route": elsewhere.map(|route| shown(&route.prefix)),
        "source": null,
        "stays": false,
        "leaves_by": null,
        "no_way": null,
        "links": links,
    });
    let at = |source: IpAddr| {
        let mut links = daemon.node.links().filter_map(|(id, link)| {
            let state = link.state()?;
            let own = [state.ipv4.map(IpAddr::V4), state.ipv6.map(IpAddr::V6)];
            own.contains(&Some(source)).then(|| daemon.kernel.name(id))
        });
        links.next().map(str::to_owned)
    };
    match source(address) {
        Ok(source) => {
            // Where an address of the class is local, the kernel sends from one to it.
            answer["stays"] = class.contains(source).into();
            answer["leaves_by"] = at(source).into();
            answer["source"] = source.to_string().into();
        }
        Err(error) => answer["no_way"] = plain(&error.to_string()).into(),
    }
    let neighbours = Neighbours::new(daemon, now);
    let later = async move {
        for (at, entries) in neighbours.complete().await?.into_iter().enumerate() {
            let wanted = address.to_string();
            let mut entries = entries.into_iter();
            let entry = entries.find(|entry| entry["address"] == wanted.as_str());
            answer["links"][at]["entry"] = entry.into();
        }
        Ok(answer)
    };
    later.boxed()
}

/// Why an address is no anycast address here; `None`: it is one.
fn no_anycast(daemon: &Daemon, address: IpAddr) -> Option<Failure> {
    if daemon.node.config().class.contains(address) {
        return None;
    }
    if daemon.config.class().contains(address) {
        let message = format!("{address} is given up here: a host or a subnet has it for its own");
        return Some(Failure::new(exit::FAILED, message).with_remedy("hamp status, under trouble"));
    }
    let class = &daemon.config.class;
    let ipv4 = class.ipv4.iter().map(ToString::to_string);
    let prefixes: Vec<String> = ipv4
        .chain(class.ipv6.iter().map(ToString::to_string))
        .collect();
    let message = format!("{address} is outside the class ({})", prefixes.join(", "));
    Some(Failure::new(exit::FAILED, message).with_remedy("an address of [class]"))
}

/// The address from which this host's kernel would send to `address`. Sends nothing.
fn source(address: IpAddr) -> std::io::Result<IpAddr> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect((address, 9))?;
    Ok(socket.local_addr()?.ip())
}

/// Members that serve the address and have no rank for it.
fn unranked(
    daemon: &Daemon,
    (id, link): (LinkId, &Link),
    address: IpAddr,
    ranks: &[Candidate],
) -> Vec<Value> {
    let longest = ranks
        .iter()
        .filter_map(|ranked| served_as(link, ranked.id, address))
        .map(|prefix| prefix.prefix_len())
        .max();
    let others = link
        .peers()
        .filter(|(peer, _)| !ranks.iter().any(|ranked| ranked.id == *peer));
    others
        .filter_map(|(peer, about)| {
            let (prefix, _) = about.records().longest_match(address)?;
            let speaks = match address {
                IpAddr::V4(_) => about.ipv4().is_some(),
                IpAddr::V6(_) => about.ipv6().is_some(),
            };
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            let why = if !speaks {
                format!("it has no {family} address on this link to serve it from")
            } else if Some(prefix.prefix_len()) < longest {
                format!("it serves {}, others a longer prefix", shown(&prefix))
            } else {
                "it has not reported all that it serves".to_owned()
            };
            Some(json!({
                "id": format!("{peer:#}"),
                "name": name(daemon, id, peer),
                "why": why,
            }))
        })
        .collect()
}

fn served_as(link: &Link, id: MemberId, address: IpAddr) -> Option<Prefix> {
    if link.member().identity().id == id {
        return Some(link.member().records().longest_match(address)?.0);
    }
    Some(link.peer(id)?.records().longest_match(address)?.0)
}
