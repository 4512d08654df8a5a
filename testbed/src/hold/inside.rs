//! A command in a host of a lab that somebody else holds.
//!
//! The caller's own process enters the namespaces and starts the command, so the command has its
//! terminal, its standard streams and its process group, and its exit code is at hand.

use std::ffi::OsString;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result};
use hamp::daemon::{Failure, exit};
use nix::sched::{CloneFlags, setns};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, chdir};
use tokio::signal::unix::{SignalKind, signal};

use super::talk::HostAbout;
use crate::host::{DIRECTORY, surroundings};
use crate::init::BIN;

/// First argument of a process that becomes a command in a host.
pub(crate) const IN_ARGUMENT: &str = "__in";

/// Exit codes of shells for a command that is not there, and one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUN: u8 = 126;

/// Runs a command in a host, with our standard streams, to its end; its exit code, or as shells
/// have it 128 and the signal that ended it.
///
/// Works once in a process, which must have one thread.
///
/// # Errors
/// The host is gone, or may not be entered.
pub fn run(host: &HostAbout, command: &[String]) -> Result<u8> {
    let directory = std::env::current_dir().ok();
    enter(host).with_context(|| format!("enter host {}", host.name))?;
    // Where the user is, if the host can see that: its /tmp and /run are its own.
    let stay = |directory: PathBuf| chdir(&directory).ok();
    if directory.and_then(stay).is_none() {
        chdir(DIRECTORY)?;
    }
    let mut inside = Command::new(format!("{BIN}/hamp-lab"));
    inside.arg(IN_ARGUMENT).args(command);
    surroundings(&mut inside, &host.name);
    inside.env("PS1", format!("{}# ", host.name));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let status = runtime.block_on(attended(inside))?;
    Ok(code(status))
}

/// Enters all namespaces of the host; those of processes are for our children only.
fn enter(host: &HostAbout) -> Result<()> {
    let open = |name: &str| {
        let opened = File::open(format!("/proc/{}/ns/{name}", host.pid));
        opened.map_err(|error| match error.kind() {
            // Not a file that this machine lacks: the host's first process is dead.
            ErrorKind::NotFound => Failure::new(exit::FAILED, "it has ended").into(),
            _ => anyhow::Error::from(error),
        })
    };
    // Inside of the first one the paths of the others mean something else.
    let user = open("user")?;
    let rest = ["net", "uts", "ipc", "pid", "mnt"].map(open);
    let same = user.metadata()?.ino() == std::fs::metadata("/proc/self/ns/user")?.ino();
    if !same {
        setns(user, CloneFlags::CLONE_NEWUSER).context("user namespace")?;
    }
    for namespace in rest {
        setns(namespace?, CloneFlags::empty())?;
    }
    Ok(())
}

/// Starts the command and waits for it. Signals of the terminal reach it by themselves, others we
/// hand on.
async fn attended(command: Command) -> Result<ExitStatus> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut child = tokio::process::Command::from(command)
        .spawn()
        .context("start the command")?;
    let pid = child.id().map(|pid| Pid::from_raw(pid.cast_signed()));
    let pass = |signal: Signal| {
        if let Some(pid) = pid {
            // It may have ended a moment ago.
            let _ = kill(pid, signal);
        }
    };
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = interrupt.recv() => {}
            _ = quit.recv() => {}
            _ = terminate.recv() => pass(Signal::SIGTERM),
            _ = hangup.recv() => pass(Signal::SIGHUP),
        }
    }
}

fn code(status: ExitStatus) -> u8 {
    let signal = || 128 + status.signal().unwrap_or_default();
    u8::try_from(status.code().unwrap_or_else(signal)).unwrap_or(u8::MAX)
}

/// What [`run`] starts in the host: it becomes the command, which ends with who wanted it. Returns
/// only if that fails.
pub(crate) fn become_command(mut words: impl Iterator<Item = OsString>) -> u8 {
    let Some(program) = words.next() else {
        return NOT_RUN;
    };
    if let Err(error) = set_pdeathsig(Signal::SIGHUP) {
        eprintln!("hamp-lab: parent-death signal: {error}");
        return NOT_RUN;
    }
    let error = Command::new(&program).args(words).exec();
    eprintln!("hamp-lab: {}: {error}", program.display());
    match error.kind() {
        ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_RUN,
    }
}
