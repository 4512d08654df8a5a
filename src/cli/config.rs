//! `hamp config check`: everything a start would read, and what it means, without starting.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::ask::{cell, list, span, words};
use crate::addr::shown;
use crate::daemon::config::{Config, FILE, MemberTcp, TrustMode};
use crate::daemon::host::{self, Fit};
use crate::daemon::trust::Keyring;
use crate::daemon::{Failure, clock, run, status};

/// What can be done with a configuration.
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    /// Read a configuration with all files that it names, and say what it means
    Check(Check),
}

#[derive(Debug, clap::Args)]
pub(super) struct Check {
    /// Configuration file
    #[arg(value_name = "FILE", default_value = FILE)]
    file: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
}

impl Command {
    pub(super) fn run(&self) -> Result<String, Failure> {
        let Self::Check(check) = self;
        let config = Config::load(&check.file)?;
        let keyring = run::read_trust(&check.file, &config)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::io("runtime", &error))?;
        // What a running daemon holds is known by its mark.
        let left = BTreeSet::new();
        let fit = runtime.block_on(host::check(&check.file, &config, &left))?;
        let told = meaning(check, &config, &keyring, &fit);
        Ok(if check.json {
            format!("{told:#}\n")
        } else {
            people(&told)
        })
    }
}

fn meaning(check: &Check, config: &Config, keyring: &Keyring, fit: &Fit) -> Value {
    let node = config.node(run::host_name);
    let roles = [
        ("member", config.member.is_some()),
        ("client", config.is_client()),
        ("router", config.router().is_some()),
    ];
    let roles: Vec<&str> = roles.iter().filter(|one| one.1).map(|one| one.0).collect();
    let tcp = match config.tcp() {
        MemberTcp::Auto => "auto",
        MemberTcp::Rebind => "rebind",
        MemberTcp::Plain => "plain",
    };
    // As it was written: a prefix that holds what is never anycast is many without it.
    let (ipv4, ipv6) = (&config.class.ipv4, &config.class.ipv6);
    let ipv4 = ipv4.iter().map(ToString::to_string);
    let class = ipv4.chain(ipv6.iter().map(ToString::to_string));
    json!({
        "schema": "hamp.config/1",
        "file": check.file,
        "name": node.name,
        "roles": roles,
        "interfaces": fit.interfaces,
        "class": class.collect::<Vec<_>>(),
        "addresses": config.addresses().iter().map(shown).collect::<Vec<_>>(),
        "preference": config.preference(),
        "scope": status::scope(config.scope().into()),
        "tcp": tcp,
        "hello_ms": config.node.hello_ms,
        "dead_ms": u64::from(config.node.hello_ms) * u64::from(config.node.dead_hellos),
        "control": config.node.control,
        "group": config.node.group,
        "trust": trust(config, keyring),
        "warnings": warnings(config, keyring, &roles, fit),
    })
}

fn trust(config: &Config, keyring: &Keyring) -> Value {
    let mode = match config
        .trust
        .as_ref()
        .map_or(TrustMode::Off, |trust| trust.mode)
    {
        TrustMode::Off => "off",
        TrustMode::Count => "count",
        TrustMode::Enforce => "enforce",
    };
    let own = keyring.credentials.as_ref().map(|own| {
        let held = own.certificate();
        json!({
            "id": format!("{:#}", own.member()),
            "serial": held.serial,
            "ends_in_ms": held.not_after.saturating_sub(clock::epoch()),
        })
    });
    let authorities = keyring.authorities.iter();
    let authorities = authorities.map(|key| format!("{:#}", key.authority()));
    json!({
        "mode": mode,
        "own": own,
        "authorities": authorities.collect::<Vec<_>>(),
        "revocation_lists": keyring.lists.len(),
    })
}

/// What would not keep the daemon from starting, and is most likely not what was meant.
fn warnings(config: &Config, keyring: &Keyring, roles: &[&str], fit: &Fit) -> Vec<String> {
    let mut warnings = fit.warnings.clone();
    if roles.is_empty() {
        warnings.push("no role: [member], [client] or [router]; it only listens".to_owned());
    }
    for name in &fit.interfaces {
        if nix::net::if_::if_nametoindex(name.as_str()).is_err() {
            warnings.push(format!("no interface {name} exists here now"));
        }
    }
    if let Some(own) = &keyring.credentials {
        let (held, now) = (own.certificate(), clock::epoch());
        if held.not_after <= now {
            warnings.push("the certificate has ended: others refuse this host".to_owned());
        } else if held.not_before > now {
            warnings.push("the certificate is not valid yet".to_owned());
        }
        if keyring
            .lists
            .iter()
            .any(|list| list.authority == held.authority && list.serials.contains(&held.serial))
        {
            warnings.push("the certificate is revoked: others refuse this host".to_owned());
        }
        let allowed = |prefix: &crate::addr::Prefix| {
            held.prefixes.iter().any(|allowed| allowed.contains(prefix))
        };
        let addresses = config.addresses();
        let mut refused = addresses.iter().filter(|prefix| !allowed(prefix));
        if let Some(first) = refused.next() {
            let message = format!("the certificate does not allow {}", shown(first));
            warnings.push(message);
        }
    }
    warnings
}

fn people(told: &Value) -> String {
    let mut text = format!(
        "{}: good\nname      {}\nroles     {}\nlinks     {}\nclass     {}\n",
        cell(&told["file"]),
        cell(&told["name"]),
        words(&told["roles"]),
        words(&told["interfaces"]),
        words(&told["class"]),
    );
    if list(&told["addresses"]).next().is_some() {
        text += &format!(
            "serves    {}; preference {}, scope {}, tcp {}\n",
            words(&told["addresses"]),
            told["preference"],
            cell(&told["scope"]),
            cell(&told["tcp"]),
        );
    }
    text += &format!(
        "hellos    every {} ms, dead after {} ms\n",
        told["hello_ms"], told["dead_ms"]
    );
    text += &format!("control   {}", cell(&told["control"]));
    if let Some(group) = told["group"].as_str() {
        text += &format!("; members of group {group} may ask");
    }
    let trust = &told["trust"];
    text += &format!("\ntrust     {}", cell(&trust["mode"]));
    if let Some(id) = trust["own"]["id"].as_str() {
        let (serial, end) = (&trust["own"]["serial"], span(&trust["own"]["ends_in_ms"]));
        text += &format!("; this host is {id}, certificate {serial} ends in {end}");
    }
    if list(&trust["authorities"]).next().is_some() {
        text += &format!(
            "; trusts authority {}, {} revocation lists",
            words(&trust["authorities"]),
            trust["revocation_lists"]
        );
    }
    text.push('\n');
    for warning in list(&told["warnings"]) {
        text += &format!("warning   {}\n", cell(warning));
    }
    text
}
