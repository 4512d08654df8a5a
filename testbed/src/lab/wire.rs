//! The wiring of a lab: links, addresses, routes, and waiting until all cables carry.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::ifaddrs::getifaddrs;
use nix::net::if_::InterfaceFlags;

use super::{Lab, mac_text};
use crate::host::{Host, Interface, PATH};
use crate::process::collect;
use crate::topology::{End, Kind, Via};
use crate::wait;

/// The index of the first cable's first end; those that the kernel gives by itself are smaller.
const FIRST_INDEX: usize = 10;
/// How many hosts are configured side by side.
const BATCHES: usize = 32;
/// How long one of them may take.
const BATCH_LIMIT: Duration = Duration::from_secs(10);
/// How long cables may take until they carry frames.
const CARRIER_LIMIT: Duration = Duration::from_secs(10);

impl Lab {
    /// Makes links, addresses and routes.
    pub(super) fn wire(&mut self) -> Result<()> {
        let Self {
            topology,
            hosts,
            links: impaired,
            took,
            ..
        } = self;
        let began = Instant::now();
        let mut links = String::new();
        let mut inner: Vec<String> = vec!["link set lo up\n".into(); hosts.len()];
        for (text, node) in inner.iter_mut().zip(&topology.nodes) {
            if node.kind == Kind::Switch {
                text.push_str("link add br0 type bridge forward_delay 0\nlink set br0 up\n");
            }
        }
        for (number, link) in topology.links.iter().enumerate() {
            let [a, b] = &link.ends;
            // The kernel looks at a change of carrier at once if the two ends have different
            // numbers, and within a second if they have the same.
            let index = FIRST_INDEX + 2 * number;
            let [at_a, at_b] = [(a, index), (b, index + 1)].map(|(end, index)| {
                let (mac, pid) = (mac_text(end.mac), hosts[end.node].pid());
                let name = &end.interface;
                format!("name {name} index {index} address {mac} netns {pid}")
            });
            // NOTE(unwrap): writing to a String cannot fail, here and below.
            match impaired.cable(topology, number)? {
                None => writeln!(links, "link add {at_a} type veth peer {at_b}").unwrap(),
                Some((netns, [inner_a, inner_b])) => write!(
                    links,
                    "link add {at_a} type veth peer name {inner_a} index {} netns {netns}\n\
                     link add {at_b} type veth peer name {inner_b} index {index} netns {netns}\n",
                    index + 1,
                )
                .unwrap(),
            }
            for (own, other) in [(a, b), (b, a)] {
                plug(&mut inner[own.node], topology.nodes[own.node].kind, own);
                let peer = topology.nodes[other.node].name.clone();
                hosts[own.node].interfaces.push(Interface {
                    name: own.interface.clone(),
                    peer,
                    port: other.interface.clone(),
                    mac: own.mac,
                    addresses: own.addresses.clone(),
                });
            }
        }
        for (text, node) in inner.iter_mut().zip(&topology.nodes) {
            for route in &node.routes {
                match &route.via {
                    Via::Gateway(via) => writeln!(text, "route add {} via {via}", route.to),
                    Via::Interface(dev) => writeln!(text, "route add {} dev {dev}", route.to),
                }
                .unwrap();
            }
        }
        ip(&links, None).context("make links")?;
        impaired.raise(topology)?;
        took.links = began.elapsed();
        for (host, node) in hosts.iter().zip(&topology.nodes) {
            if node.kind == Kind::Router {
                host.sysctl("ipv4/ip_forward", "1")?;
                host.sysctl("ipv6/conf/all/forwarding", "1")?;
            }
        }
        let all: Vec<_> = hosts.iter().zip(&inner).collect();
        all.chunks(BATCHES).try_for_each(configure)?;
        took.addresses = began.elapsed() - took.links;
        for (host, node) in hosts.iter().zip(&topology.nodes) {
            let all: Vec<_> = host.interfaces.iter().map(|i| i.name.as_str()).collect();
            carries(host, &all)?;
            if node.kind != Kind::Switch {
                all.iter()
                    .try_for_each(|name| detects_duplicates(host, name))?;
            }
        }
        took.carrier = began.elapsed() - took.links - took.addresses;
        Ok(())
    }
}

/// Has the kernel look for duplicates of addresses that are put on an interface from now on, as it
/// does outside labs; the lab's own are there already, at once.
fn detects_duplicates(host: &Host, interface: &str) -> Result<()> {
    for setting in ["accept_dad", "dad_transmits"] {
        host.sysctl(&format!("ipv6/conf/{interface}/{setting}"), "1")?;
    }
    Ok(())
}

/// Runs each host's lines in it, all side by side.
fn configure(hosts: &[(&Host, &String)]) -> Result<()> {
    let started: Vec<_> = hosts
        .iter()
        .map(|(host, text)| (host.name(), batch("ip", text, Some(host))))
        .collect();
    let end = |(name, started): (&str, Result<Child>)| {
        let ended = started.and_then(|child| collect("ip -batch", child, BATCH_LIMIT)?.ok());
        ended.with_context(|| name.to_owned()).map(drop)
    };
    // Every child is collected before the first error is returned: a host cannot end before.
    let ended: Vec<_> = started.into_iter().map(end).collect();
    ended.into_iter().collect()
}

/// Waits until interfaces of a host carry frames. The kernel tells a bridge of a port's carrier
/// from a queue of its own; a frame that comes before is lost, and the next ARP request is a second
/// away.
pub(crate) fn carries(host: &Host, interfaces: &[&str]) -> Result<()> {
    wait::until_ok(
        &format!("{} to carry frames", host.name()),
        CARRIER_LIMIT,
        || {
            let running = host.inside(running)??;
            match interfaces.iter().find(|name| !running.contains(**name)) {
                Some(down) => bail!("{down} has no carrier"),
                None => Ok(()),
            }
        },
    )
}

/// The interfaces of the calling thread's namespace that carry frames.
fn running() -> nix::Result<BTreeSet<String>> {
    let all = getifaddrs()?.filter(|i| i.flags.contains(InterfaceFlags::IFF_RUNNING));
    Ok(all.map(|i| i.interface_name).collect())
}

/// The lines that bring up one end of a cable.
fn plug(text: &mut String, kind: Kind, end: &End) {
    let name = &end.interface;
    if kind == Kind::Switch {
        writeln!(text, "link set dev {name} master br0 up").unwrap();
        return;
    }
    for address in &end.addresses {
        let nodad = if address.addr().is_ipv6() {
            " nodad"
        } else {
            ""
        };
        writeln!(text, "address add {address} dev {name}{nodad}").unwrap();
    }
    writeln!(text, "link set dev {name} up").unwrap();
}
/// Runs `ip -batch` with this text, in a host or in the calling thread's namespaces.
pub(crate) fn ip(text: &str, host: Option<&Host>) -> Result<()> {
    collect("ip -batch", batch("ip", text, host)?, BATCH_LIMIT)?.ok()?;
    Ok(())
}

/// The same with `tc`.
pub(crate) fn tc(text: &str, host: Option<&Host>) -> Result<()> {
    collect("tc -batch", batch("tc", text, host)?, BATCH_LIMIT)?.ok()?;
    Ok(())
}

/// Starts `ip` or `tc` with `-batch` and this text.
fn batch(program: &'static str, text: &str, host: Option<&Host>) -> Result<Child> {
    let mut command = Command::new(program);
    command
        .args(["-batch", "-"])
        .env("PATH", PATH)
        .stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = match host {
        Some(host) => host.inside(move || command.spawn())?,
        None => command.spawn(),
    };
    let mut child = child.with_context(|| format!("start {program} (package iproute2)"))?;
    if let Some(mut input) = child.stdin.take() {
        // Should it end before it has read everything, its status and its last words say why.
        let _ = input.write_all(text.as_bytes());
    }
    Ok(child)
}
