//! UDP sockets. What arrives for an anycast address is answered from it, if the program answers from
//! the address that it was asked at ([`Datagram::to`]).

use core::net::{IpAddr, SocketAddr};

use smoltcp::socket::udp::{PacketBuffer, PacketMetadata, Socket, UdpMetadata};
use smoltcp::wire::IpListenEndpoint;

use super::super::Host;
use super::{SocketError, Udp, UdpHandle, conflict, endpoint};
use crate::time::Instant;

/// Datagrams, and bytes of them, that wait for the program; what comes then is lost.
const RECEIVE_DATAGRAMS: usize = 64;
const RECEIVE_BYTES: usize = 32 * 1024;
/// One datagram of a frame's size; each is sent at once.
const SEND_BYTES: usize = 16 * 1024;
/// The header of UDP (RFC 768).
const UDP_HEADER: usize = 8;

/// A datagram that has arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Datagram {
    /// Its sender.
    pub from: SocketAddr,
    /// What it was sent to: which of this host's addresses.
    pub to: SocketAddr,
    /// Its data.
    pub payload: Vec<u8>,
}

impl Host {
    /// Opens a socket. An unspecified address is every one of this host; port 0 is one of the
    /// host's choice ([`Self::udp_local`] tells).
    ///
    /// # Errors
    /// Another socket has the port there, or no port is left.
    pub fn udp_bind(&mut self, mut local: SocketAddr) -> Result<UdpHandle, SocketError> {
        if local.port() == 0 {
            let port =
                self.pick_port(|host, port| host.is_udp_free(SocketAddr::new(local.ip(), port)))?;
            local.set_port(port);
        } else if !self.is_udp_free(local) {
            return Err(SocketError::InUse(local));
        }
        let buffer = |datagrams, bytes| {
            PacketBuffer::new(vec![PacketMetadata::EMPTY; datagrams], vec![0; bytes])
        };
        let receive = buffer(RECEIVE_DATAGRAMS, RECEIVE_BYTES);
        let mut socket = Socket::new(receive, buffer(1, SEND_BYTES));
        let address = Some(local.ip()).filter(|address| !address.is_unspecified());
        let listen = IpListenEndpoint {
            addr: address.map(Into::into),
            port: local.port(),
        };
        socket
            .bind(listen)
            .map_err(|_| SocketError::NotAnEndpoint(local))?;
        let handle = UdpHandle(self.sockets.number());
        let socket = self.stack.sockets.add(socket);
        self.sockets.udp.insert(handle, Udp { socket, local });
        Ok(handle)
    }

    /// What a socket is bound to.
    pub fn udp_local(&self, handle: UdpHandle) -> Option<SocketAddr> {
        Some(self.sockets.udp.get(&handle)?.local)
    }

    /// Sends a datagram: from `from`, or from the address that the socket is bound to, or from the
    /// one that the route suggests.
    ///
    /// # Errors
    /// The socket is closed, no route leads there, or it does not fit a packet.
    pub fn udp_send(
        &mut self,
        now: Instant,
        handle: UdpHandle,
        from: Option<IpAddr>,
        to: SocketAddr,
        payload: &[u8],
    ) -> Result<(), SocketError> {
        let udp = self.sockets.udp.get(&handle).ok_or(SocketError::Closed)?;
        let socket = udp.socket;
        let bound = Some(udp.local.ip()).filter(|address| !address.is_unspecified());
        let to = endpoint(to)?;
        let suggested = self.source(to.ip())?;
        let source = from.or(bound).unwrap_or(suggested);
        if source.is_ipv6() != to.is_ipv6() {
            return Err(SocketError::NoRoute(to.ip()));
        }
        let headers = UDP_HEADER + if to.is_ipv6() { 40 } else { 20 };
        if payload.len() + headers > self.stack.mtu() {
            return Err(SocketError::TooLong(payload.len()));
        }
        let metadata = UdpMetadata {
            local_address: Some(source.into()),
            ..UdpMetadata::from(smoltcp::wire::IpEndpoint::from(to))
        };
        let socket = self.stack.sockets.get_mut::<Socket<'_>>(socket);
        socket
            .send_slice(payload, metadata)
            .map_err(|_| SocketError::TooLong(payload.len()))?;
        self.pump(now);
        Ok(())
    }

    /// The next datagram that has arrived.
    pub fn udp_receive(&mut self, handle: UdpHandle) -> Option<Datagram> {
        let udp = self.sockets.udp.get(&handle)?;
        let socket = self.stack.sockets.get_mut::<Socket<'_>>(udp.socket);
        let (payload, metadata) = socket.recv().ok()?;
        let to = metadata.local_address.map(IpAddr::from)?;
        Some(Datagram {
            from: metadata.endpoint.into(),
            to: SocketAddr::new(to, udp.local.port()),
            payload: payload.to_vec(),
        })
    }

    /// Closes a socket; what has arrived there is lost.
    pub fn udp_close(&mut self, handle: UdpHandle) {
        if let Some(udp) = self.sockets.udp.remove(&handle) {
            self.stack.sockets.remove(udp.socket);
        }
    }

    fn is_udp_free(&self, local: SocketAddr) -> bool {
        let mut others = self.sockets.udp.values();
        !others.any(|other| conflict(other.local, local))
    }
}
