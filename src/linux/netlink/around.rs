//! What the kernel says of the addresses around this host: what is on each link, which addresses are
//! gateways', and which are this host's own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteMessage, RouteProtocol, RouteType, RouteVia,
};

use super::addresses::configured;
use super::routes::{destination, interface};
use super::{Error, Netlink, OURS};
use crate::addr::Prefix;

/// The addresses around this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Around {
    /// What is on-link, by the interface's index.
    pub subnets: BTreeMap<u32, BTreeSet<Prefix>>,
    /// The next hops of all routes that are not ours.
    pub gateways: BTreeSet<IpAddr>,
    /// All addresses of this host.
    pub own: BTreeSet<IpAddr>,
    /// How many routes there are.
    pub routes: usize,
}

impl Netlink {
    /// Asks the kernel for all of it.
    pub async fn around(&self) -> Result<Around, Error> {
        let mut around = Around::default();
        for message in self.addresses().await? {
            around
                .own
                .extend(configured(&message).map(|own| own.addr()));
            for attribute in &message.attributes {
                // Of a point-to-point link, this one is the other end's.
                let AddressAttribute::Address(there) = attribute else {
                    continue;
                };
                let length = message.header.prefix_len;
                let net = Prefix::new(*there, length).ok();
                let subnets = around.subnets.entry(message.header.index).or_default();
                subnets.extend(net.map(|net| net.trunc()));
            }
        }
        let learn = |route: RouteMessage| {
            around.routes += 1;
            around.learn(&route);
        };
        self.each_route(learn).await?;
        Ok(around)
    }
}

impl Around {
    fn learn(&mut self, route: &RouteMessage) {
        if route.header.kind != RouteType::Unicast
            || route.header.protocol == RouteProtocol::from(OURS)
        {
            return;
        }
        let hops = route
            .attributes
            .iter()
            .flat_map(|attribute| match attribute {
                RouteAttribute::MultiPath(hops) => {
                    hops.iter().flat_map(|hop| &hop.attributes).collect()
                }
                attribute => vec![attribute],
            });
        let gateways: Vec<IpAddr> = hops.filter_map(gateway).collect();
        if gateways.is_empty()
            && let (Some(net), Some(index)) = (destination(route), interface(route))
        {
            self.subnets.entry(index).or_default().insert(net.trunc());
        }
        self.gateways.extend(gateways);
    }
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(address))
        | RouteAttribute::Via(RouteVia::Inet(address)) => Some(IpAddr::V4(*address)),
        RouteAttribute::Gateway(RouteAddress::Inet6(address))
        | RouteAttribute::Via(RouteVia::Inet6(address)) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}
