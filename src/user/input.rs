//! What comes in: from a frame to the neighbours, the node, a socket or another link.

use smoltcp::wire::IpProtocol;

use super::Host;
use super::packet::Packet;
use super::socket::Cause;
use crate::node::{Heard, LinkId};
use crate::proto::Reason;
use crate::proto::rebind::member::Admission;
use crate::proto::rebind::{Flags, Segment, Verdict};
use crate::time::Instant;
use crate::wire::PORT;
use crate::wire::frame::{Frame, Request, is_group, unicast_answer};

const ETHERNET_HEADER: usize = 14;
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const IPV6: [u8; 2] = [0x86, 0xdd];

impl Host {
    /// A frame from the wire; one for another host is no business of this one.
    pub fn handle_frame(&mut self, now: Instant, id: LinkId, frame: &[u8]) {
        self.take(now, id, frame, || None);
    }

    /// The same for a frame that many hosts hear: what concerns anycast in it is read once for all,
    /// when the first of them asks `heard` for it.
    pub fn handle_heard<'a>(
        &mut self,
        now: Instant,
        id: LinkId,
        frame: &[u8],
        heard: impl FnOnce() -> &'a Heard,
    ) {
        self.take(now, id, frame, || Some(heard()));
    }

    fn take<'a>(
        &mut self,
        now: Instant,
        id: LinkId,
        frame: &[u8],
        heard: impl FnOnce() -> Option<&'a Heard>,
    ) {
        let Some((header, packet)) = frame.split_first_chunk::<ETHERNET_HEADER>() else {
            return;
        };
        let Some(interface) = self.routes.link(id) else {
            return self.counters.count_ignored(Reason::NoLink);
        };
        let [d0, d1, d2, d3, d4, d5, .., t0, t1] = *header;
        let to = [d0, d1, d2, d3, d4, d5];
        if to != interface.mac && !is_group(to) {
            return;
        }
        match [t0, t1] {
            ARP => self.handle_resolution(now, id, frame, heard),
            IPV6 if is_resolution(packet) => self.handle_resolution(now, id, frame, heard),
            // Groups are the node's alone: no program here joins one.
            IPV4 | IPV6 if is_group(to) => {
                if is_message(packet) {
                    self.show(now, id, frame, heard, false);
                }
            }
            IPV4 | IPV6 => {
                match Packet::parse(packet) {
                    Some(packet) => self.receive(now, Some(id), packet),
                    None => self.counters.count_ignored(Reason::MalformedFrame),
                }
                return self.pump(now);
            }
            _ => return,
        }
        // Neither concerns a socket.
        self.settle(now);
    }

    /// ARP or neighbour discovery: the node's affair for anycast addresses, the host's for its own.
    fn handle_resolution<'a>(
        &mut self,
        now: Instant,
        id: LinkId,
        frame: &[u8],
        heard: impl FnOnce() -> Option<&'a Heard>,
    ) {
        self.show(now, id, frame, heard, false);
        let Some(neighbours) = self.neighbours.get_mut(&id) else {
            return;
        };
        match Frame::parse(frame) {
            Ok(Frame::Request(request)) => self.handle_request(now, id, &request),
            Ok(Frame::Answer(answer)) => neighbours.handle_answer(now, &answer),
            _ => {}
        }
    }

    fn handle_request(&mut self, now: Instant, id: LinkId, request: &Request) {
        let class = &self.node.config().class;
        let Some(interface) = self.routes.link(id) else {
            return;
        };
        //= docs/spec/link.md#what-a-member-s-kernel-holds
        //# A member's kernel MUST NOT answer ARP requests or neighbour solicitations for an address of
        //# the class itself, whoever has configured it.
        let own = |own: &crate::addr::Prefix| own.addr() == request.target;
        if !interface.unicast(class).any(own) {
            return;
        }
        if let Some(frame) = unicast_answer(request, interface.mac) {
            self.transmit(id, frame);
        }
        if !request.source.is_unspecified()
            && let Some(neighbours) = self.neighbours.get_mut(&id)
        {
            neighbours.handle_request(now, request.source, request.mac);
        }
    }

    /// A packet for this host or, by way of it, for another; from a link or from itself.
    pub(super) fn receive(&mut self, now: Instant, link: Option<LinkId>, packet: Packet) {
        let to = packet.destination;
        if self.holds(to) {
            if let Some(packet) = self.pass_gate(now, link, packet) {
                self.deliver(now, packet);
            }
        } else if self.routes.is_own(to) {
            self.deliver(now, packet);
        } else if self.forwarding && link.is_some() {
            self.forward(now, packet);
        } else if self.node.config().class.contains(to) {
            //= docs/spec/link.md#what-a-member-s-kernel-holds
            //# A packet to an anycast address that the host does not act for MUST be discarded
            //# silently: no reset, no ICMP.
            self.counters.count_ignored(Reason::NotServed);
        }
    }

    /// The gate before this host's anycast addresses.
    fn pass_gate(
        &mut self,
        now: Instant,
        link: Option<LinkId>,
        mut packet: Packet,
    ) -> Option<Packet> {
        if !self.gate.admits(now, packet.destination) {
            self.counters.count_ignored(Reason::NotServed);
            return None;
        }
        match packet.protocol {
            IpProtocol::Udp | IpProtocol::Icmp | IpProtocol::Icmpv6 => Some(packet),
            IpProtocol::Tcp => {
                let segment = self.segment(&packet)?;
                let own = self.routes.answers_from(link, packet.source);
                let (mode, found) = (self.node.config().tcp, self.found(&segment));
                let (marked, inside) = (packet.is_marked(), link.is_none());
                match (
                    mode.admit(&segment, marked, inside, found, own.is_some()),
                    own,
                ) {
                    //= docs/spec/tcp.md#the-member
                    //# A member MUST treat a SYN that it rebinds as a SYN to its own unicast address,
                    //# so that its SYN-ACK comes from U.
                    (Admission::Rebind, Some(own)) => packet.set_destination(own),
                    (Admission::Rebind, None) => return None,
                    (Admission::Plain, _) => {}
                    (Admission::Drop(reason), _) => {
                        self.counters.count_ignored(reason);
                        return None;
                    }
                }
                Some(packet)
            }
            // Behind an extension header there may be TCP.
            _ => None,
        }
    }

    /// A packet that is this host's: to the socket that it is for.
    fn deliver(&mut self, now: Instant, mut packet: Packet) {
        if packet.protocol == IpProtocol::Tcp {
            let Some(segment) = self.segment(&packet) else {
                return;
            };
            if self.node.config().client {
                let other = self.has_connection(&segment) && !self.was_there_before(&segment);
                match self.rebind.handle_incoming(now, &segment, other) {
                    Verdict::Pass => {}
                    Verdict::Rewrite {
                        source,
                        destination,
                    } => packet.set_ends(source, destination),
                    Verdict::Drop(reason) => return self.counters.count_ignored(reason),
                }
            } else if self.is_unasked(&segment) {
                return self.counters.count_ignored(Reason::AnycastSource);
            }
            if segment.flags == Flags::SYN && !self.listen_for(&segment) {
                return;
            }
        }
        self.keep_echo(&packet);
        self.stack.receive(now, packet.into_bytes());
        self.follow_connections(Cause::Segment);
    }

    /// Whether a segment begins a connection with an anycast address that this host has not asked for.
    //= docs/spec/tcp.md#the-member
    //# A member MUST discard a SYN from an anycast address, and MUST NOT answer a SYN-ACK that it
    //# has not asked for.
    fn is_unasked(&self, segment: &Segment) -> bool {
        let asked = segment.flags != Flags::SYN && self.has_connection(segment);
        let begins = segment.flags.has(Flags::SYN);
        begins && !asked && self.node.config().class.contains(segment.source.ip())
    }

    /// Whether a connection to an anycast address, still there, has a segment's ends on the wire.
    fn was_there_before(&self, segment: &Segment) -> bool {
        let ends = self.rebind.as_delivered(segment);
        ends.is_some_and(|(local, remote)| self.has_ends(local, remote))
    }

    fn segment(&mut self, packet: &Packet) -> Option<Segment> {
        let segment = packet.segment();
        if segment.is_none() {
            self.counters.count_ignored(Reason::Checksum);
        }
        segment
    }
}

/// Whether an IPv6 packet is a neighbour solicitation or advertisement (RFC 4861 §4.3, §4.4).
fn is_resolution(packet: &[u8]) -> bool {
    let icmpv6 = packet.get(6) == Some(&58);
    icmpv6 && matches!(packet.get(40), Some(135 | 136))
}

/// Whether a packet is UDP to our port: the node checks the rest.
fn is_message(packet: &[u8]) -> bool {
    let (protocol, udp) = match packet.first().map(|first| (first >> 4, first & 15)) {
        Some((4, words)) => (9, usize::from(words) * 4),
        Some((6, _)) => (6, 40),
        _ => return false,
    };
    let is_udp = packet.get(protocol) == Some(&17);
    is_udp && packet.get(udp + 2..udp + 4) == Some(&PORT.to_be_bytes())
}
