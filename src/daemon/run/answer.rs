//! What the daemon tells: its log, and its answers to the control socket.

use std::future;

use futures_util::FutureExt;

use super::Daemon;
use crate::addr::Prefix;
use crate::daemon::control::Request;
use crate::daemon::{Failure, config, exit, status};
use crate::node::{Event, JoinOptions};
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
            Event::Lease { .. } | Event::Neighbour { .. } => tracing::trace!(?event),
            Event::Serve { .. } | Event::Withdraw { .. } => tracing::debug!(?event),
        }
    }

    pub(super) async fn answer(&mut self, now: Instant, request: Request) -> status::Later {
        let done = match request {
            Request::Status => return status::status(self, now),
            Request::Neighbours => return status::neighbours(self, now),
            Request::Connections => return status::connections(self),
            Request::Members => Ok(status::members(self, now)),
            Request::Routes => Ok(status::routes(self)),
            Request::Trust { mode } => self.set_trust(now, mode),
            Request::Reload => self.reload(now),
            Request::Join {
                prefix,
                preference,
                scope,
            } => {
                let options = JoinOptions {
                    preference: preference.unwrap_or_else(|| self.config.preference()),
                    scope: scope.unwrap_or_else(|| self.config.scope()).into(),
                    serial: None,
                };
                let joined = self.join(now, prefix, options).await;
                joined.map(|()| status::done("join", &prefix))
            }
            Request::Leave { prefix } => {
                let left = self.leave(now, prefix).await;
                left.map(|()| status::done("leave", &prefix))
            }
        };
        future::ready(done).boxed()
    }

    async fn join(
        &mut self,
        now: Instant,
        prefix: Prefix,
        options: JoinOptions,
    ) -> Result<(), Failure> {
        if self.stopping.is_some() {
            return Err(Failure::new(exit::FAILED, "the daemon is stopping"));
        }
        let joined = self.node.join(now, prefix, options);
        joined.map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
        self.kernel.hold(now, &[prefix.trunc()]).await
    }

    async fn leave(&mut self, now: Instant, prefix: Prefix) -> Result<(), Failure> {
        let left = self.node.leave(now, prefix);
        left.map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
        self.kernel.release(prefix.trunc()).await
    }
}
