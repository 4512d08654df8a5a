//! Peers of which something is refused: what can be used of them is, and people are told of the rest.

use anyhow::{Result, ensure};
use testbed::harness::Test;
use testbed::{Host, Lab, wait};

use crate::common::LIMIT;
use crate::support::{lab, log};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_class_may_be_extended_host_by_host",
        a_class_may_be_extended_host_by_host,
    ),
    (
        "jumbo_frames_on_one_host_lose_nothing",
        jumbo_frames_on_one_host_lose_nothing,
    ),
    (
        "a_member_of_another_version_is_named",
        a_member_of_another_version_is_named,
    ),
    (
        "two_members_with_one_unicast_address_are_named_by_a_third",
        two_members_with_one_unicast_address_are_named_by_a_third,
    ),
];

/// Waits until a host's status lists a trouble that holds all of `parts`, and its log does.
fn told(host: &Host, parts: &[&str]) -> Result<()> {
    wait::until_ok("a trouble", LIMIT, || {
        let status = host.sh("hamp status")?;
        let named = |text: &str| {
            text.lines()
                .any(|line| parts.iter().all(|part| line.contains(part)))
        };
        ensure!(named(&status), "{parts:?}: {status}");
        let log = log(host)?;
        ensure!(
            log.lines()
                .any(|line| line.contains("WARN") && parts.iter().all(|part| line.contains(part))),
            "{log}"
        );
        Ok(())
    })
}

/// The link-layer address of a host.
fn mac(host: &Host) -> Result<String> {
    host.sh("ip -br link show eth0 | awk '{print $3}'")
        .map(|mac| mac.trim().to_owned())
}

fn owner(lab: &Lab, host: &str, address: &str) -> Result<String> {
    let command = format!("hamp members | awk '$2 == \"{address}\" {{print $3}}'");
    Ok(lab.host(host).sh(&command)?.trim().to_owned())
}

fn a_class_may_be_extended_host_by_host() -> Result<()> {
    let lab = lab(r#"
        [switch.lan]
        [host.a]
        links = [{ to = "lan", addresses = ["10.15.46.1/24", "fd15:46::1/64"] }]
        [host.a.hamp.node]
        hello_ms = 100
        [host.a.hamp.class]
        ipv4 = ["198.18.0.0/24", "198.19.0.0/24"]
        ipv6 = ["2001:2:0:1546::/120", "2001:2:0:1547::/120"]
        [host.a.hamp.member]
        addresses = ["198.18.0.1", "198.19.0.1", "2001:2:0:1546::1", "2001:2:0:1547::1"]
        preference = 200
        [host.b]
        links = [{ to = "lan", addresses = ["10.15.46.2/24", "fd15:46::2/64"] }]
        [host.b.hamp.node]
        hello_ms = 100
        [host.b.hamp.class]
        ipv4 = ["198.18.0.0/24"]
        ipv6 = ["2001:2:0:1546::/120"]
        [host.b.hamp.member]
        addresses = ["198.18.0.1", "2001:2:0:1546::1"]
    "#)?;
    for address in ["198.18.0.1", "2001:2:0:1546::1"] {
        wait::until_ok("one owner", LIMIT, || {
            let (a, b) = (owner(&lab, "a", address)?, owner(&lab, "b", address)?);
            ensure!(!a.is_empty() && a == b, "{address}: {a} {b}");
            Ok(())
        })?;
    }
    told(
        lab.host("b"),
        &["02:15:46:00:01:00", "outside_class", "198.19.0.1"],
    )
}

fn jumbo_frames_on_one_host_lose_nothing() -> Result<()> {
    let many: Vec<String> = (0..200)
        .map(|last| format!("\"198.18.7.{last}\""))
        .collect();
    let lab = lab(&format!(
        r#"
        [switch.lan]
        [host.a]
        links = [{{ to = "lan", addresses = ["10.15.46.1/24", "fd15:46::1/64"] }}]
        [host.b]
        links = [{{ to = "lan", addresses = ["10.15.46.2/24", "fd15:46::2/64"] }}]
        [host.b.hamp.node]
        hello_ms = 100
        [host.b.hamp.client]
        [host.a.hamp.node]
        hello_ms = 100
        [host.a.hamp.member]
        addresses = [{}]
        "#,
        many.join(", ")
    ))?;
    lab.host("a").sh("ip link set eth0 mtu 9000")?;
    wait::until_ok("all of them", LIMIT, || {
        let known = lab
            .host("b")
            .sh("hamp members | grep -c 198.18.7. || true")?;
        ensure!(known.trim().parse::<u32>()? >= 200, "{known}");
        Ok(())
    })
}

/// What another version would say: a hello of version 2.
const LATER: &str = r#"b"\x22\0" + (48).to_bytes(2, "big") + bytes(range(1, 17)) + bytes(28)"#;

/// Has a host say `LATER` by a socket, whose checksums nothing finishes on a virtual cable.
fn says_by_a_socket(host: &Host) -> Result<()> {
    host.sh(&format!(
        r#"cat >/run/later.py <<'EOF'
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
s.bind(("10.15.46.3", 1021))
while True:
    s.sendto({LATER}, ("224.0.0.254", 1021))
    time.sleep(0.1)
EOF
python3 /run/later.py >/run/later.log 2>&1 &"#
    ))
    .map(drop)
}

/// The same in frames that are whole.
fn says_in_frames(host: &Host) -> Result<()> {
    host.sh(&format!(
        r#"cat >/run/later.py <<'EOF'
from scapy.all import Ether, IP, UDP, sendp
frame = Ether(src="02:15:46:00:03:00", dst="01:00:5e:00:00:fe") / IP(src="10.15.46.4", dst="224.0.0.254",
    ttl=255) / UDP(sport=1021, dport=1021) / ({LATER})
sendp(frame, iface="eth0", inter=0.1, loop=1, verbose=0)
EOF
python3 /run/later.py >/run/later.log 2>&1 &"#
    ))
    .map(drop)
}

fn a_member_of_another_version_is_named() -> Result<()> {
    let lab = lab(r#"
        [switch.lan]
        [host.a]
        links = [{ to = "lan", addresses = ["10.15.46.1/24", "fd15:46::1/64"] }]
        [host.a.hamp.node]
        hello_ms = 100
        [host.a.hamp.member]
        addresses = ["198.18.0.1"]
        [host.y]
        links = [{ to = "lan", addresses = ["10.15.46.3/24"] }]
        [host.z]
        links = [{ to = "lan", addresses = ["10.15.46.4/24"] }]
        [host.b]
        links = [{ to = "lan", addresses = ["10.15.46.2/24", "fd15:46::2/64"] }]
        [host.b.hamp.node]
        hello_ms = 100
        [host.b.hamp.client]
    "#)?;
    says_by_a_socket(lab.host("y"))?;
    says_in_frames(lab.host("z"))?;
    let y = mac(lab.host("y"))?;
    for host in ["a", "b"] {
        told(lab.host(host), &[&y, "checksum", "ethtool"])?;
        told(
            lab.host(host),
            &["02:15:46:00:03:00", "unknown_message", "another version"],
        )?;
    }
    // The members that are fine are in nobody's list.
    let status = lab.host("b").sh("hamp status")?;
    ensure!(
        !status.contains("02:15:46:00:01:00: ") && status.matches("refused_peer").count() <= 1,
        "{status}"
    );
    Ok(())
}

fn two_members_with_one_unicast_address_are_named_by_a_third() -> Result<()> {
    let member = |name: &str, last: u32| {
        format!(
            r#"
            [host.{name}]
            links = [{{ to = "lan", addresses = ["10.15.46.7/24", "fd15:46::{last}/64"] }}]
            [host.{name}.hamp.node]
            hello_ms = 100
            [host.{name}.hamp.member]
            addresses = ["198.18.0.1"]
            "#
        )
    };
    let lab = lab(&format!(
        r#"
        [switch.lan]
        {} {}
        [host.c]
        links = [{{ to = "lan", addresses = ["10.15.46.9/24", "fd15:46::9/64"] }}]
        [host.c.hamp.node]
        hello_ms = 100
        [host.c.hamp.client]
        "#,
        member("a", 1),
        member("b", 2)
    ))?;
    let (a, b) = (mac(lab.host("a"))?, mac(lab.host("b"))?);
    told(lab.host("c"), &[&a, "10.15.46.7"])?;
    told(lab.host("c"), &[&b, "10.15.46.7"])?;
    // And by each other.
    told(lab.host("a"), &[&b, "10.15.46.7"])?;
    told(lab.host("b"), &[&a, "10.15.46.7"])
}
