//! The configuration file.
//!
//! TOML, one table a role. A key that is not known is an error that names the file, the line and
//! the nearest known key; a bad value names its key. `examples/hamp.toml` documents every key.

mod document;
mod error;
mod group;
mod member;
mod roles;

pub use document::{Document, Path as KeyPath, nearest};
pub use error::Error;
pub use member::{Member, MemberScope, MemberTcp};
pub use roles::{LastLink, LimitsTable, Router, Trust, TrustMode};

use std::fs;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::addr::{Class, Ipv4Net, Ipv6Net, Prefix, host, shown};
use crate::node;
use crate::proto::Timing;
use crate::wire::Name;

/// Where the configuration is, unless something else is said.
pub const FILE: &str = "/etc/hamp/hamp.toml";

/// Everything the daemon is told by its file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The host and its links.
    pub node: Node,
    /// Which addresses are anycast.
    #[serde(default)]
    pub class: ClassTable,
    /// Serve addresses.
    pub member: Option<Member>,
    /// Reach addresses.
    pub client: Option<Client>,
    /// Route to members.
    pub router: Option<Router>,
    /// Whose word counts.
    pub trust: Option<Trust>,
    /// How much is remembered of others.
    #[serde(default)]
    pub limits: LimitsTable,
}

/// The `[node]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What the host is called; `None`: its host name.
    pub name: Option<String>,
    /// Milliseconds between hellos.
    #[serde(default = "hello_ms")]
    pub hello_ms: u32,
    /// Missed hellos after which a member counts as dead.
    #[serde(default = "dead_hellos")]
    pub dead_hellos: u8,
    /// Names of the interfaces to speak on.
    pub interfaces: Vec<String>,
    /// The control socket: `@NAME` or a path.
    #[serde(default = "control")]
    pub control: String,
    /// Whose members may ask the daemon, and change nothing.
    pub group: Option<String>,
    /// The state directory's parent; `None`: the usual places.
    pub state: Option<PathBuf>,
    /// Log filter.
    #[serde(default = "log")]
    pub log: String,
}

/// The `[class]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClassTable {
    /// IPv4 prefixes.
    #[serde(default = "class_ipv4")]
    pub ipv4: Vec<Ipv4Net>,
    /// IPv6 prefixes.
    #[serde(default = "class_ipv6")]
    pub ipv6: Vec<Ipv6Net>,
}

impl Default for ClassTable {
    fn default() -> Self {
        Self {
            ipv4: class_ipv4(),
            ipv6: class_ipv6(),
        }
    }
}

impl ClassTable {
    /// Its prefixes as they are written, each with its key.
    fn stated(&self) -> impl Iterator<Item = (&'static str, Prefix)> {
        let ipv4 = self.ipv4.iter().copied().map(Prefix::V4);
        let ipv6 = self.ipv6.iter().copied().map(Prefix::V6);
        let ipv4 = ipv4.map(|prefix| ("class.ipv4", prefix));
        ipv4.chain(ipv6.map(|prefix| ("class.ipv6", prefix)))
    }
}

/// The `[client]` table.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Present but off: false.
    #[serde(default = "yes")]
    pub enabled: bool,
}

/// What a class has nothing of: addresses that name nobody, this host, this link or a group
/// (RFC 6890 §2.2.2, §2.2.3).
const NEVER_ANYCAST: [Prefix; 9] = [
    Prefix::V4(Ipv4Net::new_assert(Ipv4Addr::new(0, 0, 0, 0), 8)),
    Prefix::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    Prefix::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)),
    Prefix::V4(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4)),
    Prefix::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128)),
    Prefix::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    // IPv4-mapped: a socket takes them for IPv4 addresses (RFC 4291 §2.5.5.2).
    Prefix::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0),
        96,
    )),
    Prefix::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        10,
    )),
    Prefix::V6(Ipv6Net::new_assert(
        Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0),
        8,
    )),
];

/// The limited broadcast address (RFC 919 §7): a class may lie around it, and has it not.
const BROADCAST: Prefix = Prefix::V4(Ipv4Net::new_assert(Ipv4Addr::BROADCAST, 32));

/// Refuses a prefix that is written like an address in it, which may be a slip in either.
fn without_host_bits(prefix: Prefix) -> Result<Prefix, String> {
    if prefix.trunc() == prefix {
        return Ok(prefix);
    }
    Err(format!(
        "{prefix} has bits set below its length: {}?",
        prefix.trunc()
    ))
}

/// `198.18.0.1`, `198.18.4.0/24` and their IPv6 likes; an address is a prefix that holds just it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressOrPrefix(pub Prefix);

impl std::str::FromStr for AddressOrPrefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(host(address)));
        }
        let prefix: Prefix = text
            .parse()
            .map_err(|_| format!("\"{text}\" is neither an address nor a prefix like ADDR/LEN"))?;
        without_host_bits(prefix).map(Self)
    }
}

impl<'de> Deserialize<'de> for AddressOrPrefix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

const fn hello_ms() -> u32 {
    1000
}
const fn dead_hellos() -> u8 {
    3
}
const fn preference() -> u16 {
    100
}
const fn yes() -> bool {
    true
}
fn control() -> String {
    "@hamp".to_owned()
}
fn log() -> String {
    "info".to_owned()
}
fn class_ipv4() -> Vec<Ipv4Net> {
    vec![Class::DEFAULT_IPV4]
}
fn class_ipv6() -> Vec<Ipv6Net> {
    vec![Class::DEFAULT_IPV6]
}

impl Config {
    /// Reads and checks a file.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let file = path.display().to_string();
        let failed = |message: String| Error {
            file: file.clone(),
            line: None,
            key: None,
            message,
        };
        // A pipe would keep a daemon that reads its file again waiting for whoever writes to it.
        let about = fs::metadata(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => failed(
                "there is no such file: install examples/hamp.toml there, or name another"
                    .to_owned(),
            ),
            _ => failed(error.to_string()),
        })?;
        if !about.is_file() {
            return Err(failed("this is no regular file".to_owned()));
        }
        let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let mut config = Self::parse(&text, &file)?;
        if let (Some(trust), Some(directory)) = (&mut config.trust, path.parent()) {
            trust.resolve(directory);
        }
        Ok(config)
    }

    /// Checks a file's text; `file` is its name in errors.
    pub fn parse(text: &str, file: &str) -> Result<Self, Error> {
        let document = Document::parse(text, file)?;
        let config: Self = document.read()?;
        config.check_in(&document, &KeyPath::default())?;
        Ok(config)
    }

    /// Checks what was read from the table at `path` of a document.
    ///
    /// # Errors
    /// A value is out of range, or two do not fit together.
    pub fn check_in(&self, document: &Document<'_>, path: &KeyPath) -> Result<(), Error> {
        self.check().map_err(|(key, message)| {
            let path = key.split('.').fold(path.clone(), KeyPath::key);
            document.error(&path, message)
        })
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let within = |key, value: u64, least: u64, most: u64| {
            let message = format!("{value} is not within {least} to {most}");
            if (least..=most).contains(&value) {
                Ok(())
            } else {
                Err((key, message))
            }
        };
        within("node.hello_ms", self.node.hello_ms.into(), 10, 60_000)?;
        within("node.dead_hellos", self.node.dead_hellos.into(), 2, 10)?;
        if self.node.interfaces.is_empty() {
            return Err((
                "node.interfaces",
                "at least one interface is needed".to_owned(),
            ));
        }
        for (at, name) in self.node.interfaces.iter().enumerate() {
            let strange = |c: char| c == '/' || c == '"' || c.is_whitespace() || c.is_control();
            // Of an interface itself 15 bytes (IFNAMSIZ), of an altname 127 (ALTIFNAMSIZ).
            let strange = name.contains(strange) || name == "." || name == "..";
            if name.is_empty() || name.len() > 127 || strange || name == "lo" {
                let message = format!(
                    "\"{name}\" is no name of a link: write one as `ip -br link` lists it, like eth0"
                );
                return Err(("node.interfaces", message));
            }
            if self.node.interfaces[..at].contains(name) {
                return Err(("node.interfaces", format!("\"{name}\" is listed twice")));
            }
        }
        if self.node.control.len() < 2 || self.node.control.len() > 107 {
            return Err((
                "node.control",
                "is @NAME or a path of at most 107 bytes".to_owned(),
            ));
        }
        super::log::parse(&self.node.log).map_err(|message| ("node.log", message))?;
        if let Some(group) = &self.node.group {
            group::check(group).map_err(|message| ("node.group", message))?;
        }
        for (key, prefix) in self.class.stated() {
            without_host_bits(prefix).map_err(|message| (key, message))?;
            let overlaps = |other: &&Prefix| prefix.contains(*other) || other.contains(&prefix);
            let never = NEVER_ANYCAST.iter().find(overlaps);
            if let Some(other) = never.or((prefix == BROADCAST).then_some(&BROADCAST)) {
                let message = format!("{prefix} holds addresses of {other}, never anycast");
                return Err((key, message));
            }
        }
        let class = self.class();
        if class.prefixes().is_empty() {
            return Err(("class.ipv4", "the class holds no address at all".to_owned()));
        }
        self.limits.check()?;
        if let Some(router) = &self.router {
            router.check(&self.node.interfaces)?;
        }
        if let Some(trust) = &self.trust {
            trust.check()?;
        }
        let addresses = self.addresses();
        for (at, prefix) in addresses.iter().enumerate() {
            if !class.covers(prefix) {
                let message = format!("{} is outside the class", shown(prefix));
                return Err(("member.addresses", message));
            }
            if addresses[..at].contains(prefix) {
                return Err((
                    "member.addresses",
                    format!("{} is listed twice", shown(prefix)),
                ));
            }
        }
        Ok(())
    }

    /// The anycast addresses.
    pub fn class(&self) -> Class {
        Class::new(self.class.stated().map(|(_, prefix)| prefix))
    }

    /// The preference of what is served from the start, or joined without one.
    pub fn preference(&self) -> u16 {
        self.member
            .as_ref()
            .map_or(preference(), |member| member.preference)
    }

    /// How far routers may carry what is served from the start, or joined without a scope.
    pub fn scope(&self) -> MemberScope {
        self.member
            .as_ref()
            .map_or_else(MemberScope::default, |member| member.scope)
    }

    /// How TCP to what is served, or joined later, is taken.
    pub fn tcp(&self) -> MemberTcp {
        self.member
            .as_ref()
            .map_or_else(MemberTcp::default, |member| member.tcp)
    }

    /// What is served from the start.
    pub fn addresses(&self) -> Vec<Prefix> {
        let member = self.member.iter();
        member
            .flat_map(|member| member.addresses.iter().map(|address| address.0))
            .collect()
    }

    /// Whether programs on this host reach the class.
    pub fn is_client(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.enabled)
    }

    /// What the node of this configuration is; `host` names it where the file does not.
    pub fn node(&self, host: impl FnOnce() -> String) -> node::Config {
        let limits = if self.router().is_some() && self.limits == LimitsTable::default() {
            node::Limits::ROUTER
        } else {
            self.limits.into()
        };
        let name = self.node.name.clone().unwrap_or_else(host);
        node::Config {
            told_name: Name::of(&name),
            name,
            class: self.class(),
            timing: Timing {
                hello: self.hello(),
                dead_hellos: self.node.dead_hellos,
            },
            client: self.is_client(),
            tcp: self.tcp().into(),
            limits,
            router: self.router().map(Into::into),
            ..node::Config::default()
        }
    }

    /// This host as a router, if it is one.
    pub fn router(&self) -> Option<&Router> {
        self.router.as_ref().filter(|router| router.enabled)
    }

    /// The tables, but for `[trust]`, in which another configuration differs.
    pub fn differing_tables(&self, other: &Self) -> Vec<&'static str> {
        let tables = [
            ("node", self.node != other.node),
            ("class", self.class != other.class),
            ("member", self.member != other.member),
            ("client", self.client != other.client),
            ("router", self.router != other.router),
            ("limits", self.limits != other.limits),
        ];
        let differing = tables.into_iter().filter(|table| table.1);
        differing.map(|table| table.0).collect()
    }

    /// Time between hellos.
    pub fn hello(&self) -> Duration {
        Duration::from_millis(self.node.hello_ms.into())
    }

    /// Silence after which a member counts as dead.
    pub fn dead(&self) -> Duration {
        self.hello() * self.node.dead_hellos.into()
    }
}

#[cfg(test)]
mod tests;
