//! Programs that insist on becoming another user, where there is only one.
//!
//! The user namespace of an ordinary user has one user, 0. `tcpdump` started by user 0 becomes
//! `tcpdump`, and ends because it cannot. Nothing would be gained by it here: user 0 is the ordinary
//! user who started the lab. So a filter makes the kernel answer those system calls with success
//! and do nothing, as container tools do for package managers (seccomp(2), `SECCOMP_RET_ERRNO` with
//! error 0).
//!
//! FRR's daemons also look into `/etc/group`, and end unless their user is in the group that may talk
//! to them. In a host they run as user 0, so that their files need no owner: its `/etc/group` says
//! that user 0 is in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result};
use nix::libc;
use nix::mount::{MsFlags, mount};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, apply_filter};

use crate::{check, enter};

/// First argument of a process that becomes such a program.
pub(crate) const ONE_USER_ARGUMENT: &str = "__one_user";

/// The programs that are put on the path of hosts in front of their own.
const PROGRAMS: &[&str] = &[
    "tcpdump", "zebra", "mgmtd", "staticd", "bgpd", "ospfd", "ospf6d", "bfdd",
];
/// The group that FRR's daemons insist on being in.
const VTY_GROUP: &str = "frrvty";

/// The system calls by which a process becomes another user.
const CALLS: &[i64] = &[
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
];

/// Puts scripts in front of such programs in `directory`, if this host needs them.
pub(crate) fn prepare(directory: &str) -> Result<()> {
    join_vty_group(directory)?;
    if !enter::is_mapped() {
        return Ok(());
    }
    for name in PROGRAMS {
        let Some(path) = check::program(name) else {
            continue;
        };
        let script =
            format!("#!/bin/sh\nexec {directory}/hamp-lab {ONE_USER_ARGUMENT} {path} \"$@\"\n");
        let place = format!("{directory}/{name}");
        fs::write(&place, script).with_context(|| place.clone())?;
        fs::set_permissions(&place, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

/// Covers `/etc/group` with one in which user 0 is in FRR's group, if there is such a group.
fn join_vty_group(directory: &str) -> Result<()> {
    let file = "/etc/group";
    let text = fs::read_to_string(file).unwrap_or_default();
    let mut found = false;
    let lines = text.lines().map(|line| {
        let ours = line.split(':').next() == Some(VTY_GROUP);
        found |= ours;
        let gap = if line.ends_with(':') { "" } else { "," };
        if ours {
            format!("{line}{gap}root\n")
        } else {
            format!("{line}\n")
        }
    });
    let text: String = lines.collect();
    if !found {
        return Ok(());
    }
    let own = format!("{directory}/group");
    fs::write(&own, text).with_context(|| own.clone())?;
    let none: Option<&str> = None;
    mount(Some(own.as_str()), file, none, MsFlags::MS_BIND, none)
        .with_context(|| format!("cover {file}"))
}

/// Becomes the program; returns only what went wrong.
pub(crate) fn become_program(mut words: impl Iterator<Item = OsString>) -> anyhow::Error {
    let Some(program) = words.next() else {
        return anyhow::anyhow!("no program");
    };
    if let Err(error) = filter() {
        return error;
    }
    anyhow::Error::new(Command::new(program).args(words).exec())
}

fn filter() -> Result<()> {
    let rules: BTreeMap<_, _> = CALLS.iter().map(|call| (*call, Vec::new())).collect();
    let (otherwise, ours) = (SeccompAction::Allow, SeccompAction::Errno(0));
    let filter = SeccompFilter::new(rules, otherwise, ours, std::env::consts::ARCH.try_into()?)?;
    let program: BpfProgram = filter.try_into()?;
    apply_filter(&program)?;
    Ok(())
}
