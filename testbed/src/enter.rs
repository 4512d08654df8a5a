//! Getting the right to make namespaces, as root or as an ordinary user.
//!
//! The kernel allows a new user namespace only to a process with one thread, so [`enter`] belongs
//! at the start of `main`, or before it ([`before_main!`](crate::before_main!)). Inside, one user id
//! exists: 0, which is the user who started us. Programs that change to another user (sshd's
//! privilege separation) cannot work there, and [`is_mapped`] tells.

use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// How to get the right to make namespaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Privilege {
    /// Root's own rights if we have them, a user namespace otherwise.
    #[default]
    Auto,
    /// A user namespace, also for root: what an ordinary user sees.
    User,
}

impl Privilege {
    /// What `HAMP_LAB_PRIVILEGE` asks for: `user` is [`Privilege::User`], all else is `Auto`.
    pub fn from_environment() -> Self {
        match std::env::var("HAMP_LAB_PRIVILEGE").as_deref() {
            Ok("user") => Self::User,
            _ => Self::Auto,
        }
    }
}

static ENTERED: AtomicBool = AtomicBool::new(false);
/// Why [`enter`] failed the first time.
static REFUSED: OnceLock<String> = OnceLock::new();

/// Enters a private network namespace, through a user namespace where needed. Errors name the
/// remedy, and every later [`Lab::new`](crate::Lab::new) gives the same one.
///
/// A second call does nothing.
pub fn enter(privilege: Privilege) -> Result<()> {
    if is_entered() {
        return Ok(());
    }
    namespaces(privilege).inspect_err(|error| {
        let _ = REFUSED.set(format!("{error:#}"));
    })?;
    ENTERED.store(true, Ordering::Release);
    Ok(())
}

fn namespaces(privilege: Privilege) -> Result<()> {
    if privilege == Privilege::Auto && geteuid().is_root() {
        match unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS) {
            Ok(()) => return Ok(()),
            // Root in a container without CAP_SYS_ADMIN: as an ordinary user then.
            Err(Errno::EPERM) => {}
            Err(error) => bail!("unshare of network and mount namespaces: {error}"),
        }
    }
    enter_user()
}

/// Whether labs can be built, and if not, why.
///
/// # Errors
/// [`enter`] was refused, which is a reason to [`skip`](crate::skip()); or nobody called it.
pub(crate) fn must_be_entered() -> Result<()> {
    match REFUSED.get() {
        _ if is_entered() => Ok(()),
        Some(why) => Err(crate::skip(why)),
        None => bail!(
            "no namespaces were entered: add testbed::before_main!(); to this crate (in tests), or \
             call testbed::init() and testbed::enter() at the start of main"
        ),
    }
}

/// Whether we live in a user namespace with one user id, whoever has made it.
pub fn is_mapped() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2) == Some("1")
}

/// Whether [`enter`] has succeeded.
pub fn is_entered() -> bool {
    ENTERED.load(Ordering::Acquire)
}

/// User namespace, then network and mount namespaces owned by it.
fn enter_user() -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    let threads = fs::read_dir("/proc/self/task")
        .map(Iterator::count)
        .unwrap_or(1);
    if threads > 1 {
        bail!("{threads} threads exist: the user namespace must be entered before the second one");
    }
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| refused(error, "a user namespace"))?;
    // An unprivileged process must give up setgroups() before it may write its group map
    // (user_namespaces(7)).
    fs::write("/proc/self/setgroups", "deny").map_err(|e| refused_io(&e, "setgroups"))?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))
        .map_err(|e| refused_io(&e, "its user map"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
        .map_err(|e| refused_io(&e, "its group map"))?;
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)
        .map_err(|error| refused(error, "a network namespace inside a user namespace"))?;
    Ok(())
}

fn refused_io(error: &std::io::Error, what: &str) -> anyhow::Error {
    refused(
        error
            .raw_os_error()
            .map_or(Errno::UnknownErrno, Errno::from_raw),
        what,
    )
}

fn refused(error: Errno, what: &str) -> anyhow::Error {
    anyhow::anyhow!("this machine refuses {what} ({error}): {}", remedy())
}

/// What to do about refused user namespaces, from what this machine says about itself.
pub fn remedy() -> String {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/{name}")).unwrap_or_default();
    if read("kernel/apparmor_restrict_unprivileged_userns").trim() == "1" {
        return "AppArmor blocks unprivileged user namespaces (Ubuntu 24.04 and later); run as \
                root, or: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0"
            .into();
    }
    if read("kernel/unprivileged_userns_clone").trim() == "0" {
        return "unprivileged user namespaces are off; run as root, or: sudo sysctl \
                kernel.unprivileged_userns_clone=1"
            .into();
    }
    if read("user/max_user_namespaces").trim() == "0" {
        return "no user namespaces are allowed; run as root, or: sudo sysctl \
                user.max_user_namespaces=15000"
            .into();
    }
    "run as root; in a container, allow it CAP_SYS_ADMIN or unfiltered unshare".into()
}

/// A netns file of the calling thread, for later `setns`.
pub(crate) fn own_netns() -> Result<fs::File> {
    fs::File::open("/proc/thread-self/ns/net").context("open own network namespace")
}
