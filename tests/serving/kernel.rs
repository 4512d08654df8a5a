//! The kernel's rules, with its TCP behind them and a packet socket before them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use hamp::addr::{Class, Prefix};
use hamp::linux::nft::{Own, Tables, Unicast};
use hamp::proto::rebind::Segment;
use hamp::proto::rebind::member::Mode;

use super::{Listens, Names, SERVICE, World, mark};
use crate::netns::sh;
use crate::wire_end::frames::{HOST, segment};
use crate::wire_end::{self, Packet, WireEnd};

const LONG: Duration = Duration::from_secs(600);

/// What the gate knows of the host at the link.
pub(crate) fn own() -> Own {
    let others = [
        "10.15.46.7/32",
        "10.15.0.9/16",
        "fd15:46::7/128",
        "fd15:46:1::9/47",
    ];
    let own = ["10.15.46.1/24", "fd15:46::1/64"].into_iter().chain(others);
    let unicast = own.map(|own| {
        let subnet: Prefix = own.parse().unwrap();
        Unicast {
            interface: "eth0".to_owned(),
            address: subnet.addr(),
            subnet: subnet.trunc(),
            universal: true,
        }
    });
    Own {
        unicast: unicast.collect(),
        macs: vec![HOST],
    }
}

pub(crate) struct Kernel {
    names: Names,
    wire: WireEnd,
    marker: UdpSocket,
    tables: Tables,
    pub(crate) listener: Option<TcpListener>,
}

impl Kernel {
    /// Once for a namespace.
    pub(crate) fn new() -> Self {
        wire_end::link();
        for v6 in [false, true] {
            let served = Names::of(v6).anycast.ip();
            sh(&format!("ip address add {served} dev lo"));
        }
        Self {
            names: Names::of(false),
            wire: WireEnd::new(),
            marker: UdpSocket::bind("10.15.46.1:0").unwrap(),
            tables: Tables::start(Class::default(), &[]).unwrap(),
            listener: None,
        }
    }

    pub(crate) fn speak(&mut self, v6: bool) {
        self.names = Names::of(v6);
    }

    /// The next segment that leaves, whatever called for it; `None` if none has left by now.
    pub(crate) fn sent(&self) -> Option<Segment> {
        self.marker.send_to(b"mark", "192.0.2.9:9").unwrap();
        match self.wire.receive() {
            Packet::Tcp(segment) => {
                while !matches!(self.wire.receive(), Packet::Udp(9)) {}
                Some(segment)
            }
            Packet::Udp(_) => None,
        }
    }
}

impl World for Kernel {
    fn names(&self) -> Names {
        self.names
    }

    fn serve(&mut self, mode: Mode, listens: Listens) {
        self.listener = None;
        self.tables.load_member(mode, true).unwrap();
        self.tables.set_own(&own()).unwrap();
        let served: Vec<Prefix> = [false, true]
            .map(|v6| Names::of(v6).anycast.ip().into())
            .to_vec();
        self.tables.lease(&served, LONG).unwrap();
        let any = match self.names.anycast {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let at = match listens {
            Listens::Everywhere => SocketAddr::new(any, SERVICE),
            Listens::AtAnycast => self.names.anycast,
            Listens::AtUnicast => self.names.unicast,
            Listens::Nowhere => return,
        };
        self.listener = Some(TcpListener::bind(at).unwrap());
    }

    fn send(&mut self, arrives: &Segment, marked: bool) -> Option<Segment> {
        let mut frame = segment(arrives);
        if marked {
            mark(&mut frame);
        }
        self.wire.send_frame(&frame);
        self.sent()
    }
}
