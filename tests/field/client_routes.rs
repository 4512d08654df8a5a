//! Where a client or member sends what it has for the class: to the link where it is served, and where
//! nobody serves it, where its other routes lead.

use anyhow::{Result, ensure};
use testbed::harness::Test;
use testbed::{Host, wait};

use crate::common::{LIMIT, report};
use crate::support::{answers, lab};

pub(crate) const TESTS: &[Test] = &[
    (
        "a_clients_default_route_leads_to_what_nobody_on_its_link_serves",
        a_clients_default_route_leads_to_what_nobody_on_its_link_serves,
    ),
    (
        "an_address_is_reached_on_the_link_that_serves_it",
        an_address_is_reached_on_the_link_that_serves_it,
    ),
    (
        "a_client_in_several_subnets_asks_from_the_members",
        a_client_in_several_subnets_asks_from_the_members,
    ),
    (
        "a_member_answers_an_anycast_source",
        a_member_answers_an_anycast_source,
    ),
    (
        "a_router_that_is_a_client_discards_in_silence",
        a_router_that_is_a_client_discards_in_silence,
    ),
];

/// Waits until a ping is answered.
fn reaches(host: &Host, address: &str) -> Result<()> {
    wait::until_ok("an answer", LIMIT, || {
        ensure!(
            answers(host, address)?,
            "{address}: {}",
            host.sh("ip rule; ip route show table all; ip -6 route show table all; ip neigh")?
        );
        Ok(())
    })
}

/// Waits until the kernel would send to `address` like this.
fn sends(host: &Host, address: &str, how: &str) -> Result<()> {
    wait::until_ok("a route", LIMIT, || {
        let way = host.sh(&format!("ip route get {address} || true"))?;
        ensure!(way.contains(how), "{address}: {way}");
        Ok(())
    })
}

//= docs/spec/link.md#a-client-s-entries
//= type=test
//# Packets to an address that nobody on the host's links serves MUST follow the host's other routes,
//# unless a router of the link is heard.
fn a_clients_default_route_leads_to_what_nobody_on_its_link_serves() -> Result<()> {
    let lab = lab(r#"
        [switch.lan]
        [switch.far]
        [router.r]
        links = [{ to = "lan", addresses = ["10.15.46.254/24", "fd15:46::fe/64"] },
                 { to = "far", addresses = ["10.9.9.254/24", "fd09::fe/64"] }]
        routes = [{ to = "198.18.0.7/32", via = "10.9.9.9" }, { to = "2001:2:0:1546::7/128", via = "fd09::9" }]
        [host.c]
        links = [{ to = "lan", addresses = ["10.15.46.9/24", "fd15:46::9/64"] }]
        routes = [{ to = "default", via = "10.15.46.254" }, { to = "default", via = "fd15:46::fe" }]
        [host.c.hamp.node]
        hello_ms = 100
        [host.c.hamp.client]
        [host.b]
        links = [{ to = "lan", addresses = ["10.15.46.2/24", "fd15:46::2/64"] }]
        routes = [{ to = "default", via = "10.15.46.254" }, { to = "default", via = "fd15:46::fe" }]
        [host.b.hamp.node]
        hello_ms = 100
        [host.b.hamp.member]
        addresses = ["198.18.0.2", "2001:2:0:1546::2"]
        [host.f]
        links = [{ to = "far", addresses = ["10.9.9.9/24", "fd09::9/64"] }]
        routes = [{ to = "default", via = "10.9.9.254" }, { to = "default", via = "fd09::fe" }]
        [host.f.hamp.node]
        hello_ms = 100
        [host.f.hamp.member]
        addresses = ["198.18.0.7", "2001:2:0:1546::7"]
    "#)?;
    let c = lab.host("c");
    for (near, far) in [
        ("198.18.0.2", "198.18.0.7"),
        ("2001:2:0:1546::2", "2001:2:0:1546::7"),
    ] {
        reaches(c, near)?;
        sends(c, near, "dev eth0 table 1546")?;
        reaches(c, far)?;
        sends(c, far, "via ")?;
        // A member too: its answers to an anycast source, and what its programs ask for.
        reaches(lab.host("b"), far)?;
    }
    Ok(())
}

//= docs/spec/link.md#a-client-s-entries
//= type=test
//# A host's own packets to an address MUST go to a link on which members serve it, whatever other
//# routes the host has.
fn an_address_is_reached_on_the_link_that_serves_it() -> Result<()> {
    let lab = lab(r#"
        [switch.left]
        [switch.right]
        [host.c]
        links = [{ to = "left", addresses = ["10.15.46.9/24", "fd15:46::9/64"] },
                 { to = "right", addresses = ["10.15.47.9/24", "fd15:47::9/64"] }]
        [host.c.hamp.node]
        interfaces = ["eth0", "eth1"]
        hello_ms = 100
        [host.c.hamp.client]
        [host.l]
        links = [{ to = "left", addresses = ["10.15.46.1/24", "fd15:46::1/64"] }]
        [host.l.hamp.node]
        hello_ms = 100
        [host.l.hamp.member]
        addresses = ["198.18.0.1", "2001:2:0:1546::1"]
        [host.r]
        links = [{ to = "right", addresses = ["10.15.47.2/24", "fd15:47::2/64"] }]
        [host.r.hamp.node]
        hello_ms = 100
        [host.r.hamp.member]
        addresses = ["198.18.0.2", "2001:2:0:1546::2", "198.18.7.0/24", "2001:2:0:1546::700/120"]
    "#)?;
    let (c, l, r) = (lab.host("c"), lab.host("l"), lab.host("r"));
    for (address, link) in [
        ("198.18.0.1", "eth0"),
        ("2001:2:0:1546::1", "eth0"),
        ("198.18.0.2", "eth1"),
        ("2001:2:0:1546::2", "eth1"),
        ("198.18.7.9", "eth1"),
        ("2001:2:0:1546::709", "eth1"),
    ] {
        sends(c, address, &format!("dev {link} table 1546"))?;
        reaches(c, address)?;
    }
    // Served on both links, it is the first link's; then on the other one alone.
    for address in ["198.18.0.2", "2001:2:0:1546::2"] {
        report(l, &["join", address])?;
        sends(c, address, "dev eth0 table 1546")?;
        reaches(c, address)?;
        report(r, &["leave", address, "--force"])?;
        reaches(c, address)?;
        report(r, &["join", address])?;
        report(l, &["leave", address, "--force"])?;
        sends(c, address, "dev eth1 table 1546")?;
        reaches(c, address)?;
    }
    // A link that goes takes its routes along, and brings them back.
    c.sh("ip link set eth1 down")?;
    sends(c, "198.18.0.2", "dev eth0 table 1547")?;
    c.sh("ip link set eth1 up; ip -6 address replace fd15:47::9/64 dev eth1 nodad")?;
    for address in ["198.18.0.2", "2001:2:0:1546::2"] {
        sends(c, address, "dev eth1 table 1546")?;
        reaches(c, address)?;
    }
    Ok(())
}

fn a_client_in_several_subnets_asks_from_the_members() -> Result<()> {
    let lab = lab(r#"
        [switch.lan]
        [host.c]
        links = [{ to = "lan", addresses = ["10.1.0.9/24", "10.2.0.9/24", "fd01::9/64", "fd02::9/64"] }]
        [host.c.hamp.node]
        hello_ms = 100
        [host.c.hamp.client]
        [host.one]
        links = [{ to = "lan", addresses = ["10.1.0.1/24", "fd01::1/64"] }]
        [host.one.hamp.node]
        hello_ms = 100
        [host.one.hamp.member]
        addresses = ["198.18.0.1", "2001:2:0:1546::1"]
        [host.two]
        links = [{ to = "lan", addresses = ["10.2.0.2/24", "fd02::2/64"] }]
        [host.two.hamp.node]
        hello_ms = 100
        [host.two.hamp.member]
        addresses = ["198.18.0.2", "2001:2:0:1546::2"]
    "#)?;
    let c = lab.host("c");
    for (address, source) in [
        ("198.18.0.1", "src 10.1.0.9"),
        ("198.18.0.2", "src 10.2.0.9"),
        ("2001:2:0:1546::1", "src fd01::9"),
        ("2001:2:0:1546::2", "src fd02::9"),
    ] {
        sends(c, address, source)?;
        reaches(c, address)?;
    }
    // The subnet goes; the route stays, and packets leave from what is left.
    c.sh("ip address del 10.2.0.9/24 dev eth0")?;
    sends(c, "198.18.0.2", "table 1546 src 10.1.0.9")?;
    c.sh("ip address add 10.2.0.9/24 dev eth0")?;
    sends(c, "198.18.0.2", "src 10.2.0.9")?;
    reaches(c, "198.18.0.2")
}

fn a_member_answers_an_anycast_source() -> Result<()> {
    let lab = lab(r#"
        [switch.lan]
        [host.one]
        links = [{ to = "lan", addresses = ["10.1.0.1/24", "fd01::1/64"] }]
        [host.one.hamp.node]
        hello_ms = 100
        [host.one.hamp.member]
        addresses = ["198.18.0.1", "2001:2:0:1546::1"]
        [host.two]
        links = [{ to = "lan", addresses = ["10.1.0.2/24", "fd01::2/64"] }]
        [host.two.hamp.node]
        hello_ms = 100
        [host.two.hamp.member]
        addresses = ["198.18.0.2", "2001:2:0:1546::2"]
    "#)?;
    let (one, two) = (lab.host("one"), lab.host("two"));
    for (from, to) in [
        ("198.18.0.2", "198.18.0.1"),
        ("2001:2:0:1546::2", "2001:2:0:1546::1"),
    ] {
        reaches(two, to)?;
        sends(one, from, "dev eth0 table 1546")?;
        wait::until_ok("an answer to an anycast source", LIMIT, || {
            two.sh(&format!("ping -c1 -W1 -I {from} {to}"))
        })?;
    }
    Ok(())
}

fn a_router_that_is_a_client_discards_in_silence() -> Result<()> {
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
        [router.r.hamp.client]
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
    for served in ["198.18.0.2", "2001:2:0:1546::2"] {
        reaches(c, served)?;
        reaches(r, served)?;
    }
    // Both at once, and longer than three questions on a link take to fail.
    let told = c.sh(
        "ping -c5 -i1 -W1 198.18.0.99 & ping -c5 -i1 -W1 2001:2:0:1546::99 >/tmp/told6 || true; wait; cat /tmp/told6",
    )?;
    ensure!(!told.contains("nreachable"), "{told}");
    ensure!(told.matches(" 0 received").count() == 2, "{told}");
    Ok(())
}
