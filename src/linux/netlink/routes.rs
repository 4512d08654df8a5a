//! Routes of ours, whichever table they are in.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope,
};

use super::{Error, Netlink, OURS};
use crate::addr::Prefix;

impl Netlink {
    /// Removes every route that carries our protocol number; how many there were.
    pub async fn remove_routes(&self) -> Result<usize, Error> {
        let mut removed = 0;
        for route in self.our_routes().await? {
            match self.handle.route().del(route).execute().await {
                Ok(()) => removed += 1,
                Err(error) => match Error::new("remove route", error) {
                    error if error.is_absent() => {}
                    error => return Err(error),
                },
            }
        }
        Ok(removed)
    }

    /// Every route with our protocol number, in all tables.
    pub(super) async fn our_routes(&self) -> Result<Vec<RouteMessage>, Error> {
        let mut ours = Vec::new();
        self.each_route(|route| {
            if route.header.protocol == RouteProtocol::from(OURS) {
                ours.push(route);
            }
        })
        .await?;
        Ok(ours)
    }

    /// Every route, in all tables.
    pub(super) async fn each_route(&self, mut each: impl FnMut(RouteMessage)) -> Result<(), Error> {
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut wanted = RouteMessage::default();
            wanted.header.address_family = family;
            let mut routes = self.handle.route().get(wanted).execute();
            let failed = |error| Error::new("list routes", error);
            while let Some(route) = routes.try_next().await.map_err(failed)? {
                each(route);
            }
        }
        Ok(())
    }
}

/// A route of ours to `prefix` through an interface, without a gateway.
pub(super) fn route(prefix: Prefix, ifindex: u32) -> RouteMessage {
    match prefix {
        Prefix::V4(net) => RouteMessageBuilder::<Ipv4Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .output_interface(ifindex)
            .protocol(RouteProtocol::from(OURS))
            .scope(RouteScope::Link)
            .build(),
        Prefix::V6(net) => RouteMessageBuilder::<Ipv6Addr>::new()
            .destination_prefix(net.network(), net.prefix_len())
            .output_interface(ifindex)
            .protocol(RouteProtocol::from(OURS))
            .build(),
    }
}

/// Where a route leads to.
pub(super) fn destination(route: &RouteMessage) -> Option<Prefix> {
    let address = route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(address)) => Some(IpAddr::V4(*address)),
            RouteAttribute::Destination(RouteAddress::Inet6(address)) => Some(IpAddr::V6(*address)),
            _ => None,
        })?;
    Prefix::new(address, route.header.destination_prefix_length).ok()
}

/// A route's metric.
pub(super) fn metric(route: &RouteMessage) -> Option<u32> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Priority(metric) => Some(*metric),
            _ => None,
        })
}

/// The interface that a route leads through, if it is one.
pub(super) fn interface(route: &RouteMessage) -> Option<u32> {
    route
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })
}
