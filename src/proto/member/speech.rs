//! What the member says: reports, anchors and hellos, and when it repeats them.

use super::{
    BURST, Live, MAX_NONCES, Member, MemberEvent, PART_PAUSE, Phase, REPORT_INTERVAL, ROBUSTNESS,
    Speech,
};
use crate::proto::chain::Chain;
use crate::proto::random::Random;
use crate::time::Instant;
use crate::wire::{ChainValue, Hello, MessageOption, Record, Statement, StatementKind};

/// The largest IP packet that a message is sent in: what every path carries (RFC 8200 §5).
const PACKET_BYTES: u16 = 1280;
/// Bytes of a datagram that are not records: IPv6 and UDP headers, fixed fields and a nonces
/// option; what authentication adds comes on top.
const OVERHEAD: usize = 48 + 160 + 4 + 8 * MAX_NONCES;

impl Member {
    /// Notes that the next generation differs from the last by `record`. It is published with
    /// whatever else changes at the same moment, since each has its digest and its chain.
    pub(super) fn change(&mut self, record: Record) {
        if self.base.is_none() && self.repeats == 0 {
            self.base = Some(self.generation);
            self.changes.clear();
        }
        self.changes.insert(record.address.clone(), record);
        self.unpublished = true;
    }

    /// Makes a new generation, and says how it differs from the last.
    pub(super) fn publish(&mut self, now: Instant) {
        self.unpublished = false;
        self.parts.clear();
        self.generation += 1;
        self.digest = self.records.digest();
        let index = self.index(now);
        self.chain = Some(self.new_chain(index));
        self.next_chain = None;
        self.report_changes(now);
        //= docs/spec/membership.md#the-member
        //# A report of a change MUST be sent at once and repeated once at a random time within 1 s.
        self.repeats = ROBUSTNESS - 1;
        self.repeat_at = None;
        self.hello_at = Some(self.hello_time(index + 1));
    }

    pub(super) fn plan_repeat(&mut self, now: Instant, random: &mut Random) {
        if self.repeats > 0 {
            self.repeat_at = Some(now + random.span(REPORT_INTERVAL));
            return;
        }
        self.repeat_at = None;
        self.base = None;
        self.changes.clear();
        if self.is_mute() && self.phase == Phase::Active {
            self.phase = Phase::Idle;
            self.hello_at = None;
        }
    }

    pub(super) fn hello(&mut self, now: Instant) {
        let index = self.index(now);
        //= docs/spec/membership.md#hello
        //# A member MUST send a hello each time its time reaches a multiple of its hello interval.
        self.hello_at = Some(self.hello_time(index + 1));
        if self
            .chain
            .as_ref()
            .is_some_and(|live| index > live.chain.last())
        {
            self.chain = self.next_chain.take();
        }
        let Some(live) = &self.chain else { return };
        if let Some(value) = live.chain.value(index) {
            let hello = Hello {
                chain: live.id,
                index,
                value,
            };
            self.speech.push_back(Speech::Hello(hello));
            self.spoke = now;
        }
        self.events.push_back(MemberEvent::Renew);
        //= docs/spec/membership.md#hello
        //# Before a chain ends, a member MUST publish the next one in an anchor.
        if self.next_chain.is_none() && live.chain.ends_soon(index) {
            let next = self.new_chain(live.chain.last());
            let statement = self.statement(now, StatementKind::Anchor, Vec::new(), &next);
            self.next_chain = Some(next);
            self.say(now, statement);
        }
    }

    /// What has changed, or everything where a receiver could have nothing to apply it to.
    pub(super) fn report_changes(&mut self, now: Instant) {
        let Some(base) = self.base else {
            return self.report_all(now);
        };
        let changes: Vec<_> = self.changes.values().cloned().collect();
        let fits = self.split(changes.iter().cloned()).len() <= 1;
        let Some(live) = self.chain.as_ref().filter(|_| fits) else {
            return self.report_all(now);
        };
        let statement = self.statement(now, StatementKind::Delta { base }, changes, live);
        self.say(now, statement);
    }

    /// What the collected queries ask for.
    pub(super) fn answer(&mut self, now: Instant) {
        if core::mem::take(&mut self.answer_in_full) {
            return self.report_all(now);
        }
        let Some(live) = &self.chain else { return };
        let mut statement = self.statement(now, StatementKind::Anchor, Vec::new(), live);
        statement.options = answers(&core::mem::take(&mut self.nonces));
        self.say(now, statement);
    }

    /// All records, in as many parts as the link needs; each carries the nonces answered, since
    /// any of them may be the first to arrive.
    pub(super) fn report_all(&mut self, now: Instant) {
        let parts = self.split(self.records.iter());
        // NOTE: more records than fill 65,535 datagrams are refused when they are joined.
        let count = u16::try_from(parts.len()).unwrap_or(u16::MAX);
        let kinds = (0..count).map(|part| StatementKind::Full { part, parts: count });
        self.parts = kinds.zip(parts).collect();
        self.parts_at = now;
        self.answer_in_full = false;
        self.parts_answer = core::mem::take(&mut self.nonces);
        self.say_parts(now);
    }

    /// The next parts of a full report, when it is time for them.
    pub(super) fn say_parts(&mut self, now: Instant) {
        if self.parts.is_empty() || now < self.parts_at {
            return;
        }
        //= docs/spec/membership.md#transport
        //# A sender MUST NOT send more than 64 messages of a full report at once, nor the next 64
        //# within 10 ms.
        self.parts_at = now + PART_PAUSE;
        for _ in 0..BURST {
            let Some(live) = &self.chain else { return };
            let Some((kind, records)) = self.parts.pop_front() else {
                return;
            };
            let mut statement = self.statement(now, kind, records, live);
            statement.options = answers(&self.parts_answer);
            self.say(now, statement);
        }
    }

    fn split(&self, records: impl Iterator<Item = Record>) -> Vec<Vec<Record>> {
        let named = self.name.as_ref().map_or(0, |name| 4 + name.as_str().len());
        //= docs/spec/membership.md#transport
        //# A sender MUST NOT put a message into an IP packet of more than 1,280 bytes, whatever the
        //# link's MTU.
        let room = usize::from(self.identity.mtu.min(PACKET_BYTES))
            .saturating_sub(OVERHEAD + named + usize::from(self.identity.sealing))
            .max(64);
        let mut parts = vec![Vec::new()];
        let mut left = room;
        for record in records {
            let mut bytes = Vec::new();
            record.write(&mut bytes);
            //= docs/spec/membership.md#transport
            //# A message MUST NOT be fragmented; records that do not fit one datagram are split
            //# over several.
            if bytes.len() > left {
                parts.push(Vec::new());
                left = room;
            }
            left -= bytes.len();
            let last = parts.len() - 1;
            parts[last].push(record);
        }
        parts
    }

    fn statement(
        &self,
        now: Instant,
        kind: StatementKind,
        records: Vec<Record>,
        live: &Live,
    ) -> Statement {
        Statement {
            kind,
            interface: self.identity.interface,
            epoch: self.epoch,
            counter: 0,
            time: now.saturating_duration_since(self.born),
            generation: self.generation,
            digest: self.digest,
            ipv4: self.identity.ipv4,
            ipv6: self.identity.ipv6,
            mac: self.identity.mac,
            hello_interval: self.timing.hello,
            dead_hellos: self.timing.dead_hellos,
            router: self.router,
            chain: live.chain.parameters(),
            records,
            options: Vec::new(),
        }
    }

    fn say(&mut self, now: Instant, mut statement: Statement) {
        self.spoke = now;
        self.counter += 1;
        statement.counter = self.counter;
        //= docs/spec/membership.md#statement
        //# A member that states a name MUST put it into every full report and every anchor, and into
        //# no other message.
        if !matches!(statement.kind, StatementKind::Delta { .. }) {
            let name = self.name.iter().cloned().map(MessageOption::Name);
            statement.options.extend(name);
        }
        self.speech.push_back(Speech::Statement(statement));
    }

    pub(super) fn new_chain(&mut self, base: u32) -> Live {
        self.chains += 1;
        let mut text = b"hamp chain seed".to_vec();
        text.extend(self.secret);
        text.extend(self.identity.id.0);
        text.extend(self.epoch.to_be_bytes());
        text.extend(self.chains.to_be_bytes());
        let seed: ChainValue = crate::wire::hash(&text);
        let chain = Chain::new(self.identity.id, seed, base);
        let mut live = Live { chain, id: [0; 8] };
        let statement = self.statement(self.born, StatementKind::Anchor, Vec::new(), &live);
        live.id = statement.chain_id(self.identity.id);
        live
    }

    /// The member's time in hello intervals.
    pub(super) fn index(&self, now: Instant) -> u32 {
        let elapsed = now.saturating_duration_since(self.born).as_micros();
        u32::try_from(elapsed / self.timing.hello.as_micros().max(1)).unwrap_or(u32::MAX)
    }

    pub(super) fn hello_time(&self, index: u32) -> Instant {
        self.born + self.timing.hello * index
    }
}

/// The option that names the queries answered.
fn answers(nonces: &[[u8; 8]]) -> Vec<MessageOption> {
    let option = MessageOption::Nonces(nonces.to_vec());
    (!nonces.is_empty()).then_some(option).into_iter().collect()
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::proto::Timing;
    use crate::proto::member::Identity;
    use crate::time::Duration;
    use crate::wire::{MemberId, Name, RecordAddress, Scope};

    fn record(last: u8) -> Record {
        Record {
            address: RecordAddress::Prefix(crate::addr::host([198, 18, 0, last].into())),
            draining: false,
            scope: Scope::Global,
            preference: 100,
            lifetime: Duration::from_secs(3),
            serial: None,
        }
    }

    #[test]
    fn full_reports_and_anchors_tell_the_name() {
        let identity = Identity {
            id: MemberId([1; 16]),
            interface: 1,
            mac: [2, 0, 0, 0, 0, 1],
            ipv4: Some([10, 0, 0, 1].into()),
            ipv6: None,
            mtu: 1500,
            sealing: 0,
        };
        let mut member = Member::new(identity, Timing::default(), [1; 32], 1);
        member.set_name(Name::of("web-1"));
        let mut random = Random::new(1);
        member.join(Instant::ZERO, record(1));
        let (mut now, mut kinds) = (Instant::ZERO, [0; 3]);
        for step in 0_u64..6000 {
            now += Duration::from_secs(1);
            if step == 9 {
                member.join(now, record(2));
            }
            member.handle_timeout(now, &mut random);
            while let Some(speech) = member.poll_transmit() {
                let Speech::Statement(statement) = speech else {
                    continue;
                };
                let (kind, named) = match statement.kind {
                    StatementKind::Full { .. } => (0, true),
                    StatementKind::Delta { .. } => (1, false),
                    StatementKind::Anchor => (2, true),
                };
                kinds[kind] += 1;
                //= docs/spec/membership.md#statement
                //= type=test
                //# A member that states a name MUST put it into every full report and every anchor,
                //# and into no other message.
                let name = MessageOption::name(&statement.options).map(Name::as_str);
                assert_eq!(name.is_some(), named, "{statement:?}");
            }
        }
        assert!(kinds.iter().all(|count| *count > 0), "{kinds:?}");
    }
}
