//! The class's routes and rules of a client or member as requests, and what the kernel has of them.

use std::io;

use nix::libc;
use rtnetlink::packet_core::Parseable;
use rtnetlink::packet_route::route::{RouteAttribute, RouteMessage, RouteType};

use super::OURS;
use super::bulk::Bulk;
use super::fib::{CREATE, REPLACE, family, plain};
use super::message::{Requests, address, attributes, number, put};
use super::routes::{destination, metric};
use crate::addr::Prefix;
use crate::linux::fib::Op;
use crate::linux::fib::class::{ClassSnapshot, ISOLATED, Place, Rule, SERVED, Way};

/// `FRA_PROTOCOL` of linux/fib_rules.h.
const FRA_PROTOCOL: u16 = 21;
const FRA_DST: u16 = 1;
const FRA_IIFNAME: u16 = 3;
const FRA_PRIORITY: u16 = 6;
const FRA_TABLE: u16 = 15;
/// `FR_ACT_TO_TBL`.
const TO_TABLE: u8 = 1;
/// The incoming interface of what this host sends itself.
const OWN_PACKETS: &[u8] = b"lo\0";

impl Bulk {
    /// What the kernel has in the class's tables, and which rules carry our number.
    pub fn class_snapshot(&mut self) -> io::Result<ClassSnapshot> {
        let mut snapshot = ClassSnapshot::default();
        for family in [libc::AF_INET, libc::AF_INET6] {
            let family = u8::try_from(family).unwrap_or_default();
            for table in [SERVED, ISOLATED] {
                let mut asked = vec![family, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
                put(&mut asked, libc::RTA_TABLE, &table.to_ne_bytes());
                let done = self.dump(libc::RTM_GETROUTE, &asked, |body| {
                    snapshot.routes.extend(route(body, table));
                });
                absent(done)?;
            }
            let mut asked = [0; 12];
            asked[0] = family;
            let done = self.dump(libc::RTM_GETRULE, &asked, |body| {
                snapshot.rules.extend(rule(body));
            });
            absent(done)?;
        }
        Ok(snapshot)
    }
}

/// A table that does not exist holds nothing, nor does a family that is not there.
fn absent(done: io::Result<()>) -> io::Result<()> {
    let none = [libc::ENOENT, libc::EAFNOSUPPORT, libc::EOPNOTSUPP];
    match done {
        Err(error)
            if error
                .raw_os_error()
                .is_some_and(|code| none.contains(&code)) =>
        {
            Ok(())
        }
        done => done,
    }
}

/// Writes the request for one of the changes that are about the class's tables.
pub(super) fn request(requests: &mut Requests, op: &Op) {
    match op {
        Op::Class {
            place,
            way,
            replace,
        } => {
            let scope = match place.prefix {
                Prefix::V4(_) => libc::RT_SCOPE_LINK,
                Prefix::V6(_) => libc::RT_SCOPE_UNIVERSE,
            };
            let header = header(&place.prefix, OURS, scope, libc::RTN_UNICAST);
            let flags = if *replace { REPLACE } else { CREATE };
            requests.begin(libc::RTM_NEWROUTE, flags, &header);
            name(requests, place);
            requests.number(libc::RTA_OIF, way.link);
            if let Some(source) = way.source {
                requests.address(libc::RTA_PREFSRC, source);
            }
        }
        // Whoever put it there.
        Op::ClassEnd { place } => {
            let header = header(&place.prefix, 0, libc::RT_SCOPE_NOWHERE, 0);
            requests.begin(libc::RTM_DELROUTE, 0, &header);
            name(requests, place);
        }
        Op::Rule { rule } => {
            requests.begin(libc::RTM_NEWRULE, CREATE, &rule_header(rule));
            describe(requests, rule);
        }
        Op::RuleEnd { rule } => {
            requests.begin(libc::RTM_DELRULE, 0, &rule_header(rule));
            describe(requests, rule);
        }
        _ => {}
    }
}

/// `struct rtmsg`; the table is an attribute, since its number has more than eight bits.
fn header(prefix: &Prefix, protocol: u8, scope: u8, kind: u8) -> [u8; 12] {
    let (family, length) = (family(prefix.addr()), prefix.prefix_len());
    [family, length, 0, 0, 0, protocol, scope, kind, 0, 0, 0, 0]
}

fn name(requests: &mut Requests, place: &Place) {
    requests.number(libc::RTA_TABLE, place.table);
    requests.address(libc::RTA_DST, place.prefix.network());
    requests.number(libc::RTA_PRIORITY, place.metric);
}

/// `struct fib_rule_hdr`.
fn rule_header(rule: &Rule) -> [u8; 12] {
    let (family, length) = (family(rule.to.addr()), rule.to.prefix_len());
    [family, length, 0, 0, 0, 0, 0, TO_TABLE, 0, 0, 0, 0]
}

fn describe(requests: &mut Requests, rule: &Rule) {
    requests.number(FRA_PRIORITY, rule.preference);
    requests.number(FRA_TABLE, rule.table);
    if rule.to.prefix_len() > 0 {
        requests.address(FRA_DST, rule.to.network());
    }
    if rule.own_packets {
        requests.attribute(FRA_IIFNAME, OWN_PACKETS);
    }
    requests.attribute(FRA_PROTOCOL, &[OURS]);
}

/// A route of one of the tables, whoever made it.
fn route(body: &[u8], table: u32) -> Option<(Place, Option<Way>)> {
    let route = RouteMessage::parse(body).ok()?;
    let header = &route.header;
    let (mut link, mut source, mut there, mut plainly) = (None, None, None, true);
    for attribute in &route.attributes {
        match attribute {
            RouteAttribute::Table(number) => there = Some(*number),
            RouteAttribute::Oif(index) => link = Some(*index),
            RouteAttribute::PrefSource(address) => source = plain(address),
            RouteAttribute::Gateway(_)
            | RouteAttribute::Via(_)
            | RouteAttribute::MultiPath(_)
            | RouteAttribute::NhId(_)
            | RouteAttribute::Encap(_) => plainly = false,
            _ => {}
        }
    }
    if there.unwrap_or(header.table.into()) != table {
        return None;
    }
    let place = Place {
        table,
        prefix: destination(&route)?,
        metric: metric(&route).unwrap_or_default(),
    };
    let ours = plainly && header.kind == RouteType::Unicast && u8::from(header.protocol) == OURS;
    let way = link.filter(|_| ours).map(|link| Way { link, source });
    Some((place, way))
}

/// A rule of ours.
fn rule(body: &[u8]) -> Option<Rule> {
    let header = body.get(..12)?;
    let mut to = match i32::from(header[0]) {
        libc::AF_INET => Prefix::new([0; 4].into(), 0),
        _ => Prefix::new([0; 16].into(), 0),
    };
    let (mut table, mut preference, mut own_packets, mut ours) =
        (u32::from(header[4]), 0, false, false);
    for (attribute, value) in attributes(&body[12..]) {
        match attribute {
            FRA_DST => to = Prefix::new(address(value)?, header[1]),
            FRA_TABLE => table = number(value)?,
            FRA_PRIORITY => preference = number(value)?,
            FRA_IIFNAME => own_packets = value == OWN_PACKETS,
            FRA_PROTOCOL => ours = value == [OURS],
            _ => {}
        }
    }
    let to = to.ok().filter(|_| ours)?;
    Some(Rule {
        to,
        table,
        preference,
        own_packets,
    })
}
