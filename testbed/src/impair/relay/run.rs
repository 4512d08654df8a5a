//! The relay's thread: frames in, frames out at their time.
//!
//! One `ppoll` waits for whatever comes first: a frame, a command, or the time of the next frame,
//! with the resolution of the kernel's timers.

use std::collections::BinaryHeap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::EventFd;
use nix::sys::time::TimeSpec;

use super::line::{Due, Line, Way};
use super::segment::{HEADER, split};
use super::{Command, Passed, Wiring};
use crate::impair::Fate;

/// A frame of 64 KB, its link-layer header and its offload header.
const BUFFER: usize = 66 << 10;
/// Frames read from one socket before others have their turn.
const BURST: usize = 64;
/// Bytes in flight in one direction: 100 ms of 10 Gbit/s.
const IN_FLIGHT: usize = 128 << 20;
/// Buffers of full size that are kept for reuse.
const SPARE: usize = 64;
/// What epoll says when a command has come.
const COMMAND: u64 = u64::MAX;

/// The state of the thread.
pub(super) struct Run {
    commands: Receiver<Command>,
    wake: Arc<EventFd>,
    epoll: Epoll,
    start: Instant,
    lines: Vec<Line>,
    due: BinaryHeap<Due>,
    /// Frames so far: what was sent first arrives first among equals.
    order: u64,
    buffer: Vec<u8>,
    spare: Vec<Vec<u8>>,
}

impl Run {
    pub(super) fn new(commands: Receiver<Command>, wake: Arc<EventFd>) -> Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).context("epoll")?;
        let event = EpollEvent::new(EpollFlags::EPOLLIN, COMMAND);
        epoll.add(&*wake, event).context("epoll")?;
        // The default of 50 us would be added to every delay.
        nix::sys::prctl::set_timerslack(1).context("timer slack")?;
        Ok(Self {
            commands,
            wake,
            epoll,
            start: Instant::now(),
            lines: Vec::new(),
            due: BinaryHeap::new(),
            order: 0,
            buffer: vec![0; BUFFER],
            spare: Vec::new(),
        })
    }

    /// Relays until nobody can send commands any more.
    pub(super) fn run(mut self) {
        let mut events = [EpollEvent::empty(); 64];
        loop {
            self.deliver();
            let next = self.due.peek().map(|due| due.at.saturating_sub(self.now()));
            let wait = next.map(|nanos| TimeSpec::from(Duration::from_nanos(nanos)));
            let mut fds = [PollFd::new(self.epoll.0.as_fd(), PollFlags::POLLIN)];
            // Interrupted or not, what follows looks for itself.
            let _ = ppoll(&mut fds, wait, None);
            let ready = self
                .epoll
                .wait(&mut events, EpollTimeout::ZERO)
                .unwrap_or(0);
            for event in &events[..ready] {
                match event.data() {
                    COMMAND => {
                        if !self.obey() {
                            return;
                        }
                    }
                    // Line and port, as `add` has put them.
                    place => {
                        self.read((place >> 1) as usize, (place & 1) as usize);
                        // One port's burst does not make the frames of others late.
                        self.deliver();
                    }
                }
            }
        }
    }

    fn now(&self) -> u64 {
        // 64 bits of nanoseconds are 584 years.
        self.start.elapsed().as_nanos() as u64
    }

    /// Does what was commanded; false at the end of all commands.
    fn obey(&mut self) -> bool {
        let _ = self.wake.read();
        loop {
            // Who asked may have gone: nothing to do about it.
            match self.commands.try_recv() {
                Ok(Command::Add(wiring, reply)) => {
                    let line = self.lines.len();
                    if self.add(*wiring).is_ok() {
                        let _ = reply.send(line);
                    }
                }
                Ok(Command::Set(line, sends, reply)) => {
                    for (way, impairment) in self.lines[line].ways.iter_mut().zip(sends) {
                        way.set(impairment);
                    }
                    let _ = reply.send(());
                }
                Ok(Command::Bar(line, [at_0, at_1], reply)) => {
                    // What arrives at end 1 comes from end 0.
                    for (way, barred) in self.lines[line].ways.iter_mut().zip([at_1, at_0]) {
                        way.barred = barred;
                    }
                    let _ = reply.send(());
                }
                Ok(Command::Count(line, reply)) => {
                    let Line { ports, ways } = &self.lines[line];
                    let _ = reply.send([0, 1].map(|end| Passed {
                        counts: ways[end].machine.counts(),
                        overrun: ways[end].dropped + u64::from(ports[end].overrun()),
                    }));
                }
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    fn add(&mut self, wiring: Wiring) -> nix::Result<()> {
        let place = (self.lines.len() as u64) << 1;
        for (end, port) in (0..).zip(&wiring.ports) {
            let event = EpollEvent::new(EpollFlags::EPOLLIN, place | end);
            self.epoll.add(port, event)?;
        }
        let [a, b] = wiring.sends;
        let [random_a, random_b] = wiring.random;
        self.lines.push(Line {
            ports: wiring.ports,
            ways: [Way::new(a, random_a), Way::new(b, random_b)],
        });
        Ok(())
    }

    /// Reads what has come to a port.
    fn read(&mut self, line: usize, from: usize) {
        for _ in 0..BURST {
            let Some(read) = self.lines[line].ports[from].receive(&mut self.buffer) else {
                return;
            };
            let now = self.now();
            let way = &mut self.lines[line].ways[from];
            // When it was sent, not when it was read.
            way.last = now.saturating_sub(read.age).max(way.last);
            let sent = way.last;
            let parts = if way.whole {
                None
            } else {
                split(&self.buffer[..read.length])
            };
            match parts {
                Some(parts) => {
                    for part in parts {
                        let length = part.len();
                        self.pass(line, from, [sent, now], length, Some(part));
                    }
                }
                None => self.pass(line, from, [sent, now], read.length, None),
            }
        }
    }

    /// Decides about a frame: in `part`, or the first bytes of the buffer.
    fn pass(
        &mut self,
        line: usize,
        from: usize,
        [sent, now]: [u64; 2],
        length: usize,
        part: Option<Vec<u8>>,
    ) {
        let Line { ports, ways } = &mut self.lines[line];
        let way = &mut ways[from];
        let on_link = length.saturating_sub(HEADER);
        let Fate::Arrives { at, twice } = way.machine.frame(sent, on_link, &mut way.random) else {
            return;
        };
        // What is due now waits for nothing, unless others wait that are before it.
        if at <= now && way.in_flight == 0 {
            let packet = part.as_deref().unwrap_or(&self.buffer[..length]);
            for _ in 0..=usize::from(twice) {
                way.deliver(&ports[1 - from], packet);
            }
            return;
        }
        let copies = 1 + usize::from(twice);
        if way.in_flight + copies * length > IN_FLIGHT {
            way.dropped += copies as u64;
            return;
        }
        way.in_flight += copies * length;
        let packet = part.unwrap_or_else(|| self.keep(length));
        if twice {
            self.push(at, line, from, packet[..length].to_vec(), length);
        }
        self.push(at, line, from, packet, length);
    }

    /// The frame in the buffer: small ones are copied, of large ones the buffer itself is kept.
    fn keep(&mut self, length: usize) -> Vec<u8> {
        if length < BUFFER / 4 {
            return self.buffer[..length].to_vec();
        }
        let fresh = self.spare.pop().unwrap_or_else(|| vec![0; BUFFER]);
        std::mem::replace(&mut self.buffer, fresh)
    }

    fn push(&mut self, at: u64, line: usize, from: usize, packet: Vec<u8>, length: usize) {
        self.order += 1;
        self.due.push(Due {
            at,
            order: self.order,
            line,
            from,
            packet,
            length,
        });
    }

    /// Sends what is due.
    fn deliver(&mut self) {
        let now = self.now();
        while self.due.peek().is_some_and(|due| due.at <= now) {
            let Some(due) = self.due.pop() else { return };
            let Line { ports, ways } = &mut self.lines[due.line];
            let way = &mut ways[due.from];
            way.in_flight -= due.length;
            way.deliver(&ports[1 - due.from], &due.packet[..due.length]);
            if due.packet.len() == BUFFER && self.spare.len() < SPARE {
                self.spare.push(due.packet);
            }
        }
    }
}
