//! The shell scripts: the link that they build works and goes away, and what is missing is named.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn script(name: &str) -> Command {
    let mut command = Command::new(Path::new(ROOT).join("netns-scripts").join(name));
    command.current_dir("/");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_link_in_plain_shell_survives_a_member_and_goes_away() {
    let name = format!("hamp-test-{}", std::process::id());
    let mut command = script("first-link.sh");
    command
        .env("HAMP", env!("CARGO_BIN_EXE_hamp"))
        .env("HAMP_FIRST_LINK", &name);
    let output = command.output().unwrap();
    let (told, logged) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{told}\n{logged}");
    // Twice over two families: one member answers all ten requests, and a killed one none.
    let answers: Vec<_> = told.lines().filter(|line| line.contains("I am")).collect();
    assert_eq!(answers.len(), 4, "{told}");
    assert!(
        answers
            .iter()
            .all(|line| line.trim().starts_with("10 I am")),
        "{told}"
    );
    let killed = logged
        .lines()
        .find(|line| line.starts_with("kill -9 of"))
        .unwrap();
    let killed = killed
        .strip_prefix("kill -9 of ")
        .unwrap()
        .split('\'')
        .next()
        .unwrap();
    assert!(answers[0].ends_with(killed), "{told}\n{logged}");
    assert!(
        !answers[2..].iter().any(|line| line.ends_with(killed)),
        "{told}"
    );
    let stays = |directory: &str| {
        std::fs::read_dir(directory).is_ok_and(|entries| {
            entries
                .flatten()
                .any(|entry| entry.file_name().to_string_lossy().contains(&name))
        })
    };
    assert!(
        !stays("/run/netns") && !stays("/run"),
        "something stays behind"
    );
}

/// Runs `body` after lib.sh as an ordinary user without sudo, whose home is empty.
fn lib(body: &str) -> Output {
    // A copy: not everybody may look into the checkout.
    static COPIES: AtomicU32 = AtomicU32::new(0);
    let nth = COPIES.fetch_add(1, Ordering::Relaxed);
    let copy = std::env::temp_dir().join(format!("hamp-lib-{}-{nth}", std::process::id()));
    let scripts = copy.join("netns-scripts");
    std::fs::create_dir_all(&scripts).unwrap();
    for file in ["netns-scripts/lib.sh", "Cargo.toml"] {
        std::fs::copy(Path::new(ROOT).join(file), copy.join(file)).unwrap();
    }
    let mut command = Command::new("setpriv");
    command.arg("--no-new-privs");
    if nix::unistd::geteuid().is_root() {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    command.args([
        "bash",
        "-c",
        &format!(". {}/lib.sh; {body}", scripts.display()),
    ]);
    command
        .env("HOME", "/nonexistent")
        .env("PATH", "/usr/bin:/bin")
        .env_remove("CARGO");
    command
        .env_remove("SUDO_USER")
        .stdin(std::process::Stdio::null());
    let output = command.output().unwrap();
    std::fs::remove_dir_all(copy).unwrap();
    output
}

#[test]
fn a_missing_program_is_named_with_the_line_that_installs_it() {
    if !Path::new("/usr/bin/apt-get").exists() {
        println!("skipped: no apt-get");
        return;
    }
    let pairs = "sh=dash no-such-program=no-such-package no-such-other=no-such-package";
    let output = lib(&format!("need {pairs}"));
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{told}");
    assert!(
        told.contains("missing: no-such-program no-such-other\n"),
        "{told}"
    );
    let line = "apt-get install -y --no-install-recommends no-such-package\n";
    assert!(told.contains(line), "{told}");
    assert_eq!(
        lib("need sh=dash").status.code(),
        Some(0),
        "nothing is missing"
    );
}

#[test]
fn a_missing_compiler_is_named_with_the_way_to_get_it() {
    if ["/usr/local/cargo/bin/cargo", "/usr/bin/cargo"]
        .iter()
        .any(|path| Path::new(path).exists())
    {
        println!("skipped: this machine has a cargo for everybody");
        return;
    }
    let output = lib("find_cargo");
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(69), "{told}");
    let wanted = env!("CARGO_PKG_RUST_VERSION");
    assert!(told.contains(&format!("cargo {wanted} or newer")), "{told}");
    assert!(told.contains("https://sh.rustup.rs"), "{told}");
}

#[test]
fn an_unknown_command_is_a_usage_error() {
    // Only root's link can be left behind; anybody else is told so.
    let output = script("first-link.sh")
        .arg("nonsense")
        .env("HAMP", "/bin/true")
        .output()
        .unwrap();
    let code = if nix::unistd::geteuid().is_root() {
        2
    } else {
        77
    };
    assert_eq!(output.status.code(), Some(code), "{}", text(&output.stderr));
}
