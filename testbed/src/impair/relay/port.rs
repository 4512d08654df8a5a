//! One end of a relayed link: a packet socket through which frames come and go as they are.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::SystemTime;

use anyhow::{Context, Result};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{ControlMessageOwned, LinkAddr, MsgFlags, recvmsg, setsockopt, sockopt};
use nix::sys::time::{TimeSpec, TimeValLike};
use socket2::Socket;

/// What a socket asks the kernel to hold for it, in bytes; an ordinary user gets
/// `net.core.rmem_max` instead.
const BUFFER: usize = 32 << 20;
/// Ages beyond this are a clock that was set, not a frame that waited.
const OLDEST: u64 = 1_000_000_000;

/// An open end.
#[derive(Debug)]
pub(in crate::impair) struct Port {
    socket: Socket,
    /// Frames the kernel had no room for, as it counts them from the socket's creation.
    overrun: u32,
}

/// A frame that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Read {
    /// Bytes read, the offload header among them.
    pub length: usize,
    /// Nanoseconds since the interface received it.
    pub age: u64,
}

impl Port {
    /// Opens the interface of this name in the calling thread's network namespace. From now on the
    /// socket collects frames.
    pub(in crate::impair) fn open(interface: &str) -> Result<Self> {
        let index = if_nametoindex(interface).with_context(|| interface.to_owned())?;
        let socket = hamp::linux::packet::open_offloaded(index)
            .with_context(|| format!("packet socket on {interface}"))?;
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER).context("receive buffer")?;
        }
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("kernel timestamps")?;
        setsockopt(&socket, sockopt::RxqOvfl, &1).context("count of drops")?;
        Ok(Self { socket, overrun: 0 })
    }

    /// Reads the next frame, if one waits. An interface that is down has none.
    pub(super) fn receive(&mut self, buffer: &mut [u8]) -> Option<Read> {
        let fd = self.socket.as_raw_fd();
        let mut parts = [IoSliceMut::new(buffer)];
        let mut control = cmsg_space!(TimeSpec, u32);
        loop {
            let flags = MsgFlags::MSG_DONTWAIT;
            let got = match recvmsg::<LinkAddr>(fd, &mut parts, Some(&mut control), flags) {
                Ok(got) => got,
                // An interface that went down says so once; a frame of a kind that has no offload
                // header is dropped by the kernel with EINVAL.
                Err(Errno::EINTR | Errno::ENETDOWN | Errno::EINVAL) => continue,
                Err(_) => return None,
            };
            let mut read = Read {
                length: got.bytes,
                age: 0,
            };
            for message in got.cmsgs().into_iter().flatten() {
                match message {
                    ControlMessageOwned::ScmTimestampns(at) => read.age = age(at),
                    ControlMessageOwned::RxqOvfl(count) => self.overrun = count,
                    _ => {}
                }
            }
            return Some(read);
        }
    }

    /// Sends a frame behind its offload header. Errors: the interface is down, or out of memory.
    pub(super) fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.socket.send(packet).map(drop)
    }

    /// Frames that were lost because this machine was too slow.
    pub(super) fn overrun(&self) -> u32 {
        self.overrun
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How long ago the kernel stamped a frame, by the clock it stamps with.
fn age(at: TimeSpec) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = u64::try_from(now.unwrap_or_default().as_nanos()).unwrap_or(0);
    let at = u64::try_from(at.num_nanoseconds()).unwrap_or(0);
    let age = now.saturating_sub(at);
    if age > OLDEST { 0 } else { age }
}
