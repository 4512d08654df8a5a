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

use super::config;
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

impl Keyring {
    /// Reads every file that the table names. Errors name the file, and the line where one is at
    /// fault: it cannot be read, is of another kind, or does not fit the others.
    pub fn load(table: &config::Trust) -> Result<Self, Failure> {
        let credentials = match (&table.key, &table.certificate) {
            (Some(key), Some(certificate)) => Some(Arc::new(credentials(key, certificate)?)),
            _ => None,
        };
        let authorities = table.authorities.iter().map(|path| authority(path));
        let authorities: Vec<_> = authorities.collect::<Result<_, _>>()?;
        let lists = table.revoked.iter().map(|path| {
            let list = revocations(path)?;
            match authorities
                .iter()
                .find(|key| key.authority() == list.authority)
            {
                Some(key) if is_of(key, &list) => Ok(list),
                Some(_) => Err(bad(
                    path,
                    "its authority did not sign it, or it was changed",
                )),
                None => Err(bad(
                    path,
                    format!(
                        "authority {} is not among trust.authorities",
                        list.authority
                    ),
                )),
            }
        });
        let lists = lists.collect::<Result<_, _>>()?;
        Ok(Self {
            credentials,
            authorities,
            lists,
        })
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

/// A private key and its certificate. Errors: as [`read`], or the certificate is for another key.
pub fn credentials(key_path: &Path, path: &Path) -> Result<Credentials, Failure> {
    let certificate = certificate(path)?;
    Credentials::new(key(key_path)?, certificate).map_err(|_| {
        bad(
            path,
            format!("it is not for the key {}", key_path.display()),
        )
    })
}

fn bad(path: &Path, message: impl Into<String>) -> Failure {
    Failure::new(
        exit::CONFIG,
        format!("{}: {}", path.display(), message.into()),
    )
}
