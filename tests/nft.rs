//! The links' rules and the session that applies them, in a real kernel.

#[allow(dead_code, reason = "each test file uses its part of the helpers")]
mod netns;
#[allow(dead_code, reason = "each test file uses its part of the helpers")]
mod wire_end;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use hamp::addr::{Class, Prefix};
use hamp::linux::nft::session::LIFE;
use hamp::linux::nft::{self, Error, Session, Tables};
use hamp::wire::frame;
use netns::{in_namespace, sh, wait_until};
use wire_end::WireEnd;
use wire_end::frames::TEST;

const LONG: Duration = Duration::from_secs(600);

fn prefixes(words: &[&str]) -> Vec<Prefix> {
    words.iter().map(|word| word.parse().unwrap()).collect()
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse().unwrap(), port)
}

#[test]
fn arp_and_neighbour_discovery_are_hidden_as_told() {
    if !in_namespace("arp_and_neighbour_discovery_are_hidden_as_told") {
        return;
    }
    wire_end::link();
    sh("ip route add local 198.18.0.1/32 dev lo");
    let mut tables = Tables::start(Class::default(), &[]).unwrap();
    let eth0 = fs::read_to_string("/sys/class/net/eth0/ifindex").unwrap();
    let eth0 = eth0.trim().parse().unwrap();
    tables.attach(eth0, "eth0").unwrap();
    tables.attach(eth0, "eth0").unwrap();
    let wire = WireEnd::new();
    // The member: who has its address? Its kernel says so, unless that is hidden.
    let ask = frame::request(TEST, at("10.15.46.7", 0).ip(), at("198.18.0.1", 0).ip()).unwrap();
    let answered = |wire: &WireEnd| {
        wire.send_frame(&ask);
        wire.send_frame(
            &frame::request(TEST, at("10.15.46.7", 0).ip(), at("10.15.46.1", 0).ip()).unwrap(),
        );
        let first = wire.arp_sender();
        let anycast = first == at("198.18.0.1", 0).ip();
        if anycast {
            assert_eq!(wire.arp_sender(), at("10.15.46.1", 0).ip());
        }
        anycast
    };
    //= docs/spec/link.md#what-a-member-s-kernel-holds
    //= type=test
    //# A member's kernel MUST NOT answer ARP requests or neighbour solicitations for an address of the
    //# class itself, whoever has configured it.
    assert!(!answered(&wire));
    sh("ip address add 198.18.0.1/32 dev eth0");
    assert!(!answered(&wire));
    // A daemon that starts again finds the links as they were.
    drop(tables);
    let mut tables = Tables::start(Class::default(), &[]).unwrap();
    assert!(!answered(&wire));
    // A link that is not ours hides what is served alone.
    tables.detach(eth0).unwrap();
    assert!(answered(&wire));
    tables
        .hide(&prefixes(&["198.18.0.1/32", "198.18.0.0/24"]))
        .unwrap();
    assert!(!answered(&wire));
    drop(tables);
    let held = prefixes(&["198.18.0.1/32", "198.18.0.0/24"]);
    let mut tables = Tables::start(Class::default(), &held).unwrap();
    assert!(!answered(&wire));
    tables.show(&prefixes(&["198.18.0.0/24"])).unwrap();
    assert!(!answered(&wire));
    tables.show(&prefixes(&["198.18.0.1/32"])).unwrap();
    assert!(answered(&wire));
    tables.attach(eth0, "eth0").unwrap();

    // The client: an entry follows an announcement, unless that is hidden.
    let entry = |address: &str| sh(&format!("ip neigh show {address} dev eth0"));
    for (address, own) in [
        ("198.18.0.9", None),
        ("2001:2:0:1546::9", Some("fd15:46::fe")),
    ] {
        let announce = |mac: [u8; 6]| {
            let own = own.map(|own| own.parse().unwrap());
            wire.send_frame(&frame::announcement(address.parse().unwrap(), mac, own).unwrap());
        };
        let place = format!("{address} lladdr 02:00:00:00:00:01 dev eth0 nud reachable");
        sh(&format!("ip neigh replace {place}"));
        tables.lease_hiding("eth0", LONG).unwrap();
        announce([2, 0, 0, 0, 0, 2]);
        assert!(
            entry(address).contains("00:00:01"),
            "hidden: {}",
            entry(address)
        );
        tables
            .lease_hiding("eth0", Duration::from_millis(1))
            .unwrap();
        wait_until("the lease ends", || {
            // A kernel does not let an entry change twice in a second.
            announce([2, 0, 0, 0, 0, 3]);
            entry(address).contains("00:00:03")
        });
    }
}

#[test]
fn a_rule_set_that_fails_is_an_error_and_changes_nothing() {
    if !in_namespace("a_rule_set_that_fails_is_an_error_and_changes_nothing") {
        return;
    }
    let mut session = Session::start().unwrap();
    for (text, place) in [
        (
            "add table inet a\nadd rule inet a missing accept\n",
            "line 2:",
        ),
        ("add table inet a\nnonsense\n", "Error:"),
        ("table inet a {\n\tchain c {\n", "Error:"),
        (
            "add table inet a\nadd table inet a { flags what; }\n",
            "line 2:",
        ),
    ] {
        let error = session.run(text).unwrap_err();
        assert!(matches!(error, Error::Refused(_)), "{error}");
        assert!(error.to_string().contains(place), "{error}");
        assert_eq!(sh("nft list tables"), "", "nothing of it was applied");
    }
    session.run("add table inet a\n").unwrap();
    assert_eq!(sh("nft list tables").trim(), "table inet a");
    // A large one, longer than any pipe.
    let many: String = (0..800)
        .map(|i| format!("add chain inet a chain{i} # {}\n", "x".repeat(100)))
        .collect();
    session.run(&many).unwrap();
    // Longer than one nft process lives.
    for _ in 0..=LIFE {
        session.run("add table inet a\n").unwrap();
    }
    session.run("nonsense\n").unwrap_err();
    nft::clean().unwrap();
    assert_eq!(
        sh("nft list tables").trim(),
        "table inet a",
        "others' tables stay"
    );
}

#[test]
fn nft_ends_with_its_daemon() {
    const NAME: &str = "nft_ends_with_its_daemon";
    const HOLD: &str = "HAMP_TEST_HOLD_A_SESSION";
    if std::env::var_os(HOLD).is_some() {
        let _session = Session::start().unwrap();
        println!("\nholding");
        std::thread::park();
    }
    if !in_namespace(NAME) {
        return;
    }
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", NAME, "--nocapture"])
        .env(HOLD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(holder.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "holding"));
    let children = format!("/proc/{0}/task", holder.id());
    let nft: Vec<String> = fs::read_dir(children)
        .unwrap()
        .flat_map(|task| {
            let children = fs::read_to_string(task.unwrap().path().join("children")).unwrap();
            children
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(nft.len(), 1);
    holder.kill().unwrap();
    holder.wait().unwrap();
    wait_until("nft is gone", || {
        // Gone, or waiting for a parent to ask how it ended.
        let state = fs::read_to_string(Path::new("/proc").join(&nft[0]).join("stat"));
        state.map_or(true, |state| state.contains(") Z "))
    });
}
