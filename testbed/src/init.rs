//! The first process of a host, and the other things this program can become.
//!
//! A host's first process sets its mounts up, says `ready` and then only collects orphans until its
//! standard input ends or its parent dies. It is the same executable as the lab, so that the
//! library needs no helper on disk.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use anyhow::{Context, Result, bail};
use clap::Parser;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::{hold, one_user, who};

/// First argument of a host's first process.
pub(crate) const HOST_ARGUMENT: &str = "__host";
/// First argument of a process that is `hamp`.
pub(crate) const HAMP_ARGUMENT: &str = "__hamp";
/// Where a host finds `hamp` and `hamp-lab`.
pub(crate) const BIN: &str = "/run/lab/bin";
/// Where a host keeps the output of its programs.
pub(crate) const LOG: &str = "/run/lab/log";

/// Call this first in `main`, before any thread: does not return if this process is meant to be a
/// host, `hamp`, `hamp-lab who`, or the holder of a lab that stays up.
pub fn init() {
    let mut arguments = std::env::args_os();
    let called = arguments.next().unwrap_or_default();
    let first = arguments.next().unwrap_or_default();
    if first == HOST_ARGUMENT {
        let end = host().map_or_else(
            |error| {
                eprintln!("host: {error:#}");
                1
            },
            |()| 0,
        );
        std::process::exit(end);
    }
    let name = Path::new(&called).file_name();
    // Any program with labs is `hamp-lab` in its hosts, and must be able to serve there.
    if name == Some("hamp-lab".as_ref()) && first == "who" {
        let arguments = who::Arguments::parse_from(std::env::args_os().skip(1));
        if let Err(error) = arguments.run() {
            eprintln!("hamp-lab who: {error:#}");
            std::process::exit(1);
        }
        std::process::exit(0);
    }
    if first == hold::HOLD_ARGUMENT {
        std::process::exit(hold::hold().into());
    }
    if first == hold::inside::IN_ARGUMENT {
        std::process::exit(hold::inside::become_command(std::env::args_os().skip(2)).into());
    }
    if first == one_user::ONE_USER_ARGUMENT {
        let error = one_user::become_program(std::env::args_os().skip(2));
        eprintln!("hamp-lab: {error:#}");
        std::process::exit(126);
    }
    // By its name in a host, or as `hamp-lab __hamp ARGUMENTS...`.
    let by_name = name == Some("hamp".as_ref());
    if by_name || first == HAMP_ARGUMENT {
        let skipped = if by_name { 1 } else { 2 };
        let arguments = std::env::args_os().skip(skipped);
        let end = hamp::cli::code(std::iter::once("hamp".into()).chain(arguments));
        std::process::exit(end.into());
    }
}

/// The life of a host's first process.
fn host() -> Result<()> {
    // The thread of the lab that holds this host is our parent. Should it have died before this
    // line, our standard input is at its end already.
    set_pdeathsig(Signal::SIGKILL).context("parent-death signal")?;
    mounts()?;
    let mut out = std::io::stdout();
    out.write_all(b"ready\n")
        .and_then(|()| out.flush())
        .context("tell the lab")?;
    let input = std::io::stdin();
    loop {
        let mut fds = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        // The lab never writes: anything that makes this readable is its end. The timeout bounds
        // how long an orphan stays a zombie.
        if poll(&mut fds, PollTimeout::from(500u16)).unwrap_or(0) > 0 {
            return Ok(());
        }
        while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
    }
}

/// Private `/run`, `/tmp`, `/var/tmp` and `/proc`; our own program on a path of the host.
fn mounts() -> Result<()> {
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)
        .context("make / private")?;
    let program = std::env::current_exe().context("own path")?;
    if !program.exists() {
        bail!("{} was replaced while it runs", program.display());
    }
    // Our program may live under one of the directories that are about to be covered, so it is
    // bound to its new place while its path still leads there. Only /run itself is covered before.
    let held = fs::File::open(&program).context("open own program")?;
    tmpfs("/run")?;
    for dir in [
        BIN,
        LOG,
        "/run/lab/tmp",
        "/run/sshd",
        "/run/lock",
        "/run/bird",
        "/run/frr",
    ] {
        fs::create_dir_all(dir).with_context(|| format!("create {dir}"))?;
    }
    let place = format!("{BIN}/hamp-lab");
    fs::write(&place, "")?;
    if program.starts_with("/run") {
        fs::copy(
            format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&held)),
            &place,
        )?;
    } else {
        mount(Some(&program), place.as_str(), none, MsFlags::MS_BIND, none)
            .with_context(|| format!("bind {} to {place}", program.display()))?;
    }
    drop(held);
    std::os::unix::fs::symlink("hamp-lab", format!("{BIN}/hamp"))?;
    one_user::prepare(BIN)?;
    for dir in ["/tmp", "/var/tmp"] {
        if Path::new(dir).is_dir() {
            tmpfs(dir)?;
        }
    }
    // A container may forbid a new /proc (it hides parts of its own). The machine's then stays in
    // sight: `ps` in a host shows its numbers, everything else works.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if let Err(error) = mount(Some("proc"), "/proc", Some("proc"), flags, none) {
        eprintln!("host: /proc stays the machine's ({error})");
    }
    Ok(())
}

fn tmpfs(place: &str) -> Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(
        Some("tmpfs"),
        place,
        Some("tmpfs"),
        flags,
        Some("mode=0755"),
    )
    .with_context(|| format!("private {place}"))
}
