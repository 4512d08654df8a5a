//! The daemon in hosts of a lab: what it puts into the kernel, and that nothing of it stays.

#[path = "netns/daemon.rs"]
mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use testbed::{Lab, Topology, wait};

use common::{
    ADDRESSES, LIMIT, configure, ends_clean, kernel, lab, member, report, same, serving, start,
};

fn main() -> ExitCode {
    testbed::init();
    testbed::harness::main(&[
        (
            "a_member_serves_and_leaves_no_trace",
            a_member_serves_and_leaves_no_trace,
        ),
        ("a_client_leaves_no_trace", a_client_leaves_no_trace),
        (
            "a_killed_daemon_is_swept_by_the_next",
            a_killed_daemon_is_swept_by_the_next,
        ),
        (
            "clean_removes_what_a_killed_daemon_left",
            clean_removes_what_a_killed_daemon_left,
        ),
        (
            "prefixes_come_and_go_while_it_runs",
            prefixes_come_and_go_while_it_runs,
        ),
        (
            "links_come_and_go_while_it_runs",
            links_come_and_go_while_it_runs,
        ),
        (
            "a_host_with_two_links_serves_on_both",
            a_host_with_two_links_serves_on_both,
        ),
        (
            "a_client_with_two_links_sends_where_members_are",
            a_client_with_two_links_sends_where_members_are,
        ),
        (
            "a_link_that_is_not_configured_does_not_answer",
            a_link_that_is_not_configured_does_not_answer,
        ),
        (
            "many_addresses_are_served_and_gone",
            many_addresses_are_served_and_gone,
        ),
        ("a_second_daemon_is_refused", a_second_daemon_is_refused),
        (
            "strangers_do_not_keep_the_administrator_waiting",
            strangers_do_not_keep_the_administrator_waiting,
        ),
        ("what_is_missing_is_named", what_is_missing_is_named),
        (
            "a_host_without_ipv6_serves_ipv4",
            a_host_without_ipv6_serves_ipv4,
        ),
        (
            "without_its_nft_it_starts_another",
            without_its_nft_it_starts_another,
        ),
        ("the_service_manager_is_told", the_service_manager_is_told),
        (
            "connections_outlive_every_end_of_the_client",
            connections_outlive_every_end_of_the_client,
        ),
        (
            "no_entry_of_a_killed_client_outlives_60_s",
            no_entry_of_a_killed_client_outlives_60_s,
        ),
        (
            "a_member_asks_from_its_own_address",
            a_member_asks_from_its_own_address,
        ),
        (
            "a_killed_gate_closes_by_itself",
            a_killed_gate_closes_by_itself,
        ),
    ])
}

fn a_member_serves_and_leaves_no_trace() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let before = kernel(one)?;
    let daemon = member(one)?;
    serving(one, 3)?;
    for address in ["198.18.0.1", "198.18.7.9"] {
        two.sh("ip route replace 198.18.0.0/16 dev eth0")?;
        two.run(&["ping", "-c1", "-W2", address])?
            .ok()
            .context(address)?;
    }
    two.sh("ip -6 route replace 2001:2:0:1546::/112 dev eth0")?;
    two.run(&["ping", "-c1", "-W2", "2001:2:0:1546::1"])?.ok()?;
    ends_clean(&daemon, one, &before)
}

fn a_client_leaves_no_trace() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let daemon = member(one)?;
    serving(one, 3)?;
    let before = kernel(two)?;
    configure(two, "[client]\n")?;
    let client = start(two)?;
    for address in ["198.18.0.1", "198.18.7.9", "2001:2:0:1546::1"] {
        wait::until_ok("an answer", LIMIT, || {
            two.run(&["ping", "-c1", "-W1", address])?.ok()
        })?;
    }
    let neighbours = report(two, &["neighbours"])?;
    let entries = neighbours["neighbours"].as_array().context("entries")?;
    ensure!(entries.len() == 3, "{neighbours:#}");
    for entry in entries {
        ensure!(
            entry["verified"] == true && entry["kernel_state"] == "REACHABLE",
            "{entry:#}"
        );
    }
    let members = report(two, &["members"])?;
    ensure!(
        members["links"][0]["members"][0]["ipv4"] == "10.15.46.1",
        "{members:#}"
    );
    ends_clean(&client, two, &before)?;
    drop(daemon);
    Ok(())
}

fn a_killed_daemon_is_swept_by_the_next() -> Result<()> {
    let lab = lab()?;
    let one = lab.host("one");
    let before = kernel(one)?;
    let client = "[client]\n";
    configure(one, &format!("[member]\n{ADDRESSES}\n{client}"))?;
    let killed = start(one)?;
    serving(one, 3)?;
    // As if it had resolved something, which nobody confirms after the restart.
    one.sh(
        "ip neigh replace 198.18.9.9 lladdr 02:00:00:00:00:09 dev eth0 nud reachable protocol 154",
    )?;
    killed.kill()?;
    ensure!(one.sh("cat /proc/sys/net/ipv4/tcp_mtu_probing")?.trim() == "2");

    configure(
        one,
        &format!("[member]\naddresses = [\"198.18.0.1\"]\n{client}"),
    )?;
    let next = start(one)?;
    serving(one, 1).context("what is no longer configured goes at once")?;
    wait::until_ok("the neighbour entry is swept", LIMIT, || {
        let left = one.sh("ip neigh show 198.18.9.9")?;
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })?;
    let routes = one.sh("ip route show table 1547; ip -6 route show table 1547")?;
    ensure!(routes.lines().count() == 2, "adopted: {routes}");
    let rules = one.sh("ip rule; ip -6 rule")?;
    ensure!(rules.matches("lookup 154").count() == 4, "adopted: {rules}");
    ends_clean(&next, one, &before)
}

fn clean_removes_what_a_killed_daemon_left() -> Result<()> {
    let lab = lab()?;
    let one = lab.host("one");
    let before = kernel(one)?;
    configure(one, &format!("[member]\n{ADDRESSES}\n[client]\n"))?;
    let daemon = start(one)?;
    serving(one, 3)?;
    let refused = one.run(&["hamp", "clean"])?;
    ensure!(refused.status.code() == Some(1), "{refused:?}");
    ensure!(refused.stderr.contains("stop it first"), "{refused:?}");
    daemon.kill()?;
    let done = report(one, &["clean"])?;
    ensure!(
        done["tables"]
            .as_array()
            .is_some_and(|tables| tables.len() == 3),
        "{done:#}"
    );
    ensure!(
        done["addresses"]
            .as_array()
            .is_some_and(|list| list.len() == 3),
        "{done:#}"
    );
    let after = kernel(one)?;
    same(&before, &after)?;
    let again = report(one, &["clean"])?;
    ensure!(again["tables"] == Value::Array(Vec::new()), "{again:#}");
    Ok(())
}

fn prefixes_come_and_go_while_it_runs() -> Result<()> {
    let lab = lab()?;
    let one = lab.host("one");
    let before = kernel(one)?;
    configure(one, "")?;
    let daemon = start(one)?;
    let joined = report(one, &["join", "198.18.0.7"])?;
    ensure!(joined["schema"] == "hamp.done/1", "{joined:#}");
    report(
        one,
        &[
            "join",
            "2001:2:0:1546::7/128",
            "--preference",
            "7",
            "--scope",
            "site",
        ],
    )?;
    serving(one, 2)?;
    let again = one.run(&["hamp", "join", "198.18.0.7"])?;
    ensure!(again.stderr.contains("already"), "{again:?}");
    let outside = one.run(&["hamp", "join", "10.0.0.1"])?;
    ensure!(outside.stderr.contains("class"), "{outside:?}");
    report(one, &["leave", "198.18.0.7", "--force"])?;
    serving(one, 1)?;
    report(one, &["leave", "2001:2:0:1546::7", "--force"])?;
    serving(one, 0)?;
    let absent = one.run(&["hamp", "leave", "198.18.0.7"])?;
    ensure!(absent.status.code() == Some(1), "{absent:?}");
    ends_clean(&daemon, one, &before)
}

fn links_come_and_go_while_it_runs() -> Result<()> {
    let lab = lab()?;
    let one = lab.host("one");
    let before = kernel(one)?;
    let phase = |expected: &str| {
        wait::until_ok("the link's phase", LIMIT, || {
            let status = report(one, &["status"])?;
            ensure!(status["links"][0]["phase"] == expected, "{status:#}");
            Ok(())
        })
    };
    let daemon = member(one)?;
    serving(one, 3)?;
    lab.carrier("one", "eth0", false)?;
    phase("down")?;
    lab.carrier("one", "eth0", true)?;
    phase("active")?;
    // Another interface under the same name, later.
    one.sh("ip link set eth0 name old0 2>/dev/null || { ip link set eth0 down; ip link set eth0 name old0; }")?;
    wait::until_ok("eth0 is absent", LIMIT, || {
        let status = report(one, &["status"])?;
        ensure!(status["absent_interfaces"][0] == "eth0", "{status:#}");
        ensure!(status["links"] == serde_json::json!([]), "{status:#}");
        Ok(())
    })?;
    let rules = one.sh("nft list table netdev hamp_link")?;
    ensure!(!rules.contains("hook ingress"), "{rules}");
    one.sh("ip link set old0 down; ip link set old0 name eth0; ip link set eth0 up; \
            ip -6 address replace fd15:46::1/64 dev eth0 nodad; ip address replace 10.15.46.1/24 dev eth0")?;
    phase("active")?;
    let status = daemon.terminate(LIMIT)?;
    ensure!(status.success(), "{status}: {}", one.read(daemon.log())?);
    let after = one.sh("nft list ruleset; cat /proc/sys/net/ipv4/conf/eth0/arp_announce")?;
    ensure!(after.trim() == "0", "{after}");
    drop(before);
    Ok(())
}

fn a_host_with_two_links_serves_on_both() -> Result<()> {
    let topology = Topology::new("two-links")
        .switch("left")
        .switch("right")
        .host("one")
        .link("left", &["10.15.46.1/24", "fd15:46::1/64"])
        .link("right", &["10.15.47.1/24", "fd15:47::1/64"])
        .host("l")
        .link("left", &["10.15.46.2/24", "fd15:46::2/64"])
        .host("r")
        .link("right", &["10.15.47.2/24", "fd15:47::2/64"]);
    let lab = Lab::new(&topology)?;
    let one = lab.host("one");
    let before = kernel(one)?;
    one.write(
        "/tmp/hamp.toml",
        &format!(
            "[node]\ninterfaces = [\"eth0\", \"eth1\"]\nhello_ms = 100\n[member]\n{ADDRESSES}\n"
        ),
    )?;
    let daemon = start(one)?;
    let listener = one.inside(|| TcpListener::bind("[::]:80"))??;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let local = stream.local_addr().map(|local| local.to_string());
            let _ = stream.write_all(local.unwrap_or_default().as_bytes());
        }
    });
    // Each link's client is rewritten to the host's address on that link.
    for (host, subnet) in [("l", 46), ("r", 47)] {
        let host = lab.host(host);
        configure(host, "[client]\n")?;
        let client = start(host)?;
        for (anycast, unicast) in [
            ("198.18.0.1:80", format!("[::ffff:10.15.{subnet}.1]:80")),
            ("[2001:2:0:1546::1]:80", format!("[fd15:{subnet}::1]:80")),
        ] {
            let anycast: SocketAddr = anycast.parse()?;
            let said = wait::until_ok("a connection", LIMIT, || {
                let connected = move || TcpStream::connect_timeout(&anycast, LIMIT);
                let mut said = String::new();
                host.inside(connected)??.read_to_string(&mut said)?;
                Ok(said)
            })?;
            ensure!(said == unicast, "{anycast}: {said}, not {unicast}");
        }
        drop(client);
    }
    lab.carrier("one", "eth0", false)?;
    let pings = || {
        lab.host("r")
            .run(&["ping", "-c1", "-W1", "198.18.0.1"])?
            .ok()
    };
    lab.host("r")
        .sh("ip route replace 198.18.0.0/16 dev eth0")?;
    wait::until_ok("the other link goes on", LIMIT, pings)?;
    lab.carrier("one", "eth0", true)?;
    ends_clean(&daemon, one, &before)
}

fn a_client_with_two_links_sends_where_members_are() -> Result<()> {
    let topology = Topology::new("two-links")
        .switch("left")
        .switch("right")
        .host("two")
        .link("left", &["10.15.46.2/24", "fd15:46::2/64"])
        .link("right", &["10.15.47.2/24", "fd15:47::2/64"])
        .host("l")
        .link("left", &["10.15.46.1/24", "fd15:46::1/64"])
        .host("r")
        .link("right", &["10.15.47.1/24", "fd15:47::1/64"]);
    let lab = Lab::new(&topology)?;
    let two = lab.host("two");
    let before = kernel(two)?;
    two.write(
        "/tmp/hamp.toml",
        "[node]\ninterfaces = [\"eth0\", \"eth1\"]\nhello_ms = 100\n[client]\n",
    )?;
    let client = start(two)?;
    let leads_to = |interface: &str| {
        wait::until_ok("the way to the member", LIMIT, || {
            for anycast in ["198.18.0.1", "2001:2:0:1546::1"] {
                let route = two.sh(&format!("ip route get {anycast}"))?;
                ensure!(route.contains(&format!("dev {interface} ")), "{route}");
                two.run(&["ping", "-c1", "-W1", anycast])?.ok()?;
            }
            Ok(())
        })
    };
    let right = member(lab.host("r"))?;
    leads_to("eth1")?;
    let left = member(lab.host("l"))?;
    leads_to("eth0")?;
    left.terminate(LIMIT)?;
    leads_to("eth1")?;
    right.terminate(LIMIT)?;
    ends_clean(&client, two, &before)
}

fn a_link_that_is_not_configured_does_not_answer() -> Result<()> {
    let topology = Topology::new("other-link")
        .switch("sw")
        .host("one")
        .link("sw", &["10.15.46.1/24"])
        .link("sw", &["10.15.46.3/24"])
        .host("two")
        .link("sw", &["10.15.46.2/24"]);
    let lab = Lab::new(&topology)?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    configure(one, "[member]\naddresses = [\"198.18.0.1\"]\n")?;
    let daemon = start(one)?;
    serving(one, 1)?;
    lab.carrier("one", "eth0", false)?;
    let answered = |address: &str| -> Result<bool> {
        let asked =
            format!("ping -c 1 -W 1 {address} >/dev/null || true; ip neighbour show {address}");
        Ok(two.sh(&asked)?.contains("lladdr"))
    };
    two.sh("ip route add 198.18.0.0/16 dev eth0")?;
    ensure!(answered("10.15.46.3")?, "the other link works");
    ensure!(
        !answered("198.18.0.1")?,
        "the kernel answered by the other link"
    );
    drop(daemon);
    Ok(())
}

fn many_addresses_are_served_and_gone() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let before = kernel(one)?;
    let addresses: Vec<String> = (0..150)
        .flat_map(|n| {
            [
                format!("\"198.18.{}.{}\"", 1 + n / 100, 1 + n % 100),
                format!("\"2001:2:0:1546::{n:x}\""),
            ]
        })
        .collect();
    // Not faster than by default: this is a debug build.
    let node = "[node]\ninterfaces = [\"eth0\"]\n";
    one.write(
        "/tmp/hamp.toml",
        &format!("{node}[member]\naddresses = [{}]\n", addresses.join(", ")),
    )?;
    let daemon = start(one)?;
    serving(one, 300)?;
    two.sh(
        "ip route replace 198.18.0.0/16 dev eth0; ip -6 route replace 2001:2:0:1546::/112 dev eth0",
    )?;
    for address in [
        "198.18.1.1",
        "198.18.2.50",
        "2001:2:0:1546::",
        "2001:2:0:1546::95",
    ] {
        two.run(&["ping", "-c1", "-W2", address])?
            .ok()
            .context(address)?;
    }
    let log = one.read(daemon.log())?;
    ensure!(!log.contains("paused") && !log.contains("away"), "{log}");
    ends_clean(&daemon, one, &before)
}

fn a_second_daemon_is_refused() -> Result<()> {
    let lab = lab()?;
    let one = lab.host("one");
    let first = member(one)?;
    serving(one, 3)?;
    for (state, control) in [
        ("", &[][..]),
        ("", &["--control", "/run/other"][..]),
        ("HAMP_STATE=/tmp/other", &["--control", "/run/other"][..]),
    ] {
        let run = ["hamp", "run", "--config", "/tmp/hamp.toml"];
        let env = ["env", state];
        let env = if state.is_empty() { &env[..1] } else { &env };
        let second = [env, &run, control].concat();
        let second = one.run(&second)?;
        ensure!(second.status.code() == Some(1), "{second:?}");
        ensure!(
            second.stderr.contains("another hamp daemon runs"),
            "{second:?}"
        );
    }
    serving(one, 3).context("the first is unharmed")?;
    drop(first);
    Ok(())
}

fn strangers_do_not_keep_the_administrator_waiting() -> Result<()> {
    let lab = lab()?;
    let one = lab.host("one");
    let daemon = member(one)?;
    serving(one, 3)?;
    let nobody = ["setpriv", "--reuid=65534", "--clear-groups"];
    if !one
        .run(&[&nobody[..], &["true"]].concat())?
        .status
        .success()
    {
        // In a user namespace of one user there are no strangers.
        return Ok(());
    }
    let hold = "use Socket; my @held;
        for (1..64) {
            socket(my $socket, AF_UNIX, SOCK_STREAM, 0);
            connect($socket, pack('S a*', AF_UNIX, \"\\0hamp\")) or die $!;
            push @held, $socket;
        }
        $| = 1; print \"held\\n\"; sleep 60;";
    let holder = one.spawn("holder", &[&nobody[..], &["perl", "-e", hold]].concat())?;
    wait::until_ok("the connections are held", LIMIT, || {
        ensure!(one.read(holder.log())?.contains("held"), "not yet");
        Ok(())
    })?;
    let began = Instant::now();
    report(one, &["members"])?;
    ensure!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    drop((holder, daemon));
    Ok(())
}

fn what_is_missing_is_named() -> Result<()> {
    let lab = lab()?;
    let one = lab.host("one");
    let run = ["hamp", "run", "--config", "/tmp/hamp.toml"];
    one.write(
        "/tmp/hamp.toml",
        "[node]\ninterfaces = [\"eth0\"]\n[membr]\n",
    )?;
    let wrong = one.run(&run)?;
    ensure!(wrong.status.code() == Some(78), "{wrong:?}");
    ensure!(
        wrong.stderr.contains("/tmp/hamp.toml:3") && wrong.stderr.contains("\"member\""),
        "{wrong:?}"
    );

    configure(one, "[client]\n")?;
    let hidden = "mount -t tmpfs none /usr/sbin && mount -t tmpfs none /usr/local/sbin && exec hamp run --config /tmp/hamp.toml";
    let missing = one.run(&["unshare", "--mount", "sh", "-c", hidden])?;
    ensure!(missing.status.code() == Some(69), "{missing:?}");
    ensure!(
        missing.stderr.contains("apt-get install -y nftables"),
        "{missing:?}"
    );

    let powerless = [
        &["setpriv", "--bounding-set=-all", "--inh-caps=-all"][..],
        &run,
    ]
    .concat();
    let powerless = one.run(&powerless)?;
    ensure!(powerless.status.code() == Some(77), "{powerless:?}");
    ensure!(powerless.stderr.contains("try: "), "{powerless:?}");
    let half = [
        &["setpriv", "--bounding-set=-net_admin", "--inh-caps=-all"][..],
        &run,
    ]
    .concat();
    let half = one.run(&half)?;
    ensure!(half.status.code() == Some(77), "{half:?}");

    let nobody = one.run(&["hamp", "status"])?;
    ensure!(nobody.status.code() == Some(1), "{nobody:?}");
    ensure!(nobody.stderr.contains("hamp run --config"), "{nobody:?}");
    Ok(())
}

fn a_host_without_ipv6_serves_ipv4() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    one.sysctl("ipv6/conf/all/disable_ipv6", "1")?;
    // The kernel leaves this group of its own only when IPv6 goes a second time.
    let before = kernel(one)?.replace("\tlink  33:33:00:00:00:01\n", "");
    configure(one, "[member]\naddresses = [\"198.18.0.1\"]\n[client]\n")?;
    let daemon = start(one)?;
    serving(one, 1)?;
    two.sh("ip route replace 198.18.0.0/16 dev eth0")?;
    two.run(&["ping", "-c1", "-W2", "198.18.0.1"])?.ok()?;
    // IPv6 comes later: its group is joined then.
    one.sysctl("ipv6/conf/eth0/disable_ipv6", "0")?;
    one.sh("ip -6 address replace fd15:46::1/64 dev eth0 nodad")?;
    wait::until_ok("the IPv6 group is joined", LIMIT, || {
        one.sh("ip maddress show dev eth0 | grep -q ff02::114")
    })?;
    one.sysctl("ipv6/conf/eth0/disable_ipv6", "1")?;
    ends_clean(&daemon, one, &before)
}

fn without_its_nft_it_starts_another() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let before = kernel(one)?;
    let daemon = member(one)?;
    serving(one, 3)?;
    two.sh("ip route replace 198.18.0.0/16 dev eth0")?;
    let pid = report(one, &["status"])?["pid"].clone();
    // It ends, and it hangs.
    for signal in ["KILL", "STOP"] {
        one.sh(&format!("kill -{signal} $(pgrep -P {pid} -x nft)"))?;
        wait::until_ok("the gate is open again", LIMIT, || {
            let children = one.sh(&format!("pgrep -P {pid} -x nft || true"))?;
            ensure!(children.lines().count() == 1, "{children}");
            two.run(&["ping", "-c1", "-W1", "198.18.0.1"])?.ok()
        })?;
    }
    ensure!(report(one, &["status"])?["pid"] == pid, "the same daemon");
    ends_clean(&daemon, one, &before)
}

fn the_service_manager_is_told() -> Result<()> {
    let lab = lab()?;
    let one = lab.host("one");
    configure(one, &format!("[member]\n{ADDRESSES}\n"))?;
    one.sh("ip link set eth0 down")?;
    let listener = one.inside(|| {
        let path = "/run/lab/notify";
        std::os::unix::net::UnixDatagram::bind(path)
    })??;
    listener.set_read_timeout(Some(LIMIT))?;
    let environment = [("NOTIFY_SOCKET", "/run/lab/notify")];
    let arguments = ["hamp", "run", "--config", "/tmp/hamp.toml", "--log-json"];
    let daemon = one.spawn_with("hamp", &arguments, &environment)?;
    let mut told = [0; 64];
    let length = listener.recv(&mut told).context("nothing was told")?;
    ensure!(&told[..length] == b"READY=1");
    report(one, &["status"]).context("it answers once it is ready")?;
    for line in one.read(daemon.log())?.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        ensure!(line["level"] == "INFO", "{line}");
    }
    // What comes up after it can bind, also before anything is served.
    let bound = one.inside(|| {
        let addresses = [
            SocketAddr::from(([198, 18, 0, 1], 53)),
            "[2001:2:0:1546::1]:53".parse()?,
        ];
        Ok::<_, anyhow::Error>(
            UdpSocket::bind(addresses[0])?.local_addr()? == addresses[0]
                && UdpSocket::bind(addresses[1]).is_ok(),
        )
    })??;
    ensure!(bound);
    daemon.signal(Signal::SIGINT)?;
    ensure!(daemon.wait(LIMIT)?.code() == Some(130));
    let length = listener.recv(&mut told)?;
    ensure!(&told[..length] == b"STOPPING=1");
    Ok(())
}

fn a_member_asks_from_its_own_address() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    // A host that is asked notes the asker, under the address that it asks from.
    let noted_own = || -> Result<bool> {
        one.sh(
            "ip neigh flush dev eth0; ping -c1 -W1 -I 198.18.0.1 10.15.46.2 >/dev/null || true",
        )?;
        let seen = two.sh("ip -4 neigh show dev eth0; ip neigh flush dev eth0")?;
        Ok(seen.contains("10.15.46.1 "))
    };
    // Without a reverse route, two would not even look at a question from the anycast address.
    two.sh("ip route add 198.18.0.0/16 dev eth0")?;
    let _daemon = member(one)?;
    serving(one, 3)?;
    ensure!(
        one.read("/proc/sys/net/ipv4/conf/eth0/arp_announce")?
            .trim()
            == "2"
    );
    one.sh("echo 0 >/proc/sys/net/ipv4/conf/eth0/arp_announce")?;
    two.sh("ip neigh flush dev eth0")?;
    ensure!(!noted_own()?, "what Linux does by itself");
    one.sh("echo 2 >/proc/sys/net/ipv4/conf/eth0/arp_announce")?;
    //= docs/spec/link.md#what-a-member-s-kernel-holds
    //= type=test
    //# A member's kernel MUST NOT use the address as the source of its own ARP requests.
    ensure!(noted_own()?, "with the daemon's setting");
    Ok(())
}

fn a_killed_gate_closes_by_itself() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let daemon = member(one)?;
    serving(one, 3)?;
    two.sh("ip route replace 198.18.0.0/16 dev eth0")?;
    let answers = || -> Result<bool> {
        Ok(two
            .run(&["ping", "-c1", "-W1", "198.18.0.1"])?
            .status
            .success())
    };
    ensure!(answers()?, "it is served");
    daemon.freeze()?;
    wait::until_ok("the gate closes", LIMIT, || {
        ensure!(!answers()?, "it still answers");
        Ok(())
    })?;
    daemon.thaw()?;
    wait::until_ok("it serves again", LIMIT, || {
        ensure!(answers()?, "no answer");
        Ok(())
    })?;
    let log = one.read(daemon.log())?;
    // Frozen at work instead of asleep, it does not tell that it paused; it joins as new all the same.
    ensure!(log.contains("joins as new"), "{log}");
    daemon.kill()?;
    wait::until_ok(
        "addresses go by themselves",
        Duration::from_secs(30),
        || {
            let held = one.sh("ip -o address show dev lo | grep -e 198.18 -e 1546 || true")?;
            ensure!(held.is_empty() && !answers()?, "{held}");
            Ok(())
        },
    )
}

//= docs/spec/tcp.md#the-client
//= type=test
//# When a client's daemon ends or crashes, established connections MUST go on.
fn connections_outlive_every_end_of_the_client() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let member = member(one)?;
    serving(one, 3)?;
    for any in ["0.0.0.0:80", "[::]:81"] {
        let listener = one.inside(move || TcpListener::bind(any))??;
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
    }
    let before = kernel(two)?;
    configure(two, "[client]\n")?;
    let mut client = start(two)?;
    let mut streams = Vec::new();
    for anycast in ["198.18.0.1:80", "[2001:2:0:1546::1]:81"] {
        let anycast = anycast.parse()?;
        let stream = two.inside(move || TcpStream::connect_timeout(&anycast, LIMIT))??;
        stream.set_read_timeout(Some(LIMIT))?;
        streams.push(stream);
    }
    let echoes = |streams: &[TcpStream]| -> Result<()> {
        for mut stream in streams {
            stream.write_all(b"still there?")?;
            let mut answer = [0; 12];
            stream.read_exact(&mut answer)?;
            ensure!(&answer == b"still there?");
        }
        Ok(())
    };
    echoes(&streams)?;
    let listed = report(two, &["connections"])?;
    ensure!(
        listed["connections"]
            .as_array()
            .is_some_and(|all| all.len() == 2),
        "{listed:#}"
    );
    ensure!(
        listed["connections"][0]["member"] == "10.15.46.1:80",
        "{listed:#}"
    );
    for end in ["kill", "terminate"] {
        if end == "kill" {
            client.kill()?;
        } else {
            let status = client.terminate(LIMIT)?;
            ensure!(status.success(), "{status}");
        }
        echoes(&streams).with_context(|| format!("after {end}"))?;
        client = start(two)?;
        echoes(&streams).with_context(|| format!("after {end} and a start"))?;
    }
    drop(streams);
    wait::until_ok("the connections end", LIMIT, || {
        let listed = report(two, &["connections"])?;
        ensure!(
            listed["connections"] == Value::Array(Vec::new()),
            "{listed:#}"
        );
        Ok(())
    })?;
    ends_clean(&client, two, &before)?;
    drop(member);
    Ok(())
}

//= docs/spec/link.md#a-client-s-entries
//= type=test
//# A client's kernel MUST NOT confirm an entry by asking the member that it leads to: unicast
//# requests for the class do not leave the host.
fn no_entry_of_a_killed_client_outlives_60_s() -> Result<()> {
    let lab = lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    let member = member(one)?;
    serving(one, 3)?;
    configure(two, "[client]\n")?;
    let client = start(two)?;
    let addresses = ["198.18.0.1", "2001:2:0:1546::1"];
    for address in addresses {
        wait::until_ok("an answer", LIMIT, || {
            two.run(&["ping", "-c1", "-W1", address])?.ok()
        })?;
    }
    client.kill()?;
    // Nobody answers any more, and traffic never stops.
    let status = member.terminate(LIMIT)?;
    ensure!(status.success(), "{status}");
    let end = Instant::now() + Duration::from_secs(60);
    wait::until_ok("the entries are gone", Duration::from_secs(60), || {
        let mut left = String::new();
        for address in addresses {
            // Fails as it should; each is a packet that uses the entry.
            two.run(&["ping", "-c1", "-i0.2", "-W0.2", address])?;
            left += &two.sh(&format!("ip neigh show {address} | grep lladdr || true"))?;
        }
        ensure!(left.is_empty(), "{left}");
        Ok(())
    })?;
    ensure!(Instant::now() < end);
    Ok(())
}
