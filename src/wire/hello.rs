//! The hello: proof of life, and nothing else.

use super::cursor::{Put, Reader};
use super::{ChainId, ChainValue, Error};

/// Says "I live, and all that chain `chain` stands for still holds".
///
/// Constant size, so that the steady cost does not grow with the number of addresses. Only the
/// chain's owner can know `value` before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// The chain that the value belongs to.
    pub chain: ChainId,
    /// Member time divided by the hello interval.
    pub index: u32,
    /// The chain's value at `index`.
    pub value: ChainValue,
}

impl Hello {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            chain: reader.array()?,
            index: reader.u32()?,
            value: reader.array()?,
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend(self.chain);
        out.put_u32(self.index);
        out.extend(self.value);
    }
}
