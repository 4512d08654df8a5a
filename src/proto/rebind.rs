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
//! * A SYN to A passes and asks. Until it is answered, any other segment to A is dropped.
//! * A SYN-ACK is compared with everything asked: A is a wildcard, the ports and the local
//!   address must be equal, no other connection may match it fully, and it must acknowledge the
//!   SYN. The first such one binds: its source U is the connection's peer from here on, for ever.
//! * What is bound is rewritten: out to U, and in from U to A.
//! * Anything else is left alone: this host's TCP finds no connection for the SYN-ACK of a second
//!   member, or for one with a wrong acknowledgement, and answers it with a RST (RFC 793).
//!
//! The nft tables of `linux` do the same in the kernel, and both pass the same cases.

mod mark;
pub mod member;
mod segment;

use core::net::{IpAddr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet};

use super::Reason;
use crate::addr::Class;
use crate::time::{Duration, Instant};
pub use mark::REBINDS;
pub use segment::{Flags, Segment};

/// A SYN is forgotten this long after its last repetition (RFC 9293 §3.8.3 gives up after 3
/// minutes or more).
pub const ASK_TIME: Duration = Duration::from_secs(300);
/// A connection without any segment is forgotten after this.
pub const IDLE_TIME: Duration = Duration::from_secs(5 * 24 * 3600);
/// After a RST, or a FIN from each end: twice the maximum segment lifetime of RFC 9293 §3.4.1.
pub const CLOSE_TIME: Duration = Duration::from_secs(240);
/// Connections and SYNs at the same time.
pub const MAX_FLOWS: usize = 65_536;

/// What becomes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on as it is.
    Pass,
    /// It goes on with this source address in place of its own.
    RewriteSource(IpAddr),
    /// It goes on with this destination address in place of its own.
    RewriteDestination(IpAddr),
    /// It ends here.
    Drop(Reason),
}

/// A connection that was asked for at an anycast address and is bound to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// This end.
    pub local: SocketAddr,
    /// What the program connected to.
    pub anycast: SocketAddr,
    /// The other end.
    pub member: SocketAddr,
}

/// A flow as this host's TCP sees it, ordered so that a SYN-ACK finds all that it may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    local: SocketAddr,
    service: u16,
    anycast: IpAddr,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// A SYN is out, which took this sequence number and this many bytes.
    Asked { sequence: u32, length: u16 },
    /// The member is known.
    Bound { member: IpAddr, ended: Ended },
}

/// Which ends have said that they are done.
#[derive(Debug, Clone, Copy, Default)]
struct Ended {
    here: bool,
    there: bool,
}

impl Ended {
    fn note(&mut self, flags: Flags, here: bool) {
        let reset = flags.has(Flags::RST);
        let end = reset || flags.has(Flags::FIN);
        self.here |= end && (here || reset);
        self.there |= end && (!here || reset);
    }

    const fn lifetime(self) -> Duration {
        match self {
            Self {
                here: true,
                there: true,
            } => CLOSE_TIME,
            _ => IDLE_TIME,
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    state: State,
    /// Forgotten then, unless a segment comes before.
    until: Instant,
    /// Its one entry in the table of timers; never later than `until`.
    timer: Instant,
}

/// The rebinding of one host.
#[derive(Debug)]
pub struct Rebind {
    class: Class,
    flows: BTreeMap<Key, Flow>,
    /// Both ends of the bound flows, as the network sees them, and the anycast address.
    members: BTreeMap<(SocketAddr, SocketAddr), IpAddr>,
    /// When to look at a flow again: one entry each. It may have been prolonged since.
    timers: BTreeSet<(Instant, Key)>,
}

impl Rebind {
    /// A host's rebinding, for the anycast addresses of `class`.
    pub const fn new(class: Class) -> Self {
        Self {
            class,
            flows: BTreeMap::new(),
            members: BTreeMap::new(),
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
            Some(member) => Verdict::RewriteDestination(member),
            //= docs/spec/tcp.md#the-client
            //# A client MUST send to an anycast address no segment but a SYN without ACK.
            None => Verdict::Drop(Reason::NotASyn),
        }
    }

    /// A segment that arrives. `other`: a socket of this host matches both its ends fully, so it
    /// belongs to a connection that is none of ours.
    pub fn handle_incoming(&mut self, now: Instant, segment: &Segment, other: bool) -> Verdict {
        if self.class.contains(segment.source.ip()) {
            return Verdict::Drop(Reason::AnycastSource);
        }
        let ends = (segment.destination, segment.source);
        //= docs/spec/tcp.md#the-client
        //# A connection that matches a segment fully MUST get it, whatever anycast connections
        //# there are.
        if other {
            // A connection of ours with the same ends is over, or it would not have come up.
            self.members.remove(&ends);
            return Verdict::Pass;
        }
        let key = |anycast| Key {
            local: segment.destination,
            service: segment.source.port(),
            anycast,
        };
        let answer = segment.flags.has(Flags::SYN.and(Flags::ACK));
        let refusal = segment.flags.has(Flags::RST.and(Flags::ACK));
        let asked = self.asked(segment).filter(|_| answer || refusal);
        if let Some(&anycast) = self.members.get(&ends) {
            if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) {
                return Verdict::Pass;
            }
            // One that is over makes way for another address on the same ports.
            if asked.is_none() || !self.is_over(&key(anycast)) {
                self.note(now, key(anycast), segment.flags, false);
                return Verdict::RewriteSource(anycast);
            }
            self.forget(key(anycast));
        }
        //= docs/spec/tcp.md#the-client
        //# A SYN-ACK from another member MUST be answered with a reset to that member.
        let Some(anycast) = asked else {
            return Verdict::Pass;
        };
        //= docs/spec/tcp.md#the-client
        //# A reset that answers the SYN MUST refuse the connection at once, as it does between
        //# unicast addresses.
        if refusal {
            self.forget(key(anycast));
        } else {
            self.bind(now, key(anycast), segment.source);
        }
        Verdict::RewriteSource(anycast)
    }

    /// Forgets what is over.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some(&(at, key)) = self.timers.first() {
            if at > now {
                break;
            }
            self.timers.pop_first();
            match self.flows.get(&key) {
                Some(flow) if flow.until > now => self.set(key, flow.state, flow.until),
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
        self.members
            .iter()
            .map(|(&(local, member), &anycast)| Connection {
                local,
                anycast: SocketAddr::new(anycast, member.port()),
                member,
            })
    }

    fn ask(&mut self, now: Instant, key: Key, segment: &Segment) -> Verdict {
        // A new SYN on bound ports: TCP has ended the connection before.
        self.forget(key);
        if self.flows.len() >= MAX_FLOWS {
            return Verdict::Drop(Reason::TableFull);
        }
        let state = State::Asked {
            sequence: segment.sequence,
            length: segment.length,
        };
        self.set(key, state, now + ASK_TIME);
        Verdict::Pass
    }

    /// The anycast address of the SYN that `segment` acknowledges.
    fn asked(&self, segment: &Segment) -> Option<IpAddr> {
        let [low, high] = [IpAddr::from([0; 4]), IpAddr::from([0xff; 16])].map(|anycast| Key {
            local: segment.destination,
            service: segment.source.port(),
            anycast,
        });
        //= docs/spec/tcp.md#the-client
        //# A SYN-ACK with a wrong acknowledgement number MUST NOT decide anything.
        let acknowledged = |flow: &Flow| match flow.state {
            State::Asked { sequence, length } => {
                let beyond = segment
                    .acknowledgement
                    .wrapping_sub(sequence)
                    .wrapping_sub(1);
                beyond <= u32::from(length)
            }
            State::Bound { .. } => false,
        };
        let mut candidates = self.flows.range(low..=high);
        candidates
            .find(|(_, flow)| acknowledged(flow))
            .map(|(key, _)| key.anycast)
    }

    //= docs/spec/tcp.md#the-client
    //# After that every segment of the connection MUST go to that unicast address, and the
    //# connection MUST NOT move again.
    fn bind(&mut self, now: Instant, key: Key, member: SocketAddr) {
        let state = State::Bound {
            member: member.ip(),
            ended: Ended::default(),
        };
        self.set(key, state, now + IDLE_TIME);
        self.members.insert((key.local, member), key.anycast);
    }

    /// A segment of a bound flow, from here or from there; gives its member.
    fn note(&mut self, now: Instant, key: Key, flags: Flags, here: bool) -> Option<IpAddr> {
        let flow = self.flows.get_mut(&key)?;
        let State::Bound { member, ended } = &mut flow.state else {
            return None;
        };
        ended.note(flags, here);
        let (member, until) = (*member, now + ended.lifetime());
        flow.until = until;
        if until < flow.timer {
            let state = flow.state;
            self.set(key, state, until);
        }
        Some(member)
    }

    /// Whether both ends of a bound flow are done, or one has reset it.
    fn is_over(&self, key: &Key) -> bool {
        let state = self.flows.get(key).map(|flow| flow.state);
        matches!(state, Some(State::Bound { ended, .. }) if ended.here && ended.there)
    }

    /// Puts a flow and its timer in the place of what is there.
    fn set(&mut self, key: Key, state: State, until: Instant) {
        let flow = Flow {
            state,
            until,
            timer: until,
        };
        if let Some(old) = self.flows.insert(key, flow) {
            self.timers.remove(&(old.timer, key));
        }
        self.timers.insert((until, key));
    }

    fn forget(&mut self, key: Key) {
        let Some(flow) = self.flows.remove(&key) else {
            return;
        };
        self.timers.remove(&(flow.timer, key));
        if let State::Bound { member, .. } = flow.state {
            let ends = (key.local, SocketAddr::new(member, key.service));
            if self.members.get(&ends) == Some(&key.anycast) {
                self.members.remove(&ends);
            }
        }
    }
}

#[cfg(test)]
mod tests;
