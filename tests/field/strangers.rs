//! Neighbours that do not take part: who probes for the shared address, who takes it, and what
//! another tool has left of it on a member's own interface.

use anyhow::{Result, ensure};
use testbed::harness::Test;
use testbed::{Host, Lab, wait};

use crate::common::{LIMIT, report};
use crate::support::{lab, log, pings};

pub(crate) const TESTS: &[Test] = &[
    (
        "who_looks_for_a_free_address_finds_it_in_use",
        who_looks_for_a_free_address_finds_it_in_use,
    ),
    (
        "who_takes_the_address_is_named_and_met",
        who_takes_the_address_is_named_and_met,
    ),
    (
        "an_address_that_another_tool_left_is_named_and_harmless",
        an_address_that_another_tool_left_is_named_and_harmless,
    ),
];

const A4: &str = "198.18.0.1";
const A6: &str = "2001:2:0:1546::1";

/// Two members, of which `a` is the better one, a client, a stock host, and a stranger.
fn link() -> Result<Lab> {
    let mut text = String::from("[switch.lan]\n");
    for (host, number, hamp) in [
        ("a", 1, "member"),
        ("b", 2, "member"),
        ("c", 9, "client"),
        ("d", 10, ""),
        ("e", 11, ""),
    ] {
        text += &format!(
            "[host.{host}]\nlinks = [{{ to = \"lan\", addresses = \
             [\"10.15.46.{number}/24\", \"fd15:46::{number}/64\"] }}]\n"
        );
        if hamp.is_empty() {
            text += "routes = [{ to = \"198.18.0.0/16\", via = \"eth0\" }, \
                     { to = \"2001:2:0:1546::/112\", via = \"eth0\" }]\n";
            continue;
        }
        text += &format!("[host.{host}.hamp.node]\nhello_ms = 100\n[host.{host}.hamp.{hamp}]\n");
        if hamp == "member" {
            let preference = 300 - number;
            text += &format!("addresses = [\"{A4}\", \"{A6}\"]\npreference = {preference}\n");
        }
    }
    let lab = lab(&text)?;
    for host in ["a", "b", "c"] {
        wait::until_ok("the members are known", LIMIT, || {
            let members = report(lab.host(host), &["members"])?;
            let ranks = &members["links"][0]["prefixes"][1]["ranks"];
            ensure!(
                ranks.as_array().is_some_and(|all| all.len() == 2),
                "{members:#}"
            );
            Ok(())
        })?;
    }
    Ok(lab)
}

fn mac(host: &Host) -> Result<String> {
    Ok(testbed::lab::mac_text(host.interface("eth0")?.mac))
}

/// Where a host's kernel has an address.
fn entry(host: &Host, address: &str) -> Result<String> {
    let told = host.sh(&format!("ip neigh show to {address} dev eth0"))?;
    let mut words = told.split_whitespace().skip_while(|word| *word != "lladdr");
    Ok(words.nth(1).unwrap_or_default().to_owned())
}

/// The troubles of a kind that a host lists.
fn troubles(host: &Host, kind: &str) -> Result<Vec<serde_json::Value>> {
    let status = report(host, &["status"])?;
    let all = status["troubles"].as_array().cloned().unwrap_or_default();
    Ok(all.into_iter().filter(|t| t["kind"] == kind).collect())
}

fn who_looks_for_a_free_address_finds_it_in_use() -> Result<()> {
    let lab = link()?;
    let stranger = lab.host("e");
    // What a DHCP client asks (RFC 5227 §2.1.1), with the tool that scripts use for it.
    let asked = stranger.run(&["arping", "-D", "-c2", "-w2", "-I", "eth0", A4])?;
    ensure!(asked.status.code() == Some(1), "{asked:?}");
    // What the kernel asks (RFC 4862 §5.4).
    stranger.sh(&format!("ip address add {A6}/128 dev eth0"))?;
    wait::until_ok("duplicate address detection fails", LIMIT, || {
        let told = stranger.sh(&format!("ip -6 address show dev eth0 to {A6}"))?;
        ensure!(told.contains("dadfailed"), "{told}");
        Ok(())
    })?;
    stranger.sh(&format!("ip address del {A6}/128 dev eth0"))?;
    // What a DHCP server asks.
    for address in [A4, A6] {
        ensure!(pings(stranger, address, 1)? == 1, "{address}");
    }
    // One answers each, and no cache is told otherwise.
    stranger.write("/tmp/probe.py", PROBE)?;
    let told = stranger.sh("PATH=$PATH:/usr/bin python3 /tmp/probe.py 2>&1")?;
    let one = mac(lab.host("a"))?;
    ensure!(
        told.trim() == format!("arp {one} na {one} to all, override 0 solicited 0"),
        "{told}"
    );
    // It has not claimed anything.
    for host in ["a", "b", "c"] {
        let claims = troubles(lab.host(host), "foreign_claim")?;
        ensure!(claims.is_empty(), "{host}: {claims:#?}");
    }
    Ok(())
}

/// Probes of both families, and who answers them within half a second.
const PROBE: &str = r#"
from scapy.all import *
import time
# Nobody has counted requests of this one.
A4, A6, me = "198.18.0.1", "2001:2:0:1546::1", "02:00:00:00:00:77"
sniffer = AsyncSniffer(iface="eth0", lfilter=lambda p: p.src != me and (
    (ARP in p and p[ARP].psrc == A4) or (ICMPv6ND_NA in p and p[ICMPv6ND_NA].tgt == A6)))
sniffer.start(); time.sleep(0.3)
sendp(Ether(dst="ff:ff:ff:ff:ff:ff", src=me)/ARP(op=1, hwsrc=me, psrc="0.0.0.0", pdst=A4), iface="eth0", verbose=0)
time.sleep(0.3)
group = "ff02::1:ff00:1"
sendp(Ether(dst="33:33:ff:00:00:01", src=me)/IPv6(src="::", dst=group, hlim=255)/ICMPv6ND_NS(tgt=A6), iface="eth0", verbose=0)
time.sleep(0.5)
said = []
for p in sniffer.stop():
    if ARP in p:
        said.append("arp " + p.src)
    else:
        na = p[ICMPv6ND_NA]
        to = "all" if p[IPv6].dst == "ff02::1" else p[IPv6].dst
        said.append("na %s to %s, override %d solicited %d" % (p.src, to, na.O, na.S))
print(" ".join(said))
"#;

fn who_takes_the_address_is_named_and_met() -> Result<()> {
    let lab = link()?;
    let (owner, stock, stranger) = (lab.host("a"), lab.host("d"), lab.host("e"));
    let (right, wrong) = (mac(owner)?, mac(stranger)?);
    for address in [A4, A6] {
        ensure!(pings(stock, address, 1)? == 1, "{address}");
        ensure!(entry(stock, address)? == right, "{address}");
    }
    stranger.sh(&format!(
        "ip address add {A4}/32 dev eth0; ip address add {A6}/128 dev eth0 nodad"
    ))?;
    // It says so; and it asks from there.
    stranger.sh(&format!(
        "arping -q -U -c1 -I eth0 {A4} || true; ping -q -c1 -W1 -I {A6} fd15:46::10 || true"
    ))?;
    for host in ["a", "b", "c"] {
        for address in [A4, A6] {
            wait::until_ok("it is named", LIMIT, || {
                let claims = troubles(lab.host(host), "foreign_claim")?;
                let named = |claim: &serde_json::Value| {
                    claim["mac"] == wrong && claim["address"] == address
                };
                ensure!(claims.iter().any(named), "{host}: {claims:#?}");
                Ok(())
            })?;
        }
        let log = log(lab.host(host))?;
        ensure!(log.contains(&wrong), "{host}: {log}");
    }
    let counters = report(owner, &["status"])?["counters"].clone();
    ensure!(counters["sent"]["defence"] == 2, "{counters:#}");
    let counters = report(lab.host("b"), &["status"])?["counters"].clone();
    ensure!(counters["sent"]["defence"].is_null(), "{counters:#}");
    for address in [A4, A6] {
        wait::until_ok("the stock host is back", LIMIT, || {
            let there = entry(stock, address)?;
            ensure!(there == right, "{address}: {there}");
            Ok(())
        })?;
        // Asked anew, both answer; who has the address for good is the member.
        stock.sh(&format!(
            "ip neigh del {address} dev eth0; ping -c1 -W1 {address} || true"
        ))?;
        wait::until_ok("the second answer counts", LIMIT, || {
            let there = entry(stock, address)?;
            ensure!(there == right, "{address}: {there}");
            Ok(())
        })?;
        ensure!(pings(lab.host("c"), address, 2)? == 2, "{address}");
        let there = entry(lab.host("c"), address)?;
        ensure!(there == right, "{address}: {there}");
    }
    Ok(())
}

fn an_address_that_another_tool_left_is_named_and_harmless() -> Result<()> {
    let lab = link()?;
    let (one, two, stock) = (lab.host("a"), lab.host("b"), lab.host("d"));
    // The second member has them on its link and elsewhere, from whom it may be.
    two.sh(&format!(
        "ip address add {A4}/32 dev eth0; ip address add {A6}/128 dev eth0 nodad; \
         ip link add x0 type veth peer name x1; ip link set x0 up; \
         ip address add 198.18.0.8/32 dev x0; ip address add 198.18.0.9/32 dev lo"
    ))?;
    //= docs/spec/link.md#what-a-member-s-kernel-holds
    //= type=test
    //# An address of the class that another tool has put on an interface of the host MUST be told to
    //# people with the interface's name.
    for (address, interface, kind) in [
        (A4, "eth0", "stray_address"),
        (A6, "eth0", "stray_source"),
        ("198.18.0.8", "x0", "stray_source"),
        // On lo it is taken for the host's own, as a router's identity is.
        ("198.18.0.9", "lo", "own_in_class"),
    ] {
        wait::until_ok("it is named", LIMIT, || {
            let strays = troubles(two, kind)?;
            let named = |stray: &serde_json::Value| {
                stray["address"] == address && stray["interface"] == interface
            };
            ensure!(strays.iter().any(named), "{strays:#?}");
            Ok(())
        })?;
    }
    // The tool speaks up, as they do.
    two.sh(&format!("arping -q -U -c1 -I eth0 {A4} || true"))?;
    let asks = |address: &str| -> Result<String> {
        stock.sh(&format!(
            "ip neigh del {address} dev eth0 2>/dev/null || true"
        ))?;
        ensure!(pings(stock, address, 1)? == 1, "{address}");
        entry(stock, address)
    };
    for address in [A4, A6] {
        let there = asks(address)?;
        ensure!(there == mac(one)?, "{address}: {there}");
    }
    for host in ["a", "b", "c"] {
        let claims = troubles(lab.host(host), "foreign_claim")?;
        ensure!(claims.is_empty(), "{host}: {claims:#?}");
    }
    // It leaves, and its kernel has them still.
    for address in [A4, A6] {
        two.run(&["hamp", "leave", address])?.ok()?;
    }
    for address in [A4, A6] {
        let there = asks(address)?;
        ensure!(there == mac(one)?, "{address}: {there}");
        ensure!(pings(lab.host("c"), address, 2)? == 2, "{address}");
    }
    two.sh(&format!(
        "ip address del {A4}/32 dev eth0; ip link del x0; \
         ip address del 198.18.0.9/32 dev lo"
    ))?;
    wait::until_ok("what is gone is not listed", LIMIT, || {
        let strays = [
            troubles(two, "stray_address")?,
            troubles(two, "stray_source")?,
        ]
        .concat();
        ensure!(strays.len() == 1, "{strays:#?}");
        Ok(())
    })
}
