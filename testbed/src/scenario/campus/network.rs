//! The network, and what its routing daemons are told.

use anyhow::Result;

use super::super::first_link::{A4, A6};
use super::DEAD_HELLOS;
use crate::lab::HAMP_CONFIG;
use crate::routing::{Bird, Frr};
use crate::{Host, Lab, Topology};

/// Who runs which routing daemon.
pub(super) const DAEMONS: [(&str, &str); 5] = [
    ("access", "FRR"),
    ("core", "BIRD"),
    ("hub", "BIRD"),
    ("east", "BIRD"),
    ("west", "FRR"),
];

/// A container behind the member far, which answers it itself.
pub(super) const INSIDE: &str = "box";

/// Both addresses of an end of a cable between routers; cables have numbers.
fn cable(number: u8, end: u8) -> [String; 2] {
    [
        format!("10.0.{number}.{end}/30"),
        format!("fd00:0:0:{number}::{end}/64"),
    ]
}

/// Both addresses of a host on a link with members.
fn lan(number: u8, host: u8) -> [String; 2] {
    [
        format!("10.15.{number}.{host}/24"),
        format!("fd15:{number}::{host}/64"),
    ]
}

/// The hosts, with hellos at this interval.
pub(super) fn topology(hello_ms: u128) -> Topology {
    let node = format!("[node]\nhello_ms = {hello_ms}\ndead_hellos = {DEAD_HELLOS}\n");
    // Only the link with members is hamp's; the cable to the next router is BGP's.
    let router = format!("{node}interfaces = [\"eth0\"]\n[router]\n");
    let beside_frr = format!("{router}multipath = \"routes\"\n");
    let member = |preference: u32| {
        format!(
            "{node}interfaces = [\"eth0\"]\n[member]\naddresses = [\"{A4}\", \"{A6}\"]\npreference = {preference}\n"
        )
    };
    // The address of the next router, which answers for the class on a link without hamp.
    let beyond = |topology: Topology, number: u8| {
        let (v4, v6) = (format!("10.0.{number}.2"), format!("fd00:0:0:{number}::2"));
        topology.route("default", &v4).route("default", &v6)
    };
    let client = beyond(
        Topology::new("campus")
            .switch("eastlan")
            .switch("westlan")
            .router("access")
            .host("client")
            .cable("access", &cable(1, 1), &cable(1, 2)),
        1,
    );
    // Behind a route of its own to the class, hamp's route to neighbours that are not there.
    let client = client
        .route("198.18.0.0/16", "10.0.1.2")
        .route("2001:2:0:1546::/112", "fd00:0:0:1::2")
        .hamp(format!("{node}[client]\n"))
        .host("stock")
        .cable("access", &cable(6, 1), &cable(6, 2));
    let mut topology = beyond(client, 6)
        .router("core")
        .cable("access", &cable(2, 2), &cable(2, 1))
        .router("hub")
        .cable("core", &cable(4, 2), &cable(4, 1))
        .router("east")
        .link("eastlan", &lan(46, 1))
        .hamp(router)
        .cable("core", &cable(3, 2), &cable(3, 1))
        .router("west")
        .link("westlan", &lan(47, 1))
        .hamp(beside_frr)
        .cable("hub", &cable(5, 2), &cable(5, 1));
    for (name, switch, number, host, preference) in [
        ("near", "eastlan", 46, 11, 200),
        ("spare", "eastlan", 46, 12, 100),
        ("far", "westlan", 47, 11, 100),
    ] {
        topology = topology
            .host(name)
            .link(switch, &lan(number, host))
            .route("default", &format!("10.15.{number}.1"))
            .route("default", &format!("fd15:{number}::1"))
            .hamp(member(preference));
    }
    topology
        .host(INSIDE)
        .cable("far", &cable(7, 1), &cable(7, 2))
        .route("default", "10.0.7.2")
        .route("default", "fd00:0:0:7::2")
}

/// A running routing daemon.
pub(super) enum Daemon {
    Bird { _bird: Bird },
    Frr { _frr: Frr },
}

/// Starts all routing daemons, side by side: those of hamp's routers with what `hamp export` writes
/// on them, the others with what any router of the network has.
pub(super) fn start(lab: &Lab) -> Result<Vec<Daemon>> {
    std::thread::scope(|scope| {
        let start = |(name, daemon): (&'static str, &'static str)| {
            scope.spawn(move || -> Result<Daemon> {
                let host = lab.host(name);
                let text = configuration(host)?;
                Ok(if daemon == "BIRD" {
                    Daemon::Bird {
                        _bird: Bird::start(host, &text)?,
                    }
                } else {
                    Daemon::Frr {
                        _frr: Frr::start(host, &text)?,
                    }
                })
            })
        };
        let starting: Vec<_> = DAEMONS.into_iter().map(start).collect();
        let ended = starting.into_iter().map(|thread| {
            let joined = thread.join();
            joined.unwrap_or_else(|_| Err(anyhow::anyhow!("a daemon's thread")))
        });
        ended.collect()
    })
}

/// The whole configuration of a router's daemon.
fn configuration(host: &Host) -> Result<String> {
    match host.name() {
        "east" => exported(host, "bird", "10.0.3.2 65001 10.0.3.1 fd00:0:0:3::1 65000"),
        "west" => exported(host, "frr", "10.0.5.2 65002 10.0.5.1 fd00:0:0:5::1 65010"),
        "access" => Ok(ACCESS.into()),
        "core" => Ok(bird(
            "10.0.3.1",
            65000,
            &[(3, 2, 65001), (4, 2, 65010)],
            (2, 1, 65003),
        )),
        _ => Ok(bird("10.0.4.2", 65010, &[(4, 1, 65000)], (5, 2, 65002))),
    }
}

/// What `hamp export` writes for a router, from its numbers: its id, its autonomous system, its
/// neighbour's addresses and autonomous system.
fn exported(host: &Host, daemon: &str, numbers: &str) -> Result<String> {
    let numbers: Vec<_> = numbers.split(' ').collect();
    let [id, own, v4, v6, remote] = numbers[..] else {
        anyhow::bail!("five numbers");
    };
    let (v4, v6) = (format!("{v4}={remote}"), format!("{v6}={remote}"));
    let argv = [
        "hamp",
        "export",
        daemon,
        "--config",
        HAMP_CONFIG,
        "--router-id",
        id,
        "--as",
        own,
        "--neighbor",
        &v4,
        "--neighbor",
        &v6,
        "--links",
    ];
    host.run(&argv)?.ok()
}

/// A router inside the network, with neighbours over these cables: number, their end, their
/// autonomous system. The last one runs FRR, which waits twice as long each time somebody connects
/// before it is ready: it is left to connect itself.
fn bird(id: &str, own: u32, neighbours: &[(u8, u8, u32)], frr: (u8, u8, u32)) -> String {
    let mut text = format!(
        "router id {id};\nprotocol device {{ }}\n\
         protocol kernel {{ ipv4 {{ export all; }}; }}\n\
         protocol kernel {{ ipv6 {{ export all; }}; }}\n"
    );
    for neighbour @ (number, end, remote) in neighbours.iter().chain([&frr]) {
        let passive = if *neighbour == frr { "passive; " } else { "" };
        for (channel, address) in [
            ("ipv4", format!("10.0.{number}.{end}")),
            ("ipv6", format!("fd00:0:0:{number}::{end}")),
        ] {
            text += &format!(
                "protocol bgp {{ local as {own}; neighbor {address} as {remote}; \
                 {passive}connect delay time 1; error wait time 1, 2; {channel} {{ import all; export all; }}; }}\n"
            );
        }
    }
    text
}

/// The client's router: it knows nothing of hamp.
const ACCESS: &str = "\
frr defaults datacenter
router bgp 65003
 bgp router-id 10.0.2.1
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor 10.0.2.2 remote-as 65000
 neighbor fd00:0:0:2::2 remote-as 65000
 address-family ipv4 unicast
  network 10.0.1.0/30
  network 10.0.6.0/30
  neighbor 10.0.2.2 activate
 exit-address-family
 address-family ipv6 unicast
  network fd00:0:0:1::/64
  network fd00:0:0:6::/64
  neighbor fd00:0:0:2::2 activate
 exit-address-family
exit
";
