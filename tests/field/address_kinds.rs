//! The unicast addresses of a member's interface, of every kind, as they come and go; and services
//! that answer from the address of a prefix that they were asked at.

use std::net::IpAddr;

use anyhow::{Result, ensure};
use testbed::harness::Test;
use testbed::{Host, Lab, wait};

use crate::common::{LIMIT, report};
use crate::support::{dns, lab, pings};

pub(crate) const TESTS: &[Test] = &[
    (
        "the_address_that_is_stated_stays_while_others_come_and_go",
        the_address_that_is_stated_stays_while_others_come_and_go,
    ),
    (
        "the_last_address_but_one_goes_without_an_outage",
        the_last_address_but_one_goes_without_an_outage,
    ),
    (
        "a_link_with_link_local_addresses_alone_is_served",
        a_link_with_link_local_addresses_alone_is_served,
    ),
    (
        "addresses_without_a_subnet_are_served",
        addresses_without_a_subnet_are_served,
    ),
    (
        "a_service_answers_from_any_address_of_a_prefix",
        a_service_answers_from_any_address_of_a_prefix,
    ),
];

const A4: &str = "198.18.0.1";
const A6: &str = "2001:2:0:1546::1";

/// A member with these addresses on its link (and `who` as its service), a client and a stock host.
fn link(member: &str, others: [&str; 2], serves: &[&str]) -> Result<Lab> {
    let [client, stock] = others;
    let lab = lab(&format!(
        r#"
        [switch.lan]
        [host.m]
        links = [{{ to = "lan", addresses = [{member}] }}]
        programs = {{ who = "hamp-lab who" }}
        [host.m.hamp.node]
        hello_ms = 100
        [host.m.hamp.member]
        addresses = {serves:?}
        [host.c]
        links = [{{ to = "lan", addresses = [{client}] }}]
        [host.c.hamp.node]
        hello_ms = 100
        [host.c.hamp.client]
        [host.d]
        links = [{{ to = "lan", addresses = [{stock}] }}]
        routes = [{{ to = "198.18.0.0/16", via = "eth0" }}, {{ to = "2001:2:0:1546::/112", via = "eth0" }}]
        "#
    ))?;
    Ok(lab)
}

/// Waits until a host states these addresses on its link.
fn states(host: &Host, ipv4: Option<&str>, ipv6: Option<&str>) -> Result<()> {
    wait::until_ok("it states its addresses", LIMIT, || {
        let stated = stated(host)?;
        let wanted = [ipv4, ipv6].map(|text| text.map(|text| text.parse().unwrap_or(UNKNOWN)));
        ensure!(stated == wanted, "{stated:?}, not {wanted:?}");
        Ok(())
    })
}

const UNKNOWN: IpAddr = IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

fn stated(host: &Host) -> Result<[Option<IpAddr>; 2]> {
    let status = report(host, &["status"])?;
    let of = |key: &str| status["links"][0][key].as_str()?.parse().ok();
    Ok([of("ipv4"), of("ipv6")])
}

/// Waits until the service answers the stock host and the client by ping and by UDP.
fn served(lab: &Lab, addresses: &[&str]) -> Result<()> {
    for host in ["d", "c"] {
        for address in addresses {
            wait::until_ok("it is served", LIMIT, || {
                ensure!(pings(lab.host(host), address, 1)? == 1, "{host}: {address}");
                let told = dns(lab.host(host), address)?;
                ensure!(told == "m", "{host}: {address}: {told}");
                Ok(())
            })?;
        }
    }
    Ok(())
}

fn the_address_that_is_stated_stays_while_others_come_and_go() -> Result<()> {
    let lab = link(
        r#""10.15.46.1/24", "fd15:46::1/64""#,
        [
            r#""10.15.46.9/24", "fd15:46::9/64""#,
            r#""10.15.46.10/24", "fd15:46::10/64""#,
        ],
        &[A4, A6],
    )?;
    let member = lab.host("m");
    let (first4, first6) = (Some("10.15.46.1"), Some("fd15:46::1"));
    states(member, first4, first6)?;
    // Others come: in the subnet and in another, with a lifetime, temporary ones, with a peer.
    member.sysctl("ipv6/conf/eth0/use_tempaddr", "2")?;
    member.sh(
        "ip address add 10.15.46.3/24 dev eth0; ip address add 10.0.0.1/8 dev eth0; \
         ip address add 10.77.0.1 peer 10.77.0.2 dev eth0; ip address add 192.0.2.7/32 dev eth0; \
         ip address add fd15:46::3/64 dev eth0 nodad; \
         ip address add fd15:47::5/64 dev eth0 mngtmpaddr valid_lft 1000 preferred_lft 500",
    )?;
    let temporary = wait::until_ok("a temporary address", LIMIT, || {
        let told = member.sh("ip -6 -o address show dev eth0 temporary -tentative")?;
        let mut words = told.split_whitespace().skip_while(|word| *word != "inet6");
        let address = words.nth(1).unwrap_or_default();
        ensure!(!address.is_empty(), "{told}");
        Ok(address.split('/').next().unwrap_or_default().to_owned())
    })?;
    ensure!(stated(member)?[1] == first6.and_then(|text| text.parse().ok()));
    states(member, first4, first6)?;
    // It ends by and by: what is valid still, but for new connections no more, gives way.
    member.sh("ip address change fd15:46::1/64 dev eth0 preferred_lft 0")?;
    states(member, first4, Some("fd15:46::3"))?;
    // And is no reason to move back.
    member.sh("ip address change fd15:46::1/64 dev eth0 preferred_lft forever")?;
    member
        .sh("ip address del 10.0.0.1/8 dev eth0; ip address del 10.15.46.1/24 dev eth0 || true")?;
    served(&lab, &[A6])?;
    states(member, Some("10.77.0.1"), Some("fd15:46::3"))?;
    member.sh("ip address del fd15:46::3/64 dev eth0; ip address del fd15:46::1/64 dev eth0")?;
    states(member, Some("10.77.0.1"), Some("fd15:47::5"))?;
    member.sh("ip address del fd15:47::5/64 dev eth0; ip route add fd15:46::/64 dev eth0")?;
    // The kernel takes a temporary address with the one that it was made for.
    let left = member.sh(&format!("ip -6 -o address show dev eth0 to {temporary}"))?;
    let link_local = member.sh("ip -6 -o address show dev eth0 scope link")?;
    let mut last = link_local
        .split_whitespace()
        .skip_while(|word| *word != "inet6");
    let last = last.nth(1).unwrap_or_default().split('/').next();
    states(
        member,
        Some("10.77.0.1"),
        if left.is_empty() {
            last
        } else {
            Some(&temporary)
        },
    )?;
    served(&lab, &[A6])
}

fn the_last_address_but_one_goes_without_an_outage() -> Result<()> {
    let lab = link(
        r#""10.15.46.1/24", "10.15.46.3/24", "fd15:46::1/64", "fd15:46::3/64""#,
        [
            r#""10.15.46.9/24", "fd15:46::9/64""#,
            r#""10.15.46.10/24", "fd15:46::10/64""#,
        ],
        &[A4, A6],
    )?;
    let (member, stock) = (lab.host("m"), lab.host("d"));
    member.sysctl("ipv4/conf/eth0/promote_secondaries", "1")?;
    served(&lab, &[A4, A6])?;
    for (address, first) in [(A4, "10.15.46.1/24"), (A6, "fd15:46::1/64")] {
        let ping = format!("ping -c30 -i0.1 -W1 {address} || true");
        let asking = stock.spawn("ping", &["sh", "-c", &ping])?;
        wait::until_ok("some pings are answered", LIMIT, || {
            let told = stock.read(asking.log())?;
            ensure!(told.contains("icmp_seq=5 "), "{told}");
            Ok(())
        })?;
        member.sh(&format!("ip address del {first} dev eth0"))?;
        wait::until_ok("the pings are over", LIMIT, || {
            ensure!(asking.exited().is_some());
            Ok(())
        })?;
        let told = stock.read(asking.log())?;
        let lost = 30 - received(&told);
        ensure!(lost <= 2, "{address}: {lost} lost: {told}");
    }
    states(member, Some("10.15.46.3"), Some("fd15:46::3"))
}

fn received(told: &str) -> u32 {
    let before = told.split(" received").next().unwrap_or_default();
    let number = before.rsplit(' ').next().unwrap_or_default();
    number.parse().unwrap_or_default()
}

fn a_link_with_link_local_addresses_alone_is_served() -> Result<()> {
    let lab = link("", ["", ""], &[A6])?;
    let stated = wait::until_ok("it states an address", LIMIT, || {
        let stated = stated(lab.host("m"))?;
        ensure!(stated[1].is_some(), "{stated:?}");
        Ok(stated)
    })?;
    ensure!(stated[0].is_none(), "{stated:?}");
    served(&lab, &[A6])
}

fn addresses_without_a_subnet_are_served() -> Result<()> {
    // The member's interface has no IPv4 address of its own; the client's and the stock host's have
    // them from subnets that differ.
    let lab = link(
        r#""fd15:46::1/64""#,
        [
            r#""10.15.46.9/24", "fd15:47::9/64""#,
            r#""10.15.47.10/32", "fd15:46::10/64""#,
        ],
        &[A4, A6],
    )?;
    let member = lab.host("m");
    states(member, None, Some("fd15:46::1"))?;
    member.sh(
        "ip address add 192.0.2.1/32 dev lo; ip route add 10.15.46.0/24 dev eth0; \
         ip route add 10.15.47.10/32 dev eth0; ip route add fd15:47::/64 dev eth0",
    )?;
    lab.host("d").sh("ip route add 192.0.2.1/32 dev eth0")?;
    states(member, Some("192.0.2.1"), Some("fd15:46::1"))?;
    served(&lab, &[A4, A6])
}

fn a_service_answers_from_any_address_of_a_prefix() -> Result<()> {
    let lab = link(
        r#""10.15.46.1/24", "fd15:46::1/64""#,
        [
            r#""10.15.46.9/24", "fd15:46::9/64""#,
            r#""10.15.46.10/24", "fd15:46::10/64""#,
        ],
        &["198.18.7.0/24", "2001:2:0:1546::700/120"],
    )?;
    let member = lab.host("m");
    member.write("/tmp/pktinfo.py", PKTINFO)?;
    let service = member.spawn("pktinfo", &["/usr/bin/python3", "/tmp/pktinfo.py"])?;
    //= docs/spec/link.md#what-a-member-s-kernel-holds
    //= type=test
    //# A program of the member that is asked at an address of a served prefix MUST be able to answer
    //# from it.
    let asks = |host: &str, address: &str, port: u16| -> Result<()> {
        wait::until_ok("an answer from there", LIMIT, || {
            ensure!(
                service.exited().is_none(),
                "{}",
                member.read(service.log())?
            );
            let asked = format!(
                "/usr/bin/python3 -c 'import socket,sys; a=sys.argv[1]; \
                 s=socket.socket(socket.AF_INET6 if \":\" in a else socket.AF_INET, socket.SOCK_DGRAM); \
                 s.settimeout(1); s.connect((a,{port})); s.send(b\"x\"); print(s.recv(9).decode())' {address}"
            );
            let told = lab.host(host).sh(&format!("{asked} 2>&1 || true"))?;
            ensure!(
                told.trim() == "x",
                "{host}: {address}: {told} {}",
                member.read(service.log())?
            );
            Ok(())
        })
    };
    for host in ["d", "c"] {
        for address in ["198.18.7.9", "2001:2:0:1546::709"] {
            // A socket for all addresses, and one for this address.
            asks(host, address, 7000)?;
            asks(host, address, 7001)?;
        }
    }
    let setting = "cat /proc/sys/net/ipv6/ip_nonlocal_bind";
    ensure!(member.sh(setting)?.trim() == "1");
    member
        .run(&["hamp", "leave", "--force", "2001:2:0:1546::700/120"])?
        .ok()?;
    wait::until_ok("the setting is put back", LIMIT, || {
        ensure!(member.sh(setting)?.trim() == "0");
        Ok(())
    })
}

/// Echoes, with the address that was asked as the source of the answer.
const PKTINFO: &str = r#"
import select, socket, struct, sys, time
def serve(family, level, option, kind, place):
    s = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    s.setsockopt(level, option, 1)
    s.bind(place)
    return s, level, kind
def bound(family, place):
    s = socket.socket(family, socket.SOCK_DGRAM)
    while True:
        try: s.bind(place); return s, None, None
        except OSError as e: print(place, e, flush=True); time.sleep(0.2)
V6, V4 = socket.AF_INET6, socket.AF_INET
RECVPKTINFO, PKTINFO, IP_PKTINFO = 49, 50, 8
all = [serve(V6, socket.IPPROTO_IPV6, RECVPKTINFO, PKTINFO, ("::", 7000)),
       serve(V4, socket.IPPROTO_IP, IP_PKTINFO, IP_PKTINFO, ("0.0.0.0", 7000)),
       bound(V6, ("2001:2:0:1546::709", 7001)), bound(V4, ("198.18.7.9", 7001))]
while True:
    for s in select.select([s for s, _, _ in all], [], [])[0]:
        _, level, kind = next(k for k in all if k[0] is s)
        data, said, _, peer = s.recvmsg(100, 200)
        if level is None:
            s.sendto(data, peer); continue
        info = next(d for l, k, d in said if l == level and k == kind)
        if s.family == V4: info = struct.pack("I", 0) + info[8:12] + bytes(4)
        else: info = info[:16] + struct.pack("I", 0)
        try: s.sendmsg([data], [(level, kind, info)], 0, peer)
        except OSError as e: print(peer, e, flush=True)
"#;
