//! What a picture says about a node: its role, its interfaces, what is wrong with its cables.

use std::time::Duration;

use crate::impair::Impairment;
use crate::picture::wrap;
use crate::topology::{Kind, Topology};

/// Characters in a line about an impairment, about as long as an address.
const LONG: usize = 24;

/// The anycast addresses that a node serves, as its `hamp.toml` has them.
pub(super) fn serves(topology: &Topology, node: usize) -> Vec<String> {
    let Some(table) = table(topology, node) else {
        return Vec::new();
    };
    let member = table.get("member").and_then(toml::Value::as_table);
    let list = |key: &str| {
        let values = member
            .and_then(|m| m.get(key))
            .and_then(toml::Value::as_array);
        let values = values.into_iter().flatten();
        values
            .filter_map(|v| v.as_str().map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let mut all = list("addresses");
    all.extend(list("prefixes"));
    all
}

fn table(topology: &Topology, node: usize) -> Option<toml::Table> {
    toml::from_str(topology.nodes[node].hamp.as_deref()?).ok()
}

/// What a node does in hamp, one a line; empty if it does not run it.
pub(super) fn roles(topology: &Topology, node: usize) -> Vec<String> {
    let mut roles: Vec<String> = serves(topology, node)
        .into_iter()
        .map(|address| format!("serves {address}"))
        .collect();
    if let Some(table) = table(topology, node) {
        for role in ["client", "router"] {
            let on = table.get(role).and_then(toml::Value::as_table);
            let off = on
                .and_then(|t| t.get("enabled"))
                .and_then(toml::Value::as_bool);
            if on.is_some() && off != Some(false) {
                roles.push(format!("hamp {role}"));
            }
        }
        if roles.is_empty() {
            roles.push("runs hamp".into());
        }
    }
    roles
}

/// Everything below a node's name, one text a line.
pub(super) fn lines(topology: &Topology, node: usize) -> Vec<String> {
    let mut lines = roles(topology, node);
    for (_, own, other) in topology.plugs(node) {
        let name = &own.interface;
        let mut addresses = own.addresses.iter();
        match addresses.next() {
            Some(first) => lines.push(format!("{name} {first}")),
            None => lines.push(name.clone()),
        }
        let indent = " ".repeat(name.chars().count() + 1);
        lines.extend(addresses.map(|more| format!("{indent}{more}")));
        // A switch has no room for what it does to the frames it sends; its neighbour says it.
        let switch = topology.nodes[other.node].kind == Kind::Switch;
        let back = if switch {
            other.sends
        } else {
            Impairment::default()
        };
        for way in directions(&own.sends, &back) {
            let parts = wrap(&way, LONG, 4);
            lines.extend(parts.iter().map(|part| format!("{indent}{part}")));
        }
    }
    let programs: Vec<_> = topology.nodes[node]
        .programs
        .iter()
        .map(|p| p.name.as_str())
        .collect();
    if !programs.is_empty() {
        lines.push(format!("runs {}", programs.join(", ")));
    }
    lines
}

/// What a switch is called, with what happens on its cables to other switches.
pub(super) fn switch(topology: &Topology, node: usize) -> String {
    let mut text = topology.nodes[node].name.clone();
    for (_, own, other) in topology.plugs(node) {
        let peer = &topology.nodes[other.node];
        if peer.kind == Kind::Switch && !own.sends.is_none() {
            text += &format!(" \u{b7} to {}: {}", peer.name, words(&own.sends));
        }
    }
    text
}

/// What happens out of an interface and into it.
fn directions(out: &Impairment, back: &Impairment) -> Vec<String> {
    if !out.is_none() && out == back {
        return vec![format!("both ways: {}", words(out))];
    }
    let way =
        |name: &str, how: &Impairment| (!how.is_none()).then(|| format!("{name}: {}", words(how)));
    [way("out", out), way("in", back)]
        .into_iter()
        .flatten()
        .collect()
}

/// An impairment in a few words.
pub(super) fn words(how: &Impairment) -> String {
    let mut parts = Vec::new();
    if !how.delay.is_zero() {
        let spread = if how.jitter.is_zero() {
            String::new()
        } else {
            format!(" \u{b1} {}", time(how.jitter))
        };
        parts.push(format!("{}{spread}", time(how.delay)));
    }
    for (share, what) in [
        (how.loss, "lost"),
        (how.duplicate, "twice"),
        (how.reorder, "early"),
    ] {
        if share > 0.0 {
            parts.push(format!(
                "{} % {what}",
                crate::picture::short(share * 100.0, 3)
            ));
        }
    }
    if let Some(rate) = how.rate_bps {
        parts.push(bits(rate));
    }
    if how.queue_bytes > 0 {
        parts.push(format!("queue {} bytes", how.queue_bytes));
    }
    parts.join(", ")
}

fn time(span: Duration) -> String {
    format!("{} ms", crate::picture::short(span.as_secs_f64() * 1e3, 3))
}

fn bits(rate: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let rate = rate as f64;
    let (unit, name) = match rate {
        r if r >= 1e9 => (1e9, "Gbit/s"),
        r if r >= 1e6 => (1e6, "Mbit/s"),
        r if r >= 1e3 => (1e3, "kbit/s"),
        _ => (1.0, "bit/s"),
    };
    format!("{} {name}", crate::picture::short(rate / unit, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_impairment_is_told_in_words() {
        let how = Impairment {
            jitter: Duration::from_micros(1500),
            loss: 0.01,
            rate_bps: Some(2_500_000),
            ..Impairment::delay_ms(10)
        };
        assert_eq!(words(&how), "10 ms \u{b1} 1.5 ms, 1 % lost, 2.5 Mbit/s");
        let back = Impairment::default();
        assert_eq!(directions(&how, &how).len(), 1);
        assert_eq!(directions(&back, &how), [format!("in: {}", words(&how))]);
    }

    #[test]
    fn a_card_says_what_a_node_does_and_where_it_is_plugged_in() {
        let topology = Topology::new("t")
            .switch("lan")
            .host("a")
            .link("lan", &["10.0.0.1/24", "fd00::1/64"])
            .impaired(Impairment::delay_ms(3))
            .hamp("[member]\naddresses = [\"198.18.0.1\"]\n[client]\nenabled = false\n")
            .program("web", &["nginx"]);
        assert_eq!(
            lines(&topology, 1),
            [
                "serves 198.18.0.1",
                "eth0 10.0.0.1/24",
                "     fd00::1/64",
                "     both ways: 3 ms",
                "runs web"
            ]
        );
    }
}
