//! What the lab's switches and the intruder's host need before anything runs.

use anyhow::Result;

use super::{A4, A6};
use crate::lab::mac_text;
use crate::topology::{self, Topology};
use crate::{Host, Lab};

/// Fixes which port each host is at, so that nobody gets frames for having sent one in another's
/// name: what is left is what the protocol has to refuse.
pub(super) fn harden_switches(lab: &Lab) -> Result<()> {
    let topology = lab.topology();
    for (index, node) in topology.nodes.iter().enumerate() {
        if node.kind != topology::Kind::Switch {
            continue;
        }
        let mut text = String::new();
        for (_, own, other) in topology.plugs(index) {
            for mac in behind(topology, index, other.node, other.mac) {
                let (mac, port) = (mac_text(mac), &own.interface);
                text += &format!("bridge fdb replace {mac} dev {port} master static\n");
            }
            text += &format!("bridge link set dev {} learning off\n", own.interface);
        }
        lab.host(&node.name).sh(&text)?;
    }
    Ok(())
}

/// Link-layer addresses of the hosts that a switch reaches by a port.
fn behind(topology: &Topology, switch: usize, at: usize, mac: [u8; 6]) -> Vec<[u8; 6]> {
    if topology.nodes[at].kind != topology::Kind::Switch {
        return vec![mac];
    }
    let others = topology
        .plugs(at)
        .filter(|(_, _, other)| other.node != switch);
    others
        .flat_map(|(_, _, other)| behind(topology, at, other.node, other.mac))
        .collect()
}

/// The intruder answers what is sent to it, whatever for, and nothing that its kernel would say by
/// itself.
pub(super) fn settle_intruder(host: &Host) -> Result<()> {
    host.sysctl("ipv4/conf/all/arp_ignore", "1")?;
    let mut rules = String::new();
    for (own, (v4, v6)) in [
        ("eth0", ("10.15.46.1", "fd15:46::1")),
        ("eth1", ("10.15.47.1", "fd15:47::1")),
    ] {
        let syn = "tcp flags & (syn | ack) == syn";
        rules += &format!("iifname {own} ip daddr {A4} {syn} ip daddr set {v4}\n");
        rules += &format!("iifname {own} ip6 daddr {A6} {syn} ip6 daddr set {v6}\n");
    }
    host.sh(&format!(
        "ip address add {A4}/32 dev lo\nip address add {A6}/128 dev lo nodad\n\
         nft -f - <<'END'\ntable inet intruder {{ chain in {{\n\
         type filter hook prerouting priority raw\n{rules}}}\n}}\nEND"
    ))
    .map(drop)
}
