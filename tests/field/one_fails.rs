//! One family, one setting, one interface that fails takes nothing else along.

use anyhow::{Result, ensure};
use testbed::{Host, Lab, Process, Topology, wait};

use crate::common::{self, LIMIT, configure, report, start};
use crate::support::pings;

pub(crate) const TESTS: &[testbed::harness::Test] = &[
    (
        "one_fails::a_family_that_is_switched_off_takes_the_other_not_along",
        a_family_that_is_switched_off_takes_the_other_not_along,
    ),
    (
        "one_fails::an_interface_that_cannot_be_opened_takes_the_others_not_along",
        an_interface_that_cannot_be_opened_takes_the_others_not_along,
    ),
    (
        "one_fails::settings_and_state_that_cannot_be_written_are_told",
        settings_and_state_that_cannot_be_written_are_told,
    ),
    (
        "one_fails::a_link_without_a_family_serves_the_other",
        a_link_without_a_family_serves_the_other,
    ),
    (
        "one_fails::an_nft_that_is_slow_or_fails_at_first_is_waited_for",
        an_nft_that_is_slow_or_fails_at_first_is_waited_for,
    ),
];

const MEMBER: &str = "[member]\naddresses = [\"198.18.0.1\", \"2001:2:0:1546::1\"]\n";

fn reaches(from: &Host, address: &str, wanted: bool) -> Result<()> {
    wait::until_ok(&format!("{address} answers: {wanted}"), LIMIT, || {
        let got = pings(from, address, 1)?;
        ensure!((got == 1) == wanted, "{got} answers from {address}");
        Ok(())
    })
}

/// A member and a stock host, whose class is on its link.
fn pair() -> Result<(Lab, Process)> {
    let lab = common::lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    two.sh("ip route add 198.18.0.0/16 dev eth0; ip route add 2001:2:0:1546::/112 dev eth0")?;
    configure(one, MEMBER)?;
    let daemon = start(one)?;
    reaches(two, "198.18.0.1", true)?;
    reaches(two, "2001:2:0:1546::1", true)?;
    Ok((lab, daemon))
}

fn a_family_that_is_switched_off_takes_the_other_not_along() -> Result<()> {
    let (lab, daemon) = pair()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    for name in ["all", "eth0", "lo"] {
        let key = format!("ipv6/conf/{name}/disable_ipv6");
        one.sysctl(&key, "1")?;
        wait::until_ok("IPv6 is withdrawn", LIMIT, || {
            let status = report(one, &["status"])?;
            ensure!(status["links"][0]["ipv6"].is_null(), "{status:#}");
            Ok(())
        })?;
        ensure!(pings(two, "198.18.0.1", 3)? == 3, "{name}: IPv4 goes on");
        if name != "eth0" {
            wait::until_ok("people are told", LIMIT, || {
                let told = report(one, &["status"])?["troubles"].to_string();
                ensure!(told.contains("ipv6_off"), "{name}: {told}");
                Ok(())
            })?;
        }
        one.sysctl(&key, "0")?;
        // A manager that switches it on again sets the addresses again, too.
        one.sh("ip addr replace fd15:46::1/64 dev eth0 nodad")?;
        reaches(two, "2001:2:0:1546::1", true)?;
        wait::until_ok("it is over", LIMIT, || {
            let status = report(one, &["status"])?;
            ensure!(
                !status["troubles"].to_string().contains("ipv6_off"),
                "{status:#}"
            );
            Ok(())
        })?;
    }
    one.sh("ip addr del 10.15.46.1/24 dev eth0")?;
    ensure!(pings(two, "2001:2:0:1546::1", 3)? == 3, "IPv6 goes on");
    one.sh("ip addr add 10.15.46.1/24 dev eth0")?;
    reaches(two, "198.18.0.1", true)?;
    ensure!(
        daemon.terminate(LIMIT)?.success(),
        "{}",
        one.read(daemon.log())?
    );
    Ok(())
}

fn a_link_without_a_family_serves_the_other() -> Result<()> {
    for off in ["all", "lo", "eth0"] {
        let lab = common::lab()?;
        let (one, two) = (lab.host("one"), lab.host("two"));
        two.sh("ip route add 198.18.0.0/16 dev eth0")?;
        one.sysctl(&format!("ipv6/conf/{off}/disable_ipv6"), "1")?;
        configure(one, &format!("{MEMBER}[client]\n"))?;
        let daemon = start(one)?;
        reaches(two, "198.18.0.1", true)?;
        ensure!(
            daemon.terminate(LIMIT)?.success(),
            "{}",
            one.read(daemon.log())?
        );
    }
    Ok(())
}

fn an_interface_that_cannot_be_opened_takes_the_others_not_along() -> Result<()> {
    let lab = Lab::new(
        &Topology::new("two")
            .switch("left")
            .switch("right")
            .host("one")
            .link("left", &["10.15.46.1/24"])
            .link("right", &["10.15.47.1/24"])
            .host("two")
            .link("left", &["10.15.46.2/24"])
            .host("three")
            .link("right", &["10.15.47.2/24"]),
    )?;
    let (one, two, three) = (lab.host("one"), lab.host("two"), lab.host("three"));
    for host in [two, three] {
        host.sh("ip route add 198.18.0.0/16 dev eth0")?;
    }
    let holder = "import socket, time; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); \
                  s.setsockopt(socket.SOL_SOCKET, 25, b'eth1'); s.bind(('', 1021)); \
                  print('bound', flush=True); time.sleep(600)";
    let holder = one.spawn("holder", &["python3", "-c", holder])?;
    wait::until_ok("the port is taken", LIMIT, || {
        ensure!(one.read(holder.log())?.contains("bound"), "not yet");
        Ok(())
    })?;
    let node = "[node]\ninterfaces = [\"eth0\", \"eth1\"]\nhello_ms = 100\n";
    let member = "[member]\naddresses = [\"198.18.0.1\"]\n";
    one.write("/tmp/hamp.toml", &format!("{node}{member}"))?;
    let daemon = start(one)?;
    reaches(two, "198.18.0.1", true)?;
    let status = report(one, &["status"])?;
    ensure!(
        status["troubles"].to_string().contains("eth1"),
        "{status:#}"
    );
    holder.kill()?;
    reaches(three, "198.18.0.1", true)?;
    ensure!(
        daemon.terminate(LIMIT)?.success(),
        "{}",
        one.read(daemon.log())?
    );
    Ok(())
}

fn settings_and_state_that_cannot_be_written_are_told() -> Result<()> {
    let lab = common::lab()?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    two.sh("ip route add 198.18.0.0/16 dev eth0")?;
    configure(one, &format!("{MEMBER}[client]\n"))?;
    let script = "mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys || exit 9; \
                  exec hamp run --config /tmp/hamp.toml";
    for (state, said) in [
        ("/proc/nowhere", "no state directory"),
        ("/tmp/full", "state not saved"),
    ] {
        one.sh(
            "mkdir -p /tmp/full; mountpoint -q /tmp/full || mount -t tmpfs -o size=8k none /tmp/full; \
             d=/tmp/full/$(stat -L -c %i /proc/self/ns/net); mkdir -p $d; touch $d/lock; \
             dd if=/dev/zero of=/tmp/full/fill bs=4k count=9 2>/dev/null || true",
        )?;
        let state = format!("HAMP_STATE={state}");
        let run = ["env", &state, "unshare", "-m", "sh", "-c", script];
        let daemon = one.spawn(&format!("hamp{}", said.len()), &run)?;
        if daemon.exited().is_none()
            && let Err(error) = common::ready(one, &daemon)
        {
            if daemon.exited().and_then(|status| status.code()) == Some(9) {
                return Err(testbed::harness::skip(
                    "settings cannot be made read-only here",
                ));
            }
            return Err(error);
        }
        reaches(two, "198.18.0.1", true)?;
        let log = one.read(daemon.log())?;
        for part in [
            "net.ipv4.tcp_mtu_probing",
            "net.ipv4.conf.eth0.arp_announce",
            said,
        ] {
            ensure!(log.contains(part), "no {part} in {log}");
        }
        ensure!(
            daemon.terminate(LIMIT)?.success(),
            "{}",
            one.read(daemon.log())?
        );
    }
    Ok(())
}

/// Runs the daemon with an nft in front of the real one, which does this first.
fn with_nft(host: &Host, first: &str) -> Result<Process> {
    let real = host.sh("PATH=$PATH:/usr/sbin:/sbin command -v nft")?;
    let script = format!("#!/bin/sh\n{first}\nexec {} \"$@\"\n", real.trim());
    host.write("/tmp/bin/nft", &script)?;
    host.sh("chmod +x /tmp/bin/nft; rm -f /tmp/once*")?;
    let run = "PATH=/tmp/bin:$PATH exec hamp run --config /tmp/hamp.toml";
    host.spawn("hamp", &["sh", "-c", run])
}

fn an_nft_that_is_slow_or_fails_at_first_is_waited_for() -> Result<()> {
    let lab = common::lab()?;
    let one = lab.host("one");
    one.sh("mkdir -p /tmp/bin")?;
    configure(one, MEMBER)?;
    let fails = |which: &str| {
        format!(
            "[ \"$1\" != {which} ] || [ -e /tmp/once ] || \
             {{ touch /tmp/once; echo Resource temporarily unavailable >&2; exit 1; }}"
        )
    };
    let slow = "[ \"$1\" != -i ] || sleep 4".to_owned();
    for first in [slow, fails("-i"), fails("list")] {
        let daemon = with_nft(one, &first)?;
        common::ready(one, &daemon)?;
        common::serving(one, 2)?;
        ensure!(daemon.terminate(LIMIT)?.success(), "{first}");
    }
    let daemon = with_nft(one, "echo out of order >&2; exit 1")?;
    wait::until_ok("it gives up", LIMIT, || {
        ensure!(daemon.exited().is_some());
        Ok(())
    })?;
    let told = one.read(daemon.log())?;
    ensure!(
        told.contains("nft list tables fails: out of order") && !told.contains("CONFIG_NF_TABLES"),
        "{told}"
    );
    Ok(())
}
