//! The decision alone, with as much of TCP around it as answers are made of.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use hamp::addr::Class;
use hamp::proto::rebind::member::{Admission, Found, Mode};
use hamp::proto::rebind::{Flags, Segment};

use super::{Listens, Names, World};

pub(crate) struct Machine {
    names: Names,
    mode: Mode,
    listens: Listens,
    connections: BTreeSet<(SocketAddr, SocketAddr)>,
}

impl Machine {
    pub(crate) fn new(v6: bool) -> Self {
        Self {
            names: Names::of(v6),
            mode: Mode::Auto,
            listens: Listens::Nowhere,
            connections: BTreeSet::new(),
        }
    }

    fn found(&self, segment: &Segment) -> Found {
        let ends = (segment.destination, segment.source);
        let here = match self.listens {
            Listens::AtAnycast => Some(self.names.anycast),
            Listens::AtUnicast => Some(self.names.unicast),
            Listens::Everywhere | Listens::Nowhere => None,
        };
        match self.listens {
            _ if self.connections.contains(&ends) => Found::Connection,
            Listens::Everywhere => Found::Listener,
            _ if here == Some(segment.destination) => Found::BoundListener,
            _ => Found::Nothing,
        }
    }
}

impl World for Machine {
    fn names(&self) -> Names {
        self.names
    }

    fn serve(&mut self, mode: Mode, listens: Listens) {
        (self.mode, self.listens) = (mode, listens);
        self.connections.clear();
    }

    fn send(&mut self, segment: &Segment, marked: bool) -> Option<Segment> {
        // Sources are none of the decision's business.
        if Class::default().contains(segment.source.ip()) {
            return None;
        }
        let mut segment = *segment;
        if segment.destination == self.names.unicast {
            self.connections
                .remove(&(segment.destination, segment.source));
            return None;
        }
        let found = self.found(&segment);
        match self.mode.admit(&segment, marked, false, found, true) {
            Admission::Drop(_) => return None,
            Admission::Rebind => segment.destination = self.names.unicast,
            Admission::Plain => {}
        }
        let ends = (segment.destination, segment.source);
        let found = self.found(&segment);
        let flags = match found {
            Found::Connection if segment.flags.has(Flags::RST) => {
                self.connections.remove(&ends);
                return None;
            }
            Found::Connection if segment.flags == Flags::SYN => Flags::SYN.and(Flags::ACK),
            Found::Connection if segment.length > 0 => Flags::ACK,
            Found::Connection => return None,
            Found::Nothing => Flags::RST.and(Flags::ACK),
            Found::Listener | Found::BoundListener => {
                self.connections.insert(ends);
                Flags::SYN.and(Flags::ACK)
            }
        };
        let taken = u32::from(segment.length) + u32::from(segment.flags == Flags::SYN);
        Some(Segment {
            source: segment.destination,
            destination: segment.source,
            flags,
            sequence: 5_000,
            acknowledgement: segment.sequence + taken,
            length: 0,
        })
    }
}
