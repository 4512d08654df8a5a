//! `hamp clean`: nothing of ours is left in this network namespace.

use serde_json::{Value, json};

use super::kernel::routes;
use super::{Failure, control, exit};
use crate::linux::netlink::Netlink;
use crate::linux::nft;
use crate::linux::place::Place;
use crate::linux::state::StateDir;
use crate::linux::{checks, sysctl};

/// Removes rules, addresses, routes and neighbour entries of ours and puts settings back, also
/// those that carry connections; what it did as `hamp.clean/1`. Errors: a daemon runs here.
pub fn clean(control: &str) -> Result<Value, Failure> {
    checks::all()?;
    let dir = StateDir::open(None).map_err(|error| {
        Failure::io("state directory", &error).with_remedy("set HAMP_STATE to the daemon's own")
    })?;
    let lock = dir
        .lock()
        .map_err(|error| Failure::io("state directory", &error))?;
    let place = Place::take(&dir).map_err(|error| Failure::io("the daemon's place", &error))?;
    let alive = lock.is_none()
        || place.is_none()
        || control::ask(control, &control::Request::Members).is_ok();
    if alive {
        return Err(control::running(dir.state.control.as_deref())
            .with_remedy("stop it first: it cleans up by itself"));
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::io("runtime", &error))?;
    runtime.block_on(sweep(dir))
}

async fn sweep(mut dir: StateDir) -> Result<Value, Failure> {
    let netlink = Netlink::open()
        .await
        .map_err(|error| Failure::io("netlink", &error))?;
    let rules = ["member", "client", "link"]
        .into_iter()
        .zip([nft::member::TABLE, nft::client::TABLE, nft::link::TABLE])
        .filter(|(_, table)| {
            nft::session::list(std::iter::once("table").chain(table.split(' '))).is_ok()
        })
        .map(|(_, table)| table)
        .collect::<Vec<_>>();
    nft::clean()?;
    let mut addresses = netlink.holdings().await?;
    let present = netlink.on_loopback().await?;
    for prefix in &dir.state.prefixes {
        if present.contains(prefix) && !addresses.contains(prefix) {
            addresses.push(*prefix);
        }
    }
    for prefix in &addresses {
        netlink.release(*prefix).await?;
    }
    // Before the routes, which take those of their next hops along, and do not count them.
    let neighbours = netlink.remove_neighbours().await?;
    let routes = routes::remove_all()? + netlink.remove_routes().await?;
    let state = |error| Failure::io("state", &error);
    let (restored, failed) = sysctl::restore_all(&mut dir).map_err(state)?;
    dir.state.prefixes.clear();
    dir.state.drained = None;
    dir.save().map_err(state)?;
    dir.remove_if_empty();
    if let Some(error) = failed.first() {
        return Err(Failure::new(
            exit::FAILED,
            format!("setting not put back: {error}"),
        ));
    }
    Ok(json!({
        "schema": "hamp.clean/1",
        "tables": rules,
        "addresses": addresses,
        "routes": routes,
        "neighbours": neighbours,
        "settings": restored,
    }))
}
