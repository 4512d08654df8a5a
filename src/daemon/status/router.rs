//! A router: its table, and what has become of it in the kernel.

use serde_json::{Value, json};

use crate::daemon::run::Daemon;
use crate::linux::fib::Multipath;

/// The `router` of the status; null where this host is none.
pub(super) fn router(daemon: &Daemon) -> Value {
    let (Some(table), Some(kernel)) = (daemon.node.router(), daemon.kernel.routes()) else {
        return Value::Null;
    };
    let (multipath, told) = kernel;
    let refusals: Vec<Value> = told
        .refusals
        .iter()
        .map(|(what, errno)| json!({ "what": what, "errno": errno }))
        .collect();
    json!({
        "memberships": table.memberships(),
        "routes": table.route_count(),
        "multipath": match multipath {
            Multipath::Groups { resilient: true } => "resilient groups",
            Multipath::Groups { resilient: false } => "groups",
            Multipath::Routes => "routes",
        },
        "kernel_routes": told.installed,
        "kernel_groups": told.groups,
        "stale": told.stale,
        "refused": told.refused,
        "refusals": refusals,
    })
}
