//! Wiring: which hosts there are, what they are plugged into, and the cable that is pulled.
//!
//! Building is fast because little is started: hosts start side by side, all links are made by one
//! `ip -batch`, and each host sets its addresses with one more.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use ipnet::IpNet;

use crate::host::{Host, Interface, PATH, Starting};
use crate::process::collect;

/// A running lab. Dropping it ends all hosts.
#[derive(Debug)]
pub struct Lab {
    name: String,
    hosts: Vec<Host>,
}

/// What a lab is to consist of.
#[derive(Clone, Debug, Default)]
pub struct Builder {
    name: String,
    nodes: Vec<Node>,
}

#[derive(Clone, Debug)]
struct Node {
    name: String,
    switch: bool,
    links: Vec<(String, Vec<String>)>,
}

impl Builder {
    /// Adds an Ethernet switch: a host with a bridge `br0` and a port for each link, named after
    /// the host at its end.
    #[must_use]
    pub fn switch(mut self, name: &str) -> Self {
        self.nodes.push(Node {
            name: name.into(),
            switch: true,
            links: Vec::new(),
        });
        self
    }

    /// Adds a host; the [`link`](Self::link)s that follow are its.
    #[must_use]
    pub fn host(mut self, name: &str) -> Self {
        self.nodes.push(Node {
            name: name.into(),
            switch: false,
            links: Vec::new(),
        });
        self
    }

    /// Plugs the host named last into a switch, with these addresses (`10.0.0.1/24`, without
    /// duplicate detection).
    #[must_use]
    pub fn link(mut self, switch: &str, addresses: &[&str]) -> Self {
        if let Some(node) = self.nodes.last_mut() {
            let addresses = addresses.iter().map(ToString::to_string).collect();
            node.links.push((switch.into(), addresses));
        }
        self
    }

    /// Starts it all.
    pub fn build(self) -> Result<Lab> {
        if !crate::enter::is_entered() {
            bail!("testbed::enter() comes first");
        }
        for (index, node) in self.nodes.iter().enumerate() {
            // Interface names have 15 characters, and `.1` may follow.
            let ok = !node.name.is_empty()
                && node.name.len() <= 12
                && node
                    .name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'-');
            if !ok
                || self.nodes[..index]
                    .iter()
                    .any(|other| other.name == node.name)
            {
                bail!("{:?} is no name for a host, or names two", node.name);
            }
        }
        let starting: Vec<_> = self
            .nodes
            .iter()
            .map(|n| Starting::begin(&n.name))
            .collect::<Result<_>>()?;
        let hosts: Vec<_> = starting
            .into_iter()
            .map(Starting::finish)
            .collect::<Result<_>>()?;
        let mut lab = Lab {
            name: self.name,
            hosts,
        };
        lab.wire(&self.nodes)?;
        Ok(lab)
    }
}

impl Lab {
    /// Begins to describe a lab.
    pub fn builder(name: &str) -> Builder {
        Builder {
            name: name.into(),
            nodes: Vec::new(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All hosts and switches, in the order they were described.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A host or switch by its name.
    ///
    /// # Panics
    /// If the lab has none of that name: the caller described the lab itself. [`Lab::find`] does
    /// not panic.
    pub fn host(&self, name: &str) -> &Host {
        // NOTE(unwrap): the names come from the same program that described the lab.
        self.find(name)
            .unwrap_or_else(|| panic!("lab {} has no host {name}", self.name))
    }

    /// A host or switch by its name, if there is one.
    pub fn find(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|h| h.name() == name)
    }

    /// Pulls the cable of a host's interface at the switch (false) or plugs it in again (true): the
    /// host sees no carrier.
    pub fn carrier(&self, host: &str, interface: &str, up: bool) -> Result<()> {
        let host = self.host(host);
        let end = host.interfaces.iter().find(|i| i.name == interface);
        let end = end.with_context(|| format!("{} has no {interface}", host.name()))?;
        let state = if up { "up" } else { "down" };
        self.host(&end.switch)
            .run(&["ip", "link", "set", "dev", &end.port, state])?
            .ok()?;
        Ok(())
    }

    /// Makes links and addresses.
    fn wire(&mut self, nodes: &[Node]) -> Result<()> {
        let mut links = String::new();
        let mut inner: Vec<String> = vec!["link set lo up\n".into(); nodes.len()];
        for (index, node) in nodes.iter().enumerate() {
            if node.switch {
                inner[index]
                    .push_str("link add br0 type bridge forward_delay 0\nlink set br0 up\n");
            }
        }
        for (index, node) in nodes.iter().enumerate() {
            for (number, (switch, addresses)) in node.links.iter().enumerate() {
                let at = nodes.iter().position(|n| n.switch && n.name == *switch);
                let at = at.with_context(|| format!("{} is plugged into {switch:?}", node.name))?;
                let end = interface(index, node, number, switch, addresses)?;
                let mac = mac_text(end.mac);
                let (pid, name) = (self.hosts[index].pid(), &end.name);
                let (switch_pid, port) = (self.hosts[at].pid(), &end.port);
                // NOTE(unwrap): writing to a String cannot fail, here and below.
                writeln!(
                    links,
                    "link add name {port} netns {switch_pid} type veth peer name {name} \
                     address {mac} netns {pid}"
                )
                .unwrap();
                writeln!(inner[at], "link set dev {port} master br0 up").unwrap();
                for address in &end.addresses {
                    let nodad = if address.addr().is_ipv6() {
                        " nodad"
                    } else {
                        ""
                    };
                    writeln!(inner[index], "address add {address} dev {name}{nodad}").unwrap();
                }
                writeln!(inner[index], "link set dev {name} up").unwrap();
                self.hosts[index].interfaces.push(end);
            }
        }
        batch(&links, None).context("make links")?;
        // Switches last: a port that comes up then finds both ends there.
        let running: Vec<_> = inner
            .iter()
            .zip(&self.hosts)
            .map(|(text, host)| batch(text, Some(host)).with_context(|| host.name().to_owned()))
            .collect();
        running.into_iter().collect()
    }
}

fn interface(
    index: usize,
    node: &Node,
    number: usize,
    switch: &str,
    addresses: &[String],
) -> Result<Interface> {
    let addresses = addresses
        .iter()
        .map(|a| {
            a.parse::<IpNet>()
                .with_context(|| format!("{a:?} on {}", node.name))
        })
        .collect::<Result<_>>()?;
    let port = if number == 0 {
        node.name.clone()
    } else {
        format!("{}.{number}", node.name)
    };
    // Locally administered, and readable in a capture: host, then link.
    let mac = [
        0x02,
        0x15,
        0x46,
        0x00,
        u8::try_from(index)?,
        u8::try_from(number)?,
    ];
    Ok(Interface {
        name: format!("eth{number}"),
        switch: switch.into(),
        port,
        mac,
        addresses,
    })
}

/// A link-layer address as everybody writes it.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}

/// Runs `ip -batch` with this text, in a host or around all of them.
fn batch(text: &str, host: Option<&Host>) -> Result<()> {
    let mut command = Command::new("ip");
    command
        .args(["-batch", "-"])
        .env("PATH", PATH)
        .stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = match host {
        Some(host) => host.inside(move || command.spawn())?,
        None => command.spawn(),
    };
    let mut child = child.context("start ip (package iproute2)")?;
    let mut input = child.stdin.take().context("no pipe")?;
    input.write_all(text.as_bytes()).context("write to ip")?;
    drop(input);
    collect("ip -batch", child, Duration::from_secs(10))?.ok()?;
    Ok(())
}
