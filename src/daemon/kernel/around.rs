//! What the node is told of the addresses around each link, so that no member can state another's.

use std::collections::BTreeSet;

use super::Kernel;
use crate::addr::Prefix;
use crate::linux::netlink::Around;
use crate::node::LinkId;
use crate::proto::trust::Surroundings;
use crate::time::{Duration, Instant};

/// The kernel's routes are looked at this often, since a gateway comes without another sign.
const LOOK: Duration = Duration::from_secs(5);
/// The same where there are very many of them.
const LOOK_MANY: Duration = Duration::from_secs(60);
/// What very many are.
const MANY: usize = 10_000;

/// What was last seen, and when.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) around: Around,
    again: Option<Instant>,
}

impl Kernel {
    /// Looks around, now or when it is time to; whether the node is to be told.
    pub async fn look_around(&mut self, now: Instant, at_once: bool) -> bool {
        if !at_once && self.seen.again.is_some_and(|again| now < again) {
            return false;
        }
        let around = match self.netlink.around().await {
            Ok(around) => around,
            Err(error) => {
                tracing::warn!(%error, "what is around is not known: looked at again later");
                self.seen.again = Some(now + LOOK);
                return false;
            }
        };
        let pause = if around.routes > MANY {
            LOOK_MANY
        } else {
            LOOK
        };
        self.seen.again = Some(now + pause);
        let news = self.seen.around != around;
        self.seen.around = around;
        if news {
            self.relink_soon(now);
        }
        news
    }

    /// What is known around each link.
    pub fn surroundings(&self) -> Vec<(LinkId, Surroundings)> {
        let Around {
            subnets,
            gateways,
            own,
            ..
        } = &self.seen.around;
        let none = BTreeSet::new();
        let of = |(id, resolves): (LinkId, bool)| {
            let subnets = subnets.get(&id.0).unwrap_or(&none).iter().copied();
            // Where there is one other end, every address is its own.
            let all = [
                Prefix::V4(Default::default()),
                Prefix::V6(Default::default()),
            ];
            let all = all.into_iter().filter(|_| !resolves);
            let around = Surroundings {
                subnets: subnets.chain(all).collect(),
                gateways: gateways.iter().copied().collect(),
                own: own.iter().copied().collect(),
            };
            (id, around)
        };
        self.resolving().map(of).collect()
    }
}
