//! Requests at a steady rate that does not wait for answers, through ordinary sockets.
//!
//! An open loop: a slow answer delays no later request, so that a pause of a server shows as many
//! late requests and not as one. Each generator is a thread in its host with a tokio runtime of its
//! own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::Host;
use crate::capture::Stamp;

/// A request that is not answered within this time is lost.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Service {
    /// `GET /` over a TCP connection of its own.
    Http,
    /// `whoami.test TXT` in one UDP datagram.
    Dns,
}

impl Service {
    /// As reports name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Dns => "dns",
        }
    }
}

/// A stream of requests.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    /// What is asked.
    pub(super) service: Service,
    /// Whom.
    pub(super) to: SocketAddr,
    /// Time between two requests.
    pub(super) every: Duration,
    /// Of the first request, so that streams do not march in step.
    pub(super) offset: Duration,
}

/// A request and its end.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// The host that asked.
    pub(super) host: &'static str,
    /// What was asked.
    pub(super) service: Service,
    /// 4 or 6.
    pub(super) family: u8,
    /// When.
    pub(super) sent: Stamp,
    /// When it was answered or given up.
    pub(super) done: Stamp,
    /// Who answered, or what went wrong.
    pub(super) outcome: Result<String, String>,
}

/// Requests that have ended, in the order of their ends.
pub(super) type Ended = Arc<Mutex<Vec<Request>>>;

/// Running streams of a host.
#[derive(Debug)]
pub(super) struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Load {
    /// Starts the streams from `host`; ended requests go to `ended`.
    pub(super) fn start(
        host: &Host,
        name: &'static str,
        streams: Vec<Stream>,
        ended: &Ended,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = host.thread("load", {
            let (stop, ended) = (Arc::clone(&stop), Arc::clone(ended));
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(async {
                    let mut all = JoinSet::new();
                    for stream in streams {
                        all.spawn(run(stream, name, Arc::clone(&stop), Arc::clone(&ended)));
                    }
                    while all.join_next().await.is_some() {}
                });
                Ok(())
            }
        })?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }

    /// Sends no more and waits for the last answers.
    pub(super) fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("load has ended")?;
        thread.join().map_err(|_| anyhow::anyhow!("load thread"))?
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One stream, to its end and that of its last request.
async fn run(stream: Stream, host: &'static str, stop: Arc<AtomicBool>, ended: Ended) {
    let mut ticks = interval_at(Instant::now() + stream.offset, stream.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let family = if stream.to.is_ipv6() { 6 } else { 4 };
    let mut open = JoinSet::new();
    let mut id = 0u16;
    while !stop.load(Ordering::Acquire) {
        ticks.tick().await;
        while open.try_join_next().is_some() {}
        id = id.wrapping_add(1);
        let (service, to, ended) = (stream.service, stream.to, Arc::clone(&ended));
        open.spawn(async move {
            let sent = Stamp::now();
            let answer = async {
                match service {
                    Service::Http => http(to).await,
                    Service::Dns => dns(to, id).await,
                }
            };
            let outcome = match timeout(PATIENCE, answer).await {
                Ok(Ok(name)) => Ok(name),
                Ok(Err(error)) => Err(format!("{error:#}")),
                Err(_) => Err(format!("no answer within {} ms", PATIENCE.as_millis())),
            };
            let done = Stamp::now();
            let request = Request {
                host,
                service,
                family,
                sent,
                done,
                outcome,
            };
            ended
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(request);
        });
    }
    while open.join_next().await.is_some() {}
}

/// The body of the answer to `GET /`.
async fn http(to: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(to).await.context("connect")?;
    stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .await
        .context("send")?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .context("receive")?;
    let (head, body) = answer.split_once("\r\n\r\n").context("cut short")?;
    anyhow::ensure!(
        head.starts_with("HTTP/1.1 200"),
        "{}",
        head.lines().next().unwrap_or("")
    );
    Ok(body.trim().to_owned())
}

/// `whoami.test TXT`.
async fn dns(to: SocketAddr, id: u16) -> Result<String> {
    let any: SocketAddr = if to.is_ipv6() {
        "[::]:0".parse()?
    } else {
        "0.0.0.0:0".parse()?
    };
    let socket = UdpSocket::bind(any).await.context("bind")?;
    socket.connect(to).await.context("connect")?;
    let mut query = Vec::with_capacity(29);
    query.extend(id.to_be_bytes());
    query.extend([0x00, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    query.extend(b"\x06whoami\x04test\x00");
    query.extend([0, 16, 0, 1]);
    socket.send(&query).await.context("send")?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).await.context("receive")?;
    text(&answer[..length], &query).context("not an answer to it")
}

/// The first string of the first answer record.
fn text(answer: &[u8], query: &[u8]) -> Option<String> {
    let head = answer.get(..12)?;
    if head[..2] != query[..2] || head[3] & 0x0f != 0 || head[7] == 0 {
        return None;
    }
    // Question as it was asked; then a compressed or a whole name, type, class, TTL, length.
    let mut at = query.len();
    if answer.get(at)? & 0xc0 == 0xc0 {
        at += 2;
    } else {
        while *answer.get(at)? != 0 {
            at += 1 + usize::from(answer[at]);
        }
        at += 1;
    }
    let data = answer.get(at + 10..)?;
    let length = usize::from(*data.first()?);
    Some(String::from_utf8_lossy(data.get(1..=length)?).into_owned())
}

/// Asks again and again over one HTTP connection until told to stop; counts answers and notes
/// failures.
pub(super) fn hold_open(address: &str, stop: &AtomicBool, seen: &Mutex<(usize, Vec<String>)>) {
    use std::io::{Read, Write};
    let note = |result: Result<()>| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0 += 1;
        match result {
            Ok(()) => true,
            Err(error) => {
                seen.1.push(format!("{address}: {error:#}"));
                false
            }
        }
    };
    let limit = Some(Duration::from_secs(3));
    let connect = || -> Result<std::net::TcpStream> {
        let to = SocketAddr::new(address.parse()?, 80);
        let stream = std::net::TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(limit)?;
        Ok(stream)
    };
    let mut stream = match connect() {
        Ok(stream) => stream,
        Err(error) => {
            note(Err(error));
            return;
        }
    };
    let mut buffer = [0; 1024];
    while !stop.load(Ordering::Acquire) {
        let answer = stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .and_then(|()| stream.read(&mut buffer))
            .context("open connection")
            .and_then(|length| {
                anyhow::ensure!(buffer[..length].starts_with(b"HTTP/1.1 200"), "closed");
                Ok(())
            });
        if !note(answer) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
