//! What is asked of a holder, and what it answers: one line of JSON each.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use hamp::daemon::Failure;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Impairment;

/// Longest line on the socket, in bytes.
pub(super) const LINE: u64 = 64 << 20;

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What the lab is: [`About`].
    About,
    /// The topology as TOML.
    Topology,
    /// What happens in it: [`Snapshot`](super::Snapshot). Requests are counted from the first time
    /// this is asked, for as long as it is asked again.
    Look,
    /// End the lab; the answer comes when nothing of it is left.
    Down,
    /// Pull the cable of a host's interface, or plug it in again.
    Carrier {
        /// The host.
        host: String,
        /// Its interface.
        interface: String,
        /// Whether it carries frames from now on.
        up: bool,
    },
    /// Impair the cable of a host's interface.
    Impair {
        /// The host.
        host: String,
        /// Its interface.
        interface: String,
        /// What happens from now on to frames to the host.
        to_host: Impairment,
        /// What happens from now on to frames from the host.
        from_host: Impairment,
    },
}

/// A lab that is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// What it is called.
    pub name: String,
    /// The file it was described in, as it was named.
    pub file: String,
    /// Number of its holder.
    pub pid: i32,
    /// Milliseconds since all of it runs.
    pub up_ms: u64,
    /// Hosts, routers and switches in the order of the file.
    pub hosts: Vec<HostAbout>,
}

/// A host of a lab that is up.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostAbout {
    /// What it is called.
    pub name: String,
    /// `host`, `router` or `switch`.
    pub kind: String,
    /// Number of its first process, whose namespaces are the host's.
    pub pid: i32,
    /// What was started in it, `hamp` first.
    pub programs: Vec<String>,
}

/// What comes back: the value, or what went wrong.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer<T> {
    Ok(T),
    Failed { code: u8, message: String },
}

impl<T> From<Result<T>> for Answer<T> {
    fn from(result: Result<T>) -> Self {
        match result {
            Ok(value) => Self::Ok(value),
            Err(error) => Self::Failed {
                code: crate::hold::code(&error),
                message: format!("{error:#}"),
            },
        }
    }
}

impl<T> Answer<T> {
    pub(super) fn into_result(self) -> Result<T> {
        match self {
            Self::Ok(value) => Ok(value),
            Self::Failed { code, message } => Err(Failure::new(code, message).into()),
        }
    }
}

/// Writes one line.
pub(super) fn say(to: &mut impl Write, what: &impl Serialize) -> Result<()> {
    let mut line = serde_json::to_vec(what)?;
    line.push(b'\n');
    to.write_all(&line)?;
    to.flush()?;
    Ok(())
}

/// Reads one line.
pub(super) fn hear<T: DeserializeOwned>(from: &mut impl Read) -> Result<T> {
    let mut line = String::new();
    BufReader::new(from.take(LINE)).read_line(&mut line)?;
    if line.is_empty() {
        return Err(anyhow!("it hung up"));
    }
    Ok(serde_json::from_str(&line)?)
}

/// Asks a holder.
pub(super) fn ask<T: DeserializeOwned>(
    stream: &UnixStream,
    request: &Request,
    limit: Duration,
) -> Result<T> {
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    say(&mut &*stream, request).context("ask the holder")?;
    let answer: Answer<T> = hear(&mut &*stream).context("the holder's answer")?;
    answer.into_result()
}
