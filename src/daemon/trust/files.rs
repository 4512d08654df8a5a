//! Reading and writing the files: who may read them, and that none is lost.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use super::armour::{Kind, unwrap, wrap};
use super::bad;
use crate::daemon::{Failure, config, exit};
use crate::proto::trust::{PublicKey, SecretKey};
use crate::wire::{Certificate, RevocationList};

/// No file of ours is longer: the longest revocation list in base64 takes 700 kB.
const MAX_BYTES: u64 = 1 << 20;
/// The permissions that let others than the owner read or write a file.
const OTHERS: u32 = 0o077;

/// What a file turned out to hold.
#[derive(Debug)]
pub enum Content {
    /// A member's or a router's private key.
    PrivateKey(SecretKey),
    /// Its public key.
    PublicKey(PublicKey),
    /// An authority's private key.
    AuthorityPrivateKey(SecretKey),
    /// Its public key.
    AuthorityPublicKey(PublicKey),
    /// What an authority lets the owner of a key do.
    Certificate(Certificate),
    /// What an authority has taken back.
    RevocationList(RevocationList),
}

impl Content {
    fn kind(&self) -> Kind {
        match self {
            Self::PrivateKey(_) => Kind::PrivateKey,
            Self::PublicKey(_) => Kind::PublicKey,
            Self::AuthorityPrivateKey(_) => Kind::AuthorityPrivateKey,
            Self::AuthorityPublicKey(_) => Kind::AuthorityPublicKey,
            Self::Certificate(_) => Kind::Certificate,
            Self::RevocationList(_) => Kind::RevocationList,
        }
    }

    /// The error of who wanted something else.
    pub(super) fn instead_of(&self, path: &Path, wanted: Kind) -> Failure {
        bad(path, format!("this is {}, not {wanted}", self.kind()))
    }

    fn of(kind: Kind, bytes: &[u8]) -> Result<Self, String> {
        let key = || <&[u8; 32]>::try_from(bytes).map_err(|_| "a key has 32 bytes".to_owned());
        let public = || {
            let key = PublicKey::from_bytes(key()?);
            key.ok_or_else(|| "these bytes are no Ed25519 key".to_owned())
        };
        let wire = |error: crate::wire::Error| error.to_string();
        Ok(match kind {
            Kind::PrivateKey => Self::PrivateKey(SecretKey::from_bytes(key()?)),
            Kind::PublicKey => Self::PublicKey(public()?),
            Kind::AuthorityPrivateKey => Self::AuthorityPrivateKey(SecretKey::from_bytes(key()?)),
            Kind::AuthorityPublicKey => Self::AuthorityPublicKey(public()?),
            Kind::Certificate => Self::Certificate(Certificate::decode(bytes).map_err(wire)?),
            Kind::RevocationList => {
                Self::RevocationList(RevocationList::decode(bytes).map_err(wire)?)
            }
        })
    }
}

/// Reads a file. Errors: it cannot be read, holds nothing of ours, or holds a private key that
/// others may read too; the message names the file, the line if one is at fault, and the remedy.
pub fn read(path: &Path) -> Result<Content, Failure> {
    let failed = |error: &io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::io(&path.display().to_string(), error),
        _ => bad(path, error.to_string()),
    };
    // Looked at before it is opened: a pipe would keep a daemon waiting for whoever writes to it.
    let about = fs::metadata(path).map_err(|error| failed(&error))?;
    if about.is_dir() {
        return Err(bad(path, "this is a directory"));
    }
    if !about.is_file() {
        return Err(bad(path, "this is no regular file"));
    }
    let file = File::open(path).map_err(|error| failed(&error))?;
    let about = file.metadata().map_err(|error| failed(&error))?;
    let mut text = Zeroizing::new(String::with_capacity(8192));
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    read.map_err(|error| failed(&error))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(bad(path, "longer than anything of hamp's"));
    }
    let at = |line, message: String| {
        let file = path.display().to_string();
        Failure::from(config::Error {
            file,
            line,
            key: None,
            message,
        })
    };
    let (kind, bytes) = unwrap(&text).map_err(|wrong| at(wrong.line, wrong.message))?;
    if kind.is_private() && about.mode() & OTHERS != 0 {
        let message = format!(
            "private key that others may read (mode {:04o})",
            about.mode() & 0o7777
        );
        let remedy = format!(
            "chmod 600 {}; make a new key if somebody may have read this one",
            path.display()
        );
        return Err(bad(path, message).with_remedy(remedy));
    }
    Content::of(kind, &bytes).map_err(|message| at(None, format!("{kind} that is none: {message}")))
}

/// Writes a file that must not be there yet; a private key is for its owner alone. Errors: it is
/// there, or cannot be written.
pub fn create(path: &Path, kind: Kind, bytes: &[u8]) -> Result<(), Failure> {
    let mode = if kind.is_private() { 0o600 } else { 0o644 };
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path);
    let file = match file {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let message = format!("{}: it exists, and is not written over", path.display());
            return Err(Failure::new(exit::FAILED, message));
        }
        file => file.map_err(|error| Failure::io(&path.display().to_string(), &error))?,
    };
    let text = wrap(kind, bytes);
    fill(file, &text).map_err(|error| {
        // Half a file is nobody's.
        let _ = fs::remove_file(path);
        Failure::io(&path.display().to_string(), &error)
    })
}

/// Writes a file, in place of one of the same kind if there is one. Errors: there is one of
/// another kind, or it cannot be written; what was there then stays.
pub fn replace(path: &Path, kind: Kind, bytes: &[u8]) -> Result<(), Failure> {
    if !path.exists() {
        return create(path, kind, bytes);
    }
    let before = read(path)?;
    if before.kind() != kind {
        let remedy = "name another file";
        return Err(before.instead_of(path, kind).with_remedy(remedy));
    }
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let new = Path::new(&name);
    create(new, kind, bytes)?;
    fs::rename(new, path).map_err(|error| {
        let _ = fs::remove_file(new);
        Failure::io(&path.display().to_string(), &error)
    })
}

fn fill(mut file: File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
