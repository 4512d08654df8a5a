//! Helpers that namespace tests share.

use std::env;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Set in the copy of the test that runs inside its own namespaces.
const INSIDE: &str = "HAMP_TEST_INSIDE";

/// Runs the calling test again in fresh network and mount namespaces (and a user namespace for an
/// ordinary user) and returns whether this is that inner run; the outer one only checks it.
pub(crate) fn in_namespace(test: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        return true;
    }
    let mut command = Command::new("unshare");
    if !nix::unistd::geteuid().is_root() {
        let user = ["--user", "--map-root-user"];
        let allowed = Command::new("unshare").args(user).arg("true").output();
        if !allowed.is_ok_and(|tried| tried.status.success()) {
            println!("skipped: {test}: an ordinary user may not make user namespaces here");
            return false;
        }
        command.args(user);
    }
    let state = env::temp_dir().join(format!("hamp-test-{}-{test}", std::process::id()));
    let inner = command
        .args(["--net", "--mount", "--fork", "--kill-child"])
        .arg(env::current_exe().expect("this program"))
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, test)
        .env("HAMP_STATE", &state)
        .output()
        .expect("unshare (util-linux)");
    let _ = std::fs::remove_dir_all(state);
    let show = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (told, failed) = (show(&inner.stdout), show(&inner.stderr));
    assert!(
        inner.status.success(),
        "inside the namespace:\n{told}\n{failed}"
    );
    false
}

/// Runs a command of words without quoting and returns what it prints; it must succeed.
pub(crate) fn sh(command: &str) -> String {
    let output = try_sh(command);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Runs a command through a shell.
pub(crate) fn try_sh(command: &str) -> Output {
    Command::new("sh")
        .args(["-c", command])
        .output()
        .expect("sh")
}

/// Waits up to ten seconds until `holds`.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "in 10 s this did not happen: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
