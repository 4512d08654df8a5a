//! Labs of `hamp-lab` that a test starts, and what can be left of them.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::Pid;
use testbed::{harness, wait};

/// Marks everything that a lab of these tests starts, through the environment.
pub(crate) const MARK: &str = "HAMP_LAB_TEST";
/// Longer than the end of a lab takes on a busy machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// A lab that was started, with what can be left of it.
pub(crate) struct Started {
    pub(crate) child: Child,
    mark: String,
    tmp: PathBuf,
}

impl Started {
    /// Starts `hamp-lab ARGS` in a process group of its own, with a temporary directory of its own.
    pub(crate) fn begin(name: &str, args: &[&str]) -> Result<Self> {
        let mark = format!("{name}-{}", std::process::id());
        let tmp = std::env::temp_dir().join(format!("hamp-lab-test-{mark}"));
        fs::create_dir_all(&tmp)?;
        let child = Command::new(env!("CARGO_BIN_EXE_hamp-lab"))
            .args(args)
            .env(MARK, &mark)
            .env("TMPDIR", &tmp)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .context("start hamp-lab")?;
        Ok(Self { child, mark, tmp })
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// Waits until so many processes carry the mark; more tells that the lab is further on.
    pub(crate) fn grown(&self, processes: usize) -> Result<()> {
        let grown = || (marked(&self.mark).len() >= processes).then_some(());
        wait::until(&format!("{processes} processes of the lab"), LIMIT, grown)
    }

    /// Checks that no process, and so no namespace, and no file is left.
    pub(crate) fn gone(mut self) -> Result<()> {
        // What is left of the output must not keep it alive.
        drop((self.child.stdout.take(), self.child.stderr.take()));
        let _ = self.child.wait();
        let gone = || marked(&self.mark).is_empty().then_some(());
        wait::until("the end of all processes of the lab", LIMIT, gone)
            .with_context(|| format!("left: {:?}", marked(&self.mark)))?;
        let left: Vec<_> = fs::read_dir(&self.tmp)?
            .flatten()
            .map(|e| e.path())
            .collect();
        fs::remove_dir_all(&self.tmp)?;
        ensure!(left.is_empty(), "files left: {left:?}");
        Ok(())
    }
}

/// Processes that carry the mark in their environment, ours aside.
pub(crate) fn marked(mark: &str) -> Vec<String> {
    let wanted = format!("{MARK}={mark}");
    let has = |pid: &String| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|b| *b == 0)
            .any(|variable| variable == wanted.as_bytes())
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let numbers = all.filter_map(|e| e.file_name().into_string().ok());
    numbers
        .filter(|n| n.bytes().all(|b| b.is_ascii_digit()))
        .filter(has)
        .collect()
}

/// Runs to the end; exit code, standard output, standard error.
pub(crate) fn lab(args: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = Command::new(env!("CARGO_BIN_EXE_hamp-lab"))
        .args(args)
        .output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    ))
}

/// Whether the labs can run here at all; their own words if not.
pub(crate) fn needs_lab() -> Result<()> {
    let (code, out, err) = lab(&["check"])?;
    match code {
        Some(0) => Ok(()),
        Some(69 | 77) => Err(harness::skip(out.replace('\n', "; "))),
        _ => bail!("hamp-lab check: {code:?}: {out}{err}"),
    }
}
