//! Echo (RFC 792, RFC 4443 §4.1): every host answers requests, and a program can send them.
//!
//! smoltcp has a socket for it, which picks its source among addresses that its interface here
//! does not have.

use core::net::IpAddr;

use etherparse::PacketBuilder;
use smoltcp::wire::{Icmpv4Message, Icmpv4Packet, Icmpv6Message, Icmpv6Packet, IpProtocol};

use super::super::Host;
use super::super::packet::Packet;
use super::SocketError;
use crate::time::Instant;

/// Replies that wait for a program; what comes then is lost.
const REPLIES: usize = 64;
/// The data of a request: as much as `ping` sends.
const DATA: [u8; 56] = [0; 56];
/// The initial hop limit, as of every packet here.
const HOP_LIMIT: u8 = 64;

/// A reply to an echo request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Echo {
    /// Who answered.
    pub from: IpAddr,
    /// The request's identifier.
    pub identifier: u16,
    /// The request's sequence number.
    pub sequence: u16,
}

impl Host {
    /// Sends an echo request.
    ///
    /// # Errors
    /// No route leads there.
    pub fn ping(
        &mut self,
        now: Instant,
        to: IpAddr,
        identifier: u16,
        sequence: u16,
    ) -> Result<(), SocketError> {
        let mut bytes = Vec::new();
        let written = match (self.source(to)?, to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let step = PacketBuilder::ipv4(from.octets(), to.octets(), HOP_LIMIT);
                let step = step.icmpv4_echo_request(identifier, sequence);
                step.write(&mut bytes, &DATA).is_ok()
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let step = PacketBuilder::ipv6(from.octets(), to.octets(), HOP_LIMIT);
                let step = step.icmpv6_echo_request(identifier, sequence);
                step.write(&mut bytes, &DATA).is_ok()
            }
            _ => false,
        };
        let packet = Packet::parse(&bytes).filter(|_| written);
        self.send(now, packet.ok_or(SocketError::NoRoute(to))?);
        self.pump(now);
        Ok(())
    }

    /// The next reply that has come.
    pub fn ping_receive(&mut self) -> Option<Echo> {
        self.sockets.echoes.pop_front()
    }

    /// Keeps what answers an echo request.
    pub(in crate::user) fn keep_echo(&mut self, packet: &Packet) {
        if let Some(echo) = echo(packet)
            && self.sockets.echoes.len() < REPLIES
        {
            self.sockets.echoes.push_back(echo);
        }
    }
}

/// The echo reply in a packet, if there is one with a right checksum.
fn echo(packet: &Packet) -> Option<Echo> {
    let from = packet.source;
    let (identifier, sequence) = match (packet.protocol, from, packet.destination) {
        (IpProtocol::Icmp, ..) => {
            let icmp = Icmpv4Packet::new_checked(packet.payload()).ok()?;
            let reply = icmp.msg_type() == Icmpv4Message::EchoReply && icmp.verify_checksum();
            reply.then(|| (icmp.echo_ident(), icmp.echo_seq_no()))?
        }
        (IpProtocol::Icmpv6, IpAddr::V6(source), IpAddr::V6(destination)) => {
            let icmp = Icmpv6Packet::new_checked(packet.payload()).ok()?;
            let reply = icmp.msg_type() == Icmpv6Message::EchoReply;
            let reply = reply && icmp.verify_checksum(&source, &destination);
            reply.then(|| (icmp.echo_ident(), icmp.echo_seq_no()))?
        }
        _ => return None,
    };
    Some(Echo {
        from,
        identifier,
        sequence,
    })
}
