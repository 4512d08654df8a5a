//! Routes of others inside the class: what a routing daemon, or a person, says of members elsewhere.
//!
//! Notifications carry whole routes, so what is known is kept up with them alone; when one may have
//! been lost, and when a next hop of an IPv6 route goes by itself, the kernel is asked for all again.
//! Our own routes, 65,536 at a time, do not wake anybody: the socket's filter drops them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use nix::libc;
use rtnetlink::packet_core::Parseable;
use rtnetlink::packet_route::route::{
    RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use rtnetlink::sys::{Socket, protocols::NETLINK_ROUTE};
use socket2::SockRef;

use super::OURS;
use super::bulk::{Bulk, messages};
use super::routes::{destination, metric};
use crate::addr::{Class, Prefix};
use crate::linux::filter;

/// `RTNLGRP_IPV4_ROUTE` and `RTNLGRP_IPV6_ROUTE`.
const GROUPS: [u32; 2] = [7, 11];
const BUFFER: usize = 64 * 1024;

/// A watch over them. Its calls block: it wants a thread of its own.
#[derive(Debug)]
pub struct Foreign {
    socket: Socket,
    class: Class,
    /// By what a route is known to the kernel.
    routes: BTreeMap<(Prefix, u32), RouteProtocol>,
    /// Something may have been missed.
    missed: bool,
}

impl Foreign {
    /// Begins to watch, in this thread's network namespace.
    pub fn watch(class: Class) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        SockRef::from(&socket).attach_filter(&filter::routes_of_others(OURS))?;
        for group in GROUPS {
            socket.add_membership(group)?;
        }
        Ok(Self {
            socket,
            class,
            routes: BTreeMap::new(),
            missed: true,
        })
    }

    /// The prefixes that others have routes for: at once on the first call, then whenever something
    /// has become of them. Blocks.
    pub fn wait(&mut self) -> io::Result<BTreeSet<Prefix>> {
        if !self.missed {
            while !self.receive()? {}
        }
        while std::mem::take(&mut self.missed) {
            self.look()?;
        }
        Ok(self.routes.keys().map(|(prefix, _)| *prefix).collect())
    }

    /// Reads one datagram; whether it says anything about the class.
    fn receive(&mut self) -> io::Result<bool> {
        let mut buffer = Vec::with_capacity(BUFFER);
        match self.socket.recv(&mut buffer, 0) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.missed = true;
                return Ok(true);
            }
            Err(error) => return Err(error),
        }
        let mut concerned = false;
        for (kind, _, body) in messages(&buffer) {
            let Some((prefix, metric, route)) = self.foreign(body) else {
                continue;
            };
            concerned = true;
            if kind == libc::RTM_NEWROUTE {
                self.routes.insert((prefix, metric), route.header.protocol);
            } else if kind == libc::RTM_DELROUTE {
                // One that was replaced by another protocol's is gone already.
                let own = |known: &RouteProtocol| *known == route.header.protocol;
                if self.routes.get(&(prefix, metric)).is_some_and(own) {
                    self.routes.remove(&(prefix, metric));
                    self.missed |= matches!(prefix, Prefix::V6(_));
                }
            }
        }
        Ok(concerned)
    }

    /// Asks the kernel for all of them.
    fn look(&mut self) -> io::Result<()> {
        let mut bulk = Bulk::open()?;
        let mut routes = BTreeMap::new();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let family = u8::try_from(family).unwrap_or_default();
            let (table, unicast) = (RouteHeader::RT_TABLE_MAIN, libc::RTN_UNICAST);
            let header = [family, 0, 0, 0, table, 0, 0, unicast, 0, 0, 0, 0];
            let done = bulk.dump(libc::RTM_GETROUTE, &header, |body| {
                if let Some((prefix, metric, route)) = self.foreign(body) {
                    routes.insert((prefix, metric), route.header.protocol);
                }
            });
            match done {
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                done => done?,
            }
        }
        self.routes = routes;
        Ok(())
    }

    /// A route of another's that leads to some prefix of the class by way of a router.
    fn foreign(&self, body: &[u8]) -> Option<(Prefix, u32, RouteMessage)> {
        let route = RouteMessage::parse(body).ok()?;
        let header = &route.header;
        // The kernel's own are links and redirects.
        let own = [RouteProtocol::Kernel, RouteProtocol::IcmpRedirect];
        if u8::from(header.protocol) == OURS
            || own.contains(&header.protocol)
            || header.table != RouteHeader::RT_TABLE_MAIN
            || header.kind != RouteType::Unicast
        {
            return None;
        }
        let leads_on = route.attributes.iter().any(|attribute| {
            matches!(
                attribute,
                RouteAttribute::Gateway(_)
                    | RouteAttribute::Via(_)
                    | RouteAttribute::MultiPath(_)
                    | RouteAttribute::NhId(_)
            )
        });
        let prefix = destination(&route).filter(|prefix| self.class.covers(prefix))?;
        leads_on.then(|| (prefix, metric(&route).unwrap_or_default(), route))
    }
}
