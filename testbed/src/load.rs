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
use crate::report::Request;
use crate::who;

/// A request that is not answered within this time is lost.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// What a request asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// `GET /` over a TCP connection of its own.
    Http,
    /// `whoami.test TXT` in one UDP datagram.
    Dns,
}

impl Service {
    /// As reports name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Dns => "dns",
        }
    }

    /// The port it is asked on.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => who::HTTP_PORT,
            Self::Dns => who::DNS_PORT,
        }
    }
}

/// A stream of requests.
#[derive(Clone, Debug)]
pub struct Stream {
    /// What is asked.
    pub service: Service,
    /// Whom.
    pub to: SocketAddr,
    /// Time between two requests.
    pub every: Duration,
    /// Of the first request, so that streams do not march in step.
    pub offset: Duration,
}

/// Requests that have ended, in the order of their ends.
pub type Ended = Arc<Mutex<Vec<Request>>>;

/// Running streams of a host.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Load {
    /// Starts the streams from `host`; ended requests go to `ended`.
    ///
    /// # Errors
    /// No thread can be started in the host.
    pub fn start(host: &Host, streams: Vec<Stream>, ended: &Ended) -> Result<Self> {
        let name: Arc<str> = host.name().into();
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
                        all.spawn(run(
                            stream,
                            Arc::clone(&name),
                            Arc::clone(&stop),
                            Arc::clone(&ended),
                        ));
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
    ///
    /// # Errors
    /// The thread could not ask.
    pub fn finish(mut self) -> Result<()> {
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
async fn run(stream: Stream, host: Arc<str>, stop: Arc<AtomicBool>, ended: Ended) {
    let mut ticks = interval_at(Instant::now() + stream.offset, stream.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let family = if stream.to.is_ipv6() { 6 } else { 4 };
    let mut open = JoinSet::new();
    let mut id = 0u16;
    while !stop.load(Ordering::Acquire) {
        ticks.tick().await;
        while open.try_join_next().is_some() {}
        id = id.wrapping_add(1);
        let (service, to) = (stream.service, stream.to);
        let (host, ended) = (Arc::clone(&host), Arc::clone(&ended));
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
                host: host.to_string(),
                service: service.name().into(),
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

/// Who answers `GET /`.
async fn http(to: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect(to).await.context("connect")?;
    stream.write_all(who::HTTP_REQUEST).await.context("send")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.context("receive")?;
    who::http_name(&answer).map_err(anyhow::Error::msg)
}

/// Who answers `whoami.test TXT`.
async fn dns(to: SocketAddr, id: u16) -> Result<String> {
    let any: SocketAddr = if to.is_ipv6() {
        "[::]:0".parse()?
    } else {
        "0.0.0.0:0".parse()?
    };
    let socket = UdpSocket::bind(any).await.context("bind")?;
    socket.connect(to).await.context("connect")?;
    let query = who::dns_query(id);
    socket.send(&query).await.context("send")?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer).await.context("receive")?;
    who::dns_name(&answer[..length], &query).context("not an answer to it")
}
