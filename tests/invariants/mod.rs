//! What holds whatever happens, watched while it happens: the invariants of docs/spec/invariants.md.
//!
//! A [`Watch`] is shown every host of a network after everything that happens, and knows since when
//! each of them should, and should not, be known to each other. It asks no machine what it believes
//! of itself alone: a host that is dead, frozen, unplugged or parted from another is so because the
//! test did that.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its part of this module"
)]

use std::collections::{BTreeMap, BTreeSet};

use hamp::addr::Prefix;
use hamp::node::{Link, LinkId, Node};
use hamp::proto::Timing;
use hamp::proto::election::Family;
use hamp::proto::member::{DRAIN, REPORT_INTERVAL};
use hamp::proto::pin;
use hamp::time::{Duration, Instant};
use hamp::wire::MemberId;

/// One link of a host, as it is at the moment.
#[derive(Clone, Copy)]
pub struct Station<'a> {
    /// Who: the same host and link always have the same number.
    pub number: usize,
    /// Which link it is on, and which part of that.
    pub place: (usize, u32),
    /// Hamp on it; `None` while it does not run, is frozen or has no carrier.
    pub link: Option<(&'a Node, LinkId, &'a Link)>,
}

impl Station<'_> {
    /// Whether it has an address of the prefix's family.
    fn speaks(&self, prefix: &Prefix) -> bool {
        let state = self.link.and_then(|(.., link)| link.state());
        state.is_some_and(|state| match prefix.addr().is_ipv6() {
            true => state.ipv6.is_some(),
            false => state.ipv4.is_some(),
        })
    }

    fn serves(&self, prefix: &Prefix) -> bool {
        self.link.is_some_and(|(.., link)| {
            let own = link.member();
            own.is_active() && own.records().get(prefix).is_some()
        })
    }
}

/// The times of the specification, for hosts that all have the same timers.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// A live member is known within this: T.
    pub present: Duration,
    /// One that is gone is not, after this: T'.
    pub absent: Duration,
}

impl Bounds {
    /// `latency` is what an undisturbed frame takes at most, `delay` what a disturbed one does.
    pub fn new(timing: Timing, latency: Duration, delay: Duration) -> Self {
        let ask = timing.ask_interval();
        let response = Duration::from_millis(100).min(timing.hello / 4);
        Self {
            // The next hello raises the question, which waits for its turn; the answer does, too.
            present: timing.hello + ask + ask.max(response) + 3 * latency,
            absent: timing.dead_time() + latency.max(delay),
        }
    }

    /// The longer ones.
    pub fn max(self, other: Self) -> Self {
        Self {
            present: self.present.max(other.present),
            absent: self.absent.max(other.absent),
        }
    }
}

/// Whether something is so, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    is: bool,
    since: Instant,
}

impl State {
    /// Notes whether it is so now; for how long it has been that way.
    fn note(&mut self, now: Instant, is: bool) -> Duration {
        if self.is != is {
            *self = Self { is, since: now };
        }
        now.saturating_duration_since(self.since)
    }
}

/// Who watches whom for which prefix.
type Pair = (usize, usize, Prefix);

/// Who serves a prefix in a place, or routes there, and since when that is so.
type Since = (Vec<usize>, Instant);

/// The routers of each place.
type Routers = BTreeMap<((usize, u32), Family), Since>;

/// Watches a network.
#[derive(Clone, Debug)]
pub struct Watch {
    bounds: Bounds,
    prefixes: Vec<Prefix>,
    /// When something was last lost, late, doubled, parted, ended or begun.
    disturbed: Instant,
    ids: BTreeMap<usize, MemberId>,
    /// Whether the first lives, is reached by the second, and serves the prefix.
    serves: BTreeMap<Pair, State>,
    /// Whether it could be meant to.
    means: BTreeMap<Pair, State>,
    /// When the first last lived and reached the second.
    reached: BTreeMap<Pair, Instant>,
    /// Who serves a prefix in a place, and since when it is they.
    servers: BTreeMap<((usize, u32), Prefix), Since>,
    routers: Routers,
    /// What each member has ever said that it serves, by link.
    said: BTreeMap<(usize, MemberId), BTreeSet<Prefix>>,
    strict: bool,
}

impl Watch {
    pub fn new(bounds: Bounds, prefixes: &[Prefix]) -> Self {
        Self {
            bounds,
            prefixes: prefixes.to_vec(),
            disturbed: Instant::ZERO,
            ids: BTreeMap::new(),
            serves: BTreeMap::new(),
            means: BTreeMap::new(),
            reached: BTreeMap::new(),
            servers: BTreeMap::new(),
            routers: BTreeMap::new(),
            said: BTreeMap::new(),
            strict: false,
        }
    }

    /// Nothing may be known that its member has not said.
    pub fn set_strict(&mut self, strict: bool) {
        self.strict = strict;
    }

    /// Somebody with a certificate of its own, for `prefix`, may say so on a link.
    pub fn allow(&mut self, link: usize, id: MemberId, prefix: Prefix) {
        self.said.entry((link, id)).or_default().insert(prefix);
    }

    /// Something goes wrong until `until`.
    pub fn disturb(&mut self, until: Instant) {
        self.disturbed = self.disturbed.max(until);
    }

    /// The bounds at the moment.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// Other bounds from now on.
    pub fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// The earliest moment by which everything has settled, if nothing else happens.
    pub fn settles(&self) -> Instant {
        let Bounds { present, absent } = self.bounds;
        self.disturbed + DRAIN + present.max(absent) + present
    }

    /// Looks at every station.
    ///
    /// # Errors
    /// What does not hold.
    pub fn look(&mut self, now: Instant, stations: &[Station<'_>]) -> Result<(), String> {
        for station in stations {
            if let Some((.., link)) = station.link {
                let id = link.member().identity().id;
                self.ids.insert(station.number, id);
                let said = self.said.entry((station.place.0, id)).or_default();
                said.extend(link.member().records().prefixes().map(|(prefix, _)| prefix));
                bounded(station)?;
            }
        }
        if self.strict {
            stations
                .iter()
                .try_for_each(|station| self.verified(station))?;
        }
        for member in stations {
            for viewer in stations {
                if member.number != viewer.number && member.place.0 == viewer.place.0 {
                    self.pair(now, member, viewer)?;
                }
            }
        }
        let places: BTreeSet<_> = stations.iter().map(|station| station.place).collect();
        for place in places {
            let here = || {
                stations
                    .iter()
                    .filter(move |station| station.place == place)
            };
            for prefix in self.prefixes.clone() {
                let serve =
                    |station: &&Station<'_>| station.serves(&prefix) && station.speaks(&prefix);
                let servers: Vec<_> = here().filter(serve).map(|station| station.number).collect();
                self.one_owner(now, (place, prefix), servers, here())?;
            }
            self.one_forwarder(now, place, stations)?;
        }
        Ok(())
    }

    /// Whether a host knows of nobody but what they have said themselves, on its own link.
    fn verified(&self, station: &Station<'_>) -> Result<(), String> {
        let Some((.., link)) = station.link else {
            return Ok(());
        };
        for (id, peer) in link.peers() {
            let said = self.said.get(&(station.place.0, id));
            let said =
                said.ok_or_else(|| format!("I4: {} knows {id}, who is nobody", station.number))?;
            for (prefix, _) in peer.records().prefixes() {
                if !said.contains(&prefix) {
                    return Err(format!("I4: {} knows {id} for {prefix}", station.number));
                }
            }
        }
        Ok(())
    }

    /// Whether one router of those who live in a place forwards, once they agree.
    fn one_forwarder(
        &mut self,
        now: Instant,
        place: (usize, u32),
        stations: &[Station<'_>],
    ) -> Result<(), String> {
        for family in Family::ALL {
            let routers = || {
                let here = stations.iter().filter(|station| station.place == place);
                here.filter_map(|station| Some((station.number, station.link?.2)))
                    .filter(|(_, link)| link.is_routed() && link.member().is_active())
                    .filter(|(_, link)| {
                        let state = link.state();
                        state.is_some_and(|state| match family {
                            Family::V4 => state.ipv4.is_some(),
                            Family::V6 => state.ipv6.is_some(),
                        })
                    })
            };
            let live: Vec<_> = routers().map(|(number, _)| number).collect();
            let (known, since) = self.routers.entry((place, family)).or_default();
            if *known != live {
                (*known, *since) = (live, now);
            }
            let for_long = now.saturating_duration_since(*since);
            let quiet = now.saturating_duration_since(self.disturbed);
            if quiet.min(for_long) <= self.bounds.present.max(self.bounds.absent) {
                continue;
            }
            let forwards = |link: &Link| link.forwarder(family).is_some_and(|f| f.own);
            let forwarders: Vec<_> = routers()
                .filter(|(_, link)| forwards(link))
                .map(|(number, _)| number)
                .collect();
            if forwarders.len() != known.len().min(1) {
                return Err(format!(
                    "I3: {forwarders:?} forward {family:?}, of {known:?}"
                ));
            }
        }
        Ok(())
    }

    /// Whether one of those who serve a prefix owns it, once views agree.
    fn one_owner<'a>(
        &mut self,
        now: Instant,
        what: ((usize, u32), Prefix),
        servers: Vec<usize>,
        here: impl Iterator<Item = &'a Station<'a>>,
    ) -> Result<(), String> {
        let quiet = self.quiet(now);
        let (known, since) = self.servers.entry(what).or_default();
        if *known != servers {
            (*known, *since) = (servers, now);
        }
        let for_long = now.saturating_duration_since(*since);
        if quiet.min(for_long) <= self.bounds.present.max(self.bounds.absent) {
            return Ok(());
        }
        let owns = |station: &&Station<'_>| {
            let ranks = station.link.map(|(.., link)| link.ranks(what.1.addr()));
            ranks.is_some_and(|ranks| ranks.first().is_some_and(|first| first.own))
        };
        let owners: Vec<_> = here.filter(owns).map(|station| station.number).collect();
        if owners.len() != known.len().min(1) {
            return Err(format!(
                "I3: {owners:?} own {}, which {known:?} serve",
                what.1
            ));
        }
        Ok(())
    }

    fn quiet(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.disturbed)
    }

    /// What `viewer` should know of `member`.
    fn pair(
        &mut self,
        now: Instant,
        member: &Station<'_>,
        viewer: &Station<'_>,
    ) -> Result<(), String> {
        let quiet = self.quiet(now);
        let (Some((node, link, view)), Some(id)) = (viewer.link, self.ids.get(&member.number))
        else {
            // Who does not run knows nobody; when it starts it begins to learn.
            self.serves.retain(|(_, who, _), _| *who != viewer.number);
            self.means.retain(|(_, who, _), _| *who != viewer.number);
            self.reached.retain(|(_, who, _), _| *who != viewer.number);
            return Ok(());
        };
        let known = view.peers().find(|(known, _)| known == id);
        for prefix in &self.prefixes {
            let sees = known.is_some_and(|(_, peer)| peer.records().get(prefix).is_some());
            // A router that slept keeps its routes until it has heard everybody.
            let table = node
                .router()
                .filter(|_| view.is_routed() && view.is_recovered());
            let holds = table.map(|table| {
                let mut members = table.members(*prefix);
                members.any(|(on, who, _)| (on, who) == (link, *id))
            });
            let (lacks, has) = (!sees || holds == Some(false), sees || holds == Some(true));
            let reached = member.link.filter(|_| member.place == viewer.place);
            let serves = reached.is_some() && member.serves(prefix);
            let means = serves
                || reached.is_some_and(|(node, ..)| node.joined().any(|(p, _)| p == *prefix));
            let fresh = State {
                is: false,
                since: now,
            };
            let pair = (member.number, viewer.number, *prefix);
            let for_long = self.serves.entry(pair).or_insert(fresh).note(now, serves);
            let meant_for = self.means.entry(pair).or_insert(fresh).note(now, means);
            let Bounds { present, absent } = self.bounds;
            let (who, whom) = (viewer.number, member.number);
            // In enforce mode a router asks for a member's addresses before it has a route there.
            let proof = match self.strict && sees {
                true => pin::ANSWER_TIME * (u32::from(pin::MAX_ASKED) + 1),
                false => Duration::ZERO,
            };
            if serves && lacks && for_long.min(quiet) > present + proof {
                return Err(format!(
                    "I1: {who} (view {sees}, table {holds:?}) does not know that {whom} serves {prefix}, after {for_long:?}"
                ));
            }
            if reached.is_some() {
                self.reached.insert(pair, now);
            }
            let last = self.reached.get(&pair);
            let gone = last.map_or(for_long, |last| now.saturating_duration_since(*last));
            // Who lives can be misunderstood as long as it is not heard well, and what it says of a
            // change once more is a sign of life; who is gone cannot.
            let over = |span: Duration| match reached {
                Some(_) => span > absent + REPORT_INTERVAL && quiet > present,
                None => span > absent && gone > absent,
            };
            if !serves && has && over(for_long) {
                return Err(format!(
                    "I2: {who} still knows {whom} for {prefix}, {for_long:?} after its end"
                ));
            }
            if !means && has && over(meant_for.saturating_sub(DRAIN)) {
                return Err(format!(
                    "I2: {who} still knows {whom} for {prefix}, {meant_for:?} after it left"
                ));
            }
        }
        Ok(())
    }
}

/// No table is larger than its limit.
fn bounded(station: &Station<'_>) -> Result<(), String> {
    let Some((node, _, link)) = station.link else {
        return Ok(());
    };
    let limits = node.config().limits;
    let (mut peers, mut records) = (0, 0);
    for (_, peer) in link.peers() {
        peers += 1;
        records += peer.records().len();
        if peer.records().len() > limits.records {
            return Err(format!(
                "I5: {} keeps {} records of one member",
                station.number,
                peer.records().len()
            ));
        }
    }
    let share = limits.all_records / limits.members.max(1);
    if let Some(router) = node.router()
        && router.memberships() > router.config().memberships
    {
        return Err(format!(
            "I5: {} keeps {} memberships",
            station.number,
            router.memberships()
        ));
    }
    if peers > limits.members || records > limits.all_records + share * limits.members {
        return Err(format!(
            "I5: {} keeps {records} records of {peers} members",
            station.number
        ));
    }
    Ok(())
}
