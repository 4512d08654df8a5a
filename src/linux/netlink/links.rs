//! Links and the unicast addresses on them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage, Prop};

use super::choice::{Address, choose};
use super::{Error, Netlink};

/// An interface as the node needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's index.
    pub index: u32,
    /// The interface's name.
    pub name: String,
    /// Other names that the kernel takes for it (`altname`).
    pub altnames: Vec<String>,
    /// Its description (`ifalias`), which is no name; empty: none.
    pub alias: String,
    /// Its link-layer address; zero when it has none of 48 bits.
    pub mac: [u8; 6],
    /// Largest packet in bytes.
    pub mtu: u32,
    /// Administratively up and with a carrier.
    pub up: bool,
    /// The loopback interface.
    pub loopback: bool,
    /// Frames are Ethernet's.
    pub ethernet: bool,
    /// There is just one other end.
    pub point_to_point: bool,
    /// It has an IPv6 link-local address, or will when duplicate detection is over.
    pub link_local: bool,
    /// Its unicast addresses, but for those in duplicate detection; best first.
    pub addresses: Vec<Address>,
}

impl Link {
    fn new(message: LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            altnames: Vec::new(),
            alias: String::new(),
            mac: [0; 6],
            mtu: 0,
            up: flags.contains(LinkFlags::Up) && flags.contains(LinkFlags::Running),
            loopback: flags.contains(LinkFlags::Loopback),
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            point_to_point: flags.contains(LinkFlags::Pointopoint),
            link_local: false,
            addresses: Vec::new(),
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::IfAlias(alias) => link.alias = alias,
                LinkAttribute::PropList(all) => {
                    link.altnames = all
                        .into_iter()
                        .filter_map(|one| match one {
                            Prop::AltIfName(name) => Some(name),
                            _ => None,
                        })
                        .collect();
                }
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(bytes) => link.mac = bytes.try_into().unwrap_or_default(),
                _ => {}
            }
        }
        link
    }

    /// The IPv4 address to state, out of those that `wanted` accepts, when `before` is stated now.
    pub fn ipv4(
        &self,
        before: Option<Ipv4Addr>,
        wanted: impl Fn(IpAddr) -> bool,
    ) -> Option<Ipv4Addr> {
        let wanted = |address: IpAddr| address.is_ipv4() && wanted(address);
        match self.choose(before.map(IpAddr::V4), wanted) {
            Some(IpAddr::V4(address)) => Some(address),
            _ => None,
        }
    }

    /// The IPv6 address to state, out of those that `wanted` accepts, when `before` is stated now.
    pub fn ipv6(
        &self,
        before: Option<Ipv6Addr>,
        wanted: impl Fn(IpAddr) -> bool,
    ) -> Option<Ipv6Addr> {
        let wanted = |address: IpAddr| address.is_ipv6() && wanted(address);
        match self.choose(before.map(IpAddr::V6), wanted) {
            Some(IpAddr::V6(address)) => Some(address),
            _ => None,
        }
    }

    fn choose(&self, before: Option<IpAddr>, wanted: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        let all = self.addresses.iter();
        choose(all.filter(|known| wanted(known.address)), before)
    }
}

impl Netlink {
    /// Every interface of the namespace with its usable unicast addresses.
    pub async fn links(&self) -> Result<Vec<Link>, Error> {
        let messages: Vec<LinkMessage> = self
            .handle
            .link()
            .get()
            .execute()
            .try_collect()
            .await
            .map_err(|error| Error::new("list links", error))?;
        let mut links: Vec<Link> = messages.into_iter().map(Link::new).collect();
        for message in self.addresses().await? {
            let index = message.header.index;
            if Address::is_link_local(&message)
                && let Some(link) = links.iter_mut().find(|link| link.index == index)
            {
                link.link_local = true;
            }
            let Some(address) = Address::read(&message) else {
                continue;
            };
            if let Some(link) = links
                .iter_mut()
                .find(|link| link.index == message.header.index)
            {
                let first = |known: &Address| known.address.is_ipv4();
                let mut address = address;
                address.source &= address.address.is_ipv6() || !link.addresses.iter().any(first);
                link.addresses.push(address);
            }
        }
        for link in &mut links {
            // The kernel lists primary addresses first, which stays so among equals.
            link.addresses.sort_by_key(Address::order);
        }
        Ok(links)
    }

    /// Every address of the namespace, as the kernel tells it.
    pub(super) async fn addresses(&self) -> Result<Vec<AddressMessage>, Error> {
        let addresses = self.handle.address().get().execute().try_collect().await;
        addresses.map_err(|error| Error::new("list addresses", error))
    }
}
