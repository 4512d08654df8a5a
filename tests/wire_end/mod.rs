//! A link with this host's kernel on one end and a test on the other.

pub(crate) mod frames;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use etherparse::{ArpOperation, NetSlice, SlicedPacket};
use frames::HOST;
pub(crate) use frames::Packet;
use hamp::proto::rebind::Segment;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::bind;
use socket2::{Domain, Protocol, Socket, Type};

use crate::netns::sh;

/// How long a frame may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes the link: `eth0` with 10.15.46.1 and fd15:46::1, everything else behind the wire.
pub(crate) fn link() {
    sh("ip link set lo up");
    sh("ip link add eth0 address 02:15:46:00:00:01 type veth peer name wire");
    sh("ip link set wire address 02:15:46:00:00:02");
    fs::write("/proc/sys/net/ipv6/conf/wire/disable_ipv6", "1").unwrap();
    // The kernel is not to act on what arrives at the test's end.
    sh("nft 'table netdev wire { chain end { \
        type filter hook ingress device wire priority 0; policy drop; }; }'");
    sh("ip link set eth0 up && ip link set wire up");
    sh("ip address add 10.15.46.1/24 dev eth0");
    sh("ip address add fd15:46::1/64 dev eth0 nodad");
    for gateway in ["10.15.46.254", "fd15:46::fe"] {
        sh(&format!(
            "ip neigh add {gateway} lladdr 02:15:46:00:00:02 dev eth0 nud permanent"
        ));
        sh(&format!("ip route add default via {gateway}"));
    }
}

/// The test's end.
pub(crate) struct WireEnd {
    socket: Socket,
}

impl WireEnd {
    pub(crate) fn new() -> Self {
        let every_protocol = i32::from(0x0003_u16.to_be());
        let socket = Socket::new(
            Domain::PACKET,
            Type::RAW,
            Some(Protocol::from(every_protocol)),
        );
        let socket = socket.unwrap();
        let mut links = getifaddrs().unwrap();
        let link = links.find_map(|link| match link.interface_name.as_str() {
            "wire" => link.address?.as_link_addr().copied(),
            _ => None,
        });
        bind(socket.as_raw_fd(), &link.unwrap()).unwrap();
        // Frames of other links, from before the socket was bound.
        socket.set_nonblocking(true).unwrap();
        while socket
            .recv(&mut [std::mem::MaybeUninit::uninit(); 1])
            .is_ok()
        {}
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket }
    }

    /// The next TCP segment or UDP datagram that the kernel sends.
    pub(crate) fn receive(&self) -> Packet {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "nothing was sent in {PATIENCE:?}");
            let mut frame = [0; 65_536];
            let length = nix::unistd::read(&self.socket, &mut frame).expect("a frame");
            if frame[6..12] == HOST
                && let Some(packet) = frames::parse(&frame[..length])
            {
                if let Packet::Tcp(segment) = &packet {
                    frames::check_mark(&frame, segment);
                }
                return packet;
            }
        }
    }

    /// A segment arrives at the kernel.
    pub(crate) fn send(&self, segment: &Segment) {
        self.send_frame(&frames::segment(segment));
    }

    /// A datagram arrives at the kernel.
    pub(crate) fn send_udp(&self, source: SocketAddr, destination: SocketAddr) {
        let step = frames::to_host(source.ip(), destination.ip());
        let mut frame = Vec::new();
        let udp = step.udp(source.port(), destination.port());
        udp.write(&mut frame, b"x").unwrap();
        self.socket.send(&frame).unwrap();
    }
}

impl WireEnd {
    /// Any frame arrives at the kernel.
    pub(crate) fn send_frame(&self, frame: &[u8]) {
        self.socket.send(frame).unwrap();
    }

    /// The address whose place the kernel's next ARP reply states.
    pub(crate) fn arp_sender(&self) -> IpAddr {
        loop {
            let mut frame = [0; 65_536];
            let length = nix::unistd::read(&self.socket, &mut frame).expect("a frame");
            if let Ok(packet) = SlicedPacket::from_ethernet(&frame[..length])
                && let Some(NetSlice::Arp(arp)) = packet.net
                && arp.operation() == ArpOperation::REPLY
                && frame[6..12] == HOST
            {
                let sender: [u8; 4] = arp.sender_protocol_addr().try_into().unwrap();
                return sender.into();
            }
        }
    }
}
