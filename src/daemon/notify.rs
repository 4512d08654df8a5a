//! Telling a service manager how it goes (`sd_notify(3)`).

use std::env;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends one state, like `READY=1`, to the socket that `NOTIFY_SOCKET` names, if it names one.
pub fn send(state: &str) {
    let Some(target) = env::var_os("NOTIFY_SOCKET") else {
        return;
    };
    let address = match target.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(&target),
    };
    let sent = address.and_then(|address| {
        UnixDatagram::unbound()?
            .send_to_addr(state.as_bytes(), &address)
            .map(drop)
    });
    if let Err(error) = sent {
        let target = target.display();
        tracing::warn!(%error, %target, "cannot notify the service manager");
    }
}
