//! Packets to anycast addresses that are meant for somebody else: a member forwards them, or its
//! bridge does, as if it were none.

use anyhow::{Result, ensure};
use testbed::harness::Test;
use testbed::{Host, wait};

use crate::common::{LIMIT, report};
use crate::support::{dns, http, lab, pings};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_router_that_is_a_member_forwards_to_others",
        a_router_that_is_a_member_forwards_to_others,
    ),
    (
        "what_is_behind_a_member_reaches_others_and_the_member",
        what_is_behind_a_member_reaches_others_and_the_member,
    ),
    (
        "what_is_behind_a_client_reaches_members",
        what_is_behind_a_client_reaches_members,
    ),
    (
        "a_bridge_hands_on_what_is_for_others",
        a_bridge_hands_on_what_is_for_others,
    ),
    (
        "a_host_that_only_listens_is_silent",
        a_host_that_only_listens_is_silent,
    ),
];

/// Waits until `host` is answered by `who` at `address`: by ping, by UDP and by TCP.
fn reaches(host: &Host, address: &str, who: &str) -> Result<()> {
    let name = host.name();
    wait::until_ok("an answer", LIMIT, || {
        let told = (
            pings(host, address, 1)?,
            dns(host, address)?,
            http(host, address)?,
        );
        let all = (1, who.to_owned(), who.to_owned());
        ensure!(told == all, "{name} asks {address}: {told:?}");
        Ok(())
    })
}

fn member_counters(host: &Host) -> Result<String> {
    let status = report(host, &["status"])?;
    Ok(status["counters"]["kernel_packets"]["member"].to_string())
}

//= docs/spec/link.md#what-a-member-s-kernel-holds
//= type=test
//# A packet to an anycast address that is meant for another host MUST NOT be touched: one that is
//# forwarded, or that a bridge hands on.
fn a_router_that_is_a_member_forwards_to_others() -> Result<()> {
    let lab = lab(r#"
        [switch.lan]
        [switch.out]
        [router.r]
        links = [{ to = "lan", addresses = ["10.15.46.254/24", "fd15:46::fe/64"] },
                 { to = "out", addresses = ["10.9.9.254/24", "fd09::fe/64"] }]
        programs = { who = "hamp-lab who" }
        [router.r.hamp.node]
        interfaces = ["eth0"]
        hello_ms = 100
        [router.r.hamp.router]
        [router.r.hamp.member]
        addresses = ["198.18.0.1", "2001:2:0:1546::1"]
        [host.b]
        links = [{ to = "lan", addresses = ["10.15.46.2/24", "fd15:46::2/64"] }]
        routes = [{ to = "default", via = "10.15.46.254" }, { to = "default", via = "fd15:46::fe" }]
        programs = { who = "hamp-lab who" }
        [host.b.hamp.node]
        hello_ms = 100
        [host.b.hamp.member]
        addresses = ["198.18.0.2", "2001:2:0:1546::2"]
        [host.c]
        links = [{ to = "out", addresses = ["10.9.9.9/24", "fd09::9/64"] }]
        routes = [{ to = "default", via = "10.9.9.254" }, { to = "default", via = "fd09::fe" }]
    "#)?;
    for (own, other) in [
        ("198.18.0.1", "198.18.0.2"),
        ("2001:2:0:1546::1", "2001:2:0:1546::2"),
    ] {
        reaches(lab.host("c"), other, "b")?;
        // By an interface that hamp was not given.
        reaches(lab.host("c"), own, "r")?;
    }
    Ok(())
}

fn what_is_behind_a_member_reaches_others_and_the_member() -> Result<()> {
    let lab = lab(r#"
        [switch.lan]
        [host.b]
        links = [{ to = "lan", addresses = ["10.15.46.2/24", "fd15:46::2/64"] }]
        programs = { who = "hamp-lab who" }
        [host.b.hamp.node]
        hello_ms = 100
        [host.b.hamp.member]
        addresses = ["198.18.0.2", "2001:2:0:1546::2"]
        [host.s]
        links = [{ to = "lan", addresses = ["10.15.46.9/24", "fd15:46::9/64"] }]
        [host.d]
        links = [{ to = "lan", addresses = ["10.15.46.4/24", "fd15:46::4/64"] }]
        programs = { who = "hamp-lab who" }
        [host.d.hamp.node]
        interfaces = ["eth0"]
        hello_ms = 100
        [host.d.hamp.member]
        addresses = ["198.18.0.4", "2001:2:0:1546::4"]
        [host.box]
        routes = [{ to = "default", via = "10.88.0.1" }, { to = "default", via = "fd88::1" }]
        [[cable]]
        between = ["d", "box"]
        addresses = [["10.88.0.1/16", "fd88::1/64"], ["10.88.0.2/16", "fd88::2/64"]]
    "#)?;
    let (d, boxed, s) = (lab.host("d"), lab.host("box"), lab.host("s"));
    d.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
    d.write(
        "/tmp/nat",
        "table inet others {\n\
         chain out { type nat hook postrouting priority 100; oifname \"eth0\" masquerade; }\n\
         chain in { type nat hook prerouting priority -100;\n\
         ip daddr 10.15.46.4 tcp dport 8080 dnat ip to 198.18.0.2:80;\n\
         ip6 daddr fd15:46::4 tcp dport 8080 dnat ip6 to [2001:2:0:1546::2]:80;\n\
         ip daddr 10.15.46.4 tcp dport 8081 dnat ip to 10.88.0.2:80;\n\
         tcp dport 8082 redirect to :80; }\n}\n",
    )?;
    d.sh("nft -f /tmp/nat")?;
    for (own, other, at) in [
        ("198.18.0.4", "198.18.0.2", "10.15.46.4"),
        ("2001:2:0:1546::4", "2001:2:0:1546::2", "[fd15:46::4]"),
    ] {
        reaches(boxed, other, "b")?;
        reaches(boxed, own, "d")?;
        let got = s.sh(&format!("curl -sS -m3 http://{at}:8080/ 2>&1 || true"))?;
        ensure!(
            got.trim() == "b",
            "through a translated destination: {got}, {}",
            member_counters(d)?
        );
    }
    Ok(())
}

//= docs/spec/tcp.md#the-client
//= type=test
//# A client MUST NOT discard a segment of a connection that this host forwards for another host
//# behind an address of its own (RFC 3022).
fn what_is_behind_a_client_reaches_members() -> Result<()> {
    let lab = lab(r#"
        [switch.lan]
        [host.b]
        links = [{ to = "lan", addresses = ["10.15.46.2/24", "fd15:46::2/64"] }]
        programs = { who = "hamp-lab who" }
        [host.b.hamp.node]
        hello_ms = 100
        [host.b.hamp.member]
        addresses = ["198.18.0.2", "2001:2:0:1546::2"]
        [host.c]
        links = [{ to = "lan", addresses = ["10.15.46.3/24", "fd15:46::3/64"] }]
        [host.c.hamp.node]
        interfaces = ["eth0"]
        hello_ms = 100
        [host.c.hamp.client]
        [host.box]
        routes = [{ to = "default", via = "10.88.0.1" }, { to = "default", via = "fd88::1" }]
        [[cable]]
        between = ["c", "box"]
        addresses = [["10.88.0.1/16", "fd88::1/64"], ["10.88.0.2/16", "fd88::2/64"]]
    "#)?;
    let (c, boxed) = (lab.host("c"), lab.host("box"));
    c.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")?;
    c.write(
        "/tmp/nat",
        "table inet others {\n\
         chain out { type nat hook postrouting priority 100; oifname \"eth0\" masquerade; }\n}\n",
    )?;
    c.sh("nft -f /tmp/nat")?;
    for address in ["198.18.0.2", "2001:2:0:1546::2"] {
        reaches(boxed, address, "b")?;
        reaches(c, address, "b")?;
        // A port where nobody listens: the member's reset comes through, too.
        let at = if address.contains(':') {
            format!("[{address}]")
        } else {
            address.to_owned()
        };
        let told = boxed.sh(&format!("curl -sS -m3 http://{at}:81/ 2>&1 || true"))?;
        ensure!(told.starts_with("curl: (7)"), "{address}: {told}");
    }
    Ok(())
}

/// The bridge's host serves an address, and so does a host behind the same bridge as the guest; the
/// kernel shows bridged frames to its rules (`br_netfilter`), as it does where docker runs.
fn a_bridge_hands_on_what_is_for_others() -> Result<()> {
    let lab = lab(r#"
        [host.a]
        links = []
        programs = { who = "hamp-lab who" }
        [host.b]
        programs = { who = "hamp-lab who" }
        [host.vm]
        [[cable]]
        between = ["a", "b"]
        addresses = [[], ["10.15.46.2/24", "fd15:46::2/64"]]
        [[cable]]
        between = ["a", "vm"]
        addresses = [[], ["10.15.46.9/24", "fd15:46::9/64"]]
    "#)?;
    let (a, b, vm) = (lab.host("a"), lab.host("b"), lab.host("vm"));
    a.sh(
        "ip link add br0 type bridge; ip link set eth0 master br0; ip link set eth1 master br0
          ip link set br0 up; ip address add 10.15.46.1/24 dev br0
          ip address add fd15:46::1/64 dev br0 nodad
          for f in iptables ip6tables; do f=/proc/sys/net/bridge/bridge-nf-call-$f
          [ ! -e $f ] || echo 1 >$f; done",
    )?;
    vm.sh("ip route add 198.18.0.0/16 dev eth0; ip route add 2001:2:0:1546::/112 dev eth0")?;
    let configure = |host: &Host, interface: &str, preference: u8| {
        let text = format!(
            "[node]\ninterfaces = [\"{interface}\"]\nhello_ms = 100\n[member]\npreference = {preference}\n\
             addresses = [\"198.18.0.1\", \"2001:2:0:1546::1\"]\n"
        );
        host.write("/tmp/hamp.toml", &text)
    };
    configure(a, "br0", 20)?;
    configure(b, "eth0", 10)?;
    let daemon = crate::common::start(a)?;
    let _daemon = crate::common::start(b)?;
    for address in ["198.18.0.1", "2001:2:0:1546::1"] {
        reaches(vm, address, "a")?;
        // Both serve it; what goes to the other's link-layer address is for the other.
        let mac = testbed::lab::mac_text(b.interfaces()[0].mac);
        vm.sh(&format!(
            "ip neigh replace {address} lladdr {mac} dev eth0 nud permanent"
        ))?;
        reaches(vm, address, "b")?;
    }
    // And while this host serves nothing.
    drop(daemon);
    wait::until_ok("the gate closes", LIMIT, || {
        let set = a.sh("nft list set inet hamp_member serving")?;
        ensure!(!set.contains("expires"), "{set}");
        Ok(())
    })?;
    for address in ["198.18.0.1", "2001:2:0:1546::1"] {
        reaches(vm, address, "b")?;
    }
    Ok(())
}

//= docs/spec/link.md#what-a-member-s-kernel-holds
//= type=test
//# A packet to an anycast address that the host does not act for MUST be discarded silently: no
//# reset, no ICMP.
fn a_host_that_only_listens_is_silent() -> Result<()> {
    let lab = lab(r#"
        [switch.lan]
        [host.l]
        links = [{ to = "lan", addresses = ["10.15.46.1/24", "fd15:46::1/64"] }]
        [host.l.hamp.node]
        hello_ms = 100
        [host.s]
        links = [{ to = "lan", addresses = ["10.15.46.9/24", "fd15:46::9/64"] }]
    "#)?;
    let (l, s) = (lab.host("l"), lab.host("s"));
    let mac = testbed::lab::mac_text(l.interfaces()[0].mac);
    s.sh("ip route add 198.18.0.0/16 dev eth0; ip route add 2001:2:0:1546::/112 dev eth0")?;
    wait::until_ok("the daemon answers", LIMIT, || {
        report(l, &["status"]).map(|_| ())
    })?;
    for forwards in ["0", "1"] {
        l.sh(&format!(
            "sysctl -qw net.ipv4.ip_forward={forwards} net.ipv6.conf.all.forwarding={forwards}"
        ))?;
        for address in ["198.18.0.1", "2001:2:0:1546::1"] {
            s.sh(&format!(
                "ip neigh replace {address} lladdr {mac} dev eth0 nud permanent"
            ))?;
            let told = s.sh(&format!("ping -c2 -i0.2 -W1 {address} || true"))?;
            let silent =
                told.contains("2 packets transmitted, 0 received") && !told.contains("nreachable");
            ensure!(silent, "forwarding {forwards}: {told}");
        }
    }
    Ok(())
}
