//! Names that another user of the host holds: a daemon runs all the same, and no command believes the
//! stranger or waits for it.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testbed::{Host, Process, wait};

use crate::common::{self, LIMIT, report};

pub(crate) const TESTS: &[testbed::harness::Test] = &[
    (
        "squatted::a_daemon_runs_whoever_holds_its_names",
        a_daemon_runs_whoever_holds_its_names,
    ),
    (
        "squatted::a_stranger_is_neither_believed_nor_waited_for",
        a_stranger_is_neither_believed_nor_waited_for,
    ),
    (
        "squatted::there_is_still_one_daemon_only",
        there_is_still_one_daemon_only,
    ),
    (
        "squatted::a_path_of_another_user_is_left_to_it",
        a_path_of_another_user_is_left_to_it,
    ),
];

/// Who holds a name, as which user, and what it does with those who connect.
const SQUATTER: &str = r#"
import os, socket, sys, time
name, kind, manner, uid = sys.argv[1:5]
os.setgid(int(uid)); os.setuid(int(uid))
address = "\0" + name[1:] if name[0] == "@" else name
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "dgram" else socket.SOCK_STREAM)
s.bind(address)
others = []
if manner == "full":
    s.listen(0)
    c = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM); c.connect(address); others.append(c)
elif manner != "bound":
    s.listen(8)
print("holding", flush=True)
while manner in ("lie", "drip"):
    c, _ = s.accept()
    others.append(c)
    try:
        if manner == "lie":
            c.send(b'{"schema":"hamp.status/1","name":"liar","links":[]}\n')
        else:
            for _ in range(100):
                c.send(b" "); time.sleep(0.5)
    except OSError: pass
time.sleep(600)
"#;

/// A user who is not root, if this namespace has one.
const STRANGER: u32 = 12345;

fn squat(host: &Host, name: &str, kind: &str, manner: &str, uid: u32) -> Result<Process> {
    host.write("/tmp/squat.py", SQUATTER)?;
    let uid = uid.to_string();
    let log = format!(
        "squat-{}-{kind}-{manner}-{uid}",
        name.trim_start_matches(['@', '/']).replace('/', "-")
    );
    let squatter = host.spawn(
        &log,
        &["python3", "/tmp/squat.py", name, kind, manner, &uid],
    )?;
    wait::until_ok("the name is held", LIMIT, || {
        let said = host.read(squatter.log())?;
        ensure!(squatter.exited().is_none(), "{said}");
        ensure!(said.contains("holding"), "{said}");
        Ok(())
    })?;
    Ok(squatter)
}

/// Another user is only there when more than one is mapped.
fn needs_a_stranger(host: &Host) -> Result<()> {
    let mapped = host.sh("cat /proc/self/uid_map")?;
    let mapped = mapped.lines().any(|line| {
        let mut words = line
            .split_whitespace()
            .filter_map(|word| word.parse::<u64>().ok());
        let (from, length) = (words.next().unwrap_or(0), words.nth(1).unwrap_or(0));
        (from..from + length).contains(&u64::from(STRANGER))
    });
    if mapped {
        Ok(())
    } else {
        Err(testbed::harness::skip(
            "an ordinary user's namespace has no second user",
        ))
    }
}

fn a_daemon_runs_whoever_holds_its_names() -> Result<()> {
    let lab = common::lab()?;
    let one = lab.host("one");
    needs_a_stranger(one)?;
    for (name, kind, manner) in [
        ("@hamp-daemon", "dgram", "bound"),
        ("@hamp-daemon", "stream", "bound"),
        ("@hamp-daemon", "stream", "full"),
        ("@hamp", "stream", "bound"),
        ("@hamp", "stream", "full"),
        ("@hamp", "stream", "lie"),
    ] {
        let squatter = squat(one, name, kind, manner, STRANGER)?;
        // All daemons of a host have one log.
        one.sh("rm -f /run/lab/log/hamp.log")?;
        let daemon = common::member(one)?;
        common::serving(one, 3)?;
        let said = one.read(daemon.log())?;
        let who = format!("user {STRANGER}, process");
        // The kernel keeps the names of datagrams and of streams apart.
        ensure!(
            kind == "dgram" || said.contains(&who),
            "{name} {kind} {manner}: {said}"
        );
        ensure!(
            daemon.terminate(LIMIT)?.success(),
            "{}",
            one.read(daemon.log())?
        );
        let left = one.sh("ls -A /run/hamp")?;
        ensure!(left.is_empty(), "{name} {manner}: {left}");
        squatter.kill()?;
    }
    Ok(())
}

fn a_stranger_is_neither_believed_nor_waited_for() -> Result<()> {
    let lab = common::lab()?;
    let one = lab.host("one");
    needs_a_stranger(one)?;
    for manner in ["bound", "full", "lie"] {
        let squatter = squat(one, "@hamp", "stream", manner, STRANGER)?;
        let begun = Instant::now();
        let asked = one.run(&["hamp", "status"])?;
        ensure!(
            begun.elapsed() < Duration::from_secs(8),
            "{manner}: {asked:?}"
        );
        ensure!(asked.status.code() == Some(1), "{manner}: {asked:?}");
        let who = format!("user {STRANGER}, process");
        ensure!(asked.stderr.contains(&who), "{manner}: {asked:?}");
        ensure!(!asked.stdout.contains("liar"), "{manner}: {asked:?}");
        let cleaned = one.run(&["hamp", "clean"])?;
        ensure!(cleaned.status.success(), "{manner}: {cleaned:?}");
        squatter.kill()?;
    }
    Ok(())
}

fn there_is_still_one_daemon_only() -> Result<()> {
    let lab = common::lab()?;
    let one = lab.host("one");
    needs_a_stranger(one)?;
    let _place = squat(one, "@hamp-daemon", "stream", "silent", STRANGER)?;
    let _control = squat(one, "@hamp", "stream", "silent", STRANGER)?;
    let first = common::member(one)?;
    for state in ["", "/tmp/other"] {
        let env = if state.is_empty() {
            "A=b".to_owned()
        } else {
            format!("HAMP_STATE={state}")
        };
        let run = [
            "env",
            &env,
            "hamp",
            "run",
            "--config",
            "/tmp/hamp.toml",
            "--control",
            "@other",
        ];
        let second = one.run(&run)?;
        ensure!(second.status.code() == Some(1), "{second:?}");
        ensure!(
            second.stderr.contains("another hamp daemon runs"),
            "{second:?}"
        );
    }
    ensure!(
        first.terminate(LIMIT)?.success(),
        "{}",
        one.read(first.log())?
    );
    Ok(())
}

fn a_path_of_another_user_is_left_to_it() -> Result<()> {
    let lab = common::lab()?;
    let one = lab.host("one");
    needs_a_stranger(one)?;
    one.sh("mkdir -m 1777 /tmp/open")?;
    let _squatter = squat(one, "/tmp/open/hamp", "stream", "lie", STRANGER)?;
    common::configure(
        one,
        &format!(
            "control = \"/tmp/open/hamp\"\n[member]\n{}\n",
            common::ADDRESSES
        ),
    )?;
    let daemon = common::start(one)?;
    let status = report(one, &["status", "--control", "/tmp/open/hamp"])?;
    ensure!(status["name"] == "one", "{status:#}");
    ensure!(
        daemon.terminate(LIMIT)?.success(),
        "{}",
        one.read(daemon.log())?
    );
    ensure!(one.sh("ls /tmp/open")?.trim() == "hamp");
    Ok(())
}
