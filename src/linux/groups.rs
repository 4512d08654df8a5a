//! Memberships and the port, held by sockets that never hand anything over.
//!
//! The node reads and writes whole frames, but switches with IGMP or MLD snooping and network
//! cards that filter deliver only to groups that somebody joined, and a datagram to a port that
//! nobody bound draws a port-unreachable. So a UDP socket per family and interface is bound to the
//! port, joins the groups with the kernel's own IGMP and MLD, and drops every datagram in a filter
//! before it reaches a queue. The kernel repeats the joins when the interface comes back up.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use nix::libc;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use super::filter;
use crate::addr::solicited_node;
use crate::wire::{GROUP_IPV4, GROUP_IPV6, PORT};

/// One interface's memberships; dropping it leaves every group.
#[derive(Debug)]
pub struct Groups {
    ifindex: u32,
    /// Held open for its membership and its port only.
    _ipv4: Socket,
    /// `None` where the interface does not do IPv6 (yet).
    ipv6: Option<Socket>,
    name: String,
    /// Solicited-node groups and how many addresses need each.
    solicited: BTreeMap<Ipv6Addr, u32>,
    /// Why a group that is needed was not joined, for people.
    refused: Option<String>,
}

impl Groups {
    /// Joins 224.0.0.254 and, if it does IPv6, ff02::114 on an interface and takes UDP port 1021
    /// there. Errors: `EADDRINUSE` when another program has the port, `EPERM` without
    /// `CAP_NET_RAW` or `CAP_NET_BIND_SERVICE`.
    pub fn join(ifindex: u32, name: &str) -> io::Result<Self> {
        let ipv4 = socket(Domain::IPV4, name)?;
        ipv4.bind(&SocketAddr::from(([0, 0, 0, 0], PORT)).into())?;
        let interface = InterfaceIndexOrAddress::Index(ifindex);
        let joined = ipv4.join_multicast_v4_n(&GROUP_IPV4, &interface);
        let mut groups = Self {
            ifindex,
            _ipv4: ipv4,
            ipv6: None,
            name: name.to_owned(),
            solicited: BTreeMap::new(),
            refused: None,
        };
        groups.unless_full(joined)?;
        match groups.join_ipv6() {
            Err(error) if !without_ipv6(&error) => Err(error),
            _ => Ok(groups),
        }
    }

    /// Joins the IPv6 group if [`Groups::join`] could not, because the interface did not do IPv6
    /// then. Errors: it still does not.
    pub fn join_ipv6(&mut self) -> io::Result<()> {
        if self.ipv6.is_none() {
            let ipv6 = socket(Domain::IPV6, &self.name)?;
            ipv6.set_only_v6(true)?;
            ipv6.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, PORT)).into())?;
            let joined = ipv6.join_multicast_v6(&GROUP_IPV6, self.ifindex);
            self.unless_full(joined)?;
            let solicited = self.solicited.keys();
            let joined: Vec<_> = solicited
                .map(|group| ipv6.join_multicast_v6(group, self.ifindex))
                .collect();
            for joined in joined {
                self.unless_full(joined)?;
            }
            self.ipv6 = Some(ipv6);
        }
        Ok(())
    }

    /// Joins the solicited-node group of a served address (RFC 4291 §2.8), if the kernel lets it:
    /// see [`Groups::refused`].
    pub fn join_solicited(&mut self, address: Ipv6Addr) {
        let group = solicited_node(address);
        if let (Some(ipv6), false) = (&self.ipv6, self.solicited.contains_key(&group))
            && let Err(error) = ipv6.join_multicast_v6(&group, self.ifindex)
        {
            self.refused = Some(error.to_string());
        }
        *self.solicited.entry(group).or_default() += 1;
    }

    /// Why the kernel did not join a group: the interface has to take all of them.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// That the kernel joins no more groups is no reason to do without the port and the others:
    /// `net.core.optmem_max` (`ENOMEM`), `net.ipv4.igmp_max_memberships` (`ENOBUFS`).
    fn unless_full(&mut self, joined: io::Result<()>) -> io::Result<()> {
        match joined {
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOMEM | libc::ENOBUFS)) => {
                self.refused = Some(error.to_string());
                Ok(())
            }
            joined => joined,
        }
    }

    /// Undoes one [`Groups::join_solicited`]; the group is left with its last address.
    pub fn leave_solicited(&mut self, address: Ipv6Addr) {
        let group = solicited_node(address);
        let Some(users) = self.solicited.get_mut(&group) else {
            return;
        };
        *users -= 1;
        if *users == 0 {
            self.solicited.remove(&group);
            // The interface may be gone, and its memberships with it.
            let ipv6 = self.ipv6.as_ref();
            let _ = ipv6.map(|ipv6| ipv6.leave_multicast_v6(&group, self.ifindex));
        }
    }
}

/// A kernel without IPv6, or an interface where it is switched off.
fn without_ipv6(error: &io::Error) -> bool {
    let refusals = [
        libc::EAFNOSUPPORT,
        libc::EADDRNOTAVAIL,
        libc::EINVAL,
        libc::ENODEV,
    ];
    error
        .raw_os_error()
        .is_some_and(|errno| refusals.contains(&errno))
}

fn socket(domain: Domain, interface: &str) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM.cloexec(), Some(Protocol::UDP))?;
    socket.attach_filter(&filter::nothing())?;
    socket.bind_device(Some(interface.as_bytes()))?;
    Ok(socket)
}
