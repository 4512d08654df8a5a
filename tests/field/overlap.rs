//! A class that holds what is in use as a unicast address: refused at the start, and given up where
//! it comes to be so later, so that no host is cut off.

use anyhow::{Result, ensure};
use testbed::{Host, Lab, Topology, wait};

use crate::common::{LIMIT, configure, report, start};
use crate::support::pings;

pub(crate) const TESTS: &[testbed::harness::Test] = &[
    (
        "overlap::a_class_with_addresses_in_use_is_refused_by_file_line_and_key",
        a_class_with_addresses_in_use_is_refused_by_file_line_and_key,
    ),
    (
        "overlap::a_class_that_is_carved_out_is_taken",
        a_class_that_is_carved_out_is_taken,
    ),
    (
        "overlap::what_comes_to_be_in_use_is_given_up_until_it_is_not",
        what_comes_to_be_in_use_is_given_up_until_it_is_not,
    ),
];

/// A host on two links, one of which hamp is not given, with gateways of every kind.
fn lab() -> Result<Lab> {
    let lab = Lab::new(
        &Topology::new("overlap")
            .switch("sw")
            .switch("other")
            .host("one")
            .link("sw", &["10.15.46.1/24", "fd15:46::1/64"])
            .link("other", &["10.77.0.1/24", "fd00:77::1/64"])
            .host("two")
            .link("sw", &["10.15.46.2/24", "fd15:46::2/64"])
            .host("three")
            .link("sw", &["10.15.46.3/24", "fd15:46::3/64"]),
    )?;
    lab.host("one").sh(
        "ip link add docker0 type bridge && ip addr add 172.17.0.1/16 dev docker0 && \
         ip link set docker0 up && ip addr add 10.255.0.1/32 dev lo && \
         ip route add default via 10.15.46.254 && ip -6 route add default via fd15:46::fe && \
         ip route add 10.1.0.0/16 via 10.77.0.250 table 77 && \
         ip route add 10.2.0.0/16 nexthop via 10.77.0.251 nexthop via 10.77.0.252 && \
         ip nexthop add id 5 via 10.77.0.253 dev eth1 && ip route add 10.3.0.0/16 nhid 5",
    )?;
    Ok(lab)
}

fn family(prefix: &str) -> u8 {
    if prefix.contains(':') { 6 } else { 4 }
}

/// A class of this alone.
fn class(prefix: &str) -> String {
    let family = family(prefix);
    let other = 10 - family;
    format!("[class]\nipv{other} = []\nipv{family} = [\"{prefix}\"]\n")
}

fn run(host: &Host, tables: &str) -> Result<testbed::process::Output> {
    configure(host, tables)?;
    host.run(&["timeout", "5", "hamp", "run", "--config", "/tmp/hamp.toml"])
}

//= docs/spec/membership.md#the-class
//= type=test
//# A node MUST NOT start with a class that holds an address of its own host, a gateway of it, or a
//# network, broadcast or subnet-router anycast address of a subnet that it is in.
fn a_class_with_addresses_in_use_is_refused_by_file_line_and_key() -> Result<()> {
    let lab = lab()?;
    let one = lab.host("one");
    let before = one.sh("nft list ruleset; ls -A /run/hamp 2>/dev/null || true")?;
    for (prefix, address, about) in [
        (
            "10.15.46.0/24",
            "10.15.46.0",
            "the network address of the subnet on eth0",
        ),
        ("10.15.46.1/32", "10.15.46.1", "own address on eth0"),
        ("10.15.46.128/25", "10.15.46.254", "gateway"),
        (
            "10.15.46.255/32",
            "10.15.46.255",
            "the broadcast address of the subnet on eth0",
        ),
        ("10.77.0.1/32", "10.77.0.1", "own address on eth1"),
        ("10.77.0.250/32", "10.77.0.250", "gateway"),
        ("10.77.0.252/32", "10.77.0.252", "gateway"),
        ("10.77.0.253/32", "10.77.0.253", "gateway"),
        (
            "172.16.0.0/12",
            "172.17.0.0",
            "network address of the subnet on docker0",
        ),
        ("172.17.0.1/32", "172.17.0.1", "own address on docker0"),
        ("10.255.0.0/16", "10.255.0.1", "own address on lo"),
        (
            "fd15:46::/64",
            "fd15:46::",
            "the subnet-router anycast address of the subnet on eth0",
        ),
        ("fd15:46::/128", "fd15:46::", "subnet-router"),
        ("fd15:46::1/128", "fd15:46::1", "own address on eth0"),
        ("fd15:46::f0/124", "fd15:46::fe", "gateway"),
        ("fd00:77::1/128", "fd00:77::1", "own address on eth1"),
    ] {
        for role in ["[member]\naddresses = []\n", "[client]\n", "[router]\n", ""] {
            // Each role is asked for one prefix of each family; the others for the first role alone.
            if role != "[client]\n" && !prefix.contains("46::/64") && prefix != "10.15.46.0/24" {
                continue;
            }
            let told = run(one, &format!("{role}{}", class(prefix)))?;
            ensure!(told.status.code() == Some(78), "{prefix} {role}: {told:?}");
            let line = 4 + role.lines().count() + 3;
            let place = format!("/tmp/hamp.toml:{line}: class.ipv{}", family(prefix));
            for part in [&place, prefix, address, about] {
                ensure!(
                    told.stderr.contains(part),
                    "{prefix} {role}: no {part} in {told:?}"
                );
            }
        }
    }
    // Lengths of 0, and what is no address of a host at all.
    for prefix in [
        "0.0.0.0/0",
        "::/0",
        "224.0.0.0/4",
        "255.255.255.255/32",
        "127.0.0.0/8",
    ] {
        let told = run(one, &class(prefix))?;
        ensure!(told.status.code() == Some(78), "{prefix}: {told:?}");
    }
    let after = one.sh("nft list ruleset; ls -A /run/hamp 2>/dev/null || true")?;
    ensure!(before == after, "left: {after}");
    // What is served is on lo as a rule, also before hamp runs; a leftover beside is none of the host's.
    one.sh("ip addr add 198.18.0.1/32 dev lo; ip addr add 198.18.0.2/32 dev eth0")?;
    configure(one, "[member]\naddresses = [\"198.18.0.1\"]\n")?;
    start(one)?;
    Ok(())
}

fn a_class_that_is_carved_out_is_taken() -> Result<()> {
    let lab = lab()?;
    let one = lab.host("one");
    configure(
        one,
        "[class]\nipv4 = [\"10.15.46.100/32\", \"10.15.46.64/28\"]\nipv6 = [\"fd15:46::100/120\"]\n\
         [member]\naddresses = [\"10.15.46.100\", \"fd15:46::100\"]\n[client]\n",
    )?;
    let daemon = start(one)?;
    ensure!(
        !one.read(daemon.log())?.contains("WARN"),
        "{}",
        one.read(daemon.log())?
    );
    Ok(())
}

//= docs/spec/membership.md#the-class
//= type=test
//# An address of the class that comes to be one of those while a node runs MUST be treated as none
//# of the class, for as long as it is.
fn what_comes_to_be_in_use_is_given_up_until_it_is_not() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    one.sh("ip route del default; ip -6 route del default")?;
    lab.host("three")
        .sh("ip addr add 10.15.46.66/24 dev eth0; ip addr add fd15:46::1:66/64 dev eth0 nodad")?;
    configure(
        one,
        "[class]\nipv4 = [\"10.15.46.64/28\"]\nipv6 = [\"fd15:46::1:0/112\"]\n\
         [member]\naddresses = [\"10.15.46.65\", \"10.15.46.72/29\", \"fd15:46::1:65\"]\n[client]\n",
    )?;
    let daemon = start(one)?;
    let serves = |address: &str, wanted: bool| {
        wait::until_ok(&format!("{address} is served: {wanted}"), LIMIT, || {
            let status = report(one, &["status"])?;
            let got = pings(two, address, 1)? == 1;
            ensure!(got == wanted, "{got}: {}", status["troubles"]);
            Ok(())
        })
    };
    serves("10.15.46.65", true)?;
    serves("10.15.46.73", true)?;
    serves("fd15:46::1:65", true)?;
    // Addresses of its own, as of a renewed lease, and gateways.
    one.sh(
        "ip addr add 10.15.46.74/24 dev eth0; ip addr add fd15:46::1:74/64 dev eth0 nodad; \
         ip route add default via 10.15.46.66; ip -6 route add default via fd15:46::1:66",
    )?;
    serves("10.15.46.74", true)?;
    serves("fd15:46::1:74", true)?;
    for gateway in ["10.15.46.66", "fd15:46::1:66"] {
        wait::until_ok("the gateway is reached", LIMIT, || {
            ensure!(pings(one, gateway, 1)? == 1, "{}", one.read(daemon.log())?);
            Ok(())
        })?;
    }
    serves("10.15.46.65", true)?;
    serves("10.15.46.73", false)?;
    serves("fd15:46::1:65", true)?;
    let told = report(one, &["status"])?["troubles"].to_string();
    for part in [
        "10.15.46.74",
        "fd15:46::1:74",
        "10.15.46.66",
        "fd15:46::1:66",
        "own_in_class",
    ] {
        ensure!(told.contains(part), "no {part} in {told}");
    }
    one.sh(
        "ip addr del 10.15.46.74/24 dev eth0; ip addr del fd15:46::1:74/64 dev eth0; \
         ip route del default; ip -6 route del default",
    )?;
    serves("10.15.46.73", true)?;
    let told = report(one, &["status"])?["troubles"].to_string();
    ensure!(!told.contains("own_in_class"), "{told}");
    ensure!(
        daemon.terminate(LIMIT)?.success(),
        "{}",
        one.read(daemon.log())?
    );
    Ok(())
}
