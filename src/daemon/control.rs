//! The control socket: a line of JSON asks, a line of JSON answers.
//!
//! The default is the abstract socket `@hamp`, which the kernel scopes to the network namespace: a
//! command finds the daemon of the namespace it runs in. [`access`] says who may do what. Lines, connections and waiting are bounded, so no peer holds the daemon up.

mod access;

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{self as std_unix, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, TryAcquireError, mpsc, oneshot};

pub use access::{Asker, group};

use super::config::{FILE, MemberScope, TrustMode};
use super::{Failure, exit};
use crate::addr::Prefix;

/// Longest line of a request in bytes.
const REQUEST_BYTES: u64 = 4096;
/// Connections that are served at a time; more wait in the listener's queue.
const CONNECTIONS: usize = 16;
/// Connections of users who may not command the daemon, at a time; more are closed.
const FOREIGN_CONNECTIONS: usize = 4;
/// How long a connection may take over its request, and the daemon over its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
pub enum Request {
    /// Everything about the node.
    Status,
    /// The members on each link.
    Members,
    /// The client's neighbour entries.
    Neighbours,
    /// TCP connections that were bound to a member.
    Connections,
    /// A router's routes to members.
    Routes,
    /// Whose word counts.
    Trust {
        /// Switch to this mode; `None`: only tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        mode: Option<TrustMode>,
    },
    /// Read keys, certificates, revocation lists and the mode of trust again.
    Reload,
    /// Serve a prefix.
    Join {
        /// What.
        prefix: Prefix,
        /// Higher answers first; `None`: the configured preference.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        preference: Option<u16>,
        /// How far routers may carry it; `None`: the configured scope.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        scope: Option<MemberScope>,
    },
    /// Stop serving a prefix.
    Leave {
        /// What; `None`: everything.
        prefix: Option<Prefix>,
        /// Even if nobody takes over.
        #[serde(default)]
        force: bool,
    },
    /// Stop serving anything, and remember to until [`Request::Undrain`], over restarts too.
    Drain {
        /// Even if nobody takes over.
        #[serde(default)]
        force: bool,
    },
    /// Serve again what the configuration names, and what was joined before the drain.
    Undrain,
    /// How far joins and leaves have come.
    Progress {
        /// Of what; `None`: of everything.
        prefix: Option<Prefix>,
    },
}

impl Request {
    /// Whether it changes nothing.
    fn only_asks(&self) -> bool {
        match self {
            Self::Status
            | Self::Members
            | Self::Neighbours
            | Self::Connections
            | Self::Routes
            | Self::Trust { mode: None }
            | Self::Progress { .. } => true,
            Self::Trust { mode: Some(_) }
            | Self::Reload
            | Self::Join { .. }
            | Self::Leave { .. }
            | Self::Drain { .. }
            | Self::Undrain => false,
        }
    }
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Call {
    /// What is asked.
    pub request: Request,
    /// Who asks.
    pub asker: Asker,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Value>,
}

/// An answer that says why there is none.
pub fn refusal(failure: &Failure) -> Value {
    json!({
        "schema": "hamp.error/1",
        "exit": failure.code,
        "error": failure.message,
        "remedy": failure.remedy,
    })
}

/// The listening side. A socket with a path is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    name: String,
    path: Option<PathBuf>,
    task: tokio::task::JoinHandle<()>,
}

impl Listener {
    /// Listens on `@NAME` or a path and sends what is asked to `calls`; members of `group` may ask.
    /// Errors: another daemon listens there.
    pub fn start(
        name: &str,
        group: Option<u32>,
        calls: mpsc::Sender<Call>,
    ) -> Result<Self, Failure> {
        let failed = |error: io::Error| Failure::io(&format!("control socket {name}"), &error);
        let address = address(name).map_err(failed)?;
        let path = address.as_pathname().map(Path::to_owned);
        let listener = match std_unix::UnixListener::bind_addr(&address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                if path.is_none() || std_unix::UnixStream::connect_addr(&address).is_ok() {
                    return Err(running(name));
                }
                // Nobody listens: left by a daemon that was killed, unless it is no socket at all.
                let left = |path: &Path| {
                    path.symlink_metadata()
                        .is_ok_and(|about| about.file_type().is_socket())
                };
                if !path.as_deref().is_some_and(left) {
                    let message = format!("control socket {name}: another file is there");
                    return Err(Failure::new(exit::FAILED, message)
                        .with_remedy("name another path, or @NAME"));
                }
                path.iter()
                    .try_for_each(std::fs::remove_file)
                    .map_err(failed)?;
                std_unix::UnixListener::bind_addr(&address)
            }
            bound => bound,
        }
        .map_err(failed)?;
        if let (Some(path), Some(group)) = (&path, group)
            && let Err(failure) = access::open_to(path, group)
        {
            let _ = std::fs::remove_file(path);
            return Err(failure);
        }
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = UnixListener::from_std(listener).map_err(failed)?;
        let task = tokio::spawn(accept(listener, group, calls));
        Ok(Self {
            name: name.to_owned(),
            path,
            task,
        })
    }

    /// `@NAME` or the path.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// What is said when a daemon runs already.
pub fn running(name: &str) -> Failure {
    let message = format!("another hamp daemon runs in this network namespace (control {name})");
    Failure::new(exit::FAILED, message).with_remedy("hamp status, or stop that one first")
}

fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

async fn accept(listener: UnixListener, group: Option<u32>, calls: mpsc::Sender<Call>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let foreign = Arc::new(Semaphore::new(FOREIGN_CONNECTIONS));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Some(asker) = Asker::of(&stream, group) else {
                    continue;
                };
                // Who may do nothing does not keep those who may something waiting.
                let place = if !asker.is_stranger() {
                    places.clone().acquire_owned().await
                } else {
                    match foreign.clone().try_acquire_owned() {
                        Err(TryAcquireError::NoPermits) => continue,
                        Err(TryAcquireError::Closed) => return,
                        Ok(place) => Ok(place),
                    }
                };
                let Ok(place) = place else { return };
                let calls = calls.clone();
                tokio::spawn(async move {
                    let served =
                        tokio::time::timeout(2 * PATIENCE, serve(stream, (asker, group), calls))
                            .await;
                    if let Ok(Err(error)) = served {
                        tracing::debug!(%error, "control connection");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "control socket");
                // Out of descriptors, most likely: give others time to close theirs.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Answers request after request until the peer is done, or for one that errs.
async fn serve(
    mut stream: UnixStream,
    (asker, group): (Asker, Option<u32>),
    calls: mpsc::Sender<Call>,
) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut reader = tokio::io::BufReader::new(reader);
    loop {
        let mut line = String::new();
        let read = (&mut reader).take(REQUEST_BYTES).read_line(&mut line).await;
        let answer = match read {
            Ok(0) => return Ok(()),
            Ok(_) if asker.is_stranger() => match asker.check(&Request::Status, group) {
                Ok(()) => return Ok(()),
                Err(failure) => refusal(&failure),
            },
            Ok(_) if !line.ends_with('\n') => {
                let message = format!("a request is one line of at most {REQUEST_BYTES} bytes");
                refusal(&Failure::new(exit::USAGE, message))
            }
            Ok(_) => match serde_json::from_str::<Request>(&line) {
                Ok(request) => match asker.check(&request, group) {
                    Ok(()) => ask_node(request, asker, &calls).await,
                    Err(failure) => refusal(&failure),
                },
                Err(error) => refusal(&Failure::new(exit::USAGE, format!("request: {error}"))),
            },
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                refusal(&Failure::new(exit::USAGE, "a request is UTF-8"))
            }
            Err(error) => return Err(error),
        };
        let refused = answer["schema"] == "hamp.error/1";
        let mut bytes = answer.to_string().into_bytes();
        bytes.push(b'\n');
        writer.write_all(&bytes).await?;
        if refused {
            return Ok(());
        }
    }
}

async fn ask_node(request: Request, asker: Asker, calls: &mpsc::Sender<Call>) -> Value {
    let (answer, answered) = oneshot::channel();
    let gone = || refusal(&Failure::new(exit::FAILED, "the daemon is stopping"));
    if calls
        .send(Call {
            request,
            asker,
            answer,
        })
        .await
        .is_err()
    {
        return gone();
    }
    answered.await.unwrap_or_else(|_| gone())
}

/// Asks the daemon that listens on `name`. Errors: none does, or it refuses.
pub fn ask(name: &str, request: &Request) -> Result<Value, Failure> {
    let failed = |error: &io::Error| match error.kind() {
        ErrorKind::ConnectionRefused | ErrorKind::NotFound => {
            let message = format!("no hamp daemon runs in this network namespace (control {name})");
            Failure::new(exit::FAILED, message).with_remedy(format!(
                "hamp run --config {FILE}, or name its socket with --control"
            ))
        }
        ErrorKind::WouldBlock => Failure::new(exit::FAILED, "the daemon does not answer")
            .with_remedy("hamp clean, after stopping it"),
        _ => Failure::io(&format!("control socket {name}"), error),
    };
    let exchange = || -> io::Result<String> {
        let mut stream = std_unix::UnixStream::connect_addr(&address(name)?)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let mut line = serde_json::to_string(request)?;
        line.push('\n');
        stream.write_all(line.as_bytes())?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(answer)
    };
    let answer = exchange().map_err(|error| failed(&error))?;
    let answer: Value = serde_json::from_str(&answer)
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

#[cfg(test)]
mod tests;
