//! Who holds the name of a Unix socket.
//!
//! Abstract names and world-writable directories are open to every user of a host, so a name alone
//! says nothing about who listens there. The kernel does (`SO_PEERCRED`): root, one's own user and
//! the owner of `/run/hamp` are believed, since whoever is one of them could run hamp here. Of a
//! socket that does not listen the kernel's table tells the inode, and `/proc` who has it open.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{getsockopt, sockopt};
use socket2::{Domain, SockAddr, Socket, Type};

use super::state::USUAL;

/// How long connecting may take: the kernel does it at once, unless too many wait already.
const PATIENCE: Duration = Duration::from_secs(1);

/// The holder of a name, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Holder {
    /// The user.
    pub uid: Option<u32>,
    /// The process; none that is in a PID namespace beside this one.
    pub pid: Option<u32>,
}

impl Holder {
    /// Whether it is a user whose word counts here.
    pub fn is_trusted(&self) -> bool {
        let owner = || fs::metadata(USUAL).ok().map(|about| about.uid());
        self.uid.is_some_and(|uid| {
            uid == 0 || uid == nix::unistd::geteuid().as_raw() || Some(uid) == owner()
        })
    }

    /// Who has the socket of this name open: `@NAME`, or a path.
    pub fn of(name: &str) -> Self {
        let table = fs::read_to_string("/proc/net/unix").unwrap_or_default();
        let inode = table
            .lines()
            .find_map(|line| inode_of(line, name).filter(|inode| *inode != "0"));
        inode.and_then(open_by).unwrap_or_default()
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.uid {
            Some(uid) => write!(f, "user {uid}")?,
            None => f.write_str("an unknown user")?,
        }
        let Some(pid) = self.pid else {
            return f.write_str(", a process that is not seen from here");
        };
        write!(f, ", process {pid}")?;
        match fs::read_to_string(format!("/proc/{pid}/comm")) {
            Ok(name) => write!(f, " ({})", name.trim().escape_default()),
            Err(_) => Ok(()),
        }
    }
}

/// Connects to `@NAME` or a path and tells who listens there. Errors: nobody does; `WouldBlock` when
/// whoever listens lets nobody in.
pub fn connect(name: &str) -> io::Result<(UnixStream, Holder)> {
    let path = match name.strip_prefix('@') {
        Some(name) => PathBuf::from(format!("\0{name}")),
        None => PathBuf::from(name),
    };
    let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.connect(&SockAddr::unix(path)?)?;
    let peer = getsockopt(&socket, sockopt::PeerCredentials)?;
    let holder = Holder {
        uid: Some(peer.uid()),
        pid: u32::try_from(peer.pid()).ok().filter(|pid| *pid > 0),
    };
    Ok((socket.into(), holder))
}

/// The inode of the kernel's line about a socket, if it is about this name.
fn inode_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    // Fields are padded, and a name may hold spaces.
    let mut rest = line;
    for _ in 0..6 {
        rest = rest.trim_start().split_once(' ')?.1;
    }
    let (inode, path) = rest.trim_start().split_once(' ')?;
    (path == name).then_some(inode)
}

/// The first process that is seen to have the socket with this inode open, and whose it is.
fn open_by(inode: &str) -> Option<Holder> {
    let link = PathBuf::from(format!("socket:[{inode}]"));
    let process = |entry: fs::DirEntry| -> Option<Holder> {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let mut files = fs::read_dir(entry.path().join("fd")).ok()?.flatten();
        let open = files.find(|file| fs::read_link(file.path()).is_ok_and(|to| to == link))?;
        Some(Holder {
            uid: owner(&open.path()),
            pid: Some(pid),
        })
    };
    fs::read_dir("/proc").ok()?.flatten().find_map(process)
}

/// The user who opened a socket, by a process's file of it.
fn owner(file: &Path) -> Option<u32> {
    fs::metadata(file).ok().map(|about| about.uid())
}

#[cfg(test)]
mod tests {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};

    use super::*;

    #[test]
    fn lines_of_the_kernels_table_are_told_apart_by_name() {
        let line = "0000000000000000: 00000002 00000000 00010000 0001 01 48211 @hamp x";
        assert_eq!(inode_of(line, "@hamp x"), Some("48211"));
        assert_eq!(inode_of(line, "@hamp"), None);
        let padded = "0000000000000000: 00000002 00000000 00010000 0001 01    77 /run/s";
        assert_eq!(inode_of(padded, "/run/s"), Some("77"));
        assert_eq!(
            inode_of("0: 00000003 00000000 00000000 0001 03 7", ""),
            None
        );
    }

    #[test]
    fn the_holder_of_a_name_is_known_whether_it_listens_or_not() {
        let own = Holder {
            uid: Some(nix::unistd::geteuid().as_raw()),
            pid: Some(std::process::id()),
        };
        let name = format!("hamp-holder-{}", std::process::id());
        let at = |name: &str| SocketAddr::from_abstract_name(name).unwrap();
        let _listens = UnixListener::bind_addr(&at(&name)).unwrap();
        let (_, holder) = connect(&format!("@{name}")).unwrap();
        assert_eq!(holder, own);
        assert!(holder.is_trusted());
        let silent = format!("{name}-silent");
        let _silent = UnixDatagram::bind_addr(&at(&silent)).unwrap();
        assert!(connect(&format!("@{silent}")).is_err());
        assert_eq!(Holder::of(&format!("@{silent}")), own);
        assert_eq!(Holder::of("@hamp-nobody-holds-this"), Holder::default());
    }

    #[test]
    fn another_user_is_not_believed() {
        let stranger = Holder {
            uid: Some(12345),
            pid: None,
        };
        assert!(!stranger.is_trusted());
        assert!(!Holder::default().is_trusted(), "nor an unknown one");
        let said = stranger.to_string();
        assert!(said.starts_with("user 12345, "), "{said}");
    }
}
