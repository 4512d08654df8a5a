//! The relay: impaired links in user space, for kernels without netem and for exact repetition.
//!
//! A relayed link is two veth pairs; their inner ends lie in a namespace that is neither host's.
//! One thread for all relayed links of a lab reads frames from one inner end, asks the
//! [`Direction`](super::Direction) what becomes of them, and sends them from the other at their
//! time. The time a frame has waited to be read counts as part of its delay.
//!
//! Frames keep the kernel's notes on checksums and segmentation, so 64 KB of TCP pass as one while
//! there is only a delay. Where the fate of single frames matters they are taken apart first
//! (`segment`).
//!
//! Files: `run` the thread, `line` its links, `port` its sockets, `segment` frames that are several.

mod line;
mod port;
mod run;
mod segment;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, Result, anyhow};
use hamp::proto::random::Random;
use nix::sched::{CloneFlags, setns, unshare};
use nix::sys::eventfd::{EfdFlags, EventFd};

pub(super) use port::Port;

use super::{Counts, Impairment};

/// Link-layer addresses of those whose frames do not arrive.
pub(super) type Barred = BTreeSet<[u8; 6]>;

/// What became of the frames that one end of a relayed link has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// By the impairment.
    pub counts: Counts,
    /// Frames lost because this machine was too slow or too full: no part of the impairment. A
    /// measurement that rests on the link says so if there are any.
    pub overrun: u64,
}

/// A link to be relayed.
#[derive(Debug)]
pub(super) struct Wiring {
    /// What faces end 0 and end 1.
    pub ports: [Port; 2],
    /// What happens to frames that end 0 and end 1 send.
    pub sends: [Impairment; 2],
    /// What decides about them.
    pub random: [Random; 2],
}

/// What the thread is told.
enum Command {
    Add(Box<Wiring>, mpsc::Sender<usize>),
    Set(usize, [Impairment; 2], mpsc::Sender<()>),
    /// Whose frames do not arrive at end 0 and at end 1.
    Bar(usize, [Barred; 2], mpsc::Sender<()>),
    Count(usize, mpsc::Sender<[Passed; 2]>),
}

/// The running thread, and the network namespace it lives in. Dropping it ends both.
#[derive(Debug)]
pub(super) struct Relay {
    commands: Option<mpsc::Sender<Command>>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
    netns: File,
}

impl Relay {
    /// Starts the thread, in a namespace of its own without interfaces.
    pub(in crate::impair) fn start() -> Result<Self> {
        let (commands, queue) = mpsc::channel();
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_flags(flags).context("eventfd")?);
        let (tell, told) = mpsc::channel();
        let thread = std::thread::Builder::new().name("relay".into()).spawn({
            let wake = Arc::clone(&wake);
            move || {
                let begun = found().and_then(|netns| Ok((netns, run::Run::new(queue, wake)?)));
                match begun {
                    Ok((netns, run)) => {
                        let _ = tell.send(Ok(netns));
                        run.run();
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            }
        })?;
        let netns = told.recv().context("relay thread")??;
        Ok(Self {
            commands: Some(commands),
            wake,
            thread: Some(thread),
            netns,
        })
    }

    /// The namespace as `ip` takes it after `netns`.
    pub(in crate::impair) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.netns.as_raw_fd())
    }

    /// Does `job` on a thread in that namespace.
    pub(in crate::impair) fn inside<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let netns = self.netns.try_clone().context("namespace of cables")?;
        let thread = std::thread::Builder::new()
            .name("cables".into())
            .spawn(move || {
                setns(&netns, CloneFlags::CLONE_NEWNET).context("enter namespace of cables")?;
                job()
            })?;
        thread
            .join()
            .map_err(|_| anyhow!("thread in a namespace"))?
    }

    /// Relays one more link; its number.
    pub(in crate::impair) fn add(&self, wiring: Wiring) -> Result<usize> {
        self.ask(|reply| Command::Add(Box::new(wiring), reply))
    }

    /// Changes what happens to frames that ends 0 and 1 of a link send, both from one frame on.
    pub(in crate::impair) fn set(&self, line: usize, sends: [Impairment; 2]) -> Result<()> {
        self.ask(|reply| Command::Set(line, sends, reply))
    }

    /// Says whose frames do not arrive at ends 0 and 1 of a link.
    pub(in crate::impair) fn bar(&self, line: usize, barred: [Barred; 2]) -> Result<()> {
        self.ask(|reply| Command::Bar(line, barred, reply))
    }

    /// What became of the frames that ends 0 and 1 of a link have sent.
    pub(in crate::impair) fn count(&self, line: usize) -> Result<[Passed; 2]> {
        self.ask(|reply| Command::Count(line, reply))
    }

    fn ask<T>(&self, command: impl FnOnce(mpsc::Sender<T>) -> Command) -> Result<T> {
        let (reply, answer) = mpsc::channel();
        let commands = self.commands.as_ref().context("the relay has ended")?;
        commands
            .send(command(reply))
            .map_err(|_| anyhow!("the relay has ended"))?;
        self.wake.write(1).context("wake the relay")?;
        answer.recv().context("the relay has ended")
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // The end of the queue ends the thread.
        drop(self.commands.take());
        let _ = self.wake.write(1);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Moves the calling thread to a network namespace of its own.
fn found() -> Result<File> {
    unshare(CloneFlags::CLONE_NEWNET)
        .with_context(|| format!("namespace of cables ({})", crate::enter::remedy()))?;
    crate::enter::own_netns()
}
