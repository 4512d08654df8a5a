//! A member's side: addresses on lo, and the gate before them.
//!
//! An address is on lo from the moment that it is to be served at all until it is left, so that
//! services can bind it; whether anything gets through to it is the gate's affair.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Kernel;
use crate::addr::{Prefix, is_host, shown};
use crate::daemon::Failure;
use crate::linux::sysctl;
use crate::node::LinkId;
use crate::time::Instant;

/// A prefix whose addresses are on lo.
#[derive(Debug)]
pub(super) struct Held {
    /// Where it is served: without any, the gate is closed.
    pub(super) links: BTreeSet<LinkId>,
    /// It stays on lo also while it is served nowhere.
    pub(super) wanted: bool,
    /// When its addresses were renewed last.
    pub(super) renewed: Instant,
}

impl Kernel {
    /// Puts prefixes on lo, behind a closed gate: services can bind their addresses from now on,
    /// whatever becomes of the links. After the links, whose rules hide them from the kernel's ARP.
    pub async fn hold(&mut self, now: Instant, prefixes: &[Prefix]) -> Result<(), Failure> {
        if prefixes.is_empty() {
            return Ok(());
        }
        self.become_member()?;
        self.dir.state.prefixes.extend(prefixes);
        self.save()?;
        self.tables.hide(prefixes)?;
        if prefixes.iter().any(needs_nonlocal_bind) {
            self.allow_nonlocal_bind();
        }
        for prefix in prefixes {
            if let Some(held) = self.held.get_mut(prefix) {
                held.wanted = true;
                continue;
            }
            let held = Held {
                links: BTreeSet::new(),
                wanted: true,
                renewed: self.hold_one(now, *prefix).await,
            };
            self.held.insert(*prefix, held);
        }
        Ok(())
    }

    /// Brings lo up, and what goes with it when it is down is there again.
    pub(super) async fn raise_loopback(&mut self) -> Result<(), Failure> {
        tracing::warn!("lo was down: brought up, it holds the anycast addresses");
        self.netlink.loopback_up().await?;
        let now = crate::daemon::clock::now();
        for prefix in self.held.keys().copied().collect::<Vec<_>>() {
            self.hold_one(now, prefix).await;
        }
        Ok(())
    }

    /// Takes a prefix off lo, at once or as soon as it is no longer served.
    pub async fn release(&mut self, prefix: Prefix) -> Result<(), Failure> {
        let Some(held) = self.held.get_mut(&prefix) else {
            return Ok(());
        };
        held.wanted = false;
        if !held.links.is_empty() {
            return Ok(());
        }
        self.held.remove(&prefix);
        self.netlink.release(prefix).await?;
        self.tables.show(&[prefix])?;
        self.dir.state.prefixes.remove(&prefix);
        if needs_nonlocal_bind(&prefix) && !self.held.keys().any(needs_nonlocal_bind) {
            let restored = sysctl::restore(&mut self.dir, sysctl::IPV6_NONLOCAL_BIND);
            restored.map_err(|error| Failure::io("kernel setting", &error))?;
        }
        self.save()
    }

    /// A service answers from the address that it was asked at, of all those in a prefix.
    fn allow_nonlocal_bind(&mut self) {
        //= docs/spec/link.md#what-a-member-s-kernel-holds
        //# A program of the member that is asked at an address of a served prefix MUST be able to answer
        //# from it.
        let set = sysctl::set(&mut self.dir, sysctl::IPV6_NONLOCAL_BIND, "1");
        if let Err(error) = set {
            tracing::warn!(
                %error,
                "services cannot answer by UDP from the addresses of an IPv6 prefix: \
                 sysctl -w net.ipv6.ip_nonlocal_bind=1"
            );
        }
    }

    /// Whether a prefix's gate is open for what comes in by a link.
    pub fn serves(&self, link: LinkId, prefix: &Prefix) -> bool {
        let held = self.held.get(prefix);
        held.is_some_and(|held| held.links.contains(&link))
    }

    pub(super) async fn serve(
        &mut self,
        now: Instant,
        link: LinkId,
        prefix: Prefix,
    ) -> Result<(), Failure> {
        if let (Prefix::V6(net), true) = (prefix, is_host(&prefix))
            && let Some(attached) = self.links.get_mut(&link)
        {
            attached.groups.join_solicited(net.addr());
            attached.take_refused_groups();
        }
        if !self.held.contains_key(&prefix) {
            self.hold(now, &[prefix]).await?;
        }
        if let Some(held) = self.held.get_mut(&prefix) {
            held.links.insert(link);
        }
        tracing::info!(prefix = shown(&prefix), link = self.name(link), "serving");
        Ok(())
    }

    pub(super) async fn withdraw(&mut self, link: LinkId, prefix: Prefix) -> Result<(), Failure> {
        if let (Prefix::V6(net), true) = (prefix, is_host(&prefix))
            && let Some(attached) = self.links.get_mut(&link)
        {
            attached.groups.leave_solicited(net.addr());
        }
        let Some(held) = self.held.get_mut(&prefix) else {
            return Ok(());
        };
        held.links.remove(&link);
        tracing::info!(prefix = shown(&prefix), link = self.name(link), "withdrawn");
        let Some(held) = self.held.get(&prefix).filter(|held| held.links.is_empty()) else {
            return Ok(());
        };
        let wanted = held.wanted;
        self.closing.push(prefix);
        if wanted {
            return Ok(());
        }
        self.close_gates()?;
        self.release(prefix).await
    }

    /// Closes the gates that events have asked for since the last call, all at once.
    pub fn close_gates(&mut self) -> Result<(), Failure> {
        let closing = std::mem::take(&mut self.closing);
        if !closing.is_empty() {
            self.tables.close(&closing)?;
        }
        Ok(())
    }

    pub(super) fn lease(&mut self, prefixes: &[Prefix], lasts: Duration) -> Result<(), Failure> {
        self.close_gates()?;
        if !prefixes.is_empty() {
            self.tables.lease(prefixes, lasts)?;
        }
        Ok(())
    }
}

/// Whether a prefix's addresses are local by a route alone: the kernel lets nobody send from them.
fn needs_nonlocal_bind(prefix: &Prefix) -> bool {
    matches!(prefix, Prefix::V6(_)) && !is_host(prefix)
}
