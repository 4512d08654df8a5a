//! Kernel settings that are changed while the daemon runs, and put back.
//!
//! The old value is in the state file before the new one is written, so it can be put back after a
//! crash too. A setting that somebody else changed in the meantime is left alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::state::{Saved, StateDir};

/// Where the kernel shows its settings.
const ROOT: &str = "/proc/sys";

/// `arp_announce` of an interface: how the kernel chooses the sender address of its ARP requests.
pub fn arp_announce(interface: &str) -> String {
    format!("net/ipv4/conf/{interface}/arp_announce")
}

/// `send_redirects` of an interface: whether a router tells hosts of a better one. Both it and that
/// of `all` must be off for it to be off.
pub fn send_redirects(interface: &str) -> String {
    format!("net/ipv4/conf/{interface}/send_redirects")
}

/// `tcp_mtu_probing`: path MTU discovery without ICMP, which the TCP rewriting rules do not carry.
pub const TCP_MTU_PROBING: &str = "net/ipv4/tcp_mtu_probing";

/// `ip_nonlocal_bind` of IPv6: whether a program may send from, and bind, an address that is none of
/// an interface. The addresses of a whole prefix are local by a route alone.
pub const IPV6_NONLOCAL_BIND: &str = "net/ipv6/ip_nonlocal_bind";

/// Whether packets of others are forwarded at all, in each family. These are the administrator's.
pub const FORWARDING: [(&str, &str); 2] = [
    ("ipv4", "net/ipv4/ip_forward"),
    ("ipv6", "net/ipv6/conf/all/forwarding"),
];

/// Whether lo does without IPv6, so that no address of it can be held there.
pub const LO_DISABLE_IPV6: &str = "net/ipv6/conf/lo/disable_ipv6";

/// Whether the kernel does IPv6 at all.
pub fn has_ipv6() -> bool {
    Path::new(ROOT).join("net/ipv6").exists()
}

/// Whether a setting that is a switch is on; one that does not exist is off.
pub fn is_on(path: &str) -> bool {
    read(&file(path)).is_ok_and(|value| value != "0")
}

/// Writes `value` to the setting at `path` (below `/proc/sys`) and saves what was there before;
/// nothing is saved when it has that value already.
pub fn set(dir: &mut StateDir, path: &str, value: &str) -> io::Result<()> {
    dir.wanted.insert(path.to_owned(), value.to_owned());
    let file = file(path);
    let now = read(&file)?;
    if now == value {
        return Ok(());
    }
    let saved = dir.state.sysctls.get(path);
    // Only the first value is the one from before us.
    let was = saved
        .filter(|saved| saved.set == now)
        .map_or(now, |saved| saved.was.clone());
    dir.state.sysctls.insert(
        path.to_owned(),
        Saved {
            was,
            set: value.to_owned(),
        },
    );
    dir.save()?;
    fs::write(&file, value).map_err(|error| named(&file, &error))
}

/// Puts the setting at `path` back, if it was changed.
pub fn restore(dir: &mut StateDir, path: &str) -> io::Result<()> {
    dir.wanted.remove(path);
    let Some(saved) = dir.state.sysctls.get(path).cloned() else {
        return Ok(());
    };
    put_back(path, &saved)?;
    dir.state.sysctls.remove(path);
    dir.save()
}

/// Sets again what somebody else has changed of what was [`set`]; those settings and their values.
pub fn verify(dir: &mut StateDir) -> Vec<String> {
    let mut changed = Vec::new();
    for (path, value) in dir.wanted.clone() {
        match read(&file(&path)) {
            Ok(now) if now == value => {}
            Ok(now) => match set(dir, &path, &value) {
                Ok(()) => changed.push(format!("{} = {now}", path.replace('/', "."))),
                Err(error) => tracing::debug!(path, %error, "setting not set again"),
            },
            // With its interface.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                dir.wanted.remove(&path);
            }
            Err(error) => tracing::debug!(path, %error, "setting not read"),
        }
    }
    changed
}

/// Puts every saved setting back; which ones were changed by this, and those that would not go
/// back with the reason. A setting that is gone, with its interface, is done.
pub fn restore_all(dir: &mut StateDir) -> io::Result<(Vec<String>, Vec<io::Error>)> {
    dir.wanted.clear();
    let (mut restored, mut failed) = (Vec::new(), Vec::new());
    for (path, saved) in dir.state.sysctls.clone() {
        match put_back(&path, &saved) {
            Ok(changed) => {
                dir.state.sysctls.remove(&path);
                restored.extend(changed.then_some(path));
            }
            Err(error) => failed.push(error),
        }
    }
    dir.save()?;
    Ok((restored, failed))
}

/// Whether the value was written: not if the setting is gone or is no longer as we set it.
fn put_back(path: &str, saved: &Saved) -> io::Result<bool> {
    let file = file(path);
    match read(&file) {
        Ok(now) if now == saved.set => {
            fs::write(&file, &saved.was).map_err(|error| named(&file, &error))?;
            Ok(true)
        }
        Ok(_) => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn file(path: &str) -> PathBuf {
    Path::new(ROOT).join(path)
}

fn read(file: &Path) -> io::Result<String> {
    let value = fs::read_to_string(file).map_err(|error| named(file, &error))?;
    Ok(value.trim().to_owned())
}

fn named(file: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", file.display()))
}
