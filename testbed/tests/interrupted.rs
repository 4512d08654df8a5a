//! Labs that end at any moment, in any way, and leave nothing; labs side by side that never meet.
//!
//! The test lives in a user namespace of its own, whatever it runs as, so it can count exactly. It
//! is the reaper of every orphan below it: while one process of a lab lives, it has a child. It sets
//! the limits of its user namespace to what one more lab needs: while one namespace of an earlier
//! lab lives, the kernel refuses that lab. Its `/run` and `/tmp` are empty before and must be after.
//!
//! `cargo test -p testbed --test interrupted` interrupts 20 labs. The full form, and a failure's
//! replay with the seed that it printed:
//!
//! ```text
//! TESTBED_LABS=200 cargo test -p testbed --test interrupted
//! TESTBED_SEED=15460 cargo test -p testbed --test interrupted
//! ```

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use testbed::capture::Capture;
use testbed::impair::random;
use testbed::{Impairment, Lab, Privilege, Topology, harness, wait};

/// In the environment of a process that is a victim: where it panics, or `NEVER`.
const VICTIM: &str = "TESTBED_VICTIM";
/// In the environment of a process that is one lab of several: its number.
const NUMBER: &str = "TESTBED_NUMBER";
/// Longer than the end of a lab takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);
/// Where a victim can panic: before its lab, and after each of its steps.
const STEPS: u64 = 5;
/// How many labs there are at once.
const LABS: u16 = 8;

fn main() -> ExitCode {
    testbed::init();
    // Each becomes part of the namespace of the test that started it.
    let entered = testbed::enter(Privilege::User);
    let only = |name: &str| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    if let Some(panics_at) = only(VICTIM) {
        return done(victim(panics_at));
    }
    if let Some(number) = only(NUMBER) {
        return done(reaches_its_own(u16::try_from(number).unwrap_or(u16::MAX)));
    }
    drop(entered); // Kept for the harness, which tells it.
    harness::main(&[
        (
            "nothing_stays_of_interrupted_labs",
            nothing_stays_of_interrupted_labs,
        ),
        (
            "labs_of_one_process_never_meet",
            labs_of_one_process_never_meet,
        ),
        (
            "labs_of_many_processes_never_meet",
            labs_of_many_processes_never_meet,
        ),
    ])
}

fn done(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Three hosts, one of them behind an impaired cable.
fn three() -> Topology {
    Topology::new("three")
        .switch("lan")
        .host("a")
        .link("lan", &["10.0.0.1/24"])
        .host("b")
        .link("lan", &["10.0.0.2/24"])
        .host("c")
        .link("lan", &["10.0.0.3/24"])
        .impaired(Impairment::delay_ms(1))
}

/// What an interrupted process does: all that a lab can have, and then its orderly end.
fn victim(panics_at: u64) -> Result<()> {
    let step = |number| assert!(number != panics_at, "as told");
    step(0);
    let lab = Lab::new(&three())?;
    step(1);
    let capture = Capture::all(&lab, None)?;
    // One that is in the way of an orderly end, with a child in a session of its own.
    let text = "trap '' INT TERM; setsid sleep 1000 & touch /run/mine /tmp/mine; sleep 1000";
    let stubborn = lab.host("a").spawn("stubborn", &["sh", "-c", text])?;
    step(2);
    lab.host("a")
        .run(&["ping", "-c1", "-W1", "10.0.0.3"])?
        .ok()?;
    step(3);
    stubborn.freeze()?;
    step(4);
    capture.finish()?;
    Ok(())
}

fn nothing_stays_of_interrupted_labs() -> Result<()> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let labs: u64 = number("TESTBED_LABS").unwrap_or(20);
    let seed: u64 = number("TESTBED_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("TESTBED_SEED={seed} interrupts {labs} labs");
    let empty = private_directories()?;
    set_child_subreaper(true)?;
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let links = interfaces()?;

    let start = Instant::now();
    let whole = begin(VICTIM, u64::MAX)?;
    ended(whole)?;
    let whole = start.elapsed();

    let mut random = random(seed, 0, 0);
    let mut below = |limit: u64| random.next_u64() % limit;
    for lab in 0..labs {
        let how = below(4);
        let panics_at = if how == 3 { below(STEPS) } else { u64::MAX };
        let mut child = begin(VICTIM, panics_at)?;
        if let Some(signal) = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL].get(how as usize) {
            // From its start until a little after its end.
            let moment = below(u64::try_from(whole.as_micros())? * 11 / 10);
            std::thread::sleep(Duration::from_micros(moment));
            kill(Pid::from_raw(child.id().cast_signed()), *signal)?;
        }
        child.wait()?;
        let what = format!("lab {lab} of seed {seed}");
        no_child_is_left().with_context(|| what.clone())?;
        for dir in &empty {
            let left = std::fs::read_dir(dir)?.flatten().map(|e| e.path());
            let left: Vec<_> = left.collect();
            ensure!(left.is_empty(), "{what} left {left:?}");
        }
    }
    let now = std::fs::read_to_string("/proc/self/mounts")?;
    ensure!(now == mounts, "mounts were\n{mounts}and are\n{now}");
    ensure!(interfaces()? == links, "interfaces are left");
    one_more_fits()
}

/// Directories that the victims share with nobody; those above this program are left as they are.
fn private_directories() -> Result<Vec<&'static str>> {
    let program = std::env::current_exe()?;
    let mut private = vec!["/run", "/tmp", "/var/tmp"];
    private.retain(|dir| !program.starts_with(dir) && Path::new(dir).is_dir());
    for dir in &private {
        let none: Option<&str> = None;
        mount(none, *dir, Some("tmpfs"), MsFlags::empty(), none)
            .with_context(|| format!("private {dir}"))?;
    }
    Ok(private)
}

/// The interfaces around the labs.
fn interfaces() -> Result<Vec<String>> {
    let mut names: Vec<_> = nix::ifaddrs::getifaddrs()?
        .map(|i| i.interface_name)
        .collect();
    names.sort();
    Ok(names)
}

/// Starts this program as something else, in the namespaces it lives in.
fn begin(variable: &str, value: u64) -> Result<Child> {
    Command::new("/proc/self/exe")
        .env(variable, value.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start this program again")
}

/// Waits for its end, which must be a good one.
fn ended(child: Child) -> Result<()> {
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    Ok(())
}

/// Collects orphans until there are none, which is when everything below us has ended.
fn no_child_is_left() -> Result<()> {
    wait::until("the end of all processes of a lab", LIMIT, || {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Err(Errno::ECHILD) => return Some(()),
                Ok(WaitStatus::StillAlive) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    })
}

/// Whether a lab fits into what is left when only our own namespaces and its own are allowed. Those
/// of earlier labs go when the kernel has cleaned up behind them, a little after their processes.
fn one_more_fits() -> Result<()> {
    // Ours; the victim's user, network and mount namespaces; those of its three hosts, its switch
    // and its relay.
    for (kind, limit) in [
        ("user", 1),
        ("net", 7),
        ("mnt", 6),
        ("pid", 4),
        ("uts", 4),
        ("ipc", 4),
    ] {
        std::fs::write(
            format!("/proc/sys/user/max_{kind}_namespaces"),
            limit.to_string(),
        )
        .with_context(|| format!("limit of {kind} namespaces"))?;
    }
    wait::until_ok("room for one more lab", LIMIT, || {
        ended(begin(VICTIM, u64::MAX)?)
    })?;
    // The limits do limit: with one less it does not fit.
    std::fs::write("/proc/sys/user/max_net_namespaces", "6")?;
    let refused = ended(begin(VICTIM, u64::MAX)?);
    ensure!(
        refused.is_err(),
        "a lab has fewer namespaces than this test knows"
    );
    for kind in ["user", "net", "mnt", "pid", "uts", "ipc"] {
        std::fs::write(format!("/proc/sys/user/max_{kind}_namespaces"), "10000")?;
    }
    Ok(())
}

fn labs_of_one_process_never_meet() -> Result<()> {
    let labs = (0..LABS).map(|number| std::thread::spawn(move || reaches_its_own(number)));
    let labs: Vec<_> = labs.collect();
    labs.into_iter().try_for_each(|lab| match lab.join() {
        Ok(result) => result,
        Err(_) => anyhow::bail!("panicked"),
    })
}

fn labs_of_many_processes_never_meet() -> Result<()> {
    let labs: Vec<_> = (0..LABS)
        .map(|number| begin(NUMBER, number.into()))
        .collect::<Result<_>>()?;
    labs.into_iter().try_for_each(ended)
}

/// A lab like all the others, in which a asks b for its number again and again.
fn reaches_its_own(number: u16) -> Result<()> {
    let lab = Lab::new(&three())?;
    let (tell, told) = std::sync::mpsc::channel();
    let server = lab.host("b").thread("server", move || -> Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 1546))?;
        socket.set_read_timeout(Some(LIMIT))?;
        tell.send(())?;
        loop {
            let mut question = [0; 1];
            let (_, from) = socket.recv_from(&mut question)?;
            socket.send_to(&number.to_be_bytes(), from)?;
            if question == *b"." {
                return Ok(());
            }
        }
    })?;
    told.recv().context("the server did not begin")?;
    let client = lab.host("a").thread("client", move || -> Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.set_read_timeout(Some(LIMIT))?;
        socket.connect(SocketAddr::from(([10, 0, 0, 2], 1546)))?;
        for question in 0..100 {
            socket.send(if question == 99 { b"." } else { b"?" })?;
            let mut answer = [0; 2];
            socket.recv(&mut answer)?;
            let answer = u16::from_be_bytes(answer);
            ensure!(answer == number, "lab {number} reached lab {answer}");
        }
        Ok(())
    })?;
    for thread in [client, server] {
        thread.join().map_err(|_| anyhow::anyhow!("panicked"))??;
    }
    Ok(())
}
