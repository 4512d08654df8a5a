//! The membership messages of a link, for somebody who only listens.
//!
//! A packet socket like the node's ([`super::packet`]), with a filter of its own: it passes what
//! comes in and what this machine sends, and nothing but messages. It reads packets without their
//! link-layer header, so that every kind of link is read alike. The interface takes the frames to the
//! two groups for as long as the socket is open; no IGMP or MLD report is sent, so on a switch that
//! snoops only those messages come that somebody here has joined for.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{LinkAddr, recvfrom};
use socket2::{Domain, Socket, Type};

use super::filter;
use super::packet::{self, ETHERNET_BYTES, FRAME_BYTES};
use crate::addr::{ipv4_multicast_mac, ipv6_multicast_mac};
use crate::wire::{GROUP_IPV4, GROUP_IPV6};

/// Receives messages from an interface; closing it ends the memberships.
#[derive(Debug)]
pub struct Listener(Socket);

impl Listener {
    /// Listens on the interface with this index. Errors: `EPERM` without `CAP_NET_RAW`, `ENODEV`
    /// when there is no such interface.
    pub fn open(ifindex: u32) -> io::Result<Self> {
        // Protocol 0 receives nothing: the filter is in place before the first frame can be.
        let socket = Socket::new(Domain::PACKET, Type::DGRAM.cloexec(), None)?;
        socket.attach_filter(&filter::messages())?;
        join(&socket, ifindex, ipv4_multicast_mac(GROUP_IPV4))?;
        join(&socket, ifindex, ipv6_multicast_mac(GROUP_IPV6))?;
        packet::bind(&socket, ifindex)?;
        Ok(Self(socket))
    }

    /// Waits for a packet and reads it to the front of `buffer` as an Ethernet frame, whose
    /// destination is left zero, and its source too on a link without link-layer addresses; its
    /// length in bytes, a longer one is cut. Errors: `EINTR`, and `ENETDOWN` once when the interface
    /// goes down or away.
    pub fn receive(&self, buffer: &mut [u8; FRAME_BYTES]) -> io::Result<usize> {
        let (header, packet) = buffer.split_at_mut(ETHERNET_BYTES);
        let (length, from) = recvfrom::<LinkAddr>(self.0.as_raw_fd(), packet)?;
        header.fill(0);
        if let Some(from) = from {
            header[6..12].copy_from_slice(&from.addr().unwrap_or_default());
            header[12..].copy_from_slice(&u16::from_be(from.protocol()).to_be_bytes());
        }
        Ok(ETHERNET_BYTES + length)
    }
}

/// Lets the interface take frames to a link-layer group while the socket is open.
fn join(socket: &Socket, ifindex: u32, group: [u8; 6]) -> io::Result<()> {
    packet::join(socket, ifindex, Some(group))
}
