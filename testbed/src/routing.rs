//! Routing daemons in hosts: BIRD 2 and FRR as Debian packages them, with configurations given as
//! text.
//!
//! Each host has a `/run` of its own, so daemons of several hosts have their usual places for
//! sockets and do not meet. `birdc` and `vtysh` in a host talk to the daemon of that host. Both run
//! as root and in an ordinary user's labs.

use std::time::Duration;

use anyhow::{Context, Result};
use hamp::daemon::{Failure, exit};

use crate::check::program;
use crate::{Host, Process, wait};

/// How long a daemon may take until it answers.
const START: Duration = Duration::from_secs(10);
/// Where FRR's configuration is in a host; `/etc` is the machine's.
const FRR: &str = "/run/frr";
/// FRR's daemons that a router with BGP has, in the order they start. The second came with FRR 10, the
/// third is for static routes.
const FRR_DAEMONS: [&str; 4] = ["zebra", "mgmtd", "staticd", "bgpd"];

/// Fails with the remedy if BIRD or FRR is not installed.
///
/// # Errors
/// The line that installs what is missing.
pub fn installed() -> Result<()> {
    let wanted = [("bird", "bird2"), ("zebra", "frr"), ("vtysh", "frr")];
    let mut packages: Vec<_> = wanted
        .iter()
        .filter(|(name, _)| program(name).is_none())
        .map(|(_, package)| *package)
        .collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let install = format!(
        "sudo apt-get install --no-install-recommends {}",
        packages.join(" ")
    );
    Err(Failure::new(exit::MISSING, "routing daemons are missing")
        .with_remedy(install)
        .into())
}

/// BIRD 2 in a host; ends when it is dropped.
#[derive(Debug)]
pub struct Bird {
    process: Process,
}

impl Bird {
    /// Starts it with this text as its configuration, and waits until it answers.
    ///
    /// # Errors
    /// BIRD refuses the configuration, or does not start.
    pub fn start(host: &Host, configuration: &str) -> Result<Self> {
        let file = "/run/bird/bird.conf";
        host.write(file, configuration)?;
        host.run(&["bird", "-p", "-c", file])?.ok()?;
        let process = host.spawn("bird", &["bird", "-f", "-c", file])?;
        wait::until_ok("bird", START, || ask_bird(host, "show status"))?;
        Ok(Self { process })
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }
}

/// What the host's BIRD says to a command of `birdc`.
///
/// # Errors
/// There is none, or it does not know the command.
pub fn ask_bird(host: &Host, command: &str) -> Result<String> {
    let mut argv = vec!["birdc"];
    argv.extend(command.split_whitespace());
    host.run(&argv)?.ok()
}

/// FRR in a host: zebra, bgpd, and staticd where there are static routes; end when it is dropped.
#[derive(Debug)]
pub struct Frr {
    daemons: Vec<Process>,
}

impl Frr {
    /// Starts it with this text as its integrated configuration (`frr.conf`), and waits until it has
    /// taken it.
    ///
    /// Each daemon reads the file when it starts, and passes over what is for another. Debian's
    /// service lets `vtysh -b` tell it line by line instead; bgpd then begins each session anew with
    /// every line about it, and waits twice as long each time.
    ///
    /// # Errors
    /// FRR refuses the configuration, or does not start.
    pub fn start(host: &Host, configuration: &str) -> Result<Self> {
        let file = format!("{FRR}/frr.conf");
        host.write(&file, configuration)?;
        host.write(&format!("{FRR}/vtysh.conf"), "")?;
        vtysh(host, &["-C"]).context("configuration of FRR")?;
        let mut daemons = Vec::new();
        for name in FRR_DAEMONS {
            let wanted = match name {
                "mgmtd" => program(name).is_some(),
                "staticd" => configuration.lines().any(is_static_route),
                _ => true,
            };
            if !wanted {
                continue;
            }
            // Whoever it becomes must be in the group frrvty, and user 0 is in a host.
            let mut argv = vec![name, "-u", "root", "-g", "root", "-f", &file, "-P", "0"];
            if name == "zebra" {
                // What a burst of the kernel's notices needs; more is not for an ordinary user.
                argv.extend(["-s", "1048576"]);
            }
            daemons.push(host.spawn(name, &argv)?);
            // The others connect to the first one's socket when they start.
            wait::until_ok(name, START, || {
                vtysh(host, &["-d", name, "-c", "show version"])
            })
            .with_context(|| {
                let log = daemons.last().map(Process::log);
                log.and_then(|log| host.read(log).ok()).unwrap_or_default()
            })?;
        }
        Ok(Self { daemons })
    }

    /// Its processes.
    pub fn processes(&self) -> &[Process] {
        &self.daemons
    }
}

/// Whether a line of a configuration is a static route.
fn is_static_route(line: &str) -> bool {
    ["ip route ", "ipv6 route "]
        .iter()
        .any(|words| line.trim_start().starts_with(words))
}

/// What the host's FRR says to a command of `vtysh`.
///
/// # Errors
/// There is none, or it does not know the command.
pub fn ask_frr(host: &Host, command: &str) -> Result<String> {
    vtysh(host, &["-c", command])
}

fn vtysh(host: &Host, arguments: &[&str]) -> Result<String> {
    let mut argv = vec!["vtysh", "--config_dir", FRR];
    argv.extend(arguments);
    host.run(&argv)?.ok()
}
