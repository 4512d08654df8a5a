//! Frames of an interface, as they come and go.

use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::net::if_::if_nametoindex;

use super::Captured;
use crate::daemon::{Failure, exit};
use crate::linux::messages::Listener;
use crate::linux::packet::FRAME_BYTES;

/// Calls `see` with each frame that holds a message, while it says so. Errors: no such interface,
/// one that goes away, no `CAP_NET_RAW`.
pub(super) fn each_frame(
    interface: &str,
    mut see: impl FnMut(Captured<'_>) -> bool,
) -> Result<(), Failure> {
    let index = if_nametoindex(interface).map_err(|_| {
        Failure::new(exit::FAILED, format!("{interface}: no such interface"))
            .with_remedy("ip -brief link")
    })?;
    let failed = |error: io::Error| Failure::io(interface, &error);
    let listener = Listener::open(index).map_err(failed)?;
    let mut buffer = Box::new([0; FRAME_BYTES]);
    loop {
        let length = match listener.receive(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // It works again when the interface is up again.
            Err(error) if error.kind() == io::ErrorKind::NetworkDown => {
                if if_nametoindex(interface) == Ok(index) {
                    continue;
                }
                return Err(Failure::new(
                    exit::FAILED,
                    format!("{interface}: the interface is gone"),
                ));
            }
            Err(error) => return Err(failed(error)),
        };
        let captured = Captured {
            at: since_1970(),
            interface: None,
            bytes: &buffer[..length],
        };
        if !see(captured) {
            return Ok(());
        }
    }
}

fn since_1970() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default()
}
