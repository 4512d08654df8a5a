//! Reading and writing fields in network byte order, with lengths checked once, here.

use super::Error;

/// Takes fields off the front of a message.
pub(super) struct Reader<'a> {
    left: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { left: bytes }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.left.is_empty()
    }

    /// How many bytes are left.
    pub(super) fn left(&self) -> usize {
        self.left.len()
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Error> {
        let (taken, left) = self.left.split_at_checked(count).ok_or(Error::Truncated {
            needed: count,
            left: self.left.len(),
        })?;
        self.left = left;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (taken, left) = self.left.split_first_chunk().ok_or(Error::Truncated {
            needed: N,
            left: self.left.len(),
        })?;
        self.left = left;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(u64::from_be_bytes)
    }

    /// Fails when bytes are left that nothing accounted for.
    pub(super) fn finish(self) -> Result<(), Error> {
        match self.left.len() {
            0 => Ok(()),
            left => Err(Error::Trailing(left)),
        }
    }
}

/// Appends fields to a message.
pub(super) trait Put {
    fn put_u8(&mut self, value: u8);
    fn put_u16(&mut self, value: u16);
    fn put_u32(&mut self, value: u32);
    fn put_u64(&mut self, value: u64);
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_u16(&mut self, value: u16) {
        self.extend(value.to_be_bytes());
    }

    fn put_u32(&mut self, value: u32) {
        self.extend(value.to_be_bytes());
    }

    fn put_u64(&mut self, value: u64) {
        self.extend(value.to_be_bytes());
    }
}
