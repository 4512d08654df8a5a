//! The changes that a [`Fib`](crate::linux::fib::Fib) asks for as requests, and what the kernel has
//! of ours as a [`Snapshot`].

use std::io;
use std::net::IpAddr;

use nix::libc;
use rtnetlink::packet_core::Parseable;
use rtnetlink::packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteNextHop, RouteType,
};

use super::bulk::{Bulk, Refusal};
use super::message::{Requests, address, attributes, number, put};
use super::routes::destination;
use super::{OURS, class};
use crate::addr::{Prefix, is_host};
use crate::linux::fib::{Hop, Multipath, Op, Snapshot, Target, is_metric};

/// `RTM_NEWNEXTHOP` and its relatives, and `NHA_*` of linux/nexthop.h.
const NEW_NEXTHOP: u16 = 104;
const DEL_NEXTHOP: u16 = 105;
const GET_NEXTHOP: u16 = 106;
const NHA_ID: u16 = 1;
const NHA_GROUP: u16 = 2;
const NHA_GROUP_TYPE: u16 = 3;
const NHA_BLACKHOLE: u16 = 4;
const NHA_OIF: u16 = 5;
const NHA_GATEWAY: u16 = 6;
const NHA_RES_GROUP: u16 = 12;
const NHA_RES_GROUP_BUCKETS: u16 = 1;
const NHA_RES_GROUP_IDLE_TIMER: u16 = 2;
const NHA_RES_GROUP_UNBALANCED_TIMER: u16 = 3;
/// `NEXTHOP_GRP_TYPE_RES`.
const RESILIENT: u16 = 1;
/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
/// `NDA_PROTOCOL`.
const NDA_PROTOCOL: u16 = 12;
/// `RTA_NH_ID`.
const RTA_NH_ID: u16 = 30;
/// `RTNH_F_ONLINK`.
const ONLINK: u8 = 4;
/// `NUD_PERMANENT`.
const PERMANENT: u16 = 0x80;

/// Buckets of a resilient group: flows are told apart by a hash of this many values. With 16 hops
/// each has 8, so shares differ by an eighth at most.
const BUCKETS: u16 = 128;
/// A bucket may move to a hop that has come new, in the kernel's ticks of 10 ms, after so long without
/// a packet: longer than the pauses of most UDP exchanges.
const IDLE: u32 = 60 * 100;
/// And after so long if it is never idle, so that a new hop gets its share of busy traffic too.
const UNBALANCED: u32 = 600 * 100;

/// Where the ids are looked for that it is tried with whether the kernel has groups. Below those of
/// routes: zebra counts upwards from the highest id that it has seen, ours included.
const PROBE: u32 = 0x0144_0000;

impl Bulk {
    /// What this kernel can do for routes with several hops: nexthop objects are there since
    /// Linux 5.3, resilient groups since 5.13.
    pub fn multipath(&mut self) -> io::Result<Multipath> {
        let mut snapshot = Snapshot::default();
        if !self.nexthops(&mut snapshot)? {
            return Ok(Multipath::Routes);
        }
        let foreign = |id: u32| snapshot.foreign.contains(&id);
        let mut ids = PROBE..;
        let Some(probe) = ids.find(|id| !foreign(*id) && !foreign(*id + 1)) else {
            return Ok(Multipath::Routes);
        };
        let mut tries = Requests::default();
        // What a daemon that was killed here has left.
        for id in [probe, probe + 1] {
            delete_nexthop(&mut tries, id);
        }
        tries.begin(NEW_NEXTHOP, CREATE, &nexthop_header(libc::AF_INET, 0));
        tries.number(NHA_ID, probe);
        tries.attribute(NHA_BLACKHOLE, &[]);
        group(&mut tries, probe + 1, &[probe], false, true);
        for id in [probe + 1, probe] {
            delete_nexthop(&mut tries, id);
        }
        let refused = self.run(tries)?;
        let refused = |index| refused.iter().any(|refusal| refusal.index == index);
        Ok(match (refused(2), refused(3)) {
            (true, _) => Multipath::Routes,
            (false, refused) => Multipath::Groups {
                resilient: !refused,
            },
        })
    }

    /// Carries out these changes in this order; the ones that were refused. That something which is
    /// to go is not there is no refusal. Errors: the connection.
    pub fn carry_out(&mut self, ops: &[Op]) -> io::Result<Vec<Refusal>> {
        let mut requests = Requests::default();
        for op in ops {
            request(&mut requests, op);
        }
        let mut refused = self.run(requests)?;
        let gone = [libc::ESRCH, libc::ENOENT, libc::ENODEV, libc::ENXIO];
        refused.retain(|refusal| {
            let removal = matches!(
                ops[refusal.index],
                Op::Remove { .. }
                    | Op::Forget { .. }
                    | Op::Neighbour { mac: None, .. }
                    | Op::ClassEnd { .. }
                    | Op::RuleEnd { .. }
            );
            !(removal && gone.contains(&refusal.errno))
        });
        Ok(refused)
    }

    /// What the kernel has of ours for routes to members.
    pub fn snapshot(&mut self) -> io::Result<Snapshot> {
        let mut snapshot = Snapshot::default();
        self.nexthops(&mut snapshot)?;
        for family in [libc::AF_INET, libc::AF_INET6] {
            let header = route_header(family, 0, 0, 0);
            let routes = self.dump(libc::RTM_GETROUTE, &header, |body| {
                snapshot.routes.extend(route(body));
            });
            match routes {
                // No route has ever been in this namespace's table.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
                done => done?,
            }
        }
        self.dump(libc::RTM_GETNEIGH, &[0; 12], |body| {
            snapshot.neighbours.extend(neighbour(body));
        })?;
        Ok(snapshot)
    }

    /// Asks for nexthop objects and groups; whether the kernel knows such things.
    fn nexthops(&mut self, snapshot: &mut Snapshot) -> io::Result<bool> {
        match self.dump(GET_NEXTHOP, &[0; 8], |body| nexthop(body, snapshot)) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
            done => done.map(|()| true),
        }
    }
}

/// A new one: that one is there already is refused.
pub(super) const CREATE: i32 = libc::NLM_F_CREATE | libc::NLM_F_EXCL;
pub(super) const REPLACE: i32 = libc::NLM_F_CREATE | libc::NLM_F_REPLACE;

fn request(requests: &mut Requests, op: &Op) {
    match op {
        Op::Neighbour { link, address, mac } => {
            let mut header = vec![family(*address), 0, 0, 0];
            header.extend(link.to_ne_bytes());
            header.extend(PERMANENT.to_ne_bytes());
            header.extend([0, 0]);
            match mac {
                Some(_) => requests.begin(libc::RTM_NEWNEIGH, REPLACE, &header),
                None => requests.begin(libc::RTM_DELNEIGH, 0, &header),
            }
            requests.address(libc::NDA_DST, *address);
            if let Some(mac) = mac {
                requests.attribute(libc::NDA_LLADDR, mac);
                requests.attribute(NDA_PROTOCOL, &[OURS]);
            }
        }
        Op::Nexthop { id, hop } => {
            let on_link = if hop.is_on_link() { 0 } else { ONLINK };
            let header = nexthop_header(family(hop.via).into(), on_link);
            requests.begin(NEW_NEXTHOP, CREATE, &header);
            requests.number(NHA_ID, *id);
            requests.number(NHA_OIF, hop.link);
            if !hop.is_on_link() {
                requests.address(NHA_GATEWAY, hop.via);
            }
        }
        Op::Group {
            id,
            members,
            replace,
            resilient,
        } => group(requests, *id, members, *replace, *resilient),
        Op::Forget { id } => delete_nexthop(requests, *id),
        Op::Route {
            prefix,
            metric,
            target,
            replace,
        } => {
            let flags = if *replace { REPLACE } else { CREATE };
            new_route(requests, flags, *prefix, *metric, target);
        }
        Op::Remove { prefix, metric } => {
            let (family, length) = (family(prefix.addr()), prefix.prefix_len());
            let header = route_header(family.into(), length, libc::RT_SCOPE_NOWHERE, 0);
            requests.begin(libc::RTM_DELROUTE, 0, &header);
            requests.address(libc::RTA_DST, prefix.network());
            requests.number(libc::RTA_PRIORITY, *metric);
        }
        Op::Class { .. } | Op::ClassEnd { .. } | Op::Rule { .. } | Op::RuleEnd { .. } => {
            class::request(requests, op);
        }
    }
}

fn new_route(requests: &mut Requests, flags: i32, prefix: Prefix, metric: u32, target: &Target) {
    let kind = match target {
        Target::Discard => libc::RTN_BLACKHOLE,
        _ => libc::RTN_UNICAST,
    };
    let on_link = matches!(target, Target::Hops(hops) if hops.iter().all(Hop::is_on_link));
    let scope = if on_link && matches!(prefix, Prefix::V4(_)) {
        libc::RT_SCOPE_LINK
    } else {
        libc::RT_SCOPE_UNIVERSE
    };
    let family = family(prefix.addr()).into();
    let mut header = route_header(family, prefix.prefix_len(), scope, kind);
    if let Target::Hops(hops) = target
        && let [hop] = hops[..]
        && !hop.is_on_link()
    {
        header[8..].copy_from_slice(&u32::from(ONLINK).to_ne_bytes());
    }
    requests.begin(libc::RTM_NEWROUTE, flags, &header);
    requests.address(libc::RTA_DST, prefix.network());
    requests.number(libc::RTA_PRIORITY, metric);
    match target {
        Target::Group(id) => requests.number(RTA_NH_ID, *id),
        Target::Hops(hops) => match hops[..] {
            [hop] => {
                requests.number(libc::RTA_OIF, hop.link);
                if !hop.is_on_link() {
                    requests.address(libc::RTA_GATEWAY, hop.via);
                }
            }
            _ => requests.attribute(libc::RTA_MULTIPATH, &several(hops)),
        },
        Target::Discard | Target::Other => {}
    }
}

/// `struct rtnexthop` of each hop.
fn several(hops: &[Hop]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for hop in hops {
        let start = bytes.len();
        let on_link = if hop.is_on_link() { 0 } else { ONLINK };
        bytes.extend([0, 0, on_link, 0]);
        bytes.extend(hop.link.to_ne_bytes());
        match hop.via {
            _ if hop.is_on_link() => {}
            IpAddr::V4(via) => put(&mut bytes, libc::RTA_GATEWAY, &via.octets()),
            IpAddr::V6(via) => put(&mut bytes, libc::RTA_GATEWAY, &via.octets()),
        }
        let length = u16::try_from(bytes.len() - start).unwrap_or(u16::MAX);
        bytes[start..start + 2].copy_from_slice(&length.to_ne_bytes());
    }
    bytes
}

fn group(requests: &mut Requests, id: u32, members: &[u32], replace: bool, resilient: bool) {
    let flags = if replace { REPLACE } else { CREATE };
    requests.begin(NEW_NEXTHOP, flags, &nexthop_header(libc::AF_UNSPEC, 0));
    requests.number(NHA_ID, id);
    // The number, and a weight of one, which is written as 0.
    let entry = |member: &u32| [member.to_ne_bytes(), [0; 4]].concat();
    requests.attribute(
        NHA_GROUP,
        &members.iter().flat_map(entry).collect::<Vec<u8>>(),
    );
    if resilient {
        requests.attribute(NHA_GROUP_TYPE, &RESILIENT.to_ne_bytes());
        let mut settings = Vec::new();
        put(&mut settings, NHA_RES_GROUP_BUCKETS, &BUCKETS.to_ne_bytes());
        put(&mut settings, NHA_RES_GROUP_IDLE_TIMER, &IDLE.to_ne_bytes());
        let unbalanced = UNBALANCED.to_ne_bytes();
        put(&mut settings, NHA_RES_GROUP_UNBALANCED_TIMER, &unbalanced);
        requests.attribute(NHA_RES_GROUP | NESTED, &settings);
    }
}

fn delete_nexthop(requests: &mut Requests, id: u32) {
    requests.begin(DEL_NEXTHOP, 0, &[0; 8]);
    requests.number(NHA_ID, id);
}

/// `struct nhmsg`.
fn nexthop_header(family: i32, flags: u8) -> [u8; 8] {
    let family = u8::try_from(family).unwrap_or_default();
    let [a, b, c, d] = u32::from(flags).to_ne_bytes();
    [family, 0, OURS, 0, a, b, c, d]
}

/// `struct rtmsg` of a route of ours in the main table.
fn route_header(family: i32, length: u8, scope: u8, kind: u8) -> [u8; 12] {
    let family = u8::try_from(family).unwrap_or_default();
    let table = RouteHeader::RT_TABLE_MAIN;
    [family, length, 0, 0, table, OURS, scope, kind, 0, 0, 0, 0]
}

pub(super) fn family(address: IpAddr) -> u8 {
    let family = match address {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    u8::try_from(family).unwrap_or_default()
}

/// An object or a group of ours.
fn nexthop(body: &[u8], snapshot: &mut Snapshot) {
    let (Some(header), Some(rest)) = (body.get(..8), body.get(8..)) else {
        return;
    };
    if header[2] != OURS {
        let mut all = attributes(rest).filter(|(attribute, _)| *attribute == NHA_ID);
        snapshot
            .foreign
            .extend(all.find_map(|(_, value)| number(value)));
        return;
    }
    let (mut id, mut link, mut via, mut members, mut kind) = (None, None, None, None, 0);
    for (attribute, value) in attributes(rest) {
        match attribute {
            NHA_ID => id = number(value),
            NHA_OIF => link = number(value),
            NHA_GATEWAY => via = address(value),
            NHA_GROUP => members = Some(value.chunks_exact(8).filter_map(number).collect()),
            NHA_GROUP_TYPE => kind = u16::from_ne_bytes([value[0], value[1]]),
            _ => {}
        }
    }
    let unspecified = match i32::from(header[0]) {
        libc::AF_INET6 => IpAddr::from([0; 16]),
        _ => IpAddr::from([0; 4]),
    };
    match (id, members, link) {
        (Some(id), Some(members), _) => snapshot.groups.push((id, members, kind == RESILIENT)),
        (Some(id), None, Some(link)) => {
            let via = via.unwrap_or(unspecified);
            snapshot.nexthops.push((id, Hop { link, via }));
        }
        _ => {}
    }
}

/// A route of ours, unless it makes a client's class on-link.
fn route(body: &[u8]) -> Option<(Prefix, u32, Target)> {
    let route = RouteMessage::parse(body).ok()?;
    let header = &route.header;
    if u8::from(header.protocol) != OURS || header.table != RouteHeader::RT_TABLE_MAIN {
        return None;
    }
    let prefix = destination(&route)?;
    let (mut metric, mut link, mut via, mut object, mut several) = (0, None, None, None, None);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Priority(value) => metric = *value,
            RouteAttribute::Oif(value) => link = Some(*value),
            RouteAttribute::Gateway(value) => via = Some(plain(value)?),
            RouteAttribute::NhId(value) => object = Some(*value),
            RouteAttribute::MultiPath(hops) => several = Some(hops),
            _ => {}
        }
    }
    if !is_metric(metric) {
        return None;
    }
    let unspecified = match prefix {
        Prefix::V4(_) => IpAddr::from([0; 4]),
        Prefix::V6(_) => IpAddr::from([0; 16]),
    };
    let target = match (header.kind, object, several, link) {
        (RouteType::BlackHole, ..) => Target::Discard,
        (RouteType::Unicast, Some(id), ..) => Target::Group(id),
        (RouteType::Unicast, None, Some(several), _) => {
            let hops = several.iter().map(|hop| one_of(hop, unspecified));
            let mut hops = hops.collect::<Option<Vec<Hop>>>()?;
            hops.sort();
            Target::Hops(hops.into())
        }
        (RouteType::Unicast, None, None, Some(link)) if via.is_some() || is_host(&prefix) => {
            let via = via.unwrap_or(unspecified);
            Target::Hops([Hop { link, via }].into())
        }
        _ => Target::Other,
    };
    Some((prefix, metric, target))
}

fn one_of(hop: &RouteNextHop, unspecified: IpAddr) -> Option<Hop> {
    let via = hop.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(via) => plain(via),
        _ => None,
    });
    Some(Hop {
        link: hop.interface_index,
        via: via.unwrap_or(unspecified),
    })
}

pub(super) fn plain(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

/// A permanent neighbour entry of ours.
fn neighbour(body: &[u8]) -> Option<(u32, IpAddr, [u8; 6])> {
    let header = body.get(..12)?;
    let link = number(&header[4..])?;
    let state = u16::from_ne_bytes([header[8], header[9]]);
    let (mut whose, mut mac, mut ours) = (None, None, false);
    for (attribute, value) in attributes(&body[12..]) {
        match attribute {
            libc::NDA_DST => whose = address(value),
            libc::NDA_LLADDR => mac = value.try_into().ok(),
            NDA_PROTOCOL => ours = value == [OURS],
            _ => {}
        }
    }
    (ours && state & PERMANENT != 0).then_some((link, whose?, mac?))
}
