//! What must be known after a crash: the old values of changed settings, and what was configured.
//!
//! One small JSON file per network namespace, in `/run/hamp/<inode of the namespace>` (or under
//! `$HAMP_STATE`, or `$XDG_RUNTIME_DIR/hamp` for an ordinary user). It is replaced whole, before the
//! change that it describes is made. Inode numbers of namespaces are reused, so the file also holds
//! the namespace's cookie, which never is: a file about another namespace is ignored. A lock beside
//! it tells whether a daemon lives.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io;
use std::mem::size_of;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::libc;
use serde::{Deserialize, Serialize};
use socket2::{Domain, Socket, Type};

use crate::addr::Prefix;

/// A setting of the kernel that was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Saved {
    /// The value before.
    pub was: String,
    /// The value that was written.
    pub set: String,
}

/// The contents of the file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// `SO_NETNS_COOKIE` of the namespace that it is about.
    pub netns_cookie: u64,
    /// Changed settings, by path below `/proc/sys`.
    #[serde(default)]
    pub sysctls: BTreeMap<String, Saved>,
    /// Anycast prefixes that were configured on lo.
    #[serde(default)]
    pub prefixes: BTreeSet<Prefix>,
    /// This host serves nothing until it is told to: what was joined before that, beside what its
    /// configuration names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<Vec<Joined>>,
    /// Where the daemon that wrote this listens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<String>,
}

/// A prefix that was joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// What.
    pub prefix: Prefix,
    /// Higher answers first.
    pub preference: u16,
    /// How far routers may carry it, as on the wire.
    pub scope: u8,
}

/// A state directory's lock, until this is dropped; nothing where there is no directory.
#[derive(Debug)]
pub struct Lock {
    _file: Option<File>,
}

/// Where state is kept, unless another place is named: below a directory that is root's alone.
pub const USUAL: &str = "/run/hamp";

/// The state directory of this network namespace.
#[derive(Debug)]
pub struct StateDir {
    /// Empty where there is none.
    path: PathBuf,
    /// The last attempt to save failed.
    unsaved: AtomicBool,
    /// What the file says; write with [`StateDir::save`].
    pub state: State,
    /// Settings that are to stay as they were set, by path below `/proc/sys`.
    pub wanted: BTreeMap<String, String>,
}

impl StateDir {
    /// Opens, and creates if need be, the state directory below `base` (`None`: the usual places),
    /// and reads the state in it; what cannot be read counts as empty.
    pub fn open(base: Option<&Path>) -> io::Result<Self> {
        let netns_cookie = cookie()?;
        let path = create(base)?;
        let empty = State {
            netns_cookie,
            ..State::default()
        };
        let state = fs::read(path.join("state.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice::<State>(&bytes).ok())
            .filter(|state| state.netns_cookie == netns_cookie)
            .unwrap_or(empty);
        let unsaved = AtomicBool::new(false);
        Ok(Self {
            path,
            unsaved,
            state,
            wanted: BTreeMap::new(),
        })
    }

    /// What stands for a state directory where none can be had: it is forgotten with the process.
    pub fn in_memory() -> Self {
        Self {
            path: PathBuf::new(),
            unsaved: AtomicBool::new(false),
            state: State::default(),
            wanted: BTreeMap::new(),
        }
    }

    /// The directory; empty where there is none.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file by the state in memory. That a disk is full, or has become read-only, is
    /// told once, and keeps nobody from anything else.
    pub fn save(&self) -> io::Result<()> {
        if self.path.as_os_str().is_empty() {
            return Ok(());
        }
        let bytes = serde_json::to_vec_pretty(&self.state).map_err(io::Error::other)?;
        let new = self.path.join("state.json.new");
        let saved =
            fs::write(&new, bytes).and_then(|()| fs::rename(new, self.path.join("state.json")));
        let told = self.unsaved.swap(saved.is_err(), Ordering::Relaxed);
        if let (Err(error), false) = (saved, told) {
            let path = self.path.display();
            tracing::warn!(
                "state not saved in {path}: {error}; what this daemon changes is not put back \
                 after a crash"
            );
        }
        Ok(())
    }

    /// Takes the lock that a living daemon holds until it ends, however it ends. `None`: another
    /// process has it.
    pub fn lock(&self) -> io::Result<Option<Lock>> {
        if self.path.as_os_str().is_empty() {
            return Ok(Some(Lock { _file: None }));
        }
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Lock { _file: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Removes the directory if nothing in it is worth keeping.
    pub fn remove_if_empty(&self) {
        let State {
            sysctls,
            prefixes,
            drained,
            ..
        } = &self.state;
        let unused = sysctls.is_empty() && prefixes.is_empty() && drained.is_none();
        if unused && !self.path.as_os_str().is_empty() {
            // Best effort: what stays is a few bytes that the next start reads as empty.
            for name in ["state.json", "state.json.new", "lock"] {
                let _ = fs::remove_file(self.path.join(name));
            }
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// The directories that may be the state directory of this network namespace, best first.
pub fn candidates(base: Option<&Path>) -> io::Result<Vec<PathBuf>> {
    let namespace = fs::metadata("/proc/thread-self/ns/net")?.ino().to_string();
    let environment = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let chosen = base
        .map(Path::to_owned)
        .or_else(|| environment("HAMP_STATE"));
    let bases = match chosen {
        Some(base) => vec![base],
        None => {
            let own = environment("XDG_RUNTIME_DIR").map(|base| base.join("hamp"));
            [Some(PathBuf::from(USUAL)), own]
                .into_iter()
                .flatten()
                .collect()
        }
    };
    Ok(bases.iter().map(|base| base.join(&namespace)).collect())
}

fn create(base: Option<&Path>) -> io::Result<PathBuf> {
    let mut refused = io::Error::from(io::ErrorKind::NotFound);
    for path in candidates(base)? {
        match fs::create_dir_all(&path).and_then(|()| writable(&path)) {
            Ok(()) => return Ok(path),
            Err(error) => {
                refused = io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            }
        }
    }
    Err(refused)
}

/// A directory may exist and be somebody else's.
fn writable(path: &Path) -> io::Result<()> {
    nix::unistd::access(path, nix::unistd::AccessFlags::W_OK).map_err(io::Error::from)
}

/// The cookie of this thread's network namespace (Linux 5.14), 0 where the kernel knows none.
fn cookie() -> io::Result<u64> {
    let socket = Socket::new(Domain::UNIX, Type::DGRAM.cloexec(), None)?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the pointers are to a u64 and to its size in bytes, both live across the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    Ok(if done == 0 { cookie } else { 0 })
}

const SO_NETNS_COOKIE: libc::c_int = 71;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_survives_and_another_namespaces_state_does_not_count() {
        let base = std::env::temp_dir().join(format!("hamp-state-{}", std::process::id()));
        let mut dir = StateDir::open(Some(&base)).unwrap();
        assert_ne!(dir.state.netns_cookie, 0, "kernels since 5.14 have cookies");
        let saved = Saved {
            was: "0".into(),
            set: "2".into(),
        };
        dir.state
            .sysctls
            .insert("net/ipv4/tcp_mtu_probing".into(), saved);
        dir.save().unwrap();
        assert_eq!(StateDir::open(Some(&base)).unwrap().state, dir.state);

        dir.state.netns_cookie += 1;
        dir.save().unwrap();
        assert!(
            StateDir::open(Some(&base))
                .unwrap()
                .state
                .sysctls
                .is_empty()
        );

        dir.state.sysctls.clear();
        dir.remove_if_empty();
        assert!(!dir.path().exists());
        fs::remove_dir(&base).unwrap();
    }

    #[test]
    fn the_lock_has_one_holder() {
        let base = std::env::temp_dir().join(format!("hamp-lock-{}", std::process::id()));
        let dir = StateDir::open(Some(&base)).unwrap();
        let held = dir.lock().unwrap();
        assert!(held.is_some());
        assert!(dir.lock().unwrap().is_none());
        drop(held);
        assert!(dir.lock().unwrap().is_some());
        fs::remove_dir_all(&base).unwrap();
    }
}
