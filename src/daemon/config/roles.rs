//! The tables of routers, of trust and of limits.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::yes;
use crate::node;
use crate::proto::trust::Mode;
use crate::proto::view::Limits;

/// The `[limits]` table: how much is remembered of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsTable {
    /// Members on a link.
    pub members_per_link: usize,
    /// Records of a member on a link.
    pub records_per_member: usize,
    /// Records of all members of a link.
    pub records_per_link: usize,
}

impl Default for LimitsTable {
    fn default() -> Self {
        let limits = node::Limits::default();
        Self {
            members_per_link: limits.members,
            records_per_member: limits.records,
            records_per_link: limits.all_records,
        }
    }
}

impl From<LimitsTable> for Limits {
    fn from(table: LimitsTable) -> Self {
        Self {
            members: table.members_per_link,
            records: table.records_per_member,
            all_records: table.records_per_link,
        }
    }
}

/// How a router sends to members on a link of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LastLink {
    /// To the unicast address of one of them.
    #[default]
    Unicast,
    /// To their link-multicast address: they decide which of them takes it.
    Multicast,
}

/// How a route with several next hops is put into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Multipath {
    /// As a nexthop group that routes share, resilient where the kernel can do it.
    #[default]
    Groups,
    /// With its hops in itself.
    Routes,
}

impl Multipath {
    /// Whether routes share groups.
    pub fn is_grouped(self) -> bool {
        self == Self::Groups
    }
}

/// The `[router]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Present but off: false.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// The links that it is a router on; `None`: all of the node's.
    pub interfaces: Option<Vec<String>>,
    /// Memberships (prefix, member, link) of all links.
    #[serde(default = "memberships")]
    pub memberships: usize,
    /// Next hops of a route at most.
    #[serde(default = "ecmp")]
    pub ecmp: u8,
    /// How a route with several of them is put into the kernel.
    #[serde(default)]
    pub multipath: Multipath,
    /// Packets to addresses of the class without a member are dropped without ICMP.
    #[serde(default = "yes")]
    pub discard: bool,
    /// How members on its own links are sent to.
    #[serde(default)]
    pub last_link: LastLink,
    /// ARP and neighbour solicitations for addresses whose members live elsewhere are answered.
    #[serde(default = "yes")]
    pub proxy: bool,
}

/// What becomes of messages that cannot be verified.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum TrustMode {
    /// Nothing is checked.
    Off,
    /// What fails is counted, and used anyway.
    Count,
    /// What fails is refused.
    #[default]
    Enforce,
}

impl From<TrustMode> for Mode {
    fn from(mode: TrustMode) -> Self {
        match mode {
            TrustMode::Off => Self::Off,
            TrustMode::Count => Self::Count,
            TrustMode::Enforce => Self::Enforce,
        }
    }
}

/// The `[trust]` table. Paths are as the file has them, relative ones to its directory.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trust {
    /// What becomes of messages that cannot be verified.
    #[serde(default)]
    pub mode: TrustMode,
    /// This host's private key.
    pub key: Option<PathBuf>,
    /// What an authority says of that key.
    pub certificate: Option<PathBuf>,
    /// Public keys of the authorities whose certificates count.
    #[serde(default)]
    pub authorities: Vec<PathBuf>,
    /// Their revocation lists.
    #[serde(default)]
    pub revoked: Vec<PathBuf>,
}

impl Trust {
    /// Makes relative paths relative to `directory`.
    pub(super) fn resolve(&mut self, directory: &Path) {
        let own = [&mut self.key, &mut self.certificate].into_iter().flatten();
        let lists = self.authorities.iter_mut().chain(&mut self.revoked);
        for path in own.chain(lists) {
            *path = directory.join(&*path);
        }
    }
}

const fn memberships() -> usize {
    1 << 20
}
const fn ecmp() -> u8 {
    16
}

type Wrong = (&'static str, String);

impl LimitsTable {
    pub(super) fn check(self) -> Result<(), Wrong> {
        for (key, value, most) in [
            ("limits.members_per_link", self.members_per_link, 65_536),
            ("limits.records_per_member", self.records_per_member, 65_536),
            ("limits.records_per_link", self.records_per_link, 1 << 24),
        ] {
            if !(1..=most).contains(&value) {
                return Err((key, format!("{value} is not within 1 to {most}")));
            }
        }
        Ok(())
    }
}

impl From<&Router> for node::RouterConfig {
    fn from(router: &Router) -> Self {
        Self {
            hops: router.ecmp.into(),
            memberships: router.memberships,
            proxy: router.proxy,
            ..Self::default()
        }
    }
}

impl Router {
    pub(super) fn check(&self, interfaces: &[String]) -> Result<(), Wrong> {
        if !(1..=16).contains(&self.ecmp) {
            let message = format!("{} is not within 1 to 16", self.ecmp);
            return Err(("router.ecmp", message));
        }
        if !(1..=1 << 24).contains(&self.memberships) {
            let message = format!("{} is not within 1 to {}", self.memberships, 1 << 24);
            return Err(("router.memberships", message));
        }
        let unknown = |name: &&String| !interfaces.contains(name);
        if let Some(name) = self.interfaces.iter().flatten().find(unknown) {
            let message = format!("\"{name}\" is none of node.interfaces");
            return Err(("router.interfaces", message));
        }
        Ok(())
    }

    /// Whether this host is a router on the link of this name.
    pub fn acts_on(&self, name: &str) -> bool {
        let listed = |names: &Vec<String>| names.iter().any(|listed| listed == name);
        self.enabled && self.interfaces.as_ref().is_none_or(listed)
    }
}

impl Trust {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        match (&self.key, &self.certificate) {
            (None, Some(_)) => {
                let message = "a certificate is of use only with its private key, trust.key";
                return Err(("trust.certificate", message.to_owned()));
            }
            (Some(_), None) => {
                let message = "others verify a key by its certificate, trust.certificate";
                return Err(("trust.key", message.to_owned()));
            }
            _ => {}
        }
        if self.authorities.is_empty() && self.mode != TrustMode::Off {
            let message = "at least one authority's public key is needed to check anything: \
                           trust.authorities, or mode = \"off\"";
            return Err(("trust.mode", message.to_owned()));
        }
        if self.authorities.is_empty() && !self.revoked.is_empty() {
            let message = "a list counts only from an authority of trust.authorities";
            return Err(("trust.revoked", message.to_owned()));
        }
        Ok(())
    }
}
