//! The resolver: a client's neighbour entries for anycast addresses.
//!
//! The kernel asks for an address, the first answer of a known member for it is installed, and
//! the entry then lives as long as that member does, 60 s at most however busy it is (RFC 1546:
//! "around 1 minute"). When the member dies, drains or leaves, the entry moves to the next one at
//! once. Answers of anybody else are recognised and not used. On a link without members it is the
//! router's answer that counts.

use core::net::IpAddr;
use std::collections::{BTreeMap, VecDeque};

use super::Reason;
use super::ownership::{self, Candidate};
use super::view::View;
use crate::time::{Duration, Instant};
use crate::wire::MemberId;
use crate::wire::frame::{Answer, Mac};

/// No entry lives longer.
pub const MAX_AGE: Duration = Duration::from_secs(60);
/// An entry is confirmed this often while its member lives, more often than the kernel would
/// doubt it (15 s at the least, RFC 4861 §6.3.4's REACHABLE_TIME times 0.5).
pub const CONFIRM_INTERVAL: Duration = Duration::from_secs(5);
/// How long the kernel's question waits for an answer: three requests, about 1 s apart.
pub const QUESTION_TIME: Duration = Duration::from_secs(4);
/// Entries and questions at the same time.
pub const MAX_ENTRIES: usize = 4096;

/// One neighbour entry that this host's kernel was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// The member it leads to.
    pub member: MemberId,
    /// That member's link-layer address.
    pub mac: Mac,
    /// When it was resolved.
    pub since: Instant,
    confirm_at: Instant,
}

impl Entry {
    fn ends_at(&self) -> Instant {
        self.since + MAX_AGE
    }
}

/// What the kernel's neighbour table has to hold: `None` is no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Install {
    /// The anycast address.
    pub target: IpAddr,
    /// Its entry, reachable.
    pub mac: Option<Mac>,
}

/// Who may answer for an address.
struct Ways<'a> {
    members: Vec<Candidate>,
    view: &'a View,
}

impl<'a> Ways<'a> {
    fn to(target: IpAddr, view: &'a View) -> Self {
        let members = ownership::ranks(target, None, view);
        Self { members, view }
    }

    /// Routers, where no member is known.
    //= docs/spec/link.md#a-client-s-entries
    //# A client that knows no member for the target on the link MUST take the link's routers for
    //# members for it.
    fn routers(&self) -> impl Iterator<Item = (MemberId, Mac)> {
        let all = self.view.peers().filter(|_| self.members.is_empty());
        let routers = all.filter(|(_, peer)| peer.is_router());
        routers.map(|(id, peer)| (id, peer.mac()))
    }

    /// Who has this link-layer address.
    fn at(&self, mac: Mac) -> Option<MemberId> {
        let members = self.members.iter().map(|c| (c.id, c.mac));
        let mut all = members.chain(self.routers());
        all.find_map(|(id, at)| (at == mac).then_some(id))
    }

    /// Where the member of an entry is, if that has changed.
    fn moved(&self, entry: &Entry) -> Option<Mac> {
        let members = self.members.iter();
        let members = members.filter(|c| !c.draining || self.members[0].draining);
        let mut all = members.map(|c| (c.id, c.mac)).chain(self.routers());
        let found = all.find(|(id, _)| *id == entry.member);
        found.map(|(_, mac)| mac).filter(|mac| *mac != entry.mac)
    }

    /// Whether an entry leads to one that is still to be used.
    fn stays(&self, entry: &Entry) -> bool {
        let same = |c: &&Candidate| c.id == entry.member && c.mac == entry.mac;
        match self.members.iter().find(same) {
            Some(member) => !member.draining || self.members[0].draining,
            None => self.routers().any(|way| way == (entry.member, entry.mac)),
        }
    }
}

/// The resolver of one link.
#[derive(Debug, Clone, Default)]
pub struct Resolver {
    entries: BTreeMap<IpAddr, Entry>,
    questions: BTreeMap<IpAddr, Instant>,
    installs: VecDeque<Install>,
}

impl Resolver {
    /// The entries that are installed.
    pub fn entries(&self) -> impl Iterator<Item = (IpAddr, &Entry)> {
        self.entries.iter().map(|(target, entry)| (*target, entry))
    }

    /// Our own kernel asks for `target`.
    ///
    /// # Errors
    /// The table of questions is full.
    pub fn handle_question(&mut self, now: Instant, target: IpAddr) -> Result<(), Reason> {
        // The kernel lost, or doubts, an entry that still holds.
        if let Some(entry) = self.entries.get(&target) {
            self.installs.push_back(Install {
                target,
                mac: Some(entry.mac),
            });
            return Ok(());
        }
        if self.questions.len() >= MAX_ENTRIES && !self.questions.contains_key(&target) {
            return Err(Reason::TableFull);
        }
        self.questions.insert(target, now + QUESTION_TIME);
        Ok(())
    }

    /// Somebody states the link-layer address of an anycast address.
    ///
    /// # Errors
    /// Why the answer is not used.
    pub fn handle_answer(
        &mut self,
        now: Instant,
        answer: &Answer,
        view: &View,
    ) -> Result<(), Reason> {
        let stated = answer.stated.unwrap_or(answer.mac);
        let ways = Ways::to(answer.target, view);
        let Some(member) = ways.at(stated).filter(|_| stated == answer.mac) else {
            //= docs/spec/link.md#a-client-s-entries
            //# A client MUST use the first answer that comes from a known member for the target,
            //# and no answer of anybody else.
            return Err(Reason::ForeignAnswer);
        };
        if let Some(entry) = self.entries.get(&answer.target) {
            //= docs/spec/link.md#a-client-s-entries
            //# A client that knows no member for the target MUST move its entry to another router that
            //# announces the target.
            let moves = ways.members.is_empty() && answer.announcement && entry.member != member;
            if moves {
                self.install(now, answer.target, member, stated);
                return Ok(());
            }
            return Err(Reason::LaterAnswer);
        }
        if self.questions.remove(&answer.target).is_none() {
            //= docs/spec/link.md#a-client-s-entries
            //# A client MUST NOT use an answer that it did not ask for.
            return Err(Reason::Unasked);
        }
        if self.entries.len() >= MAX_ENTRIES {
            return Err(Reason::TableFull);
        }
        self.install(now, answer.target, member, stated);
        Ok(())
    }

    /// Confirms entries, moves those whose member is gone, ends those that are too old.
    pub fn handle_timeout(&mut self, now: Instant, view: &View) {
        self.questions.retain(|_, until| now < *until);
        let targets: Vec<_> = self.entries.keys().copied().collect();
        for target in targets {
            let Some(entry) = self.entries.get_mut(&target) else {
                continue;
            };
            let ways = Ways::to(target, view);
            let stays = ways.stays(entry);
            let first = ways.members.first();
            //= docs/spec/link.md#a-client-s-entries
            //# An entry MUST NOT live for longer than 60 s, however busy it is.
            if now >= entry.ends_at() {
                self.remove(target);
            } else if stays {
                if now >= entry.confirm_at {
                    entry.confirm_at = now + CONFIRM_INTERVAL;
                    self.installs.push_back(Install {
                        target,
                        mac: Some(entry.mac),
                    });
                }
            //= docs/spec/link.md#a-client-s-entries
            //# An entry whose member states another link-layer address MUST follow it at once.
            } else if let Some(mac) = ways.moved(entry) {
                let member = entry.member;
                self.install(now, target, member, mac);
            //= docs/spec/link.md#a-client-s-entries
            //# An entry whose member dies, leaves or drains MUST move at once to the member that is
            //# rank 1 then, or be removed when there is none.
            } else if let Some(first) = first {
                self.install(now, target, first.id, first.mac);
            } else {
                self.remove(target);
            }
        }
    }

    /// When [`Self::handle_timeout`] has something to do, if the view stays as it is.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let entries = self
            .entries
            .values()
            .map(|entry| entry.confirm_at.min(entry.ends_at()));
        entries.chain(self.questions.values().copied()).min()
    }

    /// What the kernel's table has to hold now, oldest change first.
    pub fn poll_install(&mut self) -> Option<Install> {
        self.installs.pop_front()
    }

    /// Removes every entry (the link went down, the daemon ends).
    pub fn clear(&mut self) {
        self.questions.clear();
        let targets: Vec<_> = self.entries.keys().copied().collect();
        targets.into_iter().for_each(|target| self.remove(target));
    }

    fn install(&mut self, now: Instant, target: IpAddr, member: MemberId, mac: Mac) {
        let confirm_at = now + CONFIRM_INTERVAL;
        self.entries.insert(
            target,
            Entry {
                member,
                mac,
                since: now,
                confirm_at,
            },
        );
        self.installs.push_back(Install {
            target,
            mac: Some(mac),
        });
    }

    fn remove(&mut self, target: IpAddr) {
        self.entries.remove(&target);
        self.installs.push_back(Install { target, mac: None });
    }
}
