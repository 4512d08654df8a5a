//! What is behind a TCP connection: its socket, what has become of it, and who has it.
//!
//! A listener is a number and an address. Only a SYN for it makes a socket, and none if the SYN is a
//! repetition: smoltcp would otherwise give one connection to two sockets.

use core::net::SocketAddr;

use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::wire::IpListenEndpoint;

use super::super::Host;
use super::{ListenHandle, TcpHandle, conflict};
use crate::proto::rebind::Segment;
use crate::proto::rebind::member::Found;
use crate::time::Instant;

/// Bytes on their way in and out of a connection.
const BUFFER_BYTES: usize = 16 * 1024;
/// A connection is given up when nothing answers for so long (RFC 9293 §3.8.3: 3 minutes for a
/// SYN, 100 s for data at the least).
const GIVE_UP: smoltcp::time::Duration = smoltcp::time::Duration::from_secs(180);
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
pub(super) enum Owner {
    Program,
    /// Not accepted yet.
    Listener(ListenHandle),
    /// The program has closed it; it is gone then at the latest.
    Nobody(Instant),
}

#[derive(Debug)]
pub(super) struct Tcp {
    pub(super) socket: SocketHandle,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) state: State,
    pub(super) end: Option<End>,
    pub(super) owner: Owner,
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
        self.has_ends(segment.destination, segment.source)
    }

    /// The same by the ends that TCP has.
    pub(in crate::user) fn has_ends(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.find(local, remote).is_some()
    }

    /// What there is for a segment as it is.
    pub(in crate::user) fn found(&self, segment: &Segment) -> Found {
        let mut listeners = self.sockets.listeners.values().map(|l| l.local);
        let listener = listeners.find(|local| conflict(*local, segment.destination));
        match listener {
            _ if self.has_connection(segment) => Found::Connection,
            Some(local) if local.ip().is_unspecified() => Found::Listener,
            Some(_) => Found::BoundListener,
            None => Found::Nothing,
        }
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

    pub(super) fn find(&self, local: SocketAddr, remote: SocketAddr) -> Option<TcpHandle> {
        let mut all = self.sockets.tcp.iter();
        let found = all.find(|(_, tcp)| tcp.matches(local, remote));
        found.map(|(handle, _)| *handle)
    }

    pub(super) fn is_port_unused(&self, port: u16) -> bool {
        let used = self
            .sockets
            .tcp
            .values()
            .any(|tcp| tcp.local.port() == port);
        let mut listeners = self.sockets.listeners.values();
        !used && !listeners.any(|listener| listener.local.port() == port)
    }

    pub(super) fn add(
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

    pub(super) fn remove(&mut self, handle: TcpHandle) {
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

pub(super) fn new_socket() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER_BYTES]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_timeout(Some(GIVE_UP));
    socket
}
