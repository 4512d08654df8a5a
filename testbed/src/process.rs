//! Programs that run in a host: started, watched, killed, frozen.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::wait;

/// What a finished command left.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command and the host it ran on, as errors name it.
    pub name: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Its standard error, invalid UTF-8 replaced.
    pub stderr: String,
}

impl Output {
    /// Standard output of a command that succeeded.
    ///
    /// # Errors
    /// It did not; the error names it, how it ended, and what it wrote to standard error.
    pub fn ok(self) -> Result<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        let how = format!("{}: {}", self.name, ended(self.status));
        match self.stderr.trim_end() {
            "" => bail!("{how}"),
            said => bail!("{how}: {said}"),
        }
    }
}

/// A long-running program in a host; killed, with its process group, when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    pid: Pid,
    child: Arc<Mutex<Child>>,
    log: String,
}

impl Process {
    /// `child` leads its own process group; `log` is where its output goes, as a path in the host.
    pub(crate) fn new(name: &str, child: Child, log: String) -> Self {
        let pid = Pid::from_raw(child.id().cast_signed());
        Self {
            name: name.into(),
            pid,
            child: Arc::new(Mutex::new(child)),
            log,
        }
    }

    /// Its handle, for the host that has to collect it at its own end.
    pub(crate) fn child(&self) -> &Arc<Mutex<Child>> {
        &self.child
    }

    /// Name it was started under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process number as the lab sees it.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Path of its output, in the host.
    pub fn log(&self) -> &str {
        &self.log
    }

    /// Exit status, if it has ended.
    pub fn exited(&self) -> Option<ExitStatus> {
        locked(&self.child).try_wait().ok().flatten()
    }

    /// Sends a signal to it alone, not to the processes it started.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if self.exited().is_some() {
            bail!("{} has ended", self.name);
        }
        kill(self.pid, signal).with_context(|| format!("{signal} to {}", self.name))
    }

    /// `kill -9`, and waits for its end.
    pub fn kill(&self) -> Result<ExitStatus> {
        if let Some(status) = self.exited() {
            return Ok(status);
        }
        self.signal(Signal::SIGKILL)?;
        self.wait(Duration::from_secs(5))
    }

    /// Asks it to end (SIGTERM) and waits; past `limit` it is an error and the process is left
    /// alone.
    pub fn terminate(&self, limit: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exited() {
            return Ok(status);
        }
        self.signal(Signal::SIGTERM)?;
        self.wait(limit)
    }

    /// Freezes it (SIGSTOP).
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::SIGSTOP)
    }

    /// Lets it run again (SIGCONT).
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::SIGCONT)
    }

    /// Waits for its end.
    pub fn wait(&self, limit: Duration) -> Result<ExitStatus> {
        wait::until(&format!("end of {}", self.name), limit, || self.exited())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.exited().is_none() {
            // Nothing can be done about a failure here; the host's end is the second line.
            let _ = killpg(self.pid, Signal::SIGKILL);
            let _ = locked(&self.child).wait();
        }
    }
}

/// The child behind its lock; a panic elsewhere does not make it unusable.
pub(crate) fn locked(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Collects what `child` writes until it ends, at most for `limit`; then it is killed and that is
/// an error.
pub(crate) fn collect(name: &str, mut child: Child, limit: Duration) -> Result<Output> {
    let pid = Pid::from_raw(child.id().cast_signed());
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let reader = |stream: Option<Box<dyn Read + Send>>| {
        std::thread::spawn(move || {
            let mut bytes = Vec::new();
            if let Some(mut stream) = stream {
                // A broken pipe ends the output like its end does.
                let _ = stream.read_to_end(&mut bytes);
            }
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let out = reader(out.map(|s| Box::new(s) as _));
    let err = reader(err.map(|s| Box::new(s) as _));
    let ended = wait::until(&format!("end of {name}"), limit, || {
        child.try_wait().ok().flatten()
    });
    if ended.is_err() {
        let _ = killpg(pid, Signal::SIGKILL);
        let _ = child.wait();
    }
    let text = |thread: std::thread::JoinHandle<String>| thread.join().unwrap_or_default();
    let (stdout, stderr) = (text(out), text(err));
    let status = ended.with_context(|| format!("{name}: {}", stderr.trim_end()))?;
    Ok(Output {
        name: name.into(),
        status,
        stdout,
        stderr,
    })
}

/// How a process ended, in words.
pub fn ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
