//! A link as whole Ethernet frames: one packet socket per interface.
//!
//! The socket is bound to `ETH_P_ALL`, not to the protocols it reads: those listeners come after
//! the netdev ingress hook, which hides ARP and neighbour discovery for anycast addresses from the
//! kernel, while `ETH_P_ALL` ones come before it. They also see what the kernel itself sends,
//! which is how its own requests are noticed. A filter keeps everything else out of the process.
//!
//! Point-to-point links (tun, tunnels, WireGuard) carry bare IP packets and have no link-layer
//! addresses. The node speaks Ethernet everywhere, so such a tap puts a header whose addresses are
//! all zero before what it reads, and takes it off what it sends.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, RawFd};

use nix::libc;
use nix::sys::socket::{LinkAddr, MsgFlags, SockaddrLike, recvfrom, sendto, setsockopt, sockopt};
use socket2::{Domain, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::filter;

/// Bytes of the largest frame that is read; a longer one is cut, which its decoder tells.
pub const FRAME_BYTES: usize = 65_536;

/// What may wait in a tap: reports of thousands of records come in bursts, from each member and on
/// both families.
const QUEUE_BYTES: usize = 4 << 20;

/// `PACKET_OUTGOING`: this machine sends the frame.
const OUTGOING: u8 = 4;

/// Bytes of an Ethernet header: two addresses and the type of what follows.
pub(super) const ETHERNET_BYTES: usize = 14;

/// What an interface's packets are wrapped in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// Ethernet.
    Ethernet,
    /// Nothing: a point-to-point link without link-layer addresses.
    Bare,
}

/// An interface's frames. Closing it ends the tap.
#[derive(Debug)]
pub struct Tap {
    socket: AsyncFd<Frames>,
    layer: Layer,
    ifindex: u32,
}

/// The socket behind a [`Tap`]; owns its descriptor.
#[derive(Debug)]
struct Frames(Socket);

impl AsRawFd for Frames {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Tap {
    /// Opens a tap on the interface with this index. Errors: `EPERM` without `CAP_NET_RAW`,
    /// `ENODEV` when there is no such interface. Needs a tokio runtime.
    pub fn open(ifindex: u32, layer: Layer) -> io::Result<Self> {
        // Without a link layer the kernel's own header of a tunnel, if it has one, is left out too.
        let (kind, filter) = match layer {
            Layer::Ethernet => (Type::RAW, filter::link()),
            Layer::Bare => (Type::DGRAM, filter::bare()),
        };
        // Protocol 0 receives nothing: the filter is in place before the first frame can be.
        let socket = Socket::new(Domain::PACKET, kind.nonblocking().cloexec(), None)?;
        socket.attach_filter(&filter)?;
        // Beyond the usual limit only with privilege over the whole machine; up to it in any case.
        if setsockopt(&socket, sockopt::RcvBufForce, &QUEUE_BYTES).is_err() {
            socket.set_recv_buffer_size(QUEUE_BYTES)?;
        }
        bind(&socket, ifindex)?;
        // SAFETY: `Frames` owns the descriptor and never replaces or closes it before it is
        // dropped, so it stays open and the same for as long as the registration lives.
        let socket = unsafe { AsyncFd::register(Frames(socket)) }.map_err(io::Error::from)?;
        Ok(Self {
            socket,
            layer,
            ifindex,
        })
    }

    /// Waits for a frame and reads it to the front of `buffer`: its length in bytes and whether
    /// this machine sent it. Errors: `ENETDOWN` once when the interface goes down (the tap works
    /// again when it comes back), others when it is gone.
    pub async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
        let read = |frames: &Frames| match self.layer {
            Layer::Ethernet => read(frames, buffer).map(|seen| (seen.length, seen.outgoing)),
            Layer::Bare => {
                let (header, packet) = buffer.split_at_mut(ETHERNET_BYTES);
                let seen = read(frames, packet)?;
                header.fill(0);
                header[12..].copy_from_slice(&seen.protocol.to_be_bytes());
                Ok((ETHERNET_BYTES + seen.length, seen.outgoing))
            }
        };
        self.socket.async_io(Interest::READABLE, read).await
    }

    /// Has the interface take frames to every link-layer group while the tap is open. Errors:
    /// `ENODEV` when it is gone.
    pub fn take_all_groups(&self) -> io::Result<()> {
        join(&self.socket.get_ref().0, self.ifindex, None)
    }

    /// Throws away what waits to be read; how many frames that were.
    pub fn discard(&self) -> usize {
        let mut buffer = [0; 64];
        let mut discarded = 0;
        while read(self.socket.get_ref(), &mut buffer).is_ok() {
            discarded += 1;
        }
        discarded
    }

    /// Sends a whole Ethernet frame at once. Errors: `EAGAIN` or `ENOBUFS` when the queue is full
    /// (the frame is lost, as on any link), `ENETDOWN` when the interface is down.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        let socket = &self.socket.get_ref().0;
        if self.layer == Layer::Ethernet {
            return socket.send(frame).map(drop);
        }
        let cut = || io::Error::from(io::ErrorKind::InvalidInput);
        let (header, packet) = frame.split_at_checked(ETHERNET_BYTES).ok_or_else(cut)?;
        let protocol = u16::from_be_bytes([header[12], header[13]]);
        let to = address(self.ifindex, protocol)?;
        sendto(socket.as_raw_fd(), packet, &to, MsgFlags::empty())?;
        Ok(())
    }
}

/// Has the interface take frames to a link-layer group, or to every one, while the socket is open.
pub(super) fn join(socket: &Socket, ifindex: u32, group: Option<[u8; 6]>) -> io::Result<()> {
    // A link without link-layer addresses takes a request of no length alone.
    let (kind, length) = match group {
        Some(group) => (libc::PACKET_MR_MULTICAST, group.len()),
        None => (libc::PACKET_MR_ALLMULTI, 0),
    };
    let group = group.unwrap_or_default();
    let mut request = libc::packet_mreq {
        mr_ifindex: ifindex.try_into().map_err(io::Error::other)?,
        mr_type: kind as libc::c_ushort,
        mr_alen: length as libc::c_ushort,
        mr_address: [0; 8],
    };
    request.mr_address[..group.len()].copy_from_slice(&group);
    // SAFETY: `request` is an initialised packet_mreq that outlives the call, and the length is its
    // size in bytes.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const request).cast(),
            size_of::<libc::packet_mreq>() as libc::socklen_t,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// What was read of a frame.
struct Seen {
    length: usize,
    outgoing: bool,
    /// Its EtherType.
    protocol: u16,
}

fn read(frames: &Frames, buffer: &mut [u8]) -> io::Result<Seen> {
    let (length, from) = recvfrom::<LinkAddr>(frames.as_raw_fd(), buffer)?;
    Ok(Seen {
        length,
        outgoing: from.is_some_and(|from| from.pkttype() == OUTGOING),
        protocol: from.map_or(0, |from| u16::from_be(from.protocol())),
    })
}

/// Opens a packet socket for carrying all frames of an interface elsewhere as they are: each comes,
/// and must be sent, behind the 10 bytes of a `virtio_net_hdr` that say what the kernel has put off
/// (checksums, segmentation). It does not block and does not see what this machine sends.
///
/// Errors: `EPERM` without `CAP_NET_RAW`, `ENODEV` when there is no such interface.
pub fn open_offloaded(ifindex: u32) -> io::Result<Socket> {
    let socket = Socket::new(Domain::PACKET, Type::RAW.nonblocking().cloexec(), None)?;
    set(&socket, libc::PACKET_VNET_HDR)?;
    set(&socket, libc::PACKET_IGNORE_OUTGOING)?;
    bind(&socket, ifindex)?;
    Ok(socket)
}

/// Turns on an option of the packet level that is a boolean.
fn set(socket: &Socket, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: `on` is an initialised int that outlives the call, and `length` is its size in bytes.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            option,
            (&raw const on).cast(),
            length,
        )
    };
    if done == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Binds a packet socket to the interface with this index, for all protocols. Errors: `ENODEV` when
/// there is no such interface.
pub fn bind(socket: &Socket, ifindex: u32) -> io::Result<()> {
    let address = address(ifindex, libc::ETH_P_ALL as u16)?;
    nix::sys::socket::bind(socket.as_raw_fd(), &address)?;
    Ok(())
}

/// An interface and the EtherType of what is read from or sent to it.
fn address(ifindex: u32, protocol: u16) -> io::Result<LinkAddr> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: protocol.to_be(),
        sll_ifindex: i32::try_from(ifindex).map_err(io::Error::other)?,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: `address` is an initialised sockaddr_ll, which is at least as long as the generic
    // sockaddr, and `length` is its size in bytes.
    let address = unsafe { LinkAddr::from_raw((&raw const address).cast(), Some(length)) };
    address.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
}
