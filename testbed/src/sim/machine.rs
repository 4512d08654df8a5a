//! What runs on a host: hamp alone, or a whole host in user space with its programs.

use anyhow::{Result, bail};
use hamp::addr::Prefix;
use hamp::node::{Config, Event, JoinOptions, LinkId, Node, Transmit};
use hamp::time::Instant;
use hamp::user::{self, Route};

use super::apps::Apps;
use super::host::Interface;
use super::packet::Packet;
use crate::report::Request;

/// What runs on a host.
#[derive(Debug)]
pub(super) enum Machine {
    /// It answers for anycast addresses, and for nothing else.
    Alone(Box<Node>),
    /// ARP, neighbour discovery, UDP and TCP too.
    Whole(Box<Whole>),
}

/// A host in user space.
#[derive(Debug)]
pub(super) struct Whole {
    host: user::Host,
    pub(super) apps: Apps,
    ended: Vec<Request>,
}

impl Whole {
    fn poll(&mut self, now: Instant) {
        self.apps.poll(now, &mut self.host, &mut self.ended);
    }
}

impl Machine {
    /// Hamp alone; the arguments are those of [`Node::new`].
    pub(super) fn alone(config: Config, secret: [u8; 32], epoch: u64) -> Self {
        Self::Alone(Box::new(Node::new(config, secret, epoch)))
    }

    /// A whole host, without hamp if there is no `config`. With a `service` it answers with that
    /// name; a router forwards.
    pub(super) fn whole(
        config: Option<Config>,
        (secret, epoch): ([u8; 32], u64),
        routes: &[Route],
        router: bool,
        service: Option<&str>,
    ) -> Result<Self> {
        let [a, b, c, d, e, f, g, h, ..] = secret;
        // Another life draws other ports and sequence numbers.
        let seed = u64::from_le_bytes([a, b, c, d, e, f, g, h]) ^ epoch;
        let mut host = match config {
            Some(config) => user::Host::new(config, secret, epoch, seed),
            None => user::Host::stock(seed),
        };
        host.set_routes(routes.to_vec());
        host.set_forwarding(router);
        let mut apps = Apps::default();
        if let Some(name) = service {
            apps.serve(&mut host, name)?;
        }
        Ok(Self::Whole(Box::new(Whole {
            host,
            apps,
            ended: Vec::new(),
        })))
    }

    /// Hamp on it; without links where there is none.
    pub(super) fn node(&self) -> &Node {
        match self {
            Self::Alone(node) => node,
            Self::Whole(whole) => whole.host.node(),
        }
    }

    /// Hamp itself, where it is alone.
    pub(super) fn node_mut(&mut self) -> Result<&mut Node> {
        match self {
            Self::Alone(node) => Ok(node),
            Self::Whole(_) => bail!("hamp on a whole host is driven by that host alone"),
        }
    }

    /// The whole host.
    pub(super) fn as_whole(&mut self) -> Result<&mut Whole> {
        match self {
            Self::Whole(whole) => Ok(whole),
            Self::Alone(_) => bail!("hamp runs alone: there are programs on whole hosts only"),
        }
    }

    /// Forgets the link-layer addresses that it has learned.
    pub(super) fn forget(&mut self) -> Result<()> {
        self.as_whole()?.host.forget_neighbours();
        Ok(())
    }

    pub(super) fn join(&mut self, now: Instant, prefix: Prefix, how: JoinOptions) -> Result<()> {
        match self {
            Self::Alone(node) => node.join(now, prefix, how)?,
            Self::Whole(whole) => whole.host.join(now, prefix, how)?,
        }
        Ok(())
    }

    pub(super) fn leave(&mut self, now: Instant, prefix: Prefix) -> Result<()> {
        match self {
            Self::Alone(node) => node.leave(now, prefix)?,
            Self::Whole(whole) => whole.host.leave(now, prefix)?,
        }
        Ok(())
    }

    /// On which interfaces hamp takes part; said before they come up.
    pub(super) fn speak_on(&mut self, links: impl Iterator<Item = LinkId>) {
        if let Self::Whole(whole) = self {
            whole.host.speak_on(links);
        }
    }

    /// How an interface is now.
    pub(super) fn handle_link(&mut self, now: Instant, id: LinkId, interface: &Interface) {
        match self {
            Self::Alone(node) if interface.speaks => node.handle_link(now, id, interface.state()),
            Self::Alone(_) => {}
            Self::Whole(whole) => {
                let up = interface.carrier.then(|| interface.of_user());
                whole.host.handle_link(now, id, up);
                whole.poll(now);
            }
        }
    }

    /// A frame has come in.
    pub(super) fn hear(&mut self, now: Instant, id: LinkId, packet: &Packet) {
        match self {
            Self::Alone(node) => node.handle_heard(now, id, packet.heard(), false),
            Self::Whole(whole) => {
                let heard = || packet.heard();
                whole.host.handle_heard(now, id, &packet.bytes, heard);
                whole.poll(now);
            }
        }
    }

    /// What time it is, in milliseconds since 1970; it goes on by the host's clock.
    pub(super) fn set_wall(&mut self, now: Instant, unix_ms: u64) {
        match self {
            Self::Alone(node) => node.set_wall(now, unix_ms),
            Self::Whole(whole) => whole.host.set_wall(now, unix_ms),
        }
    }

    /// A program has sent a frame past hamp, which sees it.
    pub(super) fn see(&mut self, now: Instant, id: LinkId, frame: &[u8]) {
        if let Self::Alone(node) = self {
            node.handle_frame(now, id, frame, true);
        }
    }

    /// Hamp stops where it is. Alone, it is told nothing more by the host; on a whole host, TCP/IP
    /// and programs go on.
    pub(super) fn freeze(&mut self, now: Instant) {
        if let Self::Whole(whole) = self {
            whole.host.freeze(now);
        }
    }

    /// Hamp goes on where it was.
    pub(super) fn thaw(&mut self, now: Instant) {
        match self {
            Self::Alone(node) => node.handle_timeout(now),
            Self::Whole(whole) => {
                whole.host.thaw(now);
                whole.poll(now);
            }
        }
    }

    /// Hamp starts anew on a host that went on without it.
    pub(super) fn restart(&mut self, now: Instant, secret: [u8; 32], epoch: u64) {
        if let Self::Whole(whole) = self {
            whole.host.restart(now, secret, epoch);
        }
    }

    /// Whether it goes on while hamp does not.
    pub(super) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        match self {
            Self::Alone(node) => node.handle_timeout(now),
            Self::Whole(whole) => {
                whole.host.handle_timeout(now);
                whole.poll(now);
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Alone(node) => node.poll_timeout(),
            Self::Whole(whole) => {
                let both = [whole.host.poll_timeout(), whole.apps.poll_timeout()];
                both.into_iter().flatten().min()
            }
        }
    }

    pub(super) fn poll_transmit(&mut self) -> Option<Transmit> {
        match self {
            Self::Alone(node) => node.poll_transmit(),
            Self::Whole(whole) => whole.host.poll_transmit(),
        }
    }

    pub(super) fn poll_event(&mut self) -> Option<Event> {
        match self {
            Self::Alone(node) => node.poll_event(),
            Self::Whole(whole) => whole.host.poll_event(),
        }
    }

    /// Requests of its clients that have ended since the last time.
    pub(super) fn take_ended(&mut self) -> Vec<Request> {
        match self {
            Self::Alone(_) => Vec::new(),
            Self::Whole(whole) => std::mem::take(&mut whole.ended),
        }
    }
}
