//! The text around keys, certificates and lists, so that each kind is told from the others by
//! looking at it: RFC 7468's form, with labels of our own.

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A member's or a router's private key.
    PrivateKey,
    /// Its public key.
    PublicKey,
    /// An authority's private key.
    AuthorityPrivateKey,
    /// Its public key.
    AuthorityPublicKey,
    /// What an authority lets the owner of a key do.
    Certificate,
    /// What an authority has taken back.
    RevocationList,
}

impl Kind {
    const ALL: [Self; 6] = [
        Self::PrivateKey,
        Self::PublicKey,
        Self::AuthorityPrivateKey,
        Self::AuthorityPublicKey,
        Self::Certificate,
        Self::RevocationList,
    ];

    /// Whether nobody but the owner may read it.
    pub fn is_private(self) -> bool {
        matches!(self, Self::PrivateKey | Self::AuthorityPrivateKey)
    }

    fn label(self) -> &'static str {
        match self {
            Self::PrivateKey => "HAMP PRIVATE KEY",
            Self::PublicKey => "HAMP PUBLIC KEY",
            Self::AuthorityPrivateKey => "HAMP AUTHORITY PRIVATE KEY",
            Self::AuthorityPublicKey => "HAMP AUTHORITY PUBLIC KEY",
            Self::Certificate => "HAMP CERTIFICATE",
            Self::RevocationList => "HAMP REVOCATION LIST",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PrivateKey => "a private key",
            Self::PublicKey => "a public key",
            Self::AuthorityPrivateKey => "an authority's private key",
            Self::AuthorityPublicKey => "an authority's public key",
            Self::Certificate => "a certificate",
            Self::RevocationList => "a revocation list",
        })
    }
}

/// What is wrong with a text, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The line, from 1; `None` when no one line is at fault.
    pub line: Option<usize>,
    /// What.
    pub message: String,
}

fn wrong<T>(line: Option<usize>, message: impl Into<String>) -> Result<T, Wrong> {
    let message = message.into();
    Err(Wrong { line, message })
}

/// Characters of a line.
const LINE: usize = 64;

/// The text of `bytes`.
pub fn wrap(kind: Kind, bytes: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(BASE64_STANDARD.encode(bytes));
    // Of the final size, so that no copy of a key is left behind where it grew.
    let size = 2 * (kind.label().len() + 20) + encoded.len() + encoded.len() / LINE + 2;
    let mut text = Zeroizing::new(String::with_capacity(size));
    let mut line = |parts: &[&str]| {
        parts.iter().for_each(|part| text.push_str(part));
        text.push('\n');
    };
    line(&["-----BEGIN ", kind.label(), "-----"]);
    let mut left = &encoded[..];
    while !left.is_empty() {
        let (first, rest) = left.split_at(left.len().min(LINE));
        line(&[first]);
        left = rest;
    }
    line(&["-----END ", kind.label(), "-----"]);
    text
}

/// The one thing that `text` holds. What stands before and after it is for people (RFC 7468 §2).
///
/// # Errors
/// What is wrong, and where.
pub fn unwrap(text: &str) -> Result<(Kind, Zeroizing<Vec<u8>>), Wrong> {
    let label = |line: &str, word: &str| {
        let label = line.strip_prefix("-----")?.strip_prefix(word)?;
        label
            .strip_prefix(' ')?
            .strip_suffix("-----")
            .map(str::to_owned)
    };
    let mut lines = (1..).zip(text.lines().map(str::trim_end));
    let begin = lines.find_map(|(at, line)| Some((at, label(line, "BEGIN")?)));
    let Some((begin, name)) = begin else {
        return wrong(None, "nothing of hamp's: no line -----BEGIN HAMP ...-----");
    };
    let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.label() == name) else {
        return wrong(
            Some(begin),
            format!("\"{name}\" is nothing that hamp knows"),
        );
    };
    let mut encoded = Zeroizing::new(String::with_capacity(text.len()));
    let mut ended = false;
    for (at, line) in lines {
        if let Some(other) = label(line, "END") {
            if other != name {
                return wrong(Some(at), format!("{name} ends as {other}"));
            }
            ended = true;
            break;
        }
        let strange = |c: &char| !(c.is_ascii_alphanumeric() || "+/=".contains(*c));
        if let Some(strange) = line.chars().find(strange) {
            return wrong(Some(at), format!("{strange:?} is no character of base64"));
        }
        encoded.push_str(line);
    }
    if !ended {
        return wrong(Some(begin), format!("no line -----END {name}----- follows"));
    }
    match BASE64_STANDARD.decode(encoded.as_bytes()) {
        Ok(bytes) => Ok((kind, Zeroizing::new(bytes))),
        Err(_) => wrong(Some(begin), "what follows is cut short, or no base64"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_survives_its_armour() {
        for kind in Kind::ALL {
            for length in [1, 32, 48, 434] {
                let bytes: Vec<u8> = (0..length).map(|n| n as u8).collect();
                let text = wrap(kind, &bytes);
                assert!(text.lines().all(|line| line.len() <= LINE));
                let commented = format!("For s1, by Ann.\n\n{}\nbye\n", *text);
                let (found, unwrapped) = unwrap(&commented).unwrap();
                assert_eq!((found, &unwrapped[..]), (kind, &bytes[..]));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        let good = wrap(Kind::Certificate, &[7; 100]);
        let lines: Vec<_> = good.lines().collect();
        for (text, line, what) in [
            (String::new(), None, "-----BEGIN"),
            ("x\n-----BEGIN PGP-----\n".to_owned(), Some(2), "PGP"),
            (lines[..3].join("\n"), Some(1), "END HAMP CERTIFICATE"),
            (good.replace("END HAMP C", "END HAMP P"), Some(5), "ends as"),
            (good.replacen("BwcH", "B!cH", 1), Some(2), "'!'"),
            (good.replacen("BwcH", "BwH", 1), Some(1), "cut short"),
        ] {
            let wrong = unwrap(&text).unwrap_err();
            assert_eq!(wrong.line, line, "{wrong:?}");
            assert!(wrong.message.contains(what), "{wrong:?}");
        }
    }
}
