//! The node's part in the host: it can be frozen and started anew, as a daemon can, while TCP/IP
//! goes on.

use super::Host;
use super::gate::Gate;
use super::neighbour::Neighbours;
use crate::node::{Heard, LinkId, Node};
use crate::time::Instant;

/// Frames that wait for a frozen node: what Linux's default receive buffer
/// (`net.core.rmem_default`, 208 KiB) holds of small ones.
const BACKLOG: usize = 256;

/// A frame that a frozen node has not read: where, all of it, and whether this host sent it.
pub(super) type Waiting = (LinkId, Vec<u8>, bool);

/// The node's part in the host.
#[derive(Debug)]
pub(super) enum Part {
    /// It hears and speaks.
    Active,
    /// It does neither, for now; what it has not heard.
    Frozen(Vec<Waiting>),
    /// This host has never had one.
    None,
}

impl Host {
    /// hamp alone stops on this host, as a daemon that is frozen or killed. TCP/IP goes on:
    /// connections live, the gate closes when the lease runs out, and a client's entries for
    /// anycast addresses end within a minute. What it is told to join or leave waits until it goes on.
    pub fn freeze(&mut self, now: Instant) {
        if matches!(self.part, Part::Active) {
            self.part = Part::Frozen(Vec::new());
            let neighbours = self.neighbours.values_mut();
            neighbours.for_each(|neighbours| neighbours.release(now));
        }
    }

    /// hamp goes on where it was frozen. After more than a dead time, what has come meanwhile is
    /// forgotten, as the daemon does.
    pub fn thaw(&mut self, now: Instant) {
        let Part::Frozen(waiting) = &mut self.part else {
            return;
        };
        let waiting = core::mem::take(waiting);
        self.part = Part::Active;
        let due = self.node.poll_timeout().unwrap_or(now);
        let overslept = now.saturating_duration_since(due);
        let forgets = overslept > self.node.config().timing.dead_time();
        self.node.handle_timeout(now);
        for (id, frame, outgoing) in waiting.into_iter().filter(|_| !forgets) {
            self.node.handle_frame(now, id, &frame, outgoing);
        }
        self.wake(now);
    }

    /// hamp starts anew, whether it was frozen or not, with the same configuration; it has joined
    /// nothing. `secret` and `epoch` as for [`Node::new`].
    pub fn restart(&mut self, now: Instant, secret: [u8; 32], epoch: u64) {
        if matches!(self.part, Part::None) {
            return;
        }
        self.part = Part::Active;
        self.node = Node::new(self.node.config().clone(), secret, epoch);
        self.gate = Gate::default();
        self.routes.forget_members();
        for neighbours in self.neighbours.values_mut() {
            neighbours.forget_managed();
        }
        self.wake(now);
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
            if self.routes.speaks_on(id) {
                self.node.handle_link(now, id, state);
            }
        }
        self.settle(now);
    }

    pub(super) fn node_timeout(&self) -> Option<Instant> {
        let timeout = self.node.poll_timeout();
        timeout.filter(|_| matches!(self.part, Part::Active))
    }

    /// Shows the node a frame that came in or goes out, which somebody may have read already.
    pub(super) fn show<'a>(
        &mut self,
        now: Instant,
        id: LinkId,
        frame: &[u8],
        heard: impl FnOnce() -> Option<&'a Heard>,
        outgoing: bool,
    ) {
        if !self.routes.speaks_on(id) {
            return;
        }
        match &mut self.part {
            Part::Active => match heard() {
                Some(heard) => self.node.handle_heard(now, id, heard, outgoing),
                None => self.node.handle_frame(now, id, frame, outgoing),
            },
            Part::Frozen(waiting) if waiting.len() < BACKLOG => {
                waiting.push((id, frame.to_vec(), outgoing));
            }
            Part::Frozen(_) | Part::None => {}
        }
    }
}
