//! Frames on links, with the kernel's time of each.
//!
//! One packet socket per port of a switch, each with a filter for its port (a socket of our own
//! buffer each, so a burst on one link does not push out another's), all read by one thread. Frames
//! the kernel had to drop are counted: an analysis that rests on a capture says so if it is not
//! whole.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType,
    recvmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use pcap_file::DataLink;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption, InterfaceTsResolution,
};
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use socket2::SockFilter;

use crate::lab::{Lab, mac_text};

/// Bytes of each frame kept in memory, enough for a report of a dozen addresses; files get all.
pub const KEPT: usize = 512;
/// What a socket asks the kernel to hold for it, in bytes; an ordinary user gets
/// `net.core.rmem_max` instead.
const BUFFER: usize = 8 << 20;
/// Length of `sll_pkttype` for frames the port sends (linux/if_packet.h, PACKET_OUTGOING).
const OUTGOING: u8 = 4;

/// Nanoseconds since 1970, the clock of captures and of everything compared with them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(pub u64);

impl Stamp {
    /// This moment.
    pub fn now() -> Self {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Milliseconds from `earlier` to this; negative if it is later.
    pub fn ms_since(self, earlier: Self) -> f64 {
        #[expect(
            clippy::cast_precision_loss,
            reason = "differences of one run are small"
        )]
        let ms = self.0.wrapping_sub(earlier.0).cast_signed() as f64 / 1e6;
        ms
    }

    /// The time from `earlier` to this; `None` if it is not later.
    pub fn since(self, earlier: Self) -> Option<Duration> {
        let nanos = self.0.checked_sub(earlier.0)?;
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// This moment and a duration.
    #[must_use]
    pub fn plus(self, more: Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(more.as_nanos()).unwrap_or(u64::MAX)),
        )
    }
}

/// A link as a capture names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The host at its end.
    pub host: String,
    /// The host's interface.
    pub interface: String,
    /// The switch's port.
    pub port: String,
    /// The host's link-layer address on it.
    pub mac: [u8; 6],
}

/// A frame that passed a port.
#[derive(Clone, Debug)]
pub struct Frame {
    /// When, by the kernel.
    pub at: Stamp,
    /// Which link, as an index into [`Captured::links`].
    pub link: usize,
    /// Sent by the host at the link's end (true) or to it.
    pub from_host: bool,
    /// Its length on the link, in bytes.
    pub length: usize,
    /// Its first [`KEPT`] bytes.
    pub bytes: Box<[u8]>,
}

/// Frames of a finished capture.
#[derive(Clone, Debug, Default)]
pub struct Captured {
    /// The links, in the order of the switch's ports.
    pub links: Vec<Link>,
    /// All frames, each link's in order.
    pub frames: Vec<Frame>,
    /// Frames the kernel dropped because we were too slow.
    pub lost: u64,
}

/// A running capture of all links of a switch.
#[derive(Debug)]
pub struct Capture {
    links: Vec<Link>,
    frames: Arc<Mutex<Vec<Frame>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

impl Capture {
    /// Starts to capture the links of `switch`; with `files`, also to `HOST.pcapng` in that
    /// directory.
    pub fn start(lab: &Lab, switch: &str, files: Option<&Path>) -> Result<Self> {
        let ends = lab
            .hosts()
            .iter()
            .flat_map(|h| h.interfaces().iter().map(move |i| (h, i)));
        let links: Vec<Link> = ends
            .filter(|(_, i)| i.peer == switch)
            .map(|(h, i)| Link {
                host: h.name().into(),
                interface: i.name.clone(),
                port: i.port.clone(),
                mac: i.mac,
            })
            .collect();
        let mut taps = Vec::new();
        for link in &links {
            let path = files.map(|dir| dir.join(format!("{}.pcapng", link.port)));
            taps.push((
                link.port.clone(),
                path.map(|p| writer(&p, link, switch)).transpose()?,
            ));
        }
        let frames = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (tell, told) = std::sync::mpsc::channel();
        let thread = lab.host(switch).thread("capture", {
            let (frames, stop) = (Arc::clone(&frames), Arc::clone(&stop));
            move || {
                let taps: Result<Vec<Tap>> = taps
                    .into_iter()
                    .map(|(port, file)| Tap::open(&port, file))
                    .collect();
                match taps {
                    Ok(mut taps) => {
                        let _ = tell.send(Ok(()));
                        read(&mut taps, &frames, &stop)
                    }
                    Err(error) => {
                        let _ = tell.send(Err(error));
                        Ok(0)
                    }
                }
            }
        })?;
        told.recv().context("capture thread")??;
        Ok(Self {
            links,
            frames,
            stop,
            thread: Some(thread),
        })
    }

    /// The links.
    pub fn links(&self) -> &[Link] {
        &self.links
    }

    /// Frames from the `from`-th on, so far.
    pub fn since(&self, from: usize) -> Vec<Frame> {
        locked(&self.frames)
            .get(from..)
            .unwrap_or_default()
            .to_vec()
    }

    /// Ends it and hands over what it saw.
    pub fn finish(mut self) -> Result<Captured> {
        self.stop.store(true, Ordering::Release);
        let thread = self.thread.take().context("capture has ended")?;
        let lost = thread.join().map_err(|_| anyhow!("capture thread"))??;
        let frames = std::mem::take(&mut *locked(&self.frames));
        Ok(Captured {
            links: self.links.clone(),
            frames,
            lost,
        })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn locked(frames: &Mutex<Vec<Frame>>) -> MutexGuard<'_, Vec<Frame>> {
    frames.lock().unwrap_or_else(PoisonError::into_inner)
}

type Writer = PcapNgWriter<BufWriter<File>>;

/// A pcapng file with one interface, named after the link.
fn writer(path: &PathBuf, link: &Link, switch: &str) -> Result<Writer> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    let mut writer = PcapNgWriter::new(BufWriter::new(file))?;
    let about = format!(
        "{} of host {} ({}) at port {} of switch {switch}",
        link.interface,
        link.host,
        mac_text(link.mac),
        link.port
    );
    let interface = InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: 0,
        options: vec![
            InterfaceDescriptionOption::IfName(Cow::Borrowed(&link.port)),
            InterfaceDescriptionOption::IfDescription(Cow::Owned(about)),
            InterfaceDescriptionOption::IfTsResol(InterfaceTsResolution::NANO),
        ],
    };
    writer.write_block(&interface.into_block())?;
    Ok(writer)
}

/// The socket of one port.
struct Tap {
    socket: OwnedFd,
    file: Option<Writer>,
    /// Drops the kernel has told of, which it counts from the socket's creation.
    lost: u32,
}

impl Tap {
    fn open(port: &str, file: Option<Writer>) -> Result<Self> {
        let index = if_nametoindex(port).with_context(|| format!("port {port}"))?;
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let family = AddressFamily::Packet;
        let socket = socket(family, SockType::Raw, flags, SockProtocol::EthAll)
            .context("packet socket (CAP_NET_RAW)")?;
        // Classic BPF: load the interface index (SKF_AD_OFF + SKF_AD_IFINDEX), compare, keep all or
        // nothing.
        let filter = [
            SockFilter::new(0x20, 0, 0, 0xffff_f008),
            SockFilter::new(0x15, 0, 1, index),
            SockFilter::new(0x06, 0, 0, 0x0004_0000),
            SockFilter::new(0x06, 0, 0, 0),
        ];
        let socket = socket2::Socket::from(socket);
        socket.attach_filter(&filter).context("socket filter")?;
        let socket = OwnedFd::from(socket);
        setsockopt(&socket, sockopt::ReceiveTimestampns, &true).context("kernel timestamps")?;
        setsockopt(&socket, sockopt::RxqOvfl, &1).context("count of drops")?;
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            setsockopt(&socket, sockopt::RcvBuf, &BUFFER).context("receive buffer")?;
        }
        // Frames of other ports that came in between socket() and the filter.
        let mut tap = Self {
            socket,
            file,
            lost: 0,
        };
        let mut buffer = vec![0; 64];
        while tap.next(&mut buffer).is_some() {}
        Ok(tap)
    }

    /// The next waiting frame: time, direction, length on the link.
    fn next(&mut self, buffer: &mut [u8]) -> Option<(Stamp, bool, usize)> {
        let mut parts = [IoSliceMut::new(buffer)];
        let mut control = cmsg_space!(TimeSpec, u32);
        let fd = self.socket.as_raw_fd();
        loop {
            let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_TRUNC;
            let got = match recvmsg::<LinkAddr>(fd, &mut parts, Some(&mut control), flags) {
                Ok(got) => got,
                Err(Errno::EINTR) => continue,
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
            return Some((at, !outgoing, got.bytes));
        }
    }
}

/// Reads all taps until told to stop, and once more after that.
fn read(taps: &mut [Tap], frames: &Mutex<Vec<Frame>>, stop: &AtomicBool) -> Result<u64> {
    let mut buffer = vec![0; 1 << 16];
    let mut last = false;
    while !last {
        last = stop.load(Ordering::Acquire);
        let mut fds: Vec<_> = taps
            .iter()
            .map(|t| PollFd::new(t.socket.as_fd(), PollFlags::POLLIN))
            .collect();
        let wait = if last {
            PollTimeout::ZERO
        } else {
            PollTimeout::from(50u16)
        };
        let _ = poll(&mut fds, wait);
        drop(fds);
        for (link, tap) in taps.iter_mut().enumerate() {
            while let Some((at, from_host, length)) = tap.next(&mut buffer) {
                let whole = &buffer[..length.min(buffer.len())];
                if let Some(file) = &mut tap.file {
                    file.write_block(&packet(at, from_host, length, whole).into_block())?;
                }
                let bytes = whole[..whole.len().min(KEPT)].into();
                locked(frames).push(Frame {
                    at,
                    link,
                    from_host,
                    length,
                    bytes,
                });
            }
        }
    }
    Ok(taps.iter().map(|t| u64::from(t.lost)).sum())
}

fn packet(at: Stamp, from_host: bool, length: usize, data: &[u8]) -> EnhancedPacketBlock<'_> {
    EnhancedPacketBlock {
        interface_id: 0,
        timestamp: Duration::from_nanos(at.0),
        original_len: u32::try_from(length).unwrap_or(u32::MAX),
        data: Cow::Borrowed(data),
        // Inbound or outbound as the switch sees it (pcapng, EPB flags, bits 0-1).
        options: vec![EnhancedPacketOption::Flags(if from_host { 1 } else { 2 })],
    }
}
