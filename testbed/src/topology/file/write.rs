//! A topology as the file that describes it.

use std::fmt::Write as _;

use anyhow::{Context, Result};
use toml::{Table, Value};

use crate::lab::mac_text;
use crate::topology::build::mac;
use crate::topology::{Clock, End, Kind, Link, Node, Topology, Via};

pub(super) fn write(topology: &Topology) -> Result<String> {
    let mut text = format!("name = {}\n", string(&topology.name));
    let own: Vec<Vec<usize>> = (0..topology.nodes.len())
        .map(|node| own_links(topology, node))
        .collect();
    for (index, node) in topology.nodes.iter().enumerate() {
        write_node(&mut text, topology, index, node, &own[index])
            .with_context(|| node.name.clone())?;
    }
    for (index, link) in topology.links.iter().enumerate() {
        if !own.iter().flatten().any(|listed| *listed == index) {
            write_cable(&mut text, topology, index, link);
        }
    }
    Ok(text)
}

/// The cables that can be among the `links` of a node. These number its interfaces first, so the
/// list ends where another cable comes.
fn own_links(topology: &Topology, node: usize) -> Vec<usize> {
    let kind = topology.nodes[node].kind;
    let is_switch = |end: &End| topology.nodes[end.node].kind == Kind::Switch;
    if kind == Kind::Switch {
        // A trunk belongs to the switch it was plugged in from.
        let trunks = topology.plugs(node).filter(|(index, _, other)| {
            is_switch(other) && topology.links[*index].ends[0].node == node
        });
        return trunks.map(|(index, _, _)| index).collect();
    }
    let own = topology.plugs(node);
    let own = own.take_while(|(_, _, other)| is_switch(other) && other.addresses.is_empty());
    own.map(|(index, _, _)| index).collect()
}

fn write_node(
    text: &mut String,
    topology: &Topology,
    index: usize,
    node: &Node,
    links: &[usize],
) -> Result<()> {
    // NOTE(unwrap): writing to a String cannot fail, here and below.
    writeln!(text, "\n[{}.{}]", node.kind.name(), key(&node.name)).unwrap();
    if let Some(site) = &node.site {
        writeln!(text, "site = {}", string(site)).unwrap();
    }
    let Clock { ppm, ahead_ms } = node.clock;
    if node.clock != Clock::default() {
        let clock = [("ppm", ppm.to_string()), ("ahead_ms", ahead_ms.to_string())];
        writeln!(text, "clock = {}", inline(&clock)).unwrap();
    }
    let links = links.iter().enumerate().map(|(at, link)| {
        let ends = &topology.links[*link].ends;
        let (own, other) = if ends[0].node == index {
            (&ends[0], &ends[1])
        } else {
            (&ends[1], &ends[0])
        };
        let mut table = vec![("to", string(&topology.nodes[other.node].name))];
        if !own.addresses.is_empty() {
            table.push(("addresses", addresses(own)));
        }
        if node.kind != Kind::Switch {
            if own.interface != format!("eth{at}") {
                table.push(("interface", string(&own.interface)));
            }
            if own.mac != mac(node.kind, index, at) {
                table.push(("mac", string(&mac_text(own.mac))));
            }
        }
        table.extend(impairments(own, other));
        inline(&table)
    });
    list(text, "links", links);
    let routes = node.routes.iter().map(|route| {
        let via = match &route.via {
            Via::Gateway(via) => via.to_string(),
            Via::Interface(name) => name.clone(),
        };
        inline(&[("to", string(&route.to.to_string())), ("via", string(&via))])
    });
    list(text, "routes", routes);
    if !node.programs.is_empty() {
        writeln!(
            text,
            "\n[{}.{}.programs]",
            node.kind.name(),
            key(&node.name)
        )
        .unwrap();
        for program in &node.programs {
            let words: Vec<_> = program.command.iter().map(|word| string(word)).collect();
            writeln!(text, "{} = [{}]", key(&program.name), words.join(", ")).unwrap();
        }
    }
    if let Some(hamp) = &node.hamp {
        let hamp: Table = toml::from_str(hamp).context("hamp")?;
        let of = |key: &str, value: Table| Table::from_iter([(key.to_owned(), value.into())]);
        let whole = of(node.kind.name(), of(&node.name, of("hamp", hamp)));
        write!(text, "\n{}", toml::to_string(&whole)?).unwrap();
    }
    Ok(())
}

fn write_cable(text: &mut String, topology: &Topology, index: usize, link: &Link) {
    let [a, b] = &link.ends;
    let pair = |each: &dyn Fn(&End) -> String| format!("[{}, {}]", each(a), each(b));
    let mut keys = vec![(
        "between",
        pair(&|end| string(&topology.nodes[end.node].name)),
    )];
    if link.ends.iter().any(|end| !end.addresses.is_empty()) {
        keys.push(("addresses", pair(&addresses)));
    }
    let number = |end: &End| {
        let mut plugs = topology.plugs(end.node);
        plugs.position(|(at, _, _)| at == index).unwrap_or_default()
    };
    let is_host = |end: &&End| topology.nodes[end.node].kind != Kind::Switch;
    let hosts = || link.ends.iter().filter(is_host);
    if hosts().any(|end| end.interface != format!("eth{}", number(end))) {
        keys.push(("interfaces", pair(&|end| string(&end.interface))));
    }
    let derived = |end: &End| mac(topology.nodes[end.node].kind, end.node, number(end));
    if hosts().any(|end| end.mac != derived(end)) {
        keys.push(("macs", pair(&|end| string(&mac_text(end.mac)))));
    }
    keys.extend(impairments(a, b));
    writeln!(text, "\n[[cable]]").unwrap();
    for (key, value) in keys {
        writeln!(text, "{key} = {value}").unwrap();
    }
}

/// The keys of the impairments of both directions: those they share, then `out` and `in`.
fn impairments(own: &End, other: &End) -> Vec<(&'static str, String)> {
    let table = |end: &End| Table::try_from(end.sends).unwrap_or_default();
    let (out, back) = (table(own), table(other));
    if out == back {
        let known = [
            "delay_ms",
            "jitter_ms",
            "loss_percent",
            "duplicate_percent",
            "reorder_percent",
            "rate_mbit",
            "queue_kbytes",
        ];
        let set = known
            .into_iter()
            .filter_map(|key| Some((key, out.get(key)?)));
        return set.map(|(key, value)| (key, number(value))).collect();
    }
    [("out", out), ("in", back)]
        .into_iter()
        .filter(|(_, table)| !table.is_empty())
        .map(|(key, table)| {
            let keys: Vec<_> = table
                .iter()
                .map(|(key, value)| (key.as_str(), number(value)))
                .collect();
            (key, inline(&keys))
        })
        .collect()
}

/// A number without the `.0` of a whole one.
fn number(value: &Value) -> String {
    let text = value.to_string();
    text.strip_suffix(".0").map_or(text.clone(), Into::into)
}

fn addresses(end: &End) -> String {
    let all: Vec<_> = end
        .addresses
        .iter()
        .map(|net| string(&net.to_string()))
        .collect();
    format!("[{}]", all.join(", "))
}

fn inline(keys: &[(&str, String)]) -> String {
    let keys: Vec<_> = keys
        .iter()
        .map(|(key, value)| format!("{key} = {value}"))
        .collect();
    format!("{{ {} }}", keys.join(", "))
}

/// A list with one element a line, or on the line of its key if there is one element; nothing if
/// there is none.
fn list(text: &mut String, key: &str, items: impl Iterator<Item = String>) {
    let items: Vec<_> = items.collect();
    match &items[..] {
        [] => {}
        [one] => writeln!(text, "{key} = [{one}]").unwrap(),
        all => writeln!(text, "{key} = [\n  {},\n]", all.join(",\n  ")).unwrap(),
    }
}

/// A string as TOML writes it.
fn string(text: &str) -> String {
    Value::from(text).to_string()
}

/// A key as TOML writes it.
fn key(name: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !name.is_empty() && name.bytes().all(plain) {
        name.into()
    } else {
        string(name)
    }
}
