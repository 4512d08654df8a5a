//! The service in a host of a kernel lab, on all its addresses.

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::cmsg_space;
use nix::libc;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg, setsockopt,
    sockopt,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{dns_answer, http_answer, http_is_whole};

/// A client that has not said all in this time is left.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long nobody is accepted after one could not be.
const RELIEF: Duration = Duration::from_millis(10);
/// Connections at the same time; more are closed at once.
const CONNECTIONS: usize = 256;
/// Bytes of a request's head.
const HEAD: usize = 8 << 10;

/// Answers `name` on these ports of all addresses, those that come later among them, until the
/// process ends. A port of 0 is not served.
///
/// # Errors
/// A port is in use or needs a privilege.
pub fn serve(name: &str, http: u16, dns: u16) -> Result<()> {
    let mut threads = Vec::new();
    for domain in [Domain::IPV4, Domain::IPV6] {
        let any: std::net::IpAddr = if domain == Domain::IPV4 {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            Ipv6Addr::UNSPECIFIED.into()
        };
        let name: Arc<str> = name.into();
        if http != 0 {
            let listener = listen(domain, SocketAddr::new(any, http))?;
            let name = Arc::clone(&name);
            threads.push(std::thread::spawn(move || accept(&listener, &name)));
        }
        if dns != 0 {
            let socket = bind(domain, SocketAddr::new(any, dns))?;
            threads.push(std::thread::spawn(move || answer(&socket, &name)));
        }
    }
    for thread in threads {
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("a thread ended"))??;
    }
    Ok(())
}

fn listen(domain: Domain, at: SocketAddr) -> Result<TcpListener> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket
        .bind(&at.into())
        .and_then(|()| socket.listen(128))
        .with_context(|| format!("listen on TCP {at}"))?;
    Ok(socket.into())
}

fn bind(domain: Domain, at: SocketAddr) -> Result<UdpSocket> {
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    if domain == Domain::IPV6 {
        socket.set_only_v6(true)?;
        setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    } else {
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
    }
    socket
        .bind(&at.into())
        .with_context(|| format!("listen on UDP {at}"))?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener, name: &Arc<str>) -> Result<()> {
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        // A connection that was reset while it waited is no reason to end; nor is a lack of
        // descriptors, which others give back.
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(RELIEF);
            continue;
        };
        if open.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS {
            open.fetch_sub(1, Ordering::AcqRel);
            continue;
        }
        let (open, name) = (Arc::clone(&open), Arc::clone(name));
        let count = Arc::clone(&open);
        let talking = std::thread::Builder::new().spawn(move || {
            // The client is gone, or silent: nobody is left to tell.
            let _ = talk(stream, &name);
            open.fetch_sub(1, Ordering::AcqRel);
        });
        if talking.is_err() {
            count.fetch_sub(1, Ordering::AcqRel);
        }
    }
}

fn talk(mut stream: TcpStream, name: &str) -> std::io::Result<()> {
    let begun = Instant::now();
    stream.set_write_timeout(Some(PATIENCE))?;
    let (mut head, mut buffer) = (Vec::new(), [0; 1024]);
    while !http_is_whole(&head) && head.len() < HEAD {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Ok(());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => head.extend(&buffer[..length]),
        }
    }
    stream.write_all(&http_answer(name))
}

/// Answers from the address that was asked: an anycast address is not the one that the kernel would
/// choose by itself.
fn answer(socket: &UdpSocket, name: &str) -> Result<()> {
    let fd = socket.as_raw_fd();
    let mut buffer = [0; 512];
    loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let mut control = cmsg_space!(libc::in6_pktinfo);
        let got = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut control), MsgFlags::empty());
        // An error here is about an answer sent before (a port that nobody listens on).
        let Ok(got) = got else { continue };
        let (length, from) = (got.bytes, got.address);
        let asked: Option<ControlMessageOwned> = got.cmsgs().into_iter().flatten().next();
        let Some(text) = dns_answer(&buffer[..length], name) else {
            continue;
        };
        let parts = [IoSlice::new(&text)];
        let send = |control: &[ControlMessage<'_>]| {
            sendmsg(fd, &parts, control, MsgFlags::empty(), from.as_ref())
        };
        // What cannot be sent is lost, as UDP is.
        let _ = match asked {
            Some(ControlMessageOwned::Ipv4PacketInfo(info)) => {
                let from = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: info.ipi_addr,
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                send(&[ControlMessage::Ipv4PacketInfo(&from)])
            }
            Some(ControlMessageOwned::Ipv6PacketInfo(info)) => {
                let from = libc::in6_pktinfo {
                    ipi6_ifindex: 0,
                    ..info
                };
                send(&[ControlMessage::Ipv6PacketInfo(&from)])
            }
            _ => send(&[]),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_never_comes_to_an_end_is_left() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut slow = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let served = std::thread::spawn(move || {
            let begun = Instant::now();
            let _ = talk(stream, "s1");
            begun.elapsed()
        });
        let begun = Instant::now();
        while !served.is_finished() && begun.elapsed() < 3 * PATIENCE {
            let _ = slow.write_all(b"x");
            std::thread::sleep(Duration::from_millis(100));
        }
        assert!(served.is_finished(), "it is still listened to");
        assert!(served.join().unwrap() >= PATIENCE);
    }
}
