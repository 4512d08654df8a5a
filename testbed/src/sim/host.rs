//! A host of the simulation: what its file says, and the life it has at the moment.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use hamp::daemon::config::Config;
use hamp::node::{self, JoinOptions, LinkId, LinkState, Node};
use hamp::proto::Timing;
use hamp::time::Instant;
use ipnet::IpNet;

use super::packet::Packet;
use super::queue::Nanos;

/// Frames that the socket of a frozen host keeps: what Linux's default receive buffer
/// (`net.core.rmem_default`, 208 KiB) holds of small ones.
pub const BACKLOG: usize = 256;
/// The MTU of every link, in bytes.
const MTU: u16 = 1500;
/// Epochs begin here, so that none is zero.
const FIRST_EPOCH: u64 = 1000;

/// One end of a cable, in a host.
#[derive(Debug)]
pub(super) struct Interface {
    pub(super) name: String,
    /// The port that it is.
    pub(super) port: usize,
    pub(super) mac: [u8; 6],
    pub(super) addresses: Vec<IpNet>,
    /// Whether the cable is in.
    pub(super) carrier: bool,
    /// Whether hamp speaks on it.
    pub(super) speaks: bool,
}

impl Interface {
    /// What hamp is told of it.
    fn state(&self) -> Option<LinkState> {
        let mut state = LinkState {
            mac: self.mac,
            ipv4: None,
            ipv6: None,
            mtu: MTU,
        };
        for address in &self.addresses {
            match address.addr() {
                IpAddr::V4(address) => state.ipv4 = state.ipv4.or(Some(address)),
                IpAddr::V6(address) => state.ipv6 = state.ipv6.or(Some(address)),
            }
        }
        let speaks = self.carrier && (state.ipv4.is_some() || state.ipv6.is_some());
        speaks.then_some(state)
    }
}

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) name: String,
    config: Option<Config>,
    secret: [u8; 32],
    pub(super) interfaces: Vec<Interface>,
    /// Whether its first start is still to come.
    pub(super) starts: bool,
    /// hamp on this host, while it runs.
    pub(super) node: Option<Node>,
    pub(super) frozen: bool,
    backlog: VecDeque<(LinkId, Rc<Packet>)>,
    /// When a timer of it is planned.
    pub(super) timer: Option<Nanos>,
    /// No later life has a smaller epoch.
    epoch: u64,
}

impl Host {
    /// A host that does not run yet; `text` is its `hamp.toml`.
    pub(super) fn new(
        name: &str,
        text: Option<&str>,
        interfaces: Vec<Interface>,
        secret: [u8; 32],
    ) -> Result<Self> {
        let file = format!("hamp.toml of {name}");
        let config = text.map(|text| Config::parse(text, &file)).transpose()?;
        let mut host = Self {
            name: name.to_owned(),
            config,
            secret,
            interfaces,
            starts: text.is_some(),
            node: None,
            frozen: false,
            backlog: VecDeque::new(),
            timer: None,
            epoch: FIRST_EPOCH,
        };
        for name in host
            .config
            .iter()
            .flat_map(|config| &config.node.interfaces)
        {
            let mut all = host.interfaces.iter_mut();
            let found = all.find(|interface| interface.name == *name);
            let found = found.with_context(|| format!("{file}: {} has no {name}", host.name))?;
            found.speaks = true;
        }
        Ok(host)
    }

    /// Begins a new life.
    pub(super) fn start(&mut self, now: Instant) -> Result<()> {
        let Some(config) = &self.config else {
            bail!(
                "{} has no hamp.toml, so there is nothing to start",
                self.name
            );
        };
        if self.node.is_some() {
            bail!("{} runs already", self.name);
        }
        self.epoch = self.epoch.max(FIRST_EPOCH + now.as_millis());
        let about = node::Config {
            name: config.node.name.clone().unwrap_or(self.name.clone()),
            class: config.class(),
            timing: Timing {
                hello: config.hello(),
                dead_hellos: config.node.dead_hellos,
            },
            client: config.is_client(),
            ..node::Config::default()
        };
        let mut node = Node::new(about, self.secret, self.epoch);
        for prefix in config.addresses() {
            node.join(now, prefix, self.options())?;
        }
        self.node = Some(node);
        self.starts = false;
        self.frozen = false;
        self.look_at_links(now);
        Ok(())
    }

    /// Ends this life without a word.
    ///
    /// Returns whether there was one, or was about to be.
    pub(super) fn kill(&mut self) -> bool {
        let started = !std::mem::take(&mut self.starts);
        let Some(node) = self.node.take() else {
            return !started;
        };
        let epochs = node.links().map(|(_, link)| link.member().epoch());
        self.epoch = epochs.fold(self.epoch, u64::max) + 1;
        self.frozen = false;
        self.backlog.clear();
        self.timer = None;
        true
    }

    /// How it serves what it joins.
    pub(super) fn options(&self) -> JoinOptions {
        let preference = self.config.as_ref().map(Config::preference);
        let default = JoinOptions::default();
        JoinOptions {
            preference: preference.unwrap_or(default.preference),
            ..default
        }
    }

    /// Goes on, with what the socket kept: read first, as a daemon that wakes up does.
    pub(super) fn thaw(&mut self, now: Instant) {
        self.frozen = false;
        for (link, packet) in std::mem::take(&mut self.backlog) {
            self.hear(now, link, &packet);
        }
        self.look_at_links(now);
        if let Some(node) = &mut self.node {
            node.handle_timeout(now);
        }
    }

    /// Tells hamp which interfaces it has, and how they are.
    pub(super) fn look_at_links(&mut self, now: Instant) {
        let Some(node) = self.node.as_mut().filter(|_| !self.frozen) else {
            return;
        };
        for (at, interface) in self.interfaces.iter().enumerate() {
            if interface.speaks {
                node.handle_link(now, number(at), interface.state());
            }
        }
    }

    /// Takes a frame that came by the interface `at`.
    pub(super) fn receive(&mut self, now: Instant, at: usize, packet: &Rc<Packet>) {
        if self.node.is_none() || !self.interfaces[at].speaks {
            return;
        }
        if !self.frozen {
            self.hear(now, number(at), packet);
        } else if self.backlog.len() < BACKLOG {
            self.backlog.push_back((number(at), Rc::clone(packet)));
        }
    }

    fn hear(&mut self, now: Instant, link: LinkId, packet: &Packet) {
        if let Some(node) = &mut self.node {
            node.handle_heard(now, link, packet.heard(), false);
        }
    }

    /// Whether it acts at the moment.
    pub(super) fn acts(&self) -> bool {
        self.node.is_some() && !self.frozen
    }

    /// The interface that hamp knows as `link`.
    pub(super) fn interface(&self, link: LinkId) -> Option<&Interface> {
        let at = link.0.checked_sub(number(0).0)?;
        self.interfaces.get(at as usize)
    }
}

/// The number of the interface `at`: the first is 2, since `lo` is 1 on Linux.
pub(super) fn number(at: usize) -> LinkId {
    LinkId(u32::try_from(at + 2).unwrap_or(u32::MAX))
}
