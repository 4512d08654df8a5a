//! Ed25519 keys, so that nothing else names the library that computes with them.

use core::fmt;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::wire::{AuthorityId, Certificate, MemberId, RevocationList};

/// A public key that is worth checking signatures with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// The key of these 32 bytes; `None` when they are none, or one that proves nothing because
    /// its order is small.
    pub fn from_bytes(bytes: &[u8; 32]) -> Option<Self> {
        let key = VerifyingKey::from_bytes(bytes).ok()?;
        (!key.is_weak()).then_some(Self(key))
    }

    /// The key's 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The id of the member that has the key.
    pub fn member(&self) -> MemberId {
        MemberId::of_key(self.0.as_bytes())
    }

    /// The id of the authority that has the key.
    pub fn authority(&self) -> AuthorityId {
        AuthorityId::of_key(self.0.as_bytes())
    }

    /// Whether `signature` is the key's over `text`. Strict (RFC 8032 §5.1.7 with canonical
    /// encodings and no points of small order), so that everybody comes to the same answer.
    pub fn verifies(&self, text: &[u8], signature: &[u8; 64]) -> bool {
        self.0
            .verify_strict(text, &Signature::from_bytes(signature))
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.0.as_bytes().iter();
        bytes.try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

/// A private key; wiped from memory when it is dropped, and never printed.
#[derive(Clone)]
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key of these 32 bytes, which nobody else may know. Any 32 random bytes are one.
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// The key's 32 bytes, for the file that keeps them.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// The key that others check signatures with.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The signature over `text`.
    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.0.sign(text).to_bytes()
    }

    /// What `draft` says, as this authority's certificate.
    #[must_use]
    pub fn certify(&self, draft: Certificate) -> Certificate {
        let mut certificate = Certificate {
            authority: self.public().authority(),
            ..draft
        };
        certificate.signature = self.sign(&certificate.signed());
        certificate
    }

    /// What `draft` says, as this authority's revocation list.
    #[must_use]
    pub fn revoke(&self, draft: RevocationList) -> RevocationList {
        let mut list = RevocationList {
            authority: self.public().authority(),
            ..draft
        };
        list.signature = self.sign(&list.signed());
        list
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}
