//! The query: asks members to report.

use core::time::Duration;

use super::cursor::{Put, Reader};
use super::{Error, MemberId, MessageOption};

/// Asks one member, or all of them, to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Start of the asker's life: larger than every earlier one of the same asker.
    pub epoch: u64,
    /// Grows with each query of an epoch.
    pub counter: u32,
    /// Who is asked; [`MemberId::EVERYBODY`] for all.
    pub target: MemberId,
    /// Comes back in the answer, which proves it fresh.
    pub nonce: [u8; 8],
    /// The answer is sent at a random time within this span, in milliseconds on the wire.
    pub max_response: Duration,
    /// The asker is a router that lost its table: everybody reports in full.
    pub refresh: bool,
    /// An anchor is answer enough: the asker wants the member's time, not its records.
    pub anchor: bool,
    /// The asker is a router, and queries again at this interval; zero otherwise.
    pub interval: Duration,
    /// What else the query carries.
    pub options: Vec<MessageOption>,
}

impl Query {
    const REFRESH: u16 = 1;
    const ANCHOR: u16 = 2;

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let epoch = reader.u64()?;
        let counter = reader.u32()?;
        let target = MemberId(reader.array()?);
        let nonce = reader.array()?;
        let max_response = Duration::from_millis(reader.u16()?.into());
        // Flags that this version does not know are ignored, so that later ones may add some.
        let flags = reader.u16()?;
        let interval = Duration::from_millis(reader.u32()?.into());
        let options = MessageOption::read_all(reader)?;
        Ok(Self {
            epoch,
            counter,
            target,
            nonce,
            max_response,
            refresh: flags & Self::REFRESH != 0,
            anchor: flags & Self::ANCHOR != 0,
            interval,
            options,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.put_u64(self.epoch);
        out.put_u32(self.counter);
        out.extend(self.target.0);
        out.extend(self.nonce);
        out.put_u16(u16::try_from(self.max_response.as_millis()).unwrap_or(u16::MAX));
        let flags = [(self.refresh, Self::REFRESH), (self.anchor, Self::ANCHOR)];
        let set = flags.into_iter().filter(|(set, _)| *set);
        out.put_u16(set.fold(0, |flags, (_, flag)| flags | flag));
        out.put_u32(u32::try_from(self.interval.as_millis()).unwrap_or(u32::MAX));
        MessageOption::write_all(&self.options, out);
    }
}
