//! What the daemon tells: its log, and its answers to the control socket.

use std::future;

use futures_util::FutureExt;

use super::Daemon;
use super::serving::Change;
use crate::addr::shown;
use crate::daemon::control::{Asker, Request};
use crate::daemon::status;
use crate::node::{Event, Family};
use crate::time::Instant;
use crate::wire::frame::mac_text;

impl Daemon {
    pub(super) fn tell(&self, event: &Event) {
        match event {
            Event::Member { link, id, change } => {
                let (member, change) = (self.called(*link, *id), change.as_str());
                tracing::info!(link = self.kernel.name(*link), member, "member {change}");
            }
            Event::Owner {
                link,
                prefix,
                owner,
            } => {
                let prefix = shown(prefix);
                let owner = match owner {
                    Some(owner) if owner.own => "this host".to_owned(),
                    Some(owner) => self.called(*link, owner.id),
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
                let prefix = shown(prefix);
                let scope = status::scope(*scope);
                tracing::debug!(prefix, scope, draining, hops = hops.len(), "route");
            }
            Event::Forwarder {
                link,
                family,
                forwarder,
            } => {
                let forwarder = match forwarder {
                    Some(forwarder) if forwarder.own => "this host".to_owned(),
                    Some(forwarder) => self.called(*link, forwarder.id),
                    None => "nobody".to_owned(),
                };
                let link = self.kernel.name(*link);
                let family = match family {
                    Family::V4 => "IPv4",
                    Family::V6 => "IPv6",
                };
                tracing::info!(link, family, forwarder, "forwarder");
            }
            Event::Recovered => tracing::info!("recovered: the table is complete"),
            Event::Refused {
                link: on,
                id,
                reason,
            } => {
                let (link, reason) = (self.kernel.name(*on), reason.as_str());
                let member = self.called(*on, *id);
                tracing::warn!(link, member, reason, "refused: no room");
            }
            Event::Trouble { link, trouble } => {
                let kind = trouble.kind.as_str();
                tracing::warn!(link = self.kernel.name(*link), kind, "{trouble}");
            }
            Event::Neighbour { link, address, mac } => {
                let (link, mac) = (self.kernel.name(*link), mac.map(mac_text));
                tracing::trace!(link, %address, mac, "neighbour entry");
            }
            Event::Lease { link, lasts, .. } => {
                let (link, lasts_ms) = (self.kernel.name(*link), status::millis(*lasts));
                tracing::trace!(link, lasts_ms, "lease");
            }
            Event::Verified { link, .. } => {
                tracing::trace!(link = self.kernel.name(*link), "unicast address verified");
            }
            // Told when the kernel has done it.
            Event::Serve { .. } | Event::Withdraw { .. } | Event::Asker { .. } => {}
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
            Request::Why { address } => return status::why(self, now, address),
            Request::Connections => return status::connections(self),
            Request::Members => Ok(status::members(self, now)),
            Request::Routes => Ok(status::routes(self)),
            Request::Progress { prefix } => Ok(status::progress(self, prefix)),
            Request::Trust { mode } => self.set_trust(now, mode),
            Request::Reload => self.reload(now),
            Request::Join {
                prefix,
                preference,
                scope,
            } => {
                let change = Change::Join {
                    prefix,
                    preference,
                    scope,
                };
                self.change(now, change, asker).await
            }
            Request::Leave { prefix, force } => {
                let change = Change::Leave { prefix, force };
                self.change(now, change, asker).await
            }
            Request::Drain { force } => self.change(now, Change::Drain { force }, asker).await,
            Request::Undrain => self.change(now, Change::Undrain, asker).await,
        };
        future::ready(done).boxed()
    }
}
