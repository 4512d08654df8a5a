//! Whose unicast addresses count where members are verified: a certified member states another's, a
//! stranger answers a SYN or speaks for a member's own address.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testbed::harness::Test;
use testbed::{Host, Lab, Topology, wait};

use crate::common::LIMIT;
use crate::support::http;

pub(crate) const TESTS: &[Test] = &[
    (
        "a_certified_member_gets_nothing_by_anothers_address",
        a_certified_member_gets_nothing_by_anothers_address,
    ),
    (
        "a_stranger_that_answers_a_syn_first_is_not_taken",
        a_stranger_that_answers_a_syn_first_is_not_taken,
    ),
    (
        "who_speaks_for_a_members_own_address_is_not_believed",
        who_speaks_for_a_members_own_address_is_not_believed,
    ),
];

const KEYS: &str = "/run/lab/keys";
const PYTHON: &str = "/usr/bin/python3";
const A4: &str = "198.18.0.1";
const A6: &str = "2001:2:0:1546::1";
/// Addresses and link-layer address of `one`, the member.
const ONE: [&str; 3] = ["10.0.0.11", "fd00::11", "02:00:00:00:00:11"];
/// The intruder's.
const INTRUDER: [&str; 3] = ["10.0.0.66", "fd00::66", "02:00:00:00:00:66"];

/// Two members, a client, a gateway and a printer that know nothing of it, and an intruder. All
/// cables lead to a hub. `hosts`: how `one`'s certificate names its addresses.
fn trusted(mode: &str, hosts: &str) -> Result<Lab> {
    let mut text = "[switch.lan]\n".to_owned();
    for (name, number, more) in [
        ("one", "11", "programs = { who = \"hamp-lab who\" }\n"),
        ("two", "12", "programs = { who = \"hamp-lab who\" }\n"),
        (
            "near",
            "90",
            "routes = [{ to = \"default\", via = \"10.0.0.254\" }]\n",
        ),
        ("gateway", "fe", "programs = { who = \"hamp-lab who\" }\n"),
        ("printer", "50", "programs = { who = \"hamp-lab who\" }\n"),
        ("intruder", "66", "programs = { who = \"hamp-lab who\" }\n"),
    ] {
        let ipv4 = if number == "fe" { "254" } else { number };
        text += &format!(
            "[host.{name}]\nlinks = [{{ to = \"lan\", mac = \"02:00:00:00:00:{number}\", \
             addresses = [\"10.0.0.{ipv4}/24\", \"fd00::{number}/64\"] }}]\n{more}"
        );
        if ["one", "two", "near"].contains(&name) {
            text += &format!(
                "[host.{name}.hamp.node]\nhello_ms = 100\n[host.{name}.hamp.trust]\n\
                 mode = \"{mode}\"\nauthorities = [\"{KEYS}/authority.pub\"]\n"
            );
            if name == "near" {
                text += "[host.near.hamp.client]\n";
            } else {
                text +=
                    &format!("key = \"{KEYS}/{name}.key\"\ncertificate = \"{KEYS}/{name}.cert\"\n");
            }
        }
    }
    text +=
        &format!("[host.one.hamp.member]\naddresses = [\"{A4}\", \"{A6}\"]\npreference = 200\n");
    text += "[host.two.hamp.member]\naddresses = [\"198.18.0.2\", \"2001:2:0:1546::2\"]\n";
    let lab = Lab::new(&Topology::parse(&text, "net.toml")?)?;
    lab.host("lan").sh(
        "for port in $(bridge -o link | cut -d: -f2 | cut -d@ -f1); do \
         bridge link set dev $port learning off; done; bridge fdb show | grep -v permanent | \
         while read mac dev port rest; do bridge fdb del $mac dev $port master; done",
    )?;
    hand_out(&lab, hosts)?;
    lab.start()?;
    let near = lab.host("near");
    wait::until_ok("the client knows the members", LIMIT, || {
        for address in [A4, A6] {
            let said = http(near, address)?;
            ensure!(said.contains("one"), "{address}: {said}");
        }
        Ok(())
    })?;
    Ok(lab)
}

/// An authority on the gateway, and a key and a certificate for each member.
fn hand_out(lab: &Lab, hosts: &str) -> Result<()> {
    let authority = lab.host("gateway");
    let mut text = format!("mkdir -p {KEYS}; cd {KEYS}; hamp authority new authority.key\n");
    for (name, more) in [("one", hosts), ("two", "")] {
        text += &format!(
            "hamp key new {name}.key\n\
             hamp authority certify --authority authority.key --key {name}.pub {more} \
             --prefix 198.18.0.0/24 --prefix 2001:2:0:1546::/120 --days 1 --output {name}.cert\n"
        );
    }
    authority.sh(&text)?;
    for host in ["one", "two", "near"] {
        let own = format!("{host}.key {host}.cert");
        let own = if host == "near" { "" } else { &own };
        for file in own.split_whitespace().chain(["authority.pub"]) {
            let path = format!("{KEYS}/{file}");
            lab.host(host).write(&path, &authority.read(&path)?)?;
            lab.host(host).sh(&format!("chmod 600 {path}"))?;
        }
    }
    Ok(())
}

fn status(host: &Host) -> Result<Value> {
    serde_json::from_str(&host.sh("hamp status --json")?).context("status")
}

/// Waits until `host` tells people of a trouble of this kind, with an address and a link-layer one.
fn tells(host: &Host, kind: &str, address: &str, mac: &str) -> Result<()> {
    wait::until_ok("a trouble", LIMIT, || {
        let told = status(host)?["troubles"].clone();
        let all = told.as_array().context("troubles")?;
        let found = all.iter().any(|trouble| {
            trouble["kind"] == kind && trouble["address"] == address && trouble["mac"] == mac
        });
        ensure!(found, "{}: {kind} {address} {mac} in {told}", host.name());
        Ok(())
    })
}

/// Where the host's kernel sends what is for `address`.
fn entry(host: &Host, address: &str) -> Result<String> {
    host.sh(&format!("ip neigh show {address} dev eth0"))
}

/// Sends a frame to `address`, and waits until the kernel knows where it is.
fn leads(host: &Host, address: &str, mac: &str) -> Result<()> {
    wait::until_ok("an entry", LIMIT, || {
        host.sh(&format!("ping -c1 -W1 {address} >/dev/null || true"))?;
        let found = entry(host, address)?;
        ensure!(found.contains(mac), "{address}: {found}");
        Ok(())
    })
}

fn a_certified_member_gets_nothing_by_anothers_address() -> Result<()> {
    let lab = trusted("enforce", "")?;
    let (near, one, two) = (lab.host("near"), lab.host("one"), lab.host("two"));
    let mac = "02:00:00:00:00:12";
    // The gateway's: refused by what the client's routes say.
    leads(near, "10.0.0.254", "02:00:00:00:00:fe")?;
    two.sh("ip addr flush dev eth0 scope global; ip addr add 10.0.0.254/24 dev eth0")?;
    tells(near, "foreign_address", "10.0.0.254", mac)?;
    // Another member's: refused by everybody, the one whose it is included.
    for at in [0, 1] {
        let address = ONE[at];
        let length = if at == 0 { 24 } else { 64 };
        two.sh(&format!(
            "ip addr flush dev eth0 scope global; ip addr add {address}/{length} dev eth0 nodad"
        ))?;
        tells(near, "foreign_address", address, mac)?;
        tells(one, "foreign_address", address, mac)?;
        leads(near, address, ONE[2])?;
    }
    // A neighbour's, which answers for itself.
    for (address, length) in [("10.0.0.50", 24), ("fd00::50", 64)] {
        two.sh(&format!(
            "ip addr flush dev eth0 scope global; ip addr add {address}/{length} dev eth0 nodad"
        ))?;
        tells(near, "contested_address", address, "02:00:00:00:00:50")?;
        let found = entry(near, address)?;
        ensure!(
            !found.contains("REACHABLE") || !found.contains(mac),
            "{found}"
        );
        let rules = near.sh("nft list chain netdev hamp_link pins_target")?;
        ensure!(!rules.contains(address), "{rules}");
    }
    // With one of its own again it is what it was.
    two.sh("ip addr flush dev eth0 scope global; ip addr add 10.0.0.12/24 dev eth0")?;
    leads(near, "10.0.0.12", mac)?;
    wait::until_ok("the member is used again", LIMIT, || {
        let said = http(near, "198.18.0.2")?;
        ensure!(said.contains("two"), "{said}");
        Ok(())
    })
}

/// Answers every SYN to the anycast addresses, as fast as it can, with a right acknowledgement: from
/// its own address, and from the member's.
const FORGE: &str = r#"
import sys
from scapy.all import *
own = {4: "10.0.0.66", 6: "fd00::66"}
member = {4: "10.0.0.11", 6: "fd00::11"}
socket = conf.L2socket(iface="eth0")
print("listening", flush=True)
while True:
    frame = socket.recv()
    if frame is None or TCP not in frame or frame[TCP].flags & 0x12 != 2 or frame.src.endswith(":66"):
        continue
    version = 4 if IP in frame else 6
    ip = frame[IP] if version == 4 else frame[IPv6]
    if ip.dst not in ("198.18.0.1", "2001:2:0:1546::1"):
        continue
    for source in (own[version], member[version]):
        answer = (IP if version == 4 else IPv6)(src=source, dst=ip.src)
        for flags in ("SA", "RA"):
            tcp = TCP(sport=frame.dport, dport=frame.sport, flags=flags, seq=1000, ack=frame[TCP].seq + 1)
            socket.send(Ether(src="02:00:00:00:00:66", dst=frame.src) / answer / tcp)
    print("answered", version, flush=True)
"#;

fn scapy(host: &Host, script: &str) -> Result<()> {
    let look = host.sh(&format!(
        "{PYTHON} -c 'import scapy' 2>&1 && echo has || true"
    ))?;
    if !look.contains("has") {
        return Err(testbed::skip("no scapy: apt-get install python3-scapy"));
    }
    host.write("/run/lab/intrude.py", script)?;
    host.sh(&format!(
        "{PYTHON} /run/lab/intrude.py >/run/lab/intrude.log 2>&1 & echo $! >/run/lab/intrude.pid"
    ))?;
    wait::until_ok("the intruder is there", LIMIT, || {
        let said = host.read("/run/lab/intrude.log")?;
        ensure!(said.contains("listening"), "{said}");
        Ok(())
    })
}

/// What a rule's counter counts.
fn counted(host: &Host, table: &str, counter: &str) -> Result<u64> {
    let listed = host.sh(&format!("nft -j list counter {table} {counter}"))?;
    let listed: Value = serde_json::from_str(&listed)?;
    let counter = listed["nftables"].as_array().into_iter().flatten();
    let mut packets = counter.filter_map(|item| item["counter"]["packets"].as_u64());
    packets.next().context("a counter")
}

//= docs/spec/trust.md#pins
//= type=test
//# In enforce mode, a client MUST NOT take a SYN-ACK or a reset for an answer unless it comes from a
//# verified member's own address and link-layer address, from an anycast address and the link-layer
//# address of a verified member that serves it, or from the link-layer address of a verified router.
fn a_stranger_that_answers_a_syn_first_is_not_taken() -> Result<()> {
    let lab = trusted("enforce", "")?;
    let (near, one, intruder) = (lab.host("near"), lab.host("one"), lab.host("intruder"));
    scapy(intruder, FORGE)?;
    let late = |on: bool| {
        one.sh(if on {
            "nft 'add table inet late; add chain inet late in { type filter hook prerouting \
             priority -400; }; add rule inet late in tcp dport 80 tcp flags syn drop'"
        } else {
            "nft delete table inet late"
        })
    };
    for (address, mode) in [(A4, "enforce"), (A6, "enforce"), (A4, "off"), (A6, "off")] {
        near.sh(&format!("hamp trust {mode}"))?;
        let version = if address.contains(':') { 6 } else { 4 };
        intruder.sh(": >/run/lab/intrude.log")?;
        late(true)?;
        let at = if version == 6 {
            format!("[{address}]")
        } else {
            address.to_owned()
        };
        let patience = if mode == "off" { 2 } else { 9 };
        near.sh(&format!(
            "rm -f /run/lab/said; (curl -sS -m{patience} http://{at}/ >/run/lab/said.part 2>&1 || true; \
             mv /run/lab/said.part /run/lab/said) >/dev/null 2>&1 &"
        ))?;
        wait::until_ok("the intruder answers", LIMIT, || {
            let said = intruder.read("/run/lab/intrude.log")?;
            ensure!(said.contains(&format!("answered {version}")), "{said}");
            Ok(())
        })?;
        if mode == "enforce" {
            wait::until_ok("it is counted", LIMIT, || {
                let dropped = counted(near, "inet hamp_client", "unverified")?;
                ensure!(dropped >= 4 * (1 + u64::from(version == 6)), "{dropped}");
                Ok(())
            })?;
        }
        late(false)?;
        let said = wait::until_ok("curl ends", LIMIT, || near.read("/run/lab/said"))?;
        // Where nobody is verified, whoever answers first is taken.
        ensure!(
            said.contains("one") == (mode == "enforce"),
            "{mode} {address}: {said}"
        );
    }
    intruder.sh("kill $(cat /run/lab/intrude.pid)").map(drop)
}

/// Says by every kind of ARP and neighbour discovery that the member's own addresses are its own,
/// ten times a second.
const SPOOF: &str = r#"
import time
from scapy.all import *
mac, near = "02:00:00:00:00:66", "02:00:00:00:00:90"
every, nodes = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"
def arp(to, **fields):
    return Ether(src=mac, dst=to) / ARP(hwsrc=mac, psrc="10.0.0.11", **fields)
def tagged(*tags):
    frame = Ether(src=mac, dst=near)
    for tag in tags:
        frame = frame / tag(vlan=0)
    return frame / ARP(op=2, hwsrc=mac, psrc="10.0.0.11", hwdst=near, pdst="10.0.0.90")
def nd(source, to, message, option):
    return Ether(src=mac, dst=nodes if to == "ff02::1" else near) / IPv6(src=source, dst=to, hlim=255) \
        / message / option(lladdr=mac)
U, C = "fd00::11", "fd00::90"
target, own = ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr
frames = [
    arp(every, op=1, pdst="10.0.0.11"),
    arp(every, op=2, pdst="10.0.0.11"),
    arp(near, op=2, hwdst=near, pdst="10.0.0.90"),
    arp(every, op=1, pdst="10.0.0.90"),
    arp(near, op=2, hwtype=6, hwdst=near, pdst="10.0.0.90"),
    tagged(Dot1Q),
    tagged(Dot1AD),
    tagged(Dot1Q, Dot1Q),
    nd("fd00::66", "ff02::1", ICMPv6ND_NA(tgt=U, R=0, S=0, O=1), target),
    nd(U, C, ICMPv6ND_NA(tgt=U, R=0, S=1, O=1), target),
    nd("fe80::66", C, ICMPv6ND_NA(tgt=U, R=1, S=1, O=1), target),
    nd(U, C, ICMPv6ND_NS(tgt=C), own),
    nd(U, "ff02::1", ICMPv6ND_RA(routerlifetime=0), own),
    nd(U, C, ICMPv6ND_RS(), own),
    nd("fe80::66", C, ICMPv6ND_Redirect(tgt=U, dst=U), target),
]
socket = conf.L2socket(iface="eth0")
print("listening", flush=True)
for _ in range(600):
    for frame in frames:
        socket.send(frame)
    time.sleep(0.1)
"#;

//= docs/spec/trust.md#pins
//= type=test
//# In enforce mode, a host MUST resolve the own addresses of verified members and routers to the
//# link-layer addresses that they state, as long as they live, and MUST NOT believe anybody else's
//# ARP or neighbour discovery for them.
fn who_speaks_for_a_members_own_address_is_not_believed() -> Result<()> {
    let lab = trusted("enforce", "--host 10.0.0.11 --host fd00::11")?;
    let (near, one, intruder) = (lab.host("near"), lab.host("one"), lab.host("intruder"));
    // It reads what comes its way.
    intruder.sh(&format!(
        "sysctl -qw net.ipv4.conf.all.arp_ignore=1; ip addr add {}/32 dev lo; \
         ip addr add {}/128 dev lo nodad",
        ONE[0], ONE[1]
    ))?;
    scapy(intruder, SPOOF)?;
    wait::until_ok("it is hidden", LIMIT, || {
        let hidden = counted(near, "netdev hamp_link", "false_claim")?;
        ensure!(hidden >= 40, "{hidden}");
        Ok(())
    })?;
    for _ in 0..2 {
        // Also when the kernel has forgotten everything.
        for flush in [true, false] {
            if flush {
                near.sh("ip neigh flush dev eth0; ip -6 neigh flush dev eth0")?;
            }
            for (at, anycast) in [(0, A4), (1, A6)] {
                for address in [anycast, ONE[at]] {
                    let said = http(near, address)?;
                    ensure!(said.contains("one"), "{address}: {said}");
                }
                let found = entry(near, ONE[at])?;
                ensure!(
                    found.contains(ONE[2]) && !found.contains("PERMANENT"),
                    "{found}"
                );
            }
        }
    }
    tells(near, "contested_address", ONE[0], INTRUDER[2])?;
    tells(near, "contested_address", ONE[1], INTRUDER[2])?;
    // Another link-layer address, signed, is followed at once.
    let next = "02:00:00:00:00:1b";
    one.sh(&format!("ip link set eth0 address {next}"))?;
    for address in [ONE[0], ONE[1]] {
        wait::until_ok("the entry follows", LIMIT, || {
            let found = entry(near, address)?;
            ensure!(found.contains(next), "{found}");
            Ok(())
        })?;
    }
    // Where nobody is verified the intruder has it.
    near.sh("hamp trust off")?;
    for address in [ONE[0], ONE[1]] {
        wait::until_ok("the intruder is believed", LIMIT, || {
            near.sh(&format!("ping -c1 -W1 {address} >/dev/null || true"))?;
            let found = entry(near, address)?;
            ensure!(found.contains(INTRUDER[2]), "{found}");
            Ok(())
        })?;
    }
    near.sh("hamp trust enforce")?;
    for address in [ONE[0], ONE[1]] {
        wait::until_ok("the entry is put right", LIMIT, || {
            let found = entry(near, address)?;
            ensure!(found.contains(next), "{found}");
            Ok(())
        })?;
    }
    // A daemon that is killed leaves nothing that others would not believe for long.
    lab.kill("near")?;
    wait::until_ok("its leases end", LIMIT, || {
        let pinned = near.sh("nft list set netdev hamp_link pinned")?;
        let strict = near.sh("nft list set inet hamp_client strict")?;
        ensure!(
            !pinned.contains("elements") && !strict.contains("elements"),
            "{pinned}{strict}"
        );
        Ok(())
    })?;
    let permanent = near.sh("ip neigh show nud permanent")?;
    ensure!(permanent.trim().is_empty(), "{permanent}");
    intruder.sh("kill $(cat /run/lab/intrude.pid)").map(drop)
}
