//! The programs' side: sockets as numbers, and what is behind them.
//!
//! An unspecified address binds a port for both families, so one port is either bound to it or to
//! single addresses. Any address may be bound, also one that this host has not got (yet): nothing
//! arrives for it then.

mod connection;
mod ping;
mod tcp;
mod udp;

use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, VecDeque};

use smoltcp::iface::SocketHandle;

use super::Host;
use crate::proto::earliest;
use crate::time::Instant;
pub(super) use connection::Cause;
use connection::Tcp;
pub use connection::{End, TcpState};
pub use ping::Echo;
pub use udp::Datagram;

/// The first of the ports that a host picks itself (RFC 6335 §6).
const FIRST_DYNAMIC_PORT: u16 = 49_152;

macro_rules! handles {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(u64);)+
    };
}

handles! {
    /// A UDP socket. No number is used twice.
    UdpHandle,
    /// A TCP connection.
    TcpHandle,
    /// A TCP port that takes connections.
    ListenHandle,
}

/// Why a socket cannot be had or used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    /// Another socket has it.
    #[error("{0} is in use")]
    InUse(SocketAddr),
    /// No route leads there, or no address of the family is left to send from.
    #[error("no route to {0}")]
    NoRoute(IpAddr),
    /// No program can speak with that: a group, the broadcast address, address or port zero.
    #[error("{0} is not the address of a program on one host")]
    NotAnEndpoint(SocketAddr),
    /// More than one packet holds: nothing is fragmented.
    #[error("{0} bytes do not fit a packet")]
    TooLong(usize),
    /// Every port that a host picks itself is in use.
    #[error("no port is free")]
    NoPort,
    /// The socket is closed, or was never there.
    #[error("no such socket")]
    Closed,
}

#[derive(Debug)]
struct Udp {
    socket: SocketHandle,
    local: SocketAddr,
}

#[derive(Debug)]
struct Listener {
    local: SocketAddr,
    /// Connections that the program has not accepted, oldest first.
    waiting: VecDeque<TcpHandle>,
}

/// All sockets of a host.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    last: u64,
    /// The port that was picked last.
    port: Option<u16>,
    udp: BTreeMap<UdpHandle, Udp>,
    tcp: BTreeMap<TcpHandle, Tcp>,
    listeners: BTreeMap<ListenHandle, Listener>,
    echoes: VecDeque<Echo>,
    timeout: Option<Instant>,
}

impl Sockets {
    const fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// When smoltcp has something to do, as it said last.
    pub(super) const fn set_timeout(&mut self, at: Option<Instant>) {
        self.timeout = at;
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let orphans = self.tcp.values().map(Tcp::abandoned_at);
        earliest(orphans.chain([self.timeout]))
    }
}

/// Whether two sockets cannot be bound at the same time.
fn conflict(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (any || one.ip() == other.ip())
}

/// An address and a port that a program can be at.
fn endpoint(remote: SocketAddr) -> Result<SocketAddr, SocketError> {
    let broadcast = matches!(remote.ip(), IpAddr::V4(address) if address.is_broadcast());
    let nobody = remote.ip().is_unspecified() || remote.port() == 0;
    if broadcast || nobody || remote.ip().is_multicast() {
        return Err(SocketError::NotAnEndpoint(remote));
    }
    Ok(remote)
}

impl Host {
    /// The address that a packet to `remote` leaves with, unless the program says another.
    fn source(&self, remote: IpAddr) -> Result<IpAddr, SocketError> {
        let source = if self.routes.is_own(remote) || self.holds(remote) {
            self.routes.first(remote.is_ipv6())
        } else {
            let hop = self.routes.hop(remote);
            hop.and_then(|hop| self.routes.source(hop, remote))
        };
        source
            .filter(|source| source.is_ipv6() == remote.is_ipv6())
            .ok_or(SocketError::NoRoute(remote))
    }

    /// A port of the host's choice that `is_free`: the first by chance, then the next each time, so
    /// that none comes again while the other end may remember it (RFC 6056 §2.3, §3.3.3).
    fn pick_port(&mut self, is_free: impl Fn(&Self, u16) -> bool) -> Result<u16, SocketError> {
        let count = u64::from(u16::MAX - FIRST_DYNAMIC_PORT) + 1;
        let first = match self.sockets.port {
            Some(last) => u64::from(last - FIRST_DYNAMIC_PORT) + 1,
            None => self.random.next_u64() % count,
        };
        let ports = (0..count).map(|n| (first + n) % count);
        let mut ports = ports.filter_map(|n| Some(FIRST_DYNAMIC_PORT + u16::try_from(n).ok()?));
        let port = ports.find(|port| is_free(self, *port));
        self.sockets.port = port.or(self.sockets.port);
        port.ok_or(SocketError::NoPort)
    }
}
