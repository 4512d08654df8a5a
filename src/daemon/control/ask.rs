//! Asking a daemon: only one that could be, and never for long.
//!
//! Whoever listens is asked only if the kernel says that it is root, this user or the owner of
//! `/run/hamp`. Waiting and the answer's length are bounded, so whoever it is holds nobody up.

use std::io::{self, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use serde_json::Value;

use super::{PATIENCE, PRIVATE, Request};
use crate::daemon::config::FILE;
use crate::daemon::{Failure, exit};
use crate::linux::holder::{Holder, connect};
use crate::linux::state;

/// What is said, at first, where no daemon runs.
const ABSENT: &str = "no hamp daemon runs in this network namespace";
/// Longest answer in bytes: a large router's status takes some ten of 2^20.
const ANSWER_BYTES: u64 = 256 << 20;

/// Asks the daemon that listens on `name`, or where it listens because a stranger has that name.
/// Errors: none does, or it refuses.
pub fn ask(name: &str, request: &Request) -> Result<Value, Failure> {
    let mut found = reach(name);
    if !matches!(found, Found::Daemon(_)) {
        // A daemon that was given a state directory of its own still prefers the usual ones.
        let mut private = state::candidates(None).unwrap_or_default();
        private.extend(state::candidates(Some(state::USUAL.as_ref())).unwrap_or_default());
        let reached = private.iter().map(|directory| {
            let path = directory.join(PRIVATE);
            reach(&path.to_string_lossy())
        });
        let daemon = { reached }.find(|found| matches!(found, Found::Daemon(_)));
        found = daemon.unwrap_or(found);
    }
    let stream = match found {
        Found::Daemon(stream) => stream,
        Found::Stranger(holder) => {
            let message = format!("{ABSENT}: its name, {name}, is held by {holder}");
            return Err(Failure::new(exit::FAILED, message).with_remedy(
                "hamp run all the same, or name another daemon's socket with --control",
            ));
        }
        Found::Nobody(error) => return Err(failed(name, &error)),
    };
    let answer = exchange(stream, request).map_err(|error| failed(name, &error))?;
    let answer: Value = serde_json::from_slice(&answer)
        .map_err(|_| Failure::new(exit::FAILED, "the daemon ended before it answered"))?;
    if answer["schema"] != "hamp.error/1" {
        return Ok(answer);
    }
    let code = answer["exit"]
        .as_u64()
        .and_then(|code| u8::try_from(code).ok());
    Err(Failure {
        code: code.unwrap_or(exit::FAILED),
        message: answer["error"].as_str().unwrap_or("refused").to_owned(),
        remedy: answer["remedy"].as_str().map(str::to_owned),
    })
}

/// Whether [`ask`] failed because no daemon runs, and not because of one that does.
pub fn is_absence(failure: &Failure) -> bool {
    failure.message.starts_with(ABSENT)
}

/// What listens on a name.
enum Found {
    Daemon(UnixStream),
    Stranger(Holder),
    Nobody(io::Error),
}

fn reach(name: &str) -> Found {
    match connect(name) {
        Ok((stream, holder)) if holder.is_trusted() => Found::Daemon(stream),
        Ok((_, holder)) => Found::Stranger(holder),
        Err(error) if error.kind() == ErrorKind::NotFound => Found::Nobody(error),
        // The name is taken, by who does not let us in.
        Err(error) => match Holder::of(name) {
            holder if holder == Holder::default() || holder.is_trusted() => Found::Nobody(error),
            holder => Found::Stranger(holder),
        },
    }
}

/// One line there and one line back, all of it within twice the patience.
fn exchange(mut stream: UnixStream, request: &Request) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let end = Instant::now() + 2 * PATIENCE;
    let mut line = serde_json::to_string(request)?;
    line.push('\n');
    stream.write_all(line.as_bytes())?;
    let mut reader = BufReader::new(stream).take(ANSWER_BYTES);
    let (mut answer, mut part) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        match reader.read(&mut part)? {
            0 => return Ok(answer),
            length => answer.extend(&part[..length]),
        }
        if answer.ends_with(b"\n") {
            return Ok(answer);
        }
        if Instant::now() > end {
            return Err(ErrorKind::WouldBlock.into());
        }
    }
}

fn failed(name: &str, error: &io::Error) -> Failure {
    match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
            let message = format!("{ABSENT} (control {name})");
            Failure::new(exit::FAILED, message).with_remedy(format!(
                "hamp run --config {FILE}, or name its socket with --control"
            ))
        }
        ErrorKind::WouldBlock => Failure::new(exit::FAILED, "the daemon does not answer")
            .with_remedy("hamp clean, after stopping it"),
        _ => Failure::io(&format!("control socket {name}"), error),
    }
}
