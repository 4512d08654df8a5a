//! The statement: what a member says of itself, the body of reports and anchors.

use core::net::{Ipv4Addr, Ipv6Addr};
use core::ops::RangeInclusive;
use core::time::Duration;

use super::cursor::{Put, Reader};
use super::{ChainId, ChainValue, Error, MemberId, MessageOption, Record};

/// The hello intervals that a statement may state.
pub const HELLO_INTERVALS: RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_secs(60);
/// The longest chain: what the one hello of a stranger can cost a receiver, in hashes.
pub const MAX_CHAIN_LENGTH: u32 = 4096;

/// What a member says of itself on one link.
///
/// A report carries records; an anchor is the same without them and so of constant size: it
/// renews a hash chain or answers a challenge without repeating the records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Report in full, change, or anchor.
    pub kind: StatementKind,
    /// The member's number for this link, so that a statement cannot be used on another.
    pub interface: u32,
    /// Start of the member's life on this link: larger than every earlier one.
    pub epoch: u64,
    /// Grows with each statement of an epoch.
    pub counter: u32,
    /// The member's time since its epoch began, in milliseconds on the wire.
    pub time: Duration,
    /// Grows with each change of the records.
    pub generation: u32,
    /// Digest of the whole set of records at this generation.
    pub digest: [u8; 16],
    /// The member's IPv4 unicast address on this link; `None` is 0.0.0.0.
    pub ipv4: Option<Ipv4Addr>,
    /// The member's IPv6 unicast address on this link; `None` is `::`.
    pub ipv6: Option<Ipv6Addr>,
    /// The member's link-layer address.
    pub mac: [u8; 6],
    /// Hellos are sent this often, in milliseconds on the wire; within [`HELLO_INTERVALS`].
    pub hello_interval: Duration,
    /// The member is dead after this many missed hellos; never zero.
    pub dead_hellos: u8,
    /// The sender is a router on this link.
    pub router: bool,
    /// The chain that hellos reveal.
    pub chain: ChainParameters,
    /// The records; none in an anchor.
    pub records: Vec<Record>,
    /// What else the statement carries.
    pub options: Vec<MessageOption>,
}

/// What the records of a statement mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatementKind {
    /// All records of this generation; `part` of `parts`, counted from 0, when one datagram does
    /// not hold them.
    Full {
        /// Which part this is.
        part: u16,
        /// How many there are; never zero.
        parts: u16,
    },
    /// What has changed since generation `base`.
    Delta {
        /// The generation that the change applies to.
        base: u32,
    },
    /// No records: the chain and the time alone.
    Anchor,
}

/// The public end of a hash chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainParameters {
    /// The value at index `base`; the values after it hash down to it.
    pub end: ChainValue,
    /// Index of `end`.
    pub base: u32,
    /// How many values follow `end`; at most [`MAX_CHAIN_LENGTH`].
    pub length: u32,
}

impl Statement {
    const FULL: u8 = 0;
    const DELTA: u8 = 1;
    const ROUTER: u8 = 1;

    /// How long after the last sign of life the member is dead.
    pub fn dead_time(&self) -> Duration {
        self.hello_interval * u32::from(self.dead_hellos)
    }

    /// The id of the statement's chain, which stands for all that the statement says.
    pub fn chain_id(&self, member: MemberId) -> ChainId {
        let mut text = Vec::with_capacity(96);
        text.extend(b"hamp chain id 1");
        text.extend(member.0);
        text.put_u32(self.interface);
        text.put_u64(self.epoch);
        text.put_u32(self.generation);
        text.extend(self.digest);
        text.extend(self.chain.end);
        text.put_u32(self.chain.base);
        text.put_u32(self.chain.length);
        super::message::hash(&text)
    }

    pub(super) fn read(reader: &mut Reader<'_>, anchor: bool) -> Result<Self, Error> {
        let interface = reader.u32()?;
        let epoch = reader.u64()?;
        let counter = reader.u32()?;
        let time = Duration::from_millis(reader.u64()?);
        let generation = reader.u32()?;
        let digest = reader.array()?;
        let ipv4 = Ipv4Addr::from(reader.array::<4>()?);
        let ipv6 = Ipv6Addr::from(reader.array::<16>()?);
        let mac = reader.array()?;
        let dead_hellos = reader.u8()?;
        // Flags that this version does not know are ignored, so that later ones may add some.
        let router = reader.u8()? & Self::ROUTER != 0;
        let hello_interval = Duration::from_millis(reader.u32()?.into());
        let chain = ChainParameters {
            end: reader.array()?,
            base: reader.u32()?,
            length: reader.u32()?,
        };
        //= docs/spec/membership.md#header
        //# A receiver MUST ignore a message that ends before its fields do, goes on after them, or
        //# has a field outside the range stated here.
        if !HELLO_INTERVALS.contains(&hello_interval) || dead_hellos == 0 {
            return Err(Error::Timers);
        }
        let last = chain.base.checked_add(chain.length);
        if chain.length > MAX_CHAIN_LENGTH || last.is_none() {
            return Err(Error::Field("chain length"));
        }
        let (kind, records) = if anchor {
            (StatementKind::Anchor, Vec::new())
        } else {
            Self::read_records(reader)?
        };
        Ok(Self {
            kind,
            interface,
            epoch,
            counter,
            time,
            generation,
            digest,
            ipv4: (!ipv4.is_unspecified()).then_some(ipv4),
            ipv6: (!ipv6.is_unspecified()).then_some(ipv6),
            mac,
            hello_interval,
            dead_hellos,
            router,
            chain,
            records,
            options: MessageOption::read_all(reader)?,
        })
    }

    fn read_records(reader: &mut Reader<'_>) -> Result<(StatementKind, Vec<Record>), Error> {
        let kind = reader.u8()?;
        reader.u8()?;
        let part = reader.u16()?;
        let parts = reader.u16()?;
        let base = reader.u32()?;
        let kind = match kind {
            Self::FULL if part < parts => StatementKind::Full { part, parts },
            Self::FULL => return Err(Error::Field("part")),
            Self::DELTA => StatementKind::Delta { base },
            _ => return Err(Error::Field("report kind")),
        };
        let count = usize::from(reader.u16()?);
        // A count that the bytes cannot hold reserves no room.
        let mut records = Vec::with_capacity(count.min(reader.left() / Record::FIXED));
        for _ in 0..count {
            records.push(Record::read(reader)?);
        }
        Ok((kind, records))
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_u32(self.interface);
        out.put_u64(self.epoch);
        out.put_u32(self.counter);
        out.put_u64(u64::try_from(self.time.as_millis()).unwrap_or(u64::MAX));
        out.put_u32(self.generation);
        out.extend(self.digest);
        out.extend(self.ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
        out.extend(self.ipv6.unwrap_or(Ipv6Addr::UNSPECIFIED).octets());
        out.extend(self.mac);
        out.put_u8(self.dead_hellos);
        out.put_u8(if self.router { Self::ROUTER } else { 0 });
        out.put_u32(u32::try_from(self.hello_interval.as_millis()).unwrap_or(u32::MAX));
        out.extend(self.chain.end);
        out.put_u32(self.chain.base);
        out.put_u32(self.chain.length);
        let (kind, part, parts, base) = match self.kind {
            StatementKind::Full { part, parts } => (Self::FULL, part, parts, 0),
            StatementKind::Delta { base } => (Self::DELTA, 0, 1, base),
            StatementKind::Anchor => return MessageOption::write_all(&self.options, out),
        };
        out.put_u8(kind);
        out.put_u8(0);
        out.put_u16(part);
        out.put_u16(parts);
        out.put_u32(base);
        // NOTE: a set of records is split so that each part fits a datagram.
        out.put_u16(u16::try_from(self.records.len()).unwrap_or(u16::MAX));
        self.records.iter().for_each(|record| record.write(out));
        MessageOption::write_all(&self.options, out);
    }
}
