//! A connection for many requests at once.
//!
//! Requests are sent in batches and only the last of a batch is acknowledged: the kernel answers a
//! request that fails in any case, in order and before that acknowledgement. So a batch costs two
//! system calls, and nothing is in doubt after it. The calls block, for a millisecond a batch; who has
//! something else to do has them on a thread of their own.

use std::io;

use nix::libc;
use rtnetlink::sys::{
    Socket, SocketAddr,
    protocols::{NETLINK_NETFILTER, NETLINK_ROUTE},
};

use super::message::{HEADER, Requests, number};

/// Requests in a batch. The answers of a batch all of whose requests fail fit into the socket's
/// default buffer, which an ordinary user cannot enlarge.
const BATCH: usize = 128;
/// What a dump is read in.
const BUFFER: usize = 64 * 1024;

/// A request that the kernel refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Which of the requests, from 0.
    pub index: usize,
    /// The kernel's error number.
    pub errno: i32,
}

/// The connection. Made in the network namespace of the thread that opens it.
#[derive(Debug)]
pub struct Bulk {
    socket: Socket,
    port: u32,
    buffer: Vec<u8>,
}

impl Bulk {
    /// Connects.
    pub fn open() -> io::Result<Self> {
        Self::connect(NETLINK_ROUTE)
    }

    /// Connects to the packet filter.
    pub fn netfilter() -> io::Result<Self> {
        Self::connect(NETLINK_NETFILTER)
    }

    fn connect(protocol: isize) -> io::Result<Self> {
        let mut socket = Socket::new(protocol)?;
        let port = socket.bind_auto()?.port_number();
        socket.connect(&SocketAddr::new(0, 0))?;
        // An error quotes the header of its request, not all of it.
        socket.set_cap_ack(true)?;
        // Dumps are filtered by the kernel (since 4.20; without it we do).
        let _ = socket.set_netlink_get_strict_chk(true);
        Ok(Self {
            socket,
            port,
            buffer: Vec::with_capacity(BUFFER),
        })
    }

    /// The port number, which notifications of what was done here carry.
    pub fn port(&self) -> u32 {
        self.port
    }

    /// Has all requests carried out, in order; those that were refused. Errors: the connection.
    pub(super) fn run(&mut self, mut requests: Requests) -> io::Result<Vec<Refusal>> {
        let mut refused = Vec::new();
        let all = requests.len();
        for first in (0..all).step_by(BATCH) {
            let end = (first + BATCH).min(all);
            requests.acknowledge(end - 1);
            self.socket.send(requests.slice(first..end), 0)?;
            self.answers(end, &mut refused)?;
        }
        Ok(refused)
    }

    /// Reads answers up to that of request number `last` (from 1).
    fn answers(&mut self, last: usize, refused: &mut Vec<Refusal>) -> io::Result<()> {
        loop {
            self.receive()?;
            for (kind, sequence, body) in messages(&self.buffer) {
                if i32::from(kind) != libc::NLMSG_ERROR {
                    continue;
                }
                let code = number(body)
                    .ok_or(io::ErrorKind::InvalidData)?
                    .cast_signed();
                let sequence = usize::try_from(sequence).unwrap_or_default();
                if code != 0 {
                    refused.push(Refusal {
                        index: sequence.saturating_sub(1),
                        errno: -code,
                    });
                }
                if sequence == last {
                    return Ok(());
                }
            }
        }
    }

    /// Asks for a dump and hands each message of it on.
    pub(super) fn dump(
        &mut self,
        kind: u16,
        header: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.request(kind, libc::NLM_F_DUMP, header, &mut each)
    }

    /// Asks for one thing and hands it on.
    pub(super) fn ask(
        &mut self,
        kind: u16,
        header: &[u8],
        mut each: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        self.request(kind, libc::NLM_F_ACK, header, &mut each)
    }

    fn request(
        &mut self,
        kind: u16,
        flags: i32,
        header: &[u8],
        each: &mut dyn FnMut(&[u8]),
    ) -> io::Result<()> {
        let mut requests = Requests::default();
        requests.begin(kind, flags, header);
        self.socket.send(requests.slice(0..1), 0)?;
        loop {
            self.receive()?;
            for (kind, _, body) in messages(&self.buffer) {
                match i32::from(kind) {
                    libc::NLMSG_DONE => return Ok(()),
                    libc::NLMSG_ERROR => {
                        return match number(body).unwrap_or_default().cast_signed() {
                            0 => Ok(()),
                            code => Err(io::Error::from_raw_os_error(-code)),
                        };
                    }
                    _ => each(body),
                }
            }
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        loop {
            self.buffer.clear();
            match self.socket.recv(&mut self.buffer, 0) {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Type, sequence number and contents of the messages in a datagram.
pub(super) fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, u32, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::try_from(number(bytes)?).ok()?;
        let message = bytes.get(..length).filter(|_| length >= HEADER)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes([message[4], message[5]]);
        Some((kind, number(&message[8..])?, &message[HEADER..]))
    })
}
