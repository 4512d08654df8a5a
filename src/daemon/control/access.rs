//! Who may do what over the control socket.
//!
//! Root and the daemon's own user command it. Members of the group that the configuration names may
//! ask what only reports. The kernel says who is at the other end; nothing that a peer says counts.

use std::os::fd::AsFd;
use std::path::Path;

use nix::unistd::{Gid, Group, chown};
use tokio::net::UnixStream;

use super::Request;
use crate::daemon::{Failure, exit};
use crate::linux::peer;

/// The process at the other end when it connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Its user.
    pub user: u32,
    /// Its number; 0 where the kernel does not tell.
    pub process: i32,
    may: May,
}

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum May {
    Nothing,
    Ask,
    Command,
}

impl Asker {
    /// Whoever is at the other end, where members of `group` may ask.
    pub(super) fn of(stream: &UnixStream, group: Option<u32>) -> Option<Self> {
        let peer = stream.peer_cred().ok()?;
        let own = nix::unistd::geteuid().as_raw();
        let listed = |group| peer.gid() == group || in_group(stream, group);
        let may = if peer.uid() == 0 || peer.uid() == own {
            May::Command
        } else if group.is_some_and(listed) {
            May::Ask
        } else {
            May::Nothing
        };
        Some(Self {
            user: peer.uid(),
            process: peer.pid().unwrap_or_default(),
            may,
        })
    }

    /// Whether it may do nothing at all.
    pub(super) fn is_stranger(self) -> bool {
        self.may == May::Nothing
    }

    /// Refuses what this one may not do.
    pub(super) fn check(self, request: &Request, group: Option<u32>) -> Result<(), Failure> {
        let user = self.user;
        let (message, remedy) = match self.may {
            May::Command => return Ok(()),
            May::Ask if request.only_asks() => return Ok(()),
            May::Ask => (
                format!("user {user} may ask this daemon, not change it"),
                "run it as root (sudo)".to_owned(),
            ),
            May::Nothing if !request.only_asks() => (
                format!("user {user} may not command this daemon"),
                "run it as root (sudo)".to_owned(),
            ),
            May::Nothing => (
                format!("user {user} may not ask this daemon"),
                match group.map(name) {
                    Some(group) => format!("run it as root (sudo), or as a member of {group}"),
                    None => {
                        "run it as root (sudo), or name a group that may ask: node.group".to_owned()
                    }
                },
            ),
        };
        Err(Failure::new(exit::PRIVILEGE, message).with_remedy(remedy))
    }
}

fn in_group(stream: &impl AsFd, group: u32) -> bool {
    peer::groups(stream).is_ok_and(|groups| groups.contains(&group))
}

fn name(group: u32) -> String {
    let known = Group::from_gid(Gid::from_raw(group)).ok().flatten();
    known.map_or_else(
        || format!("group {group}"),
        |known| format!("group {}", known.name),
    )
}

/// The number of a group that exists.
pub fn group(name: &str) -> Option<u32> {
    let group = Group::from_name(name).ok().flatten()?;
    Some(group.gid.as_raw())
}

/// Lets a group connect to a socket with a path.
pub(super) fn open_to(path: &Path, group: u32) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let named = |error: std::io::Error| {
        let what = format!("control socket {}: {}", path.display(), name(group));
        Failure::io(&what, &error).with_remedy(
            "make the daemon's user a member of the group, or give it CAP_CHOWN, or use @NAME",
        )
    };
    chown(path, None, Some(Gid::from_raw(group))).map_err(|error| named(error.into()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660)).map_err(named)
}
