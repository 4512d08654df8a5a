//! What others take away from the kernel, or put in its place: it is back within five seconds, and
//! people are told.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use testbed::harness::Test;
use testbed::{Host, Lab, wait};

use crate::common::{report, same};
use crate::support::{answers, http, lab, log};

pub(crate) const TESTS: &[Test] = &[
    (
        "rules_that_are_flushed_are_loaded_again",
        rules_that_are_flushed_are_loaded_again,
    ),
    (
        "what_is_taken_from_hosts_is_put_back",
        what_is_taken_from_hosts_is_put_back,
    ),
    (
        "what_is_taken_from_a_router_is_put_back",
        what_is_taken_from_a_router_is_put_back,
    ),
    ("connections_outlive_a_flush", connections_outlive_a_flush),
    (
        "where_nobody_takes_anything_nothing_is_told",
        where_nobody_takes_anything_nothing_is_told,
    ),
];

/// What hamp promises.
const RESTORED: Duration = Duration::from_secs(5);

const ADDRESSES: [&str; 2] = ["198.18.0.1", "2001:2:0:1546::1"];

/// A member with a server, and a client.
fn pair() -> Result<Lab> {
    let lab = lab(r#"
        [switch.lan]
        [host.m]
        links = [{ to = "lan", addresses = ["10.15.46.1/24", "fd15:46::1/64"] }]
        programs = { who = "hamp-lab who" }
        [host.m.hamp.node]
        hello_ms = 100
        [host.m.hamp.member]
        addresses = ["198.18.0.1", "2001:2:0:1546::1", "198.18.7.0/24", "2001:2:0:1546::700/120"]
        [host.c]
        links = [{ to = "lan", addresses = ["10.15.46.9/24", "fd15:46::9/64"] }]
        [host.c.hamp.node]
        hello_ms = 100
        log = "debug"
        [host.c.hamp.client]
    "#)?;
    for address in ADDRESSES {
        within("it is reached at first", || reached(lab.host("c"), address))?;
    }
    Ok(lab)
}

/// By UDP's way and by TCP.
fn reached(client: &Host, address: &str) -> Result<()> {
    ensure!(answers(client, address)?, "{address}: no answer to a ping");
    let told = http(client, address)?;
    ensure!(
        !told.is_empty() && !told.contains("curl"),
        "{address}: {told}"
    );
    Ok(())
}

fn within(what: &str, holds: impl FnMut() -> Result<()>) -> Result<()> {
    wait::until_ok(what, RESTORED, holds)
}

/// Waits until everything of ours in the kernel is as it was, and the daemon has told of it.
fn told(host: &Host, kind: &str) -> Result<()> {
    within("people are told", || {
        let status = report(host, &["status"])?;
        let troubles = status["troubles"].as_array().cloned().unwrap_or_default();
        let of_host = |trouble: &&Value| trouble["link"].is_null() && trouble["kind"] == kind;
        ensure!(
            troubles.iter().any(|trouble| of_host(&trouble)),
            "{troubles:#?}"
        );
        ensure!(log(host)?.contains("WARN"), "{}", log(host)?);
        Ok(())
    })
}

/// A connection that a client's rules carry goes on when they were flushed, and so does a plain one.
fn connections_outlive_a_flush() -> Result<()> {
    let lab = pair()?;
    let (m, c) = (lab.host("m"), lab.host("c"));
    m.write("/tmp/echo.py", ECHO)?;
    let _server = m.spawn("echo", &["python3", "/tmp/echo.py", "serve"])?;
    for address in ADDRESSES {
        let name = if address.contains(':') {
            "ask6"
        } else {
            "ask4"
        };
        c.write("/tmp/echo.py", ECHO)?;
        let copies = || -> Result<usize> { Ok(log(c)?.matches("connections copied").count()) };
        let before = copies()?;
        let client = c.spawn(name, &["python3", "/tmp/echo.py", address])?;
        within("it is connected", || {
            ensure!(
                c.read(client.log())?.contains("one"),
                "{}",
                c.read(client.log())?
            );
            let known = report(c, &["connections"])?["connections"].clone();
            ensure!(
                known.as_array().is_some_and(|all| !all.is_empty()),
                "{known}"
            );
            Ok(())
        })?;
        within("it is copied, and once more when it is established", || {
            let now = copies()?;
            ensure!(now >= before + 2, "{before} copies, and now {now}");
            Ok(())
        })?;
        c.sh("nft flush ruleset")?;
        within("the rules are there again", || {
            c.sh("nft list chain inet hamp_client prerouting || nft list table inet hamp_client")?;
            Ok(())
        })?;
        c.sh("touch /tmp/go")?;
        within("it goes on", || {
            let told = c.read(client.log())?;
            ensure!(told.contains("two"), "{told}");
            Ok(())
        })?;
        c.sh("rm /tmp/go")?;
    }
    Ok(())
}

/// Echoes lines; as a client, one line, and a second one when it is told to.
const ECHO: &str = r#"
import os, socket, sys, threading, time
if sys.argv[1] == "serve":
    server = socket.create_server(("::", 7777), family=socket.AF_INET6, dualstack_ipv6=True)
    def echo(peer):
        while data := peer.recv(100):
            peer.sendall(data)
    while True:
        threading.Thread(target=echo, args=(server.accept()[0],), daemon=True).start()
peer = None
while peer is None:
    try:
        peer = socket.create_connection((sys.argv[1], 7777), timeout=10)
    except ConnectionRefusedError:
        time.sleep(0.1)
peer.sendall(b"one\n")
print(peer.recv(100), flush=True)
while not os.path.exists("/tmp/go"):
    time.sleep(0.05)
peer.sendall(b"two\n")
print(peer.recv(100), flush=True)
"#;

/// The rules of ours, without what comes and goes by itself.
fn rules(host: &Host) -> Result<String> {
    let tables = host.sh(
        "for t in 'inet hamp_member' 'inet hamp_client' 'netdev hamp_link' 'arp hamp_link'; do \
                          nft -s -t list table $t 2>/dev/null || true; done; \
                          nft list set inet hamp_member active4 2>/dev/null || true",
    )?;
    Ok(tables)
}

fn rules_that_are_flushed_are_loaded_again() -> Result<()> {
    let lab = pair()?;
    let (m, c) = (lab.host("m"), lab.host("c"));
    let before = (rules(m)?, rules(c)?);
    for what in [
        "nft flush ruleset",
        "nft delete table inet hamp_client",
        "nft delete table inet hamp_member",
        "nft flush table netdev hamp_link",
        "nft flush chain inet hamp_member prerouting",
        "nft 'flush set inet hamp_member active4; flush set inet hamp_member active6'",
        "nft insert rule inet hamp_member prerouting ip daddr 198.18.0.1 drop",
    ] {
        for host in [m, c] {
            host.sh(&format!("{what} 2>/dev/null || true"))?;
        }
        let began = Instant::now();
        within(what, || {
            same(&before.0, &rules(m)?)?;
            same(&before.1, &rules(c)?)
        })?;
        for address in ADDRESSES {
            within(what, || reached(c, address))?;
        }
        ensure!(began.elapsed() < RESTORED, "{what}: {:?}", began.elapsed());
    }
    // Rules of others are left alone, and their changes are no reason to load anything.
    c.sh("nft add table inet other")?;
    told(c, "rules_taken")?;
    told(m, "rules_taken")
}

/// What a host has of ours besides rules of the packet filter, without what ages.
fn state(host: &Host) -> Result<String> {
    host.sh(
        "ip rule; ip -6 rule; ip route show table all proto 154 | sed 's, nhid [0-9]*,,'; \
         ip -6 route show table all proto 154 | sed 's, expires [0-9]*sec,,;s, nhid [0-9]*,,'; \
         ip nexthop show proto 154 | sed 's, id [0-9]*,,;s,^id [0-9]* ,,;s,group [0-9]*,group,' | sort; \
         ip neigh show proto 154 | sed 's, ref .*,,;s, used .*,,' | awk '{print $1,$3,$5}' | sort; \
         ip -o address show dev lo | sed 's, *valid_lft.*,,' | awk '{print $4}' | sort | sed '/^127/d;/^::1/d'; \
         ip link show dev lo | grep -o UP || true; \
         cat /proc/sys/net/ipv4/tcp_mtu_probing /proc/sys/net/ipv4/conf/eth0/arp_announce \
             /proc/sys/net/ipv4/conf/eth0/send_redirects",
    )
}

fn put_back(host: &Host, what: &str, before: &str) -> Result<()> {
    host.sh(&format!("(set +e; {what}) 2>/dev/null || true"))?;
    within(what, || {
        let now = state(host)?;
        ensure!(now == before, "{what}: {before}\nand now: {now}");
        Ok(())
    })
}

//= docs/spec/link.md#a-client-s-entries
//= type=test
//# What others take from the kernel of what this section and the one above require MUST be put back
//# within 5 s.
fn what_is_taken_from_hosts_is_put_back() -> Result<()> {
    let lab = pair()?;
    let (m, c) = (lab.host("m"), lab.host("c"));
    within("the recovery is over", || {
        let routes = c.sh("ip route show table 1547")?;
        ensure!(routes.lines().count() == 1, "{routes}");
        Ok(())
    })?;
    for what in [
        "ip rule flush; ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default; ip -6 rule flush; ip -6 rule add pref 32766 lookup main; \
         ip neigh replace 198.18.0.1 lladdr 02:00:00:00:00:99 dev eth0 nud permanent; \
         sysctl -q -w net.ipv4.tcp_mtu_probing=0",
        "ip route flush table 1546; ip -6 route flush table 1546; ip route flush table 1547; \
         ip neigh flush dev eth0; ip -6 neigh flush dev eth0",
        "ip route flush proto 154; ip -6 route flush proto 154",
        "ip route replace blackhole 198.18.0.1 table 1546 metric 1546; \
         ip -6 route add blackhole 2001:2:0:1546::1 table 1546 metric 1",
        "ip route add blackhole 198.18.0.1 table 1546 metric 1",
        "ip route del 198.18.0.1 table 1546; ip route add 198.18.0.1 dev eth0 table 1546 metric 99",
    ] {
        let before = state(c)?;
        put_back(c, what, &before)?;
        for address in ADDRESSES {
            within(what, || {
                ensure!(answers(c, address)?, "{what}: {address}");
                Ok(())
            })?;
        }
    }
    for what in [
        "ip address flush dev lo; sysctl -q -w net.ipv4.conf.eth0.arp_announce=0",
        "ip -6 address flush dev lo; ip address del 198.18.7.0/24 dev lo",
        "ip -6 route flush table local proto 154; ip rule del pref 1546; ip -6 rule del pref 33546",
        "ip link set lo down",
    ] {
        let before = state(m)?;
        put_back(m, what, &before)?;
        for address in ADDRESSES
            .into_iter()
            .chain(["198.18.7.9", "2001:2:0:1546::709"])
        {
            within(what, || {
                ensure!(answers(c, address)?, "{what}: {address}");
                Ok(())
            })?;
        }
    }
    // A link that was down has forgotten who was there, and an address that was not permanent.
    for (host, own) in [(m, "fd15:46::1"), (c, "fd15:46::9")] {
        host.sh(&format!(
            "ip link set eth0 down; ip link set eth0 up; ip -6 address replace {own}/64 dev eth0 nodad"
        ))?;
        for address in ADDRESSES {
            within("the link is up again", || reached(c, address))?;
        }
    }
    for kind in ["routes_taken", "neighbours_taken", "settings_changed"] {
        told(c, kind)?;
    }
    for kind in ["routes_taken", "addresses_taken", "settings_changed"] {
        told(m, kind)?;
    }
    Ok(())
}

fn what_is_taken_from_a_router_is_put_back() -> Result<()> {
    let lab = lab(r#"
        [switch.lan]
        [switch.out]
        [router.r]
        links = [{ to = "lan", addresses = ["10.15.46.254/24", "fd15:46::fe/64"] },
                 { to = "out", addresses = ["10.9.9.254/24", "fd09::fe/64"] }]
        [router.r.hamp.node]
        interfaces = ["eth0"]
        hello_ms = 100
        [router.r.hamp.router]
        discard = true
        [host.b]
        links = [{ to = "lan", addresses = ["10.15.46.2/24", "fd15:46::2/64"] }]
        routes = [{ to = "default", via = "10.15.46.254" }, { to = "default", via = "fd15:46::fe" }]
        [host.b.hamp.node]
        hello_ms = 100
        [host.b.hamp.member]
        addresses = ["198.18.0.2", "2001:2:0:1546::2"]
        [host.c]
        links = [{ to = "out", addresses = ["10.9.9.9/24", "fd09::9/64"] }]
        routes = [{ to = "default", via = "10.9.9.254" }, { to = "default", via = "fd09::fe" }]
    "#)?;
    let (r, c) = (lab.host("r"), lab.host("c"));
    let served = ["198.18.0.2", "2001:2:0:1546::2"];
    let reaches = |what: &str| {
        served.into_iter().try_for_each(|address| {
            within(what, || {
                ensure!(answers(c, address)?, "{what}: {address}");
                Ok(())
            })
        })
    };
    reaches("at first")?;
    for what in [
        "ip route flush proto 154; ip -6 route flush proto 154",
        "ip nexthop flush; ip route del blackhole 198.18.0.0/16",
        "ip nexthop flush; ip route flush proto 154",
        "ip route del 198.18.0.2; ip route add 198.18.0.2 via 10.15.46.2 proto 154 metric 9; \
         sysctl -q -w net.ipv4.conf.eth0.send_redirects=1",
    ] {
        let before = state(r)?;
        put_back(r, what, &before)?;
        reaches(what)?;
    }
    told(r, "routes_taken")?;
    // A route of somebody else in its place stays, and is told; status does not count it.
    let routes =
        |host: &Host| -> Result<Value> { Ok(report(host, &["status"])?["router"].clone()) };
    let before = routes(r)?["kernel_routes"].clone();
    ensure!(before == 4, "{before}");
    r.sh("ip route replace blackhole 198.18.0.2 metric 15 proto static")?;
    told(r, "routes_refused")?;
    ensure!(routes(r)?["kernel_routes"] == 3, "{:#}", routes(r)?);
    r.sh("ip route del blackhole 198.18.0.2 metric 15 proto static")?;
    reaches("the other's route is gone")
}

fn where_nobody_takes_anything_nothing_is_told() -> Result<()> {
    let lab = pair()?;
    let (m, c) = (lab.host("m"), lab.host("c"));
    // Until they have looked at their rules, other changes at the same time leave them in doubt.
    std::thread::sleep(Duration::from_secs(2));
    let loaded = |host: &Host| host.sh("nft -a list chain netdev hamp_link hide_arp");
    let before = (loaded(m)?, loaded(c)?);
    // Firewalls of others change all the time.
    for number in 0..25 {
        for host in [m, c] {
            host.sh(&format!(
                "nft add table inet other{number}; ip route replace 192.0.2.{number} dev lo"
            ))?;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    for host in [m, c] {
        let troubles = report(host, &["status"])?["troubles"].clone();
        ensure!(troubles == Value::Array(Vec::new()), "{troubles:#}");
    }
    let after = (loaded(m)?, loaded(c)?);
    ensure!(
        after == before,
        "loaded again: {}",
        log(m)?
            .lines()
            .filter(|l| l.contains("loaded") || l.contains("rules"))
            .collect::<Vec<_>>()
            .join("\n")
    );
    Ok(())
}
