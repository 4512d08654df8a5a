//! What is going to happen, in order of time; what happens at one moment, in the order it was
//! planned.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::rc::Rc;

use super::packet::Packet;

/// Nanoseconds since the simulation began.
pub(super) type Nanos = u64;

/// Something that is going to happen.
#[derive(Debug)]
pub(super) enum Planned {
    /// A frame comes out of a cable at this port.
    Arrival(usize, Rc<Packet>),
    /// A host may have something to do.
    Timer(usize),
    /// A host starts for the first time.
    Start(usize),
}

#[derive(Debug)]
struct Entry {
    at: Nanos,
    serial: u64,
    planned: Planned,
}

impl Ord for Entry {
    /// The earliest is the greatest: [`BinaryHeap`] gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.serial).cmp(&(self.at, self.serial))
    }
}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

/// The queue of events.
#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Entry>,
    /// Arrivals are mostly planned in the order they happen in, and these need no heap.
    lane: VecDeque<Entry>,
    serial: u64,
}

impl Queue {
    /// Plans `planned` for `at`.
    pub(super) fn push(&mut self, at: Nanos, planned: Planned) {
        self.serial += 1;
        let serial = self.serial;
        let in_order = self.lane.back().is_none_or(|last| last.at <= at);
        let arrives = matches!(planned, Planned::Arrival(..));
        let entry = Entry {
            at,
            serial,
            planned,
        };
        if arrives && in_order {
            self.lane.push_back(entry);
        } else {
            self.heap.push(entry);
        }
    }

    /// When the next event happens.
    pub(super) fn next(&self) -> Option<Nanos> {
        let entries = self.lane.front().into_iter().chain(self.heap.peek());
        entries.map(|entry| entry.at).min()
    }

    /// The next event, if it happens no later than `end`.
    pub(super) fn pop(&mut self, end: Nanos) -> Option<(Nanos, Planned)> {
        let from_lane = match (self.lane.front(), self.heap.peek()) {
            (Some(lane), Some(heap)) => lane > heap,
            (lane, _) => lane.is_some(),
        };
        let next = if from_lane {
            self.lane.front()
        } else {
            self.heap.peek()
        };
        next.filter(|entry| entry.at <= end)?;
        let entry = if from_lane {
            self.lane.pop_front()
        } else {
            self.heap.pop()
        };
        entry.map(|entry| (entry.at, entry.planned))
    }
}

impl IntoIterator for Queue {
    type Item = Planned;
    type IntoIter = std::vec::IntoIter<Planned>;

    /// What is planned, in the order it would happen.
    fn into_iter(mut self) -> Self::IntoIter {
        let all = std::iter::from_fn(|| self.pop(Nanos::MAX));
        let all: Vec<_> = all.map(|(_, planned)| planned).collect();
        all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_at_one_moment_as_planned() {
        let mut queue = Queue::default();
        let packet = |n| Rc::new(Packet::new(vec![n], 0));
        queue.push(30, Planned::Arrival(1, packet(1)));
        queue.push(20, Planned::Timer(2));
        queue.push(30, Planned::Timer(3));
        queue.push(10, Planned::Arrival(4, packet(4)));
        queue.push(30, Planned::Arrival(5, packet(5)));
        queue.push(40, Planned::Start(6));
        let mut order = Vec::new();
        while let Some((at, planned)) = queue.pop(35) {
            let (Planned::Arrival(n, _) | Planned::Timer(n) | Planned::Start(n)) = planned;
            order.push((at, n));
        }
        assert_eq!(order, [(10, 4), (20, 2), (30, 1), (30, 3), (30, 5)]);
        assert!(matches!(queue.pop(40), Some((40, Planned::Start(6)))));
    }
}
