//! TCP to a member from clients with hamp and without, served by programs as they come.

use anyhow::{Context, Result, ensure};
use testbed::harness::{Test, skip};
use testbed::{Host, Lab, Process, wait};

use crate::common::{LIMIT, report, start};
use crate::support::{http, lab};

pub(crate) const TESTS: &[Test] = &[
    (
        "every_client_connects_as_it_can_and_as_the_member_is_told",
        every_client_connects_as_it_can_and_as_the_member_is_told,
    ),
    (
        "services_bound_to_anycast_addresses_share_a_port",
        services_bound_to_anycast_addresses_share_a_port,
    ),
    (
        "a_plain_connection_survives_its_members_daemon",
        a_plain_connection_survives_its_members_daemon,
    ),
    (
        "a_syn_is_answered_from_an_address_that_the_client_can_reach",
        a_syn_is_answered_from_an_address_that_the_client_can_reach,
    ),
];

const SERVED: [&str; 2] = ["198.18.0.1", "2001:2:0:1546::1"];
const OWN: [&str; 2] = ["10.15.46.1", "fd15:46::1"];

/// A member, a client, a stock host on their link, and one behind a router.
const LINK: &str = r#"
    [switch.lan]
    [switch.out]
    [router.r]
    links = [{ to = "lan", addresses = ["10.15.46.254/24", "fd15:46::fe/64"] },
             { to = "out", addresses = ["10.9.9.254/24", "fd09::fe/64"] }]
    [router.r.hamp.node]
    interfaces = ["eth0"]
    hello_ms = 100
    [router.r.hamp.router]
    [host.m]
    links = [{ to = "lan", addresses = ["10.15.46.1/24", "fd15:46::1/64"] }]
    routes = [{ to = "default", via = "10.15.46.254" }, { to = "default", via = "fd15:46::fe" }]
    [host.c]
    links = [{ to = "lan", addresses = ["10.15.46.3/24", "fd15:46::3/64"] }]
    [host.c.hamp.node]
    hello_ms = 100
    [host.c.hamp.client]
    [host.s]
    links = [{ to = "lan", addresses = ["10.15.46.4/24", "fd15:46::4/64"] }]
    [host.far]
    links = [{ to = "out", addresses = ["10.9.9.9/24", "fd09::9/64"] }]
    routes = [{ to = "default", via = "10.9.9.254" }, { to = "default", via = "fd09::fe" }]
"#;

/// The hosts of [`LINK`]; a host without hamp knows where the class is.
fn link() -> Result<Lab> {
    let lab = lab(LINK)?;
    let routes = "ip route add 198.18.0.0/16 dev eth0; ip route add 2001:2:0:1546::/112 dev eth0";
    lab.host("s").sh(routes)?;
    Ok(lab)
}

/// Starts a member with these keys in its table, and waits until it serves.
pub(crate) fn member(host: &Host, keys: &str) -> Result<Process> {
    let name = host.name();
    let text = format!(
        "[node]\nname = \"{name}\"\ninterfaces = [\"eth0\"]\nhello_ms = 100\n[member]\n{keys}\n"
    );
    host.write("/tmp/hamp.toml", &text)?;
    let daemon = start(host)?;
    serves(host)?;
    Ok(daemon)
}

fn serves(host: &Host) -> Result<()> {
    wait::until_ok("it serves", LIMIT, || {
        let status = report(host, &["status"])?;
        ensure!(status["links"][0]["phase"] == "active", "{status:#}");
        Ok(())
    })
}

/// Starts nginx with these servers, each of which says what it is given and at which address.
pub(crate) fn nginx(host: &Host, servers: &[(&str, &str)]) -> Result<Process> {
    if !host
        .run(&["sh", "-c", "command -v nginx"])?
        .status
        .success()
    {
        return Err(skip("nginx is missing: apt-get install nginx"));
    }
    let servers: String = servers
        .iter()
        .map(|(listen, says)| {
            let listen: String = listen
                .split(' ')
                .map(|at| format!("listen {at}; "))
                .collect();
            format!(
                "server {{ {listen} location = / {{ return 200 \"{says}$server_addr\"; }} \
                 location / {{ root /tmp/www; }} }}\n"
            )
        })
        .collect();
    let text = format!(
        "user root; daemon off; worker_processes 1; pid /tmp/nginx.pid; error_log stderr;\n\
         events {{ }}\nhttp {{ access_log off; default_type text/plain;\n\
         client_body_temp_path /tmp/b; proxy_temp_path /tmp/p; fastcgi_temp_path /tmp/f;\n\
         uwsgi_temp_path /tmp/u; scgi_temp_path /tmp/s;\n{servers}}}\n"
    );
    host.write("/tmp/nginx.conf", &text)?;
    let nginx = host.spawn("nginx", &["nginx", "-c", "/tmp/nginx.conf"])?;
    wait::until_ok("nginx listens", LIMIT, || {
        ensure!(nginx.exited().is_none(), "{}", host.read(nginx.log())?);
        let listening = host.sh("ss -Hltn")?;
        ensure!(!listening.trim().is_empty(), "{}", host.read(nginx.log())?);
        Ok(())
    })?;
    Ok(nginx)
}

const EVERYWHERE: &str = "80 [::]:80";

/// Waits until a request to `to` is answered from the address `at`.
fn served_at(host: &Host, to: &str, at: &str) -> Result<()> {
    let name = host.name();
    wait::until_ok("an answer", LIMIT, || {
        let told = http(host, to)?;
        ensure!(told == at, "{name} asks {to}, and is answered: {told}");
        Ok(())
    })
}

/// A connection is refused or reset: nobody has to wait.
fn is_reset(host: &Host, to: &str) -> Result<()> {
    let told = http(host, to)?;
    let name = host.name();
    ensure!(
        told.starts_with("curl: (28)") || told.contains("reset"),
        "{name} asks {to}: {told}"
    );
    Ok(())
}

//= docs/spec/tcp.md#the-member
//= type=test
//# In mode auto a member MUST rebind a marked SYN and MUST serve any other one plain; a service that
//# is bound to A itself MUST be served plain whatever the mark says.
//= docs/spec/tcp.md#the-member
//= type=test
//# What comes from the member's own programs without a mark MUST be served plain in every mode.
fn every_client_connects_as_it_can_and_as_the_member_is_told() -> Result<()> {
    let lab = link()?;
    let host = |name: &str| lab.host(name);
    let (m, c) = (host("m"), host("c"));
    let _nginx = nginx(m, &[(EVERYWHERE, "")])?;
    for mode in ["auto", "plain", "rebind"] {
        let addresses = "addresses = [\"198.18.0.1\", \"2001:2:0:1546::1\"]";
        let daemon = member(m, &format!("{addresses}\ntcp = \"{mode}\""))?;
        for (served, own) in SERVED.iter().zip(OWN) {
            let hamp = if mode == "plain" { served } else { own };
            served_at(c, served, hamp)?;
            served_at(m, served, served)?;
            for stock in ["s", "far"] {
                if mode == "rebind" {
                    is_reset(host(stock), served)?;
                } else {
                    served_at(host(stock), served, served)?;
                }
                served_at(host(stock), own, own)?;
            }
        }
        drop(daemon);
    }
    Ok(())
}

fn services_bound_to_anycast_addresses_share_a_port() -> Result<()> {
    let lab = link()?;
    let (m, c, s) = (lab.host("m"), lab.host("c"), lab.host("s"));
    let addresses = r#"addresses = ["198.18.0.1", "198.18.0.2", "198.18.0.3",
        "2001:2:0:1546::1", "2001:2:0:1546::2", "2001:2:0:1546::3"]"#;
    let _daemon = member(m, addresses)?;
    let _nginx = nginx(
        m,
        &[
            ("198.18.0.1:80 [2001:2:0:1546::1]:80", "one "),
            ("198.18.0.2:80 [2001:2:0:1546::2]:80", "two "),
        ],
    )?;
    for (number, own) in [("198.18.0.", OWN[0]), ("2001:2:0:1546::", OWN[1])] {
        for host in [c, s, m] {
            for (last, says) in [("1", "one"), ("2", "two")] {
                let to = format!("{number}{last}");
                served_at(host, &to, &format!("{says} {to}"))?;
            }
            let told = http(host, &format!("{number}3"))?;
            ensure!(
                told.contains("refused") || told.contains("onnect"),
                "{told}"
            );
        }
        let told = http(s, own)?;
        ensure!(told.contains("onnect"), "nobody listens there: {told}");
    }
    Ok(())
}

//= docs/spec/tcp.md#the-member
//= type=test
//# A member MUST answer no segment to A that belongs to no connection, but a SYN.
fn a_plain_connection_survives_its_members_daemon() -> Result<()> {
    let lab = link()?;
    let (m, s) = (lab.host("m"), lab.host("s"));
    let addresses = "addresses = [\"198.18.0.1\", \"2001:2:0:1546::1\"]";
    let mut daemon = member(m, addresses)?;
    m.sh("mkdir -p /tmp/www; head -c 20000000 /dev/urandom >/tmp/www/large")?;
    let sum = |host: &Host, file: &str| host.sh(&format!("sha256sum <{file}"));
    let _nginx = nginx(m, &[(EVERYWHERE, "")])?;
    for (served, url) in [
        (SERVED[0], SERVED[0].to_owned()),
        (SERVED[1], format!("[{}]", SERVED[1])),
    ] {
        served_at(s, served, served)?;
        let url = format!("http://{url}/large");
        let get = [
            "curl",
            "-sS",
            "--limit-rate",
            "10M",
            "-m",
            "20",
            "-o",
            "/tmp/got",
            &url,
        ];
        let download = s.spawn("curl", &get)?;
        let has = |bytes: u64| {
            let size = s.sh("stat -c %s /tmp/got 2>/dev/null || echo 0")?;
            ensure!(size.trim().parse::<u64>()? > bytes, "{size}");
            Ok(())
        };
        wait::until_ok("it begins", LIMIT, || has(1_000_000))?;
        // Killed: its lease ends, and the connection waits.
        drop(daemon);
        daemon = start(m)?;
        wait::until("it ends", LIMIT * 2, || download.exited())?;
        ensure!(
            sum(s, "/tmp/got")? == sum(m, "/tmp/www/large")?,
            "{}",
            s.read(download.log())?
        );
        s.sh("rm /tmp/got")?;
    }
    drop(daemon);
    Ok(())
}

/// The member has two subnets on its link and a container behind a bridge that hamp knows nothing of.
fn a_syn_is_answered_from_an_address_that_the_client_can_reach() -> Result<()> {
    let lab = link()?;
    let (m, c) = (lab.host("m"), lab.host("c"));
    m.sh("ip address add 10.77.0.1/24 dev eth0; ip address add fd77::1/64 dev eth0 nodad")?;
    let addresses = "addresses = [\"198.18.0.1\", \"2001:2:0:1546::1\"]";
    let _daemon = member(m, addresses)?;
    let _nginx = nginx(m, &[(EVERYWHERE, "")])?;
    for (served, own) in SERVED.iter().zip(OWN) {
        served_at(c, served, own)?;
    }
    // The client moves to the other subnet.
    c.sh(
        "ip address flush dev eth0 scope global; ip address add 10.77.0.3/24 dev eth0; \
          ip address add fd77::3/64 dev eth0 nodad",
    )?;
    for (served, own) in SERVED.iter().zip(["10.77.0.1", "fd77::1"]) {
        served_at(c, served, own)?;
    }
    //= docs/spec/tcp.md#the-member
    //= type=test
    //# U SHOULD be an address in the subnet of the client, where the member has one, and otherwise one
    //# of the link that the SYN came by.
    let counted = |what: &str| -> Result<u64> {
        let status = report(m, &["status"])?;
        let counter = &status["counters"]["kernel_packets"]["member"][what];
        counter
            .as_u64()
            .with_context(|| format!("{what}: {status:#}"))
    };
    //= docs/spec/tcp.md#the-member
    //= type=test
    //# A member without a unicast address that the client can reach MUST serve the connection plain;
    //# in mode rebind it MUST discard the SYN.
    m.sh("ip -6 address flush dev eth0 scope global")?;
    c.sh("ip -6 address flush dev eth0 scope global")?;
    served_at(c, SERVED[1], SERVED[1])?;
    ensure!(counted("plain")? > 0, "counted");
    Ok(())
}
