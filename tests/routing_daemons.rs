//! `hamp export`: what it writes, as BIRD and FRR read it themselves, and what they do with it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use testbed::routing::{self, Bird, Frr};
use testbed::{Lab, Topology, wait};

testbed::before_main!();

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
fn for_frr_hamp_itself_is_to_be_set() {
    let place = Place::new("grouped");
    let set = "multipath = \"routes\"";
    for (config, told) in [
        (BOTH.to_owned(), true),
        (format!("{BOTH}[router]\n{set}\n"), false),
    ] {
        let config = place.write("hamp.toml", &config);
        let frr = String::from_utf8(export("frr", &config, INSIDE).stdout).unwrap();
        assert_eq!(frr.contains(set), told, "{frr}");
        let bird = String::from_utf8(export("bird", &config, INSIDE).stdout).unwrap();
        assert!(!bird.contains("multipath"), "{bird}");
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

/// How long daemons that have just started may take until all have heard of everything.
const CONVERGED: Duration = Duration::from_secs(30);

/// Three routers on one network, each with a link of its own for members.
fn routers() -> Topology {
    let mut topology = Topology::new("routers").switch("net");
    for (index, name) in ["bird", "frr", "inside"].into_iter().enumerate() {
        let (net, lan) = (index + 1, format!("lan{}", index + 1));
        topology = topology
            .switch(&lan)
            .router(name)
            .link(
                "net",
                &[format!("10.0.0.{net}/24"), format!("fd00::{net}/64")],
            )
            .link(
                &lan,
                &[format!("10.1.{net}.1/24"), format!("fd00:1:{net}::1/64")],
            );
    }
    topology
}

/// The other routers as `--neighbor` has them.
fn told(neighbours: &[(u8, u32)]) -> Vec<String> {
    let each = neighbours.iter().flat_map(|(number, system)| {
        [
            format!("10.0.0.{number}={system}"),
            format!("fd00::{number}={system}"),
        ]
    });
    each.flat_map(|text| ["--neighbor".to_owned(), text])
        .collect()
}

/// What `hamp export` writes for a router.
fn written(daemon: &str, config: &Path, id: u8, system: u32, neighbours: &[(u8, u32)]) -> String {
    let said = Command::new(env!("CARGO_BIN_EXE_hamp"))
        .args(["export", daemon, "--links", "--config"])
        .arg(config)
        .args([
            "--router-id",
            &format!("10.0.0.{id}"),
            "--as",
            &system.to_string(),
        ])
        .args(told(neighbours))
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap()
}

/// Adds or deletes (`verb`) the routes that hamp has to a member of the n-th router's link.
fn route(lab: &Lab, router: &str, verb: &str, address: u8, metric: &str) {
    let number = ["bird", "frr", "inside"]
        .iter()
        .position(|name| *name == router)
        .unwrap()
        + 1;
    let text = format!(
        "ip route {verb} 198.18.0.{address}/32 via 10.1.{number}.9 dev eth1 proto 154 metric {metric}
         ip -6 route {verb} 2001:2:0:1546::{address}/128 via fd00:1:{number}::9 dev eth1 proto 154 metric {metric}"
    );
    lab.host(router).sh(&text).unwrap();
}

/// Whether the router sends packets to an address where `wanted` says; of neither family: nowhere.
fn goes(lab: &Lab, router: &str, address: u8, wanted: Option<&str>) -> testbed::Result<()> {
    for address in [
        format!("198.18.0.{address}"),
        format!("2001:2:0:1546::{address}"),
    ] {
        let said = lab.host(router).run(&["ip", "route", "get", &address])?;
        let text = said.stdout.clone() + &said.stderr;
        let there = match wanted {
            Some(wanted) => said.status.success() && text.contains(wanted),
            None => !said.status.success(),
        };
        anyhow::ensure!(there, "{router} sends {address} not to {wanted:?}: {text}");
    }
    Ok(())
}

#[test]
fn both_carry_hamps_routes_on_and_take_them_back() -> testbed::Result<()> {
    testbed::skippable(|| {
        if let Err(why) = routing::installed() {
            return Err(testbed::skip(format!("{why:#}")));
        }
        let place = Place::new("carry");
        let config = place.write("hamp.toml", "[node]\ninterfaces = [\"eth1\"]\n");
        let lab = Lab::new(&routers())?;
        for (address, metric) in [(1, "15"), (2, "16")] {
            route(&lab, "bird", "add", address, metric);
        }
        route(&lab, "inside", "add", 3, "16");
        let text = written("bird", &config, 1, 65001, &[(2, 65002), (3, 65001)]);
        let _bird = Bird::start(lab.host("bird"), &text)?;
        let text = written("frr", &config, 2, 65002, &[(1, 65001)]);
        let _frr = Frr::start(lab.host("frr"), &text)?;
        let text = written("frr", &config, 3, 65001, &[(1, 65001)]);
        let _inside = Frr::start(lab.host("inside"), &text)?;

        // What is for everybody goes to both, what is for the site to the same system alone.
        wait::until_ok("routes to be told", CONVERGED, || {
            goes(&lab, "frr", 1, Some("dev eth0"))?;
            goes(&lab, "inside", 1, Some("dev eth0"))?;
            goes(&lab, "inside", 2, Some("dev eth0"))?;
            goes(&lab, "bird", 3, Some("dev eth0"))
        })?;
        goes(&lab, "frr", 2, None)?;
        goes(&lab, "frr", 3, None)?;
        lab.host("frr")
            .run(&["ip", "route", "get", "10.1.1.9"])?
            .ok()?;

        // A member on an own link wins over all others, in the daemon and in the kernel.
        route(&lab, "frr", "add", 1, "15");
        goes(&lab, "frr", 1, Some("dev eth1"))?;
        // When it leaves, packets go to the next nearest, whom the daemon has kept in mind.
        route(&lab, "frr", "add", 1, "4261412881");
        route(&lab, "frr", "del", 1, "15");
        wait::until_ok("frr to send them to bird", CONVERGED, || {
            goes(&lab, "frr", 1, Some("dev eth0"))
        })?;
        // The same the other way round: bird learns of frr's, and sends there when its own leaves.
        route(&lab, "frr", "add", 1, "15");
        route(&lab, "bird", "add", 1, "4261412881");
        route(&lab, "bird", "del", 1, "15");
        wait::until_ok("bird to send them to frr", CONVERGED, || {
            goes(&lab, "bird", 1, Some("dev eth0"))
        })?;
        // And when the last one has gone, it is told by nobody.
        route(&lab, "bird", "del", 1, "4261412881");
        route(&lab, "frr", "del", 1, "15");
        route(&lab, "frr", "del", 1, "4261412881");
        wait::until_ok("the route to be taken back", CONVERGED, || {
            ["bird", "frr", "inside"]
                .iter()
                .try_for_each(|router| goes(&lab, router, 1, None))
        })
    })
}
