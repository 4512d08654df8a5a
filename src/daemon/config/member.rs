//! The table of members.

use serde::Deserialize;

use super::{AddressOrPrefix, preference};
use crate::proto::rebind;

/// The `[member]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// What is served from the start.
    #[serde(default)]
    pub addresses: Vec<AddressOrPrefix>,
    /// Higher answers first.
    #[serde(default = "preference")]
    pub preference: u16,
    /// How far routers may carry what is served.
    #[serde(default)]
    pub scope: MemberScope,
    /// How TCP is served.
    #[serde(default)]
    pub tcp: MemberTcp,
}

/// How far routers may carry what a member serves.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum MemberScope {
    /// Not off its link.
    Link,
    /// Inside the site.
    Site,
    /// Anywhere.
    #[default]
    Global,
}

impl From<MemberScope> for crate::wire::Scope {
    fn from(scope: MemberScope) -> Self {
        match scope {
            MemberScope::Link => Self::Link,
            MemberScope::Site => Self::Site,
            MemberScope::Global => Self::Global,
        }
    }
}

/// How a member takes TCP connections to its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberTcp {
    /// As each client can.
    #[default]
    Auto,
    /// As RFC 1546 says: clients without hamp are reset.
    Rebind,
    /// The address stays what both ends see.
    Plain,
}

impl From<MemberTcp> for rebind::member::Mode {
    fn from(tcp: MemberTcp) -> Self {
        match tcp {
            MemberTcp::Auto => Self::Auto,
            MemberTcp::Rebind => Self::Rebind,
            MemberTcp::Plain => Self::Plain,
        }
    }
}
