//! What benches of links measure alike: connects and transfers between two hosts of a lab.
//!
//! Threads are bound to processors, so that where they run is no part of the noise.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use socket2::{Domain, Protocol, Socket, Type};
use testbed::Host;

/// Which end sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Towards {
    /// The client.
    Server,
    /// The server.
    Client,
}

/// A listener in `server` that takes connections of thousands before anybody accepts them.
pub(crate) fn listen(server: &Host, at: SocketAddr) -> Result<TcpListener> {
    let listening = server.thread("listen", move || -> Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(at), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        if at.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&at.into())?;
        socket.listen(4_096)?;
        Ok(socket.into())
    })?;
    listening.join().map_err(|_| anyhow!("listen panicked"))?
}

/// Runs the calling thread on one processor, the first one again where there is no such.
fn pin(processor: usize) -> Result<()> {
    let processors = std::thread::available_parallelism()?.get();
    let mut set = CpuSet::new();
    set.set(processor % processors)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// How long `count` calls of `connect()` take, in nanoseconds, sorted. The same thread drains the
/// listener in between, so no other one has to be woken up.
pub(crate) fn connects(
    client: &Host,
    to: SocketAddr,
    listener: &TcpListener,
    count: usize,
) -> Result<Vec<f64>> {
    const BATCH: usize = 100;
    let listener = listener.try_clone()?;
    let times = client.thread("connect", move || -> Result<Vec<f64>> {
        pin(0)?;
        let mut times = Vec::with_capacity(count);
        while times.len() < count {
            let batch = BATCH.min(count - times.len());
            for _ in 0..batch {
                let domain = Domain::for_address(to);
                let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
                let before = Instant::now();
                socket.connect(&to.into())?;
                times.push(before.elapsed().as_nanos() as f64);
                socket.set_linger(Some(Duration::ZERO))?;
            }
            for _ in 0..batch {
                drop(listener.accept()?);
            }
        }
        Ok(times)
    })?;
    let mut times = times.join().map_err(|_| anyhow!("connect panicked"))??;
    times.sort_by(f64::total_cmp);
    Ok(times)
}

/// What a transfer came to, as the receiver counts bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moved {
    /// Bytes per second.
    pub(crate) per_s: f64,
    /// Bytes per second of processor time that both ends' threads used: what the path costs,
    /// whoever else is using the processors.
    pub(crate) per_processor_s: f64,
}

/// One end of a transfer, when it is over: bytes, seconds, and seconds of processor time.
type End = (f64, f64, f64);

/// One connection that lasts so long, the client on one processor and the server on another.
pub(crate) fn transfer(
    (client, server): (&Host, &Host),
    to: SocketAddr,
    listener: &TcpListener,
    lasts: Duration,
    towards: Towards,
    processors: (usize, usize),
) -> Result<Moved> {
    let end = move |processor: usize, mut stream: Socket, sends: bool| -> Result<End> {
        pin(processor)?;
        let mut buffer = vec![0; 128 * 1024];
        let (began, used) = (Instant::now(), processor_time()?);
        let mut bytes = 0;
        while !sends || began.elapsed() < lasts {
            let moved = match sends {
                true => stream.write(&buffer)?,
                false => stream.read(&mut buffer)?,
            };
            if moved == 0 {
                break;
            }
            bytes += moved;
        }
        let used = processor_time()? - used;
        Ok((
            bytes as f64,
            began.elapsed().as_secs_f64(),
            used.as_secs_f64(),
        ))
    };
    let up = towards == Towards::Server;
    let listener = listener.try_clone()?;
    let (here, there) = processors;
    let serving = server.thread("serve", move || {
        end(there, listener.accept()?.0.into(), !up)
    })?;
    let using = client.thread("use", move || {
        let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(Protocol::TCP))?;
        socket.connect(&to.into())?;
        end(here, socket, up)
    })?;
    let used = using.join().map_err(|_| anyhow!("the client panicked"))??;
    let served = serving
        .join()
        .map_err(|_| anyhow!("the server panicked"))??;
    let (bytes, seconds, _) = if up { served } else { used };
    Ok(Moved {
        per_s: bytes / seconds,
        per_processor_s: bytes / (used.2 + served.2),
    })
}

/// What the calling thread has used.
fn processor_time() -> nix::Result<Duration> {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from)
}
