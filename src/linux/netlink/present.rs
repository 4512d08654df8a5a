//! What is there of ours besides routes, for a look that blocks: prefixes that are local because they
//! are served, and neighbour entries.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use nix::libc;
use rtnetlink::packet_core::Parseable;
use rtnetlink::packet_route::address::AddressMessage;
use rtnetlink::packet_route::route::RouteMessage;

use super::OURS;
use super::addresses::configured;
use super::bulk::Bulk;
use super::message::{address, attributes, number, put};
use super::routes::destination;
use crate::addr::Prefix;

/// `RT_TABLE_LOCAL`.
const LOCAL_TABLE: u32 = 255;

impl Bulk {
    /// Prefixes that are configured on an interface, or that a route of ours makes local.
    pub fn holdings(&mut self) -> io::Result<BTreeSet<Prefix>> {
        let mut held = BTreeSet::new();
        self.dump(libc::RTM_GETADDR, &[0; 8], |body| {
            let message = AddressMessage::parse(body).ok();
            held.extend(message.and_then(|message| configured(&message)));
        })?;
        let mut asked = vec![0; 12];
        asked[0] = u8::try_from(libc::AF_INET6).unwrap_or_default();
        put(&mut asked, libc::RTA_TABLE, &LOCAL_TABLE.to_ne_bytes());
        let done = self.dump(libc::RTM_GETROUTE, &asked, |body| {
            let route = RouteMessage::parse(body).ok();
            let ours = route.filter(|route| u8::from(route.header.protocol) == OURS);
            held.extend(ours.and_then(|route| destination(&route)));
        });
        match done {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            done => done?,
        }
        Ok(held)
    }

    /// Neighbour entries that have a link-layer address, whoever made them.
    pub fn neighbours(&mut self) -> io::Result<BTreeMap<(u32, IpAddr), [u8; 6]>> {
        let mut entries = BTreeMap::new();
        self.dump(libc::RTM_GETNEIGH, &[0; 12], |body| {
            entries.extend(entry(body));
        })?;
        Ok(entries)
    }
}

fn entry(body: &[u8]) -> Option<((u32, IpAddr), [u8; 6])> {
    let link = number(body.get(4..)?)?;
    let (mut whose, mut mac) = (None, None);
    for (attribute, value) in attributes(body.get(12..)?) {
        match attribute {
            libc::NDA_DST => whose = address(value),
            libc::NDA_LLADDR => mac = value.try_into().ok(),
            _ => {}
        }
    }
    Some(((link, whose?), mac?))
}
