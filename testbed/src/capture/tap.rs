//! A packet socket on one interface, with the kernel's timestamps and its count of drops.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;
use socket2::{Domain, Socket, Type};

use super::Stamp;

/// What a socket asks the kernel to hold for it, in bytes; an ordinary user gets
/// `net.core.rmem_max` instead.
const BUFFER: usize = 8 << 20;
/// Bytes of the largest frame: an IPv4 or IPv6 packet of 64 KiB in Ethernet.
pub(super) const FRAME: usize = 1 << 17;
/// Length of `sll_pkttype` for frames the interface sends (linux/if_packet.h, PACKET_OUTGOING).
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
                    ControlMessageOwned::ScmTimestampns(time) => {
                        at = Stamp(
                            time.tv_sec().cast_unsigned() * 1_000_000_000
                                + time.tv_nsec().cast_unsigned(),
                        );
                    }
                    ControlMessageOwned::RxqOvfl(count) => self.lost = count,
                    _ => {}
                }
            }
            let outgoing = got.address.is_some_and(|a| a.pkttype() == OUTGOING);
            return Some((at, outgoing == (self.side == Side::Host), got.bytes));
        }
    }
}

/// Waits for a frame at any of them, at most `limit_ms`; with `now`, not at all.
pub(super) fn wait(taps: &[Tap], limit_ms: u16, now: bool) {
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
