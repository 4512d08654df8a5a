//! smoltcp: UDP, TCP and ICMP over IP packets, without links.
//!
//! One interface without addresses takes every packet that the host lets through: which addresses
//! are this host's, and on which link a packet leaves, is decided around it.

use core::fmt;
use std::collections::VecDeque;

use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketSet};
use smoltcp::phy::{self, Checksum, Device, DeviceCapabilities, Medium};
use smoltcp::wire::HardwareAddress;

use crate::time::Instant;

/// The MTU without any link: RFC 8200 §5's least one.
const LEAST_MTU: u16 = 1280;

/// smoltcp and its sockets.
pub(super) struct Stack {
    interface: Interface,
    /// All sockets of the host.
    pub(super) sockets: SocketSet<'static>,
    device: Packets,
    seed: u64,
}

impl Stack {
    pub(super) fn new(seed: u64) -> Self {
        let mut device = Packets {
            received: None,
            sent: VecDeque::new(),
            mtu: LEAST_MTU,
        };
        Self {
            interface: interface(&mut device, seed),
            sockets: SocketSet::new(Vec::new()),
            device,
            seed,
        }
    }

    /// The largest packet that every link takes.
    pub(super) fn set_mtu(&mut self, mtu: Option<u16>) {
        let mtu = mtu.unwrap_or(LEAST_MTU);
        if mtu != self.device.mtu {
            // smoltcp asks once; an interface has no other state than its generator's.
            self.device.mtu = mtu;
            self.seed = self.seed.wrapping_add(1);
            self.interface = interface(&mut self.device, self.seed);
        }
    }

    /// The size of the largest packet, in bytes.
    pub(super) fn mtu(&self) -> usize {
        self.device.mtu.into()
    }

    /// What a new connection needs of the interface.
    pub(super) fn context(&mut self) -> &mut smoltcp::iface::Context {
        self.interface.context()
    }

    /// A packet for a socket of this host. What it answers comes out of [`Self::poll_packet`].
    pub(super) fn receive(&mut self, now: Instant, packet: Vec<u8>) {
        self.device.received = Some(packet);
        let (now, sockets) = (time(now), &mut self.sockets);
        let done = self
            .interface
            .poll_ingress_single(now, &mut self.device, sockets);
        debug_assert_ne!(done, PollIngressSingleResult::None, "the packet is taken");
    }

    /// Lets every socket send what it has to.
    pub(super) fn send(&mut self, now: Instant) {
        let (now, sockets) = (time(now), &mut self.sockets);
        while self.interface.poll_egress(now, &mut self.device, sockets) != PollResult::None {}
    }

    /// The next packet that a socket has sent.
    pub(super) fn poll_packet(&mut self) -> Option<Vec<u8>> {
        self.device.sent.pop_front()
    }

    /// When a socket has something to do, asked at `now`.
    pub(super) fn poll_at(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(time(now), &self.sockets)?;
        // At most a microsecond late, and never in the past: the clock must go on.
        let at = u64::try_from(at.total_micros()).unwrap_or(0);
        Some(Instant::from_micros(at.max(now.as_micros() + 1)))
    }
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sockets = &self.sockets;
        f.debug_struct("Stack").field("sockets", sockets).finish()
    }
}

fn interface(device: &mut Packets, seed: u64) -> Interface {
    let mut config = Config::new(HardwareAddress::Ip);
    config.random_seed = seed;
    let mut interface = Interface::new(config, device, smoltcp::time::Instant::ZERO);
    interface.set_any_ip(true);
    interface
}

/// A time as smoltcp counts it.
pub(super) fn time(now: Instant) -> smoltcp::time::Instant {
    smoltcp::time::Instant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

/// The device: one packet in, any number out.
struct Packets {
    received: Option<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
    mtu: u16,
}

impl Device for Packets {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: smoltcp::time::Instant) -> Option<(Received, Sending<'_>)> {
        let packet = self.received.take()?;
        Some((Received(packet), Sending(&mut self.sent)))
    }

    fn transmit(&mut self, _: smoltcp::time::Instant) -> Option<Sending<'_>> {
        Some(Sending(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ip;
        capabilities.max_transmission_unit = self.mtu.into();
        // What comes in was checked on the way (see `Packet`).
        capabilities.checksum.ipv4 = Checksum::Tx;
        capabilities.checksum.tcp = Checksum::Tx;
        capabilities
    }
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

struct Sending<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut packet = vec![0; length];
        let result = f(&mut packet);
        self.0.push_back(packet);
        result
    }
}
