//! Hosts that were answered, and whose link-layer address may be another than the kernel has.
//!
//! What asks for a unicast address teaches the kernel where it is. What asks for an anycast one is
//! answered by the node, and the kernel does not see it: without this, a host whose link-layer
//! address changes would be sent its answers at the old one until the kernel doubts it by itself.

use std::net::IpAddr;

use super::Kernel;
use crate::node::LinkId;
use crate::time::{Duration, Instant};

/// Entries that are looked up in one [`SPAN`]; whoever asks after that asks again.
const MAX_LOOKUPS: u32 = 200;
const SPAN: Duration = Duration::from_secs(1);

/// How many lookups there were since when.
#[derive(Debug, Default)]
pub(super) struct Askers {
    since: Option<Instant>,
    lookups: u32,
}

impl Askers {
    fn may_look(&mut self, now: Instant) -> bool {
        if self.since.is_none_or(|since| now >= since + SPAN) {
            (self.since, self.lookups) = (Some(now), 0);
        }
        self.lookups += 1;
        self.lookups <= MAX_LOOKUPS
    }
}

impl Kernel {
    //= docs/spec/link.md#answers
    //# A member that answers a request MUST correct its kernel's neighbour entry for the asker, if
    //# there is one with another link-layer address, and MUST NOT make one.
    /// A host was answered: an entry for it that leads elsewhere is corrected.
    pub(super) async fn follow_asker(
        &mut self,
        now: Instant,
        link: LinkId,
        address: IpAddr,
        mac: [u8; 6],
    ) {
        let managed = self.neighbours.contains_key(&(link, address));
        if managed || !self.links.contains_key(&link) || !self.askers.may_look(now) {
            return;
        }
        let done = self.netlink.correct_neighbour(link.0, address, mac).await;
        match done {
            Ok(true) => tracing::debug!(link = self.name(link), %address, "asker has moved"),
            Ok(false) => {}
            Err(error) => tracing::debug!(link = self.name(link), %error, "asker not followed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookups_are_bounded() {
        let mut askers = Askers::default();
        let looked = |askers: &mut Askers, now| (0..1000).filter(|_| askers.may_look(now)).count();
        assert_eq!(looked(&mut askers, Instant::ZERO), MAX_LOOKUPS as usize);
        assert_eq!(
            looked(&mut askers, Instant::ZERO + SPAN),
            MAX_LOOKUPS as usize
        );
    }
}
