//! The same network in plain shell: what one would write without this library.

use std::fmt::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use testbed::lab::mac_text;
use testbed::topology::{Kind, Via};
use testbed::{Host, Lab, Topology};

/// How the commands are given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// An `ip` each.
    Commands,
    /// `ip -batch`: one for all namespaces and links, and one for each namespace.
    Batch,
}

/// A shell in a world of its own: `/run/netns` is private to it.
pub(crate) struct Shell {
    world: Lab,
    create: String,
    remove: String,
}

impl Shell {
    /// Scripts for `topology`, and where to run them.
    pub(crate) fn new(topology: &Topology, style: Style) -> Result<Self> {
        let world = Lab::new(&Topology::new("world").host("shell"))?;
        let around = around(topology);
        let inside = inside(topology);
        let mut create = String::new();
        let mut remove = String::new();
        // Writing to a string cannot fail.
        match style {
            Style::Commands => {
                for line in around {
                    let _ = writeln!(create, "ip {line}");
                }
                for (name, lines) in inside {
                    for line in lines {
                        let _ = writeln!(create, "ip -n {name} {line}");
                    }
                    let _ = writeln!(remove, "ip netns del {name}");
                }
            }
            Style::Batch => {
                let batch = |ip: &str, lines: &[String]| {
                    format!("{ip} -batch - <<'END'\n{}\nEND\n", lines.join("\n"))
                };
                create += &batch("ip", &around);
                let names: Vec<_> = inside.iter().map(|(name, _)| name).collect();
                let removals: Vec<_> = names
                    .iter()
                    .map(|name| format!("netns del {name}"))
                    .collect();
                remove += &batch("ip", &removals);
                for (name, lines) in &inside {
                    create += &batch(&format!("ip -n {name}"), lines);
                }
            }
        }
        Ok(Self {
            world,
            create,
            remove,
        })
    }

    /// Makes the namespaces, links and addresses.
    pub(crate) fn create(&self) -> Result<()> {
        run(self.world.host("shell"), &self.create)
    }

    /// Removes them.
    pub(crate) fn remove(&self) -> Result<()> {
        run(self.world.host("shell"), &self.remove)
    }
}

/// Runs a script to its end, waiting for nothing but it.
fn run(host: &Host, script: &str) -> Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-ec", script]).stdin(Stdio::null());
    let output = host.inside(move || shell.output())?.context("start sh")?;
    if !output.status.success() {
        bail!("sh: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

/// Namespaces, and the links between them.
fn around(topology: &Topology) -> Vec<String> {
    let spaces = topology.nodes.iter();
    let spaces = spaces.map(|node| format!("netns add {}", node.name));
    let links = topology.links.iter().map(|link| {
        let [a, b] = &link.ends;
        format!(
            "link add name {} address {} netns {} type veth peer name {} address {} netns {}",
            a.interface,
            mac_text(a.mac),
            topology.nodes[a.node].name,
            b.interface,
            mac_text(b.mac),
            topology.nodes[b.node].name,
        )
    });
    spaces.chain(links).collect()
}

/// What is done in each namespace.
fn inside(topology: &Topology) -> Vec<(String, Vec<String>)> {
    let nodes = topology.nodes.iter().enumerate();
    let lines = nodes.map(|(index, node)| {
        let mut lines = vec!["link set lo up".to_owned()];
        let ends = topology.links.iter().flat_map(|link| &link.ends);
        let ends = ends.filter(|end| end.node == index);
        if node.kind == Kind::Switch {
            lines.push("link add br0 type bridge forward_delay 0".to_owned());
            lines.push("link set br0 up".to_owned());
            lines.extend(ends.map(|end| format!("link set {} master br0 up", end.interface)));
        } else {
            for end in ends {
                for address in &end.addresses {
                    let nodad = if address.addr().is_ipv6() {
                        " nodad"
                    } else {
                        ""
                    };
                    lines.push(format!(
                        "address add {address} dev {}{nodad}",
                        end.interface
                    ));
                }
                lines.push(format!("link set {} up", end.interface));
            }
        }
        for route in &node.routes {
            lines.push(match &route.via {
                Via::Gateway(via) => format!("route add {} via {via}", route.to),
                Via::Interface(dev) => format!("route add {} dev {dev}", route.to),
            });
        }
        (node.name.clone(), lines)
    });
    lines.collect()
}
