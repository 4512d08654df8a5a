//! The files that trust is made of: keys, certificates, revocation lists.
//!
//! Each is a short text with a header that says what it is ([`armour`]). Private keys are written
//! for their owner alone, never over another file, and are refused when others may read them.

pub mod armour;
mod files;

use std::path::Path;
use std::sync::Arc;

pub use armour::Kind;
pub use files::{Content, create, read, replace};

use super::config::{self, KeyPath};
use super::{Failure, exit};
use crate::proto::trust::{Credentials, PublicKey, SecretKey};
use crate::wire::{Certificate, RevocationList};

/// What a `[trust]` table names, read and checked.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    /// What this host signs with.
    pub credentials: Option<Arc<Credentials>>,
    /// Whose certificates count.
    pub authorities: Vec<PublicKey>,
    /// What they have taken back.
    pub lists: Vec<RevocationList>,
}

/// Why a file that a `[trust]` table names is of no use, and the key that names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The key.
    pub key: KeyPath,
    /// Why.
    pub failure: Failure,
}

impl Keyring {
    /// Reads every file that the table names. Errors name the file, the line in it where one is at
    /// fault, and the key of the table: it cannot be read, is of another kind, or does not fit the
    /// others.
    pub fn load(table: &config::Trust) -> Result<Self, Wrong> {
        let at = |key: &str| KeyPath::of(&["trust", key]);
        let of = |key: KeyPath| move |failure| Wrong { key, failure };
        let credentials = match (&table.key, &table.certificate) {
            (Some(path), Some(certified)) => {
                let secret = key(path).map_err(of(at("key")))?;
                let owned = credentials(path, secret, certified);
                Some(Arc::new(owned.map_err(of(at("certificate")))?))
            }
            _ => None,
        };
        let listed = table.authorities.iter().enumerate();
        let authorities = listed
            .map(|(n, path)| authority(path).map_err(of(at("authorities").index(n))))
            .collect::<Result<Vec<_>, _>>()?;
        let listed = table.revoked.iter().enumerate();
        let lists = listed
            .map(|(n, path)| list(path, &authorities).map_err(of(at("revoked").index(n))))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            credentials,
            authorities,
            lists,
        })
    }
}

/// A revocation list that one of these authorities has signed.
fn list(path: &Path, authorities: &[PublicKey]) -> Result<RevocationList, Failure> {
    let list = revocations(path)?;
    let mut authorities = authorities.iter();
    match authorities.find(|key| key.authority() == list.authority) {
        Some(key) if is_of(key, &list) => Ok(list),
        Some(_) => {
            let message = "its authority did not sign it, or it was changed";
            Err(bad(path, message))
        }
        None => {
            let id = list.authority;
            let message = format!("authority {id} is not among trust.authorities");
            Err(bad(path, message))
        }
    }
}

/// Whether the authority has signed the list.
pub fn is_of(authority: &PublicKey, list: &RevocationList) -> bool {
    authority.verifies(&list.signed(), &list.signature)
}

/// Whether the authority has signed the certificate.
pub fn has_signed(authority: &PublicKey, certificate: &Certificate) -> bool {
    authority.authority() == certificate.authority
        && authority.verifies(&certificate.signed(), &certificate.signature)
}

/// A host's private key. Errors: as [`read`].
pub fn key(path: &Path) -> Result<SecretKey, Failure> {
    match read(path)? {
        Content::PrivateKey(key) => Ok(key),
        other => Err(other.instead_of(path, Kind::PrivateKey)),
    }
}

/// A host's public key, from its own file or from that of the private one. Errors: as [`read`].
pub fn public_key(path: &Path) -> Result<PublicKey, Failure> {
    match read(path)? {
        Content::PrivateKey(key) => Ok(key.public()),
        Content::PublicKey(key) => Ok(key),
        other => Err(other.instead_of(path, Kind::PublicKey)),
    }
}

/// An authority's private key. Errors: as [`read`].
pub fn authority_key(path: &Path) -> Result<SecretKey, Failure> {
    match read(path)? {
        Content::AuthorityPrivateKey(key) => Ok(key),
        other => Err(other.instead_of(path, Kind::AuthorityPrivateKey)),
    }
}

/// An authority's public key. Errors: as [`read`].
pub fn authority(path: &Path) -> Result<PublicKey, Failure> {
    match read(path)? {
        Content::AuthorityPublicKey(key) => Ok(key),
        Content::AuthorityPrivateKey(_) => {
            let message = "this is an authority's private key, which no other host may have";
            Err(bad(path, message).with_remedy("use its public key, the file ending in .pub"))
        }
        other => Err(other.instead_of(path, Kind::AuthorityPublicKey)),
    }
}

/// A certificate; nobody has checked its signature. Errors: as [`read`].
pub fn certificate(path: &Path) -> Result<Certificate, Failure> {
    match read(path)? {
        Content::Certificate(certificate) => Ok(certificate),
        other => Err(other.instead_of(path, Kind::Certificate)),
    }
}

/// A revocation list; nobody has checked its signature. Errors: as [`read`].
pub fn revocations(path: &Path) -> Result<RevocationList, Failure> {
    match read(path)? {
        Content::RevocationList(list) => Ok(list),
        other => Err(other.instead_of(path, Kind::RevocationList)),
    }
}

/// A private key, from `key_path`, with its certificate. Errors: as [`read`], or the certificate is
/// for another key.
fn credentials(key_path: &Path, key: SecretKey, path: &Path) -> Result<Credentials, Failure> {
    Credentials::new(key, certificate(path)?).map_err(|_| {
        let message = format!("it is not for the key {}", key_path.display());
        bad(path, message)
    })
}

fn bad(path: &Path, message: impl Into<String>) -> Failure {
    Failure::new(
        exit::CONFIG,
        format!("{}: {}", path.display(), message.into()),
    )
}
