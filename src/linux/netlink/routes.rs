//! Routes of ours: the class, on-link on each interface.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use rtnetlink::RouteMessageBuilder;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteScope, RouteType,
};

use super::{Error, Netlink, OURS};
use crate::addr::Prefix;
use crate::linux::fib;

impl Netlink {
    /// Makes `prefix` on-link on an interface, with this metric, or renews that.
    pub async fn add_route(&self, prefix: Prefix, ifindex: u32, metric: u32) -> Result<(), Error> {
        let mut route = route(prefix, ifindex);
        route.attributes.push(RouteAttribute::Priority(metric));
        let done = self.handle.route().add(route).replace().execute().await;
        done.map_err(|error| Error::new(format!("add route {prefix}"), error))
    }

    /// Removes our routes through an interface (`None`: all of ours); how many there were.
    pub async fn remove_routes(&self, ifindex: Option<u32>) -> Result<usize, Error> {
        let mut removed = 0;
        for route in self.our_routes().await? {
            let through = route
                .attributes
                .contains(&RouteAttribute::Oif(ifindex.unwrap_or(0)));
            if ifindex.is_some() && (!through || route.header.kind == RouteType::Local) {
                continue;
            }
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

    /// Removes our routes to `prefix` through an interface, but for the one with the metric
    /// `keep`; not having any is no error.
    pub async fn remove_route(
        &self,
        prefix: Prefix,
        ifindex: u32,
        keep: Option<u32>,
    ) -> Result<(), Error> {
        for ours in self.our_routes().await? {
            let through = destination(&ours) == Some(prefix) && interface(&ours) == Some(ifindex);
            let kept = keep.map(RouteAttribute::Priority);
            if through && !kept.is_some_and(|kept| ours.attributes.contains(&kept)) {
                match self.handle.route().del(ours).execute().await {
                    Ok(()) => {}
                    Err(error) => match Error::new(format!("remove route {prefix}"), error) {
                        error if error.is_absent() => {}
                        error => return Err(error),
                    },
                }
            }
        }
        Ok(())
    }

    /// Destinations of our routes to links, with the interface's index; without those to members.
    pub async fn routes(&self) -> Result<Vec<(Prefix, u32)>, Error> {
        let routes = self.our_routes().await?;
        let links = routes
            .iter()
            .filter(|route| route.header.kind != RouteType::Local)
            .filter(|route| !metric(route).is_some_and(fib::is_metric));
        Ok(links
            .filter_map(|route| Some((destination(route)?, interface(route)?)))
            .collect())
    }

    /// Every route with our protocol number, in all tables.
    pub(super) async fn our_routes(&self) -> Result<Vec<RouteMessage>, Error> {
        let mut ours = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut wanted = RouteMessage::default();
            wanted.header.address_family = family;
            let mut routes = self.handle.route().get(wanted).execute();
            let failed = |error| Error::new("list routes", error);
            while let Some(route) = routes.try_next().await.map_err(failed)? {
                if route.header.protocol == RouteProtocol::from(OURS) {
                    ours.push(route);
                }
            }
        }
        Ok(ours)
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
