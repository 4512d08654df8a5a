//! Connections that stay open.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};

/// Asks again and again over one HTTP connection until told to stop; counts answers and notes
/// failures.
pub(super) fn hold_open(address: &str, stop: &AtomicBool, seen: &Mutex<(usize, Vec<String>)>) {
    use std::io::{Read, Write};
    let note = |result: Result<()>| {
        let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.0 += 1;
        match result {
            Ok(()) => true,
            Err(error) => {
                seen.1.push(format!("{address}: {error:#}"));
                false
            }
        }
    };
    let limit = Some(Duration::from_secs(3));
    let connect = || -> Result<std::net::TcpStream> {
        let to = SocketAddr::new(address.parse()?, 80);
        let stream = std::net::TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
        stream.set_read_timeout(limit)?;
        stream.set_write_timeout(limit)?;
        Ok(stream)
    };
    let mut stream = match connect() {
        Ok(stream) => stream,
        Err(error) => {
            note(Err(error));
            return;
        }
    };
    let mut buffer = [0; 1024];
    while !stop.load(Ordering::Acquire) {
        let answer = stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .and_then(|()| stream.read(&mut buffer))
            .context("open connection")
            .and_then(|length| {
                anyhow::ensure!(buffer[..length].starts_with(b"HTTP/1.1 200"), "closed");
                Ok(())
            });
        if !note(answer) {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
