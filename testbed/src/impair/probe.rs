//! Numbered datagrams across a link, and the kernel's times of each at both ends: what impairments
//! are measured with.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use crate::capture::{Capture, Frame, Stamp};
use crate::lab::{Lab, mac_text};
use crate::wait;

/// UDP port the datagrams go to (discard, RFC 863).
const PORT: u16 = 9;
/// Ethernet, IPv4 and UDP headers.
pub const HEADERS: usize = 42;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// How many datagrams.
    pub count: u32,
    /// Time from one to the next; zero is as fast as the sender can.
    pub gap: Duration,
    /// Length of a frame, from the link-layer header on: at least [`HEADERS`] + 4 bytes.
    pub length: usize,
    /// How long to wait for those still on their way after the last was sent.
    pub patience: Duration,
}

/// One datagram.
#[derive(Clone, Debug, Default)]
pub struct Passage {
    /// When it left its host.
    pub sent: Stamp,
    /// When it, and each copy, came to the other.
    pub arrived: Vec<Stamp>,
}

impl Passage {
    /// How long it took, in milliseconds; `None` if it was lost.
    pub fn took_ms(&self) -> Option<f64> {
        Some(self.arrived.first()?.ms_since(self.sent))
    }
}

/// What came of a [`Plan`].
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// All datagrams by their numbers.
    pub passages: Vec<Passage>,
    /// Numbers in the order they arrived.
    pub order: Vec<u32>,
    /// Frames the capture missed; a result with any is worth nothing.
    pub missed: u64,
}

impl Stream {
    /// How long each that arrived took, in milliseconds, in ascending order.
    pub fn times_ms(&self) -> Vec<f64> {
        let mut times: Vec<_> = self.passages.iter().filter_map(Passage::took_ms).collect();
        times.sort_by(f64::total_cmp);
        times
    }

    /// How many did not arrive.
    pub fn lost(&self) -> usize {
        let lost = self.passages.iter().filter(|p| p.arrived.is_empty());
        lost.count()
    }
}

/// Sends datagrams from `from` to `to`, which are plugged into one switch with their `eth0`.
///
/// # Errors
/// They are not, or the capture or the sockets fail.
pub fn stream(lab: &Lab, from: &str, to: &str, plan: Plan) -> Result<Stream> {
    let (sender, receiver) = (lab.host(from), lab.host(to));
    let (out, into) = (sender.interface("eth0")?, receiver.interface("eth0")?);
    ensure!(
        out.peer == into.peer,
        "{from} and {to} are on different switches"
    );
    let address = receiver.address(false).context("no IPv4 address")?;
    // No ARP among the frames that are counted.
    let neighbour = format!(
        "neigh replace {address} lladdr {} dev eth0",
        mac_text(into.mac)
    );
    let mut command = vec!["ip"];
    command.extend(neighbour.split(' '));
    sender.run(&command)?.ok()?;
    let bind = |address: SocketAddr| move || UdpSocket::bind(address);
    let joined = |thread: std::thread::JoinHandle<std::io::Result<UdpSocket>>| {
        let socket = thread.join().map_err(|_| anyhow!("thread in a host"))?;
        socket.context("socket of a probe")
    };
    let _sink = joined(receiver.thread("probe", bind(SocketAddr::new(address, PORT)))?)?;
    let any = SocketAddr::from(([0, 0, 0, 0], 0));
    let socket = joined(sender.thread("probe", bind(any))?)?;
    let capture = Capture::start(lab, &out.peer, None)?;
    let mac = [out.mac, into.mac];
    let at = mac.map(|mac| capture.links().iter().position(|link| link.mac == mac));
    let [Some(out), Some(into)] = at else {
        return Err(anyhow!("{from} or {to} is not captured"));
    };
    let start = Instant::now();
    for number in 0..plan.count {
        let due = start + plan.gap * number;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut datagram = vec![0; plan.length - HEADERS];
        datagram[..4].copy_from_slice(&number.to_be_bytes());
        socket.send_to(&datagram, (address, PORT))?;
    }
    let sent = Instant::now();
    wait::until("datagrams", plan.patience + Duration::from_secs(10), || {
        let frames = capture.since(0);
        let arrived = frames.iter().filter(|f| f.link == into && !f.from_host);
        let all: BTreeSet<_> = arrived.filter_map(number).collect();
        let all = all.len() >= plan.count as usize;
        (all || sent.elapsed() >= plan.patience).then_some(())
    })?;
    let captured = capture.finish()?;
    let mut stream = Stream {
        passages: vec![Passage::default(); plan.count as usize],
        order: Vec::new(),
        missed: captured.lost,
    };
    for frame in &captured.frames {
        let Some(number) = number(frame) else {
            continue;
        };
        let passage = stream.passages.get_mut(number as usize);
        let passage = passage.with_context(|| format!("a datagram {number} of nobody"))?;
        if frame.link == out && frame.from_host {
            passage.sent = frame.at;
        } else if frame.link == into && !frame.from_host {
            passage.arrived.push(frame.at);
            stream.order.push(number);
        }
    }
    Ok(stream)
}

/// The number in a frame of ours.
fn number(frame: &Frame) -> Option<u32> {
    let bytes = &frame.bytes;
    let ours = bytes.get(12..14)? == [0x08, 0x00]
        && *bytes.get(23)? == 17
        && bytes.get(36..38)? == PORT.to_be_bytes();
    let number = bytes.get(HEADERS..HEADERS + 4).filter(|_| ours)?;
    number.try_into().ok().map(u32::from_be_bytes)
}
