//! Describing a network: each method adds something to what was named last.
//!
//! Nothing here returns an error, so that a description reads as one sentence; the first mistake
//! is kept for [`Topology::check`].

use std::net::IpAddr;

use ipnet::IpNet;

use super::{End, Kind, Link, Node, Program, Route, Topology, Via};
use crate::impair::Impairment;

impl Topology {
    /// A network without anything in it.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Adds an Ethernet switch.
    #[must_use]
    pub fn switch(self, name: &str) -> Self {
        self.add(name, Kind::Switch)
    }

    /// Adds a host.
    #[must_use]
    pub fn host(self, name: &str) -> Self {
        self.add(name, Kind::Host)
    }

    /// Adds a router: a host that forwards.
    #[must_use]
    pub fn router(self, name: &str) -> Self {
        self.add(name, Kind::Router)
    }

    pub(super) fn add(mut self, name: &str, kind: Kind) -> Self {
        self.nodes.push(Node {
            name: name.into(),
            kind,
            site: None,
            routes: Vec::new(),
            hamp: None,
            programs: Vec::new(),
            clock: super::Clock::default(),
        });
        self
    }

    /// Plugs what was named last into `to`, usually a switch, with these addresses at its own end
    /// (`10.0.0.1/24`).
    #[must_use]
    pub fn link(self, to: &str, addresses: &[impl AsRef<str>]) -> Self {
        let none: [&str; 0] = [];
        self.cable(to, addresses, &none)
    }

    /// A cable from what was named last to `to`, with the addresses of both ends.
    #[must_use]
    pub fn cable(mut self, to: &str, own: &[impl AsRef<str>], other: &[impl AsRef<str>]) -> Self {
        let Some(here) = self.nodes.len().checked_sub(1) else {
            return self.wrong(format!("a cable to {to:?} comes before the first host"));
        };
        let Some(there) = self.position(to) else {
            let name = &self.nodes[here].name;
            let text = format!("{name} is plugged into {to:?}, which was not described before it");
            return self.wrong(text);
        };
        let own = self.nets(here, own);
        let other = self.nets(there, other);
        self.plug_in([(here, own), (there, other)]);
        self
    }

    /// A cable between two nodes, with the names and link-layer addresses that follow from the
    /// order.
    pub(super) fn plug_in(&mut self, ends: [(usize, Vec<IpNet>); 2]) -> &mut Link {
        let [(a, own), (b, other)] = ends;
        let ends = [self.end(a, b, own), self.end(b, a, other)];
        let at = self.links.len();
        self.links.push(Link { ends });
        &mut self.links[at]
    }

    fn end(&self, node: usize, to: usize, addresses: Vec<IpNet>) -> End {
        let number = self.plugs(node).count();
        let interface = if self.nodes[node].kind == Kind::Switch {
            let name = &self.nodes[to].name;
            let same = self.plugs(node).filter(|(_, _, other)| other.node == to);
            match same.count() {
                0 => name.clone(),
                more => format!("{name}.{more}"),
            }
        } else {
            format!("eth{number}")
        };
        End {
            node,
            interface,
            mac: mac(self.nodes[node].kind, node, number),
            addresses,
            sends: Impairment::default(),
        }
    }

    fn nets(&mut self, node: usize, addresses: &[impl AsRef<str>]) -> Vec<IpNet> {
        let mut nets = Vec::new();
        for text in addresses {
            let text = text.as_ref();
            match text.parse() {
                Ok(net) => nets.push(net),
                Err(_) => self.mistakes.push(format!(
                    "{text:?} on {} is no address with a prefix length, like 10.0.0.1/24",
                    self.nodes[node].name
                )),
            }
        }
        nets
    }

    /// Impairs both directions of the cable named last.
    #[must_use]
    pub fn impaired(self, how: Impairment) -> Self {
        self.impaired_out(how).impaired_in(how)
    }

    /// Impairs the cable named last in the direction from what was named last.
    #[must_use]
    pub fn impaired_out(self, how: Impairment) -> Self {
        self.impair_end(0, how)
    }

    /// Impairs the cable named last in the direction to what was named last.
    #[must_use]
    pub fn impaired_in(self, how: Impairment) -> Self {
        self.impair_end(1, how)
    }

    fn impair_end(mut self, end: usize, how: Impairment) -> Self {
        match self.links.last_mut() {
            Some(link) => link.ends[end].sends = how,
            None => return self.wrong("an impairment comes before the first cable"),
        }
        self
    }

    /// Gives what was named last a route: `to` is a prefix or `default`, `via` a router's address
    /// or the name of an interface whose neighbours the destinations are.
    #[must_use]
    pub fn route(self, to: &str, via: &str) -> Self {
        match Route::parse(to, via) {
            Ok(route) => self.on_last("a route", |node| node.routes.push(route)),
            Err(text) => self.wrong(text),
        }
    }

    /// Runs hamp on what was named last, with this `hamp.toml` ([`Node::hamp`]).
    #[must_use]
    pub fn hamp(self, text: impl Into<String>) -> Self {
        let text = text.into();
        self.on_last("hamp", |node| node.hamp = Some(text))
    }

    /// Runs a program on what was named last.
    #[must_use]
    pub fn program(self, name: &str, command: &[impl AsRef<str>]) -> Self {
        let program = Program {
            name: name.into(),
            command: command.iter().map(|word| word.as_ref().into()).collect(),
        };
        self.on_last("a program", |node| node.programs.push(program))
    }

    /// Says where what was named last stands.
    #[must_use]
    pub fn site(self, name: &str) -> Self {
        self.on_last("a site", |node| node.site = Some(name.into()))
    }

    /// Gives what was named last a clock that is `ppm` parts per million too fast (slow is negative)
    /// and shows `ahead_ms` milliseconds when the simulation begins. A kernel lab refuses it.
    #[must_use]
    pub fn clock(self, ppm: i32, ahead_ms: u64) -> Self {
        self.on_last("a clock", |node| {
            node.clock = super::Clock { ppm, ahead_ms }
        })
    }

    fn on_last(mut self, what: &str, change: impl FnOnce(&mut Node)) -> Self {
        match self.nodes.last_mut() {
            Some(node) => change(node),
            None => return self.wrong(format!("{what} comes before the first host")),
        }
        self
    }

    fn wrong(mut self, text: impl Into<String>) -> Self {
        self.mistakes.push(text.into());
        self
    }
}

impl Route {
    /// A route from words: `to` is a prefix or `default`, `via` an address or an interface.
    ///
    /// # Errors
    /// What is wrong with the words.
    pub fn parse(to: &str, via: &str) -> Result<Self, String> {
        let gateway = via.parse::<IpAddr>().ok();
        let to = match (to, gateway) {
            ("default", Some(IpAddr::V6(_))) => "::/0",
            ("default", Some(IpAddr::V4(_))) => "0.0.0.0/0",
            ("default", None) => {
                return Err(format!(
                    "a default route needs a router's address, not {via:?}"
                ));
            }
            (to, _) => to,
        };
        let to: IpNet = to
            .parse()
            .map_err(|_| format!("{to:?} is no prefix and not `default`"))?;
        let via = gateway.map_or_else(|| Via::Interface(via.into()), Via::Gateway);
        Ok(Self { to, via })
    }
}

/// Locally administered, and readable in a capture: which node, then which of its cables.
pub(super) fn mac(kind: Kind, node: usize, number: usize) -> [u8; 6] {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "`check` bounds both numbers"
    )]
    let ([node_high, node_low], [high, low]) =
        ((node as u16).to_be_bytes(), (number as u16).to_be_bytes());
    match kind {
        Kind::Switch => [0x06, 0x15, node_high, node_low, high, low],
        Kind::Host | Kind::Router => [0x02, 0x15, 0x46, node_high, node_low, low],
    }
}
