//! The node's events as kernel state.
//!
//! What answers or acts for an anycast address is a lease: the gate and the hiding of ARP time out
//! in nftables, addresses on lo in the kernel's own address timer, neighbour entries in its
//! reachability. All are renewed from here, and only as long as the node says so. What is needed and
//! cannot be had at the start is an error with its remedy; later a failure is told and tried again,
//! and what others take away is found (`verify`) and put back.
//! What cannot be had of one family, setting or link (`partial`) takes nothing else along.

mod around;
mod askers;
mod class;
mod given_up;
mod links;
mod names;
mod own;
mod partial;
pub mod remote;
pub mod routes;
mod serving;
mod start;
mod troubles;
mod verified;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use tokio::sync::mpsc;

use self::links::Attached;
use self::own::Gate;
use self::routes::Routes;
use self::serving::Held;
use self::verify::Watch;
use super::Failure;
use super::config::Router;
use crate::addr::{Class, Prefix, shown};
use crate::linux::netlink::{Neighbour, Netlink};
use crate::linux::nft::{self, Own, Tables, connections};
use crate::linux::state::{Joined, StateDir};
use crate::linux::sysctl;
use crate::node::trouble::{Trouble, Troubles};
use crate::node::{Event, LinkId, Route, Transmit};
use crate::time::Instant;

/// How long an address stays on lo without a renewal; the gate closes it much earlier.
const HELD: Duration = Duration::from_secs(10);
/// How long the client's ARP stays hidden from the kernel without a renewal.
const HIDDEN: Duration = Duration::from_secs(5);
/// An installed neighbour entry is renewed at most this often.
const RENEW_NEIGHBOUR: Duration = Duration::from_secs(2);
/// How often [`Kernel::renew`] wants to be called.
pub const RENEW: Duration = Duration::from_secs(1);
/// Longest wait before what a predecessor left and nobody confirmed is swept.
const RECOVERY: Duration = Duration::from_secs(4);

/// A frame that a tap has read.
#[derive(Debug)]
pub struct Frame {
    /// Where it was seen.
    pub link: LinkId,
    /// All of it.
    pub bytes: Vec<u8>,
    /// This machine sent it.
    pub outgoing: bool,
}

/// Everything of ours in the kernel.
#[derive(Debug)]
pub struct Kernel {
    netlink: Netlink,
    tables: Tables,
    dir: StateDir,
    class: Class,
    member: bool,
    client: bool,
    /// The interfaces to speak on, by the kernel's names.
    interfaces: Vec<String>,
    names: names::Names,
    links: BTreeMap<LinkId, Attached>,
    /// What the last links that went were called.
    gone: BTreeMap<LinkId, String>,
    held: BTreeMap<Prefix, Held>,
    gate: Gate,
    /// This host's addresses.
    own: Own,
    /// Withdrawn, their gates still open: see [`Kernel::close_gates`].
    closing: Vec<Prefix>,
    neighbours: BTreeMap<(LinkId, IpAddr), ([u8; 6], Instant)>,
    /// Hosts that were answered.
    askers: askers::Askers,
    /// A router's routes to members.
    routes: Option<Routes>,
    /// As a router, how.
    router: Option<Router>,
    /// Next hops are of verified members only, and nobody may change their neighbour entries.
    verified: bool,
    /// Who counts on each link, where that is so.
    believed: verified::Believed,
    frames: mpsc::Sender<Frame>,
    /// Troubles of the whole host.
    troubles: Troubles,
    /// Anycast addresses on interfaces, not from hamp.
    strays: BTreeSet<Trouble>,
    /// The addresses around this host.
    seen: around::Seen,
    given_up: given_up::GivenUp,
    /// What could not be had.
    partial: partial::Partial,
    /// When to sweep what a predecessor left and nobody confirmed.
    sweep: Option<Instant>,
    /// What others took away.
    watch: Watch,
}

impl Kernel {
    /// Makes the machine do what the node says.
    pub async fn apply(&mut self, now: Instant, event: &Event) -> Result<(), Failure> {
        match event {
            Event::Serve { link, prefix } => self.serve(now, *link, *prefix).await,
            Event::Withdraw { link, prefix } => self.withdraw(*link, *prefix).await,
            Event::Lease {
                prefixes, lasts, ..
            } => self.lease(prefixes, *lasts),
            Event::Neighbour { link, address, mac } => {
                self.neighbour(now, *link, *address, *mac).await
            }
            Event::Asker { link, address, mac } => {
                self.follow_asker(now, *link, *address, *mac).await;
                Ok(())
            }
            Event::Member { link, .. } => {
                self.doubt_members(*link);
                Ok(())
            }
            Event::Verified { link, verified } => {
                self.believe(*link, verified);
                Ok(())
            }
            Event::Route {
                prefix,
                scope,
                draining,
                hops,
            } => {
                self.route(&Route {
                    prefix: *prefix,
                    scope: *scope,
                    draining: *draining,
                    hops: hops.clone(),
                });
                Ok(())
            }
            Event::Recovered => {
                if let Some(routes) = &mut self.routes {
                    routes.sweep();
                }
                Ok(())
            }
            Event::Owner { .. }
            | Event::Rejoined { .. }
            | Event::Forwarder { .. }
            | Event::Refused { .. }
            | Event::Trouble { .. } => Ok(()),
        }
    }

    /// Sends a frame; a link that is gone, down or full loses it, as links do.
    pub fn send(&self, transmit: &Transmit) {
        // Who says that it serves must be able to: without its gate this host is as good as away.
        if self.member && self.tables.missing().is_some() {
            return;
        }
        let Some(attached) = self.links.get(&transmit.link) else {
            return;
        };
        if let Err(error) = attached.tap.send(&transmit.frame) {
            tracing::debug!(link = attached.name, %error, "frame not sent");
        }
    }

    /// Throws away what waits on every tap: it is from before a pause.
    pub fn discard(&self) -> usize {
        self.links
            .values()
            .map(|attached| attached.tap.discard())
            .sum()
    }

    /// Name of a link, for people.
    pub fn name(&self, link: LinkId) -> &str {
        match self.links.get(&link) {
            Some(attached) => &attached.name,
            None => self.gone.get(&link).map_or("a former link", String::as_str),
        }
    }

    /// Remembers, over restarts, that this host is drained and what it had joined; `None`: no more.
    pub fn remember_drained(&mut self, joined: Option<Vec<Joined>>) -> Result<(), Failure> {
        self.dir.state.drained = joined;
        self.save()
    }

    /// The state directory.
    pub fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// Makes this host a member, if it is none: its gate is there from now on, closed.
    pub fn become_member(&mut self) -> Result<(), Failure> {
        if !self.member {
            self.load_member_gate()?;
            self.member = true;
            let names: Vec<String> = self.links.values().map(|link| link.name.clone()).collect();
            names.iter().for_each(|name| self.settle_member_link(name));
            self.enable_class();
        }
        Ok(())
    }

    /// Renews what does not hang on the node's hellos, and sweeps once the recovery is over.
    pub async fn renew(&mut self, now: Instant) -> Result<(), Failure> {
        self.tell_strays(now);
        self.tell_given_up(now);
        self.verify(now).await;
        if self.client {
            for attached in self.links.values() {
                self.tables.lease_hiding(&attached.name, HIDDEN)?;
            }
        }
        if self.verified {
            self.lease_verified()?;
        }
        // A share each time: with thousands of them the node's hellos must not wait for all.
        let share = self.held.len() / 3 + 1;
        let held = self.held.iter();
        let due = held.filter(|(_, held)| now.saturating_duration_since(held.renewed) >= HELD / 3);
        let due: Vec<Prefix> = due.map(|(prefix, _)| *prefix).take(share).collect();
        for prefix in due {
            let renewed = self.hold_one(now, prefix).await;
            if let Some(held) = self.held.get_mut(&prefix) {
                held.renewed = renewed;
            }
        }
        if self.sweep.is_some_and(|at| at <= now) {
            self.sweep = None;
            self.doubt_verified();
            self.sweep_unconfirmed().await?;
        }
        Ok(())
    }

    async fn neighbour(
        &mut self,
        now: Instant,
        link: LinkId,
        address: IpAddr,
        mac: Option<[u8; 6]>,
    ) -> Result<(), Failure> {
        let key = (link, address);
        let done = match mac {
            Some(mac) => {
                let renewed = self.neighbours.get(&key).is_some_and(|(installed, at)| {
                    *installed == mac && now.saturating_duration_since(*at) < RENEW_NEIGHBOUR
                });
                if renewed {
                    return Ok(());
                }
                self.neighbours.insert(key, (mac, now));
                self.netlink.set_neighbour(link.0, address, mac).await
            }
            None => {
                self.neighbours.remove(&key);
                self.netlink.remove_neighbour(link.0, address).await
            }
        };
        // The link may have gone in this moment, and its entries with it: the node hears of it.
        if let Err(error) = done {
            tracing::warn!(link = self.name(link), %error, "neighbour entry");
        }
        Ok(())
    }

    /// Removes what a predecessor left and the node has not asked for since.
    async fn sweep_unconfirmed(&mut self) -> Result<(), Failure> {
        // The permanent ones are the router's, whose routes are swept apart.
        let ours = |entry: &Neighbour| entry.ours && entry.state != "PERMANENT";
        for entry in self.netlink.neighbours(ours).await? {
            if !self
                .neighbours
                .contains_key(&(LinkId(entry.ifindex), entry.address))
            {
                tracing::info!(address = %entry.address, "neighbour entry of an earlier daemon swept");
                self.netlink
                    .remove_neighbour(entry.ifindex, entry.address)
                    .await?;
            }
        }
        if let Some(routes) = &mut self.routes {
            routes.sweep_class();
        }
        for prefix in self.netlink.holdings().await? {
            if !self.held.contains_key(&prefix) {
                tracing::info!(
                    prefix = shown(&prefix),
                    "address of an earlier daemon swept"
                );
                self.netlink.release(prefix).await?;
            }
        }
        Ok(())
    }

    /// Takes everything of ours away, whatever of it fails. The client's rules and routes stay
    /// while they carry connections: a restart adopts them. Errors: the first failure.
    pub async fn stop(mut self) -> Result<(), Failure> {
        let mut failed: Vec<Failure> = Vec::new();
        let connections = match connections::connections() {
            Ok(connections) if self.client => connections.len(),
            _ => 0,
        };
        let routes = self.routes.take();
        failed.extend(routes.and_then(|routes| routes.stop(connections > 0).err()));
        // The gate goes after what is behind it, which would be anybody's to reach without one.
        for prefix in std::mem::take(&mut self.held).into_keys() {
            failed.extend(self.netlink.release(prefix).await.err().map(Failure::from));
        }
        if connections > 0 {
            tracing::warn!(
                connections,
                "left in place for live connections; hamp clean ends them"
            );
            failed.extend(self.tables.retire().err().map(Failure::from));
        } else {
            // With an nft of its own: the session may be what failed.
            failed.extend(nft::clean().err().map(Failure::from));
        }
        failed.extend(
            self.netlink
                .remove_neighbours()
                .await
                .err()
                .map(Failure::from),
        );
        self.dir.state.prefixes.clear();
        let settings = match sysctl::restore_all(&mut self.dir) {
            Ok((_, settings)) => settings,
            Err(error) => vec![error],
        };
        failed.extend(
            settings
                .iter()
                .map(|error| Failure::io("setting not put back", error)),
        );
        self.dir.remove_if_empty();
        for failure in &failed {
            tracing::error!("{}", failure.message);
        }
        failed.into_iter().next().map_or(Ok(()), Err)
    }

    fn save(&self) -> Result<(), Failure> {
        self.dir
            .save()
            .map_err(|error| Failure::io("state", &error))
    }
}
