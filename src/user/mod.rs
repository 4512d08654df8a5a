//! A whole host in user space: TCP/IP by smoltcp, anycast by the [`Node`], and no kernel.
//!
//! ```text
//!     programs             udp_*, tcp_*
//!        |
//!      smoltcp             UDP, TCP, ICMP echo: IP packets without links
//!        |
//!   rebind, gate           the client's TCP to anycast addresses; the member's lease
//!        |
//!      routes              which link, which next hop, which source address
//!        |
//!    neighbours  <------>  node: membership, who answers, a client's verified entries
//!        |                  |
//!      links               frames in, frames out
//! ```
//!
//! It does what the Linux runner does with the kernel's means (`docs/spec/link.md`,
//! `docs/spec/tcp.md`): an anycast address is a member's own, but nobody answers ARP or neighbour
//! solicitations for it except by rank; the gate closes when the lease runs out; a SYN to it is
//! one to the member's unicast address; a client believes nothing about anycast addresses but what
//! the node has verified, and its programs see connections to the address that they asked for.
//!
//! [`Host`] keeps the contract of every machine: input first, then drain [`Host::poll_transmit`] and
//! [`Host::poll_event`], then wait until [`Host::poll_timeout`]. No clock, no socket, no
//! randomness but its seed: the same input gives the same frames. What is missing is listed in
//! `docs/limitations.md`.

mod gate;
mod input;
mod interface;
mod neighbour;
mod output;
mod packet;
mod part;
mod route;
mod socket;
mod stack;

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use self::gate::Gate;
pub use self::interface::Interface;
use self::neighbour::Neighbours;
use self::packet::Packet;
use self::part::Part;
pub use self::route::Route;
use self::route::Routes;
use self::socket::Sockets;
pub use self::socket::{
    Datagram, Echo, End, ListenHandle, SocketError, TcpHandle, TcpState, UdpHandle,
};
use self::stack::Stack;
use crate::addr::{Class, Prefix};
use crate::node::{Config, Event, JoinError, JoinOptions, LeaveError, LinkId, Node, Transmit};
use crate::proto::random::Random;
use crate::proto::rebind::{Connection, Rebind};
use crate::proto::{Counters, earliest};
use crate::time::Instant;
use crate::wire::frame::Mac;

/// One host.
#[derive(Debug)]
pub struct Host {
    node: Node,
    part: Part,
    gate: Gate,
    rebind: Rebind,
    routes: Routes,
    neighbours: BTreeMap<LinkId, Neighbours>,
    stack: Stack,
    sockets: Sockets,
    /// Packets of this host to itself.
    loopback: VecDeque<Packet>,
    forwarding: bool,
    random: Random,
    counters: Counters,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

impl Host {
    /// A host without links; `secret` and `epoch` as for [`Node::new`]. All that it draws by chance
    /// (ports, initial sequence numbers, times) comes from `seed`.
    pub fn new(config: Config, secret: [u8; 32], epoch: u64, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let (class, client) = (config.class.clone(), config.client);
        Self {
            node: Node::new(config, secret, epoch),
            part: Part::Active,
            gate: Gate::default(),
            rebind: Rebind::new(class.clone()),
            routes: Routes::new(class, client),
            neighbours: BTreeMap::new(),
            stack: Stack::new(random.next_u64()),
            sockets: Sockets::default(),
            loopback: VecDeque::new(),
            forwarding: false,
            random,
            counters: Counters::default(),
            transmits: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A host that has never heard of hamp: ARP and neighbour discovery as they are, no anycast
    /// class. Its node has no links, and joins nothing.
    pub fn stock(seed: u64) -> Self {
        let config = Config {
            class: Class::new([]),
            ..Config::default()
        };
        Self {
            part: Part::None,
            ..Self::new(config, [0; 32], 0, seed)
        }
    }

    /// Whether packets to other hosts go on by this host's routes, one hop fewer to live. No errors
    /// are reported to their senders.
    pub fn set_forwarding(&mut self, forwarding: bool) {
        self.forwarding = forwarding;
    }

    /// hamp takes part on `links` alone: to be said before they come up. Without it, on all.
    pub fn speak_on(&mut self, links: impl IntoIterator<Item = LinkId>) {
        let links: BTreeSet<_> = links.into_iter().collect();
        self.routes.speak_on(links);
    }

    /// A link came up, changed its addresses, or (`None`) went down.
    pub fn handle_link(&mut self, now: Instant, id: LinkId, interface: Option<Interface>) {
        let config = self.node.config();
        let state = interface.as_ref().and_then(|up| up.state(&config.class));
        if interface.is_some() {
            let managed = config.client && self.routes.speaks_on(id);
            let managed = managed.then(|| config.class.clone());
            let random = &mut self.random;
            let fresh = || Neighbours::new(managed, random.next_u64());
            self.neighbours.entry(id).or_insert_with(fresh);
        } else {
            self.neighbours.remove(&id);
        }
        self.routes.set_link(id, interface);
        let mtu = self.routes.up().map(|(_, interface)| interface.mtu).min();
        self.stack.set_mtu(mtu);
        if matches!(self.part, Part::Active) && self.routes.speaks_on(id) {
            self.node.handle_link(now, id, state);
        }
        self.pump(now);
    }

    /// Puts `routes` in the place of those that were set before. The interfaces' own prefixes, and a
    /// client's routes to the anycast class, need none.
    pub fn set_routes(&mut self, routes: Vec<Route>) {
        self.routes.set(routes);
    }

    /// Serves `prefix` on every link; see [`Node::join`].
    ///
    /// # Errors
    /// The prefix is not anycast, or is served already.
    pub fn join(
        &mut self,
        now: Instant,
        prefix: Prefix,
        options: JoinOptions,
    ) -> Result<(), JoinError> {
        let joined = self.node.join(now, prefix, options);
        self.pump(now);
        joined
    }

    /// Stops serving `prefix`; see [`Node::leave`].
    ///
    /// # Errors
    /// The prefix is not served.
    pub fn leave(&mut self, now: Instant, prefix: Prefix) -> Result<(), LeaveError> {
        let left = self.node.leave(now, prefix);
        self.pump(now);
        left
    }

    /// Leaves everything and gives back every neighbour entry; done when the node is idle. Sockets
    /// stay.
    pub fn shutdown(&mut self, now: Instant) {
        self.node.shutdown(now);
        self.pump(now);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.node_timeout().is_some_and(|at| at <= now) {
            self.node.handle_timeout(now);
        }
        for neighbours in self.neighbours.values_mut() {
            neighbours.handle_timeout(now);
        }
        self.rebind.handle_timeout(now);
        if self.sockets.poll_timeout().is_some_and(|at| at <= now) {
            self.pump(now);
        } else {
            self.settle(now);
        }
    }

    /// When [`Self::handle_timeout`] has something to do. May change with every other call.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let neighbours = self.neighbours.values().map(Neighbours::poll_timeout);
        let others = [
            self.node_timeout(),
            self.rebind.poll_timeout(),
            self.sockets.poll_timeout(),
        ];
        earliest(neighbours.chain(others))
    }

    /// The next frame for the wire, in the order in which this host sends them.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// What the node has said, after the host has done it.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Tells what time it is: `unix_ms` milliseconds since 1970. It matters to a host that checks
    /// certificates, and to no other.
    pub fn set_wall(&mut self, now: Instant, unix_ms: u64) {
        self.node.set_wall(now, unix_ms);
    }

    /// The host's part in anycast.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Packets that the gate and the client's TCP have dropped, by reason; the node counts its own.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The neighbours that `link` knows, and where they are.
    pub fn neighbours(&self, link: LinkId) -> impl Iterator<Item = (IpAddr, Mac)> {
        self.neighbours
            .get(&link)
            .into_iter()
            .flat_map(Neighbours::known)
    }

    /// Forgets the neighbours that were learned from the links; a client's entries for anycast
    /// addresses stay.
    pub fn forget_neighbours(&mut self) {
        self.neighbours
            .values_mut()
            .for_each(Neighbours::forget_learned);
    }

    /// The connections that were asked for at anycast addresses and are bound to a member, those
    /// that ended a while ago included.
    pub fn connections(&self) -> impl Iterator<Item = Connection> {
        self.rebind.connections()
    }

    /// Whether `address` is an anycast address of this host, served now or not.
    fn holds(&self, address: IpAddr) -> bool {
        // Most packets are none of the class's, and a host may serve thousands of prefixes.
        if !self.node.config().class.contains(address) {
            return false;
        }
        let mut joined = self.node.joined();
        self.gate.serves(address) || joined.any(|(prefix, _)| prefix.contains(&address))
    }
}
