//! Frames on links, with the kernel's time of each.
//!
//! One packet socket per tap (a socket and a buffer of its own each, so a burst on one link does
//! not push out another's), opened in the host's namespace and read by one thread of the lab.
//! Frames the kernel had to drop are counted: an analysis that rests on a capture says so if it is
//! not whole.
//!
//! ```text
//!     host a                              switch lan                             host b
//!     eth0 |---------- cable -----------| a        b |---------- cable ----------| eth0
//!      ^                                  ^        ^                               ^
//!      Capture::all: as a sends and gets  Capture::start: as they pass the switch  Capture::all
//! ```
//!
//! Where to tap matters on an impaired cable, since what the cable does to a frame happens between
//! its two ends: between a switch's port and its bridge, so that at the port frames of the host are
//! seen as it sent them, and those to it as they arrive. The kernel hands over what it carries: with
//! TCP's offloads on, segments larger than the link's MTU, and checksums that nobody has computed
//! yet.
//!
//! Files: `tap` the socket, `pcapng` the files, `ends` who a packet is from and to.

mod ends;
mod pcapng;
mod tap;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow};

use crate::lab::{Lab, mac_text};
use crate::topology::Kind;
pub(crate) use ends::ends;
use pcapng::{Interface, Output};
use tap::{Side, Tap};

/// Bytes of each frame kept in memory, enough for a report of a dozen addresses; files get all.
pub const KEPT: usize = 512;

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
    /// The interface at the other end; on a switch, its port.
    pub port: String,
    /// The host's link-layer address on it.
    pub mac: [u8; 6],
}

/// A frame that passed a tap.
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
    /// The links.
    pub links: Vec<Link>,
    /// All frames in the order of their times.
    pub frames: Vec<Frame>,
    /// Frames the kernel dropped because we were too slow.
    pub lost: u64,
}

impl Captured {
    /// Writes the frames, as far as they were kept, to one pcapng file with an interface for each
    /// link. A simulation's record can be looked at with Wireshark like that too.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let interfaces = self
            .links
            .iter()
            .map(|link| interface(link, Side::Host, None));
        let mut output = Output::one(path, &interfaces.collect::<Vec<_>>())?;
        let mut write = |frame: &Frame| output.write(frame, Side::Host, &frame.bytes);
        let all = self.frames.iter().try_for_each(&mut write);
        all.and_then(|()| output.finish())
            .with_context(|| format!("write {}", path.display()))
    }
}

/// A running capture.
#[derive(Debug)]
pub struct Capture {
    links: Vec<Link>,
    frames: Arc<Mutex<Vec<Frame>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<u64>>>,
}

/// Where a tap goes, and what is seen there.
struct Place<'a> {
    /// The node and its interface.
    node: &'a str,
    interface: &'a str,
    side: Side,
    link: Link,
    /// What is plugged into the other end.
    peer: &'a str,
}

impl Capture {
    /// Starts to capture the links of `switch` at its ports, in their order; with `files`, also to
    /// `PORT.pcapng` in that directory, one for each.
    ///
    /// # Errors
    /// A file or a tap cannot be opened.
    pub fn start(lab: &Lab, switch: &str, files: Option<&Path>) -> Result<Self> {
        let all = lab.hosts().iter();
        let ends = all.flat_map(|host| host.interfaces().iter().map(move |i| (host, i)));
        let places: Vec<_> = ends
            .filter(|(_, i)| i.peer == switch)
            .map(|(host, i)| Place {
                node: switch,
                interface: &i.port,
                side: Side::Switch,
                link: link_of(host.name(), i),
                peer: switch,
            })
            .collect();
        let output = files.map_or(Ok(Output::None), |dir| {
            let named = |place: &Place| {
                let path = dir.join(format!("{}.pcapng", place.link.port));
                (path, interface(&place.link, place.side, Some(place.peer)))
            };
            Output::each(places.iter().map(named))
        })?;
        Self::open(lab, places, output)
    }

    /// Starts to capture every cable of the lab: each host and router at its own end, so that a
    /// frame is seen where it is sent and where it arrives; a cable between two switches at one of
    /// them. With `file`, also to that pcapng file, with an interface for each tap, named
    /// `HOST.INTERFACE`.
    ///
    /// # Errors
    /// The file or a tap cannot be opened.
    pub fn all(lab: &Lab, file: Option<&Path>) -> Result<Self> {
        let topology = lab.topology();
        let mut places = Vec::new();
        for (index, (host, node)) in lab.hosts().iter().zip(&topology.nodes).enumerate() {
            for ((_, _, other), own) in topology.plugs(index).zip(host.interfaces()) {
                let to_switch = topology.nodes[other.node].kind == Kind::Switch;
                // Of two switches, the one that was described first.
                if node.kind == Kind::Switch && (!to_switch || other.node < index) {
                    continue;
                }
                places.push(Place {
                    node: host.name(),
                    interface: &own.name,
                    side: Side::Host,
                    link: link_of(host.name(), own),
                    peer: &own.peer,
                });
            }
        }
        let named = places.iter();
        let named = named.map(|place| interface(&place.link, place.side, Some(place.peer)));
        let output = file.map_or(Ok(Output::None), |path| {
            Output::one(path, &named.collect::<Vec<_>>())
        })?;
        Self::open(lab, places, output)
    }

    /// Opens the taps and begins to read them.
    fn open(lab: &Lab, places: Vec<Place>, output: Output) -> Result<Self> {
        let (mut taps, mut links) = (Vec::new(), Vec::new());
        for place in places {
            let (interface, side) = (place.interface.to_owned(), place.side);
            let tap = lab
                .host(place.node)
                .inside(move || Tap::open(&interface, side))?;
            taps.push(tap.with_context(|| format!("{} of {}", place.interface, place.node))?);
            links.push(place.link);
        }
        if let Some(host) = lab.hosts().first() {
            host.inside(tap::stamps)??;
        }
        let frames = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::Builder::new().name("capture".into()).spawn({
            let (frames, stop) = (Arc::clone(&frames), Arc::clone(&stop));
            move || read(taps, output, &frames, &stop)
        })?;
        Ok(Self {
            links,
            frames,
            stop,
            thread: Some(thread),
        })
    }

    /// The frames since the last call, which are not kept: a capture that never ends stays small.
    pub fn take(&self) -> Vec<Frame> {
        std::mem::take(&mut *locked(&self.frames))
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

    /// Ends it and hands over what it saw; files are complete then.
    ///
    /// # Errors
    /// A file could not be written.
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

fn link_of(host: &str, interface: &crate::Interface) -> Link {
    Link {
        host: host.into(),
        interface: interface.name.clone(),
        port: interface.port.clone(),
        mac: interface.mac,
    }
}

/// What a file says about a tap.
fn interface(link: &Link, side: Side, peer: Option<&str>) -> Interface {
    let end = format!(
        "{} of {} ({})",
        link.interface,
        link.host,
        mac_text(link.mac)
    );
    let peer = peer.map(|peer| format!(" of {peer}")).unwrap_or_default();
    match side {
        Side::Host => Interface {
            name: format!("{}.{}", link.host, link.interface),
            about: format!("{end}, cable to {}{peer}", link.port),
        },
        Side::Switch => Interface {
            name: link.port.clone(),
            about: format!("cable of {end}, at port {}{peer}", link.port),
        },
    }
}

/// Reads all taps until told to stop, and once more after that; how many frames were lost.
fn read(
    mut taps: Vec<Tap>,
    mut output: Output,
    frames: &Mutex<Vec<Frame>>,
    stop: &AtomicBool,
) -> Result<u64> {
    // Read, but not handed on: a frame of another tap may be older.
    let mut waiting: Vec<(Frame, Vec<u8>)> = Vec::new();
    let mut buffer = vec![0; tap::FRAME];
    let mut last = false;
    while !last {
        last = stop.load(Ordering::Acquire);
        tap::ready(&taps, if waiting.is_empty() { 50 } else { 1 }, last);
        let begun = Stamp::now();
        for (link, tap) in taps.iter_mut().enumerate() {
            while let Some((at, from_host, length)) = tap.next(&mut buffer) {
                let bytes = &buffer[..length.min(tap::FRAME)];
                let frame = Frame {
                    at,
                    link,
                    from_host,
                    length,
                    bytes: bytes[..bytes.len().min(KEPT)].into(),
                };
                waiting.push((frame, bytes.into()));
            }
        }
        waiting.sort_by_key(|(frame, _)| frame.at);
        let old = waiting.partition_point(|(frame, _)| last || frame.at < begun);
        for (frame, bytes) in waiting.drain(..old) {
            output.write(&frame, taps[frame.link].side(), &bytes)?;
            locked(frames).push(frame);
        }
    }
    output.finish()?;
    Ok(taps.iter().map(Tap::lost).sum())
}
