//! What is asked of the lab while an attack lasts: who is listed, what was refused, what it cost.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::attack::ONE;
use super::judge::Refused;
use super::stage::{PATIENCE, Stage};
use crate::capture::Stamp;
use crate::lab::HAMP;
use crate::{Host, wait};

/// Whose counters are looked at.
const HOSTS: [&str; 5] = ["near", "desk", "router", "one", "two"];
/// Who must notice that a member is dead.
pub(super) const WITNESSES: [&str; 2] = ["near", "router"];

impl Stage<'_> {
    /// When each witness has listed `one` as a member for the last time, in milliseconds since it was
    /// killed; `None` if it still does at the end. A dead member may come back: all is watched.
    pub(super) fn listed(
        &self,
        killed: Stamp,
        limit: Duration,
    ) -> Result<Vec<(String, Option<f64>)>> {
        let mut last = WITNESSES.map(|host| (host.to_owned(), 0.0));
        while Stamp::now() < killed.plus(limit) {
            wait::go_on()?;
            for (host, ms) in &mut last {
                if members(self.lab.host(host))?.iter().any(|mac| mac == ONE) {
                    *ms = Stamp::now().ms_since(killed);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let still = (limit - self.dead / 2).as_secs_f64() * 1e3;
        let gone = last
            .into_iter()
            .map(|(host, ms)| (host, (ms < still).then_some(ms)));
        Ok(gone.collect())
    }

    /// What every host has refused so far.
    pub(super) fn refused(&self) -> Result<BTreeMap<String, Refused>> {
        let look = |host: &str| -> Result<(String, Refused)> {
            let asked = || self.lab.host(host).run(&["hamp", "status", "--json"])?.ok();
            let said = match asked() {
                // It may have been killed.
                Err(_) if host == "one" => return Ok((host.to_owned(), Refused::new())),
                Err(_) => wait::until_ok("hamp status", PATIENCE, asked)?,
                Ok(said) => said,
            };
            let status: Value = serde_json::from_str(&said)?;
            let ignored = status["counters"]["ignored"].as_object();
            let ignored = ignored.context("no counters of what was ignored")?;
            let counts = ignored
                .iter()
                .map(|(reason, n)| (reason.clone(), n.as_u64().unwrap_or(0)));
            Ok((host.to_owned(), counts.collect()))
        };
        HOSTS.into_iter().map(look).collect()
    }

    /// Processor seconds that the router's daemon has taken.
    pub(super) fn cpu(&self) -> Result<f64> {
        let Some(pid) = self.lab.program("router", HAMP, |process| process.pid()) else {
            return Ok(0.0);
        };
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // After the name, which may hold anything: utime and stime are fields 14 and 15 (proc(5)).
        let after = stat.rsplit_once(')').context("no stat")?.1;
        let fields: Vec<&str> = after.split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok());
        let ticks = ticks(11).zip(ticks(12)).context("no processor time")?;
        let second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.unwrap_or(100);
        #[expect(clippy::cast_precision_loss, reason = "a hundred or a thousand")]
        Ok((ticks.0 + ticks.1) / second as f64)
    }
}

/// What was counted since.
pub(super) fn more(
    before: &BTreeMap<String, Refused>,
    after: &BTreeMap<String, Refused>,
) -> BTreeMap<String, Refused> {
    let since = |(host, counts): (&String, &Refused)| {
        let known = before.get(host);
        let counts = counts.iter().filter_map(|(reason, count)| {
            let old = known.and_then(|known| known.get(reason)).copied();
            let new = count.saturating_sub(old.unwrap_or(0));
            (new > 0).then(|| (reason.clone(), new))
        });
        (host.clone(), counts.collect())
    };
    after.iter().map(since).collect()
}

/// Link-layer addresses of the members that a host lists for what is shared, sorted.
pub(super) fn members(host: &Host) -> Result<Vec<String>> {
    let said = host.run(&["hamp", "members", "--json"])?.ok()?;
    let document: Value = serde_json::from_str(&said)?;
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut listed = Vec::new();
    for link in array(&document["links"]) {
        for prefix in array(&link["prefixes"]) {
            for rank in array(&prefix["ranks"]) {
                listed.push(rank["mac"].as_str().unwrap_or_default().to_owned());
            }
        }
    }
    listed.sort();
    Ok(listed)
}
