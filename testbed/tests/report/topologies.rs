//! Networks of all shapes that a picture has to bear.

use testbed::{Impairment, Topology};

const MEMBER: &str = "[member]\naddresses = [\"198.18.0.1\", \"2001:2:0:1546::1\"]\n";

fn own(number: usize) -> [String; 2] {
    [format!("10.0.0.{number}/24"), format!("fd00::{number}/64")]
}

/// Two hosts and a cable.
fn cable() -> Topology {
    Topology::new("cable")
        .host("a")
        .host("b")
        .cable("a", &["10.0.0.1/30"], &["10.0.0.2/30"])
        .impaired(Impairment::delay_ms(10))
}

/// Many hosts on one switch, some behind bad cables.
fn star(hosts: usize) -> Topology {
    let mut topology = Topology::new("star").switch("lan");
    for number in 1..=hosts {
        topology = topology
            .host(&format!("host-{number}"))
            .link("lan", &own(number));
        if number % 3 == 0 {
            topology = topology
                .impaired_in(Impairment {
                    loss: 0.015,
                    rate_bps: Some(100_000_000),
                    ..Impairment::delay_ms(12)
                })
                .hamp(MEMBER);
        }
        if number % 5 == 0 {
            topology = topology.program("who", &["hamp-lab", "who"]);
        }
    }
    topology
}

/// A site each with a switch, hosts and a router; the routers in a ring of cables.
fn sites(sites: usize, hosts: usize) -> Topology {
    let mut topology = Topology::new("sites");
    let names = ["paris", "tokyo", "lima", "oslo", "perth", "quito"];
    let mut last: Option<String> = None;
    for (site, name) in names.iter().enumerate().take(sites) {
        let (lan, router) = (format!("lan-{name}"), format!("r-{name}"));
        topology = topology.switch(&lan).site(name);
        for host in 1..=hosts {
            topology = topology
                .host(&format!("{name}-{host}"))
                .link(&lan, &[format!("10.{site}.0.{host}/24")])
                .site(name);
        }
        topology = topology
            .router(&router)
            .link(&lan, &[format!("10.{site}.0.254/24")])
            .site(name);
        if let Some(before) = &last {
            topology = topology
                .cable(
                    before,
                    &[format!("10.100.{site}.1/30")],
                    &[format!("10.100.{site}.2/30")],
                )
                .impaired(Impairment::delay_ms(40));
        }
        last = Some(router);
    }
    if sites > 2 {
        let first = format!("r-{}", names[0]);
        topology = topology.cable(&first, &["10.100.99.1/30"], &["10.100.99.2/30"]);
    }
    topology
}

/// Three switches in a row, a host on two of them, two cables between two routers, and what is
/// plugged into nothing.
fn mesh() -> Topology {
    Topology::new("mesh")
        .switch("one")
        .switch("two")
        .link("one", &[""; 0])
        .impaired(Impairment::delay_ms(1))
        .switch("three")
        .link("two", &[""; 0])
        .host("a")
        .link("one", &["10.0.0.1/24"])
        .host("b")
        .link("two", &["10.0.0.2/24"])
        .host("both")
        .link("two", &["10.0.0.3/24"])
        .link("three", &["10.0.0.4/24"])
        .router("r")
        .link("three", &["10.0.0.254/24"])
        .router("s")
        .cable("r", &["10.9.0.1/30"], &["10.9.0.2/30"])
        .cable("r", &["10.9.1.1/30"], &["10.9.1.2/30"])
        .host("alone")
        .switch("empty")
}

/// A chain of routers.
fn chain(length: usize) -> Topology {
    let mut topology = Topology::new("chain").host("client");
    let mut last = "client".to_owned();
    for number in 1..=length {
        let name = format!("r{number}");
        topology = topology.router(&name).cable(
            &last,
            &[format!("10.0.{number}.2/30")],
            &[format!("10.0.{number}.1/30")],
        );
        last = name;
    }
    topology
}

/// All of them.
pub(crate) fn all() -> Vec<Topology> {
    vec![
        Topology::new("nothing"),
        cable(),
        star(3),
        star(30),
        sites(2, 3),
        sites(6, 4),
        mesh(),
        chain(6),
    ]
}
