//! The kernel's routing tables, addresses, links and neighbours, over rtnetlink.
//!
//! Everything that we put there carries protocol number [`OURS`] (routes since ever, neighbour
//! entries since Linux 5.0, addresses since 5.18), so a sweep finds what a killed daemon left
//! without a note of its own. Requests go over one connection; changes of links and addresses come
//! over another, which says only *that* something changed: the reader asks for the whole state
//! again, so that a lost notification loses nothing.

mod addresses;
mod around;
mod bulk;
mod choice;
mod class;
mod fib;
mod foreign;
mod links;
mod message;
mod neighbours;
mod nftables;
mod present;
mod routes;

pub use around::Around;
pub use bulk::{Bulk, Refusal};
pub use choice::Address;
pub use foreign::Foreign;
pub use links::Link;
pub use neighbours::Neighbour;
pub use nftables::Fingerprint;

use std::io;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use nix::libc;
use rtnetlink::packet_core::{NetlinkMessage, NetlinkPayload};
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use rtnetlink::{Handle, MulticastGroup};

/// The protocol number of our routes, addresses and neighbour entries.
pub const OURS: u8 = 154;

/// A request that the kernel refused, or a connection that broke.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct Error {
    what: String,
    source: io::Error,
}

impl Error {
    fn new(what: impl Into<String>, error: rtnetlink::Error) -> Self {
        let source = match error {
            rtnetlink::Error::NetlinkError(message) => message.to_io(),
            other => io::Error::other(other.to_string()),
        };
        Self {
            what: what.into(),
            source,
        }
    }

    /// Whether there was nothing to remove.
    fn is_absent(&self) -> bool {
        let gone = [
            libc::ESRCH,
            libc::ENOENT,
            libc::EADDRNOTAVAIL,
            libc::ENODEV,
            libc::ENXIO,
        ];
        self.errno().is_some_and(|errno| gone.contains(&errno))
    }

    /// The kernel's error number, when it is the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// A connection to the kernel of this thread's network namespace.
#[derive(Debug, Clone)]
pub struct Netlink {
    handle: Handle,
    /// Index of the loopback interface, which holds the anycast addresses.
    loopback: u32,
}

impl Netlink {
    /// Connects. Needs a tokio runtime, which runs the connection until every clone is dropped.
    pub async fn open() -> io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        tokio::spawn(connection);
        let mut netlink = Self {
            handle,
            loopback: 1,
        };
        let links = netlink.links().await.map_err(io::Error::other)?;
        netlink.loopback = links
            .iter()
            .find(|link| link.loopback)
            .map_or(1, |link| link.index);
        Ok(netlink)
    }

    /// Whether the loopback interface, which holds the anycast addresses, is up.
    pub async fn loopback_is_up(&self) -> Result<bool, Error> {
        let links = self.links().await?;
        Ok(links.iter().any(|link| link.loopback && link.up))
    }

    /// Brings the loopback interface up.
    pub async fn loopback_up(&self) -> Result<(), Error> {
        let message = rtnetlink::LinkUnspec::new_with_index(self.loopback)
            .up()
            .build();
        let done = self.handle.link().set(message).execute().await;
        done.map_err(|error| Error::new("bring lo up", error))
    }
}

/// Notifications of the kernel about links and addresses.
pub struct Changes {
    messages: BoxStream<'static, NetlinkMessage<RouteNetlinkMessage>>,
    loopback: u32,
}

impl Changes {
    /// Subscribes. Needs a tokio runtime.
    pub fn subscribe(netlink: &Netlink) -> io::Result<Self> {
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ];
        let (connection, _, messages) = rtnetlink::new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        let messages = messages.map(|(message, _)| message).boxed();
        Ok(Self {
            messages,
            loopback: netlink.loopback,
        })
    }

    /// Waits until a link or one of its addresses changed (or a notification may be lost); changes
    /// of our own addresses on the loopback, which are renewed all the time, are not told. `None`: the
    /// connection broke.
    pub async fn next(&mut self) -> Option<()> {
        loop {
            let message = self.messages.next().await?;
            let NetlinkPayload::InnerMessage(message) = message.payload else {
                return Some(());
            };
            match message {
                RouteNetlinkMessage::NewAddress(address)
                | RouteNetlinkMessage::DelAddress(address)
                    if address.header.index == self.loopback && is_ours(&address) => {}
                _ => return Some(()),
            }
        }
    }
}

/// Whether hamp put an address where it is; kernels before 5.18 do not say.
fn is_ours(address: &AddressMessage) -> bool {
    let ours = AddressAttribute::Protocol(AddressProtocol::Other(OURS));
    address.attributes.contains(&ours)
}
