//! Where a daemon listens: on the name that it was given, or beside a stranger who has that name.

use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{self as std_unix, SocketAddr};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;
use tokio::sync::mpsc;

use super::{Call, PRIVATE, accept, access};
use crate::daemon::{Failure, exit};
use crate::linux::holder::{self, Holder};

/// The listening side. A socket with a path is removed when this is dropped.
#[derive(Debug)]
pub struct Listener {
    name: String,
    path: Option<PathBuf>,
    /// It is in a directory of the daemon's own, for want of its name.
    private: bool,
    task: tokio::task::JoinHandle<()>,
}

impl Listener {
    /// Listens on `@NAME` or a path, or in the directory `private` if a stranger does, and sends
    /// what is asked to `calls`; members of `group` may ask. Errors: another daemon listens there.
    pub fn start(
        name: &str,
        private: &Path,
        group: Option<u32>,
        calls: mpsc::Sender<Call>,
    ) -> Result<Self, Failure> {
        match bind(name)? {
            Bound::Here(listener, path) => {
                Self::accept(name, listener, path, false, (group, calls))
            }
            Bound::Stranger(holder) => {
                let instead = private.join(PRIVATE);
                let instead = instead.to_string_lossy();
                // Without a directory there is no other place that commands would look at.
                if private.is_absolute()
                    && let Bound::Here(listener, path) = bind(&instead)?
                {
                    tracing::warn!(
                        control = &*instead,
                        "{name}, the name of the control socket, is held by {holder}, which is no \
                         hamp daemon: commands look for this one here too"
                    );
                    return Self::accept(&instead, listener, path, true, (group, calls));
                }
                let message = format!("control socket {name}: {holder} is there");
                Err(Failure::new(exit::FAILED, message)
                    .with_remedy("end that process, or name another socket: node.control"))
            }
        }
    }

    fn accept(
        name: &str,
        listener: std_unix::UnixListener,
        path: Option<PathBuf>,
        private: bool,
        (group, calls): (Option<u32>, mpsc::Sender<Call>),
    ) -> Result<Self, Failure> {
        if let (Some(path), Some(group)) = (&path, group)
            && let Err(failure) = access::open_to(path, group)
        {
            let _ = std::fs::remove_file(path);
            return Err(failure);
        }
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| UnixListener::from_std(listener));
        let listener = listener.map_err(|error| failed(name, &error))?;
        Ok(Self {
            name: name.to_owned(),
            path,
            private,
            task: tokio::spawn(accept(listener, group, calls)),
        })
    }

    /// `@NAME` or the path.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
            // Left for the socket's sake, if nothing else is in it.
            let directory = path.parent().filter(|_| self.private);
            let _ = directory.map(std::fs::remove_dir);
        }
    }
}

/// A socket of a name, or who has the name.
enum Bound {
    Here(std_unix::UnixListener, Option<PathBuf>),
    Stranger(Holder),
}

fn bind(name: &str) -> Result<Bound, Failure> {
    let failed = |error: io::Error| failed(name, &error);
    let address = address(name).map_err(failed)?;
    let path = address.as_pathname().map(Path::to_owned);
    match std_unix::UnixListener::bind_addr(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {}
        bound => return Ok(Bound::Here(bound.map_err(failed)?, path)),
    }
    let holder = match (holder::connect(name), &path) {
        (Ok((_, holder)), _) => holder,
        // Nobody listens: left by a daemon that was killed, unless it is no socket at all.
        (Err(error), Some(path)) if error.kind() == ErrorKind::ConnectionRefused => {
            let about = path.symlink_metadata().map_err(failed)?;
            if !about.file_type().is_socket() {
                let message = format!("control socket {name}: another file is there");
                return Err(
                    Failure::new(exit::FAILED, message).with_remedy("name another path, or @NAME")
                );
            }
            std::fs::remove_file(path).map_err(failed)?;
            let listener = std_unix::UnixListener::bind_addr(&address).map_err(failed)?;
            return Ok(Bound::Here(listener, Some(path.clone())));
        }
        _ => Holder::of(name),
    };
    if holder.is_trusted() {
        return Err(running(Some(name)));
    }
    Ok(Bound::Stranger(holder))
}

fn failed(name: &str, error: &io::Error) -> Failure {
    Failure::io(&format!("control socket {name}"), error)
}

/// What is said when a daemon runs already, which listens at `control` if that is known.
pub fn running(control: Option<&str>) -> Failure {
    let control = control.map_or_else(String::new, |name| format!(" (control {name})"));
    let message = format!("another hamp daemon runs in this network namespace{control}");
    Failure::new(exit::FAILED, message).with_remedy("hamp status, or stop that one first")
}

pub(super) fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}
