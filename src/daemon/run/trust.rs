//! Whose word counts: the files of the `[trust]` table, at the start and again on a reload.

use std::path::Path;

use serde_json::{Value, json};

use super::Daemon;
use crate::daemon::config::{self, Config, TrustMode};
use crate::daemon::trust::Keyring;
use crate::daemon::{Failure, clock, exit, status};
use crate::node::{self, Node};
use crate::time::Instant;

/// A clock that was set by more than this is told to the node.
const CLOCK_STEP_MS: u64 = 500;
/// How long before the end of its own certificate the daemon begins to warn, and how often.
const WARNING_MS: u64 = 14 * DAY_MS;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// Reads what the `[trust]` table of the configuration in `file` names; nothing without one. Errors
/// say which key of it names what is wrong.
pub fn load(file: &Path, config: &Config) -> Result<Keyring, Failure> {
    let Some(table) = &config.trust else {
        return Ok(Keyring::default());
    };
    Keyring::load(table).map_err(|wrong| Failure {
        message: config::Error::at(file, &wrong.key, wrong.failure.message).to_string(),
        ..wrong.failure
    })
}

/// Puts what was read into the configuration of a node that is to be.
pub(super) fn prepare(node: &mut node::Config, config: &Config, keyring: &Keyring) {
    node.trust = mode(config).into();
    node.credentials.clone_from(&keyring.credentials);
    node.authorities.clone_from(&keyring.authorities);
}

/// Tells a node what can change while it lives: the time, and what authorities have taken back.
pub(super) fn settle(node: &mut Node, now: Instant, keyring: &Keyring) {
    node.set_wall(now, clock::epoch());
    for list in &keyring.lists {
        if let Err(error) = node.revoke(now, list) {
            tracing::warn!(%error, "revocation list not taken");
        }
    }
}

fn mode(config: &Config) -> TrustMode {
    let trust = config.trust.as_ref();
    trust.map_or(TrustMode::Off, |trust| trust.mode)
}

impl Daemon {
    /// Reads the configuration's `[trust]` table and the files that it names again. Errors leave
    /// everything as it was. Other tables that differ need a restart: the answer names them.
    pub(super) fn reload(&mut self, now: Instant) -> Result<Value, Failure> {
        let config = Config::load(&self.file)?;
        let keyring = load(&self.file, &config)?;
        let differing = self.config.differing_tables(&config);
        for table in &differing {
            tracing::warn!(table, "changed in the file: takes effect with a restart");
        }
        self.config.trust.clone_from(&config.trust);
        self.node.set_authorities(now, keyring.authorities.clone());
        settle(&mut self.node, now, &keyring);
        self.node.set_credentials(now, keyring.credentials);
        self.node.set_trust_mode(now, mode(&config).into());
        self.warned_ms = 0;
        self.watch_certificate(now);
        tracing::info!(mode = self.node.trust().mode().as_str(), "reloaded");
        Ok(json!({
            "schema": "hamp.reload/1",
            "needs_restart": differing,
            "trust": status::trust(self, now),
        }))
    }

    /// Switches the mode, if one is given; how things stand.
    pub(super) fn set_trust(
        &mut self,
        now: Instant,
        mode: Option<TrustMode>,
    ) -> Result<Value, Failure> {
        let trusted = self.node.trust().authorities().next().is_some();
        if mode.is_some_and(|mode| mode != TrustMode::Off) && !trusted {
            let failure = Failure::new(exit::CONFIG, "no authority is trusted here");
            return Err(failure.with_remedy("trust.authorities in the configuration, hamp reload"));
        }
        if let Some(mode) = mode {
            self.node.set_trust_mode(now, mode.into());
            tracing::info!(mode = self.node.trust().mode().as_str(), "trust switched");
        }
        Ok(status::trust(self, now))
    }

    /// Tells the node when the machine's clock was set, and people when the certificate ends.
    pub(super) fn keep_time(&mut self, now: Instant) {
        let wall = clock::epoch();
        if self.node.trust().wall(now).abs_diff(wall) > CLOCK_STEP_MS {
            self.node.set_wall(now, wall);
        }
        self.watch_certificate(now);
    }

    fn watch_certificate(&mut self, now: Instant) {
        let Some(credentials) = &self.node.config().credentials else {
            return;
        };
        let (wall, certificate) = (self.node.trust().wall(now), credentials.certificate());
        let left = certificate.not_after.saturating_sub(wall);
        let revoked = self.node.trust().has_revoked(certificate);
        if (left > WARNING_MS && !revoked) || wall < self.warned_ms + DAY_MS {
            return;
        }
        self.warned_ms = wall;
        let serial = certificate.serial;
        let (days, hours) = (left / DAY_MS, left % DAY_MS / 3_600_000);
        let ends_in = format!("{days} days {hours} hours");
        if revoked {
            tracing::error!(
                serial,
                "this host's certificate is revoked: others refuse it"
            );
        } else if left == 0 {
            tracing::error!(
                serial,
                "this host's certificate has ended: others refuse it"
            );
        } else {
            tracing::warn!(serial, ends_in, "this host's certificate ends soon");
        }
    }
}
