//! Frames recorded, in the form that captures of kernel labs have.

use super::queue::Nanos;
use super::{Device, Sim};
use crate::capture::{Captured, Frame, Link, Stamp};

/// A running record.
#[derive(Debug)]
pub(super) struct Tape {
    captured: Captured,
    /// Which link of the record each port is.
    links: Vec<Option<usize>>,
}

impl Tape {
    /// A record of all interfaces of all hosts, with nothing on it.
    pub(super) fn new(sim: &Sim) -> Self {
        let mut captured = Captured::default();
        let mut links = vec![None; sim.ports.len()];
        let hosts = sim.devices.iter().filter_map(|device| match device {
            Device::Host(host) => Some(host),
            Device::Switch(_) => None,
        });
        for (host, interface) in hosts.flat_map(|h| h.interfaces.iter().map(move |i| (h, i))) {
            links[interface.port] = Some(captured.links.len());
            let other = &sim.ports[interface.port ^ 1];
            captured.links.push(Link {
                host: host.name().to_owned(),
                interface: interface.name.clone(),
                port: match &sim.devices[other.node] {
                    Device::Switch(_) => host.name().to_owned(),
                    Device::Host(host) => host.interfaces[other.at].name.clone(),
                },
                mac: interface.mac,
            });
        }
        Self { captured, links }
    }

    /// A frame that the host at `port` sends or gets.
    pub(super) fn frame(&mut self, now: Nanos, port: usize, from_host: bool, bytes: &[u8]) {
        if let Some(link) = self.links[port] {
            self.captured.frames.push(Frame {
                at: Stamp(now),
                link,
                from_host,
                length: bytes.len(),
                bytes: bytes.into(),
            });
        }
    }

    /// How many frames are on it.
    pub(super) fn len(&self) -> usize {
        self.captured.frames.len()
    }

    /// Puts the frames from the `from`-th on in the order of their times.
    pub(super) fn sort(&mut self, from: usize) {
        self.captured.frames[from..].sort_by_key(|frame| frame.at);
    }

    pub(super) fn captured(&self) -> &Captured {
        &self.captured
    }
}
