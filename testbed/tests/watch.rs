//! The live view of a lab that is up: what it says, and in a real terminal.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::hold::{HostLook, Owner, Program, Snapshot};
use testbed::watch::{State, text};
use testbed::{skip, skippable, wait};

const LIMIT: Duration = Duration::from_secs(20);
const ADDRESS: &str = "198.18.0.1";

fn host(name: &str, owner: &str, requests: u64) -> HostLook {
    HostLook {
        name: name.into(),
        kind: "host".into(),
        programs: Vec::new(),
        answers: Some(true),
        serving: vec![ADDRESS.into()],
        owners: vec![Owner {
            prefix: ADDRESS.into(),
            owner: owner.into(),
        }],
        requests,
    }
}

fn at(up_ms: u64, hosts: Vec<HostLook>) -> Snapshot {
    Snapshot { up_ms, hosts }
}

#[test]
fn rates_and_events_come_from_two_snapshots() {
    let mut state = State::new("three");
    state.update(at(
        1000,
        vec![host("one", "one", 10), host("two", "one", 0)],
    ));
    state.update(at(
        3000,
        vec![host("one", "one", 30), host("two", "one", 5)],
    ));
    let view = text(&state, 80, 24).unwrap();
    assert!(
        view.contains("lab three, 2 nodes, up 3.0 s. q quits"),
        "{view}"
    );
    assert!(
        view.contains("one          host   answers          198.18.0.1"),
        "{view}"
    );
    assert!(
        view.contains("10.0  ##########\n") && view.contains("2.5  ###\n"),
        "{view}"
    );
    assert!(
        view.contains("198.18.0.1               one              one two\n"),
        "{view}"
    );
    assert!(view.contains("none yet"), "{view}");

    let mut gone = host("one", "one", 30);
    (gone.answers, gone.owners, gone.serving) = (Some(false), Vec::new(), Vec::new());
    gone.programs = vec![Program {
        name: "hamp".into(),
        ended: Some("signal 9".into()),
    }];
    state.update(at(4000, vec![gone.clone(), host("two", "two", 5)]));
    let view = text(&state, 80, 24).unwrap();
    assert!(view.contains("4.0 s  198.18.0.1: one -> two\n"), "{view}");
    assert!(view.contains("one: hamp has ended: signal 9\n"), "{view}");
    assert!(view.contains("one: hamp does not answer\n"), "{view}");
    assert!(view.contains("hamp ended"), "{view}");
    state.update(at(5000, vec![host("one", "one", 0), host("two", "two", 5)]));
    let view = text(&state, 80, 24).unwrap();
    assert!(view.contains("198.18.0.1: two -> one or two\n"), "{view}");
    assert!(view.contains("one: one; two: two"), "{view}");
    assert!(view.contains("one: hamp answers again\n"), "{view}");
    state.update(at(6000, vec![gone.clone(), gone]));
    let view = text(&state, 80, 24).unwrap();
    assert!(view.contains("198.18.0.1: nobody\n"), "{view}");
}

#[test]
fn what_does_not_fit_is_counted() {
    let hosts = |number| {
        (0..number)
            .map(|n| host(&format!("h{n}"), "h0", 0))
            .collect()
    };
    let mut state = State::new("many");
    state.update(at(1000, hosts(60)));
    for (width, height) in [(80, 24), (132, 50), (40, 12), (20, 6), (1, 1)] {
        let view = text(&state, width, height).unwrap();
        assert_eq!(view.lines().count(), usize::from(height));
        if height >= 24 {
            let shown = view.lines().filter(|line| line.starts_with('h')).count();
            assert!(view.contains(&format!("{} more", 60 - shown)), "{view}");
            assert!(view.contains("EVENTS") && view.contains("OWNER"), "{view}");
        }
    }
}

/// A terminal of its own, without the user's.
struct Tmux(String);

impl Tmux {
    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new("tmux");
        command
            .args(["-S", &self.0, "-f", "/dev/null"])
            .args(arguments);
        // The shell of some users, nobody's say, runs nothing.
        command.env("SHELL", "/bin/sh").env("TERM", "xterm");
        Ok(command.env_remove("TMUX").output()?)
    }

    fn shows(&self, what: &str) -> Result<String> {
        wait::until(&format!("{what:?} on the terminal"), LIMIT, || {
            let output = self.run(&["capture-pane", "-p"]).ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.contains(what).then_some(text)
        })
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.run(&["kill-server"]);
        let _ = std::fs::remove_file(&self.0);
    }
}

const PAIR: &str = r#"
[switch.lan]
[host.a]
links = [{ to = "lan", addresses = ["10.15.46.1/24"] }]
programs = { who = "hamp-lab who" }
[host.a.hamp.node]
hello_ms = 100
[host.a.hamp.member]
addresses = ["198.18.0.1"]
[host.b]
links = [{ to = "lan", addresses = ["10.15.46.2/24"] }]
programs = { ask = ["sh", "-c", "while sleep 0.1; do curl -sm1 http://198.18.0.1; done"] }
[host.b.hamp.client]
"#;

/// A lab, down with its test.
struct Lab(String);

impl Drop for Lab {
    fn drop(&mut self) {
        let _ = hamp_lab(&["down", &self.0]);
    }
}

fn hamp_lab(arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(env!("CARGO_BIN_EXE_hamp-lab"))
        .args(arguments)
        .output()?)
}

#[test]
fn a_terminal_shows_a_lab_that_is_up() -> Result<()> {
    skippable(|| {
        if !Command::new("tmux")
            .arg("-V")
            .output()
            .is_ok_and(|o| o.status.success())
        {
            return Err(skip("tmux is missing"));
        }
        let name = format!("watch-{}", std::process::id());
        let mut up = Command::new(env!("CARGO_BIN_EXE_hamp-lab"))
            .args(["up", "-", "--name", &name])
            .stdin(Stdio::piped())
            .spawn()?;
        up.stdin
            .take()
            .context("no pipe")?
            .write_all(PAIR.as_bytes())?;
        let status = up.wait()?;
        if status.code() == Some(77) {
            return Err(skip("no namespaces"));
        }
        ensure!(status.success(), "{status}");
        let lab = Lab(name.clone());

        let output = hamp_lab(&["watch", &name])?;
        ensure!(output.status.code() == Some(2), "no terminal: {output:?}");
        let output = hamp_lab(&["watch", "--once", &name])?;
        let once = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            once.contains("198.18.0.1               a                a b"),
            "{once}"
        );

        let socket = std::env::temp_dir().join(format!("hamp-{name}"));
        let tmux = Tmux(socket.to_str().context("path")?.into());
        let binary = env!("CARGO_BIN_EXE_hamp-lab");
        let quoted = |path: &Path| shell_words::quote(&path.to_string_lossy()).into_owned();
        let command = format!(
            "{} watch {name}; echo code $?; sleep 600",
            quoted(binary.as_ref())
        );
        tmux.run(&["new-session", "-d", "-x", "80", "-y", "24", &command])?;
        tmux.shows(&format!("lab {name}, 3 nodes"))?;
        // Ten bars stand beside the only member that has requests.
        let view = tmux.shows("##########")?;
        let line = view.lines().find(|line| line.contains("##########"));
        ensure!(line.is_some_and(|line| line.starts_with("a ")), "{view}");
        ensure!(
            view.lines().count() <= 24 && view.lines().all(|line| line.len() <= 80),
            "{view}"
        );

        let output = hamp_lab(&[
            "exec",
            "-l",
            &name,
            "a",
            "--",
            "hamp",
            "leave",
            "--force",
            "198.18.0.1",
        ])?;
        ensure!(output.status.success(), "{output:?}");
        tmux.shows("198.18.0.1: nobody")?;
        tmux.run(&["resize-window", "-x", "132", "-y", "40"])?;
        wait::until("the new size", LIMIT, || {
            let output = tmux.run(&["capture-pane", "-p"]).ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let host = text.lines().find(|line| line.starts_with("HOST"))?;
            (host.find("REQ/S")? > 80).then_some(())
        })?;
        tmux.run(&["send-keys", "q"])?;
        tmux.shows("code 0")?;
        drop(lab);
        Ok(())
    })
}
