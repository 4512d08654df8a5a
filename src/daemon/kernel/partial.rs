//! What could not be had: one family, setting or interface that fails does not take the rest.
//!
//! IPv6 may be switched off, on all interfaces or on some, while a member runs; without it on lo its
//! anycast addresses cannot be held there, so it is no longer stated either, until it is back. A
//! setting that cannot be written (`/proc/sys` is read-only in most containers) is told with what to
//! do. An interface that cannot be opened is tried again; only a start at which none can be had, or
//! which names what is no link at all, fails.

use std::collections::BTreeMap;

use super::{HELD, HIDDEN, Kernel, links};
use crate::addr::{Prefix, shown};
use crate::daemon::{Failure, exit};
use crate::linux::netlink::Link;
use crate::linux::sysctl;
use crate::node::LinkId;
use crate::node::trouble::{Interface, Trouble, TroubleKind};
use crate::time::{Duration, Instant};

/// An interface that could not be opened is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);

/// What could not be had.
#[derive(Debug, Default)]
pub(super) struct Partial {
    /// IPv6 is off on lo, which is to hold addresses of it.
    ipv6_off: bool,
    /// Interfaces that cannot be used.
    refused: BTreeMap<u32, Trouble>,
    /// When they are tried again.
    again: Option<Instant>,
    /// The first look at the links is over.
    begun: bool,
}

impl Kernel {
    /// Whether the links are to be looked at again, though nothing was said of them.
    pub fn is_to_relink(&mut self, now: Instant) -> bool {
        let off = self.member && sysctl::is_on(sysctl::LO_DISABLE_IPV6);
        let turned = std::mem::replace(&mut self.partial.ipv6_off, off) != off;
        if turned {
            let held = self.held.iter_mut();
            held.filter(|(prefix, _)| matches!(prefix, Prefix::V6(_)))
                .for_each(|(_, held)| held.renewed = Instant::ZERO);
        }
        let again = self.partial.again.is_some_and(|again| again <= now);
        if again {
            self.partial.again = None;
        }
        turned || again
    }

    /// Has the links looked at again: what is around them has changed.
    pub(super) fn relink_soon(&mut self, now: Instant) {
        self.partial.again = Some(now);
    }

    /// Whether IPv6 addresses can be held.
    pub(super) fn holds_ipv6(&self) -> bool {
        !self.partial.ipv6_off
    }

    /// Holds a prefix on lo, or tells that it cannot be; when it was done last.
    pub(super) async fn hold_one(&mut self, now: Instant, prefix: Prefix) -> Instant {
        let off = Trouble::new(TroubleKind::Ipv6Off);
        let not_held = Trouble {
            address: Some(prefix.addr()),
            ..Trouble::new(TroubleKind::NotHeld)
        };
        // Given up: it must not be local, whoever has put it there.
        if !self.class.covers(&prefix) {
            let released = self.netlink.release(prefix).await;
            let released = released.map_err(|error| error.to_string()).and_then(|()| {
                let visible = self.tables.show(&[prefix]);
                visible.map_err(|error| error.to_string())
            });
            if let Err(error) = released {
                tracing::warn!(prefix = shown(&prefix), error, "given up, and still on lo");
            }
            return now;
        }
        if let Err(error) = self.tables.hide(&[prefix]) {
            tracing::warn!(prefix = shown(&prefix), %error, "not hidden from the kernel's ARP, so not put on lo");
            return Instant::ZERO;
        }
        match self.netlink.hold(prefix, HELD).await {
            Ok(()) => {
                let over = if matches!(prefix, Prefix::V6(_)) {
                    [not_held, off]
                } else {
                    [not_held; 2]
                };
                self.troubles.end(|trouble| over.contains(trouble));
                now
            }
            Err(error) => {
                tracing::debug!(prefix = shown(&prefix), %error, "not held");
                let off_now = matches!(prefix, Prefix::V6(_))
                    && (sysctl::is_on(sysctl::LO_DISABLE_IPV6) || !sysctl::has_ipv6());
                self.trouble(now, if off_now { off } else { not_held });
                Instant::ZERO
            }
        }
    }

    /// Changes a setting, or tells what its administrator should do.
    pub(super) fn setting(&mut self, path: &str, value: &str) {
        let Err(error) = sysctl::set(&mut self.dir, path, value) else {
            return;
        };
        let name = path.replace('/', ".");
        tracing::warn!(
            "kernel setting {name} is not {value}: {error}; where it is read-only, set it for this \
             network namespace from outside (sysctl -w {name}={value}, docker run --sysctl)"
        );
    }

    /// Opens a configured interface with all that it needs; whether it is there.
    pub(super) fn open(&mut self, link: &Link) -> Result<bool, Failure> {
        let id = LinkId(link.index);
        if self.links.contains_key(&id) {
            return Ok(true);
        }
        let now = crate::daemon::clock::now();
        let trouble = |kind| Trouble {
            interface: Some(Interface::new(&link.name)),
            ..Trouble::new(kind)
        };
        let Some(layer) = links::layer(link) else {
            if self.partial.begun {
                self.refuse(now, link.index, trouble(TroubleKind::NoLink));
                return Ok(false);
            }
            let message = format!(
                "interface {} is neither an Ethernet nor a point-to-point link",
                link.name
            );
            return Err(Failure::new(exit::CONFIG, message));
        };
        let opened = links::attach(link, layer, self.frames.clone()).and_then(|attached| {
            let Some(attached) = attached else {
                return Ok(false);
            };
            self.tables.attach(link.index, &link.name)?;
            if self.client {
                self.tables.lease_hiding(&link.name, HIDDEN)?;
                self.tables.end_entries(link.index, &link.name)?;
            }
            self.links.insert(id, attached);
            Ok(true)
        });
        match opened {
            Ok(false) => Ok(false),
            Ok(true) => {
                if self.member {
                    self.settle_member_link(&link.name);
                }
                if self.stands_in(&link.name) {
                    self.settle_router_link(&link.name);
                }
                if let Some(over) = self.partial.refused.remove(&link.index) {
                    self.troubles.end(|trouble| *trouble == over);
                }
                Ok(true)
            }
            Err(failure) if self.interfaces.len() == 1 && !self.partial.begun => Err(failure),
            Err(failure) => {
                if !self.partial.refused.contains_key(&link.index) {
                    let remedy = failure.remedy.as_deref().unwrap_or("it is tried again");
                    tracing::warn!(link = link.name, remedy, "{}", failure.message);
                }
                // Gone again, or half of it: the rest is as if it had never been opened.
                let _ = self.tables.detach(link.index);
                self.refuse(now, link.index, trouble(TroubleKind::LinkNotOpened));
                Ok(false)
            }
        }
    }

    fn refuse(&mut self, now: Instant, index: u32, trouble: Trouble) {
        self.partial.refused.insert(index, trouble);
        self.partial.again = Some(now + AGAIN);
        self.trouble(now, trouble);
    }

    /// The links were looked at. Errors: none of several could be opened at the start.
    pub(super) fn looked(&mut self, links: &[Link]) -> Result<(), Failure> {
        let there = |index: &u32| links.iter().any(|link| link.index == *index);
        self.partial.refused.retain(|index, _| there(index));
        let first = !std::mem::replace(&mut self.partial.begun, true);
        match self.partial.refused.values().next() {
            Some(trouble) if first && self.links.is_empty() => {
                Err(Failure::new(exit::FAILED, trouble.to_string()))
            }
            _ => Ok(()),
        }
    }
}
