//! The one place for a daemon in a network namespace: two would take each other's rules away.
//!
//! It is an abstract name, which the kernel scopes to the namespace and frees with the process, and
//! a lock below `/run/hamp`, whatever state directory the daemon has been given. The name can be
//! taken by any user of the host, so it counts only when its holder could run hamp here; the lock is
//! out of reach of others, but not everybody has it. Who holds the name and is no daemon keeps
//! nobody from running.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::Path;

use super::holder::{Holder, connect};
use super::state::{Lock, StateDir, USUAL};

/// The name, and as the commands write it.
const NAME: &str = "hamp-daemon";
const SHOWN: &str = "@hamp-daemon";

/// The place; it is free again when this is dropped, or with the process.
#[derive(Debug)]
pub struct Place {
    _name: Option<UnixListener>,
    lock: Option<(StateDir, Lock)>,
    /// Who holds the name and is no daemon.
    pub stranger: Option<Holder>,
}

impl Place {
    /// Takes the place in this thread's network namespace, for a daemon that holds the lock of the
    /// state directory `dir`. `None`: another daemon has it.
    pub fn take(dir: &StateDir) -> io::Result<Option<Self>> {
        let (name, stranger) = match bind() {
            Ok(name) => (Some(name), None),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                // A daemon listens there; who does not, or lets nobody in, is told by its user.
                let holder = match connect(SHOWN) {
                    Ok((_, holder)) => Some(holder),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        Some(Holder::of(SHOWN))
                    }
                    Err(_) => None,
                };
                if holder.is_some_and(|holder| holder.is_trusted()) {
                    return Ok(None);
                }
                (None, Some(holder.unwrap_or_else(|| Holder::of(SHOWN))))
            }
            Err(error) => return Err(error),
        };
        let lock = match StateDir::open(Some(Path::new(USUAL))) {
            Ok(usual) if usual.path() != dir.path() => match usual.lock() {
                Ok(Some(lock)) => Some((usual, lock)),
                Ok(None) => return Ok(None),
                Err(_) => None,
            },
            // Held already, or out of this user's reach.
            _ => None,
        };
        Ok(Some(Self {
            _name: name,
            lock,
            stranger,
        }))
    }

    /// A directory below `/run/hamp` that is this daemon's, if it has one.
    pub fn usual<'a>(&'a self, dir: &'a StateDir) -> &'a Path {
        self.lock.as_ref().map_or(dir, |(usual, _)| usual).path()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((usual, _)) = &self.lock {
            usual.remove_if_empty();
        }
    }
}

fn bind() -> io::Result<UnixListener> {
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(NAME)?)
}
