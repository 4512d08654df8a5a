//! A crate of somebody else, outside the workspace, with the test that docs/testbed.md begins with:
//! it builds from what the document says and nothing more, runs as root and as an ordinary user,
//! and says what is wrong where namespaces are forbidden.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::unistd::geteuid;

/// Drops root's rights for good.
const NOBODY: [&str; 5] = [
    "setpriv",
    "--reuid=nobody",
    "--regid=nogroup",
    "--clear-groups",
    "--no-new-privs",
];
/// Runs its arguments in a user namespace that allows no further one.
const FORBIDDEN: &str = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$0\" \"$@\"";
/// What every crate has. A directory below ours would count as part of our workspace without the
/// last line.
const PACKAGE: &str = "[package]\nname = \"stranger\"\nedition = \"2024\"\n[workspace]\n";
/// What the stranger has besides the test of the document.
const SECOND: &str = r#"
    #![deny(unsafe_code)]
    testbed::before_main!();
    #[test]
    fn without_a_lab() {
        assert_eq!(1 + 1, 2);
    }
    #[test]
    fn skipped_where_it_must_be() -> testbed::Result<()> {
        testbed::skippable(|| {
            let one = testbed::Topology::new("one").host("a");
            testbed::Lab::new(&one)?.host("a").run(&["true"])?.ok()?;
            Ok(())
        })
    }
"#;

#[test]
fn a_crate_outside_the_workspace_tests_with_labs() -> Result<()> {
    let Some(cargo) = std::env::var_os("CARGO").filter(|cargo| Path::new(cargo).exists()) else {
        println!("skipped: no cargo here; as root this test runs its binaries as nobody too");
        return Ok(());
    };
    let document = fs::read_to_string(repository().join("docs/testbed.md"))?;
    let (_, first) = document
        .split_once("## Your first test")
        .context("docs/testbed.md has no first test")?;
    let manifest = block(first, "toml")?;
    let test = block(first, "rust")?;
    ensure!(
        test.trim().lines().count() < 25,
        "the first test is too long"
    );

    let home = Scratch::new()?;
    home.write(
        "Cargo.toml",
        &(PACKAGE.to_owned() + manifest).replace(
            "../hamp/testbed",
            repository().join("testbed").to_str().context("path")?,
        ),
    )?;
    home.write("src/lib.rs", "")?;
    home.write("tests/net.rs", test)?;
    home.write("tests/second.rs", SECOND)?;
    // The same versions as ours, so nothing is fetched.
    fs::copy(repository().join("Cargo.lock"), home.0.join("Cargo.lock"))?;
    let binaries = build(Path::new(&cargo), &home.0)?;

    for (name, binary) in &binaries {
        let listed = run(&[], binary, &["--list", "--format", "terse"])?;
        ensure!(
            listed.ends_with(": test\n") && !listed.contains("namespace"),
            "{name} --list: {listed}"
        );
        run(&[], binary, &["--test-threads=1"])?;
        run(&[], binary, &[])?;
        if !geteuid().is_root() {
            continue;
        }
        if run(
            &NOBODY,
            Path::new("test"),
            &["-r", binary.to_str().context("path")?],
        )
        .is_err()
        {
            println!("skipped: nobody cannot read {}", binary.display());
            continue;
        }
        run(&NOBODY, binary, &[])?;
    }
    refused(&binaries)
}

/// Where namespaces are forbidden, tests without labs pass, tests with labs say why, and nobody
/// else says anything.
fn refused(binaries: &[(String, PathBuf)]) -> Result<()> {
    let forbidden = ["unshare", "-Ur", "sh", "-c", FORBIDDEN];
    let binary = |wanted: &str| {
        let found = binaries.iter().find(|(name, _)| name == wanted);
        found.map(|(_, path)| path).context("no such binary")
    };
    let net = run(&forbidden, binary("net")?, &[]);
    let said = net
        .err()
        .context("a lab was built without namespaces")?
        .to_string();
    ensure!(
        said.contains("no user namespaces are allowed; run as root"),
        "without the remedy: {said}"
    );
    let said = run(&forbidden, binary("second")?, &["--show-output"])?;
    ensure!(
        said.contains("skipped: this machine refuses a user namespace")
            && said.contains("2 passed"),
        "without the reason: {said}"
    );
    let listed = run(&forbidden, binary("net")?, &["--list", "--format", "terse"])?;
    ensure!(
        listed == "the_slow_host_is_slow: test\n",
        "not only a list: {listed}"
    );
    Ok(())
}

/// Builds the crate's test binaries: their names and paths.
fn build(cargo: &Path, home: &Path) -> Result<Vec<(String, PathBuf)>> {
    // target/debug/deps/stranger-...
    let own = std::env::current_exe()?;
    let target = own
        .ancestors()
        .nth(3)
        .context("not in a target directory")?;
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO") && text != "CARGO_HOME" && text != "CARGO_BUILD_JOBS" {
            command.env_remove(&name);
        }
    }
    let output = command
        .args([
            "test",
            "--offline",
            "--no-run",
            "--message-format=json-render-diagnostics",
        ])
        .env("CARGO_TARGET_DIR", target.join("stranger"))
        // It is built to run, not to be debugged or edited.
        .env("CARGO_PROFILE_DEV_DEBUG", "false")
        .env("CARGO_INCREMENTAL", "0")
        .current_dir(home)
        .output()?;
    ensure!(
        output.status.success(),
        "cargo test --no-run: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut binaries = Vec::new();
    for line in output
        .stdout
        .split(|b| *b == b'\n')
        .filter(|l| !l.is_empty())
    {
        let message: serde_json::Value = serde_json::from_slice(line)?;
        let kind = &message["target"]["kind"][0];
        if let (Some(path), Some("test")) = (message["executable"].as_str(), kind.as_str()) {
            let name = message["target"]["name"].as_str().context("no name")?;
            binaries.push((name.to_owned(), path.into()));
        }
    }
    ensure!(binaries.len() == 2, "built {binaries:?}");
    Ok(binaries)
}

/// What a test binary writes, started through `wrapper`.
fn run(wrapper: &[&str], binary: &Path, arguments: &[&str]) -> Result<String> {
    let mut words = wrapper.iter().map(Path::new).chain([binary]);
    let output = Command::new(words.next().context("no command")?)
        .args(words)
        .args(arguments)
        .env_remove("RUST_BACKTRACE")
        .envs((!wrapper.is_empty()).then_some(("HAMP_LAB_PRIVILEGE", "user")))
        .current_dir("/")
        .output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    if !output.status.success() {
        bail!("{}: {}: {said}", binary.display(), output.status);
    }
    Ok(said)
}

/// The first block of code in this language.
fn block<'a>(text: &'a str, language: &str) -> Result<&'a str> {
    let (_, rest) = text
        .split_once(&format!("```{language}\n"))
        .with_context(|| format!("no {language}"))?;
    Ok(rest.split_once("```").context("no end of a block")?.0)
}

fn repository() -> &'static Path {
    let testbed = Path::new(env!("CARGO_MANIFEST_DIR"));
    testbed.parent().unwrap_or(testbed)
}

/// The stranger's directory, removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("testbed-stranger-{}", std::process::id()));
        fs::create_dir_all(path.join("src"))?;
        fs::create_dir_all(path.join("tests"))?;
        Ok(Self(path))
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        Ok(fs::write(self.0.join(name), text)?)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
