//! The daemon: one [`crate::node::Node`] on a Linux machine.
//!
//! [`run`] reads the [`config`], checks what the machine must have, and drives the node: frames,
//! link changes and the clock go in; frames and events come out, and [`kernel`] turns events into
//! kernel state. People and programs talk to it over the [`control`] socket. The real clock and
//! real randomness are read here and nowhere below.

pub mod clean;
pub mod clock;
pub mod config;
pub mod control;
pub mod host;
pub mod interfaces;
pub mod kernel;
pub mod log;
pub mod notify;
pub mod overlap;
pub mod run;
pub mod status;
pub mod trust;

use std::fmt::{self, Write as _};
use std::io;

use crate::linux::checks::Unmet;
use crate::linux::{netlink, nft};

/// Exit codes of every command (`sysexits.h` where it has one).
pub mod exit {
    /// All went well.
    pub const OK: u8 = 0;
    /// A check failed, or something went wrong on the way.
    pub const FAILED: u8 = 1;
    /// The command line is wrong.
    pub const USAGE: u8 = 2;
    /// A program or a feature of the kernel is missing.
    pub const MISSING: u8 = 69;
    /// A privilege is missing.
    pub const PRIVILEGE: u8 = 77;
    /// The configuration is wrong.
    pub const CONFIG: u8 = 78;
    /// Interrupted by the user.
    pub const INTERRUPTED: u8 = 130;
}

/// Why a command ended: what to say, what to do about it, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code, one of [`exit`].
    pub code: u8,
    /// One line.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl Failure {
    /// A failure without a remedy.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: plain(&message.into()),
            remedy: None,
        }
    }

    /// The same with a remedy.
    #[must_use]
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }

    /// A failed operation of the machine: `EPERM` and `EACCES` count as a missing privilege.
    pub fn io(what: &str, error: &io::Error) -> Self {
        let message = format!("{what}: {error}");
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::privilege(message),
            _ => Self::new(exit::FAILED, message),
        }
    }

    fn privilege(message: String) -> Self {
        let unmet = Unmet::Privilege {
            what: String::new(),
        };
        Self::new(exit::PRIVILEGE, message).with_remedy(unmet.remedy())
    }
}

/// A text without the numbers that the language puts after what the machine says of an error:
/// "No such file or directory (os error 2)".
pub fn plain(text: &str) -> String {
    const BEFORE: &str = " (os error ";
    let mut parts = text.split(BEFORE);
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
                plain += rest;
            }
            _ => {
                plain += BEFORE;
                plain += part;
            }
        }
    }
    plain
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Printable(&self.message))?;
        self.remedy
            .iter()
            .try_for_each(|remedy| write!(f, "\n  try: {}", Printable(remedy)))
    }
}

impl std::error::Error for Failure {}

/// A text for a terminal: names of files, and what stands in them, may hold anything, but not
/// command it.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\n' | '\t' => f.write_char(c),
            c if c.is_control() => write!(f, "{}", c.escape_default()),
            c => f.write_char(c),
        })
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        Self::new(exit::CONFIG, error.to_string())
    }
}

impl From<Unmet> for Failure {
    fn from(unmet: Unmet) -> Self {
        let code = match unmet {
            Unmet::Privilege { .. } => exit::PRIVILEGE,
            Unmet::Missing { .. } => exit::MISSING,
            Unmet::Failed { .. } => exit::FAILED,
        };
        Self::new(code, unmet.to_string()).with_remedy(unmet.remedy())
    }
}

impl From<netlink::Error> for Failure {
    fn from(error: netlink::Error) -> Self {
        match error.errno() {
            // EACCES is no privilege of ours: IPv6 is switched off where an address should go.
            Some(nix::libc::EACCES) => Self::new(exit::MISSING, format!("{error}: IPv6 is off"))
                .with_remedy("sysctl -w net.ipv6.conf.all.disable_ipv6=0"),
            Some(nix::libc::EPERM) => Self::privilege(error.to_string()),
            _ => Self::new(exit::FAILED, error.to_string()),
        }
    }
}

impl From<nft::Error> for Failure {
    fn from(error: nft::Error) -> Self {
        match error {
            nft::Error::Missing => Self::new(exit::MISSING, "the program nft is missing")
                .with_remedy("apt-get install -y nftables"),
            nft::Error::Refused(said) if said.contains("No such file or directory") => {
                let line = said.lines().next().unwrap_or_default();
                let message = format!("hamp's rules were removed by somebody else ({line})");
                Self::new(exit::FAILED, message).with_remedy(
                    "start it again, and have firewalls flush their own tables, not the ruleset",
                )
            }
            error @ (nft::Error::Hung(_) | nft::Error::Ended(_)) => {
                Self::new(exit::FAILED, error.to_string()).with_remedy(
                    "run nft as the daemon does, and mend what it says: nft list tables",
                )
            }
            error => Self::new(exit::FAILED, error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_errors_are_left_out() {
        for code in [1, 2, 101] {
            let error = io::Error::from_raw_os_error(code);
            let failure = Failure::io("it", &io::Error::other(format!("file: {error}; again")));
            assert!(!failure.message.contains("os error"), "{failure}");
            assert!(failure.message.ends_with("; again"), "{failure}");
        }
        let other = "a (os error x) b (os error 1";
        assert_eq!(plain(other), other);
    }
}
