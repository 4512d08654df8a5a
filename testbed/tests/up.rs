//! Labs that stay up: everything here goes through the command `hamp-lab`, as a user does it.

#[path = "../../tests/netns/schema.rs"]
mod schema;

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde_json::Value;
use testbed::{skip, skippable, wait};

const LIMIT: Duration = Duration::from_secs(20);

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
[host.b.hamp.client]
"#;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hamp-lab"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// What a command with this input left.
fn feed(mut command: Command, input: &str) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // Who does not read it says why on stderr.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// A lab of this test alone; others may be up on this machine.
struct Up {
    name: String,
    pids: Vec<i32>,
    holder: i32,
}

impl Up {
    fn new(what: &str, topology: &str) -> Result<Self> {
        let name = format!("{what}-{}", std::process::id());
        let output = feed(command(&["up", "-", "--name", &name]), topology);
        if code(&output) == 77 {
            return Err(skip(said(&output)));
        }
        ensure!(code(&output) == 0, "{}", said(&output));
        let listed = Self::listed(&name)?.context("not listed")?;
        let number = |value: &Value| i32::try_from(value.as_i64().unwrap()).unwrap();
        let hosts = listed["hosts"].as_array().unwrap();
        let pids = hosts.iter().map(|host| number(&host["pid"])).collect();
        let holder = number(&listed["pid"]);
        Ok(Self { name, pids, holder })
    }

    fn listed(name: &str) -> Result<Option<Value>> {
        let output = run(&["list", "--json"]);
        let document: Value = serde_json::from_slice(&output.stdout)?;
        schema::check(&document).map_err(anyhow::Error::msg)?;
        let all = document["up"].as_array().unwrap();
        Ok(all.iter().find(|lab| lab["name"] == name).cloned())
    }

    fn command(&self, host: &str, words: &[&str]) -> Command {
        command(&[&["exec", "-l", &self.name, host, "--"], words].concat())
    }

    fn exec(&self, host: &str, words: &[&str]) -> Output {
        self.command(host, words).output().unwrap()
    }

    /// Starts something in a host that says its number there, and then stays.
    fn stay(&self, host: &str) -> Result<(Child, String)> {
        let mut command = self.command(host, &["sh", "-c", "echo $$; exec sleep 1000"]);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        let output = child.stdout.as_mut().context("no pipe")?;
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line)?;
        Ok((child, line.trim().to_owned()))
    }

    fn ended(&self, host: &str, pid: &str) -> Result<()> {
        wait::until("end of a command in a host", LIMIT, || {
            (!self.exec(host, &["kill", "-0", pid]).status.success()).then_some(())
        })
    }

    /// Waits until nothing of it is left, and looks.
    fn is_gone(&self) -> Result<()> {
        wait::until("end of a lab", LIMIT, || {
            let all = || self.pids.iter().chain([&self.holder]);
            all().all(|pid| !lives(*pid)).then_some(())
        })?;
        ensure!(Self::listed(&self.name)?.is_none(), "still listed");
        let output = run(&["down", &self.name]);
        let text = said(&output);
        ensure!(code(&output) == 1, "{text}");
        ensure!(text.contains("is up") && text.contains("no lab"), "{text}");
        Ok(())
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        if lives(self.holder) {
            let _ = run(&["down", &self.name]);
        }
    }
}

/// Whether a process is there and no zombie.
fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").map(|(_, rest)| rest.as_bytes()[0]);
    state.is_some_and(|state| state != b'Z')
}

#[test]
fn commands_run_in_hosts_until_the_lab_is_told_down() -> Result<()> {
    skippable(|| {
        let lab = Up::new("down", PAIR)?;
        let status = lab.exec("a", &["hamp", "status"]);
        ensure!(said(&status).starts_with("a: member"), "{status:?}");
        let asked = lab.exec(
            "b",
            &["curl", "-sS", "--max-time", "10", "http://198.18.0.1/"],
        );
        ensure!(said(&asked).trim() == "a", "{asked:?}");
        let capture = [
            "timeout",
            "20",
            "tcpdump",
            "-i",
            "eth0",
            "-c",
            "1",
            "-nn",
            "udp port 1021",
        ];
        let captured = lab.exec("b", &capture);
        ensure!(said(&captured).contains("1021"), "{captured:?}");
        let log = run(&["log", "-l", &lab.name, "a"]);
        ensure!(said(&log).contains("ready"), "{log:?}");
        let down = run(&["down", &lab.name]);
        ensure!(code(&down) == 0, "{down:?}");
        lab.is_gone()
    })
}

#[test]
fn a_command_in_a_host_is_like_one_without() -> Result<()> {
    skippable(|| {
        let lab = Up::new("exec", PAIR)?;
        ensure!(code(&lab.exec("a", &["sh", "-c", "exit 7"])) == 7);
        ensure!(code(&lab.exec("a", &["sh", "-c", "kill -9 $$"])) == 128 + 9);
        let output = lab.exec("a", &["no-such-command"]);
        ensure!(code(&output) == 127 && said(&output).contains("no-such-command"));
        ensure!(code(&lab.exec("a", &["/"])) == 126);
        let output = lab.exec("a", &["sh", "-c", "echo out; echo err >&2"]);
        ensure!(
            output.stdout == b"out\n" && output.stderr == b"err\n",
            "{output:?}"
        );
        let output = feed(lab.command("a", &["tr", "a-z", "A-Z"]), "piped\n");
        ensure!(output.stdout == b"PIPED\n", "{output:?}");
        let look = "echo $HAMP_LAB_HOST $(hostname) $(command -v hamp) $(ls /proc/$$/exe)";
        let output = lab.exec("b", &["sh", "-c", look]);
        let text = said(&output);
        ensure!(text.starts_with("b b /run/lab/bin/hamp /proc/"), "{text}");
        // Where the user is, unless the host has its own files there.
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        let output = lab.command("a", &["pwd"]).current_dir(own).output()?;
        let shared = !["/tmp", "/run", "/var/tmp"]
            .iter()
            .any(|covered| own.starts_with(covered));
        let place = if shared {
            own
        } else {
            Path::new("/run/lab/tmp")
        };
        ensure!(
            said(&output).trim() == place.to_str().unwrap(),
            "{output:?}"
        );
        let output = lab.command("a", &["pwd"]).current_dir("/usr").output()?;
        ensure!(said(&output).trim() == "/usr", "{output:?}");
        Ok(())
    })
}

#[test]
fn a_command_ends_with_who_wanted_it() -> Result<()> {
    skippable(|| {
        let lab = Up::new("signals", PAIR)?;
        for signal in [Signal::SIGTERM, Signal::SIGHUP, Signal::SIGKILL] {
            let (mut child, inside) = lab.stay("a")?;
            ensure!(lab.exec("a", &["kill", "-0", &inside]).status.success());
            kill(Pid::from_raw(child.id().cast_signed()), signal)?;
            let status = child.wait()?;
            lab.ended("a", &inside)?;
            let expected = (signal != Signal::SIGKILL).then_some(128 + signal as i32);
            ensure!(status.code() == expected, "{signal}: {status}");
        }
        Ok(())
    })
}

#[test]
fn nothing_outlives_a_holder_that_is_killed_or_asked_to_end() -> Result<()> {
    skippable(|| {
        for signal in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT] {
            let lab = Up::new("killed", PAIR)?;
            let (mut child, _) = lab.stay("b")?;
            kill(Pid::from_raw(lab.holder), signal)?;
            child.wait()?;
            lab.is_gone().with_context(|| signal.to_string())?;
        }
        Ok(())
    })
}

#[test]
fn two_labs_never_meet() -> Result<()> {
    skippable(|| {
        let alone = PAIR
            .split("[host.b]")
            .next()
            .unwrap()
            .replace("46.1/", "46.3/");
        let (first, second) = (Up::new("first", PAIR)?, Up::new("second", &alone)?);
        let ping = |lab: &Up, to: &str| lab.exec("a", &["ping", "-c1", "-W1", to]).status.success();
        ensure!(ping(&first, "10.15.46.2") && ping(&first, "10.15.46.1"));
        ensure!(!ping(&first, "10.15.46.3") && ping(&second, "10.15.46.3"));
        let again = feed(command(&["up", "-", "--name", &first.name]), PAIR);
        ensure!(code(&again) == 1, "{again:?}");
        ensure!(said(&again).contains("is up already"), "{again:?}");
        ensure!(code(&run(&["down", &first.name])) == 0);
        ensure!(ping(&second, "10.15.46.3"), "the other stays");
        let same = Up::new("first", PAIR)?;
        ensure!(ping(&same, "10.15.46.2"), "its name is free at once");
        Ok(())
    })
}

#[test]
fn a_cable_is_pulled_plugged_in_and_impaired() -> Result<()> {
    skippable(|| {
        let lab = Up::new("link", PAIR)?;
        let pulled =
            || said(&lab.exec("a", &["ip", "link", "show", "eth0"])).contains("NO-CARRIER");
        let link = |arguments: &[&str]| run(&[&["link", "-l", &lab.name], arguments].concat());
        ensure!(!pulled());
        ensure!(code(&link(&["a", "eth0", "down"])) == 0);
        wait::until("no carrier", LIMIT, || pulled().then_some(()))?;
        ensure!(code(&link(&["a", "eth0", "up"])) == 0);
        wait::until("carrier", LIMIT, || (!pulled()).then_some(()))?;
        let takes = |milliseconds: f64| {
            let ping = ["ping", "-c1", "-W2", "10.15.46.2"];
            let output = said(&lab.exec("a", &ping));
            let time = output
                .split("time=")
                .nth(1)
                .and_then(|rest| rest.split(' ').next());
            time.is_some_and(|time| time.parse().is_ok_and(|time: f64| time >= milliseconds))
        };
        ensure!(code(&link(&["a", "eth0", "impair", "delay_ms=30", "--in"])) == 0);
        wait::until("a delayed ping", LIMIT, || takes(30.0).then_some(()))?;
        ensure!(!takes(59.0), "one direction");
        ensure!(code(&link(&["a", "eth0", "impair"])) == 0);
        wait::until("a fast ping", LIMIT, || (!takes(30.0)).then_some(()))?;
        let output = link(&["a", "eth0", "impair", "delay=30"]);
        ensure!(code(&output) == 2, "{output:?}");
        ensure!(
            said(&output).contains("nearest known key is \"delay_ms\""),
            "{output:?}"
        );
        for (words, what) in [
            (["a", "eth7", "down"], "no interface \"eth7\""),
            (["x", "eth0", "down"], "no host \"x\""),
            (["lan", "a", "down"], "is a switch"),
        ] {
            let output = link(&words);
            ensure!(
                code(&output) == 1 && said(&output).contains(what),
                "{output:?}"
            );
        }
        Ok(())
    })
}

#[test]
fn what_is_wrong_is_said_before_up_returns() -> Result<()> {
    skippable(|| {
        let name = format!("wrong-{}", std::process::id());
        // A machine without labs has nothing to say about them.
        drop(Up::new("wrong", "[host.a]")?);
        for (text, expected, what) in [
            ("[hosts.a]", 78, "stdin:1: unknown key \"hosts\""),
            (
                "[host.a.hamp.node]\nhello_ms = 1",
                78,
                "stdin:2: host.a.hamp.node.hello_ms",
            ),
            (
                "[host.a.programs]\np = \"no-such-program\"",
                69,
                "start p on a",
            ),
            (
                "[host.a.programs]\np = \"sh -c 'echo why; exit 3'\"\n[host.b.hamp]\n[[cable]]\nbetween = [\"a\", \"b\"]",
                1,
                "p on a: exit 3\nwhy",
            ),
            (
                "[host.a]\nroutes = [{ to = \"default\", via = \"10.0.0.1\" }]",
                1,
                "a:",
            ),
        ] {
            let output = feed(command(&["up", "-", "--name", &name]), text);
            ensure!(code(&output) == expected, "{text}: {output:?}");
            ensure!(said(&output).contains(what), "{text}: {output:?}");
            ensure!(Up::listed(&name)?.is_none(), "{text}");
        }
        let output = feed(command(&["up", "-", "--name", "a/b"]), PAIR);
        ensure!(
            code(&output) == 2 && said(&output).contains("a/b"),
            "{output:?}"
        );
        let output = run(&["up", "/nonexistent/t.toml"]);
        ensure!(
            code(&output) == 78 && said(&output).contains("/nonexistent/t.toml"),
            "{output:?}"
        );
        let output = feed(command(&["up", "-", "--dry-run"]), PAIR);
        ensure!(
            code(&output) == 0 && said(&output).contains("3 nodes, 2 cables"),
            "{output:?}"
        );
        Ok(())
    })
}

#[test]
fn an_unknown_host_lab_or_program_is_named() -> Result<()> {
    skippable(|| {
        let lab = Up::new("unknown", PAIR)?;
        let output = lab.exec("x", &["true"]);
        ensure!(code(&output) == 1, "{output:?}");
        ensure!(
            said(&output).contains("no host \"x\": lan, a, b"),
            "{output:?}"
        );
        let output = run(&["exec", "-l", "no-such-lab", "a", "--", "true"]);
        ensure!(code(&output) == 1, "{output:?}");
        ensure!(
            said(&output).contains("no lab \"no-such-lab\" is up"),
            "{output:?}"
        );
        let output = run(&["log", "-l", &lab.name, "a", "web"]);
        ensure!(
            code(&output) == 1 && said(&output).contains("hamp, who"),
            "{output:?}"
        );
        ensure!(code(&run(&["exec"])) == 2);
        Ok(())
    })
}

/// In a network namespace of their own, there are no labs of others.
#[test]
fn the_only_lab_needs_no_name() -> Result<()> {
    skippable(|| {
        let script = r#"
            "$LAB" list | grep -A1 'that are up' | grep -q none
            "$LAB" down && exit 1
            "$LAB" down --all | grep -q 'no lab is up'
            "$LAB" up --name one - <"$FILE" >/dev/null
            test "$("$LAB" exec b -- hostname)" = b
            echo 'hostname; exit 5' | SHELL=/bin/sh "$LAB" shell a >out && exit 1
            test "$(cat out)" = a
            "$LAB" up --name two - <"$FILE" >/dev/null
            "$LAB" down 2>&1 | grep -q 'several labs are up: one, two'
            "$LAB" down one
            "$LAB" exec a -- true
            "$LAB" down
            "$LAB" list | grep -A1 'that are up' | grep -q none
        "#;
        let place = std::env::temp_dir().join(format!("hamp-lab-only-{}", std::process::id()));
        std::fs::create_dir_all(&place)?;
        std::fs::write(place.join("t.toml"), PAIR)?;
        let mut alone = Command::new("unshare");
        alone.args(["--map-root-user", "--net", "--mount"]);
        if !alone
            .arg("true")
            .status()
            .is_ok_and(|status| status.success())
        {
            return Err(skip("unshare is missing or not allowed"));
        }
        let output = Command::new("unshare")
            .args(["--map-root-user", "--net", "--mount", "sh", "-exc", script])
            .env("LAB", env!("CARGO_BIN_EXE_hamp-lab"))
            .env("FILE", place.join("t.toml"))
            .current_dir(&place)
            .output()?;
        std::fs::remove_dir_all(&place)?;
        ensure!(output.status.success(), "{}", said(&output));
        Ok(())
    })
}

#[test]
fn root_uses_the_labs_of_others_and_others_not_those_of_root() -> Result<()> {
    skippable(|| {
        const NOBODY: u32 = 65534;
        if !geteuid().is_root() {
            return Err(skip("needs root"));
        }
        let as_nobody = |arguments: &[&str]| {
            let mut command = command(arguments);
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
            command
        };
        if as_nobody(&["--version"]).output().is_err() {
            return Err(skip("nobody may not run the binary"));
        }
        let name = format!("theirs-{}", std::process::id());
        let output = feed(as_nobody(&["up", "-", "--name", &name]), PAIR);
        if code(&output) == 77 {
            return Err(skip(said(&output)));
        }
        ensure!(code(&output) == 0, "{}", said(&output));
        let lab = Up::listed(&name)?.context("not listed")?;
        ensure!(
            lab["uid"] == NOBODY && lab["hosts"].as_array().is_some(),
            "{lab}"
        );
        let output = run(&[
            "exec",
            "-l",
            &name,
            "b",
            "--",
            "sh",
            "-c",
            "hostname; id -u; exit 3",
        ]);
        ensure!(
            code(&output) == 3 && said(&output) == "b\n0\n",
            "{output:?}"
        );
        let ours = Up::new("ours", "[host.a]")?;
        for arguments in [
            vec!["down", &ours.name],
            vec!["exec", "-l", &ours.name, "a", "--", "true"],
        ] {
            let output = as_nobody(&arguments).output()?;
            ensure!(
                code(&output) == 1 && said(&output).contains("no lab"),
                "{output:?}"
            );
        }
        ensure!(code(&run(&["down", &name])) == 0);
        ensure!(Up::listed(&name)?.is_none());
        Ok(())
    })
}

#[test]
fn output_that_nobody_reads_is_no_panic() {
    for arguments in [
        &["list"][..],
        &["list", "--json"],
        &["check"],
        &["simulate", "--hosts", "1", "--links", "1", "--minutes", "0"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = command(arguments).stdout(writer).output().unwrap();
        assert!(output.stderr.is_empty(), "{arguments:?}: {}", said(&output));
        let full = std::fs::File::options().write(true).open("/dev/full");
        let output = command(arguments).stdout(full.unwrap()).output().unwrap();
        assert_eq!(code(&output), 1, "{arguments:?}");
        let why = "hamp-lab: standard output: No space left on device (os error 28)\n";
        assert_eq!(said(&output), why, "{arguments:?}");
    }
}

#[test]
fn a_file_without_an_end_is_refused() {
    for arguments in [["up", "/dev/zero"], ["graph", "/dev/zero"]] {
        let output = run(&arguments);
        assert_eq!(code(&output), 78, "{arguments:?}");
        let text = "/dev/zero: it is longer than 16 MiB";
        assert!(said(&output).contains(text), "{}", said(&output));
    }
}

#[test]
fn a_lab_keeps_nothing_open_that_who_started_it_had_open() -> Result<()> {
    skippable(|| {
        let name = format!("open-{}", std::process::id());
        let (mut reader, writer) = std::io::pipe()?;
        let mut shell = Command::new("sh");
        // Standard output becomes descriptor 9 of a script that starts a lab.
        let script = "exec 9>&1 1>&2; exec \"$0\" up - --name \"$1\"";
        shell.args(["-c", script, env!("CARGO_BIN_EXE_hamp-lab"), &name]);
        shell
            .stdin(Stdio::piped())
            .stdout(writer)
            .stderr(Stdio::piped());
        let mut child = shell.spawn()?;
        drop(shell);
        child
            .stdin
            .take()
            .context("no pipe")?
            .write_all(b"[host.a]\n")?;
        let output = child.wait_with_output()?;
        if code(&output) == 77 {
            return Err(skip(said(&output)));
        }
        ensure!(code(&output) == 0, "{}", said(&output));
        let (tell, told) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            tell.send(std::io::Read::read_to_end(&mut reader, &mut Vec::new()))
        });
        let ended = told.recv_timeout(LIMIT);
        let down = run(&["down", &name]);
        ensure!(code(&down) == 0, "{}", said(&down));
        ensure!(ended.is_ok(), "the lab had the pipe open");
        Ok(())
    })
}

#[test]
fn a_name_that_another_user_has_taken_is_not_a_lab_of_ours() {
    if !geteuid().is_root() {
        return;
    }
    let name = format!("taken-{}", std::process::id());
    // Listens and never accepts.
    let script = format!(
        "import socket,time\ns=socket.socket(socket.AF_UNIX)\ns.bind('\\0hamp-lab/0/{name}')\n\
         s.listen(16)\nprint('ready',flush=True)\ntime.sleep(60)"
    );
    let mut squatter = Command::new("/usr/bin/python3");
    squatter
        .args(["-c", &script])
        .uid(65534)
        .gid(65534)
        .stdout(Stdio::piped());
    let Ok(mut squatter) = squatter.spawn() else {
        return;
    };
    let mut line = [0; 6];
    let ready = squatter.stdout.as_mut().unwrap();
    std::io::Read::read_exact(ready, &mut line).unwrap();
    let listed = said(&run(&["list"]));
    let up = feed(command(&["up", "-", "--name", &name]), "[host.a]\n");
    squatter.kill().unwrap();
    squatter.wait().unwrap();
    assert!(!listed.contains(&name), "{listed}");
    assert!(
        said(&up).contains("another user has taken the name"),
        "{}",
        said(&up)
    );
}

#[test]
fn a_dead_host_and_a_question_that_makes_no_sense_are_told() -> Result<()> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixStream};
    skippable(|| {
        let up = Up::new("dead", "[host.a]\n[host.b]\n")?;
        let name = format!("hamp-lab/{}/{}", geteuid(), up.name);
        let mut stream = UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(b"{\"dance\":1}\n")?;
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer)?;
        ensure!(answer.contains("does not understand"), "{answer:?}");
        kill(Pid::from_raw(up.pids[0]), Signal::SIGKILL)?;
        wait::until("the end of host a", LIMIT, || {
            let output = up.exec("a", &["true"]);
            (code(&output) != 0).then_some(())
        })?;
        let output = up.exec("a", &["true"]);
        ensure!(code(&output) == 1, "{}", said(&output));
        ensure!(
            said(&output).contains("host a: it has ended"),
            "{}",
            said(&output)
        );
        ensure!(code(&up.exec("b", &["true"])) == 0, "the other host runs");
        Ok(())
    })
}

#[test]
fn a_program_that_is_not_there_is_named() -> Result<()> {
    skippable(|| {
        let name = format!("none-{}", std::process::id());
        let lab = "[host.a]\nprograms = { web = \"/nonexistent/httpd -f\" }\n";
        let output = feed(command(&["up", "-", "--name", &name]), lab);
        if code(&output) == 77 {
            return Err(skip(said(&output)));
        }
        let text = "start web on a: /nonexistent/httpd: ";
        ensure!(said(&output).contains(text), "{}", said(&output));
        Ok(())
    })
}
