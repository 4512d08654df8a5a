//! An Ethernet switch: learns where hosts are, and floods what it does not know the place of.

use std::collections::BTreeMap;

use super::queue::Nanos;

/// What is learned is forgotten after this (IEEE 802.1Q §8.8.3: 300 s), as by a Linux bridge.
const AGEING: Nanos = 300_000_000_000;

/// A switch.
#[derive(Debug)]
pub(super) struct Switch {
    /// Its ports.
    pub(super) ports: Vec<usize>,
    learned: BTreeMap<[u8; 6], (usize, Nanos)>,
}

impl Switch {
    pub(super) fn new(ports: Vec<usize>) -> Self {
        Self {
            ports,
            learned: BTreeMap::new(),
        }
    }

    /// A frame from `source` came in by `port`.
    pub(super) fn learn(&mut self, now: Nanos, source: [u8; 6], port: usize) {
        self.learned.insert(source, (port, now));
    }

    /// The one port that `destination` is behind, if that is known.
    pub(super) fn place_of(&self, now: Nanos, destination: [u8; 6]) -> Option<usize> {
        let (port, at) = self.learned.get(&destination)?;
        (now - at < AGEING).then_some(*port)
    }

    /// Forgets what is behind `port`, which has no carrier any more.
    pub(super) fn forget(&mut self, port: usize) {
        self.learned.retain(|_, (known, _)| *known != port);
    }
}
