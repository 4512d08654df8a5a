//! A signed message as it came, and whether its signature is its sender's.

use std::sync::OnceLock;

use super::key::PublicKey;

/// The bytes of a signed message. Whether the signature fits the key of the certificate that the
/// message carries follows from the bytes alone, so many hosts in one process compute it once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    payload: Box<[u8]>,
    good: OnceLock<bool>,
}

impl Signed {
    /// A message's payload, its trailer included.
    pub fn new(payload: &[u8]) -> Self {
        Self {
            payload: payload.into(),
            good: OnceLock::new(),
        }
    }

    /// Whether the trailer is a signature by `key`, which is that of the message's certificate.
    pub(super) fn is_by(&self, key: &PublicKey) -> bool {
        *self.good.get_or_init(|| {
            let split = self.payload.split_last_chunk();
            split.is_some_and(|(text, signature)| key.verifies(text, signature))
        })
    }
}
