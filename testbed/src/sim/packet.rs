//! A frame on its way, shared by everybody who gets it.

use std::cell::OnceCell;
use std::hash::Hasher;

use hamp::node::Heard;

use super::digest::Digest;

/// A frame, and who sent it.
#[derive(Debug)]
pub(super) struct Packet {
    /// The whole Ethernet frame.
    pub(super) bytes: Vec<u8>,
    /// The port that it entered the network by.
    pub(super) origin: usize,
    /// Names the bytes.
    pub(super) hash: u64,
    heard: OnceCell<Heard>,
}

impl Packet {
    pub(super) fn new(bytes: Vec<u8>, origin: usize) -> Self {
        let mut digest = Digest::default();
        digest.write(&bytes);
        let hash = digest.finish();
        Self {
            bytes,
            origin,
            hash,
            heard: OnceCell::new(),
        }
    }

    /// What hamp reads in it, read once for all who hear it.
    pub(super) fn heard(&self) -> &Heard {
        self.heard.get_or_init(|| Heard::read(&self.bytes))
    }

    /// Its link-layer destination; all zeroes when there is none.
    pub(super) fn destination(&self) -> [u8; 6] {
        self.bytes.first_chunk().copied().unwrap_or_default()
    }

    /// Its link-layer source; all zeroes when there is none.
    pub(super) fn source(&self) -> [u8; 6] {
        let source = self.bytes.get(6..12).unwrap_or_default();
        source.try_into().unwrap_or_default()
    }
}
