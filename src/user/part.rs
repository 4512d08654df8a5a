//! The node's part in the host: it can be frozen and started anew, as a daemon can, while TCP/IP
//! goes on.

use super::Host;
use super::gate::Gate;
use super::neighbour::Neighbours;
use crate::node::{LinkId, Node};
use crate::time::Instant;

/// The node's part in the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// It hears and speaks.
    Active,
    /// It does neither, for now.
    Frozen,
    /// This host has never had one.
    None,
}

impl Host {
    /// hamp alone stops on this host, as a daemon that is frozen or killed. TCP/IP goes on:
    /// connections live, the gate closes when the lease runs out, and a client's entries for
    /// anycast addresses end within a minute. What it is told to join or leave waits until it goes on.
    pub fn freeze(&mut self, now: Instant) {
        if self.part == Part::Active {
            self.part = Part::Frozen;
            let neighbours = self.neighbours.values_mut();
            neighbours.for_each(|neighbours| neighbours.release(now));
        }
    }

    /// hamp goes on where it was frozen. What came meanwhile is lost to it.
    pub fn thaw(&mut self, now: Instant) {
        if self.part == Part::Frozen {
            self.part = Part::Active;
            self.node.handle_timeout(now);
            self.wake(now);
        }
    }

    /// hamp starts anew, whether it was frozen or not, with the same configuration; it has joined
    /// nothing. `secret` and `epoch` as for [`Node::new`].
    pub fn restart(&mut self, now: Instant, secret: [u8; 32], epoch: u64) {
        if self.part != Part::None {
            self.part = Part::Active;
            self.node = Node::new(self.node.config().clone(), secret, epoch);
            self.gate = Gate::default();
            self.routes.forget_members();
            for neighbours in self.neighbours.values_mut() {
                neighbours.forget_managed();
            }
            self.wake(now);
        }
    }

    /// Tells the node what has become of the links.
    fn wake(&mut self, now: Instant) {
        let neighbours = self.neighbours.values_mut();
        neighbours.for_each(Neighbours::reclaim);
        let known: Vec<_> = self.node.links().map(|(id, _)| id).collect();
        let gone = known
            .into_iter()
            .filter(|id| self.routes.link(*id).is_none());
        let class = self.node.config().class.clone();
        let up = self.routes.up().map(|(id, up)| (id, up.state(&class)));
        let links: Vec<_> = gone.map(|id| (id, None)).chain(up).collect();
        for (id, state) in links {
            self.node.handle_link(now, id, state);
        }
        self.pump(now);
    }

    pub(super) fn node_timeout(&self) -> Option<Instant> {
        let timeout = self.node.poll_timeout();
        timeout.filter(|_| self.part == Part::Active)
    }

    /// Shows the node a frame that came in or goes out.
    pub(super) fn show(&mut self, now: Instant, id: LinkId, frame: &[u8], outgoing: bool) {
        if self.part == Part::Active {
            self.node.handle_frame(now, id, frame, outgoing);
        }
    }
}
