//! Hosts whose link-layer address changes, and a link that neighbours cannot be asked for on.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use testbed::harness::Test;
use testbed::{Host, Lab, wait};

use crate::common::{LIMIT, report};
use crate::support::{lab, pings};

pub(crate) const TESTS: &[Test] = &[
    (
        "who_asks_from_another_link_layer_address_is_answered_there",
        who_asks_from_another_link_layer_address_is_answered_there,
    ),
    (
        "without_a_link_local_address_another_member_serves_ipv6",
        without_a_link_local_address_another_member_serves_ipv6,
    ),
];

const A4: &str = "198.18.0.1";
const A6: &str = "2001:2:0:1546::1";

/// Two members, of which `a` is the better one, a client and a stock host.
fn link() -> Result<Lab> {
    let mut text = String::from("[switch.lan]\n");
    for (host, number, hamp) in [
        ("a", 1, "member"),
        ("b", 2, "member"),
        ("c", 9, "client"),
        ("d", 10, ""),
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
        wait::until_ok("the members are known", LIMIT, || ranked(lab.host(host), 2))?;
    }
    Ok(lab)
}

/// So many members serve the second prefix, which is the IPv6 one.
fn ranked(host: &Host, count: usize) -> Result<()> {
    let members = report(host, &["members"])?;
    let ranks = &members["links"][0]["prefixes"][1]["ranks"];
    let all = ranks.as_array().is_some_and(|all| all.len() == count);
    ensure!(all, "{members:#}");
    Ok(())
}

fn entry(host: &Host, address: &str) -> Result<String> {
    host.sh(&format!("ip neigh show to {address} dev eth0"))
}

fn who_asks_from_another_link_layer_address_is_answered_there() -> Result<()> {
    //= docs/spec/link.md#answers
    //= type=test
    //# A member that answers a request MUST correct its kernel's neighbour entry for the asker, if
    //# there is one with another link-layer address, and MUST NOT make one.
    let lab = link()?;
    for (at, host) in ["d", "c"].into_iter().enumerate() {
        for (family, address) in [A4, A6].into_iter().enumerate() {
            let host = lab.host(host);
            ensure!(pings(host, address, 1)? == 1, "{address}");
            let mac = format!("02:99:00:00:0{at}:0{family}");
            host.sh(&format!("ip link set eth0 address {mac}"))?;
            let since = Instant::now();
            wait::until_ok("it is answered", LIMIT, || {
                ensure!(pings(host, address, 1)? == 1, "{address}");
                Ok(())
            })?;
            let lasted = since.elapsed();
            ensure!(lasted < Duration::from_secs(5), "{address}: {lasted:?}");
        }
    }
    // Of a host that the kernel knows nothing of, it learns nothing; of one that is set, neither.
    let (one, stock) = (lab.host("a"), lab.host("d"));
    one.sh("ip neigh flush dev eth0")?;
    one.sh("ip neigh replace 10.15.46.77 lladdr 02:00:00:00:00:77 nud permanent dev eth0")?;
    stock.write("/tmp/ask.py", ASK)?;
    stock.sh("PATH=$PATH:/usr/bin python3 /tmp/ask.py 2>&1")?;
    let pinned = entry(one, "10.15.46.77")?;
    ensure!(pinned.contains("02:00:00:00:00:77 PERMANENT"), "{pinned}");
    let strange = entry(one, "10.15.46.78")?;
    ensure!(strange.is_empty(), "{strange}");
    Ok(())
}

/// Asks for the address as two other hosts; the answers are there when it ends.
const ASK: &str = r#"
from scapy.all import *
for last in (77, 78):
    me = "02:00:00:00:01:%d" % last
    ask = Ether(dst="ff:ff:ff:ff:ff:ff", src=me)/ARP(op=1, hwsrc=me, psrc="10.15.46.%d" % last, pdst="198.18.0.1")
    srp1(ask, iface="eth0", timeout=1, verbose=0, promisc=True)
"#;

fn without_a_link_local_address_another_member_serves_ipv6() -> Result<()> {
    //= docs/spec/link.md#ranks
    //= type=test
    //# A host MUST NOT state an IPv6 address on an Ethernet link that it has no link-local address
    //# on: it could not ask there for whom it answers (RFC 4291 §2.8).
    let lab = link()?;
    let (one, stock) = (lab.host("a"), lab.host("d"));
    let near = one.sh("ip -6 -br addr show dev eth0 scope link | grep -oE 'fe80[^ ]*'")?;
    let near = near.trim();
    one.sh(&format!(
        "ip -6 addr del {near} dev eth0; ip -6 neigh flush dev eth0"
    ))?;
    for host in ["b", "c"] {
        wait::until_ok("one is left", LIMIT, || ranked(lab.host(host), 1))?;
    }
    for host in [stock, lab.host("c")] {
        wait::until_ok("the other one answers", LIMIT, || {
            ensure!(pings(host, A6, 1)? == 1 && pings(host, A4, 1)? == 1);
            Ok(())
        })?;
    }
    let troubles = || -> Result<bool> {
        let status = report(one, &["status"])?;
        let all = status["troubles"].as_array().cloned().unwrap_or_default();
        Ok(all.iter().any(|t| t["kind"] == "no_link_local"))
    };
    wait::until_ok("it is told", LIMIT, || {
        ensure!(troubles()?);
        Ok(())
    })?;
    one.sh(&format!("ip -6 addr add {near} dev eth0 nodad"))?;
    wait::until_ok("both are there", LIMIT, || ranked(lab.host("b"), 2))?;
    ensure!(!troubles()?);
    Ok(())
}
