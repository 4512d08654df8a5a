//! TCP segments that no stack of ours would send, to see that nobody takes them.
//!
//! RFC 1546 lets an anycast address open a connection and do nothing else: of all segments to it
//! only a SYN may be accepted. These are sent by hand from the stock host, each from a port of its
//! own, and a SYN last, which must be answered: so the silence before it is not a broken path.

use std::net::IpAddr;

use anyhow::{Context, Result};
use etherparse::{LaxSlicedPacket, TcpHeader, TransportSlice};

use crate::capture::{Captured, ends};
use crate::{Host, inject};

/// Its protocol number.
const TCP: i32 = 6;
/// First source port; each kind of segment has its own. None is one the kernel gives by itself.
const PORT: u16 = 15_460;
/// Kinds of segments, by their flags as tcpdump writes them. The last one is the SYN.
const KINDS: [&str; 9] = ["A", "PA", "FA", "R", "RA", "SA", "SF", "", "S"];

/// Sends one segment of each kind to port 80 of both addresses.
pub(super) fn send(host: &Host, addresses: [IpAddr; 2]) -> Result<()> {
    let mut segments = Vec::new();
    for to in addresses {
        let from = host.address(to.is_ipv6()).context("no address")?;
        for (kind, port) in KINDS.iter().zip(PORT..) {
            let data: &[u8] = if kind.contains('P') {
                b"GET / HTTP/1.0\r\n\r\n"
            } else {
                b""
            };
            segments.push((to, segment(from, to, port, kind, data)?));
        }
    }
    inject::send_ip(host, TCP, segments)
}

fn segment(from: IpAddr, to: IpAddr, port: u16, kind: &str, data: &[u8]) -> Result<Vec<u8>> {
    let mut header = TcpHeader::new(port, 80, 0x1546_0000, 64_240);
    for flag in kind.chars() {
        match flag {
            'S' => header.syn = true,
            'F' => header.fin = true,
            'R' => header.rst = true,
            'P' => header.psh = true,
            _ => header.ack = true,
        }
    }
    if header.ack {
        header.acknowledgment_number = 0x1111_1111;
    }
    header.checksum = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), data)?
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), data)?
        }
        _ => anyhow::bail!("{from} and {to} are of two families"),
    };
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend(data);
    Ok(bytes)
}

/// Segments sent by hand that reached members, what was answered to those that are no SYN, and
/// how many SYNs were answered.
#[derive(Debug, Default)]
pub(super) struct Injected {
    /// Segments that a switch port carried to a member.
    pub(super) arrived: usize,
    /// Answers to segments that are no SYN.
    pub(super) answers: Vec<String>,
    /// SYN-ACKs.
    pub(super) syn_acks: usize,
}

/// Finds the segments and their answers in a capture.
pub(super) fn found(captured: &Captured, addresses: &[IpAddr]) -> Injected {
    let mut injected = Injected::default();
    let ports = PORT..PORT + KINDS.len() as u16;
    for frame in &captured.frames {
        let Ok(packet) = LaxSlicedPacket::from_ethernet(&frame.bytes) else {
            continue;
        };
        let Some(TransportSlice::Tcp(tcp)) = &packet.transport else {
            continue;
        };
        let Some((_, to)) = ends(&packet) else {
            continue;
        };
        if !frame.from_host {
            let ours = ports.contains(&tcp.source_port()) && addresses.contains(&to);
            injected.arrived += usize::from(ours);
        } else if tcp.source_port() == 80 && ports.contains(&tcp.destination_port()) {
            let kind = KINDS[usize::from(tcp.destination_port() - PORT)];
            if kind == "S" {
                injected.syn_acks += usize::from(tcp.syn() && tcp.ack());
            } else {
                injected
                    .answers
                    .push(format!("[{kind}] to {to} was answered"));
            }
        }
    }
    injected
}

/// Whether a segment from this port was sent by hand.
pub(super) fn by_hand(source_port: u16) -> bool {
    (PORT..PORT + KINDS.len() as u16).contains(&source_port)
}
