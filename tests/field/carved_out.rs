//! Anycast addresses that are carved out of a link's own subnet, and those of 240.0.0.0/4: for a
//! member, a client and a stock host, by UDP, ping and TCP, on the link and behind its router.

use anyhow::{Result, ensure};
use testbed::wait;

use crate::common::LIMIT;
use crate::support::{dns, http, lab, pings};

pub(crate) const TESTS: &[testbed::harness::Test] = &[
    (
        "carved_out::addresses_inside_the_subnet_are_reached_by_every_kind_of_host",
        addresses_inside_the_subnet_are_reached_by_every_kind_of_host,
    ),
    (
        "carved_out::what_is_not_limited_broadcast_of_the_reserved_block_is_anycast",
        what_is_not_limited_broadcast_of_the_reserved_block_is_anycast,
    ),
];

/// The router of the subnet has never heard of hamp: it delivers on its link.
const SUBNET: &str = r#"
[switch.lan]
[switch.out]
[router.gw]
links = [{ to = "lan", addresses = ["10.15.46.254/24", "fd15:46::fe/64"] },
         { to = "out", addresses = ["10.15.47.254/24", "fd15:47::fe/64"] }]
[host.a]
links = [{ to = "lan", addresses = ["10.15.46.1/24", "fd15:46::1/64"] }]
routes = [{ to = "default", via = "10.15.46.254" }, { to = "::/0", via = "fd15:46::fe" }]
programs = { who = "hamp-lab who" }
[host.a.hamp]
node = { hello_ms = 100 }
class = { ipv4 = ["10.15.46.100/32", "10.15.46.96/30"], ipv6 = ["fd15:46::a:0/112"] }
member = { addresses = ["10.15.46.100", "10.15.46.97", "fd15:46::a:1"] }
[host.c]
links = [{ to = "lan", addresses = ["10.15.46.9/24", "fd15:46::9/64"] }]
routes = [{ to = "default", via = "10.15.46.254" }, { to = "::/0", via = "fd15:46::fe" }]
[host.c.hamp]
node = { hello_ms = 100 }
class = { ipv4 = ["10.15.46.100/32", "10.15.46.96/30"], ipv6 = ["fd15:46::a:0/112"] }
client = {}
[host.d]
links = [{ to = "lan", addresses = ["10.15.46.10/24", "fd15:46::10/64"] }]
[host.far]
links = [{ to = "out", addresses = ["10.15.47.1/24", "fd15:47::1/64"] }]
routes = [{ to = "default", via = "10.15.47.254" }, { to = "::/0", via = "fd15:47::fe" }]
"#;

fn addresses_inside_the_subnet_are_reached_by_every_kind_of_host() -> Result<()> {
    let lab = lab(SUBNET)?;
    for name in ["c", "d", "far", "a"] {
        let host = lab.host(name);
        for address in ["10.15.46.100", "10.15.46.97", "fd15:46::a:1"] {
            wait::until_ok(&format!("{name} reaches {address}"), LIMIT, || {
                ensure!(pings(host, address, 1)? == 1, "no answer to a ping");
                let told = dns(host, address)?;
                ensure!(told == "a", "by UDP: {told}");
                let told = http(host, address)?;
                ensure!(told == "a", "by TCP: {told}");
                Ok(())
            })?;
        }
        let (near, far) = ("10.15.46.254", "10.15.46.1");
        ensure!(pings(host, near, 1)? == 1, "{name} reaches {near} as ever");
        ensure!(pings(host, far, 1)? == 1, "{name} reaches {far} as ever");
    }
    Ok(())
}

const RESERVED: &str = r#"
[switch.lan]
[host.a]
links = [{ to = "lan", addresses = ["10.15.46.1/24"] }]
programs = { who = "hamp-lab who" }
[host.a.hamp]
node = { hello_ms = 100 }
class = { ipv4 = ["240.0.0.0/4"], ipv6 = [] }
member = { addresses = ["240.0.0.1", "250.1.2.3", "255.255.255.254"] }
[host.c]
links = [{ to = "lan", addresses = ["10.15.46.9/24"] }]
[host.c.hamp]
node = { hello_ms = 100 }
class = { ipv4 = ["240.0.0.0/4"], ipv6 = [] }
client = {}
[host.d]
links = [{ to = "lan", addresses = ["10.15.46.10/24"] }]
routes = [{ to = "240.0.0.0/4", via = "eth0" }]
"#;

fn what_is_not_limited_broadcast_of_the_reserved_block_is_anycast() -> Result<()> {
    let lab = lab(RESERVED)?;
    for name in ["c", "d"] {
        let host = lab.host(name);
        for address in ["240.0.0.1", "250.1.2.3", "255.255.255.254"] {
            wait::until_ok(&format!("{name} reaches {address}"), LIMIT, || {
                ensure!(pings(host, address, 1)? == 1, "no answer to a ping");
                let told = http(host, address)?;
                ensure!(told == "a", "by TCP: {told}");
                Ok(())
            })?;
        }
    }
    let joined = lab.host("a").run(&["hamp", "join", "255.255.255.255"])?;
    ensure!(!joined.status.success(), "{joined:?}");
    Ok(())
}
