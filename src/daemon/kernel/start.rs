//! The start: adopting and sweeping what a predecessor left.
//!
//! A daemon that was killed leaves addresses, routes, neighbour entries, tables and settings. What
//! acts for an anycast address goes at once, unless this daemon is about to serve it again; what
//! carries traffic (the client's routes, neighbour entries and TCP rules) is adopted as stale and
//! swept when it is not confirmed after one recovery period.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::mpsc;

use super::own::Gate;
use super::routes::Routes;
use super::{Frame, Kernel, RECOVERY, Watch};
use crate::addr::shown;
use crate::daemon::Failure;
use crate::daemon::config::Config;
use crate::linux::netlink::Netlink;
use crate::linux::nft::{Own, Tables};
use crate::linux::state::StateDir;
use crate::linux::sysctl;
use crate::node::trouble::Troubles;
use crate::time::Instant;

impl Kernel {
    /// A hand on the machine, with nothing in it yet. Errors leave nothing behind.
    pub async fn start(
        config: &Config,
        dir: StateDir,
        frames: mpsc::Sender<Frame>,
    ) -> Result<Self, Failure> {
        let netlink = Netlink::open()
            .await
            .map_err(|error| Failure::io("netlink", &error))?;
        let held: Vec<_> = dir.state.prefixes.iter().copied().collect();
        Ok(Self {
            netlink,
            tables: Tables::start(config.class(), &held)?,
            dir,
            class: config.class(),
            member: false,
            client: config.is_client(),
            interfaces: config.node.interfaces.clone(),
            names: super::names::Names::new(config),
            links: BTreeMap::new(),
            gone: BTreeMap::new(),
            held: BTreeMap::new(),
            gate: Gate::new(config),
            own: Own::default(),
            closing: Vec::new(),
            neighbours: BTreeMap::new(),
            askers: super::askers::Askers::default(),
            routes: None,
            router: config.router().cloned(),
            verified: false,
            believed: super::verified::Believed::default(),
            frames,
            troubles: Troubles::default(),
            strays: BTreeSet::new(),
            seen: super::around::Seen::default(),
            given_up: super::given_up::GivenUp::default(),
            partial: super::partial::Partial::default(),
            sweep: None,
            watch: Watch::default(),
        })
    }

    /// Takes over the machine for a configuration; links come with [`Kernel::relink`].
    pub async fn adopt(&mut self, now: Instant, config: &Config) -> Result<(), Failure> {
        if !self.netlink.loopback_is_up().await? {
            self.raise_loopback().await?;
        }
        let state = |error| Failure::io("state", &error);
        let (restored, failed) = sysctl::restore_all(&mut self.dir).map_err(state)?;
        for path in restored {
            tracing::info!(path, "setting of an earlier daemon put back");
        }
        for error in failed {
            tracing::warn!(%error, "setting of an earlier daemon not put back");
        }
        self.routes = Some(Routes::start(self.class.prefixes(), config.router())?);
        if self.client {
            self.enable_class();
            self.tables.load_client()?;
            self.setting(sysctl::TCP_MTU_PROBING, "2");
        }
        if config.member.is_some() {
            self.become_member()?;
        } else {
            self.load_silence()?;
        }
        self.sweep_addresses(config).await?;
        self.tables.settle();
        self.sweep = Some(now + RECOVERY.max(config.dead() * 2));
        Ok(())
    }

    /// Takes away the addresses of an earlier daemon that this one will not serve.
    async fn sweep_addresses(&mut self, config: &Config) -> Result<(), Failure> {
        let kept = config.addresses();
        let mut left = self.netlink.holdings().await?;
        // Kernels before 5.18 keep no protocol number with an address: the state file knows.
        let present = self.netlink.on_loopback().await?;
        left.extend(
            self.dir
                .state
                .prefixes
                .iter()
                .filter(|prefix| present.contains(prefix)),
        );
        for prefix in left.into_iter().filter(|prefix| !kept.contains(prefix)) {
            tracing::info!(
                prefix = shown(&prefix),
                "address of an earlier daemon swept"
            );
            self.netlink.release(prefix).await?;
            self.tables.show(&[prefix])?;
        }
        self.dir
            .state
            .prefixes
            .retain(|prefix| kept.contains(prefix));
        self.dir
            .save()
            .map_err(|error| Failure::io("state", &error))
    }

    /// A handle on netlink, for what only reports.
    pub fn netlink(&self) -> &Netlink {
        &self.netlink
    }
}
