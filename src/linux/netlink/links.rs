//! Links and the unicast addresses on them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressScope,
};
use rtnetlink::packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};

use super::{Error, Netlink};
use crate::addr::Prefix;

/// A unicast address on an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Address {
    /// The address.
    pub address: IpAddr,
    /// What is reached from it without a router; at the other end of a point-to-point link, it.
    pub subnet: Prefix,
    /// It counts on other links too.
    pub universal: bool,
}

/// An interface as the node needs to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The kernel's index.
    pub index: u32,
    /// The interface's name.
    pub name: String,
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
    /// Unicast addresses that the kernel would use as a source, best first.
    pub addresses: Vec<Address>,
}

impl Link {
    fn new(message: LinkMessage) -> Self {
        let flags = message.header.flags;
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: [0; 6],
            mtu: 0,
            up: flags.contains(LinkFlags::Up) && flags.contains(LinkFlags::Running),
            loopback: flags.contains(LinkFlags::Loopback),
            ethernet: message.header.link_layer_type == LinkLayerType::Ether,
            point_to_point: flags.contains(LinkFlags::Pointopoint),
            addresses: Vec::new(),
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Mtu(mtu) => link.mtu = mtu,
                LinkAttribute::Address(bytes) => link.mac = bytes.try_into().unwrap_or_default(),
                _ => {}
            }
        }
        link
    }

    /// The first IPv4 address that `wanted` accepts.
    pub fn ipv4(&self, wanted: impl Fn(IpAddr) -> bool) -> Option<Ipv4Addr> {
        let mut addresses = self.addresses.iter().map(|own| own.address);
        addresses.find_map(|address| match address {
            IpAddr::V4(own) if wanted(address) => Some(own),
            _ => None,
        })
    }

    /// The first IPv6 address that `wanted` accepts; link-local ones come last.
    pub fn ipv6(&self, wanted: impl Fn(IpAddr) -> bool) -> Option<Ipv6Addr> {
        let mut addresses = self.addresses.iter().map(|own| own.address);
        addresses.find_map(|address| match address {
            IpAddr::V6(own) if wanted(address) => Some(own),
            _ => None,
        })
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
        let mut addresses = self.addresses().await?;
        // The kernel lists primary addresses first; stable, so that order stays within a rank.
        addresses.sort_by_key(rank);
        for message in addresses {
            let Some(address) = usable(&message) else {
                continue;
            };
            if let Some(link) = links
                .iter_mut()
                .find(|link| link.index == message.header.index)
            {
                link.addresses.push(address);
            }
        }
        Ok(links)
    }

    /// Every address of the namespace, as the kernel tells it.
    pub(super) async fn addresses(&self) -> Result<Vec<AddressMessage>, Error> {
        let addresses = self.handle.address().get().execute().try_collect().await;
        addresses.map_err(|error| Error::new("list addresses", error))
    }
}

/// Global addresses before link-local ones.
fn rank(message: &AddressMessage) -> u8 {
    u8::from(message.header.scope != AddressScope::Universe)
}

/// The address, if it is this machine's own, not in duplicate detection and not deprecated.
fn usable(message: &AddressMessage) -> Option<Address> {
    let mut flags = AddressFlags::from_bits_retain(message.header.flags.bits().into());
    let (mut local, mut address) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(value) => local = Some(*value),
            AddressAttribute::Address(value) => address = Some(*value),
            AddressAttribute::Flags(value) => flags |= *value,
            _ => {}
        }
    }
    let out = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
    let usable = !flags.intersects(out) || flags.contains(AddressFlags::Optimistic);
    let own = local.or(address).filter(|_| usable)?;
    let subnet = Prefix::new(address.unwrap_or(own), message.header.prefix_len).ok()?;
    Some(Address {
        address: own,
        subnet: subnet.trunc(),
        universal: message.header.scope == AddressScope::Universe,
    })
}
