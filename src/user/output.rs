//! What goes out: from a socket's packet to a frame; and the order in which all parts of the host
//! have their turn.

use super::neighbour::Output;
use super::packet::Packet;
use super::route::Hop;
use super::socket::Cause;
use super::{Host, Part};
use crate::node::{Change, Event, LinkId, Transmit};
use crate::proto::rebind::{Flags, Verdict};
use crate::time::Instant;
use crate::wire::frame::{self, Mac};

impl Host {
    /// Lets sockets, node and neighbours send until nobody has anything left to say.
    pub(super) fn pump(&mut self, now: Instant) {
        loop {
            self.settle(now);
            self.stack.send(now);
            self.follow_connections(Cause::Timer);
            while let Some(packet) = self.stack.poll_packet() {
                if let Some(packet) = Packet::parse(&packet) {
                    self.send(now, packet);
                }
            }
            self.settle(now);
            let Some(packet) = self.loopback.pop_front() else {
                break;
            };
            self.receive(now, None, packet);
        }
        self.sweep_connections(now);
        let at = self.stack.poll_at(now);
        self.sockets.set_timeout(at);
    }

    /// Sends a packet of this host's own.
    pub(super) fn send(&mut self, now: Instant, mut packet: Packet) {
        if self.node.config().client
            && let Some(segment) = packet.segment()
        {
            match self.rebind.handle_outgoing(now, &segment) {
                Verdict::Pass => {}
                Verdict::Rewrite {
                    source,
                    destination,
                } => packet.set_ends(source, destination),
                Verdict::Drop(reason) => return self.counters.count_ignored(reason),
            }
            let anycast = self.node.config().class.contains(packet.destination);
            if anycast && segment.flags == Flags::SYN {
                packet.mark();
            }
        }
        if self.routes.is_own(packet.destination) || self.holds(packet.destination) {
            return self.loopback.push_back(packet);
        }
        self.route(now, packet);
    }

    /// Sends another host's packet on. Addresses that count on one link alone stay there (RFC 4291
    /// §2.5.6).
    pub(super) fn forward(&mut self, now: Instant, packet: Packet) {
        let local = |address: core::net::IpAddr| match address {
            core::net::IpAddr::V4(address) => address.is_link_local(),
            core::net::IpAddr::V6(address) => address.is_unicast_link_local(),
        };
        if !local(packet.source)
            && !local(packet.destination)
            && let Some(packet) = packet.forwarded()
        {
            self.route(now, packet);
        }
    }

    /// Gives a packet to the neighbour that its route leads to. One without a route, or too large
    /// for the link, is lost.
    fn route(&mut self, now: Instant, packet: Packet) {
        let Some(Hop { link, next }) = self.routes.hop(packet.destination) else {
            return;
        };
        let fits = |mtu: u16| packet.len() <= usize::from(mtu);
        let mtu = self.routes.link(link).map(|interface| interface.mtu);
        if mtu.is_some_and(fits)
            && let Some(neighbours) = self.neighbours.get_mut(&link)
        {
            neighbours.send(now, next, packet.into_bytes());
        }
    }

    /// Carries out what the node says, and sends what node and neighbours have to send.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            if matches!(self.part, Part::Active) {
                while let Some(transmit) = self.node.poll_transmit() {
                    self.transmits.push_back(transmit);
                }
                if let Some(event) = self.node.poll_event() {
                    self.carry_out(now, &event);
                    self.events.push_back(event);
                    continue;
                }
            }
            let mut links = self.neighbours.iter_mut();
            let output = links.find_map(|(link, neighbours)| {
                neighbours.poll_output().map(|output| (*link, output))
            });
            match output {
                Some((link, Output::Packet { to, packet })) => self.wrap(link, to, &packet),
                Some((link, Output::Ask { target, to })) => self.ask(now, link, target, to),
                None => break,
            }
        }
    }

    fn carry_out(&mut self, now: Instant, event: &Event) {
        match event {
            Event::Serve { link, prefix } => self.gate.serve(*link, *prefix),
            Event::Withdraw { link, prefix } => self.gate.withdraw(*link, *prefix),
            Event::Lease { lasts, .. } => self.gate.lease(now, *lasts),
            Event::Neighbour { link, address, mac } => {
                if let Some(neighbours) = self.neighbours.get_mut(link) {
                    neighbours.manage(now, *address, *mac);
                }
            }
            Event::Member { link, id, change } => {
                let known = matches!(change, Change::Joined | Change::Changed);
                self.routes.follow_member(*link, *id, known);
            }
            Event::Owner { .. }
            | Event::Rejoined { .. }
            | Event::Route { .. }
            | Event::Forwarder { .. }
            | Event::Recovered
            | Event::Refused { .. }
            | Event::Trouble { .. }
            | Event::Asker { .. }
            | Event::Verified { .. } => {}
        }
    }

    /// Asks a link for an address; the node has to know which anycast ones are asked for.
    fn ask(&mut self, now: Instant, link: LinkId, target: core::net::IpAddr, to: Option<Mac>) {
        let next = target;
        let source = self.routes.source(Hop { link, next }, target);
        let interface = self.routes.link(link);
        let (Some(source), Some(interface)) = (source, interface) else {
            return;
        };
        let frame = match to {
            Some(to) => frame::probe(to, interface.mac, source, target),
            None => frame::request(interface.mac, source, target),
        };
        let Some(frame) = frame else { return };
        if self.node.config().class.contains(target) {
            self.show(now, link, &frame, || None, true);
        }
        self.transmit(link, frame);
    }

    fn wrap(&mut self, link: LinkId, to: Mac, packet: &[u8]) {
        let Some(interface) = self.routes.link(link) else {
            return;
        };
        let ethertype = match packet.first().map(|byte| byte >> 4) {
            Some(6) => [0x86, 0xdd],
            _ => [0x08, 0x00],
        };
        let mut frame = Vec::with_capacity(14 + packet.len());
        frame.extend(to);
        frame.extend(interface.mac);
        frame.extend(ethertype);
        frame.extend(packet);
        self.transmit(link, frame);
    }

    pub(super) fn transmit(&mut self, link: LinkId, frame: Vec<u8>) {
        self.transmits.push_back(Transmit { link, frame });
    }
}
