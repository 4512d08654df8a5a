//! Routes to members: what a router wants in the kernel, what is there, and the way from one to
//! the other.
//!
//! [`Fib`] is pure: it is told what is wanted and what a dump of the kernel shows, and answers with
//! [`Op`]s in the order in which the kernel takes them. Carrying them out is `linux::netlink`'s
//! part, when to do so the daemon's.
//!
//! **Groups.** All routes with the same set of next hops share one nexthop group object of the
//! kernel, also where the set is a single hop. When a member leaves, the group is replaced once and
//! every route that uses it has moved; the group is *resilient* where the kernel can make it so,
//! and then flows through the hops that stay are not moved. What that promise covers:
//!
//! * All routes of a group change alike (a member or its link is gone): the group is changed in
//!   place, no flow of another hop moves.
//! * Some of them change (a member left one of its prefixes): they get a group of their own, which is
//!   made as the old one was made and then changed. Flows stay unless the old group had been changed
//!   since, or a group with these hops was there already.
//! * Kernels without resilient groups (before 5.13), [`Multipath::Routes`], and the sets that are more than
//!   [`GROUPS`]: a flow may move whenever the set changes.
//!
//! **Ours alone.** A route is created with the demand that none is there with its prefix and metric,
//! and replaced or removed only where a dump or we ourselves have seen that it carries our number.

pub mod class;
mod group;
mod table;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::addr::Prefix;

use class::{Place, Rule, Way};
pub use table::Fib;

/// Next hops of a route at most; more are not used.
pub const HOPS: usize = 16;
/// Nexthop groups at most (8 kB of the kernel's memory each, when resilient).
pub const GROUPS: usize = 1024;
/// Whether a route of ours with this metric is one that a [`Fib`] makes: to members, to leaving ones
/// (those are the worst but for [`DISCARD`]), or a discarding one. Others are a client's.
pub const fn is_metric(metric: u32) -> bool {
    matches!(metric, 1..100 | 0xfe00_0000..)
}
/// Metric of the routes that discard what has no member: the worst there is.
pub const DISCARD: u32 = u32::MAX;

/// Where a route leads: a neighbour on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// Index of the interface.
    pub link: u32,
    /// The neighbour's unicast address, which need not be in a prefix of the link. The unspecified
    /// address: no neighbour, the destination itself is on the link (RFC 1546's multicast delivery
    /// on the last link).
    pub via: IpAddr,
}

impl Hop {
    /// Whether the destination itself is on the link.
    pub fn is_on_link(&self) -> bool {
        self.via.is_unspecified()
    }
}

/// Next hops that share the traffic equally, in order and without repetition.
pub type HopSet = Arc<[Hop]>;

/// How a route with several next hops is put into the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Multipath {
    /// Nexthop group objects that routes share; `resilient` where the kernel has that type.
    Groups {
        /// Flows through hops that stay do not move.
        resilient: bool,
    },
    /// The hops in the route itself. Slower and not stable for flows, but what FRR 8 can read: it
    /// does not follow a group that changes, and puts the old hops back into it.
    Routes,
}

/// What a route does with a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Sends it to a hop of a nexthop group.
    Group(u32),
    /// Sends it to one of these hops.
    Hops(HopSet),
    /// Drops it without a word.
    Discard,
    /// Something that this program did not make like that.
    Other,
}

/// One change of the kernel's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A permanent neighbour entry.
    Neighbour {
        /// Index of the interface.
        link: u32,
        /// Whose entry.
        address: IpAddr,
        /// Its link-layer address; `None`: no entry.
        mac: Option<[u8; 6]>,
    },
    /// A new nexthop object.
    Nexthop {
        /// Its id.
        id: u32,
        /// Where it leads.
        hop: Hop,
    },
    /// A nexthop group object.
    Group {
        /// Its id.
        id: u32,
        /// Ids of its nexthop objects.
        members: Vec<u32>,
        /// It is there with other members.
        replace: bool,
        /// Of the resilient type.
        resilient: bool,
    },
    /// The end of a nexthop object or group that no route uses: the kernel would remove those
    /// routes without telling anybody.
    Forget {
        /// Its id.
        id: u32,
    },
    /// A route.
    Route {
        /// Where to.
        prefix: Prefix,
        /// Its metric.
        metric: u32,
        /// What it does.
        target: Target,
        /// One of ours is there.
        replace: bool,
    },
    /// The end of a route of ours.
    Remove {
        /// Where to.
        prefix: Prefix,
        /// Its metric.
        metric: u32,
    },
    /// A route of the class, in a table of ours.
    Class {
        /// Which.
        place: Place,
        /// Where to.
        way: Way,
        /// One is there.
        replace: bool,
    },
    /// The end of one.
    ClassEnd {
        /// Which.
        place: Place,
    },
    /// A policy rule of ours.
    Rule {
        /// Which.
        rule: Rule,
    },
    /// The end of one.
    RuleEnd {
        /// Which.
        rule: Rule,
    },
}

/// What of ours the kernel has, as a dump shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Routes in the main table.
    pub routes: Vec<(Prefix, u32, Target)>,
    /// Groups: id, ids of the members, whether resilient.
    pub groups: Vec<(u32, Vec<u32>, bool)>,
    /// Nexthop objects.
    pub nexthops: Vec<(u32, Hop)>,
    /// Ids of nexthop objects and groups that are not ours.
    pub foreign: BTreeSet<u32>,
    /// Permanent neighbour entries.
    pub neighbours: Vec<(u32, IpAddr, [u8; 6])>,
}
