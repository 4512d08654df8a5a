//! A class that holds what is in use as a unicast address: refused at the start, and given up where
//! it comes to be so later, so that no host is cut off.

use anyhow::{Result, ensure};
use testbed::{Host, Lab, Topology};

use crate::common::{configure, start};

pub(crate) const TESTS: &[testbed::harness::Test] = &[
    (
        "overlap::a_class_with_addresses_in_use_is_refused_by_file_line_and_key",
        a_class_with_addresses_in_use_is_refused_by_file_line_and_key,
    ),
    (
        "overlap::a_class_that_is_carved_out_is_taken",
        a_class_that_is_carved_out_is_taken,
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
            .link("sw", &["10.15.46.2/24", "fd15:46::2/64"]),
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
