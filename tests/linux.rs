//! The `linux` layer against a real kernel, in namespaces of its own.

#[allow(dead_code, reason = "each test file uses its part of the helpers")]
mod netns;

use std::net::IpAddr;
use std::time::Duration;

use hamp::addr::Prefix;
use hamp::linux::groups::Groups;
use hamp::linux::netlink::{Changes, Netlink};
use hamp::linux::packet::{Layer, Tap};
use hamp::linux::state::StateDir;
use hamp::linux::{checks, sysctl};
use netns::{in_namespace, sh, wait_until};

/// A pair of connected links, `eth0` and `eth1`, both up, with addresses.
fn pair() {
    sh(
        "ip link set lo up && ip link add eth0 type veth peer name eth1 && ip link set eth0 up \
        && ip link set eth1 up && ip address add 192.0.2.1/24 dev eth0",
    );
}

fn run(test: impl AsyncFnOnce(Netlink)) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let netlink = Netlink::open().await.unwrap();
        test(netlink).await;
    });
}

async fn index(netlink: &Netlink, name: &str) -> u32 {
    let links = netlink.links().await.unwrap();
    links.iter().find(|link| link.name == name).unwrap().index
}

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

#[test]
fn links_and_their_changes_are_seen() {
    if !in_namespace("links_and_their_changes_are_seen") {
        return;
    }
    pair();
    run(async |netlink| {
        let mut changes = Changes::subscribe(&netlink).unwrap();
        let links = netlink.links().await.unwrap();
        let a = links.iter().find(|link| link.name == "eth0").unwrap();
        assert!(a.up && a.ethernet && !a.loopback);
        assert_eq!(a.mtu, 1500);
        assert_ne!(a.mac, [0; 6]);
        assert_eq!(a.ipv4(None, |_| true), Some([192, 0, 2, 1].into()));

        sh("ip link set eth1 down");
        let gone = async {
            while netlink
                .links()
                .await
                .unwrap()
                .iter()
                .any(|link| link.name == "eth0" && link.up)
            {
                changes.next().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(5), gone)
            .await
            .expect("the carrier is lost");

        sh("ip link set eth1 up && ip -6 address add 2001:db8::1/64 dev eth0 nodad");
        let seen = async {
            loop {
                let links = netlink.links().await.unwrap();
                let a = links.iter().find(|link| link.name == "eth0").unwrap();
                if a.up && a.ipv6(None, |_| true) == Some("2001:db8::1".parse().unwrap()) {
                    break;
                }
                changes.next().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(5), seen)
            .await
            .expect("global before link-local");
    });
}

#[test]
fn anycast_addresses_are_local_and_leased() {
    if !in_namespace("anycast_addresses_are_local_and_leased") {
        return;
    }
    pair();
    run(async |netlink| {
        let before = sh("ip -o address; ip route show table all; ip -6 route show table all");
        let hosts = ["198.18.0.1/32", "2001:2:0:1546::1/128"].map(prefix);
        let wide = ["198.18.7.0/24", "2001:2:0:1546::700/120"].map(prefix);
        for _ in 0..2 {
            for prefix in hosts.iter().chain(&wide) {
                netlink
                    .hold(*prefix, Duration::from_secs(30))
                    .await
                    .unwrap();
            }
        }
        let mut held = netlink.holdings().await.unwrap();
        held.sort();
        let mut all = [hosts, wide].concat();
        all.sort();
        assert_eq!(held, all);
        for address in [
            "198.18.0.1",
            "198.18.7.9",
            "2001:2:0:1546::1",
            "2001:2:0:1546::7ab",
        ] {
            let route = sh(&format!("ip route get {address}"));
            assert!(route.starts_with("local"), "{route}");
        }
        let shown = sh("ip -o address show dev lo");
        assert!(shown.contains("198.18.0.1/32 scope host"), "{shown}");
        assert!(
            shown.contains("valid_lft 30sec preferred_lft 0sec"),
            "{shown}"
        );
        for prefix in &all {
            netlink.release(*prefix).await.unwrap();
            netlink.release(*prefix).await.unwrap();
        }
        let after = sh("ip -o address; ip route show table all; ip -6 route show table all");
        assert_eq!(before, after);

        for prefix in &all {
            netlink.hold(*prefix, Duration::from_secs(1)).await.unwrap();
        }
        wait_until("the kernel takes unrenewed addresses away", || {
            !sh("ip -o address show dev lo").contains("198.18")
                && !sh("ip -o address show dev lo").contains("1546")
                && !sh("ip -6 route get 2001:2:0:1546::7ab || true").contains("local")
        });
    });
}

#[test]
fn routes_and_neighbours_carry_our_protocol_number() {
    if !in_namespace("routes_and_neighbours_carry_our_protocol_number") {
        return;
    }
    pair();
    run(async |netlink| {
        let a = index(&netlink, "eth0").await;
        sh(
            "ip route add 198.18.0.0/16 dev eth0 proto 154 && ip route add 198.51.100.0/24 dev eth0",
        );

        let mac = [2, 0, 0, 0, 0, 7];
        for address in ["198.18.0.1", "2001:2:0:1546::1"].map(|text| text.parse().unwrap()) {
            let address: IpAddr = address;
            netlink.set_neighbour(a, address, mac).await.unwrap();
            netlink.set_neighbour(a, address, mac).await.unwrap();
            let entries = netlink.neighbours(|entry| entry.ours).await.unwrap();
            let entry = entries
                .iter()
                .find(|entry| entry.address == address)
                .unwrap();
            assert_eq!(
                (entry.ifindex, entry.mac, entry.state),
                (a, Some(mac), "REACHABLE")
            );
            netlink.remove_neighbour(a, address).await.unwrap();
            netlink.remove_neighbour(a, address).await.unwrap();
        }
        netlink
            .set_neighbour(a, "198.18.0.9".parse().unwrap(), mac)
            .await
            .unwrap();
        sh("ip neigh add 192.0.2.9 lladdr 02:00:00:00:00:09 dev eth0");
        assert_eq!(netlink.remove_neighbours().await.unwrap(), 1);
        assert!(
            sh("ip neigh").contains("192.0.2.9"),
            "another's entry stays"
        );
        assert_eq!(netlink.remove_routes().await.unwrap(), 1);
        assert!(
            sh("ip route").contains("198.51.100.0"),
            "another's route stays"
        );
    });
}

#[test]
fn a_tap_sees_what_the_ingress_hook_drops() {
    if !in_namespace("a_tap_sees_what_the_ingress_hook_drops") {
        return;
    }
    pair();
    sh("nft add table netdev t && nft add chain netdev t c \
        '{ type filter hook ingress device eth0 priority 0; policy drop; }'");
    run(async |netlink| {
        let tap = Tap::open(index(&netlink, "eth0").await, Layer::Ethernet).unwrap();
        let other = Tap::open(index(&netlink, "eth1").await, Layer::Ethernet).unwrap();
        let mut request = vec![0xff; 6];
        request.extend([2, 0, 0, 0, 0, 1, 8, 6]);
        request.extend([0; 28]);
        other.send(&request).unwrap();
        let mut buffer = vec![0; 2048];
        let receive = async |buffer: &mut [u8]| {
            let frame = tokio::time::timeout(Duration::from_secs(5), tap.receive(buffer)).await;
            frame.expect("a frame").unwrap()
        };
        // Duplicate address detection of the links may come between.
        loop {
            let (length, outgoing) = receive(&mut buffer).await;
            if !outgoing && buffer[..length] == request {
                break;
            }
        }

        std::net::UdpSocket::bind("0.0.0.0:0")
            .unwrap()
            .send_to(b"x", "192.0.2.77:9")
            .unwrap();
        loop {
            let (length, outgoing) = receive(&mut buffer).await;
            if outgoing && length == 42 && buffer[38..42] == [192, 0, 2, 77] {
                break;
            }
        }
        other.send(&request).unwrap();
        assert!(tap.discard() >= 1);
        let gone = Tap::open(9999, Layer::Ethernet).unwrap_err();
        assert_eq!(gone.raw_os_error(), Some(nix::libc::ENODEV));
    });
}

#[test]
fn groups_are_joined_and_the_port_is_silent() {
    if !in_namespace("groups_are_joined_and_the_port_is_silent") {
        return;
    }
    pair();
    run(async |netlink| {
        let a = index(&netlink, "eth0").await;
        let mut groups = Groups::join(a, "eth0").unwrap();
        let again = Groups::join(a, "eth0").unwrap_err();
        assert_eq!(again.kind(), std::io::ErrorKind::AddrInUse);
        Groups::join(index(&netlink, "eth1").await, "eth1").unwrap();
        let address = "2001:2:0:1546::ab:cdef".parse().unwrap();
        groups.join_solicited(address);
        groups.join_solicited(address);
        let joined = || sh("ip maddress show dev eth0");
        assert!(joined().contains("224.0.0.254") && joined().contains("ff02::114"));
        groups.leave_solicited(address);
        assert!(joined().contains("ff02::1:ffab:cdef"));
        groups.leave_solicited(address);
        assert!(!joined().contains("ff02::1:ffab:cdef"));
        drop(groups);
        assert!(!joined().contains("ff02::114"));
    });
}

#[test]
fn settings_are_put_back_also_by_another_process() {
    if !in_namespace("settings_are_put_back_also_by_another_process") {
        return;
    }
    let path = sysctl::TCP_MTU_PROBING;
    let value = || {
        sh("cat /proc/sys/net/ipv4/tcp_mtu_probing")
            .trim()
            .to_owned()
    };
    let before = value();
    let mut dir = StateDir::open(None).unwrap();
    sysctl::set(&mut dir, path, "2").unwrap();
    sysctl::set(&mut dir, path, "2").unwrap();
    assert_eq!(value(), "2");
    // A second reader of the state, as after a crash.
    let mut dir = StateDir::open(None).unwrap();
    sysctl::set(&mut dir, path, "2").unwrap();
    assert_eq!(sysctl::restore_all(&mut dir).unwrap().0, [path]);
    assert_eq!(value(), before);

    sysctl::set(&mut dir, path, "2").unwrap();
    std::fs::write("/proc/sys/net/ipv4/tcp_mtu_probing", "1").unwrap();
    assert!(sysctl::restore_all(&mut dir).unwrap().0.is_empty());
    assert_eq!(value(), "1", "somebody else's value stays");
    assert!(sysctl::set(&mut dir, "net/ipv4/no_such", "1").is_err());
}

#[test]
fn a_namespace_of_ones_own_meets_every_check() {
    if !in_namespace("a_namespace_of_ones_own_meets_every_check") {
        return;
    }
    checks::all().unwrap();
}
