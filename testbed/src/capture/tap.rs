//! A packet socket on one interface, with the kernel's timestamps and its count of drops.

use std::io::IoSliceMut;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    ControlMessageOwned, LinkAddr, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Socket, Type};

use super::Stamp;
use crate::wait;

/// What a socket asks the kernel to hold for it, in bytes; an ordinary user gets
/// `net.core.rmem_max` instead.
const BUFFER: usize = 8 << 20;
/// Bytes of the largest frame: an IPv4 or IPv6 packet of 64 KiB in Ethernet.
pub(super) const FRAME: usize = 1 << 17;
/// Value of `sll_pkttype` for frames the interface sends (linux/if_packet.h, PACKET_OUTGOING).
const OUTGOING: u8 = 4;

/// Which end of a cable is tapped: the one of the host that the link is named after, or the one of
/// the switch that it is plugged into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// What the interface sends comes from the host.
    Host,
    /// What the port sends goes to the host.
    Switch,
}

/// The socket of one interface.
#[derive(Debug)]
pub(super) struct Tap {
    socket: OwnedFd,
    side: Side,
    /// Drops the kernel has told of, which it counts from the socket's creation.
    lost: u32,
}

impl Tap {
    /// Opens it in the namespace of the calling thread, where it stays.
    pub(super) fn open(interface: &str, side: Side) -> Result<Self> {
        let index = if_nametoindex(interface).context("no such interface")?;
        // Protocol 0 receives nothing before it is bound.
        let kind = Type::RAW.nonblocking().cloexec();
        let socket =
            Socket::new(Domain::PACKET, kind, None).context("packet socket (CAP_NET_RAW)")?;
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("kernel timestamps")?;
        setsockopt(&socket, sockopt::RxqOvfl, &1).context("count of drops")?;
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER).context("receive buffer")?;
        }
        hamp::linux::packet::bind(&socket, index).context("bind to the interface")?;
        Ok(Self {
            socket: socket.into(),
            side,
            lost: 0,
        })
    }

    /// Where it is.
    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// Frames it has lost.
    pub(super) fn lost(&self) -> u64 {
        self.lost.into()
    }

    /// Reads the next waiting frame to the front of `buffer`: time, whether the host sent it, its
    /// length on the link.
    pub(super) fn next(&mut self, buffer: &mut [u8]) -> Option<(Stamp, bool, usize)> {
        let mut parts = [IoSliceMut::new(buffer)];
        let mut control = cmsg_space!(TimeSpec, u32);
        let fd = self.socket.as_raw_fd();
        loop {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
            let got = match recvmsg::<LinkAddr>(fd, &mut parts, Some(&mut control), flags) {
                Ok(got) => got,
                // Told once when the interface goes down; frames may wait behind it.
                Err(Errno::EINTR | Errno::ENETDOWN) => continue,
                Err(_) => return None,
            };
            let mut at = Stamp::now();
            for message in got.cmsgs().into_iter().flatten() {
                match message {
                    ControlMessageOwned::ScmTimestampns(time) => at = stamp(time),
                    ControlMessageOwned::RxqOvfl(count) => self.lost = count,
                    _ => {}
                }
            }
            let outgoing = got.address.is_some_and(|a| a.pkttype() == OUTGOING);
            return Some((at, outgoing == (self.side == Side::Host), got.bytes));
        }
    }
}

fn stamp(time: TimeSpec) -> Stamp {
    let seconds = time.tv_sec().cast_unsigned();
    Stamp(seconds * 1_000_000_000 + time.tv_nsec().cast_unsigned())
}

/// Waits until the kernel stamps what passes, in the namespace of the calling thread. The first
/// socket that asks for it has it switched on by a work queue of the kernel's; until then a frame
/// bears the time at which it was read.
pub(super) fn stamps() -> Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("socket on lo")?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("kernel timestamps")?;
    let to = socket.local_addr()?;
    wait::until_ok("the kernel's timestamps", Duration::from_secs(5), || {
        socket.send_to(b"?", to).context("send over lo")?;
        let sent = Stamp::now();
        std::thread::sleep(Duration::from_millis(1));
        let mut control = cmsg_space!(TimeSpec);
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::empty());
        let mut byte = [0];
        let mut parts = [IoSliceMut::new(&mut byte)];
        let got = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), flags)?;
        match got.cmsgs()?.next() {
            Some(ControlMessageOwned::ScmTimestampns(time)) if stamp(time) <= sent => Ok(()),
            _ => bail!("frames are stamped when they are read"),
        }
    })
}

/// Waits for a frame at any of them, at most `limit_ms`; with `now`, not at all.
pub(super) fn ready(taps: &[Tap], limit_ms: u16, now: bool) {
    let mut fds: Vec<_> = taps
        .iter()
        .map(|tap| PollFd::new(tap.socket.as_fd(), PollFlags::POLLIN))
        .collect();
    let limit = if now {
        PollTimeout::ZERO
    } else {
        PollTimeout::from(limit_ms)
    };
    // An error is as good as a timeout: the taps are read after it in any case.
    let _ = poll(&mut fds, limit);
}
