//! TCP connections, as programs see them: also one to an anycast address keeps that address as its
//! remote end, whichever member it is bound to ([`Host::tcp_member`]).

use core::net::SocketAddr;
use std::collections::VecDeque;

use smoltcp::socket::tcp::{Socket, State};
use smoltcp::wire::{IpEndpoint, IpListenEndpoint};

use super::super::Host;
use super::connection::{Owner, Tcp, TcpState, new_socket};
use super::{ListenHandle, Listener, SocketError, TcpHandle, conflict, endpoint};
use crate::time::{Duration, Instant};

/// How long a connection that no program has any more may take to end.
const ABANDONED: Duration = Duration::from_secs(60);

impl Host {
    /// Begins a connection, from `local` or from an address and port of the host's choice.
    ///
    /// # Errors
    /// No route leads there, `remote` is no program's address, or the ports are in use.
    pub fn tcp_connect(
        &mut self,
        now: Instant,
        local: Option<SocketAddr>,
        remote: SocketAddr,
    ) -> Result<TcpHandle, SocketError> {
        let remote = endpoint(remote)?;
        let local = match local {
            Some(local) => endpoint(local)?,
            None => {
                let address = self.source(remote.ip())?;
                let port = self.pick_port(|host, port| host.is_port_unused(port))?;
                SocketAddr::new(address, port)
            }
        };
        if local.is_ipv6() != remote.is_ipv6() {
            return Err(SocketError::NoRoute(remote.ip()));
        }
        if self.find(local, remote).is_some() {
            return Err(SocketError::InUse(local));
        }
        let mut socket = new_socket();
        let ends = (IpEndpoint::from(remote), IpListenEndpoint::from(local));
        socket
            .connect(self.stack.context(), ends.0, ends.1)
            .map_err(|_| SocketError::NotAnEndpoint(remote))?;
        let handle = self.add(socket, local, remote, Owner::Program);
        self.pump(now);
        Ok(handle)
    }

    /// Takes connections from now on. An unspecified address is every one of this host.
    ///
    /// # Errors
    /// Another listener has the port there.
    pub fn tcp_listen(&mut self, local: SocketAddr) -> Result<ListenHandle, SocketError> {
        if local.port() == 0 {
            return Err(SocketError::NotAnEndpoint(local));
        }
        let mut others = self.sockets.listeners.values();
        if others.any(|other| conflict(other.local, local)) {
            return Err(SocketError::InUse(local));
        }
        let handle = ListenHandle(self.sockets.number());
        let waiting = VecDeque::new();
        let listener = Listener { local, waiting };
        self.sockets.listeners.insert(handle, listener);
        Ok(handle)
    }

    /// The oldest connection that has come up at a listener.
    pub fn tcp_accept(&mut self, listener: ListenHandle) -> Option<TcpHandle> {
        let tcp = &mut self.sockets.tcp;
        let waiting = &mut self.sockets.listeners.get_mut(&listener)?.waiting;
        let is_up = |handle: &TcpHandle| {
            tcp.get(handle)
                .is_some_and(|t| t.state != State::SynReceived)
        };
        let place = waiting.iter().position(is_up)?;
        let handle = waiting.remove(place)?;
        tcp.get_mut(&handle)?.owner = Owner::Program;
        Some(handle)
    }

    /// Takes no more connections; those that were not accepted are reset.
    pub fn tcp_unlisten(&mut self, now: Instant, listener: ListenHandle) {
        if let Some(listener) = self.sockets.listeners.remove(&listener) {
            for waiting in listener.waiting {
                self.tcp_abort(now, waiting);
            }
        }
    }

    /// What has become of a connection; `None` when the program has closed it.
    pub fn tcp_state(&self, handle: TcpHandle) -> Option<TcpState> {
        let tcp = self.program(handle)?;
        Some(match (tcp.end, tcp.state) {
            (Some(end), _) => TcpState::Ended(end),
            (None, State::SynSent | State::SynReceived) => TcpState::Connecting,
            (None, _) => TcpState::Open,
        })
    }

    /// This end of a connection.
    pub fn tcp_local(&self, handle: TcpHandle) -> Option<SocketAddr> {
        Some(self.program(handle)?.local)
    }

    /// The other end as the program sees it: the anycast address, if it asked for one.
    pub fn tcp_remote(&self, handle: TcpHandle) -> Option<SocketAddr> {
        Some(self.program(handle)?.remote)
    }

    /// The member that a connection to an anycast address is bound to; `None` before it is, and
    /// for every other connection.
    pub fn tcp_member(&self, handle: TcpHandle) -> Option<SocketAddr> {
        let tcp = self.program(handle)?;
        let ends = (tcp.local, tcp.remote);
        let mut bound = self.rebind.connections();
        let found = bound.find(|bound| (bound.local, bound.anycast) == ends)?;
        Some(found.member)
    }

    /// Gives data to a connection: as much as it takes now, which may be nothing.
    pub fn tcp_send(&mut self, now: Instant, handle: TcpHandle, data: &[u8]) -> usize {
        let sent = self
            .socket(handle)
            .and_then(|socket| socket.send_slice(data).ok());
        self.pump(now);
        sent.unwrap_or_default()
    }

    /// Takes at most `limit` bytes of what has arrived.
    pub fn tcp_receive(&mut self, now: Instant, handle: TcpHandle, limit: usize) -> Vec<u8> {
        let Some(socket) = self.socket(handle) else {
            return Vec::new();
        };
        let mut data = vec![0; limit.min(socket.recv_queue())];
        let length = socket.recv_slice(&mut data).unwrap_or_default();
        data.truncate(length);
        self.pump(now);
        data
    }

    /// Bytes that have arrived and were not taken.
    pub fn tcp_readable(&self, handle: TcpHandle) -> usize {
        let tcp = self.program(handle);
        tcp.map_or(0, |tcp| {
            self.stack
                .sockets
                .get::<Socket<'_>>(tcp.socket)
                .recv_queue()
        })
    }

    /// Whether the other end has sent all that it will ever send, and all of it was taken.
    pub fn tcp_at_end(&self, handle: TcpHandle) -> bool {
        let over = |tcp: &Tcp| {
            let closed = matches!(
                tcp.state,
                State::CloseWait | State::LastAck | State::Closing
            );
            closed || tcp.end.is_some()
        };
        self.program(handle).is_some_and(over) && self.tcp_readable(handle) == 0
    }

    /// Sends no more data: a FIN follows what was given. The other end may go on.
    pub fn tcp_finish(&mut self, now: Instant, handle: TcpHandle) {
        if let Some(socket) = self.socket(handle) {
            socket.close();
        }
        self.pump(now);
    }

    /// Gives a connection back: the host ends it with a FIN, and its number is gone.
    pub fn tcp_close(&mut self, now: Instant, handle: TcpHandle) {
        let Some(tcp) = self.sockets.tcp.get_mut(&handle) else {
            return;
        };
        if tcp.state == State::SynSent {
            return self.remove(handle);
        }
        tcp.owner = Owner::Nobody(now + ABANDONED);
        let socket = tcp.socket;
        self.stack.sockets.get_mut::<Socket<'_>>(socket).close();
        self.pump(now);
    }

    /// Breaks a connection off with a reset, and its number is gone.
    pub fn tcp_abort(&mut self, now: Instant, handle: TcpHandle) {
        let Some(tcp) = self.sockets.tcp.get(&handle) else {
            return;
        };
        // Nobody knows of it yet.
        if tcp.state != State::SynSent {
            let socket = tcp.socket;
            self.stack.sockets.get_mut::<Socket<'_>>(socket).abort();
            self.pump(now);
        }
        self.remove(handle);
    }

    /// A connection that a program has.
    fn program(&self, handle: TcpHandle) -> Option<&Tcp> {
        let tcp = self.sockets.tcp.get(&handle)?;
        (tcp.owner == Owner::Program).then_some(tcp)
    }

    fn socket(&mut self, handle: TcpHandle) -> Option<&mut Socket<'static>> {
        let socket = self.program(handle)?.socket;
        Some(self.stack.sockets.get_mut(socket))
    }
}
