//! Peers that live and are not believed.
//!
//! What is refused of a peer now and then is the protocol's daily life: a copy, a part that was lost,
//! a statement that comes late. A peer of which nothing is taken for longer than its dead time is
//! one that somebody waits for, on the other side; people are told why, and what to do.

use std::collections::BTreeMap;

use super::Link;
use super::heard::{Concerns, Heard};
use super::input::Used;
use crate::node::trouble::{Trouble, TroubleKind};
use crate::proto::Reason;
use crate::proto::view::Source;
use crate::time::{Duration, Instant};
use crate::wire::frame::Mac;
use crate::wire::{MemberId, Message};

/// Peers that are watched at the same time.
const MAX_REFUSED: usize = 64;
/// A peer of which nothing was refused for so long begins anew; more than two hello intervals of any.
const FORGOTTEN: Duration = Duration::from_secs(150);
/// So many refusals are no chance.
const LEAST: u32 = 3;

/// A sender, as far as it is known: its member id, and where its frames come from.
type Sender = (Option<MemberId>, Mac);

/// Who is refused, since when and why.
#[derive(Debug, Clone, Default)]
pub(super) struct RefusedPeers(BTreeMap<Sender, Refused>);

#[derive(Debug, Clone, Copy)]
struct Refused {
    since: Instant,
    last: Instant,
    count: u32,
    reason: Reason,
    /// It is what a statement was refused for, which says more than what then becomes of hellos.
    stated: bool,
    dead_time: Duration,
}

impl RefusedPeers {
    fn accepted(&mut self, sender: Sender) {
        if !self.0.is_empty() {
            self.0.remove(&sender);
            self.0.remove(&(None, sender.1));
        }
    }

    /// Notes a refusal; why, when it has lasted for longer than the peer's dead time.
    fn note(
        &mut self,
        now: Instant,
        sender: Sender,
        reason: Reason,
        stated: Option<Duration>,
        dead_time: Duration,
    ) -> Option<Reason> {
        let forgotten = |refused: &Refused| now >= refused.last + FORGOTTEN;
        if self.0.len() >= MAX_REFUSED && !self.0.contains_key(&sender) {
            self.0.retain(|_, refused| !forgotten(refused));
            if self.0.len() >= MAX_REFUSED {
                return None;
            }
        }
        let new = Refused {
            since: now,
            last: now,
            count: 0,
            reason,
            stated: stated.is_some(),
            dead_time,
        };
        let refused = self.0.entry(sender).or_insert(new);
        if forgotten(refused) {
            *refused = new;
        }
        refused.last = now;
        refused.count = refused.count.saturating_add(1);
        if stated.is_some() || !refused.stated {
            refused.reason = reason;
        }
        if let Some(stated) = stated {
            refused.stated = true;
            refused.dead_time = stated;
        }
        let lasts = now >= refused.since + refused.dead_time && refused.count >= LEAST;
        lasts.then_some(refused.reason)
    }
}

/// Whether a healthy network refuses for this reason too.
fn is_daily(reason: Reason) -> bool {
    use Reason::{Duplicate, ForeignAddress, NoLink, OwnId, RateLimited};
    // The last is told by itself, with the address.
    matches!(
        reason,
        Duplicate | RateLimited | NoLink | OwnId | ForeignAddress
    )
}

impl Link {
    /// Whether a peer is refused for too long, after each of its messages.
    pub(super) fn judge(&mut self, now: Instant, frame: &Heard, used: &Used) {
        let (source, message) = match &frame.0 {
            Ok(Concerns::Member(source, message, _)) => (*source, message.as_ref().ok()),
            Ok(Concerns::Stray(source, _)) => (*source, None),
            _ => return,
        };
        if source.mac == self.member.identity().mac {
            return;
        }
        let (id, stated) = match message {
            // Whoever only asks is no member.
            Some(Message::Query { .. }) => return,
            Some(Message::Statement {
                member, statement, ..
            }) => (Some(*member), Some(statement.dead_time())),
            other => (other.map(Message::sender), None),
        };
        let known = id.and_then(|id| self.view.get(id));
        let reason = match used {
            Ok(_) if stated.is_some() || known.is_some_and(|peer| peer.has_records()) => {
                return self.refused_peers.accepted((id, source.mac));
            }
            // It lives, but what it serves does not arrive.
            Ok(_) => Reason::GenerationGap,
            Err(Some(reason)) if !is_daily(*reason) => *reason,
            Err(_) => return,
        };
        let elsewhere = known
            .map(|peer| peer.mac())
            .filter(|mac| *mac != source.mac);
        // An older message of the host itself, late or again, is nobody else's.
        if reason == Reason::Replay && elsewhere.is_none() {
            return;
        }
        let dead_time = known.map_or(self.timing, |peer| peer.timing()).dead_time();
        let sender = (id, source.mac);
        let note = self
            .refused_peers
            .note(now, sender, reason, stated, dead_time);
        if let Some(reason) = note {
            self.tell_refused(now, id, source, reason, elsewhere);
        }
    }

    fn tell_refused(
        &mut self,
        now: Instant,
        member: Option<MemberId>,
        source: Source,
        reason: Reason,
        elsewhere: Option<Mac>,
    ) {
        let trouble = |kind, mac| Trouble {
            member,
            mac: Some(mac),
            ..Trouble::new(kind)
        };
        let Some(elsewhere) = elsewhere else {
            let trouble = trouble(TroubleKind::RefusedPeer, source.mac);
            return self.trouble(
                now,
                Trouble {
                    reason: Some(reason),
                    ..trouble
                },
            );
        };
        for mac in [source.mac, elsewhere] {
            self.trouble(now, trouble(TroubleKind::SameIdentity, mac));
        }
    }
}
