//! Ownership: who of several members acts for an address, and who says so when one is gone.
//!
//! Members of a prefix are ranked by (not draining, preference, rendezvous hash). The hash makes
//! every host on the link come to the same order without a word, spreads addresses over members,
//! and moves nothing but a leaving member's own share. Rank 1 owns the address.
//!
//! When a member dies, drains or leaves, caches on the link still hold it: the owner then tells
//! everybody, three times, and stops as soon as the departed one is heard again.

use core::cmp::Reverse;
use core::hash::Hasher;
use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use siphasher::sip::SipHasher24;

use super::record_set::RecordSet;
use super::view::View;
use crate::addr::{self, Prefix};
use crate::time::{Duration, Instant};
use crate::wire::frame::Mac;
use crate::wire::{MemberId, Record};

/// A takeover is announced this often (RFC 4861 §10: MAX_NEIGHBOR_ADVERTISEMENT).
pub const ANNOUNCEMENTS: u8 = 3;
/// Announcements are this far apart: more than RETRANS_TIMER (RFC 4861 §7.2.6) and than the
/// second in which some hosts refuse to change an entry twice.
pub const ANNOUNCEMENT_INTERVAL: Duration = Duration::from_millis(1100);

/// This host, as one of the candidates.
#[derive(Debug, Clone, Copy)]
pub struct Own<'a> {
    /// Its id.
    pub id: MemberId,
    /// Its link-layer address.
    pub mac: Mac,
    /// When its life began.
    pub epoch: u64,
    /// Whether it has an IPv4 address on the link.
    pub ipv4: bool,
    /// Whether it has an IPv6 address on the link.
    pub ipv6: bool,
    /// What it serves.
    pub records: &'a RecordSet,
}

/// A member that could act for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Candidate {
    /// Its id.
    pub id: MemberId,
    /// Its link-layer address.
    pub mac: Mac,
    /// It is this host.
    pub own: bool,
    /// It is about to leave.
    pub draining: bool,
    /// Its preference for the address.
    pub preference: u16,
    /// When its life began: of two hosts with one id, the later one counts.
    pub epoch: u64,
}

/// The score of `member` for `address`: SipHash-2-4 with an all-zero key over the id's 16 bytes,
/// the family (4 or 6) and the address's bytes. The highest score wins.
pub fn score(member: MemberId, address: IpAddr) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(&member.0);
    match address {
        IpAddr::V4(address) => {
            hasher.write(&[4]);
            hasher.write(&address.octets());
        }
        IpAddr::V6(address) => {
            hasher.write(&[6]);
            hasher.write(&address.octets());
        }
    }
    hasher.finish()
}

/// Whoever holds records on the link: a peer, or this host.
struct Holder<'a> {
    id: MemberId,
    epoch: u64,
    mac: Mac,
    own: bool,
    /// Whether it has an IPv4 and an IPv6 address on the link.
    speaks: [bool; 2],
    records: &'a RecordSet,
}

impl Holder<'_> {
    /// The holder as a candidate for what `record` serves, if it can act for that family at all.
    fn candidate(&self, prefix: Prefix, record: &Record) -> Option<Candidate> {
        //= docs/spec/link.md#ranks
        //# A member MUST NOT be ranked for an address of a family that it has no unicast address of
        //# on the link.
        self.speaks[usize::from(prefix.addr().is_ipv6())].then_some(Candidate {
            id: self.id,
            mac: self.mac,
            own: self.own,
            draining: record.draining,
            preference: record.preference,
            epoch: self.epoch,
        })
    }
}

fn holders<'a>(own: Option<Own<'a>>, view: &'a View) -> impl Iterator<Item = Holder<'a>> {
    let peers = view.peers().map(|(id, peer)| Holder {
        id,
        epoch: peer.version().0,
        mac: peer.mac(),
        own: false,
        speaks: [peer.ipv4().is_some(), peer.ipv6().is_some()],
        records: peer.records(),
    });
    peers.chain(own.map(|own| Holder {
        id: own.id,
        epoch: own.epoch,
        mac: own.mac,
        own: true,
        speaks: [own.ipv4, own.ipv6],
        records: own.records,
    }))
}

/// The members of the longest prefix that contains `target`, best rank first.
///
/// A member without a unicast address of the target's family on the link cannot act for it: it
/// has no address to answer from.
pub fn ranks(target: IpAddr, own: Option<Own<'_>>, view: &View) -> Vec<Candidate> {
    let found: Vec<(Prefix, Candidate)> = holders(own, view)
        .filter_map(|holder| {
            let (prefix, record) = holder.records.longest_match(target)?;
            Some((prefix, holder.candidate(prefix, &record)?))
        })
        .collect();
    let longest = found.iter().map(|(prefix, _)| prefix.prefix_len()).max();
    let mut ranked: Vec<Candidate> = found
        .into_iter()
        .filter(|(prefix, _)| Some(prefix.prefix_len()) == longest)
        .map(|(_, candidate)| candidate)
        .collect();
    yield_to_twin(&mut ranked);
    ranked.sort_by_cached_key(|candidate| order(candidate, target));
    ranked
}

//= docs/spec/link.md#ranks
//# Of two hosts with one id, a host MUST rank the one with the larger epoch alone; of equal epochs,
//# that with the lower link-layer address.
fn yield_to_twin(candidates: &mut Vec<Candidate>) {
    // Peers have ids of their own: only this host can have a twin.
    let Some(own) = candidates.iter().find(|c| c.own).copied() else {
        return;
    };
    let life = |c: &Candidate| (c.epoch, Reverse(c.mac));
    let twin = |c: &&Candidate| !c.own && c.id == own.id;
    if let Some(twin) = candidates.iter().find(twin).copied() {
        let yields = life(&own) < life(&twin);
        candidates.retain(|c| c.id != own.id || c.own != yields);
    }
}

//= docs/spec/link.md#ranks
//# Members MUST be ranked by these, in this order: not draining before draining; higher
//# preference; higher score; lower member id.
fn order(c: &Candidate, target: IpAddr) -> (bool, Reverse<u16>, Reverse<u64>, MemberId) {
    (
        c.draining,
        Reverse(c.preference),
        Reverse(score(c.id, target)),
        c.id,
    )
}

/// Who owns the first address of each prefix that somebody serves: rank 1 for it. In one pass over
/// all records, since there may be thousands, and a stranger may have sent them.
fn first_ranks(own: Option<Own<'_>>, view: &View) -> BTreeMap<Prefix, Option<Candidate>> {
    let mut members: BTreeMap<Prefix, Vec<Candidate>> = BTreeMap::new();
    for holder in holders(own, view) {
        for (prefix, record) in holder.records.prefixes() {
            let candidate = holder.candidate(prefix, &record);
            members.entry(prefix).or_default().extend(candidate);
        }
    }
    members.values_mut().for_each(yield_to_twin);
    let lengths: BTreeSet<u8> = members.keys().map(Prefix::prefix_len).collect();
    let first = |target: IpAddr| {
        let holders = lengths.iter().rev().find_map(|length| {
            let prefix = Prefix::new(target, *length).ok()?.trunc();
            members.get(&prefix).filter(|holders| !holders.is_empty())
        });
        let best = holders?.iter().min_by_key(|c| order(c, target));
        best.copied()
    };
    let firsts = members
        .keys()
        .map(|prefix| (*prefix, first(prefix.network())));
    firsts.collect()
}

/// Who owns each prefix that somebody serves, worked out at once.
pub fn owners(
    own: Option<Own<'_>>,
    view: &View,
) -> impl Iterator<Item = (Prefix, Candidate)> + use<> {
    let owned = first_ranks(own, view).into_iter();
    owned.filter_map(|(prefix, owner)| Some((prefix, owner?)))
}

/// Ownership as it was last seen, and takeovers that are being announced.
#[derive(Debug, Clone, Default)]
pub struct Ownership {
    owners: BTreeMap<Prefix, Option<Candidate>>,
    takeovers: BTreeMap<IpAddr, Takeover>,
    events: VecDeque<(Prefix, Option<Candidate>)>,
}

#[derive(Debug, Clone, Copy)]
struct Takeover {
    from: MemberId,
    left: u8,
    at: Instant,
}

impl Ownership {
    /// Compares who owns what now with what was seen last; changes come out of
    /// [`Self::poll_event`].
    pub fn update(&mut self, own: Option<Own<'_>>, view: &View) {
        let mut owners: BTreeMap<Prefix, Option<Candidate>> =
            self.owners.keys().map(|prefix| (*prefix, None)).collect();
        owners.extend(first_ranks(own, view));
        for (prefix, owner) in &owners {
            let before = self.owners.get(prefix).copied().flatten();
            if before.map(|c| c.id) != owner.map(|c| c.id) {
                self.events.push_back((*prefix, *owner));
            }
        }
        owners.retain(|_, owner| owner.is_some());
        self.owners = owners;
    }

    /// The owner of each prefix that anybody on the link serves.
    pub fn owners(&self) -> impl Iterator<Item = (Prefix, Candidate)> {
        self.owners
            .iter()
            .filter_map(|(prefix, owner)| Some((*prefix, (*owner)?)))
    }

    /// The owner of a prefix that somebody on the link serves.
    pub fn owner(&self, prefix: Prefix) -> Option<Candidate> {
        *self.owners.get(&prefix)?
    }

    /// Member `from` no longer acts for `targets`: announces those that this host owns now, or that
    /// nobody here serves any more and this host `stands_in` for.
    pub fn departed(
        &mut self,
        now: Instant,
        from: MemberId,
        targets: impl IntoIterator<Item = IpAddr>,
        own: Own<'_>,
        view: &View,
        stands_in: impl Fn(IpAddr) -> bool,
    ) {
        for target in targets {
            let first = ranks(target, Some(own), view).into_iter().next();
            //= docs/spec/link.md#takeover
            //# When a member that served a prefix dies, drains it or leaves it, the member that is
            //# rank 1 then MUST announce the address at once, and twice more at intervals of 1.1 s.
            let mine = |first: Candidate| first.own && !first.draining;
            if first.map_or_else(|| stands_in(target), mine) {
                self.takeovers.insert(
                    target,
                    Takeover {
                        from,
                        left: ANNOUNCEMENTS,
                        at: now,
                    },
                );
            }
        }
    }

    /// Member `id` is heard again: what was being taken over from it is left to the ranks.
    pub fn heard(&mut self, id: MemberId) {
        //= docs/spec/link.md#takeover
        //# A member MUST stop announcing when it is no longer rank 1 or when the departed member is
        //# heard again.
        self.takeovers.retain(|_, takeover| takeover.from != id);
    }

    /// Whether `target` is being announced.
    pub fn is_announcing(&self, target: IpAddr) -> bool {
        self.takeovers.contains_key(&target)
    }

    /// Another host announces `target` in the place of this one.
    pub fn leave_to_others(&mut self, target: IpAddr) {
        self.takeovers.remove(&target);
    }

    /// Forgets all takeovers (this host no longer acts).
    pub fn stop(&mut self) {
        self.takeovers.clear();
    }

    /// The next address to announce at `now`; drained after each input.
    pub fn poll_announcement(
        &mut self,
        now: Instant,
        own: Own<'_>,
        view: &View,
        stands_in: impl Fn(IpAddr) -> bool,
    ) -> Option<IpAddr> {
        loop {
            let (target, takeover) = self.takeovers.iter_mut().find(|(_, t)| t.at <= now)?;
            let target = *target;
            takeover.left -= 1;
            takeover.at = now + ANNOUNCEMENT_INTERVAL;
            if takeover.left == 0 {
                self.takeovers.remove(&target);
            }
            let first = ranks(target, Some(own), view).into_iter().next();
            if first.map_or_else(|| stands_in(target), |first| first.own) {
                return Some(target);
            }
            self.takeovers.remove(&target);
        }
    }

    /// When [`Self::poll_announcement`] has something to say.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.takeovers.values().map(|takeover| takeover.at).min()
    }

    /// Which prefix has another owner than before, oldest first.
    pub fn poll_event(&mut self) -> Option<(Prefix, Option<Candidate>)> {
        self.events.pop_front()
    }
}

/// The addresses of `prefix` to announce: itself when it is one address, else those of `asked`
/// that it holds, since nobody can announce a whole prefix.
pub fn targets(prefix: Prefix, asked: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    if addr::is_host(&prefix) {
        vec![prefix.addr()]
    } else {
        asked.filter(|target| prefix.contains(target)).collect()
    }
}
