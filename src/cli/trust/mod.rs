//! `hamp key` and `hamp authority`: who may say what, as files.

mod hosts;
mod show;

pub(super) use show::certificate;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::Value;

use crate::addr::Prefix;
use crate::daemon::config::AddressOrPrefix;
use crate::daemon::trust::{self, Content, Kind};
use crate::daemon::{Failure, clock, exit};
use crate::proto::trust::{PublicKey, SecretKey};
use crate::wire::{AuthorityId, Certificate, RevocationList, Roles};

const DAY_MS: u64 = 86_400_000;
/// A certificate is valid from this long before it is made, for hosts whose clocks are behind.
const EARLY_MS: u64 = 3_600_000;

/// `hamp key`.
#[derive(Debug, Subcommand)]
pub(super) enum KeyCommand {
    /// Make a key for this host: FILE, which stays here, and its public key beside it
    New(New),
    /// Show a public key and the id that its owner has on every link
    Show {
        /// A private or a public key
        file: PathBuf,
        /// Print JSON instead
        #[arg(long)]
        json: bool,
    },
}

/// `hamp authority`.
#[derive(Debug, Subcommand)]
pub(super) enum AuthorityCommand {
    /// Make an authority: FILE, its private key, and the public key that every host needs beside it
    New(New),
    /// Let the owner of a key be a member or a router, for some prefixes and some time
    Certify(Certify),
    /// Show what is in a certificate, a revocation list or a key
    Show {
        /// Any file of hamp's
        file: PathBuf,
        /// Fail unless this authority's key has signed it, and it is in force
        #[arg(long, value_name = "FILE")]
        authority: Option<PathBuf>,
        /// Print JSON instead
        #[arg(long)]
        json: bool,
    },
    /// Take certificates back: put their serials on the authority's list
    Revoke(Revoke),
}

/// A key to make.
#[derive(Debug, Args)]
pub(super) struct New {
    /// Where the private key goes; nothing is written over
    file: PathBuf,
    /// Print JSON instead
    #[arg(long)]
    json: bool,
}

/// A certificate to make.
#[derive(Debug, Args)]
pub(super) struct Certify {
    /// The authority's private key
    #[arg(long, value_name = "FILE")]
    authority: PathBuf,
    /// The owner's public key: 64 hexadecimal digits, or its file
    #[arg(long, value_name = "PUBLIC|FILE")]
    key: String,
    /// What the owner may be; both, separated by a comma
    #[arg(long, value_enum, value_delimiter = ',', default_value = "member")]
    role: Vec<Role>,
    /// What a member may serve: an address or a prefix; up to 16 times
    #[arg(long, value_name = "ADDR[/LEN]")]
    prefix: Vec<AddressOrPrefix>,
    /// The owner's own unicast addresses, or prefixes that they lie in; up to 16 times (default:
    /// others take them for the owner's as far as the link's subnets and neighbours allow)
    #[arg(long, value_name = "ADDR[/LEN]")]
    host: Vec<AddressOrPrefix>,
    /// How many addresses and prefixes a member may serve on a link
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = super::number::in_range(0..=u32::MAX))]
    limit: u32,
    /// How many days it is valid
    #[arg(long, value_name = "D", default_value_t = 365, value_parser = super::number::in_range(1..=36_525_u32))]
    days: u32,
    /// Its serial (default: drawn at random)
    #[arg(long, value_name = "N", value_parser = super::number::in_range(0..=u64::MAX))]
    serial: Option<u64>,
    /// Where it goes; another certificate there is replaced
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Print JSON instead
    #[arg(long)]
    json: bool,
}

/// Certificates to take back.
#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// The authority's private key
    #[arg(long, value_name = "FILE")]
    authority: PathBuf,
    /// The authority's list; it is made if it is not there
    #[arg(long, value_name = "FILE")]
    list: PathBuf,
    /// Serials, or the certificates' files
    #[arg(required = true, value_name = "SERIAL|FILE")]
    certificates: Vec<String>,
    /// Print JSON instead
    #[arg(long)]
    json: bool,
}

/// What the owner of a key may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    /// Serves addresses
    Member,
    /// Asks members, and forwards to them
    Router,
}

pub(super) fn key(command: &KeyCommand) -> Result<String, Failure> {
    match command {
        KeyCommand::New(new) => new.make([Kind::PrivateKey, Kind::PublicKey]),
        KeyCommand::Show { file, json } => {
            let public = trust::public_key(file)?;
            Ok(said(*json, &show::key(&public, Kind::PublicKey)))
        }
    }
}

pub(super) fn authority(command: &AuthorityCommand) -> Result<String, Failure> {
    match command {
        AuthorityCommand::New(new) => {
            new.make([Kind::AuthorityPrivateKey, Kind::AuthorityPublicKey])
        }
        AuthorityCommand::Certify(certify) => certify.make(),
        AuthorityCommand::Show {
            file,
            authority,
            json,
        } => show_file(file, authority.as_deref(), *json),
        AuthorityCommand::Revoke(revoke) => revoke.make(),
    }
}

fn said(json: bool, document: &Value) -> String {
    if json {
        format!("{document:#}\n")
    } else {
        show::people(document)
    }
}

impl New {
    fn make(&self, [private, public]: [Kind; 2]) -> Result<String, Failure> {
        let key = SecretKey::from_bytes(&*random()?);
        let beside = beside(&self.file);
        // The public one first: where it cannot be written, no private key lies about.
        trust::create(&beside, public, &key.public().to_bytes())?;
        trust::create(&self.file, private, key.as_bytes()).inspect_err(|_| {
            let _ = std::fs::remove_file(&beside);
        })?;
        let mut document = show::key(&key.public(), public);
        document["private_file"] = self.file.display().to_string().into();
        document["public_file"] = beside.display().to_string().into();
        Ok(said(self.json, &document))
    }
}

/// Where the public key of the private one in `file` goes: `a.pub` beside `a.key`.
fn beside(file: &Path) -> PathBuf {
    if file.extension().is_some_and(|extension| extension == "key") {
        return file.with_extension("pub");
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

fn random() -> Result<zeroize::Zeroizing<[u8; 32]>, Failure> {
    let secret = clock::secret();
    let secret =
        secret.map_err(|error| Failure::new(exit::MISSING, format!("randomness: {error}")));
    secret.map(zeroize::Zeroizing::new)
}

impl Certify {
    fn make(&self) -> Result<String, Failure> {
        let usage = |message: &str| Failure::new(exit::USAGE, message);
        let roles = Roles {
            member: self.role.contains(&Role::Member),
            router: self.role.contains(&Role::Router),
        };
        let prefixes: Vec<Prefix> = self.prefix.iter().map(|prefix| prefix.0).collect();
        if roles.member && prefixes.is_empty() {
            let failure = usage("a member has to have a --prefix that it may serve");
            return Err(failure.with_remedy("--prefix 198.18.0.0/16, or --role router"));
        }
        let hosts: Vec<Prefix> = self.host.iter().map(|host| host.0).collect();
        let most = Certificate::MAX_PREFIXES;
        for (name, given) in [("--prefix", &prefixes), ("--host", &hosts)] {
            if given.len() > most {
                return Err(usage(&format!("more than {most} times {name}")));
            }
        }
        hosts::check(&hosts, &prefixes)?;
        let authority = trust::authority_key(&self.authority)?;
        let owner = owner(&self.key)?;
        if owner == authority.public() {
            return Err(usage("an authority does not certify its own key"));
        }
        let now = clock::epoch();
        let serial = match self.serial {
            Some(serial) => serial,
            // 48 bits are enough to be another each time, and short enough to be copied.
            None => random()?[..6]
                .iter()
                .fold(0, |all, byte| all << 8 | u64::from(*byte)),
        };
        let certificate = authority.certify(Certificate {
            roles,
            serial,
            authority: authority.public().authority(),
            key: owner.to_bytes(),
            not_before: now.saturating_sub(EARLY_MS),
            not_after: now.saturating_add(u64::from(self.days) * DAY_MS),
            limit: self.limit,
            prefixes,
            hosts,
            signature: [0; 64],
        });
        trust::replace(&self.output, Kind::Certificate, &certificate.encode())?;
        let mut document = show::certificate(&certificate, now);
        document["file"] = self.output.display().to_string().into();
        Ok(said(self.json, &document))
    }
}

/// The public key that an argument means: its digits, or its file.
fn owner(text: &str) -> Result<PublicKey, Failure> {
    let digits = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !digits {
        return trust::public_key(Path::new(text));
    }
    let mut bytes = [0; 32];
    for (at, byte) in bytes.iter_mut().enumerate() {
        // NOTE: digits only, so it reads.
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap_or_default();
    }
    let key = PublicKey::from_bytes(&bytes);
    key.ok_or_else(|| Failure::new(exit::USAGE, format!("{text} is no Ed25519 key")))
}

impl Revoke {
    fn make(&self) -> Result<String, Failure> {
        let authority = trust::authority_key(&self.authority)?;
        let id = authority.public().authority();
        let (mut serials, number) = self.before(&authority.public())?;
        for named in &self.certificates {
            serials.push(serial(named, id)?);
        }
        serials.sort_unstable();
        serials.dedup();
        let most = RevocationList::MAX_SERIALS;
        if serials.len() > most {
            let message = format!("{}: a list holds {most} serials", self.list.display());
            return Err(Failure::new(exit::FAILED, message));
        }
        let full = || {
            let message = format!("{}: there is no higher number", self.list.display());
            Failure::new(exit::FAILED, message)
        };
        let list = authority.revoke(RevocationList {
            authority: id,
            number: number.checked_add(1).ok_or_else(full)?,
            made: clock::epoch(),
            serials,
            signature: [0; 64],
        });
        trust::replace(&self.list, Kind::RevocationList, &list.encode())?;
        let mut document = show::list(&list);
        document["file"] = self.list.display().to_string().into();
        Ok(said(self.json, &document))
    }

    /// What the list says so far.
    fn before(&self, authority: &PublicKey) -> Result<(Vec<u64>, u64), Failure> {
        if !self.list.exists() {
            return Ok((Vec::new(), 0));
        }
        let list = trust::revocations(&self.list)?;
        if list.authority != authority.authority() || !trust::is_of(authority, &list) {
            let message = format!(
                "{}: not a list that authority {} has signed",
                self.list.display(),
                authority.authority()
            );
            return Err(Failure::new(exit::CONFIG, message));
        }
        Ok((list.serials, list.number))
    }
}

/// The serial that an argument means: its digits, or the certificate in that file.
fn serial(named: &str, authority: AuthorityId) -> Result<u64, Failure> {
    if let Ok(serial) = u64::from_str(named) {
        return Ok(serial);
    }
    let certificate = trust::certificate(Path::new(named))?;
    if certificate.authority != authority {
        let message = format!(
            "{named}: a certificate of authority {}, not of {authority}",
            certificate.authority
        );
        return Err(Failure::new(exit::CONFIG, message));
    }
    Ok(certificate.serial)
}

fn show_file(file: &Path, authority: Option<&Path>, json: bool) -> Result<String, Failure> {
    let authority = authority.map(trust::authority).transpose()?;
    let now = clock::epoch();
    let (mut document, good) = match trust::read(file)? {
        Content::PrivateKey(key) => (show::key(&key.public(), Kind::PublicKey), None),
        Content::PublicKey(key) => (show::key(&key, Kind::PublicKey), None),
        Content::AuthorityPrivateKey(key) => {
            (show::key(&key.public(), Kind::AuthorityPublicKey), None)
        }
        Content::AuthorityPublicKey(key) => (show::key(&key, Kind::AuthorityPublicKey), None),
        Content::Certificate(certificate) => {
            let good = authority.map(|key| trust::has_signed(&key, &certificate));
            (show::certificate(&certificate, now), good)
        }
        Content::RevocationList(list) => {
            let good =
                authority.map(|key| key.authority() == list.authority && trust::is_of(&key, &list));
            (show::list(&list), good)
        }
    };
    let failed = |what: String| {
        let message = format!("{}: {what}", file.display());
        Failure::new(exit::FAILED, message)
    };
    match (authority, good) {
        (Some(key), Some(false)) => {
            let what = format!("authority {} has not signed it", key.authority());
            return Err(failed(what));
        }
        (Some(_), None) => return Err(failed("a key, which nobody has signed".to_owned())),
        _ => {}
    }
    if let Some(good) = good {
        document["signed"] = good.into();
        if let Some(state) = document["state"].as_str().filter(|state| *state != "valid") {
            return Err(failed(format!("it is {state}")));
        }
    }
    Ok(said(json, &document))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_key_goes_beside_the_private_one() {
        for (private, public) in [
            ("hamp.key", "hamp.pub"),
            ("/etc/hamp/authority.key", "/etc/hamp/authority.pub"),
            ("id", "id.pub"),
            ("a.b", "a.b.pub"),
        ] {
            assert_eq!(beside(Path::new(private)), Path::new(public));
        }
    }

    #[test]
    fn a_public_key_may_be_given_by_its_digits() {
        let key = SecretKey::from_bytes(&[7; 32]).public();
        assert_eq!(owner(&key.to_string()).unwrap(), key);
        assert_eq!(owner(&key.to_string().to_uppercase()).unwrap(), key);
        let neutral = format!("01{}", "0".repeat(62));
        assert_eq!(owner(&neutral).unwrap_err().code, exit::USAGE);
        assert_eq!(owner("/no/such/file").unwrap_err().code, exit::CONFIG);
    }
}
