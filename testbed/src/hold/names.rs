//! The sockets of holders: their names, who listens on them, and asking.

use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hamp::daemon::{Failure, exit};
use nix::sys::socket::sockopt::{PeerCredentials, SendTimeout};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, getsockopt, setsockopt, socket,
};
use nix::sys::time::TimeVal;
use nix::unistd::{Uid, User, getuid};
use serde::de::DeserializeOwned;

use super::talk::{About, Request, ask};

/// What all names begin with.
const PREFIX: &str = "hamp-lab/";
/// How long a holder may take to say what it is.
const LOOK: Duration = Duration::from_secs(10);

fn text(uid: u32, name: &str) -> String {
    format!("{PREFIX}{uid}/{name}")
}

/// The abstract address of a lab's holder.
pub(super) fn address(uid: u32, name: &str) -> Result<SocketAddr> {
    let address = SocketAddr::from_abstract_name(text(uid, name));
    address.with_context(|| format!("{name:?} cannot be the name of a lab"))
}

/// The user who asks: outside of the namespaces that a lab may have made.
pub(super) fn own_uid() -> u32 {
    getuid().as_raw()
}

/// A lab that seems to be up: a socket of that name listens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Found {
    /// Who started it.
    pub uid: u32,
    /// What it is called.
    pub name: String,
}

/// All labs that are up and that we may use: our own, and for root everybody's.
pub fn find() -> Result<Vec<Found>> {
    let table = std::fs::read_to_string("/proc/net/unix").context("list of sockets")?;
    let own = own_uid();
    let mut found: Vec<_> = listening(&table)
        .filter(|found| own == 0 || found.uid == own)
        .filter(|found| !found.is_another_users())
        .collect();
    found.sort();
    found.dedup();
    Ok(found)
}

/// The holders' sockets in the kernel's table: of a listening one the flags have `SO_ACCEPTCON`.
fn listening(table: &str) -> impl Iterator<Item = Found> {
    table.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let flags = u32::from_str_radix(words.nth(3)?, 16).ok()?;
        let name = words.nth(3)?.strip_prefix('@')?.strip_prefix(PREFIX)?;
        let (uid, name) = name.split_once('/')?;
        let listens = flags & 0x1_0000 != 0 && super::is_name(name);
        Some(Found {
            uid: uid.parse().ok()?,
            name: name.into(),
        })
        .filter(|_| listens)
    })
}

/// The lab that is meant: that of this name, or the only one.
///
/// # Errors
/// It is not up, or there are several; the message says which are.
pub fn one(name: Option<&str>) -> Result<Found> {
    let all = find()?;
    let names = || {
        let names: Vec<_> = all.iter().map(|found| found.name.as_str()).collect();
        names.join(", ")
    };
    let failed = |text: String| Err(Failure::new(exit::FAILED, text).into());
    match (name, &all[..]) {
        (None, [one]) => Ok(one.clone()),
        (_, []) => failed(match name {
            Some(name) => format!("no lab {name:?} is up; none is"),
            None => "no lab is up".into(),
        }),
        (None, _) => failed(format!(
            "several labs are up: {}; say which: exec -l NAME, down NAME",
            names()
        )),
        (Some(name), _) => {
            // One's own comes first for root, who sees all.
            let own = own_uid();
            let mut matching: Vec<_> = all.iter().filter(|found| found.name == name).collect();
            matching.sort_by_key(|found| found.uid != own);
            match matching.first() {
                Some(found) => Ok((*found).clone()),
                None => failed(format!("no lab {name:?} is up; up are: {}", names())),
            }
        }
    }
}

impl Found {
    /// Whether we started it.
    pub fn is_ours(&self) -> bool {
        self.uid == own_uid()
    }

    /// This program as the user who started the lab: how root uses it. (In the user namespace of
    /// another user's lab root is nobody.)
    pub fn as_its_user(&self) -> Command {
        let user = User::from_uid(Uid::from_raw(self.uid)).ok().flatten();
        let gid = user.map_or(self.uid, |user| user.gid.as_raw());
        let mut command = Command::new("/proc/self/exe");
        command.arg0("hamp-lab").uid(self.uid).gid(gid);
        command
    }

    /// Connects, if the one who listens is the one whose name it is.
    fn connect(&self) -> Result<UnixStream> {
        let stream = self
            .reach(LOOK)
            .with_context(|| format!("lab {}: its holder does not listen", self.name))?;
        let peer = getsockopt(&stream, PeerCredentials)?;
        ensure!(
            peer.uid() == self.uid,
            "the socket of lab {} belongs to user {}: not used",
            self.name,
            peer.uid()
        );
        Ok(stream)
    }

    /// Connects to whoever listens.
    fn reach(&self, limit: Duration) -> Result<UnixStream> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
        let wait = TimeVal::new(limit.as_secs().cast_signed(), limit.subsec_micros().into());
        // A holder that hangs accepts nobody, and then connecting takes as long as this.
        setsockopt(&socket, SendTimeout, &wait)?;
        let address = UnixAddr::new_abstract(text(self.uid, &self.name).as_bytes())?;
        connect(socket.as_raw_fd(), &address)?;
        Ok(socket.into())
    }

    /// Whether another user has taken this name: whoever comes first may listen on it.
    pub(super) fn is_another_users(&self) -> bool {
        let peer = self
            .reach(Duration::from_secs(1))
            .and_then(|stream| Ok(getsockopt(&stream, PeerCredentials)?));
        peer.is_ok_and(|peer| peer.uid() != self.uid)
    }

    /// Asks its holder.
    ///
    /// # Errors
    /// It does not answer within `limit`, or what it answers.
    pub fn ask<T: DeserializeOwned>(&self, request: &Request, limit: Duration) -> Result<T> {
        let stream = self.connect()?;
        ask(&stream, request, limit).with_context(|| format!("lab {}", self.name))
    }

    /// What it is.
    ///
    /// # Errors
    /// It does not answer.
    pub fn about(&self) -> Result<About> {
        self.ask(&Request::About, LOOK)
    }

    /// Ends it, and waits until nothing of it is left.
    ///
    /// # Errors
    /// It does not answer.
    pub fn down(&self) -> Result<()> {
        self.ask(&Request::Down, Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listening_sockets_of_holders_are_found() {
        let table = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            ffff: 00000002 00000000 00010000 0001 01 1 @hamp-lab/1000/three\n\
            ffff: 00000003 00000000 00000000 0001 03 2 @hamp-lab/1000/connected\n\
            ffff: 00000002 00000000 00010000 0001 01 3 @hamp\n\
            ffff: 00000002 00000000 00010000 0001 01 4 /run/hamp-lab/1000/x\n\
            ffff: 00000002 00000000 00010000 0001 01 5 @hamp-lab/x/y\n\
            ffff: 00000002 00000000 00010000 0001 01 6 @hamp-lab/0/a\u{1b}b\n\
            ffff: 00000003 00000000 00000000 0001 03 7\n";
        let found: Vec<_> = listening(table).collect();
        let three = Found {
            uid: 1000,
            name: "three".into(),
        };
        assert_eq!(found, [three]);
    }
    #[test]
    fn who_accepts_nobody_is_not_waited_for_without_end() {
        use nix::sys::socket::{Backlog, bind, listen};
        let found = Found {
            uid: own_uid(),
            name: format!("hangs-{}", std::process::id()),
        };
        let address = UnixAddr::new_abstract(text(found.uid, &found.name).as_bytes()).unwrap();
        let (family, kind) = (AddressFamily::Unix, SockType::Stream);
        let listener = socket(family, kind, SockFlag::SOCK_CLOEXEC, None).unwrap();
        bind(listener.as_raw_fd(), &address).unwrap();
        listen(&listener, Backlog::new(0).unwrap()).unwrap();
        let limit = Duration::from_millis(100);
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            // One waits to be accepted, and there is no room for another.
            let _first = found.reach(limit).unwrap();
            tell.send(found.reach(limit).is_err())
        });
        assert!(told.recv_timeout(Duration::from_secs(20)).unwrap());
    }
}
