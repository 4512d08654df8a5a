//! TCP: from a SYN to an anycast address to a connection with one member.
//!
//! RFC 1546: an anycast address is the remote address of a SYN and of no other segment. "When the
//! SYN-ACK is sent back by the host that received the anycast segment, the initiating TCP should
//! replace the anycast address of its peer, with the address of the host returning the SYN-ACK."
//!
//! [`Rebind`] sits between a host's TCP, which believes that it talks to the anycast address A,
//! and the network, which sees A in the SYN alone. It is told every segment that goes out to A or
//! comes in, and says what becomes of it:
//!
//! * A SYN to A passes and asks. Until it is answered, any other segment to A is dropped. If another
//!   anycast address is asked on the same ports, it goes with a port of the machine's own: were
//!   one member to answer for both, their segments would be the same on the wire.
//! * A SYN-ACK is compared with what was asked on its ports: A is a wildcard, the local address
//!   must be equal, no other connection may match it fully, and it must acknowledge the
//!   SYN. The first such one binds: its source U is the connection's peer from here on, for ever.
//! * U may be A itself, when the mark of the SYN was lost or the member did not rebind: a plain
//!   connection, with the same rules. No other anycast address may answer.
//! * What is bound is rewritten: out to U, and in from U to A.
//! * Anything else is left alone: this host's TCP finds no connection for the SYN-ACK of a second
//!   member, or for one with a wrong acknowledgement, and answers it with a RST (RFC 793).
//!
//! The nft tables of `linux` do the same in the kernel, and both pass the same cases.

mod flow;
mod mark;
pub mod member;
mod segment;

use core::net::{IpAddr, SocketAddr};
use core::ops::RangeInclusive;
use std::collections::{BTreeMap, BTreeSet};

use super::Reason;
use crate::addr::Class;
use crate::time::{Duration, Instant};
pub use flow::{Connection, Verdict};
use flow::{Ended, Flow, Key, State, Wire};
pub use mark::REBINDS;
pub use segment::{Flags, Segment};

/// A SYN is forgotten this long after its last repetition: longer than any answer takes.
//= docs/spec/tcp.md#the-client
//# A client SHOULD forget a SYN 15 seconds after its last repetition, so that what nobody answers
//# leaves room for others.
pub const ASK_TIME: Duration = Duration::from_secs(15);
/// A connection without any segment is forgotten after this.
pub const IDLE_TIME: Duration = Duration::from_secs(5 * 24 * 3600);
/// After a RST, or a FIN from each end: twice the maximum segment lifetime of RFC 9293 §3.4.1.
pub const CLOSE_TIME: Duration = Duration::from_secs(240);
/// Connections and SYNs at the same time.
pub const MAX_FLOWS: usize = 65_536;
/// The machine's own ports, for SYNs whose own port is taken; below those that TCP picks.
pub const PORTS: RangeInclusive<u16> = 16_384..=32_767;
/// How many of them are tried for one SYN.
const TRIES: usize = 64;

/// The rebinding of one host.
#[derive(Debug)]
pub struct Rebind {
    class: Class,
    flows: BTreeMap<Key, Flow>,
    wires: BTreeMap<Wire, Key>,
    /// Where the search for a free port of the machine's own goes on.
    next_port: u16,
    /// When to look at a flow again: one entry each. It may have been prolonged since.
    timers: BTreeSet<(Instant, Key)>,
}

impl Rebind {
    /// A host's rebinding, for the anycast addresses of `class`.
    pub const fn new(class: Class) -> Self {
        Self {
            class,
            flows: BTreeMap::new(),
            wires: BTreeMap::new(),
            next_port: *PORTS.start(),
            timers: BTreeSet::new(),
        }
    }

    /// A segment that this host's TCP sends.
    pub fn handle_outgoing(&mut self, now: Instant, segment: &Segment) -> Verdict {
        if !self.class.contains(segment.destination.ip()) {
            return Verdict::Pass;
        }
        let key = Key {
            local: segment.source,
            service: segment.destination.port(),
            anycast: segment.destination.ip(),
        };
        //= docs/spec/tcp.md#the-client
        //# A SYN that is sent again before a SYN-ACK has come MUST go to the anycast address again.
        if segment.flags == Flags::SYN {
            return self.ask(now, key, segment);
        }
        match self.note(now, key, segment.flags, true) {
            Some((member, port)) => Verdict::rewrite(
                segment,
                SocketAddr::new(key.local.ip(), port),
                SocketAddr::new(member, key.service),
            ),
            //= docs/spec/tcp.md#the-client
            //# A client MUST send to an anycast address no segment but a SYN without ACK, and those
            //# of a plain connection.
            None => Verdict::Drop(Reason::NotASyn),
        }
    }

    /// A segment that arrives. `other`: a socket of this host matches both its ends fully, so it
    /// belongs to a connection that is none of ours, and was there before any of ours.
    pub fn handle_incoming(&mut self, now: Instant, segment: &Segment, other: bool) -> Verdict {
        let key = self.wires.get(&wire(segment)).copied();
        //= docs/spec/tcp.md#the-client
        //# A client MUST discard a SYN-ACK or a reset from an anycast address that answers no SYN of
        //# its own to that address.
        let from_anycast = self.class.contains(segment.source.ip());
        let stray = if from_anycast {
            Verdict::Drop(Reason::AnycastSource)
        } else {
            Verdict::Pass
        };
        let asks = segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK);
        let Some(key) = key.filter(|_| !asks) else {
            return stray;
        };
        if from_anycast && key.anycast != segment.source.ip() {
            return stray;
        }
        //= docs/spec/tcp.md#the-client
        //# A connection that matches a segment fully MUST get it, whatever anycast connections
        //# come after it.
        if other && !from_anycast {
            // A connection of ours with the same ends is over, or it would not have come up.
            if self.member(&key) == Some(segment.source.ip()) {
                self.forget(key);
            }
            return Verdict::Pass;
        }
        let deliver = Verdict::rewrite(
            segment,
            SocketAddr::new(key.anycast, key.service),
            key.local,
        );
        //= docs/spec/tcp.md#the-client
        //# A SYN-ACK from the very address that the SYN went to MUST be taken like one from a
        //# member's unicast address: that address is the peer, and the connection is plain.
        match self.flows.get(&key).map(|flow| flow.state) {
            Some(State::Bound { member, .. }) if member == segment.source.ip() => {
                self.note(now, key, segment.flags, false);
                deliver
            }
            Some(State::Asked { sequence, length })
                if segment.flags.has(Flags::ACK) && acknowledges(segment, sequence, length) =>
            {
                if segment.flags.has(Flags::SYN) {
                    self.bind(now, key, segment.source.ip());
                } else if segment.flags.has(Flags::RST) {
                    //= docs/spec/tcp.md#the-client
                    //# A reset that answers the SYN MUST refuse the connection at once, as it does
                    //# between unicast addresses.
                    self.forget(key);
                } else {
                    return stray;
                }
                deliver
            }
            //= docs/spec/tcp.md#the-client
            //# A SYN-ACK from another member MUST be answered with a reset to that member.
            _ => stray,
        }
    }

    /// The ends that a connection's segments have in this host's TCP, from those on the wire.
    //= docs/spec/tcp.md#the-client
    //# A later connection MUST NOT break or move an earlier one, whatever ends they have.
    pub fn as_delivered(&self, segment: &Segment) -> Option<(SocketAddr, SocketAddr)> {
        let key = self.wires.get(&wire(segment))?;
        let bound = self.member(key) == Some(segment.source.ip());
        bound.then(|| (key.local, SocketAddr::new(key.anycast, key.service)))
    }

    /// Forgets what is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match self.flows.get(&key) {
                Some(flow) if flow.until > now => self.set(key, *flow, flow.until),
                _ => self.forget(key),
            }
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The connections that have a member.
    pub fn connections(&self) -> impl Iterator<Item = Connection> {
        self.flows.iter().filter_map(|(key, flow)| {
            let State::Bound { member, .. } = flow.state else {
                return None;
            };
            Some(Connection {
                local: key.local,
                anycast: SocketAddr::new(key.anycast, key.service),
                member: SocketAddr::new(member, key.service),
            })
        })
    }

    fn ask(&mut self, now: Instant, key: Key, segment: &Segment) -> Verdict {
        let asked = |flow: &&Flow| matches!(flow.state, State::Asked { .. });
        let port = self.flows.get(&key).filter(asked).map(|flow| flow.port);
        if port.is_none() {
            // A new SYN on bound ports: TCP has ended the connection before.
            self.forget(key);
        }
        let full = self.flows.len() >= MAX_FLOWS;
        let free = || self.free_port(key);
        let Some(port) = port.or_else(|| (!full).then(free).flatten()) else {
            return Verdict::Drop(Reason::TableFull);
        };
        if port != key.local.port() {
            self.next_port = port;
        }
        let local = SocketAddr::new(key.local.ip(), port);
        self.wires.insert((local, key.service), key);
        let state = State::Asked {
            sequence: segment.sequence,
            length: segment.length,
        };
        let until = now + ASK_TIME;
        let flow = Flow {
            port,
            state,
            until,
            timer: until,
        };
        self.set(key, flow, until);
        Verdict::rewrite(segment, local, segment.destination)
    }

    /// The program's own port, or one that nobody has.
    //= docs/spec/tcp.md#the-client
    //# A SYN whose port a SYN or a connection to another anycast address has, of the same client
    //# address and to the same service, MUST go out with another port; what comes back to it
    //# belongs to the program's port.
    fn free_port(&self, key: Key) -> Option<u16> {
        let ports = (*PORTS.end() - *PORTS.start()).saturating_add(1);
        let start = self.next_port - *PORTS.start();
        let own = (0..ports).map(|i| *PORTS.start() + (start + i) % ports);
        let mut candidates = core::iter::once(key.local.port()).chain(own.take(TRIES));
        candidates.find(|port| {
            let local = SocketAddr::new(key.local.ip(), *port);
            !self.wires.contains_key(&(local, key.service))
        })
    }

    fn member(&self, key: &Key) -> Option<IpAddr> {
        match self.flows.get(key)?.state {
            State::Bound { member, .. } => Some(member),
            State::Asked { .. } => None,
        }
    }

    //= docs/spec/tcp.md#the-client
    //# After that every segment of the connection MUST go to that address, and the connection MUST
    //# NOT move again.
    fn bind(&mut self, now: Instant, key: Key, member: IpAddr) {
        if let Some(mut flow) = self.flows.get(&key).copied() {
            let ended = Ended::default();
            flow.state = State::Bound { member, ended };
            self.set(key, flow, now + IDLE_TIME);
        }
    }

    /// A segment of a bound flow, from here or from there; gives its member, and this end's port.
    fn note(&mut self, now: Instant, key: Key, flags: Flags, here: bool) -> Option<(IpAddr, u16)> {
        let flow = self.flows.get_mut(&key)?;
        let State::Bound { member, ended } = &mut flow.state else {
            return None;
        };
        ended.note(flags, here);
        let (member, until) = (*member, now + ended.lifetime());
        flow.until = until;
        let flow = *flow;
        if until < flow.timer {
            self.set(key, flow, until);
        }
        Some((member, flow.port))
    }

    /// Puts a flow and its timer in the place of what is there.
    fn set(&mut self, key: Key, flow: Flow, until: Instant) {
        let timer = until;
        let flow = Flow {
            until,
            timer,
            ..flow
        };
        if let Some(old) = self.flows.insert(key, flow) {
            self.timers.remove(&(old.timer, key));
        }
        self.timers.insert((timer, key));
    }

    fn forget(&mut self, key: Key) {
        if let Some(flow) = self.flows.remove(&key) {
            self.timers.remove(&(flow.timer, key));
            let local = SocketAddr::new(key.local.ip(), flow.port);
            self.wires.remove(&(local, key.service));
        }
    }
}

/// The end of ours that a segment is for.
const fn wire(segment: &Segment) -> Wire {
    (segment.destination, segment.source.port())
}

/// Whether a segment acknowledges a SYN with this number, and as many bytes as it carried at most.
//= docs/spec/tcp.md#the-client
//# A SYN-ACK with a wrong acknowledgement number MUST NOT decide anything.
const fn acknowledges(segment: &Segment, sequence: u32, length: u16) -> bool {
    let beyond = segment
        .acknowledgement
        .wrapping_sub(sequence)
        .wrapping_sub(1);
    beyond <= length as u32
}

#[cfg(test)]
mod tests;
