//! The control socket: a line of JSON asks, a line of JSON answers.
//!
//! The default is the abstract socket `@hamp`, which the kernel scopes to the network namespace: a
//! command finds the daemon of the namespace it runs in. `access` says who may do what. Lines,
//! connections and waiting are bounded, so no peer holds the daemon up.
//!
//! Any user of the host can take an abstract name first. A daemon that finds a stranger there listens
//! in a directory of its own instead, where commands look too (`ask`).

mod access;
mod ask;
mod listen;

pub use ask::{ask, is_absence};
pub use listen::{Listener, running};

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, TryAcquireError, mpsc, oneshot};

pub use access::{Asker, group};

use super::config::{MemberScope, TrustMode};
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
/// The file name of the socket of a daemon whose name a stranger has.
const PRIVATE: &str = "control";

/// What can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
pub enum Request {
    /// Everything about the node.
    Status,
    /// The members on each link.
    Members,
    /// Why an address leads to whom it leads to.
    Why {
        /// Which.
        address: IpAddr,
    },
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
            | Self::Why { .. }
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
            Ok(_) if asker.is_stranger() => {
                let request = serde_json::from_str(&line).unwrap_or(Request::Status);
                match asker.check(&request, group) {
                    Ok(()) => return Ok(()),
                    Err(failure) => refusal(&failure),
                }
            }
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

#[cfg(test)]
mod tests;
