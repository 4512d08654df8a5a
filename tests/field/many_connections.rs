//! Thousands of connections to one anycast address, and others beside them: to another address on the same
//! port, with one member for both, from ports that Linux picks for each destination by itself.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use testbed::harness::Test;
use testbed::{Host, Lab, wait};

use crate::common::{LIMIT, report};
use crate::support::lab;

pub(crate) const TESTS: &[Test] = &[
    (
        "thousands_to_one_address_cost_no_connect_to_another",
        thousands_to_one_address_cost_no_connect_to_another,
    ),
    (
        "ten_thousand_connects_in_a_row_succeed_at_once",
        ten_thousand_connects_in_a_row_succeed_at_once,
    ),
    (
        "syns_without_an_answer_shut_nobody_out_for_long",
        syns_without_an_answer_shut_nobody_out_for_long,
    ),
];

const FAMILIES: [[&str; 2]; 2] = [
    ["198.18.0.1", "198.18.0.2"],
    ["2001:2:0:1546::1", "2001:2:0:1546::2"],
];
const PORT: u16 = 8_000;
/// What TCP waits before it sends a SYN again is longer.
const AT_ONCE: Duration = Duration::from_millis(900);

fn pair() -> Result<Lab> {
    let lab = lab(r#"
        [switch.lan]
        [host.c]
        links = [{ to = "lan", addresses = ["10.15.46.9/24", "fd15:46::9/64"] }]
        [host.c.hamp.node]
        hello_ms = 100
        [host.c.hamp.client]
        [host.m]
        links = [{ to = "lan", addresses = ["10.15.46.2/24", "fd15:46::2/64"] }]
        [host.m.hamp.node]
        hello_ms = 100
        [host.m.hamp.member]
        addresses = ["198.18.0.1", "198.18.0.2", "2001:2:0:1546::1", "2001:2:0:1546::2"]
    "#)?;
    // Both ends of every connection are in this process.
    let pid = std::process::id().to_string();
    let raised = std::process::Command::new("prlimit")
        .args(["--pid", &pid, "--nofile=20000"])
        .status()?;
    ensure!(raised.success(), "prlimit: {raised}");
    Ok(lab)
}

/// Connections that are made and accepted one after the other.
fn connect(
    client: &Host,
    listener: &TcpListener,
    to: SocketAddr,
    count: usize,
) -> Result<Vec<[TcpStream; 2]>> {
    let listener = listener.try_clone()?;
    let made = client.thread("connect", move || -> Result<Vec<[TcpStream; 2]>> {
        let one = |number| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            let connected = socket.connect_timeout(&to.into(), AT_ONCE);
            connected.with_context(|| format!("connection {number} to {to}"))?;
            Ok([socket.into(), listener.accept()?.0])
        };
        (0..count).map(one).collect()
    })?;
    made.join().map_err(|_| anyhow!("panicked"))?
}

/// A byte each way on every one.
fn talk(connections: &mut [[TcpStream; 2]]) -> Result<()> {
    for ends in connections {
        let [client, server] = ends;
        for end in [&*client, &*server] {
            end.set_read_timeout(Some(Duration::from_secs(5)))?;
        }
        let mut byte = [0];
        let said = client.write_all(b"a").and_then(|()| {
            server.read_exact(&mut byte)?;
            server.write_all(b"b")?;
            client.read_exact(&mut byte)
        });
        said.with_context(|| format!("{client:?} {server:?}"))?;
        ensure!(byte == *b"b");
    }
    Ok(())
}

fn listen(server: &Host, address: &str) -> Result<TcpListener> {
    let any = if address.contains(':') {
        "::"
    } else {
        "0.0.0.0"
    };
    let any = SocketAddr::new(any.parse()?, PORT);
    let listening = server.thread("listen", move || TcpListener::bind(any))?;
    Ok(listening.join().map_err(|_| anyhow!("panicked"))??)
}

fn at(address: &str) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse::<IpAddr>()?, PORT))
}

fn ready(client: &Host, listener: &TcpListener, to: SocketAddr) -> Result<()> {
    wait::until_ok("a connection", LIMIT, || {
        connect(client, listener, to, 1).map(|_| ())
    })
}

/// What the shim has counted.
fn counted(client: &Host, what: &str) -> Result<u64> {
    let listed = client.sh(&format!(
        "nft list counter inet hamp_client {what} | grep -o 'packets [0-9]*' | cut -d' ' -f2"
    ))?;
    Ok(listed.trim().parse()?)
}

/// In how many seconds what the shim notes in a map or set is forgotten, of keys like that.
fn expiring(client: &Host, name: &str, of: impl Fn(&[Value]) -> bool) -> Result<Vec<u64>> {
    let kind = if name.starts_with("owner") {
        "map"
    } else {
        "set"
    };
    let listed = client.sh(&format!("nft -j list {kind} inet hamp_client {name}"))?;
    let listed: Value = serde_json::from_str(&listed)?;
    let entries = listed["nftables"].as_array().context("nft")?.iter();
    let elements = entries.filter_map(|entry| entry[kind]["elem"].as_array());
    let elements = elements.flatten().map(|element| {
        let key = if kind == "map" { &element[0] } else { element };
        &key["elem"]
    });
    let like = elements.filter(|key| {
        let parts = key["val"]["concat"].as_array();
        parts.is_some_and(|parts| of(parts))
    });
    Ok(like.filter_map(|key| key["expires"].as_u64()).collect())
}

fn thousands_to_one_address_cost_no_connect_to_another() -> Result<()> {
    let lab = pair()?;
    let (client, server) = (lab.host("c"), lab.host("m"));
    for [one, two] in FAMILIES {
        let listener = listen(server, one)?;
        ready(client, &listener, at(one)?)?;
        ready(client, &listener, at(two)?)?;
        let before = counted(client, "aliased")?;
        let mut first = connect(client, &listener, at(one)?, 3_000)?;
        let mut second = connect(client, &listener, at(two)?, 400)?;
        let aliased = counted(client, "aliased")? - before;
        ensure!(aliased >= 40, "too few ports came up twice: {aliased}");
        talk(&mut second)?;
        talk(&mut first)?;
        let ends = |ends: &[TcpStream; 2]| {
            let (local, anycast) = (ends[0].local_addr()?, ends[0].peer_addr()?);
            let member = SocketAddr::new(ends[1].local_addr()?.ip().to_canonical(), PORT);
            anyhow::Ok((local.to_string(), anycast.to_string(), member.to_string()))
        };
        let all = first.iter().chain(&second).map(ends);
        let mut all = all.collect::<Result<Vec<_>>>()?;
        all.sort();
        let listed = report(client, &["connections"])?;
        let listed = listed["connections"].as_array().cloned();
        let listed = listed.context("connections")?.into_iter();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut told: Vec<_> = listed
            .map(|one| {
                (
                    word(&one["local"]),
                    word(&one["anycast"]),
                    word(&one["member"]),
                )
            })
            .collect();
        told.sort();
        ensure!(told == all, "{} listed of {}", told.len(), all.len());
        // Those that end leave nothing that costs the others, or the next.
        drop(first);
        talk(&mut second)?;
        let mut again = connect(client, &listener, at(one)?, 400)?;
        talk(&mut again)?;
        ensure!(counted(client, "port_busy")? + counted(client, "full")? == 0);
    }
    Ok(())
}

fn ten_thousand_connects_in_a_row_succeed_at_once() -> Result<()> {
    let lab = pair()?;
    let (client, server) = (lab.host("c"), lab.host("m"));
    for [one, two] in FAMILIES {
        let listener = listen(server, one)?;
        ready(client, &listener, at(one)?)?;
        ready(client, &listener, at(two)?)?;
        // In turn, so that both use the same ports again and again.
        for number in 0..10 {
            let to = if number % 2 == 0 { one } else { two };
            connect(client, &listener, at(to)?, 500)?;
        }
        ensure!(counted(client, "port_busy")? + counted(client, "full")? == 0);
        // Both ends have said that they are done, so half a minute is enough.
        let from = if one.contains(':') { "from6" } else { "from4" };
        wait::until_ok("the last to be over", LIMIT, || {
            let left = expiring(client, from, |_| true)?;
            let longest = left.iter().max().copied().unwrap_or_default();
            ensure!(longest <= 30, "{longest} s, one of {}", left.len());
            Ok(())
        })?;
    }
    Ok(())
}

fn syns_without_an_answer_shut_nobody_out_for_long() -> Result<()> {
    let lab = pair()?;
    let (client, server) = (lab.host("c"), lab.host("m"));
    for ([one, _], owner) in FAMILIES.into_iter().zip(["owner4", "owner6"]) {
        let listener = listen(server, one)?;
        ready(client, &listener, at(one)?)?;
        // Nobody answers there any more, and nobody says so.
        server.sh("nft 'table inet mute { chain in { \
            type filter hook prerouting priority -400; tcp dport 9 drop; }; }'")?;
        let to = SocketAddr::new(one.parse()?, 9);
        let asked = client.thread("ask", move || {
            for _ in 0..100 {
                let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
                socket.set_nonblocking(true)?;
                // The program gives up at once.
                let _ = socket.connect(&to.into());
            }
            anyhow::Ok(())
        })?;
        asked.join().map_err(|_| anyhow!("panicked"))??;
        let expire = expiring(client, owner, |key| key.last().is_some_and(|to| to == 9))?;
        ensure!(expire.len() == 100, "{} are noted", expire.len());
        //= docs/spec/tcp.md#the-client
        //= type=test
        //# A client SHOULD forget a SYN 15 seconds after its last repetition, so that what nobody
        //# answers leaves room for others.
        ensure!(expire.iter().all(|left| *left <= 16), "{expire:?}");
    }
    Ok(())
}
