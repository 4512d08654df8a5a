//! When hosts agree on who owns what, and how a kernel lab is asked about it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use hamp::addr::shown;
use hamp::daemon::config::Config;
use serde_json::Value;

use crate::topology::{Kind, Topology};
use crate::{Host, Lab, wait};

/// The configuration of every node that runs hamp.
pub(super) fn configs(topology: &Topology) -> Result<BTreeMap<usize, Config>> {
    let mut configs = BTreeMap::new();
    for (index, node) in topology.nodes.iter().enumerate() {
        if let Some(text) = topology.hamp_config(index)? {
            let config = Config::parse(&text, &format!("hamp of {}", node.name))?;
            configs.insert(index, config);
        }
    }
    Ok(configs)
}

/// Which segment each cable belongs to: cables that meet in a switch are one segment.
pub(super) fn segments(topology: &Topology) -> Vec<usize> {
    let mut segment: Vec<usize> = (0..topology.links.len()).collect();
    for (node, about) in topology.nodes.iter().enumerate() {
        if about.kind != Kind::Switch {
            continue;
        }
        let here: Vec<usize> = topology
            .plugs(node)
            .map(|(link, ..)| segment[link])
            .collect();
        let Some(one) = here.iter().min().copied() else {
            continue;
        };
        for at in segment.iter_mut().filter(|at| here.contains(at)) {
            *at = one;
        }
    }
    segment
}

/// Who owns what on a link, as one host sees it: prefix, then the owner's link-layer address and
/// how many members serve it without draining.
type Seen = BTreeMap<String, (String, usize)>;

impl Lab {
    /// Waits until every hamp of the lab answers, and those on one segment agree on the owner of
    /// every prefix and know all members that the configurations name.
    ///
    /// # Errors
    /// They do not in this time; what the first of them sees.
    pub fn agree(&self, limit: Duration) -> Result<()> {
        let configs = configs(self.topology())?;
        let segments = segments(self.topology());
        wait::until_ok("all hosts to agree on an owner", limit, || {
            wait::go_on()?;
            agreed(self, &configs, &segments)
        })
    }
}

/// The longest hello interval and dead time of the hosts that run hamp; zero where none does.
pub(crate) fn timing(topology: &Topology) -> Result<(Duration, Duration)> {
    let configs = configs(topology)?;
    let longest = |of: fn(&Config) -> Duration| configs.values().map(of).max().unwrap_or_default();
    Ok((longest(Config::hello), longest(Config::dead)))
}

fn agreed(lab: &Lab, configs: &BTreeMap<usize, Config>, segments: &[usize]) -> Result<()> {
    let topology = lab.topology();
    let mut expected: BTreeMap<(usize, String), usize> = BTreeMap::new();
    for (node, config) in configs {
        for (link, own, _) in topology.plugs(*node) {
            if !config.node.interfaces.contains(&own.interface) {
                continue;
            }
            for prefix in config.addresses() {
                *expected
                    .entry((segments[link], shown(&prefix)))
                    .or_default() += 1;
            }
        }
    }
    let mut first: BTreeMap<usize, (String, Seen)> = BTreeMap::new();
    for (node, config) in configs {
        let host = &lab.hosts()[*node];
        let mut all = seen(host)?;
        for (link, own, _) in topology.plugs(*node) {
            if !config.node.interfaces.contains(&own.interface) {
                continue;
            }
            let segment = segments[link];
            let here = all.remove(&own.interface).unwrap_or_default();
            for ((_, prefix), members) in expected.iter().filter(|((at, _), _)| *at == segment) {
                let known = here.get(prefix).map_or(0, |(_, members)| *members);
                if known != *members {
                    bail!(
                        "{} knows {known} of {members} members of {prefix}",
                        host.name()
                    );
                }
            }
            match first.get(&segment) {
                Some((other, seen)) if *seen != here => {
                    bail!("{other} and {} see different owners", host.name());
                }
                Some(_) => {}
                None => {
                    first.insert(segment, (host.name().into(), here));
                }
            }
        }
    }
    Ok(())
}

/// What `hamp members` says on a host, by interface.
fn seen(host: &Host) -> Result<BTreeMap<String, Seen>> {
    let said = host.run(&["hamp", "members", "--json"])?.ok()?;
    let document: Value = serde_json::from_str(&said)?;
    let links = document["links"].as_array().context("no links")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let owned = |prefix: &Value| {
        let ranks = prefix["ranks"].as_array().map_or(&[][..], Vec::as_slice);
        let staying = ranks.iter().filter(|rank| rank["draining"] == false);
        let owner = text(&prefix["owner_mac"]);
        (text(&prefix["prefix"]), (owner, staying.count()))
    };
    let seen = |link: &Value| {
        let prefixes = link["prefixes"].as_array().map_or(&[][..], Vec::as_slice);
        (text(&link["link"]), prefixes.iter().map(owned).collect())
    };
    Ok(links.iter().map(seen).collect())
}
