//! What must hold of a network before it is built.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ipnet::IpNet;

use crate::hold;
use crate::lab::HAMP;

use super::{AHEAD_MS, End, Kind, NAME_LENGTH, Node, PPM, Topology, Via};

/// Most nodes of a topology: they have 16 bits in a link-layer address, the cables of a host 8.
pub const NODES: usize = 1 << 16;
const CABLES: usize = 1 << 8;
/// Bytes in the name of an interface (the kernel's `IFNAMSIZ`, less its end).
const INTERFACE_LENGTH: usize = 15;

/// What is wrong with a topology, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// What it is wrong with.
    pub place: Place,
    /// What is wrong, with the name of the host.
    pub message: String,
}

/// A part of a topology, by indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// All of it.
    Whole,
    /// A node.
    Node(usize),
    /// A route of a node.
    Route(usize, usize),
    /// A program of a node.
    Program(usize, usize),
    /// The `hamp.toml` of a node.
    Hamp(usize),
    /// A cable.
    Link(usize),
    /// An end of a cable, 0 or 1.
    End(usize, usize),
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Mistake {}

/// Fails with what `message` says unless `holds`.
fn ensure(holds: bool, place: Place, message: impl FnOnce() -> String) -> Result<(), Mistake> {
    if holds {
        return Ok(());
    }
    let message = message();
    Err(Mistake { place, message })
}

impl Topology {
    /// Whether it can be built.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn check(&self) -> Result<(), Mistake> {
        if let Some(mistake) = self.mistakes.first() {
            return ensure(false, Place::Whole, || mistake.clone());
        }
        let (place, name) = (Place::Whole, &self.name);
        ensure(is_title(name) && !name.contains('/'), place, || {
            format!("name: {name:?} is no name for a topology: {TITLE}, and no /")
        })?;
        let many = || format!("more than {NODES} nodes");
        ensure(self.nodes.len() <= NODES, Place::Whole, many)?;
        for (index, link) in self.links.iter().enumerate() {
            self.check_link(index, link)?;
        }
        let mut names = BTreeSet::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let (place, name, kind) = (Place::Node(index), &node.name, node.kind.name());
            ensure(is_name(name), place, || {
                format!(
                    "{name:?} is no name for a {kind}: 1 to {NAME_LENGTH} letters, digits and -"
                )
            })?;
            let site = node.site.as_deref().unwrap_or_default();
            ensure(is_title(site), place, || {
                format!("{name}: {site:?} is no name for a site: {TITLE}")
            })?;
            let clock = node.clock;
            ensure(clock.ppm.abs() <= PPM, place, || {
                format!(
                    "{name}: clock.ppm: {} is not within -{PPM} to {PPM}",
                    clock.ppm
                )
            })?;
            ensure(clock.ahead_ms <= AHEAD_MS, place, || {
                format!(
                    "{name}: clock.ahead_ms: {} is more than {AHEAD_MS}",
                    clock.ahead_ms
                )
            })?;
            let twice = || format!("two nodes are called {name:?}");
            ensure(names.insert(name), place, twice)?;
            self.check_ends(index, node)?;
            self.check_node(index, node)?;
        }
        self.check_loops()
    }

    fn check_link(&self, index: usize, link: &super::Link) -> Result<(), Mistake> {
        let place = Place::Link(index);
        for (side, end) in link.ends.iter().enumerate() {
            let known = end.node < self.nodes.len();
            ensure(known, place, || "a cable ends nowhere".into())?;
            let (place, name, own) = (
                Place::End(index, side),
                &self.nodes[end.node].name,
                &end.interface,
            );
            end.sends.check().map_err(|why| Mistake {
                place,
                message: format!("{own} of {name}: {why:#}"),
            })?;
            ensure(is_interface(own), place, || {
                format!("{name}: {own:?} is no name for an interface")
            })?;
            let group = || format!("{name}: the link-layer address of {own} is that of a group");
            ensure(end.mac[0] & 1 == 0, place, group)?;
            let none = || format!("{name}: no interface can have the link-layer address of {own}");
            ensure(end.mac != [0; 6], place, none)?;
        }
        let [a, b] = &link.ends;
        ensure(a.node != b.node, place, || {
            format!("{} is plugged into itself", self.nodes[a.node].name)
        })
    }

    /// The interfaces of a node.
    fn check_ends(&self, index: usize, node: &Node) -> Result<(), Mistake> {
        let name = &node.name;
        let (mut interfaces, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for (link, own, _) in self.plugs(index) {
            let side = usize::from(self.links[link].ends[0].node != index);
            let place = Place::End(link, side);
            ensure(interfaces.insert(&own.interface), place, || {
                format!("{name}: two interfaces are called {:?}", own.interface)
            })?;
            let bare = node.kind != Kind::Switch || own.addresses.is_empty();
            ensure(bare, place, || format!("{name}: a switch has no addresses"))?;
            for net in &own.addresses {
                ensure(addresses.insert(net.addr()), place, || {
                    format!("{name}: {} is there twice", net.addr())
                })?;
            }
        }
        let few = node.kind == Kind::Switch || interfaces.len() <= CABLES;
        ensure(few, Place::Node(index), || {
            format!("{name}: more than {CABLES} cables")
        })
    }

    /// What a node does.
    fn check_node(&self, index: usize, node: &Node) -> Result<(), Mistake> {
        let name = &node.name;
        let extra = !node.routes.is_empty() || node.hamp.is_some();
        ensure(
            node.kind != Kind::Switch || !extra,
            Place::Node(index),
            || format!("{name}: a switch has no routes and no hamp"),
        )?;
        for (at, route) in node.routes.iter().enumerate() {
            let (place, to) = (Place::Route(index, at), route.to);
            match &route.via {
                Via::Gateway(via) => {
                    let same = via.is_ipv6() == matches!(to, IpNet::V6(_));
                    ensure(same, place, || {
                        format!("{name}: route {to} via {via}: one is IPv4 and the other IPv6")
                    })?;
                }
                Via::Interface(via) => {
                    let is = |own: &End| own.interface == *via;
                    ensure(self.plugs(index).any(|(_, own, _)| is(own)), place, || {
                        format!(
                            "{name}: route {to} via {via:?}: no such interface, and no address \
                             either"
                        )
                    })?;
                }
            }
        }
        for (at, program) in node.programs.iter().enumerate() {
            let (place, own) = (Place::Program(index, at), &program.name);
            // Its output goes to a file of that name.
            ensure(hold::is_name(own) && !own.starts_with('.'), place, || {
                format!(
                    "{name}: {own:?} is no name for a program: 1 to 60 letters, digits, - _ and ."
                )
            })?;
            ensure(own != HAMP || node.hamp.is_none(), place, || {
                format!("{name}: {own:?} is what runs hamp's own configuration")
            })?;
            let twice = node.programs[..at].iter().any(|other| other.name == *own);
            ensure(!twice, place, || {
                format!("{name}: two programs are called {own:?}")
            })?;
            ensure(!program.command.is_empty(), place, || {
                format!("{name}: program {own:?} has no command")
            })?;
        }
        let place = Place::Hamp(index);
        let wrong = |error: String| Mistake {
            place,
            message: format!("{name}: {error}"),
        };
        let text = self.hamp_config(index);
        if let Some(text) = text.map_err(|error| wrong(format!("{error:#}")))? {
            hamp::daemon::config::Config::parse(&text, "its hamp.toml")
                .map_err(|error| wrong(error.to_string()))?;
        }
        Ok(())
    }

    /// Two ways between two switches would carry a broadcast round and round.
    fn check_loops(&self) -> Result<(), Mistake> {
        let mut groups: BTreeMap<usize, usize> = BTreeMap::new();
        let root = |groups: &BTreeMap<usize, usize>, mut at: usize| {
            while let Some(up) = groups.get(&at) {
                at = *up;
            }
            at
        };
        for (index, link) in self.links.iter().enumerate() {
            let [a, b] = link.ends.each_ref().map(|end| end.node);
            if self.nodes[a].kind != Kind::Switch || self.nodes[b].kind != Kind::Switch {
                continue;
            }
            let (from, to) = (root(&groups, a), root(&groups, b));
            ensure(from != to, Place::Link(index), || {
                format!(
                    "switches {} and {} are connected twice: frames would circle for ever",
                    self.nodes[a].name, self.nodes[b].name
                )
            })?;
            groups.insert(from, to);
        }
        Ok(())
    }
}

/// Whether this can be the name of a node.
pub(super) fn is_name(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    (1..=NAME_LENGTH).contains(&text.len()) && !text.starts_with('-') && text.bytes().all(allowed)
}

/// What [`is_title`] allows.
const TITLE: &str = "up to 60 characters that can be seen";

/// Whether this can be shown in a picture and on a terminal: short, without control characters
/// and without what turns the direction of the text around it.
fn is_title(text: &str) -> bool {
    let turns = |c| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().count() <= 60 && !text.chars().any(|c| c.is_control() || turns(c))
}

/// Whether this can be the name of an interface, besides `lo` and our bridge.
fn is_interface(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    (1..=INTERFACE_LENGTH).contains(&text.len())
        && !["lo", "br0", ".", "..", "all", "default"].contains(&text)
        && !text.starts_with('-')
        && text.bytes().all(allowed)
}
