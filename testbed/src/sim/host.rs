//! A host of the simulation: what it is, and the life it has at the moment.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use hamp::daemon::config::Config;
use hamp::node::{self, JoinOptions, LinkId, LinkState};
use hamp::proto::trust::{Credentials, Mode, PublicKey};
use hamp::time::Instant;
use hamp::user::{self, Route};
use ipnet::IpNet;

use super::clock::Clock;
use super::machine::Machine;
use super::packet::Packet;
use super::queue::Nanos;
use crate::topology::{Kind, Node, Via};

/// Frames that the socket of a frozen host keeps: what Linux's default receive buffer
/// (`net.core.rmem_default`, 208 KiB) holds of small ones.
pub const BACKLOG: usize = 256;
/// The MTU of every link, in bytes.
const MTU: u16 = 1500;
/// What the wall clocks of hosts with keys show at time zero, in milliseconds since 1970.
pub const WALL: u64 = 1_700_000_000_000;
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
    pub(super) fn state(&self) -> Option<LinkState> {
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

    /// What a whole host is told of it while the cable is in.
    pub(super) fn of_user(&self) -> user::Interface {
        user::Interface {
            mac: self.mac,
            addresses: self.addresses.clone(),
            mtu: MTU,
        }
    }
}

/// What a host has to say who it is, and whom it believes.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Its key with a certificate, if it has one.
    pub credentials: Option<Arc<Credentials>>,
    /// What becomes of what nobody vouches for.
    pub mode: Mode,
    /// Whose certificates count.
    pub authorities: Vec<PublicKey>,
}

/// What a host is, in all its lives.
#[derive(Debug)]
pub(super) struct About {
    pub(super) name: String,
    config: Option<Config>,
    secret: [u8; 32],
    /// It is a whole host, with these routes, forwarding or not, serving its name or not.
    whole: bool,
    routes: Vec<Route>,
    router: bool,
    serves: bool,
    pub(super) trust: Trust,
}

impl About {
    /// What `node` of a topology is; `text` is its whole `hamp.toml`.
    pub(super) fn new(
        node: &Node,
        text: Option<&str>,
        interfaces: &mut [Interface],
        secret: [u8; 32],
        whole: bool,
    ) -> Result<Self> {
        let link = |name: &String| interfaces.iter().position(|known| known.name == *name);
        let routes = node.routes.iter().map(|route| Route {
            to: route.to,
            via: match route.via {
                Via::Gateway(address) => Some(address),
                Via::Interface(_) => None,
            },
            link: match &route.via {
                Via::Gateway(_) => None,
                Via::Interface(name) => link(name).map(number),
            },
            metric: 0,
        });
        let mut programs = node.programs.iter();
        let mut about = Self {
            config: None,
            secret,
            whole,
            routes: routes.collect(),
            router: node.kind == Kind::Router,
            serves: programs.any(|program| program.command.get(1).is_some_and(|arg| arg == "who")),
            name: node.name.clone(),
            trust: Trust::default(),
        };
        about.configure(text, interfaces)?;
        Ok(about)
    }

    /// Puts another `hamp.toml` in the place of the one there was, for the next life.
    pub(super) fn configure(
        &mut self,
        text: Option<&str>,
        interfaces: &mut [Interface],
    ) -> Result<()> {
        let file = format!("hamp.toml of {}", self.name);
        let config = text.map(|text| Config::parse(text, &file)).transpose()?;
        for interface in &mut *interfaces {
            interface.speaks = false;
        }
        for wanted in config.iter().flat_map(|config| &config.node.interfaces) {
            let found = interfaces.iter_mut().find(|known| known.name == *wanted);
            let found = found.with_context(|| format!("{file}: {} has no {wanted}", self.name))?;
            found.speaks = true;
        }
        self.config = config;
        Ok(())
    }

    /// Whether there is anything to start.
    pub(super) fn runs(&self) -> bool {
        self.whole || self.config.is_some()
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

    fn machine(&self, now: Instant, unix_ms: u64, epoch: u64) -> Result<Machine> {
        let config = self.config.as_ref().map(|config| node::Config {
            credentials: self.trust.credentials.clone(),
            trust: self.trust.mode,
            authorities: self.trust.authorities.clone(),
            ..config.node(|| self.name.clone())
        });
        let mut machine = match config {
            config if self.whole => {
                let service = self.serves.then_some(self.name.as_str());
                let life = (self.secret, epoch);
                Machine::whole(config, life, &self.routes, self.router, service)?
            }
            Some(config) => Machine::alone(config, self.secret, epoch),
            None => bail!(
                "{} has no hamp.toml, so there is nothing to start",
                self.name
            ),
        };
        machine.set_wall(now, unix_ms);
        self.join(now, &mut machine)?;
        Ok(machine)
    }

    /// Serves what its file says.
    fn join(&self, now: Instant, machine: &mut Machine) -> Result<()> {
        let mut all = self.config.iter().flat_map(Config::addresses);
        all.try_for_each(|prefix| machine.join(now, prefix, self.options()))
    }
}

/// What hamp on a host does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hamp {
    /// It runs, if the host does.
    Runs,
    /// It is stopped, and may go on.
    Frozen,
    /// It has ended, while the host goes on.
    Dead,
}

/// A host.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) about: About,
    pub(super) interfaces: Vec<Interface>,
    /// Whether its first start is still to come.
    pub(super) starts: bool,
    /// What runs on it, if it runs.
    pub(super) machine: Option<Machine>,
    pub(super) hamp: Hamp,
    backlog: VecDeque<(LinkId, Rc<Packet>)>,
    /// When a timer of it is planned.
    pub(super) timer: Option<Nanos>,
    /// No later life has a smaller epoch.
    epoch: u64,
    /// What time it has.
    pub(super) clock: Clock,
}

impl Host {
    /// A host that does not run yet.
    pub(super) fn new(about: About, interfaces: Vec<Interface>, clock: Clock) -> Self {
        Self {
            starts: about.runs(),
            about,
            interfaces,
            machine: None,
            hamp: Hamp::Runs,
            backlog: VecDeque::new(),
            timer: None,
            epoch: FIRST_EPOCH,
            clock,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.about.name
    }

    /// Begins a new life.
    pub(super) fn start(&mut self, at: Nanos) -> Result<()> {
        let now = self.clock.at(at);
        if self.machine.is_some() && self.hamp != Hamp::Dead {
            bail!("{} runs already", self.name());
        }
        self.epoch = self.epoch.max(FIRST_EPOCH + now.as_millis());
        if let Some(machine) = &mut self.machine {
            machine.restart(now, self.about.secret, self.epoch);
            self.about.join(now, machine)?;
        } else {
            let mut machine = self.about.machine(now, WALL + at / 1_000_000, self.epoch)?;
            let interfaces = self.interfaces.iter().enumerate();
            let speaking = interfaces.filter(|(_, interface)| interface.speaks);
            machine.speak_on(speaking.map(|(at, _)| number(at)));
            self.machine = Some(machine);
        }
        self.starts = false;
        self.hamp = Hamp::Runs;
        self.look_at_links(at);
        Ok(())
    }

    /// Ends this life without a word.
    ///
    /// Returns whether there was one, or was about to be.
    pub(super) fn kill(&mut self) -> bool {
        let was_to_start = std::mem::take(&mut self.starts);
        self.end_life();
        self.hamp = Hamp::Runs;
        self.backlog.clear();
        self.timer = None;
        self.machine.take().is_some() || was_to_start
    }

    /// Ends hamp without a word, and nothing else if it is a whole host. Returns whether it ran.
    pub(super) fn kill_hamp(&mut self, at: Nanos) -> bool {
        let now = self.clock.at(at);
        match &mut self.machine {
            Some(machine) if machine.is_whole() => {
                let ran = self.hamp != Hamp::Dead;
                machine.freeze(now);
                self.end_life();
                self.hamp = Hamp::Dead;
                ran
            }
            _ => self.kill(),
        }
    }

    fn end_life(&mut self) {
        let links = self
            .machine
            .iter()
            .flat_map(|machine| machine.node().links());
        let epochs = links.map(|(_, link)| link.member().epoch());
        self.epoch = epochs.fold(self.epoch, u64::max) + 1;
    }

    /// Stops hamp where it is. Returns whether it ran.
    pub(super) fn freeze(&mut self, at: Nanos) -> bool {
        let now = self.clock.at(at);
        let Some(machine) = self.acting() else {
            return false;
        };
        machine.freeze(now);
        self.hamp = Hamp::Frozen;
        true
    }

    /// Goes on, with what the socket kept: read first, as a daemon that wakes up does. Returns
    /// whether hamp was frozen.
    pub(super) fn thaw(&mut self, at: Nanos) -> bool {
        let now = self.clock.at(at);
        if self.hamp != Hamp::Frozen {
            return false;
        }
        self.hamp = Hamp::Runs;
        if let Some(machine) = &mut self.machine {
            for (link, packet) in std::mem::take(&mut self.backlog) {
                machine.hear(now, link, &packet);
            }
        }
        self.look_at_links(at);
        if let Some(machine) = &mut self.machine {
            machine.thaw(now);
        }
        true
    }

    /// Tells what runs which interfaces there are, and how they are.
    pub(super) fn look_at_links(&mut self, at: Nanos) {
        let now = self.clock.at(at);
        if let Some(machine) = self.machine.as_mut().filter(|machine| {
            // A whole host looks at its links itself when hamp on it wakes up.
            self.hamp == Hamp::Runs || machine.is_whole()
        }) {
            for (at, interface) in self.interfaces.iter().enumerate() {
                machine.handle_link(now, number(at), interface);
            }
        }
    }

    /// Takes a frame that came by the interface `at`.
    pub(super) fn receive(&mut self, now: Nanos, at: usize, packet: &Rc<Packet>) {
        let now = self.clock.at(now);
        let Some(machine) = &mut self.machine else {
            return;
        };
        if !self.interfaces[at].speaks && !self.about.whole {
            return;
        }
        if self.hamp == Hamp::Runs || machine.is_whole() {
            machine.hear(now, number(at), packet);
        } else if self.backlog.len() < BACKLOG {
            self.backlog.push_back((number(at), Rc::clone(packet)));
        }
    }

    /// What runs on it, if hamp acts at the moment.
    pub(super) fn acting(&mut self) -> Option<&mut Machine> {
        self.machine.as_mut().filter(|_| self.hamp == Hamp::Runs)
    }

    /// Whether hamp acts at the moment.
    pub(super) fn acts(&self) -> bool {
        self.machine.is_some() && self.hamp == Hamp::Runs
    }

    /// What runs on it, if that has timers at the moment.
    pub(super) fn awake(&mut self) -> Option<&mut Machine> {
        let hamp = self.hamp;
        let all = self.machine.as_mut();
        all.filter(|machine| hamp == Hamp::Runs || machine.is_whole())
    }

    /// The interface that is `link` to what runs.
    pub(super) fn interface(&self, link: LinkId) -> Option<&Interface> {
        let at = link.0.checked_sub(number(0).0)?;
        self.interfaces.get(at as usize)
    }
}

/// The number of the interface `at`: the first is 2, since `lo` is 1 on Linux.
pub(super) fn number(at: usize) -> LinkId {
    LinkId(u32::try_from(at + 2).unwrap_or(u32::MAX))
}
