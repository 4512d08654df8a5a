//! What the kernel's rules are to be, and a session that makes them so again whatever became of them.
//!
//! Whoever writes a firewall with `flush ruleset` at its head takes these tables too, a manager may
//! delete one, and `nft` itself may end, hang or be refused once (`EBUSY`, `ENOBUFS`). So everything
//! that stays is kept here as text in [`Slot`]s, whose order is that of loading, and can be loaded from
//! nothing at any time: after a change that was not taken, and when a [look](Rules::look) finds that
//! others have changed a table of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::{Duration, Instant};

use super::cover::Change;
use super::{AT_ONCE, Error, Session, client, delete, link, member};
use crate::addr::Prefix;
use crate::linux::netlink::{Bulk, Fingerprint};

/// The wait before loading is tried again after it failed.
const AGAIN: Duration = Duration::from_secs(1);
/// Changes of ours are noted this often at most.
const NOTED: Duration = Duration::from_millis(100);
/// The tables that a look is about.
const TABLES: [&str; 4] = [member::TABLE, client::TABLE, link::TABLE, link::OTHER_LINKS];

/// A part of what is wanted; in this order they are loaded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// The links' tables.
    Links,
    /// What is hidden on them.
    Hidden,
    /// The gate.
    Member,
    /// What it is open for.
    Open,
    /// What it knows of this host.
    Own,
    /// How long it is open.
    Lease,
    /// The client's shim.
    Client,
    /// What it knew of connections.
    Connections,
    /// The rules of the link with this index.
    Attached(u32),
    /// The end of the kernel's own entries there.
    Entries(u32),
    /// Who counts in enforce mode.
    Verified,
}

impl Slot {
    /// Without it there is nothing that works.
    fn is_needed(&self) -> bool {
        matches!(self, Self::Links | Self::Member | Self::Client)
    }
}

#[derive(Debug)]
enum Kept {
    /// Transactions that put everything of their slot in place, whatever was there.
    Texts(Vec<String>),
    /// Elements of sets that its table's text has emptied, and how they are added.
    Elements(BTreeSet<Prefix>, fn(&[Prefix]) -> String),
    /// What ends by itself.
    Until(Instant, fn(Duration) -> String),
}

/// Why the rules are not in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Since when.
    pub since: Instant,
    /// What nft said last.
    pub why: String,
}

/// The rules that are wanted, and the hand that loads them.
#[derive(Debug)]
pub(super) struct Rules {
    session: Option<Session>,
    /// For questions about the generation.
    netfilter: Option<Bulk>,
    kept: BTreeMap<Slot, Kept>,
    /// The start is over: what is refused from now on is mended.
    settled: bool,
    missing: Option<(Missing, Instant)>,
    /// How often everything was loaded again.
    reloads: u64,
    /// How often because others had changed it, or nft had failed.
    losses: u64,
    /// The ruleset's generation if nobody but us has changed it; `None`: not known.
    generation: Option<u32>,
    /// What our tables held at the last look; `None`: we have changed them since.
    seen: Option<Vec<Fingerprint>>,
    /// When what they hold was noted last.
    noted: Option<Instant>,
}

impl Rules {
    pub(super) fn start() -> Result<Self, Error> {
        let session = Some(Session::start_patiently()?);
        let mut netfilter = None;
        let generation = current(&mut netfilter);
        Ok(Self {
            session,
            netfilter,
            kept: BTreeMap::new(),
            settled: false,
            missing: None,
            reloads: 0,
            losses: 0,
            generation,
            seen: None,
            noted: None,
        })
    }

    /// Ends the start: from now on a failure is mended, not told as an error.
    pub(super) fn settle(&mut self) {
        self.settled = true;
        if let Some(session) = &mut self.session {
            session.hurry();
        }
    }

    pub(super) fn missing(&self) -> Option<&Missing> {
        self.missing.as_ref().map(|(missing, _)| missing)
    }

    pub(super) fn losses(&self) -> u64 {
        self.losses
    }

    /// Renews a lease that its owner renews again in time, whatever becomes of the rules.
    pub(super) fn renew(&mut self, text: &str) -> Result<(), Error> {
        self.apply(text, true)
    }

    /// Makes a change that is not kept.
    pub(super) fn run(&mut self, text: &str) -> Result<(), Error> {
        self.seen = None;
        self.apply(text, true)
    }

    /// Puts a part in place, from now on. Errors: at the start; later, that a part without which
    /// nothing works is refused also with everything loaded from nothing. It is not kept then.
    pub(super) fn keep(&mut self, slot: Slot, text: String) -> Result<(), Error> {
        self.keep_all(slot, vec![text])
    }

    /// The same for a part that is several transactions.
    pub(super) fn keep_all(&mut self, slot: Slot, texts: Vec<String>) -> Result<(), Error> {
        self.seen = None;
        let needed = slot.is_needed();
        self.kept.insert(slot.clone(), Kept::Texts(texts.clone()));
        let reloads = self.reloads;
        // Once everything has been loaded from nothing, the rest of these is there too.
        let mut left = texts.iter();
        let done = left.try_for_each(|text| match self.reloads == reloads {
            true => self.apply(text, false),
            false => Ok(()),
        });
        if needed && let (Ok(()), Some(missing)) = (&done, self.missing()) {
            let why = missing.why.clone();
            self.kept.remove(&slot);
            return Err(Error::Refused(why));
        }
        done
    }

    /// From now on a part that is in place is loaded by other texts.
    pub(super) fn instead(&mut self, slot: Slot, texts: Vec<String>) {
        self.kept.insert(slot, Kept::Texts(texts));
    }

    /// A part is no longer wanted.
    pub(super) fn forget(&mut self, slot: &Slot) {
        self.kept.remove(slot);
    }

    /// Changes elements, some at a time: without the right over all namespaces a transaction is
    /// limited to a socket's buffer. Taking away and adding are transactions of their own in any
    /// case: nft 1.0.6 sees overlaps with what the same one takes away.
    pub(super) fn elements(
        &mut self,
        slot: Slot,
        change: &Change,
        add: fn(&[Prefix]) -> String,
        delete: fn(&[Prefix]) -> String,
    ) -> Result<(), Error> {
        if change.out.is_empty() && change.into.is_empty() {
            return Ok(());
        }
        self.seen = None;
        let kept = self.kept.entry(slot);
        let kept = kept.or_insert_with(|| Kept::Elements(BTreeSet::new(), add));
        if let Kept::Elements(all, _) = kept {
            all.retain(|prefix| !change.out.contains(prefix));
            all.extend(&change.into);
        }
        let reloads = self.reloads;
        for (prefixes, text) in [(&change.out, delete), (&change.into, add)] {
            for some in prefixes.chunks(AT_ONCE) {
                // Once everything has been loaded from nothing, these are there too.
                if self.reloads == reloads {
                    self.apply(&text(some), false)?;
                }
            }
        }
        Ok(())
    }

    /// Renews what ends by itself after `lasts`.
    pub(super) fn lease(
        &mut self,
        slot: Slot,
        lasts: Duration,
        text: fn(Duration) -> String,
    ) -> Result<(), Error> {
        self.kept
            .insert(slot, Kept::Until(Instant::now() + lasts, text));
        self.apply(&text(lasts), false)
    }

    /// Makes a last change, with an nft of its own if need be: the session may be what failed.
    pub(super) fn finish(&mut self, text: &str) -> Result<(), Error> {
        self.kept.clear();
        match self.session.as_mut().map(|session| session.run(text)) {
            Some(Ok(())) => Ok(()),
            _ => Session::start()?.run(text),
        }
    }

    fn apply(&mut self, text: &str, once: bool) -> Result<(), Error> {
        if self.missing.is_some() {
            self.retry();
            return Ok(());
        }
        if text.is_empty() {
            return Ok(());
        }
        match self.send(text) {
            Ok(()) => Ok(()),
            Err(error) if !self.settled => Err(error),
            Err(error) => {
                tracing::debug!(target: "hamp::nft", %error, text, "refused: everything is loaded");
                self.losses += 1;
                self.reload();
                if once
                    && self.missing.is_none()
                    && let Err(error) = self.send(text)
                {
                    tracing::warn!(target: "hamp::nft", %error, "not done");
                }
                Ok(())
            }
        }
    }

    /// One transaction. A session that is broken is another one from the next on.
    fn send(&mut self, text: &str) -> Result<(), Error> {
        let session = match &mut self.session {
            Some(session) => session,
            None => self.session.insert(Session::start()?),
        };
        let before = current(&mut self.netfilter);
        let done = session.run(text);
        let after = current(&mut self.netfilter);
        // A transaction is a generation, or none where it changes nothing.
        let steps = after
            .zip(before)
            .map(|(after, before)| after.wrapping_sub(before));
        if before == self.generation && steps.is_some_and(|steps| steps <= 1) {
            self.generation = after;
        }
        if done
            .as_ref()
            .is_err_and(|error| !matches!(error, Error::Refused(_)))
        {
            self.session = None;
        }
        done
    }

    /// Tries again what failed, when it is time to.
    fn retry(&mut self) {
        if self
            .missing
            .as_ref()
            .is_some_and(|(_, again)| *again <= Instant::now())
        {
            self.reload();
        }
    }

    /// Loads everything that is wanted, from nothing if what is left of it is in the way.
    fn reload(&mut self) {
        self.reloads += 1;
        self.seen = None;
        let loaded = self.load().or_else(|_| {
            let rest = [member::TABLE, link::TABLE, link::OTHER_LINKS].map(delete);
            self.send(&rest.concat())?;
            self.load()
        });
        let loaded = loaded.or_else(|_| {
            self.send(&TABLES.map(delete).concat())?;
            self.load()
        });
        let before = self.missing.take();
        if let Err(error) = loaded {
            let since = before.map_or_else(Instant::now, |(missing, _)| missing.since);
            let why = error.to_string();
            self.missing = Some((Missing { since, why }, Instant::now() + AGAIN));
        }
    }

    fn load(&mut self) -> Result<(), Error> {
        let now = Instant::now();
        let mut texts = Vec::new();
        for (slot, kept) in &self.kept {
            match kept {
                Kept::Texts(all) => {
                    texts.extend(all.iter().map(|text| (slot.clone(), text.clone())));
                }
                Kept::Elements(all, add) => {
                    let all: Vec<Prefix> = all.iter().copied().collect();
                    let some = all.chunks(AT_ONCE).map(|some| (slot.clone(), add(some)));
                    texts.extend(some);
                }
                Kept::Until(until, text) => {
                    let left = until.saturating_duration_since(now);
                    if !left.is_zero() {
                        texts.push((slot.clone(), text(left)));
                    }
                }
            }
        }
        for (slot, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            match self.send(&text) {
                Ok(()) => {}
                // A link that is gone, say.
                Err(Error::Refused(why)) if !slot.is_needed() => {
                    tracing::debug!(target: "hamp::nft", ?slot, why, "not loaded");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Notes what our tables hold after a change of ours, before somebody else changes something
    /// and it cannot be told any more who did what.
    pub(super) fn note(&mut self) {
        let lately = self.noted.is_some_and(|at| at.elapsed() < NOTED);
        if self.seen.is_some() || lately || !self.settled || self.missing.is_some() {
            return;
        }
        self.noted = Some(Instant::now());
        let now = current(&mut self.netfilter);
        if now.is_some()
            && now == self.generation
            && let Err(error) = self.remember()
        {
            tracing::debug!(target: "hamp::nft", %error, "rules not noted");
        }
    }

    /// Whether others have changed a table of ours: then everything is loaded again.
    pub(super) fn look(&mut self) {
        if self.missing.is_some() {
            self.retry();
            return;
        }
        match self.compare() {
            Ok(Found::Same) => {}
            Ok(found) => {
                tracing::debug!(target: "hamp::nft", ?found, "everything is loaded again");
                self.losses += u64::from(found == Found::Changed);
                self.reload();
                // From here on what is there is what we have put there.
                if let Err(error) = self.remember() {
                    tracing::debug!(target: "hamp::nft", %error, "rules not looked at");
                }
            }
            Err(error) => tracing::debug!(target: "hamp::nft", %error, "rules not looked at"),
        }
    }

    /// Whether our tables are as we have left them.
    fn compare(&mut self) -> io::Result<Found> {
        let now = current(&mut self.netfilter);
        let alone = now.is_some() && self.generation == now;
        match &self.seen {
            Some(_) if alone => Ok(Found::Same),
            Some(seen) if fingerprints()? == *seen => {
                self.generation = now;
                Ok(Found::Same)
            }
            Some(_) => Ok(Found::Changed),
            None if alone => self.remember().map(|()| Found::Same),
            // Somebody changed something while we did: whether it was ours cannot be told.
            None => Ok(Found::Doubtful),
        }
    }

    /// Takes what is there for what is to be there, once it stands still.
    fn remember(&mut self) -> io::Result<()> {
        for _ in 0..3 {
            let before = current(&mut self.netfilter);
            let seen = fingerprints()?;
            let after = current(&mut self.netfilter);
            if before == after && after.is_some() {
                self.generation = after;
                self.seen = Some(seen);
                break;
            }
        }
        Ok(())
    }
}

/// What a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    /// What we left.
    Same,
    /// Something else.
    Changed,
    /// That cannot be told.
    Doubtful,
}

/// The generation of the ruleset now, by a connection that is kept.
fn current(netfilter: &mut Option<Bulk>) -> Option<u32> {
    if netfilter.is_none() {
        *netfilter = Bulk::netfilter().ok();
    }
    let generation = netfilter.as_mut()?.generation().ok();
    if generation.is_none() {
        *netfilter = None;
    }
    generation
}

fn fingerprints() -> io::Result<Vec<Fingerprint>> {
    let mut netfilter = Bulk::netfilter()?;
    TABLES
        .iter()
        .map(|table| netfilter.fingerprint(table))
        .collect()
}
