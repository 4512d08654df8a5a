//! The lessons in plain shell: each plays to its end, and builds the network that the lab of its name
//! has in its file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use testbed::Topology;
use testbed::lab::mac_text;
use testbed::topology::Via;

const LESSONS: [&str; 5] = ["one-address", "arp", "cache", "no-router", "tie"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a lesson; `None`, with the reason told, where this machine allows no namespaces.
fn lesson(name: &str, arguments: &[&str]) -> Option<Output> {
    // hamp is the same program under another name.
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let nth = RUNS.fetch_add(1, Ordering::Relaxed);
    let bin = std::env::temp_dir().join(format!("hamp-lesson-{}-{nth}", std::process::id()));
    let lab = env!("CARGO_BIN_EXE_hamp-lab");
    std::fs::create_dir_all(&bin).unwrap();
    let hamp = bin.join("hamp");
    std::os::unix::fs::symlink(lab, &hamp).unwrap();
    let output = Command::new(root().join(format!("netns-scripts/{name}.sh")))
        .args(arguments)
        .env("HAMP", &hamp)
        .env("HAMP_LAB", lab)
        .output()
        .unwrap();
    std::fs::remove_dir_all(bin).unwrap();
    if matches!(output.status.code(), Some(69 | 77)) {
        println!("skipped: {}", text(&output.stderr).trim());
        return None;
    }
    Some(output)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Plays a lesson; what it said.
fn played(name: &str) -> Option<String> {
    let output = lesson(name, &[])?;
    let (told, logged) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{told}\n{logged}");
    assert_eq!(logged, "", "something went wrong on the way:\n{told}");
    Some(told)
}

/// What stands after a line of the story, up to the next step.
fn after<'a>(told: &'a str, step: &str) -> Vec<&'a str> {
    let mut lines = told.lines().skip_while(|line| !line.contains(step)).skip(1);
    let mut part = Vec::new();
    while let Some(line) = lines.next().filter(|line| !line.starts_with("# ")) {
        if !line.starts_with('$') && !line.is_empty() {
            part.push(line);
        }
    }
    part
}

/// A network as facts: what `describe` says, and the same of a topology.
type Facts = BTreeSet<String>;

fn described(name: &str) -> Option<Facts> {
    let output = lesson(name, &["describe"])?;
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", text(&output.stderr));
    let (hamp, facts): (Vec<&str>, Vec<&str>) = told
        .lines()
        .partition(|line| line.split(' ').nth(1) == Some("hamp"));
    let mut facts: Facts = facts.into_iter().map(str::to_owned).collect();
    let hosts: BTreeSet<_> = hamp
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    for host in hosts {
        let own = hamp
            .iter()
            .filter_map(|line| line.strip_prefix(&format!("{host} hamp ")));
        let own: Vec<_> = own.collect();
        facts.insert(configuration(host, &own.join("\n")));
    }
    Some(facts)
}

/// A configuration in one form, whatever the order and the spaces of its text.
fn configuration(host: &str, text: &str) -> String {
    let table: toml::Table = text.parse().unwrap();
    let sorted = serde_json::to_value(table).unwrap();
    format!("{host} runs hamp with {sorted}")
}

fn expected(topology: &Topology) -> Facts {
    let mut facts = Facts::new();
    for (index, node) in topology.hosts() {
        let name = &node.name;
        for (_, own, _) in topology.plugs(index) {
            facts.insert(format!("{name} mac {}", mac_text(own.mac)));
            for net in &own.addresses {
                // As `ip` writes host addresses.
                let whole = net.prefix_len() == net.max_prefix_len();
                let shown = match (whole, net) {
                    (true, ipnet::IpNet::V4(_)) => format!("{}/32", net.addr()),
                    _ => net.to_string(),
                };
                facts.insert(format!("{name} address {shown}"));
            }
        }
        for route in &node.routes {
            let Via::Interface(interface) = &route.via else {
                panic!("{name} has a router");
            };
            facts.insert(format!("{name} route {} {interface}", route.to));
        }
        if let Some(text) = topology.hamp_config(index).unwrap() {
            facts.insert(configuration(name, &text));
        }
    }
    facts
}

#[test]
fn each_builds_the_network_of_its_lab() {
    for name in LESSONS {
        let Some(built) = described(name) else { return };
        let topology = Topology::load(&root().join(format!("examples/labs/{name}.toml"))).unwrap();
        let expected = expected(&topology);
        let extra: Vec<_> = built.difference(&expected).collect();
        let missing: Vec<_> = expected.difference(&built).collect();
        assert!(
            extra.is_empty() && missing.is_empty(),
            "{name}.sh\nbuilds {extra:#?}\nand not {missing:#?}"
        );
    }
}

#[test]
fn one_address() {
    let Some(told) = played("one-address") else {
        return;
    };
    assert_eq!(after(&told, "Who answers?")[..2], ["one", "one"]);
    assert_eq!(after(&told, "The cable of one")[0], "two");
    assert_eq!(after(&told, "plugged in again").last(), Some(&"two"));
    assert_eq!(after(&told, "late has never"), ["one", "one"]);
}

#[test]
fn arp() {
    let Some(told) = played("arp") else { return };
    if told.contains("   tcpdump: ") {
        println!("skipped: an ordinary user cannot listen with tcpdump");
        assert!(
            after(&told, "One answer")
                .last()
                .is_some_and(|line| line.contains(":01 "))
        );
        return;
    }
    for step in ["Over IPv4", "Over IPv6"] {
        let said = after(&told, step);
        let answers = said.iter().filter(|line| line.contains(" says: ")).count();
        assert_eq!(answers, 3, "{said:#?}");
    }
    let said = after(&told, "One answer");
    let answers: Vec<_> = said
        .iter()
        .filter(|line| line.contains(" says: "))
        .collect();
    assert_eq!(answers.len(), 2, "{said:#?}");
    let of_one = |line: &&&str| line.starts_with("   02:00:00:00:00:01");
    assert!(answers.iter().all(of_one), "{said:#?}");
    assert!(!answers[1].contains("override"), "{said:#?}");
}

#[test]
fn cache() {
    let Some(told) = played("cache") else { return };
    let holds = |step: &str, mac: &str| {
        let said = after(&told, step);
        assert!(said.last().unwrap().contains(mac), "{step}: {said:#?}");
    };
    holds("Frames pass again", "lladdr 02:00:00:00:00:02");
    holds("stock still believes", "lladdr 02:00:00:00:00:01");
    holds("Until it gives up", "lladdr 02:00:00:00:00:02");
}

#[test]
fn no_router() {
    let Some(told) = played("no-router") else {
        return;
    };
    let routes = after(&told, "no router to ask");
    assert!(
        routes.iter().all(|line| line.contains("scope link")),
        "{routes:#?}"
    );
    assert_eq!(after(&told, "none is needed")[..2], ["one", "one"]);
    assert_eq!(after(&told, "one dies"), ["two"]);
}

#[test]
fn tie() {
    let Some(told) = played("tie") else { return };
    let wins = |line: &str| {
        let mut words = line.split_whitespace();
        format!("{} {}", words.next().unwrap(), words.next().unwrap())
    };
    let table = |step: &str| -> Vec<_> { after(&told, step).into_iter().map(wins).collect() };
    let computed = table("computed with openssl");
    assert_eq!(computed.len(), 8, "{told}");
    assert_eq!(table("What client sees"), computed);
    let late = table("two is back");
    assert_eq!(late[late.len() - 8..], computed);
    let left = table("two leaves");
    assert!(
        left[left.len() - 8..]
            .iter()
            .all(|line| line.ends_with(" one")),
        "{left:#?}"
    );
}

#[test]
fn wrong_words_are_a_usage_error() {
    for name in LESSONS {
        let script = root().join(format!("netns-scripts/{name}.sh"));
        let output = Command::new(&script).arg("nonsense").output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
        let help = Command::new(&script).arg("--help").output().unwrap();
        let told = text(&help.stdout);
        assert!(
            help.status.success() && told.contains(&format!("docs/labs/{name}.md")),
            "{told}"
        );
    }
}
