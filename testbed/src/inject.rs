//! Frames by hand: whatever a host's interface can send, and what comes in reply.
//!
//! [`Injector`] speaks whole Ethernet frames through pnet's data link channel; the stack of the host
//! does not know of them. [`send_ip`] leaves the IP header, the route and the neighbour to the stack
//! and lets the caller write what is above it. pnet reads and writes packets too (`pnet_packet`), and
//! so does etherparse.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{Host, wait};

/// Bytes of the largest frame: an IPv4 or IPv6 packet of 64 KiB in Ethernet.
const FRAME: usize = 1 << 17;
/// How long a read of the channel lasts before an interruption is noticed.
const STEP: Duration = Duration::from_millis(20);

/// A host's interface, opened for whole Ethernet frames. It can be used from any thread.
pub struct Injector {
    name: String,
    sender: Box<dyn DataLinkSender>,
    receiver: Box<dyn DataLinkReceiver>,
}

impl std::fmt::Debug for Injector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Injector").field(&self.name).finish()
    }
}

impl Injector {
    /// Opens an interface of a host. Frames are kept for [`Injector::receive`] from now on.
    ///
    /// # Errors
    /// The host has no such interface.
    pub fn open(host: &Host, interface: &str) -> Result<Self> {
        let name = format!("{interface} of {}", host.name());
        let own = host.interface(interface)?.name.clone();
        let channel = host.inside(move || -> Result<Channel> {
            let all = pnet_datalink::interfaces();
            let found = all.iter().find(|i| i.name == own);
            let config = Config {
                read_buffer_size: FRAME,
                write_buffer_size: FRAME,
                read_timeout: Some(STEP),
                ..Config::default()
            };
            Ok(pnet_datalink::channel(
                found.context("it is gone")?,
                config,
            )?)
        })?;
        match channel.with_context(|| name.clone())? {
            Channel::Ethernet(sender, receiver) => Ok(Self {
                name,
                sender,
                receiver,
            }),
            _ => bail!("{name} is not Ethernet"),
        }
    }

    /// Sends a frame as it is, from its destination address on; its source need not be the host's.
    ///
    /// # Errors
    /// The interface is down, or the frame longer than its link carries.
    pub fn send(&mut self, frame: &[u8]) -> Result<()> {
        let sent = self.sender.send_to(frame, None);
        let sent = sent.ok_or_else(|| anyhow!("{} does not send", self.name))?;
        sent.with_context(|| format!("send {} bytes from {}", frame.len(), self.name))
    }

    /// Waits for a frame of which `wanted` makes something, at most for `limit`, and gives what it
    /// made. All frames of the interface are looked at in their order, also those that the host
    /// sends itself.
    ///
    /// # Errors
    /// No such frame came.
    pub fn receive<T>(
        &mut self,
        limit: Duration,
        mut wanted: impl FnMut(&[u8]) -> Option<T>,
    ) -> Result<T> {
        let start = Instant::now();
        loop {
            match self.receiver.next() {
                Ok(frame) => {
                    if let Some(found) = wanted(frame) {
                        return Ok(found);
                    }
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(error) => return Err(error).with_context(|| format!("read {}", self.name)),
            }
            wait::go_on()?;
            if start.elapsed() >= limit {
                bail!(
                    "waited {} ms in vain for a frame at {}",
                    limit.as_millis(),
                    self.name
                );
            }
        }
    }
}

/// Sends IP payloads of one protocol (6 is TCP) from a host, each to its address, as its stack
/// would: it writes the IP header, and finds the route and the neighbour.
///
/// # Errors
/// There is no route, or the host is gone.
pub fn send_ip(host: &Host, protocol: i32, payloads: Vec<(IpAddr, Vec<u8>)>) -> Result<()> {
    host.inside(move || {
        for (to, payload) in payloads {
            let domain = if to.is_ipv4() {
                Domain::IPV4
            } else {
                Domain::IPV6
            };
            let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)));
            let socket = socket.context("raw socket (CAP_NET_RAW)")?;
            socket
                .send_to(&payload, &SocketAddr::new(to, 0).into())
                .with_context(|| format!("send {} bytes to {to}", payload.len()))?;
        }
        Ok(())
    })?
}
