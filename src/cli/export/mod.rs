//! `hamp export`: the configuration with which a routing daemon carries hamp's routes on.
//!
//! hamp's router puts a route for each prefix that members of its links serve into the kernel, and
//! leaves it to BIRD or FRR to tell other routers (RFC 1546: routers advertise "to neighboring
//! routers" which addresses a link supports). What both need to know is the same: which kernel
//! routes are hamp's, that they win over what other routers say, and which of them stay in the site.
//!
//! Files: `bird` and `frr` the two languages.

mod bird;
mod frr;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::str::FromStr;

use crate::addr::Prefix;
use crate::daemon::config::{Config, FILE};
use crate::daemon::{Failure, exit};

/// Number of hamp among the kernel's route protocols.
const PROTOCOL: u8 = 154;
/// Metric of a kernel route that is told to everybody.
const GLOBAL: u32 = 15;
/// Metric of a kernel route that stays inside the site.
const SITE: u32 = 16;

/// Whose configuration is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Daemon {
    /// BIRD 2: /etc/bird/bird.conf
    Bird,
    /// FRR: /etc/frr/frr.conf
    Frr,
}

/// `hamp export`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The routing daemon
    daemon: Daemon,
    /// hamp's configuration, whose class and interfaces are taken
    #[arg(long, short, value_name = "FILE", default_value = FILE)]
    config: PathBuf,
    /// This router's number, usually one of its IPv4 addresses
    #[arg(long, value_name = "ADDR")]
    router_id: Ipv4Addr,
    /// This router's autonomous system
    #[arg(long = "as", value_name = "NUMBER", value_parser = crate::cli::number::in_range(1..=u32::MAX))]
    own_as: u32,
    /// A BGP neighbour and its autonomous system; for IPv4 and IPv6 one of each, repeat it
    #[arg(
        long,
        value_name = "ADDR=AS",
        required = true,
        visible_alias = "neighbour"
    )]
    neighbor: Vec<Neighbour>,
    /// Tell others of the networks of hamp's interfaces too, where its members have the unicast
    /// addresses that TCP continues with
    #[arg(long)]
    links: bool,
}

/// The other end of a BGP session.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Neighbour {
    address: IpAddr,
    remote_as: u32,
}

impl FromStr for Neighbour {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, remote_as) = text
            .split_once('=')
            .ok_or_else(|| "is ADDR=AS, like 10.0.0.1=65000".to_owned())?;
        let address: IpAddr = address
            .parse()
            .map_err(|_| format!("\"{address}\" is no address"))?;
        let remote_as = remote_as.parse().ok().filter(|number| *number != 0);
        let remote_as = remote_as.ok_or("an autonomous system is a number from 1 to 4294967295")?;
        let unusable = match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        };
        if unusable || address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return Err(format!(
                "{address} is no address that says which router it is"
            ));
        }
        Ok(Self { address, remote_as })
    }
}

/// A name that both languages take, in quotes or bare.
fn interface(text: &str) -> Result<String, String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.@:".contains(c);
    if (1..=15).contains(&text.len()) && text.chars().all(allowed) {
        Ok(text.to_owned())
    } else {
        Err("is no name of an interface".to_owned())
    }
}

/// What both languages say.
struct Plan<'a> {
    router_id: Ipv4Addr,
    /// The class, by family.
    class4: Vec<Prefix>,
    class6: Vec<Prefix>,
    own_as: u32,
    neighbours: &'a [Neighbour],
    /// hamp's interfaces, if their networks are told too.
    links: Vec<String>,
    /// Routes share nexthop groups.
    grouped: bool,
    /// The command line that writes it again.
    again: String,
}

impl Arguments {
    /// The configuration as text.
    ///
    /// # Errors
    /// hamp's own configuration is wrong, or the command line names a neighbour twice.
    pub(super) fn run(&self) -> Result<String, Failure> {
        let config = Config::load(&self.config)?;
        let usage = |text: &str| Failure::new(exit::USAGE, text);
        for (at, neighbour) in self.neighbor.iter().enumerate() {
            let twice = |other: &Neighbour| other.address == neighbour.address;
            if self.neighbor[..at].iter().any(twice) {
                let text = format!("--neighbor {} is there twice", neighbour.address);
                return Err(usage(&text));
            }
        }
        let links = if self.links {
            config.node.interfaces.clone()
        } else {
            Vec::new()
        };
        if let Some(bad) = links.iter().find(|name| interface(name).is_err()) {
            return Err(usage(&format!(
                "--links: \"{bad}\" cannot be written in a configuration"
            )));
        }
        let class = config.class();
        let of = |v6: bool| {
            let all = class.prefixes().iter().copied();
            all.filter(|prefix| matches!(prefix, Prefix::V6(_)) == v6)
                .collect()
        };
        let plan = Plan {
            router_id: self.router_id,
            class4: of(false),
            class6: of(true),
            own_as: self.own_as,
            neighbours: &self.neighbor,
            links,
            grouped: config.router().is_none_or(|r| r.multipath.is_grouped()),
            again: self.again(),
        };
        Ok(match self.daemon {
            Daemon::Bird => bird::text(&plan),
            Daemon::Frr => frr::text(&plan),
        })
    }

    /// The command line, for the head of the file.
    fn again(&self) -> String {
        let daemon = match self.daemon {
            Daemon::Bird => "bird",
            Daemon::Frr => "frr",
        };
        let mut words = vec![
            format!("hamp export {daemon} --config {}", self.config.display()),
            format!("--router-id {}", self.router_id),
        ];
        words.push(format!("--as {}", self.own_as));
        let told = self.neighbor.iter();
        words.extend(told.map(|n| format!("--neighbor {}={}", n.address, n.remote_as)));
        words.extend(self.links.then(|| "--links".to_owned()));
        // A path may hold anything, a comment one line.
        words.join(" ").replace(char::is_control, "?")
    }
}

impl Plan<'_> {
    /// What the file is, in lines that `#` or `!` goes in front of.
    fn head(&self, daemon: &str, place: &str) -> Vec<String> {
        let told = format!(
            "{PROTOCOL}, with metric {GLOBAL} if everybody may be told of them and {SITE} if only"
        );
        let lines = [
            &format!("{daemon}: carries the routes of hamp's router to other routers."),
            &format!("Debian's place for it is {place}."),
            "Written by",
            &format!("  {}", self.again),
            "",
            "hamp's routes are kernel routes of the protocol",
            &told,
            "the site may. Routes with any other metric are not told: those to members that are leaving,",
            "and that to the whole class, which discards what has no other route.",
        ];
        lines.map(str::to_owned).into()
    }

    /// The neighbours that speak over a family.
    fn neighbours(&self, v6: bool) -> impl Iterator<Item = &Neighbour> {
        let all = self.neighbours.iter();
        all.filter(move |neighbour| neighbour.address.is_ipv6() == v6)
    }
}

#[cfg(test)]
mod tests;
