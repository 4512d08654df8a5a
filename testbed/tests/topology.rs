//! Describing networks: what is named how, and what is refused.

use testbed::Topology;
use testbed::topology::{Kind, Via};

fn star() -> Topology {
    Topology::new("star")
        .switch("lan")
        .switch("wan")
        .link("lan", &[""; 0])
        .host("a")
        .link("lan", &["10.0.0.1/24", "fd00::1/64"])
        .route("default", "10.0.0.254")
        .router("r")
        .link("lan", &["10.0.0.254/24"])
        .host("b")
        .link("wan", &["10.0.0.3/24"])
        .cable("r", &["10.0.1.1/30"], &["10.0.1.2/30"])
        .route("198.18.0.0/16", "eth1")
}

fn mistake(topology: &Topology) -> String {
    format!("{:#}", topology.check().unwrap_err())
}

#[test]
fn interfaces_are_numbered_and_ports_are_named_after_the_other_end() {
    let star = star();
    star.check().unwrap();
    let names = |node: &str| -> Vec<(String, String)> {
        star.plugs(star.position(node).unwrap())
            .map(|(_, own, other)| (own.interface.clone(), star.nodes[other.node].name.clone()))
            .collect()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        names("lan"),
        [pair("wan", "wan"), pair("a", "a"), pair("r", "r")]
    );
    assert_eq!(names("b"), [pair("eth0", "wan"), pair("eth1", "r")]);
    assert_eq!(names("r"), [pair("eth0", "lan"), pair("eth1", "b")]);
    let (link, end) = star.plug("r", "eth1").unwrap();
    assert_eq!(
        star.links[link].ends[end].addresses,
        ["10.0.1.2/30".parse().unwrap()]
    );
    let b = star.node("b").unwrap();
    assert_eq!(
        (b.kind, &b.routes[0].via),
        (Kind::Host, &Via::Interface("eth1".into()))
    );
}

#[test]
fn link_layer_addresses_are_unique() {
    let mut topology = Topology::new("many").switch("sw");
    for host in 0..600 {
        topology = topology
            .host(&format!("h{host}"))
            .link("sw", &["10.0.0.1/8"]);
    }
    topology.check().unwrap();
    let mut macs: Vec<_> = topology
        .links
        .iter()
        .flat_map(|link| link.ends.each_ref().map(|end| end.mac))
        .collect();
    assert!(macs.iter().all(|mac| mac[0] & 3 == 2), "local and unicast");
    macs.sort_unstable();
    macs.dedup();
    assert_eq!(macs.len(), 1200);
}

#[test]
fn a_hamp_configuration_is_completed() {
    let topology = star().hamp("[member]\naddresses = [\"198.18.0.1\"]\n");
    let b = topology.position("b").unwrap();
    let text = topology.hamp_config(b).unwrap().unwrap();
    let config = hamp::daemon::config::Config::parse(&text, "b").unwrap();
    assert_eq!(config.node.name.as_deref(), Some("b"));
    assert_eq!(config.node.interfaces, ["eth0", "eth1"]);
    let own = star().hamp("[node]\nname = \"x\"\ninterfaces = [\"eth1\"]\n[client]\n");
    let text = own.hamp_config(b).unwrap().unwrap();
    let config = hamp::daemon::config::Config::parse(&text, "b").unwrap();
    assert_eq!(config.node.name.as_deref(), Some("x"));
    assert_eq!(config.node.interfaces, ["eth1"]);
}

#[test]
fn mistakes_are_named() {
    let none = [""; 0];
    let lan = || Topology::new("t").switch("lan");
    let host = || lan().host("a").link("lan", &["10.0.0.1/24"]);
    for (topology, words) in [
        (lan().host("lan"), vec!["two", "\"lan\""]),
        (lan().host("a_b"), vec!["\"a_b\"", "letters"]),
        (lan().host("much-too-long"), vec!["much-too-long", "12"]),
        (lan().host("a").link("wan", &none), vec!["a", "\"wan\""]),
        (lan().link("lan", &none), vec!["itself"]),
        (Topology::new("t").link("lan", &none), vec!["first host"]),
        (
            lan().host("a").link("lan", &["10.0.0.1"]),
            vec!["a", "10.0.0.1", "prefix length"],
        ),
        (
            host().link("lan", &["10.0.0.1/24"]),
            vec!["a", "10.0.0.1", "twice"],
        ),
        (host().route("default", "eth0"), vec!["router's address"]),
        (host().route("ten", "eth0"), vec!["\"ten\"", "prefix"]),
        (host().route("10.0.0.0/8", "eth7"), vec!["a", "eth7"]),
        (host().route("10.0.0.0/8", "fd00::1"), vec!["a", "IPv6"]),
        (host().program("p", &none), vec!["a", "\"p\"", "command"]),
        (
            host().hamp("[member]\nadresses = []"),
            vec!["a", "adresses", "addresses"],
        ),
        (host().hamp("[member"), vec!["a"]),
        (lan().route("10.0.0.0/8", "10.0.0.1"), vec!["lan", "switch"]),
        (
            lan().switch("x").link("lan", &none).link("lan", &none),
            vec!["lan", "x", "twice"],
        ),
    ] {
        let said = mistake(&topology);
        for word in words {
            assert!(said.contains(word), "{said:?} lacks {word:?}");
        }
    }
}

#[test]
fn a_link_layer_address_that_the_kernel_refuses_is_refused() {
    let mut pair = Topology::new("t")
        .switch("sw")
        .host("a")
        .link("sw", &[""; 0]);
    pair.check().unwrap();
    pair.links[0].ends[0].mac = [0; 6];
    assert!(mistake(&pair).contains("link-layer address of eth0"));
}

#[test]
fn a_name_that_is_a_path_or_hides_something_is_refused() {
    let with = |program: &str| Topology::new("t").host("a").program(program, &["true"]);
    with("who-1_a.b").check().unwrap();
    for name in ["../../../etc/x", "", ".", "..", "-x", "a/b", "a b"] {
        let why = mistake(&with(name));
        assert!(why.contains("no name for a program"), "{name:?}: {why}");
    }
    with("hamp").check().unwrap();
    let why = mistake(&with("hamp").hamp(""));
    assert!(why.contains("hamp's own configuration"), "{why}");
    let sited = |site: &str| Topology::new("t").host("a").site(site);
    sited("Île <de> \"France\"").check().unwrap();
    for text in ["a\u{202e}b", "a\u{1b}[2Jb", "a\nb", &"x".repeat(61)] {
        let why = mistake(&Topology::new(text));
        assert!(why.contains("no name for a topology"), "{text:?}: {why}");
        let why = mistake(&sited(text));
        assert!(why.contains("no name for a site"), "{text:?}: {why}");
    }
    assert!(mistake(&Topology::new("../../x")).contains("no name for a topology"));
}
