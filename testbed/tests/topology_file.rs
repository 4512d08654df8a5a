//! Topology files: what they mean, what is wrong with them, and the way back.

#[path = "../../tests/netns/schema.rs"]
#[expect(dead_code, reason = "files name no schema")]
mod schema;

use std::path::{Path, PathBuf};
use std::time::Duration;

use testbed::Topology;
use testbed::topology::{Kind, Via};

fn examples() -> Vec<PathBuf> {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/labs");
    let files = std::fs::read_dir(place).unwrap();
    let mut files: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    files.retain(|path| path.extension() == Some("toml".as_ref()));
    assert!(files.len() >= 3, "{files:?}");
    files
}

fn example(name: &str) -> Topology {
    let files = examples();
    let found = files
        .iter()
        .find(|path| path.file_stem() == Some(name.as_ref()));
    Topology::load(found.unwrap()).unwrap()
}

fn error(text: &str) -> String {
    Topology::parse(text, "t.toml").unwrap_err().to_string()
}

/// The cables in an order that does not depend on how they were described.
fn sorted(mut topology: Topology) -> Topology {
    for link in &mut topology.links {
        link.ends.sort_by_key(|end| end.node);
        for end in &mut link.ends {
            if topology.nodes[end.node].kind == Kind::Switch {
                // Numbered in the order of cables.
                end.mac = [0; 6];
            }
        }
    }
    topology.links.sort_by_key(|link| {
        link.ends
            .each_ref()
            .map(|end| (end.node, end.interface.clone()))
    });
    topology
}

#[test]
fn the_order_of_definitions_does_not_matter() {
    let sites = example("two-sites");
    let names: Vec<_> = sites.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["s1", "s2", "phone", "r1", "r2", "west", "east"]);
    let (link, end) = sites.plug("r2", "eth1").unwrap();
    assert_eq!(
        sites.links[link].ends[1 - end].node,
        3,
        "the cable comes after the links"
    );
    assert_eq!(
        sites.links[link].ends[end].sends.delay,
        Duration::from_millis(20)
    );
    let phone = sites.node("phone").unwrap();
    assert_eq!(phone.routes[1].via, Via::Interface("eth0".into()));
    let (link, end) = sites.plug("phone", "eth0").unwrap();
    let [out, back] = [end, 1 - end].map(|end| sites.links[link].ends[end].sends);
    assert_eq!((out.loss, back.loss), (0.01, 0.01));
    assert_eq!((out.rate_bps, back.rate_bps), (Some(2_000_000), None));
    let programs = |name: &str| sites.node(name).unwrap().programs.clone();
    assert_eq!(programs("s1"), programs("s2"));
    assert_eq!(programs("s1")[0].command, ["hamp-lab", "who"]);
    assert_eq!(sites.node("s1").unwrap().site.as_deref(), Some("left"));
}

#[test]
fn names_and_addresses_of_interfaces_can_be_given() {
    let trunk = example("trunk");
    let (link, end) = trunk.plug("far", "uplink").unwrap();
    assert_eq!(trunk.links[link].ends[end].mac, [2, 0, 0, 0, 0, 2]);
    let far = trunk.position("far").unwrap();
    let hamp = trunk.hamp_config(far).unwrap().unwrap();
    assert!(hamp.contains("interfaces = [\"uplink\"]"), "{hamp}");
    let words = Topology::parse(
        "[host.a]\nprograms = { p = \"sh -c 'echo  $x'\" }",
        "dir/t.toml",
    );
    let words = words.unwrap();
    assert_eq!(words.nodes[0].programs[0].command, ["sh", "-c", "echo  $x"]);
    assert_eq!(words.name, "t", "the file's");
}

#[test]
fn a_file_survives_the_way_to_toml_and_back() {
    for path in examples() {
        let read = Topology::load(&path).unwrap();
        let text = read.to_toml().unwrap();
        let back = Topology::parse(&text, "again.toml");
        assert_eq!(back.expect(&text), read, "{text}");
    }
}

#[test]
fn a_description_in_rust_survives_the_way_to_toml_and_back() {
    let how = testbed::Impairment::delay_ms(3).with_loss(0.25);
    let described = Topology::new("mixed \"name\"")
        .switch("core")
        .switch("edge")
        .link("core", &[""; 0])
        .host("a")
        .link("edge", &["10.0.0.1/24", "fd00::1/64"])
        .impaired_in(how)
        .program("odd.name", &["sh", "-c", "echo 'a b' \"$x\"\n"])
        .site("he\"re")
        .clock(-200, 86_400_000)
        .hamp("[node]\nhello_ms = 50\n[member]\naddresses = [\"198.18.0.1\"]\n")
        .host("b")
        .hamp("")
        .cable("a", &["10.0.1.1/30"], &["10.0.1.2/30"])
        .link("core", &["10.0.0.2/24"])
        .impaired(how)
        .link("core", &["10.9.0.2/24"])
        .route("198.18.0.0/16", "eth1")
        .route("default", "fd00::1")
        .router("r")
        .link("core", &["10.0.0.3/24"])
        .cable("b", &[""; 0], &[""; 0])
        .impaired_out(how);
    described.check().unwrap();
    let text = described.to_toml().unwrap();
    let back = Topology::parse(&text, "again.toml").expect(&text);
    let texts = |topology: &Topology| -> Vec<_> {
        let nodes = 0..topology.nodes.len();
        nodes
            .map(|node| topology.hamp_config(node).unwrap())
            .collect()
    };
    assert_eq!(texts(&back), texts(&described), "{text}");
    let without = |topology: Topology| {
        let mut topology = sorted(topology);
        topology.nodes.iter_mut().for_each(|node| node.hamp = None);
        topology
    };
    assert_eq!(without(back), without(described), "{text}");
}

#[test]
fn an_unknown_key_names_file_line_and_the_nearest_known_key() {
    for (text, expected) in [
        (
            "name = \"x\"\n[hosts.a]\n",
            "t.toml:2: unknown key \"hosts\"; the nearest known key is \"host\"",
        ),
        (
            "[switch.lan]\n[host.a]\nlinks = [\n  { to = \"lan\", adresses = [] },\n]\n",
            "t.toml:4: unknown key \"adresses\"; the nearest known key is \"addresses\"",
        ),
        (
            "[switch.lan]\n[host.a]\nlinks = [{ to = \"lan\", delay = 3 }]\n",
            "t.toml:3: unknown key \"delay\"; the nearest known key is \"delay_ms\"",
        ),
        (
            "[switch.lan]\n[host.a]\nlinks = [{ to = \"lan\",\n  out = { los_percent = 3 } }]\n",
            "t.toml:4: unknown key \"los_percent\"; the nearest known key is \"loss_percent\"",
        ),
        (
            "[switch.lan]\nroutes = []\n",
            "t.toml:2: unknown key \"routes\"; the nearest known key is \"site\"",
        ),
        (
            "[host.a.hamp.member]\n\nadresses = []\n",
            "t.toml:3: unknown key \"adresses\"; the nearest known key is \"addresses\"",
        ),
        ("[[cable]]\n", "t.toml:1: missing key \"between\""),
    ] {
        assert_eq!(error(text), expected);
    }
}

#[test]
fn what_cannot_be_built_names_its_line_and_key() {
    const LAN: &str = "[switch.lan]\n[host.a]\n";
    for (text, place, what) in [
        (
            "links = [{ to = \"lam\" }]",
            "t.toml:3: host.a.links[0].to: ",
            "the nearest name is \"lan\"",
        ),
        (
            "links = [{ to = \"b\" }]\n[host.b]",
            "t.toml:3: host.a.links[0].to: ",
            "[[cable]]",
        ),
        (
            "links = [\n{ to = \"lan\" },\n{ to = \"lan\", addresses = [\n\"10.0.0.1\"] }]",
            "t.toml:6: host.a.links[1].addresses[0]: ",
            "like 10.0.0.1/24",
        ),
        (
            "clock = { ppm = 200_000 }",
            "t.toml:2: host.a: ",
            "clock.ppm: 200000 is not within",
        ),
        (
            "links = [{ to = \"lan\", mac = \"2:0:0:0:0:1\" }]",
            "t.toml:3: host.a.links[0].mac: ",
            "link-layer",
        ),
        (
            "links = [{ to = \"lan\", mac = \"03:15:46:00:00:01\" }]",
            "t.toml:3: host.a.links[0]: ",
            "group",
        ),
        (
            "links = [{ to = \"lan\", interface = \"lo\" }]",
            "t.toml:3: host.a.links[0]: ",
            "\"lo\"",
        ),
        (
            "links = [{ to = \"lan\", loss_percent = 200 }]",
            "t.toml:3: host.a.links[0]: ",
            "loss_percent = 200",
        ),
        (
            "links = [{ to = \"lan\",\n\nin = { jitter_ms = 3 } }]",
            "t.toml:5: host.a.links[0].in: ",
            "jitter_ms",
        ),
        (
            "links = [{ to = \"lan\", addresses = [\"10.0.0.1/24\"] }]\n\
             routes = [\n  { to = \"10.1.0.0/16\", via = \"10.0.0.2\" },\n  { to = \"ten\", via = \"eth0\" },\n]",
            "t.toml:6: host.a.routes[1]: ",
            "\"ten\"",
        ),
        (
            "routes = [\n  { to = \"10.1.0.0/16\", via = \"eth4\" } ]",
            "t.toml:4: host.a.routes[0]: ",
            "no such interface",
        ),
        (
            "programs = { p = \"sh -c 'x\" }",
            "t.toml:3: host.a.programs.p: ",
            "quote",
        ),
        (
            "[host.a.programs]\nnone = []",
            "t.toml:4: host.a.programs.none: ",
            "no command",
        ),
        (
            "[host.a.hamp.node]\nhello_ms = 3\n",
            "t.toml:4: host.a.hamp.node.hello_ms: ",
            "",
        ),
        (
            "links = [{ to = \"lan\" }]\n[host.a.hamp.node]\ndead_hellos = 99\n",
            "t.toml:5: host.a.hamp.node.dead_hellos: ",
            "2 to 10",
        ),
        (
            "links = [{ to = \"lan\" }]\n[host.a.hamp.member]\naddresses = [\n\"198.18.0.1\",\n\"10.0.0.1\"]\n",
            "t.toml:5: host.a.hamp.member.addresses: ",
            "outside the class",
        ),
        (
            "links = [{ to = \"lan\" }]\n[host.a.hamp]\nmember = 3\n",
            "t.toml:5: host.a.hamp.member: ",
            "",
        ),
        ("[host.a.hamp]", "t.toml:3: host.a.hamp", "interface"),
        ("[router.a]", "t.toml:3: router.a: ", "two nodes"),
        ("[host.a_b]", "t.toml:3: host.a_b: ", "letters"),
        (
            "[[cable]]\nbetween = [\"a\", \"c\"]",
            "t.toml:4: cable[0].between[1]: ",
            "no \"c\"",
        ),
        (
            "[[cable]]\nbetween = [\"a\", \"a\"]",
            "t.toml:3: cable[0]: ",
            "itself",
        ),
        (
            "[switch.x]\nlinks = [\n{ to = \"lan\" },\n{ to = \"lan\" }]",
            "t.toml:6: switch.x.links[1]: ",
            "connected twice",
        ),
        ("links = [", "t.toml:3", ""),
    ] {
        let error = error(&format!("{LAN}{text}\n"));
        assert!(
            error.starts_with(place) && error.contains(what),
            "{error:?} for\n{text}"
        );
    }
    let error = Topology::load(Path::new("/nonexistent/t.toml")).unwrap_err();
    assert!(
        error.to_string().starts_with("/nonexistent/t.toml: "),
        "{error}"
    );
}

#[test]
fn the_schema_describes_the_examples_and_what_is_written() {
    let check = |text: &str| {
        let table: toml::Table = toml::from_str(text).unwrap();
        let value = serde_json::to_value(&table).unwrap();
        schema::check_as(&value, "hamp-lab.topology/1")
    };
    for path in examples() {
        let text = std::fs::read_to_string(&path).unwrap();
        check(&text).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
        let written = Topology::load(&path).unwrap().to_toml().unwrap();
        check(&written).unwrap_or_else(|why| panic!("{written}\n{why}"));
    }
    assert!(
        check("[host.a]\nlink = []")
            .unwrap_err()
            .contains("link is not described")
    );
}

#[test]
fn the_documented_example_loads_and_every_key_is_documented() {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(own.join("../docs/topology.md")).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next();
    let topology = Topology::parse(example.unwrap(), "docs/topology.md").unwrap();
    assert_eq!(topology.name, "example");
    let text = std::fs::read_to_string(own.join("../docs/schemas/hamp-lab.topology-1.json"));
    let schema: serde_json::Value = serde_json::from_str(&text.unwrap()).unwrap();
    for table in ["link", "cable", "host", "route", "impairment"] {
        let properties = &schema["$defs"][table]["properties"];
        for key in properties.as_object().unwrap().keys() {
            assert!(
                page.contains(&format!("`{key}`")),
                "{key} is not documented"
            );
        }
    }
}

/// Whatever key the reader names as known is in the schema, and the other way round.
#[test]
fn the_schema_and_the_reader_know_the_same_keys() {
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/schemas");
    let text = std::fs::read_to_string(place.join("hamp-lab.topology-1.json")).unwrap();
    let schema: serde_json::Value = serde_json::from_str(&text).unwrap();
    let lan = "[switch.lan]\n";
    for (pointer, around) in [
        ("", ("", "")),
        ("/$defs/switch", ("[switch.s]\n", "")),
        ("/$defs/host", ("[host.h]\n", "")),
        ("/$defs/host", ("[router.h]\n", "")),
        (
            "/$defs/link",
            ("[host.h]\nlinks = [{ to = \"lan\", ", " }]"),
        ),
        ("/$defs/route", ("[host.h]\nroutes = [{ ", " }]")),
        ("/$defs/cable", ("[[cable]]\n", "")),
        ("/$defs/impairment", ("[[cable]]\nout = { ", " }")),
        ("/$defs/hamp", ("[host.h]\n[host.h.hamp]\n", "")),
    ] {
        let properties = schema.pointer(&format!("{pointer}/properties")).unwrap();
        for key in properties.as_object().unwrap().keys() {
            let (before, after) = around;
            // A value that no key takes: a known key complains about it, or about another one.
            let text = format!("{before}{key} = {{ nothing = 1979-05-27 }}{after}\n{lan}");
            let said =
                Topology::parse(&text, "t").map_or_else(|e| e.to_string(), |_| String::new());
            assert!(
                !said.contains(&format!("unknown key \"{key}\"")),
                "{pointer}: {said}"
            );
        }
        let (before, after) = around;
        let text = format!("{before}no-such-key = 1{after}\n{lan}");
        let said = error(&text);
        assert!(said.contains("unknown key \"no-such-key\""), "{said}");
    }
}
