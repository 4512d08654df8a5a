//! What the daemon tells: its log, and its answers to the control socket.

use std::future;

use futures_util::FutureExt;

use super::Daemon;
use crate::daemon::control::{Asker, Request};
use crate::daemon::{config, status};
use crate::node::Event;
use crate::time::Instant;

impl Daemon {
    pub(super) fn tell(&self, event: &Event) {
        match event {
            Event::Member { link, id, change } => {
                tracing::info!(link = self.kernel.name(*link), member = %id, ?change, "member");
            }
            Event::Owner {
                link,
                prefix,
                owner,
            } => {
                let prefix = config::shown(prefix);
                let owner = match owner {
                    Some(owner) if owner.own => "this host".to_owned(),
                    Some(owner) => owner.id.to_string(),
                    None => "nobody".to_owned(),
                };
                tracing::info!(link = self.kernel.name(*link), prefix, owner, "owner");
            }
            Event::Rejoined { link } => {
                tracing::warn!(link = self.kernel.name(*link), "was away: joins as new");
            }
            Event::Route {
                prefix,
                scope,
                draining,
                hops,
            } => {
                let prefix = config::shown(prefix);
                tracing::debug!(prefix, ?scope, draining, hops = hops.len(), "route");
            }
            Event::Forwarder {
                link,
                family,
                forwarder,
            } => {
                let forwarder = match forwarder {
                    Some(forwarder) if forwarder.own => "this host".to_owned(),
                    Some(forwarder) => forwarder.id.to_string(),
                    None => "nobody".to_owned(),
                };
                let link = self.kernel.name(*link);
                tracing::info!(link, ?family, forwarder, "forwarder");
            }
            Event::Recovered => tracing::info!("recovered: the table is complete"),
            Event::Refused { link, id, reason } => {
                let (link, reason) = (self.kernel.name(*link), reason.as_str());
                tracing::warn!(link, member = %id, reason, "refused: no room");
            }
            Event::Trouble { link, trouble } => {
                let kind = trouble.kind.as_str();
                tracing::warn!(link = self.kernel.name(*link), kind, "{trouble}");
            }
            Event::Lease { .. } | Event::Neighbour { .. } | Event::Verified { .. } => {
                tracing::trace!(?event);
            }
            Event::Serve { .. } | Event::Withdraw { .. } => tracing::debug!(?event),
        }
    }

    pub(super) async fn answer(
        &mut self,
        now: Instant,
        request: Request,
        asker: Asker,
    ) -> status::Later {
        let done = match request {
            Request::Status => return status::status(self, now),
            Request::Neighbours => return status::neighbours(self, now),
            Request::Connections => return status::connections(self),
            Request::Members => Ok(status::members(self, now)),
            Request::Routes => Ok(status::routes(self)),
            Request::Progress { prefix } => Ok(status::progress(self, prefix)),
            Request::Trust { mode } => self.set_trust(now, mode),
            Request::Reload => self.reload(now),
            change => self.change(now, change, asker).await,
        };
        future::ready(done).boxed()
    }
}
