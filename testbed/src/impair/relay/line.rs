//! What the relay knows of a link: its ports, its two directions, and frames in flight.

use std::cmp::Ordering;

use hamp::proto::random::Random;

use super::segment::HEADER;
use super::{Barred, Port};
use crate::impair::{Direction, Impairment};

/// A relayed link.
pub(super) struct Line {
    pub(super) ports: [Port; 2],
    pub(super) ways: [Way; 2],
}

/// One direction of it: frames that come from the port of the same index.
pub(super) struct Way {
    pub(super) machine: Direction,
    pub(super) random: Random,
    /// Whose frames do not arrive.
    pub(super) barred: Barred,
    /// Frames may be passed as the kernel has put them together.
    pub(super) whole: bool,
    /// When the last frame was sent.
    pub(super) last: u64,
    pub(super) in_flight: usize,
    pub(super) dropped: u64,
}

/// A frame in flight.
pub(super) struct Due {
    pub(super) at: u64,
    pub(super) order: u64,
    pub(super) line: usize,
    pub(super) from: usize,
    pub(super) packet: Vec<u8>,
    pub(super) length: usize,
}

impl Ord for Due {
    /// The earliest is the greatest: a heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl Way {
    pub(super) fn new(impairment: Impairment, random: Random) -> Self {
        let mut way = Self {
            machine: Direction::new(impairment),
            random,
            barred: Barred::new(),
            whole: true,
            last: 0,
            in_flight: 0,
            dropped: 0,
        };
        way.set(impairment);
        way
    }

    pub(super) fn set(&mut self, impairment: Impairment) {
        self.machine.set(impairment);
        let only_delay = Impairment::default().with_delay(impairment.delay);
        self.whole = Impairment {
            queue_bytes: 0,
            ..impairment
        } == only_delay;
    }

    /// Sends a frame of ours from a port, unless its sender is barred.
    pub(super) fn deliver(&mut self, port: &Port, packet: &[u8]) {
        let sender = packet.get(HEADER + 6..HEADER + 12);
        let barred = sender.is_some_and(|mac| self.barred.iter().any(|b| b == mac));
        // A port that is down carries nothing; that is what happened to the frame, not an error.
        if !barred && port.send(packet).is_err() {
            self.dropped += 1;
        }
    }
}
