//! The way of a frame: out of a host, over cables and switches, into hosts.

use std::hash::{Hash, Hasher};
use std::rc::Rc;

use hamp::time::Instant;
use hamp::wire::frame::is_group;

use super::clock::Clock;
use super::packet::Packet;
use super::queue::{Nanos, Planned};
use super::{Device, Happened, Port, SWITCHING, Sim, instant, nanos};
use crate::capture::Stamp;
use crate::impair::{Fate, Impairment};
use crate::report::Request;

impl Port {
    /// What becomes of a frame of `length` bytes that is sent now.
    fn fate(&mut self, now: Nanos, length: usize) -> Fate {
        if self.plain {
            let twice = false;
            return Fate::Arrives { at: now, twice };
        }
        self.direction.frame(now, length, &mut self.random)
    }

    /// What happens from now on to what it sends.
    pub(super) fn impair(&mut self, how: Impairment) {
        self.plain = how.is_none();
        self.direction.set(how);
    }
}

impl Sim {
    /// Does one thing of the queue.
    pub(super) fn happen(&mut self, planned: Planned) {
        match planned {
            Planned::Arrival(port, packet) => self.arrive(port, &packet),
            Planned::Timer(host) => self.wake(host),
            Planned::Start(host) => self.first_start(host),
        }
    }

    /// A frame leaves a host by `port`.
    pub(super) fn emit(&mut self, port: usize, bytes: Vec<u8>) {
        let packet = Rc::new(Packet::new(bytes, port));
        self.totals.frames += 1;
        let now = self.now;
        let digest = &mut self.part(self.ports[port].node).digest;
        digest.write_u64(now);
        digest.write_u64(packet.hash);
        if let Some(tape) = &mut self.tape {
            tape.frame(self.now, port, true, &packet.bytes);
        }
        self.transmit(port, &packet);
    }

    /// A frame goes into the cable at `port`, and comes out of it in the time it takes.
    fn transmit(&mut self, port: usize, packet: &Rc<Packet>) {
        if !self.carrier[port / 2] {
            return;
        }
        let other = port ^ 1;
        let takes = match self.devices[self.ports[other].node] {
            Device::Switch(_) => nanos(SWITCHING),
            Device::Host(_) => 0,
        };
        let (at, copies) = match self.ports[port].fate(self.now, packet.bytes.len()) {
            Fate::Arrives { at, twice } => (at, 1 + u8::from(twice)),
            Fate::Dropped(_) => return,
        };
        for _ in 0..copies {
            let arrival = Planned::Arrival(other, Rc::clone(packet));
            let node = self.ports[other].node;
            self.part(node).queue.push(at + takes, arrival);
        }
    }

    /// A frame comes out of the cable at `port`.
    fn arrive(&mut self, port: usize, packet: &Rc<Packet>) {
        if !self.carrier[port / 2] {
            return;
        }
        let node = self.ports[port].node;
        match &mut self.devices[node] {
            Device::Host(_) => self.deliver(port, packet),
            Device::Switch(switch) => {
                switch.learn(self.now, packet.source(), port);
                match switch.place_of(self.now, packet.destination()) {
                    Some(known) if known == port => {}
                    Some(known) => self.forward(known, packet),
                    None => self.flood(node, port, packet),
                }
            }
        }
    }

    /// A switch hands a frame to all its ports but the one it came in by.
    fn flood(&mut self, switch: usize, from: usize, packet: &Rc<Packet>) {
        let mut at = 0;
        while let Device::Switch(switch) = &self.devices[switch]
            && let Some(port) = switch.ports.get(at).copied()
        {
            if port != from {
                self.forward(port, packet);
            }
            at += 1;
        }
    }

    /// A switch hands a frame to a port. A host at the end of a plain cable has it at once: one
    /// event serves all of them.
    fn forward(&mut self, port: usize, packet: &Rc<Packet>) {
        let other = port ^ 1;
        let at_once = self.carrier[port / 2]
            && self.ports[port].plain
            && matches!(self.devices[self.ports[other].node], Device::Host(_));
        if at_once {
            self.deliver(other, packet);
        } else {
            self.transmit(port, packet);
        }
    }

    /// A frame reaches the host at `port`.
    fn deliver(&mut self, port: usize, packet: &Rc<Packet>) {
        let (now, node, at) = (self.now, self.ports[port].node, self.ports[port].at);
        let Device::Host(host) = &mut self.devices[node] else {
            return;
        };
        let destination = packet.destination();
        let from = self.ports[packet.origin].node;
        let meant = is_group(destination) || destination == host.interfaces[at].mac;
        if !meant || self.groups[from] != self.groups[node] {
            return;
        }
        self.totals.deliveries += 1;
        let digest = &mut self.parts[self.part_of[node]].digest;
        digest.write_u64(packet.hash ^ port as u64);
        if let Some(tape) = &mut self.tape {
            tape.frame(now, port, false, &packet.bytes);
        }
        host.receive(now, at, packet);
        self.settle(node);
    }

    fn wake(&mut self, node: usize) {
        let now = self.now;
        let Device::Host(host) = &mut self.devices[node] else {
            return;
        };
        // Another one was planned since, or the host does not act.
        if host.timer != Some(now) {
            return;
        }
        host.timer = None;
        let shown = host.clock.at(now);
        if let Some(machine) = host.awake()
            && machine.poll_timeout().is_some_and(|due| due <= shown)
        {
            machine.handle_timeout(shown);
        }
        self.settle(node);
    }

    /// Takes from a host what it has to say and to tell, and plans its next timer.
    pub(super) fn settle(&mut self, node: usize) {
        while let Some((port, frame)) = self.next_frame(node) {
            self.emit(port, frame);
        }
        let Device::Host(host) = &mut self.devices[node] else {
            return;
        };
        let Some(machine) = &mut host.machine else {
            return;
        };
        let clock = host.clock;
        let ended = machine.take_ended().into_iter();
        self.requests.extend(ended.map(|request| Request {
            sent: true_time(clock, request.sent),
            done: true_time(clock, request.done),
            ..request
        }));
        while let Some(event) = machine.poll_event() {
            self.totals.events += 1;
            let digest = &mut self.parts[self.part_of[node]].digest;
            digest.write_u64(self.now);
            digest.write_usize(node);
            event.hash(digest);
            if let Some(events) = &mut self.events {
                events.push(Happened {
                    at: instant(self.now),
                    host: node,
                    event,
                });
            }
        }
        let due = host.awake().and_then(|machine| machine.poll_timeout());
        let due = due.map(|due| clock.when(due).max(self.now));
        if let Some(due) = due
            && host.timer.is_none_or(|planned| due < planned)
        {
            host.timer = Some(due);
            let queue = &mut self.parts[self.part_of[node]].queue;
            queue.push(due, Planned::Timer(node));
        }
    }

    /// The next frame that a host sends, and the port it leaves by.
    fn next_frame(&mut self, node: usize) -> Option<(usize, Vec<u8>)> {
        let Device::Host(host) = &mut self.devices[node] else {
            return None;
        };
        let transmit = host.machine.as_mut()?.poll_transmit()?;
        let interface = host.interface(transmit.link)?;
        Some((interface.port, transmit.frame))
    }
}

/// The moment at which a host's clock shows what a program on it noted.
fn true_time(clock: Clock, noted: Stamp) -> Stamp {
    Stamp(clock.when(Instant::from_micros(noted.0 / 1000)))
}
