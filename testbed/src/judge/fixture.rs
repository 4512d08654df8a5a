//! A host's link with frames on it, for tests.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::capture::{Captured, Frame, Link, Stamp};
use crate::report::Round;

pub(super) const ANYCAST: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0x1546, 0, 0, 0, 1)),
];
pub(super) const HOST: [u8; 6] = [2, 0, 0, 0, 0, 9];
pub(super) const S1: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const S2: [u8; 6] = [2, 0, 0, 0, 0, 2];

/// What [`HOST`] sent (`true`) and got, a millisecond apart.
pub(super) fn round(frames: Vec<(bool, Vec<u8>)>) -> Round {
    let link = Link {
        host: "client".into(),
        interface: "eth0".into(),
        port: "client".into(),
        mac: HOST,
    };
    let frames = (1..).zip(frames).map(|(ms, (from_host, bytes))| Frame {
        at: Stamp(ms * 1_000_000),
        link: 0,
        from_host,
        length: bytes.len(),
        bytes: bytes.into(),
    });
    Round {
        anycast: ANYCAST.into(),
        captured: Captured {
            links: vec![link],
            frames: frames.collect(),
            lost: 0,
        },
        ..Round::default()
    }
}
