//! One long-lived `nft`, fed with transactions.
//!
//! Leases are renewed with every hello, up to a hundred times a second, and starting the `nft`
//! program costs milliseconds each time. So one interactive `nft` lives as long as the daemon.
//!
//! * Its script is a file in memory that both processes hold. [`Session::run`] writes a whole
//!   rule text there, with lines and comments as in a file, and sends the one line that includes
//!   it: nft reads it as one transaction, and names line and column when it refuses it.
//! * An interactive `nft` says nothing when a transaction succeeds. The line that follows each
//!   one is a word that cannot be a command, with a number; nft's complaint about it is the sign
//!   that everything before it is done, and what it wrote before that complaint is its verdict.
//! * It grows by a third of a kilobyte with every transaction (nft 1.0.6), so after
//!   [`LIFE`] of them another one takes its place.
//! * It ends at the end of its input, which comes when this process ends, however it ends. It
//!   has a process group of its own, so an interrupt from the terminal does not take it away
//!   from a daemon that is about to clean up.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};

/// How many transactions one `nft` process applies.
pub const LIFE: u64 = 1_000;

/// How long nft may take over one transaction before it counts as hung.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// How long at the start, when nobody waits for this process and much else is starting.
pub const START_PATIENCE: Duration = Duration::from_secs(15);

/// How often it is tried at the start.
pub const START_TRIES: u32 = 3;

/// Why a rule set is not in place.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no `nft` on this host.
    #[error("the program nft is missing: apt-get install nftables")]
    Missing,
    /// The kernel or nft refused the text; nothing of it was applied.
    #[error("nft refused a rule set: {0}")]
    Refused(String),
    /// nft ended by itself; the text may or may not have been applied.
    #[error("nft ended: {0}")]
    Ended(String),
    /// nft gave no verdict in this time.
    #[error("nft gave no answer in {} s", .0.as_secs())]
    Hung(Duration),
    /// nft listed something that is not the JSON expected of it.
    #[error("nft's answer is not understood: {0}")]
    Answer(String),
    /// nft could not be started or spoken to.
    #[error("cannot run nft: {0}")]
    Io(#[from] io::Error),
}

/// A running `nft` that applies one text after another.
#[derive(Debug)]
pub struct Session {
    program: PathBuf,
    process: Process,
}

/// One `nft` process and the pipes to it.
#[derive(Debug)]
struct Process {
    child: Child,
    commands: Option<ChildStdin>,
    verdicts: ChildStderr,
    script: File,
    count: u64,
    patience: Duration,
}

impl Session {
    /// Starts nft in this thread's network namespace and checks that it answers.
    pub fn start() -> Result<Self, Error> {
        Self::start_program(&program().ok_or(Error::Missing)?, PATIENCE)
    }

    /// The same where nothing waits for it: with [`START_PATIENCE`], also over its transactions
    /// until [`Session::hurry`], and up to [`START_TRIES`] times.
    pub fn start_patiently() -> Result<Self, Error> {
        let program = program().ok_or(Error::Missing)?;
        for left in (1..START_TRIES).rev() {
            match Self::start_program(&program, START_PATIENCE) {
                Err(error @ (Error::Hung(_) | Error::Ended(_) | Error::Io(_))) => {
                    tracing::warn!(target: "hamp::nft", %error, left, "nft does not start: trying again");
                }
                started => return started,
            }
        }
        Self::start_program(&program, START_PATIENCE)
    }

    /// From here on somebody waits: transactions have [`PATIENCE`].
    pub fn hurry(&mut self) {
        self.process.patience = PATIENCE;
    }

    fn start_program(program: &Path, patience: Duration) -> Result<Self, Error> {
        Ok(Self {
            program: program.to_owned(),
            process: Process::start(program, patience)?,
        })
    }

    /// Applies `text` as one transaction: all of it, or on an error nothing.
    pub fn run(&mut self, text: &str) -> Result<(), Error> {
        if self.process.count >= LIFE {
            self.process = Process::start(&self.program, PATIENCE)?;
        }
        let verdict = self.process.run(text)?;
        tracing::trace!(target: "hamp::nft", text, verdict, "transaction");
        match verdict.trim() {
            "" => Ok(()),
            only if only.lines().all(is_warning) => {
                tracing::warn!(target: "hamp::nft", "{only}");
                Ok(())
            }
            message => Err(Error::Refused(in_our_words(message))),
        }
    }
}

impl Process {
    /// Starts nft and waits until it answers.
    fn start(nft: &Path, patience: Duration) -> Result<Self, Error> {
        // Inherited by the child under the same number: close-on-exec only from here on.
        let script: File = memfd_create(c"hamp-nft", MFdFlags::empty())
            .map_err(io::Error::from)?
            .into();
        let mut child = command(nft)
            .arg("-i")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Error::Missing,
                _ => Error::Io(error),
            })?;
        fcntl(&script, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(io::Error::from)?;
        let (Some(commands), Some(verdicts)) = (child.stdin.take(), child.stderr.take()) else {
            return Err(io::Error::other("nft has no pipes").into());
        };
        let mut process = Self {
            child,
            commands: Some(commands),
            verdicts,
            script,
            count: 0,
            patience,
        };
        process.run("")?;
        Ok(process)
    }

    /// Has nft read `text`; gives what it says about it, nothing if all is well.
    fn run(&mut self, text: &str) -> Result<String, Error> {
        self.count += 1;
        let marker = format!("hamp_done_{}", self.count);
        self.script.set_len(0)?;
        self.script.write_all_at(text.as_bytes(), 0)?;
        let line = format!(
            "include \"/proc/self/fd/{}\"\n{marker}\n",
            self.script.as_raw_fd()
        );
        let sent = match &mut self.commands {
            Some(commands) => commands.write_all(line.as_bytes()),
            None => Err(io::ErrorKind::BrokenPipe.into()),
        };
        if sent.is_err() {
            return Err(self.ended(String::new()));
        }
        self.verdict(&marker)
    }

    /// What nft wrote before its complaint about `marker`.
    fn verdict(&mut self, marker: &str) -> Result<String, Error> {
        let deadline = Instant::now() + self.patience;
        let mut said = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&said);
            if let Some(verdict) = before_marker(&text, marker) {
                return Ok(verdict.to_owned());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            let mut ready = [PollFd::new(self.verdicts.as_fd(), PollFlags::POLLIN)];
            match poll(&mut ready, timeout) {
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
                Ok(0) => return Err(Error::Hung(self.patience)),
                Ok(_) => {}
            }
            let mut buffer = [0; 4096];
            match self.verdicts.read(&mut buffer) {
                Ok(0) => return Err(self.ended(String::from_utf8_lossy(&said).into_owned())),
                Ok(count) => said.extend_from_slice(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn ended(&mut self, mut said: String) -> Error {
        // Its last words, when the pipe broke before they were read.
        let _ = self.verdicts.read_to_string(&mut said);
        let status = self
            .child
            .wait()
            .map_or_else(|e| e.to_string(), |s| s.to_string());
        Error::Ended(format!("{status}: {}", said.trim()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.commands.take());
        // At the end of its input nft has nothing left to do; kill one that hangs.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lists with `nft -j list ARGS…`, in a process of its own: for people and tests, not per hello.
pub fn list<I, S>(args: I) -> Result<serde_json::Value, Error>
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let nft = program().ok_or(Error::Missing)?;
    let output = command(&nft).args(["-j", "list"]).args(args).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Error::Refused(said.trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| Error::Answer(error.to_string()))
}

/// Where nft is: ordinary users have no /usr/sbin in their path, and need it in their namespaces.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join("nft"))
        .find(|nft| nft.is_file())
}

fn command(nft: &Path) -> Command {
    let mut command = Command::new(nft);
    // No translated messages; and no history file, which nft would write to the home directory.
    command.env("LC_ALL", "C").env("HOME", "/dev/null");
    command
}

/// nft's message, with lines counted in the text and not in the file that it came by.
fn in_our_words(message: &str) -> String {
    let lines = message
        .lines()
        .filter(|line| !line.starts_with("In file included from "));
    let lines = lines.map(|line| match line.strip_prefix("/proc/self/fd/") {
        Some(at) => format!("line {}", at.split_once(':').map_or(at, |(_, place)| place)),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn is_warning(line: &str) -> bool {
    line.trim_start_matches("# ")
        .to_ascii_lowercase()
        .starts_with("warning")
}

/// The part of `said` before nft's complaint about `marker`, once that complaint is complete.
///
/// The complaint is the line `Error: …`, the line it is about, and a line of carets.
fn before_marker<'a>(said: &'a str, marker: &str) -> Option<&'a str> {
    let at = said.find(&format!("\n{marker}\n"))?;
    let (before, after) = said.split_at(at);
    let carets = after[marker.len() + 2..].split_once('\n')?.0;
    if !carets.contains('^') {
        return None;
    }
    Some(before.rfind('\n').map_or("", |end| &before[..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_is_what_precedes_the_complaint_about_the_marker() {
        let done = "Error: syntax error, unexpected newline\nhamp_done_7\n           ^\n";
        assert_eq!(before_marker(done, "hamp_done_7"), Some(""));
        let refused = format!("f:1:2-3: Error: no such file\nadd rule\n    ^^^^\n{done}");
        assert_eq!(
            before_marker(&refused, "hamp_done_7"),
            Some("f:1:2-3: Error: no such file\nadd rule\n    ^^^^")
        );
        for cut in 0..done.len() {
            assert_eq!(before_marker(&done[..cut], "hamp_done_7"), None, "{cut}");
        }
        assert_eq!(before_marker(done, "hamp_done_71"), None);
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let error = Session::start_program(Path::new("/nonexistent/nft"), PATIENCE).unwrap_err();
        assert!(
            error.to_string().ends_with("apt-get install nftables"),
            "{error}"
        );
    }

    #[test]
    fn a_program_that_ends_is_an_error_with_its_last_words() {
        let error = Session::start_program(Path::new("/bin/false"), PATIENCE).unwrap_err();
        assert!(matches!(error, Error::Ended(_)), "{error}");
    }
}
