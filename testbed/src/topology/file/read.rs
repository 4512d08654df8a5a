//! From the keys of a file to a topology.

use std::collections::BTreeMap;

use hamp::daemon::config::{Config, Document, Error, KeyPath, nearest};
use ipnet::IpNet;
use toml::Spanned;
use toml::de::DeValue;

use super::keys::{CableKeys, File, HostKeys, LinkKeys, Mac, Words};
use crate::topology::{Clock, Kind, Link, Mistake, Node, Place, Program, Topology};

pub(super) fn read(text: &str, file: &str) -> Result<Topology, Error> {
    let document = Document::parse(text, file)?;
    let mut reading = Reading {
        document: &document,
        topology: Topology::default(),
        nodes: Vec::new(),
        links: Vec::new(),
    };
    let keys: File = document.read()?;
    reading.topology.name = keys.name.clone().unwrap_or_else(|| stem(file));
    reading.read(keys)?;
    let checked = reading.topology.check();
    checked.map_err(|mistake| reading.placed(mistake))?;
    Ok(reading.topology)
}

/// The name of a file without its directory and ending.
fn stem(file: &str) -> String {
    let stem = std::path::Path::new(file).file_stem();
    stem.map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
}

/// A topology on its way, and where in the file its parts stand.
struct Reading<'a> {
    document: &'a Document<'a>,
    topology: Topology,
    nodes: Vec<KeyPath>,
    links: Vec<KeyPath>,
}

/// What the file says of one node.
struct NodeKeys {
    path: KeyPath,
    name: String,
    kind: Kind,
    keys: HostKeys,
}

impl Reading<'_> {
    fn read(&mut self, keys: File) -> Result<(), Error> {
        let nodes = self.nodes_in_order(keys.switch, keys.router, keys.host);
        for of in &nodes {
            let node = self.node(of)?;
            self.topology.nodes.push(node);
            self.nodes.push(of.path.clone());
        }
        for (index, of) in nodes.iter().enumerate() {
            for (at, link) in of.keys.links.iter().enumerate() {
                let path = of.path.clone().key("links").index(at);
                self.link(index, link, path)?;
            }
        }
        for (at, cable) in keys.cable.iter().enumerate() {
            self.cable(cable, KeyPath::of(&["cable"]).index(at))?;
        }
        for (index, of) in nodes.iter().enumerate() {
            self.hamp(index, &of.path.clone().key("hamp"))?;
        }
        Ok(())
    }

    /// All nodes as they come in the file.
    fn nodes_in_order(
        &self,
        switches: BTreeMap<String, super::keys::SwitchKeys>,
        routers: BTreeMap<String, HostKeys>,
        hosts: BTreeMap<String, HostKeys>,
    ) -> Vec<NodeKeys> {
        let of = |kind: Kind, (name, keys): (String, HostKeys)| NodeKeys {
            path: KeyPath::of(&[kind.name(), &name]),
            name,
            kind,
            keys,
        };
        let switches = switches.into_iter().map(|(name, keys)| {
            let keys = HostKeys {
                site: keys.site,
                links: keys.links,
                routes: Vec::new(),
                programs: keys.programs,
                hamp: None,
                clock: Clock::default(),
            };
            (name, keys)
        });
        let mut nodes: Vec<_> = switches.map(|one| of(Kind::Switch, one)).collect();
        nodes.extend(routers.into_iter().map(|one| of(Kind::Router, one)));
        nodes.extend(hosts.into_iter().map(|one| of(Kind::Host, one)));
        nodes.sort_by_key(|node| self.document.position(&node.path));
        nodes
    }

    fn node(&self, of: &NodeKeys) -> Result<Node, Error> {
        let mut routes = Vec::new();
        for (at, route) in of.keys.routes.iter().enumerate() {
            let path = || of.path.clone().key("routes").index(at);
            let route = route.route();
            routes.push(route.map_err(|why| self.document.error(&path(), why))?);
        }
        let programs_path = of.path.clone().key("programs");
        let mut programs: Vec<(&String, &Words)> = of.keys.programs.iter().collect();
        programs.sort_by_key(|(name, _)| {
            self.document
                .position(&programs_path.clone().key(name.as_str()))
        });
        let program = |(name, words): (&String, &Words)| Program {
            name: name.clone(),
            command: words.0.clone(),
        };
        Ok(Node {
            name: of.name.clone(),
            kind: of.kind,
            site: of.keys.site.clone(),
            routes,
            // The keys are a table: nothing in it cannot be written.
            hamp: of.keys.hamp.as_ref().map(ToString::to_string),
            programs: programs.into_iter().map(program).collect(),
            clock: of.keys.clock,
        })
    }

    fn link(&mut self, own: usize, keys: &LinkKeys, path: KeyPath) -> Result<(), Error> {
        let to_path = path.clone().key("to");
        let to = self.find(&keys.to, &to_path)?;
        let kind = self.topology.nodes[to].kind;
        if kind != Kind::Switch {
            let message = format!(
                "\"{}\" is a {}: links lead to switches, a [[cable]] to anything",
                keys.to,
                kind.name()
            );
            return Err(self.document.error(&to_path, message));
        }
        let nets = self.nets(&keys.addresses, &path.clone().key("addresses"))?;
        let ends = [(own, nets), (to, Vec::new())];
        let impairments = keys.impairments();
        let link = self.topology.plug_in(ends);
        if let Some(name) = &keys.interface {
            link.ends[0].interface.clone_from(name);
        }
        if let Some(Mac(mac)) = keys.mac {
            link.ends[0].mac = mac;
        }
        self.impair(impairments, path)
    }

    fn cable(&mut self, keys: &CableKeys, path: KeyPath) -> Result<(), Error> {
        let between = path.clone().key("between");
        let a = self.find(&keys.between[0], &between.clone().index(0))?;
        let b = self.find(&keys.between[1], &between.index(1))?;
        let addresses = path.clone().key("addresses");
        let own = self.nets(&keys.addresses[0], &addresses.clone().index(0))?;
        let other = self.nets(&keys.addresses[1], &addresses.index(1))?;
        let impairments = keys.impairments();
        let link: &mut Link = self.topology.plug_in([(a, own), (b, other)]);
        for (side, end) in link.ends.iter_mut().enumerate() {
            if let Some(names) = &keys.interfaces {
                end.interface.clone_from(&names[side]);
            }
            if let Some(macs) = &keys.macs {
                end.mac = macs[side].0;
            }
        }
        self.impair(impairments, path)
    }

    /// Addresses with prefix lengths; `path` is where they stand.
    fn nets(&self, texts: &[String], path: &KeyPath) -> Result<Vec<IpNet>, Error> {
        let parse = |(at, text): (usize, &String)| {
            text.parse().map_err(|_| {
                let message =
                    format!("{text:?} is no address with a prefix length, like 10.0.0.1/24");
                self.document.error(&path.clone().index(at), message)
            })
        };
        texts.iter().enumerate().map(parse).collect()
    }

    /// Impairs the cable made last, which is described at `path`.
    fn impair(
        &mut self,
        how: Result<[crate::Impairment; 2], (Option<&'static str>, String)>,
        path: KeyPath,
    ) -> Result<(), Error> {
        let [out, back] = how.map_err(|(key, why)| {
            let path = key
                .into_iter()
                .fold(path.clone(), |path, key| path.key(key));
            self.document.error(&path, why)
        })?;
        if let Some(link) = self.topology.links.last_mut() {
            link.ends[0].sends = out;
            link.ends[1].sends = back;
        }
        self.links.push(path);
        Ok(())
    }

    /// The index of a node; `path` is where its name stands.
    fn find(&self, name: &str, path: &KeyPath) -> Result<usize, Error> {
        self.topology.position(name).ok_or_else(|| {
            let names = self.topology.nodes.iter().map(|node| node.name.clone());
            let mut message = format!("there is no \"{name}\"");
            if let Some(nearest) = nearest(name, names) {
                message += &format!("; the nearest name is \"{nearest}\"");
            }
            self.document.error(path, message)
        })
    }

    /// Reads a node's hamp configuration where it stands, so that errors name its lines.
    fn hamp(&self, index: usize, path: &KeyPath) -> Result<(), Error> {
        let Some(own) = self.document.value(path) else {
            return Ok(());
        };
        let whole = self.topology.hamp_config(index);
        let whole = whole.map_err(|error| self.document.error(path, format!("{error:#}")))?;
        let whole = whole.unwrap_or_default();
        let completed = Document::parse(&whole, "completed")?;
        // What was filled in has no line of its own: it gets that of the table.
        let mut own = own.clone();
        if let (DeValue::Table(table), Some(node)) = (
            own.get_mut(),
            completed.value(&KeyPath::of(&["node"])).cloned(),
        ) {
            match table.get_mut("node").map(Spanned::get_mut) {
                Some(DeValue::Table(said)) => {
                    let filled = node.into_inner();
                    for key in ["name", "interfaces"] {
                        if let (None, Some(value)) = (said.get(key), filled.get(key)) {
                            said.insert(
                                Spanned::new(0..0, key.into()),
                                Spanned::new(0..0, value.get_ref().clone()),
                            );
                        }
                    }
                }
                Some(_) => {}
                None => {
                    table.insert(Spanned::new(0..0, "node".into()), node);
                }
            }
        }
        let config: Config = self.document.read_value(own)?;
        config.check_in(self.document, path)
    }

    /// A mistake in the topology as an error in the file.
    fn placed(&self, mistake: Mistake) -> Error {
        let path = match mistake.place {
            Place::Whole => KeyPath::default(),
            Place::Node(node) => self.nodes[node].clone(),
            Place::Route(node, at) => self.nodes[node].clone().key("routes").index(at),
            Place::Program(node, at) => {
                let name = &self.topology.nodes[node].programs[at].name;
                self.nodes[node].clone().key("programs").key(name)
            }
            Place::Hamp(node) => self.nodes[node].clone().key("hamp"),
            Place::Link(link) | Place::End(link, _) => self.links[link].clone(),
        };
        self.document.error(&path, mistake.message)
    }
}
