//! What a node does to itself, as a shell script for a container with iproute2.

use std::fmt::Write as _;

use anyhow::Result;

use crate::impair::{Impairment, QUEUE_BYTES};
use crate::lab::mac_text;
use crate::topology::{End, Kind, Topology, Via};

/// Where a node finds its `hamp.toml`.
pub(super) const HAMP_CONFIG: &str = "/etc/hamp/hamp.toml";
/// The length of a frame, for queues that count frames.
const FRAME_BYTES: usize = 1514;

/// The script of a node. `given` is what the tool calls an interface, by the place of its cable.
pub(super) fn script(
    topology: &Topology,
    index: usize,
    given: impl Fn(usize, &End) -> String,
) -> Result<String> {
    let node = &topology.nodes[index];
    let plugs: Vec<_> = topology.plugs(index).map(|(_, own, _)| own).collect();
    let mut text = String::from("#!/bin/sh\nPATH=/shared:$PATH\n");
    rename(&mut text, &plugs, given);
    // NOTE(unwrap): writing to a String cannot fail, here and below.
    match node.kind {
        Kind::Host => {}
        Kind::Router => {
            text.push_str("sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1\n");
        }
        Kind::Switch => {
            text.push_str("ip link add br0 type bridge forward_delay 0\nip link set dev br0 up\n");
        }
    }
    for own in &plugs {
        let name = &own.interface;
        if node.kind == Kind::Switch {
            writeln!(text, "ip link set dev {name} master br0 up").unwrap();
        } else {
            let mac = mac_text(own.mac);
            writeln!(text, "ip link set dev {name} address {mac}").unwrap();
            for net in &own.addresses {
                let nodad = if net.addr().is_ipv6() { " nodad" } else { "" };
                writeln!(text, "ip address add {net} dev {name}{nodad}").unwrap();
            }
            writeln!(text, "ip link set dev {name} up").unwrap();
        }
        if !own.sends.is_none() {
            let netem = netem(&own.sends);
            writeln!(text, "tc qdisc replace dev {name} root netem{netem}").unwrap();
        }
    }
    for route in &node.routes {
        match &route.via {
            Via::Gateway(via) => writeln!(text, "ip route add {} via {via}", route.to),
            Via::Interface(name) => writeln!(text, "ip route add {} dev {name}", route.to),
        }
        .unwrap();
    }
    let hamp = topology.hamp_config(index)?.map(|_| {
        let command = ["hamp", "run", "--config", HAMP_CONFIG].map(String::from);
        ("hamp", command.to_vec())
    });
    let programs = node.programs.iter();
    let programs = programs.map(|program| (program.name.as_str(), program.command.clone()));
    for (name, command) in hamp.into_iter().chain(programs) {
        let words = shell_words::join(command);
        let log = shell_words::quote(name);
        writeln!(text, "setsid {words} >/var/log/{log}.log 2>&1 </dev/null &").unwrap();
    }
    Ok(text)
}

/// Gives interfaces their names; by way of a third name, as one may have that of another.
fn rename(text: &mut String, plugs: &[&End], given: impl Fn(usize, &End) -> String) {
    let all = plugs.iter().enumerate();
    let wrong: Vec<_> = all
        .filter_map(|(at, own)| {
            let given = given(at, own);
            (given != own.interface).then_some((at, given, own))
        })
        .collect();
    for (at, given, _) in &wrong {
        writeln!(text, "ip link set dev {given} down name lab.{at}").unwrap();
    }
    for (at, _, own) in &wrong {
        writeln!(text, "ip link set dev lab.{at} name {}", own.interface).unwrap();
    }
}

/// An impairment in the words of tc-netem(8).
fn netem(how: &Impairment) -> String {
    let mut text = String::new();
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let percent = |probability: f64| probability * 100.0;
    if !how.delay.is_zero() {
        write!(text, " delay {}ms", ms(how.delay)).unwrap();
    }
    if !how.jitter.is_zero() {
        write!(text, " {}ms", ms(how.jitter)).unwrap();
    }
    for (word, probability) in [
        ("loss", how.loss),
        ("duplicate", how.duplicate),
        ("reorder", how.reorder),
    ] {
        if probability > 0.0 {
            write!(text, " {word} {}%", percent(probability)).unwrap();
        }
    }
    if let Some(rate) = how.rate_bps {
        let bytes = match how.queue_bytes {
            0 => QUEUE_BYTES,
            bytes => bytes,
        };
        let frames = bytes.div_ceil(FRAME_BYTES);
        write!(text, " rate {rate}bit limit {frames}").unwrap();
    }
    text
}
