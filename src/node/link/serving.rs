//! What is served on a link, and with which key.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Link;
use super::former::Former;
use super::identity::identity;
use super::send::{seal, statement_message};
use crate::addr::Prefix;
use crate::node::{JoinOptions, LinkState};
use crate::proto::What;
use crate::proto::member::Speech;
use crate::proto::ownership;
use crate::proto::random::Random;
use crate::proto::trust::Credentials;
use crate::time::Instant;
use crate::wire::{MemberId, Message, Record, RecordAddress};

impl Link {
    /// Serves `served` and nothing else, as `joined` says how.
    pub(in crate::node) fn serve(
        &mut self,
        now: Instant,
        served: &BTreeSet<Prefix>,
        joined: &BTreeMap<Prefix, JoinOptions>,
    ) {
        let records = self.member.records();
        let staying = |prefix: &Prefix| records.get(prefix).is_some_and(|record| !record.draining);
        let new: Vec<_> = joined
            .iter()
            .filter(|(p, _)| served.contains(p) && !staying(p))
            .collect();
        let all = records.prefixes().map(|(prefix, _)| prefix);
        let gone: Vec<_> = all.filter(|p| staying(p) && !served.contains(p)).collect();
        new.into_iter()
            .for_each(|(prefix, options)| self.join(now, *prefix, *options));
        gone.into_iter().for_each(|prefix| self.leave(now, prefix));
    }

    /// Serves this one prefix too, or no longer.
    pub(in crate::node) fn serve_one(
        &mut self,
        now: Instant,
        prefix: Prefix,
        options: Option<JoinOptions>,
    ) {
        let record = self.member.records().get(&prefix);
        let stays = record.is_some_and(|record| !record.draining);
        match options {
            Some(options) if !stays => self.join(now, prefix, options),
            None if stays => self.leave(now, prefix),
            _ => {}
        }
    }

    fn join(&mut self, now: Instant, prefix: Prefix, options: JoinOptions) {
        let record = Record {
            address: RecordAddress::Prefix(prefix),
            draining: false,
            scope: options.scope,
            preference: options.preference,
            lifetime: self.timing.dead_time(),
            serial: options.serial,
        };
        if self.member.join(now, record) {
            self.view.ask(MemberId::EVERYBODY);
        }
        self.stale = true;
    }

    fn leave(&mut self, now: Instant, prefix: Prefix) {
        let others = ownership::ranks(prefix.network(), None, &self.view);
        // A router may know a member elsewhere, and has told others of this one.
        let routed = self.view.peers().any(|(_, peer)| peer.is_router());
        let successor = routed || others.iter().any(|other| !other.draining);
        self.member.leave(now, prefix, successor);
        if let Some(former) = &mut self.former {
            former.member.leave(now, prefix, successor);
        }
        self.stale = true;
    }

    /// Withdraws what is being drained then, neither earlier nor later.
    pub(in crate::node) fn drain_until(&mut self, prefix: Prefix, until: Instant) {
        self.member.drain_until(prefix, until);
        if let Some(former) = &mut self.former {
            former.member.drain_until(prefix, until);
        }
        self.stale = true;
    }

    /// Asks the link who is there.
    pub(in crate::node) fn ask_everybody(&mut self) {
        self.view.ask(MemberId::EVERYBODY);
        self.stale = true;
    }

    /// Speaks with another key or certificate from now on; without, as `name`. With another key
    /// this host is another member, and the one that it was leaves soon after.
    pub(in crate::node) fn set_credentials(
        &mut self,
        now: Instant,
        name: &str,
        credentials: Option<Arc<Credentials>>,
    ) {
        let known = *self.member.identity();
        let state = LinkState {
            mac: known.mac,
            ipv4: known.ipv4,
            ipv6: known.ipv6,
            mtu: known.mtu,
        };
        let identity = identity(self.id, &state, name, credentials.as_deref());
        let before = core::mem::replace(&mut self.credentials, credentials);
        if identity.id != known.id {
            self.end_former();
            if self.member.is_active() {
                self.former = Some(Former::new(now, self.member.clone(), before));
            }
        }
        self.member.set_key(now, identity.id, identity.sealing);
        self.stale = true;
    }

    /// The member that this host was says nothing more.
    pub(super) fn end_former(&mut self) {
        if let Some(former) = self.former.take() {
            self.member.outlive(&former.member);
        }
    }

    pub(super) fn advance_former(&mut self, now: Instant, random: &mut Random) {
        let Some(mut former) = self.former.take() else {
            return;
        };
        former.handle_timeout(now, random);
        let member = former.member.identity().id;
        while let Some(speech) = former.poll_transmit() {
            let (what, message) = match speech {
                Speech::Hello(hello) => (What::Hello, Message::Hello { member, hello }),
                Speech::Statement(statement) => statement_message(member, statement),
            };
            let sealed = seal(former.credentials.as_deref(), message);
            self.send_payload(what, &sealed);
        }
        let done = former.is_done();
        self.former = Some(former);
        if done {
            self.end_former();
        }
    }

    /// This host's place among those that could act for `target`: the better one of two, as long as
    /// it is still known by its former key too.
    pub(super) fn rank(&self, target: IpAddr) -> Option<usize> {
        //= docs/spec/trust.md#roll-over
        //# As long as a host is two members, it MUST answer a request by the better one of its ranks.
        let place = |own| {
            let ranks = ownership::ranks(target, own, &self.view);
            ranks.iter().position(|candidate| candidate.own)
        };
        let former = self.former.as_ref().and_then(Former::own);
        let former = former.and_then(|own| place(Some(own)));
        place(self.own()).into_iter().chain(former).min()
    }
}
