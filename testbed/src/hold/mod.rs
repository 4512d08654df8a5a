//! Labs that stay up: a process that holds a [`Lab`](crate::Lab), and how others find it.
//!
//! `hamp-lab up` starts this program again as the *holder*, in a session of its own. The holder
//! builds the lab, starts what runs in it, and answers requests until it is told to end; when it
//! ends, in whatever way, the lab is gone with it. It listens on the abstract socket
//! `@hamp-lab/UID/NAME` in the network namespace of the user, bound before it enters its own. So
//! nothing of it is in the file system, the kernel removes the name with the process, and the list
//! of labs is the kernel's list of sockets.
//!
//! Only the user who started a lab, and root, may use it: both sides look at the credentials that
//! the kernel gives of the other.
//!
//! The holder hands out numbers of processes, not terminals: [`inside`] enters the namespaces of a
//! host itself, so standard streams, signals and exit codes of a command in a host are the
//! caller's.
//!
//! Files: `names` sockets and who listens, `talk` requests and answers, `start` from the file to a
//! running holder, `holder` its life, `look` what happens in the lab, [`inside`] a command in a host.

mod holder;
pub mod inside;
mod look;
mod names;
mod start;
mod talk;

use hamp::daemon::{Failure, exit};

use crate::skip::Skip;

pub(crate) use holder::{HOLD_ARGUMENT, hold};
pub use look::{HostLook, Owner, Program, Snapshot};
pub use names::{Found, find, one};
pub use start::{is_name, start};
pub use talk::{About, HostAbout, Request};

/// The exit code that an error stands for.
pub fn code(error: &anyhow::Error) -> u8 {
    let missing = |cause: &(dyn std::error::Error + 'static)| {
        let io = cause.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::NotFound)
    };
    if let Some(failure) = error.downcast_ref::<Failure>() {
        failure.code
    } else if error.is::<hamp::daemon::config::Error>() {
        exit::CONFIG
    } else if error.is::<Skip>() {
        exit::PRIVILEGE
    } else if error.chain().any(missing) {
        exit::MISSING
    } else {
        exit::FAILED
    }
}
