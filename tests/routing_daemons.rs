//! `hamp export`: what it writes, as BIRD and FRR read it themselves.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// A directory of this test's own, gone with it.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("hamp-export-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const BOTH: &str = "[node]\ninterfaces = [\"lan\", \"eth0.15\"]\n";
const ONE_FAMILY: &str = "[node]\ninterfaces = [\"lan\"]\n[class]\nipv4 = []\n";
const MANY: &str = "[node]\ninterfaces = [\"lan\"]\n[class]\n\
     ipv4 = [\"198.18.0.0/16\", \"192.0.2.7/32\"]\nipv6 = [\"2001:2:0:1546::/112\", \"fd00:1546::/64\"]\n";
const INSIDE: &[&str] = &[
    "--neighbor",
    "10.0.0.1=65001",
    "--neighbor",
    "fd00::1=65001",
];
const OUTSIDE: &[&str] = &[
    "--neighbor",
    "10.0.0.1=65000",
    "--neighbor",
    "fd00::1=4200000000",
    "--links",
];

fn export(daemon: &str, config: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hamp"))
        .args([
            "export",
            daemon,
            "--router-id",
            "10.0.0.2",
            "--as",
            "65001",
            "--config",
        ])
        .arg(config)
        .args(more)
        .output()
        .unwrap()
}

/// A program, wherever Debian has it; a test without it says so and passes.
fn program(name: &str, package: &str) -> Option<String> {
    let places = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"];
    let found = places
        .map(|dir| format!("{dir}/{name}"))
        .into_iter()
        .find(|path| Path::new(path).exists());
    if found.is_none() {
        eprintln!("skipped: no {name}; sudo apt-get install {package}");
    }
    found
}

/// Checks what is written for each kind of configuration with the daemon's own parser.
fn each(daemon: &str, check: impl Fn(&Place, &str, &Path) -> Output) {
    let place = Place::new(daemon);
    for (index, config) in [BOTH, ONE_FAMILY, MANY].into_iter().enumerate() {
        let config = place.write("hamp.toml", config);
        for more in [INSIDE, OUTSIDE] {
            let written = export(daemon, &config, more);
            assert!(written.status.success(), "{written:?}");
            let text = String::from_utf8(written.stdout).unwrap();
            let file = place.write("daemon.conf", &text);
            let said = check(&place, &text, &file);
            assert!(said.status.success(), "{index} {more:?}: {said:?}\n{text}");
            // The parsers must not take just anything.
            let broken = text.replace("metric", "metrik");
            let file = place.write("daemon.conf", &broken);
            assert!(
                !check(&place, &broken, &file).status.success(),
                "takes anything"
            );
        }
    }
}

#[test]
fn bird_reads_what_is_written_for_it() {
    let Some(bird) = program("bird", "bird2") else {
        return;
    };
    each("bird", |_, _, file| {
        Command::new(&bird)
            .arg("-p")
            .arg("-c")
            .arg(file)
            .output()
            .unwrap()
    });
}

#[test]
fn frr_reads_what_is_written_for_it() {
    let Some(vtysh) = program("vtysh", "frr") else {
        return;
    };
    each("frr", |place, text, _| {
        place.write("frr.conf", text);
        place.write("vtysh.conf", "");
        Command::new(&vtysh)
            .arg("--config_dir")
            .arg(&place.0)
            .arg("-C")
            .output()
            .unwrap()
    });
}

#[test]
fn what_stays_in_the_site_is_told_inside_it_only() {
    let place = Place::new("site");
    let config = place.write("hamp.toml", BOTH);
    let text = |daemon, more| String::from_utf8(export(daemon, &config, more).stdout).unwrap();
    let (inside, outside) = (text("bird", INSIDE), text("bird", OUTSIDE));
    assert!(
        inside.contains("if krt_metric = 16 then bgp_community.add((65535, 65281));"),
        "{inside}"
    );
    assert!(
        outside.contains("if krt_metric = 16 then reject;"),
        "{outside}"
    );
    assert!(!inside.contains("then reject;\n  accept") && !outside.contains("bgp_community"));
    for text in [text("frr", INSIDE), text("frr", OUTSIDE)] {
        assert_eq!(text.matches("match metric 16").count(), 2, "{text}");
        assert_eq!(text.matches("set community no-export").count(), 2, "{text}");
    }
}

#[test]
fn a_wrong_command_line_says_what_is_wrong() {
    let place = Place::new("wrong");
    let config = place.write("hamp.toml", BOTH);
    for (more, code, says) in [
        (&["--neighbor", "10.0.0.1"][..], 2, "ADDR=AS"),
        (&["--neighbor", "fe80::1=65000"], 2, "which router it is"),
        (
            &["--neighbor", "10.0.0.1=1", "--neighbor", "10.0.0.1=2"],
            2,
            "twice",
        ),
        (&[], 2, "--neighbor"),
    ] {
        let said = export("bird", &config, more);
        let text = String::from_utf8_lossy(&said.stderr).into_owned();
        assert_eq!(said.status.code(), Some(code), "{text}");
        assert!(
            text.contains(says) && said.stdout.is_empty(),
            "{more:?}: {text}"
        );
    }
    let said = export("frr", Path::new("/no/such/file"), INSIDE);
    assert_eq!(said.status.code(), Some(78));
}
