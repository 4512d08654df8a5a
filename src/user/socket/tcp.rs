//! TCP connections, as programs see them: also one to an anycast address keeps that address as its
//! remote end, whichever member it is bound to ([`Host::tcp_member`]).
//!
//! A listener is a number and an address. Only a SYN for it makes a socket, and none if the SYN is a
//! repetition: smoltcp would otherwise give one connection to two sockets.

use core::net::SocketAddr;
use std::collections::VecDeque;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::{IpEndpoint, IpListenEndpoint};

use super::super::Host;
use super::{ListenHandle, Listener, SocketError, TcpHandle, conflict, endpoint};
use crate::proto::rebind::Segment;
use crate::time::{Duration, Instant};

/// Bytes on their way in and out of a connection.
const BUFFER_BYTES: usize = 16 * 1024;
/// A connection is given up when nothing answers for so long (RFC 9293 §3.8.3: 3 minutes for a
/// SYN, 100 s for data at the least).
const GIVE_UP: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(180);
/// How long a connection that no program has any more may take to end.
const ABANDONED: Duration = Duration::from_secs(60);
/// Connections that wait to be accepted; a SYN beyond is not answered.
const BACKLOG: usize = 128;

/// What has become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TcpState {
    /// Not answered yet.
    Connecting,
    /// Data may flow, at least one way.
    Open,
    /// Over; what has arrived can still be read.
    Ended(End),
}

/// How a connection has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Both ends have closed it.
    Closed,
    /// The other end did not want it.
    Refused,
    /// The other end has broken it off.
    Reset,
    /// Nobody answered for too long.
    TimedOut,
}

/// Why sockets may have changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::user) enum Cause {
    /// A segment has arrived.
    Segment,
    /// Time has passed.
    Timer,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Program,
    /// Not accepted yet.
    Listener(ListenHandle),
    /// The program has closed it; it is gone then at the latest.
    Nobody(Instant),
}

#[derive(Debug)]
pub(super) struct Tcp {
    socket: SocketHandle,
    local: SocketAddr,
    remote: SocketAddr,
    state: State,
    end: Option<End>,
    owner: Owner,
}

impl Tcp {
    pub(super) const fn abandoned_at(&self) -> Option<Instant> {
        match self.owner {
            Owner::Nobody(until) => Some(until),
            _ => None,
        }
    }

    fn matches(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        (self.local, self.remote) == (local, remote) && self.state != State::Closed
    }

    /// The socket has gone from one state to another.
    fn follow(&mut self, state: State, cause: Cause) {
        let before = core::mem::replace(&mut self.state, state);
        if before == state {
            return;
        }
        self.end = match (before, state, cause) {
            (_, State::TimeWait, _) => Some(End::Closed),
            (State::TimeWait, ..) => self.end,
            // A listener's: its SYN came to nothing.
            (_, State::Listen, _) | (State::SynReceived, State::Closed, _) => Some(End::Reset),
            (State::LastAck, State::Closed, Cause::Segment) => Some(End::Closed),
            (_, State::Closed, Cause::Timer) => Some(End::TimedOut),
            (State::SynSent, State::Closed, Cause::Segment) => Some(End::Refused),
            (_, State::Closed, Cause::Segment) => Some(End::Reset),
            _ => None,
        };
    }
}

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

    /// Makes a socket for a SYN that a listener waits for. Whether the SYN may go on: it may not
    /// when too many connections wait.
    pub(in crate::user) fn listen_for(&mut self, syn: &Segment) -> bool {
        let (local, remote) = (syn.destination, syn.source);
        let listeners = &self.sockets.listeners;
        let listener = listeners.iter().find(|(_, l)| conflict(l.local, local));
        let Some((handle, listener)) = listener.filter(|_| !self.has_connection(syn)) else {
            return true;
        };
        if listener.waiting.len() >= BACKLOG {
            return false;
        }
        let handle = *handle;
        let mut socket = new_socket();
        if socket.listen(IpListenEndpoint::from(local)).is_ok() {
            let new = self.add(socket, local, remote, Owner::Listener(handle));
            if let Some(listener) = self.sockets.listeners.get_mut(&handle) {
                listener.waiting.push_back(new);
            }
        }
        true
    }

    /// Sees which connections have come up or ended.
    pub(in crate::user) fn follow_connections(&mut self, cause: Cause) {
        for tcp in self.sockets.tcp.values_mut() {
            let state = self.stack.sockets.get::<Socket<'_>>(tcp.socket).state();
            tcp.follow(state, cause);
        }
    }

    /// Whether a socket matches both ends of an incoming segment.
    pub(in crate::user) fn has_connection(&self, segment: &Segment) -> bool {
        self.find(segment.destination, segment.source).is_some()
    }

    /// Removes what no program has and TCP is done with.
    pub(in crate::user) fn sweep_connections(&mut self, now: Instant) {
        let over = |tcp: &Tcp| match tcp.owner {
            Owner::Program => false,
            // Never up, so never seen by the program.
            Owner::Listener(_) => tcp.state == State::Listen || tcp.state == State::Closed,
            Owner::Nobody(until) => tcp.state == State::Closed || until <= now,
        };
        let tcp = self.sockets.tcp.iter();
        let gone: Vec<_> = tcp.filter(|(_, tcp)| over(tcp)).map(|(h, _)| *h).collect();
        gone.into_iter().for_each(|handle| self.remove(handle));
    }

    fn find(&self, local: SocketAddr, remote: SocketAddr) -> Option<TcpHandle> {
        let mut all = self.sockets.tcp.iter();
        let found = all.find(|(_, tcp)| tcp.matches(local, remote));
        found.map(|(handle, _)| *handle)
    }

    fn is_port_unused(&self, port: u16) -> bool {
        let used = self
            .sockets
            .tcp
            .values()
            .any(|tcp| tcp.local.port() == port);
        let mut listeners = self.sockets.listeners.values();
        !used && !listeners.any(|listener| listener.local.port() == port)
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

    fn add(
        &mut self,
        socket: Socket<'static>,
        local: SocketAddr,
        remote: SocketAddr,
        owner: Owner,
    ) -> TcpHandle {
        let handle = TcpHandle(self.sockets.number());
        let tcp = Tcp {
            state: socket.state(),
            socket: self.stack.sockets.add(socket),
            local,
            remote,
            end: None,
            owner,
        };
        self.sockets.tcp.insert(handle, tcp);
        handle
    }

    fn remove(&mut self, handle: TcpHandle) {
        if let Some(tcp) = self.sockets.tcp.remove(&handle) {
            self.stack.sockets.remove(tcp.socket);
            if let Owner::Listener(listener) = tcp.owner
                && let Some(listener) = self.sockets.listeners.get_mut(&listener)
            {
                listener.waiting.retain(|waiting| *waiting != handle);
            }
        }
    }
}

fn new_socket() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER_BYTES]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_timeout(Some(GIVE_UP));
    socket
}
