//! Topologies for other tools: their files, and that the scripts in them do what they should.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use testbed::topology::Kind;
use testbed::topology::export::{Format, Written, write};
use testbed::{Lab, Topology, skip, skippable};

testbed::before_main!();

fn example(name: &str) -> Topology {
    let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/labs");
    Topology::load(&labs.join(name).with_extension("toml")).unwrap()
}

fn examples() -> Vec<String> {
    let labs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/labs");
    let files = std::fs::read_dir(labs).unwrap();
    let names = files.map(|file| file.unwrap().path().file_stem().unwrap().to_owned());
    names.map(|name| name.into_string().unwrap()).collect()
}

fn file<'a>(files: &'a [Written], name: &str) -> &'a str {
    let found = files.iter().find(|(path, _)| path == name);
    &found.unwrap_or_else(|| panic!("no {name}")).1
}

/// A directory that goes with its test.
struct Place(PathBuf);

impl Place {
    fn new(what: &str) -> Self {
        let name = format!("hamp-export-{what}-{}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn containerlab_gets_every_node_and_cable() {
    for name in examples() {
        let name = name.as_str();
        let topology = example(name);
        let files = topology
            .export(Format::Containerlab, Some("image:1"))
            .unwrap();
        let text = file(&files, &format!("{name}.clab.yml"));
        let document: Value = serde_yaml_ng::from_str(text).unwrap();
        assert_eq!(document["name"], name);
        let nodes = document["topology"]["nodes"].as_object().unwrap();
        assert_eq!(nodes.len(), topology.nodes.len());
        for (node, about) in nodes {
            let known = ["kind", "image", "network-mode", "binds", "exec", "labels"];
            assert!(
                about
                    .as_object()
                    .unwrap()
                    .keys()
                    .all(|key| known.contains(&key.as_str()))
            );
            assert_eq!(
                (&about["kind"], &about["image"]),
                (&"linux".into(), &"image:1".into())
            );
            for bind in about["binds"].as_array().unwrap() {
                let (own, _) = bind.as_str().unwrap().split_once(':').unwrap();
                let written = files
                    .iter()
                    .any(|(path, _)| Path::new(path).starts_with(own));
                assert!(written, "{node}: {own}");
            }
        }
        let links = document["topology"]["links"].as_array().unwrap();
        assert_eq!(links.len(), topology.links.len());
        let mut seen = BTreeSet::new();
        for link in links {
            let ends = link["endpoints"].as_array().unwrap();
            assert_eq!(ends.len(), 2);
            for end in ends {
                let (node, interface) = end.as_str().unwrap().split_once(':').unwrap();
                topology.plug(node, interface).unwrap();
                assert!(seen.insert((node, interface)), "{node}:{interface} twice");
            }
        }
    }
}

#[test]
fn impairments_are_written_for_netem() {
    let files = example("two-sites")
        .export(Format::Containerlab, None)
        .unwrap();
    let script = file(&files, "phone/setup.sh");
    assert!(
        script.contains("dev eth0 root netem delay 5ms 2ms loss 1% rate 2000000bit limit 22\n"),
        "{script}"
    );
    let switch = file(&files, "west/setup.sh");
    assert!(
        switch.contains("dev phone root netem delay 5ms 2ms loss 1%\n"),
        "{switch}"
    );
    let router = file(&files, "r1/setup.sh");
    assert!(
        router.contains("dev eth1 root netem delay 20ms\n"),
        "{router}"
    );
    assert!(file(&files, "s1/hamp.toml").contains("hello_ms = 200"));
    assert!(file(&files, "s1/setup.sh").contains("setsid hamp-lab who >/var/log/who.log"));
}

#[test]
fn a_switch_of_kathara_is_a_domain_unless_it_does_more() {
    let plain = Topology::new("t").switch("lan").host("one");
    let plain = plain.link("lan", &["10.0.0.1/24"]);
    let files = plain.export(Format::Kathara, None).unwrap();
    let conf = file(&files, "lab.conf");
    assert!(
        conf.contains("one[0]=\"lan/02:15:46:00:01:00\"\n"),
        "{conf}"
    );
    assert!(!conf.contains("lan["), "{conf}");
    let files = example("trunk").export(Format::Kathara, None).unwrap();
    let conf = file(&files, "lab.conf");
    assert!(conf.contains("core[0]=\"edge__core__0\"\n"), "{conf}");
    let far = file(&files, "far.startup");
    assert!(
        far.contains("dev eth0 down name lab.0\nip link set dev lab.0 name uplink\n"),
        "{far}"
    );
    let error = Topology::new("t")
        .host("A-b")
        .host("a-B")
        .export(Format::Kathara, None);
    assert!(error.unwrap_err().to_string().contains("both a_b"));
    let error = Topology::new("t")
        .host("shared")
        .export(Format::Kathara, None);
    assert!(error.unwrap_err().to_string().contains("keeps that name"));
}

/// Kathará's own parser, where Python has it (`pip install kathara`); `KATHARA_PYTHON` names another
/// interpreter than `python3`.
#[test]
fn kathara_reads_its_files() -> Result<()> {
    skippable(|| {
        const READ: &str = "
import json, sys
from Kathara.parser.netkit.LabParser import LabParser
lab = LabParser.parse(sys.argv[1])
print(json.dumps({name: {str(at): one.link.name for at, one in device.interfaces.items()}
                  for name, device in lab.machines.items()}))";
        let interpreter = std::env::var_os("KATHARA_PYTHON").unwrap_or("python3".into());
        let python = |arguments: &[&str]| Command::new(&interpreter).args(arguments).output();
        if !python(&["-c", "import Kathara"]).is_ok_and(|output| output.status.success()) {
            return Err(skip("python3 has no module Kathara"));
        }
        for name in examples() {
            let name = name.as_str();
            let (topology, place) = (example(name), Place::new(name));
            let files = topology.export(Format::Kathara, None)?;
            write(&place.0, &files)?;
            let path = place.0.to_str().context("path")?;
            let output = python(&["-c", READ, path])?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success() && said.is_empty(), "{name}: {said}");
            let devices: Value = serde_json::from_slice(&output.stdout)?;
            for (index, node) in topology.hosts() {
                let interfaces = devices[&node.name].as_object().context("no device")?;
                ensure!(
                    interfaces.len() == topology.plugs(index).count(),
                    "{}",
                    node.name
                );
            }
            ensure!(write(&place.0, &files).is_err(), "nothing is overwritten");
        }
        Ok(())
    })
}

/// The scripts run in hosts that have only cables, and then the network works.
#[test]
fn the_scripts_configure_bare_hosts() -> Result<()> {
    skippable(|| {
        let sites = example("two-sites");
        let mut bare = sites.clone();
        for node in &mut bare.nodes {
            node.kind = Kind::Host;
            (node.hamp, node.routes) = (None, Vec::new());
            node.programs.clear();
        }
        for end in bare.links.iter_mut().flat_map(|link| &mut link.ends) {
            end.addresses.clear();
            end.sends = testbed::Impairment::default();
            end.mac[5] ^= 0x80;
        }
        let lab = Lab::new(&bare)?;
        for (path, script) in sites.export(Format::Containerlab, None)? {
            let Some(node) = path.strip_suffix("/setup.sh") else {
                continue;
            };
            let host = lab.host(node);
            // What is missing here (netem, perhaps) may fail; the rest shows below.
            let script = script.replace("/var/log", "/run/lab/log");
            host.run(&["sh", "-c", &script])?;
        }
        for to in ["10.0.2.12", "fd00:2::12"] {
            let ping = ["ping", "-c1", "-W2", to];
            testbed::wait::until("ping", std::time::Duration::from_secs(10), || {
                lab.host("s1")
                    .run(&ping)
                    .is_ok_and(|output| output.status.success())
                    .then_some(())
            })?;
        }
        let link = lab.host("s1").sh("ip link show eth0")?;
        ensure!(link.contains("02:15:46:00:00:00"), "{link}");
        Ok(())
    })
}
