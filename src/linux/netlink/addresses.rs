//! Anycast addresses on the loopback interface.
//!
//! A single address is configured there with a lifetime that the daemon renews, so that the kernel
//! takes it away when nobody does. It is no candidate for a source address (host scope for IPv4,
//! deprecated for IPv6): only a program that binds it sends from it. A whole IPv6 prefix is a local
//! route with an expiry, since an address on lo makes only itself local; for IPv4 the kernel makes
//! the whole prefix of a loopback address local.

use std::net::IpAddr;
use std::time::Duration;

use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol,
    AddressScope, CacheInfo,
};
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};

use super::routes::{destination, route};
use super::{Error, Netlink, OURS, is_ours};
use crate::addr::{Prefix, is_host};

/// `RT_TABLE_LOCAL`: what this machine accepts as its own.
const LOCAL_TABLE: u8 = 255;

impl Netlink {
    /// Makes the addresses of `prefix` local for `lasts` (whole seconds, at least one), or renews
    /// them.
    pub async fn hold(&self, prefix: Prefix, lasts: Duration) -> Result<(), Error> {
        let seconds = u32::try_from(lasts.as_secs())
            .unwrap_or(u32::MAX - 1)
            .max(1);
        if let Some(mut route) = self.local_route(prefix) {
            route.attributes.push(RouteAttribute::Expires(seconds));
            let done = self.handle.route().add(route).replace().execute().await;
            return done.map_err(|error| Error::new(format!("add local route {prefix}"), error));
        }
        let mut request = self
            .handle
            .address()
            .add(self.loopback, prefix.addr(), prefix.prefix_len())
            .replace();
        let message = request.message_mut();
        //= docs/spec/link.md#answers
        //# A member MUST NOT probe for duplicates of an anycast address (RFC 4862 §5.4): among members,
        //# sharing it is no conflict.
        message.header.flags = AddressHeaderFlags::Nodad;
        let mut lifetime = CacheInfo::default();
        lifetime.ifa_valid = seconds;
        match prefix {
            Prefix::V4(_) => {
                message.header.scope = AddressScope::Host;
                lifetime.ifa_preferred = seconds;
                // On a loopback there is nobody to broadcast to.
                message
                    .attributes
                    .retain(|a| !matches!(a, AddressAttribute::Broadcast(_)));
            }
            Prefix::V6(_) => {
                let flags = AddressFlags::Nodad | AddressFlags::Noprefixroute;
                message.attributes.push(AddressAttribute::Flags(flags));
            }
        }
        message
            .attributes
            .push(AddressAttribute::CacheInfo(lifetime));
        message
            .attributes
            .push(AddressAttribute::Protocol(AddressProtocol::Other(OURS)));
        let done = request.execute().await;
        done.map_err(|error| Error::new(format!("add {prefix} to lo"), error))
    }

    /// Takes `prefix` away; not having it is no error.
    pub async fn release(&self, prefix: Prefix) -> Result<(), Error> {
        let done = if let Some(route) = self.local_route(prefix) {
            self.handle.route().del(route).execute().await
        } else {
            let (address, length) = (prefix.addr(), prefix.prefix_len());
            let mut named = self.handle.address().add(self.loopback, address, length);
            let message = named.message_mut().clone();
            self.handle.address().del(message).execute().await
        };
        match done.map_err(|error| Error::new(format!("remove {prefix} from lo"), error)) {
            Err(error) if error.is_absent() => Ok(()),
            done => done,
        }
    }

    /// Prefixes on lo that carry our protocol number.
    pub async fn holdings(&self) -> Result<Vec<Prefix>, Error> {
        let addresses = self.addresses().await?;
        let ours = addresses.iter().filter(|message| is_ours(message));
        let mut prefixes: Vec<Prefix> = ours.filter_map(|message| self.held(message)).collect();
        let routes = self.our_routes().await?;
        let local = routes
            .iter()
            .filter(|route| route.header.kind == RouteType::Local);
        prefixes.extend(local.filter_map(destination));
        Ok(prefixes)
    }

    /// Every address on lo, whoever put it there.
    pub async fn on_loopback(&self) -> Result<Vec<Prefix>, Error> {
        let addresses = self.addresses().await?;
        Ok(addresses
            .iter()
            .filter_map(|message| self.held(message))
            .collect())
    }

    /// The address of a message about lo.
    fn held(&self, message: &AddressMessage) -> Option<Prefix> {
        if message.header.index != self.loopback {
            return None;
        }
        configured(message)
    }

    /// The local route that stands for a whole IPv6 prefix.
    fn local_route(&self, prefix: Prefix) -> Option<RouteMessage> {
        if is_host(&prefix) || matches!(prefix, Prefix::V4(_)) {
            return None;
        }
        let mut route = route(prefix, self.loopback);
        route.header.kind = RouteType::Local;
        route.header.table = LOCAL_TABLE;
        Some(route)
    }
}

/// The address that a message is about, with its prefix: the local one where it also names the other
/// end's.
pub(super) fn configured(message: &AddressMessage) -> Option<Prefix> {
    let find = |local: bool| {
        message
            .attributes
            .iter()
            .find_map(|attribute| match attribute {
                AddressAttribute::Local(address) if local => Some(*address),
                AddressAttribute::Address(address) if !local => Some(*address),
                _ => None,
            })
    };
    let address: IpAddr = find(true).or_else(|| find(false))?;
    Prefix::new(address, message.header.prefix_len).ok()
}
