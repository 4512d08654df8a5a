//! What people have this host serve and leave: one address, everything, for now or until further
//! notice; and that the last member of an address does not go by mistake.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Daemon;
use crate::addr::{Prefix, shown};
use crate::daemon::config::MemberScope;
use crate::daemon::control::Asker;
use crate::daemon::{Failure, exit, status};
use crate::linux::state::Joined;
use crate::node::{JoinOptions, Link, LinkId, Remaining};
use crate::time::Instant;
use crate::wire::Scope;

/// Prefixes that one refusal names.
const NAMED: usize = 5;

/// What people want changed of what is served.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    /// Serve a prefix.
    Join {
        prefix: Prefix,
        preference: Option<u16>,
        scope: Option<MemberScope>,
    },
    /// Leave a prefix; `None`: everything.
    Leave { prefix: Option<Prefix>, force: bool },
    /// Serve nothing until further notice.
    Drain { force: bool },
    /// Serve again.
    Undrain,
}

impl Daemon {
    /// Does what people want changed of what is served.
    pub(super) async fn change(
        &mut self,
        now: Instant,
        change: Change,
        asker: Asker,
    ) -> Result<Value, Failure> {
        let (user, process) = (asker.user, asker.process);
        match change {
            Change::Join {
                prefix,
                preference,
                scope,
            } => {
                let options = JoinOptions {
                    preference: preference.unwrap_or_else(|| self.config.preference()),
                    scope: scope.unwrap_or_else(|| self.config.scope()).into(),
                    serial: None,
                };
                self.join(now, prefix, options).await?;
                tracing::info!(prefix = shown(&prefix), user, process, "told to join");
                Ok(status::done(self, "join", &[prefix]))
            }
            Change::Leave { prefix, force } => {
                let prefixes = match prefix {
                    Some(prefix) => vec![prefix.trunc()],
                    None => self.served(),
                };
                self.may_leave(&prefixes, force)?;
                let what = prefix.as_ref().map_or("everything".to_owned(), shown);
                tracing::info!(prefix = what, force, user, process, "told to leave");
                self.part(now, &prefixes, force, false);
                for prefix in &prefixes {
                    self.kernel.release(*prefix).await?;
                }
                Ok(status::done(self, "leave", &prefixes))
            }
            Change::Drain { force } => {
                let unchanged = self.is_drained();
                let prefixes = self.served();
                if !unchanged {
                    self.may_leave(&prefixes, force)?;
                    self.kernel.remember_drained(Some(self.joins()))?;
                    tracing::info!(force, user, process, "told to drain");
                    if self.kernel.dir().path().as_os_str().is_empty() {
                        tracing::warn!("there is no state directory: a restart ends the drain");
                    }
                    // Its addresses stay on lo, behind a closed gate: services can start meanwhile.
                    self.part(now, &prefixes, force, true);
                }
                Ok(status::unchanged(
                    unchanged,
                    status::done(self, "drain", &prefixes),
                ))
            }
            Change::Undrain => {
                let unchanged = !self.is_drained();
                let wanted = self.wanted();
                let prefixes: Vec<Prefix> = wanted.keys().copied().collect();
                if !unchanged {
                    self.kernel.remember_drained(None)?;
                    tracing::info!(user, process, "told to serve again");
                    for (prefix, options) in wanted {
                        self.join(now, prefix, options).await?;
                    }
                }
                Ok(status::unchanged(
                    unchanged,
                    status::done(self, "undrain", &prefixes),
                ))
            }
        }
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
        if self.is_drained() {
            let failure = Failure::new(exit::FAILED, "this host is drained: it serves nothing");
            return Err(failure.with_remedy("hamp undrain"));
        }
        let joined = self.node.join(now, prefix, options);
        joined.map_err(|error| Failure::new(exit::FAILED, error.to_string()))?;
        self.kernel.hold(now, &[prefix.trunc()]).await
    }

    /// Begins to leave, what nobody may take over by force.
    fn part(&mut self, now: Instant, prefixes: &[Prefix], force: bool, everything: bool) {
        for prefix in prefixes {
            self.kept.remove(prefix);
        }
        if !force {
            return self.node.hand_over(now, prefixes, everything);
        }
        if everything {
            self.node.end_departures(now);
        }
        self.node.leave_all(now, prefixes);
    }

    /// Serves on what nobody else has shown to serve since it was to be left.
    pub(super) async fn keep(&mut self, now: Instant) -> Result<(), Failure> {
        while let Some(kept) = self.node.poll_kept() {
            let why = if kept.all_leave {
                "every other member leaves it too: this host serves on"
            } else {
                "no other member was heard since the leave began: this host serves on"
            };
            tracing::warn!(prefixes = kept.prefixes.len(), why, "leave taken back");
            if kept.everything && self.is_drained() {
                self.kernel.remember_drained(None)?;
            }
            self.kernel.hold(now, &kept.prefixes).await?;
            let kept = kept.prefixes.into_iter().map(|prefix| (prefix, why));
            self.kept.extend(kept);
        }
        Ok(())
    }

    /// Refuses to leave what is not served, and, unless forced, what nobody else serves.
    fn may_leave(&self, prefixes: &[Prefix], force: bool) -> Result<(), Failure> {
        let mut absent = prefixes
            .iter()
            .filter(|prefix| !self.node.has_joined(prefix));
        if let Some(prefix) = absent.next() {
            return Err(self.absent(prefix));
        }
        if force {
            return Ok(());
        }
        let alone = prefixes.iter().flat_map(|prefix| {
            let links = self.node.remaining(*prefix).into_iter();
            let lonely = links.filter(|(_, remaining)| !remaining.takes_over());
            lonely.map(move |(link, remaining)| self.last(*prefix, link, &remaining))
        });
        let mut alone: Vec<String> = alone.collect();
        if alone.is_empty() {
            return Ok(());
        }
        if alone.len() > NAMED {
            let more = alone.len() - NAMED;
            alone.truncate(NAMED);
            alone.push(format!("and {more} more"));
        }
        let failure = Failure::new(exit::FAILED, alone.join("\n  "));
        Err(failure.with_remedy(
            "have another host serve it first (hamp join there), or --force to leave it to nobody",
        ))
    }

    /// Why a prefix that is not served cannot be left, and what could be instead.
    fn absent(&self, prefix: &Prefix) -> Failure {
        let text = shown(prefix);
        let failed = |message: String| Failure::new(exit::FAILED, message);
        if self.is_drained() {
            return failed(format!("{text} is not served here: this host is drained"));
        }
        let (mut around, mut within) = (None, None);
        for (served, _) in self.node.joined() {
            around = around.or(served.contains(prefix).then_some(served));
            within = within.or(prefix.contains(&served).then_some(served));
        }
        match (around.as_ref().map(shown), within.as_ref().map(shown)) {
            (Some(served), _) => failed(format!("{text} is served as part of {served}"))
                .with_remedy(format!("hamp leave {served}")),
            (None, Some(served)) => failed(format!(
                "{text} is not served here as a whole, as {served} is"
            ))
            .with_remedy(format!("hamp leave {served}")),
            (None, None) => failed(format!("{text} is not served here")),
        }
    }

    /// What the configuration names and is not to be served: it was left.
    pub(in crate::daemon) fn left(&self) -> Vec<Prefix> {
        if self.is_drained() || self.stopping.is_some() {
            return Vec::new();
        }
        let configured = self.configured().into_keys();
        configured
            .filter(|prefix| !self.node.has_joined(prefix))
            .collect()
    }

    /// Why this host has to stay on a link.
    fn last(&self, prefix: Prefix, link: LinkId, remaining: &Remaining) -> String {
        let called = |ids: &mut dyn Iterator<Item = _>| -> String {
            let names = ids.take(NAMED).map(|id| self.called(link, id));
            names.collect::<Vec<_>>().join(", ")
        };
        let mut text = format!(
            "{} has no other member on {}",
            shown(&prefix),
            self.kernel.name(link)
        );
        let others = self.node.link(link).into_iter();
        let others = others.flat_map(Link::peers);
        let mut idle = others
            .filter(|(_, peer)| !peer.records().is_empty())
            .map(|(id, _)| id)
            .filter(|id| !remaining.draining.contains(id));
        let idle = called(&mut idle);
        if !remaining.draining.is_empty() {
            let draining = called(&mut remaining.draining.iter().copied());
            text += &format!("; leaving it too: {draining}");
        }
        if !idle.is_empty() {
            text += &format!("; members there that do not serve it: {idle}");
        }
        if !remaining.routers.is_empty() {
            let routers = called(&mut remaining.routers.iter().copied());
            text += &format!("; what router {routers} knows elsewhere cannot be seen from here");
        }
        text
    }

    fn served(&self) -> Vec<Prefix> {
        self.node.joined().map(|(prefix, _)| prefix).collect()
    }

    /// Whether this host serves nothing until it is told to.
    pub(in crate::daemon) fn is_drained(&self) -> bool {
        self.kernel.dir().state.drained.is_some()
    }

    /// What is joined, as it is remembered.
    fn joins(&self) -> Vec<Joined> {
        let joined = self.node.joined().map(|(prefix, options)| Joined {
            prefix,
            preference: options.preference,
            scope: options.scope.number(),
        });
        let configured = self.configured();
        let differs = |joined: &Joined| configured.get(&joined.prefix) != Some(&options(joined));
        joined.filter(differs).collect()
    }

    fn configured(&self) -> BTreeMap<Prefix, JoinOptions> {
        let options = JoinOptions {
            preference: self.config.preference(),
            scope: self.config.scope().into(),
            serial: None,
        };
        let addresses = self.config.addresses().into_iter();
        addresses.map(|prefix| (prefix.trunc(), options)).collect()
    }

    /// What this host is to serve: now, or when it is no longer drained.
    pub(in crate::daemon) fn wanted(&self) -> BTreeMap<Prefix, JoinOptions> {
        let Some(drained) = &self.kernel.dir().state.drained else {
            return self.node.joined().collect();
        };
        let class = self.config.class();
        let mut wanted = self.configured();
        // The class may have changed since it was joined.
        let joined = drained.iter().filter(|joined| class.covers(&joined.prefix));
        wanted.extend(joined.map(|joined| (joined.prefix, options(joined))));
        wanted
    }
}

fn options(joined: &Joined) -> JoinOptions {
    JoinOptions {
        preference: joined.preference,
        scope: Scope::from(joined.scope),
        serial: None,
    }
}
