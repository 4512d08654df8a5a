//! TCP over links of a lab, beside a veth pair made by hand: links that are not impaired, and what
//! the relay of an impaired one takes.
//!
//! The limit is for bytes per second of processor time with both ends on one processor: the path is
//! then all that differs, and other work on the machine takes nothing from it. What comes over in a
//! second with a processor for each end says how much that is, with much more noise.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};
use testbed::{Impairment, Lab, Topology};

use crate::side_by_side::tcp::{Towards, listen, transfer};
use crate::side_by_side::{Bench, Better, Limit, Metric, Sides, Unit};

const THROUGHPUT: Metric = Metric {
    name: "throughput_bytes_per_s",
    label: "TCP, two processors",
    unit: Unit::BytesPerSecond,
    better: Better::Higher,
    noise_limit: 0.10,
    part_of: None,
};
const OF_ONE: Metric = Metric {
    name: "throughput_bytes_per_processor_s",
    label: "TCP, one processor",
    noise_limit: 0.03,
    ..THROUGHPUT
};
const CASES: [&str; 2] = ["IPv4", "IPv6"];
const ADDRESSES: [[&str; 2]; 2] = [
    ["10.15.46.1/24", "fd15:46::1/64"],
    ["10.15.46.2/24", "fd15:46::2/64"],
];

/// How two hosts are connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    /// A veth pair that `ip` made.
    ByHand,
    /// A cable of the topology.
    Cable,
    /// Two cables and a switch between them.
    Switch,
    /// A cable that was impaired once, and is not any more: its relay stays.
    Relay,
    /// A cable with so little loss that none happens, for which frames are taken apart.
    Loss,
}

/// Links of a lab beside a link made by hand.
pub(crate) fn compare(bench: &mut Bench) -> Result<()> {
    let lasts = Duration::from_millis(bench.amount("transfer_ms", 200, 60));
    let side = |how: Connection| {
        let lab = connect(how)?;
        let listeners = [
            listen(lab.host("b"), SocketAddr::new("10.15.46.2".parse()?, 8_000))?,
            listen(lab.host("b"), SocketAddr::new("fd15:46::2".parse()?, 8_000))?,
        ];
        Ok(move |case: &str| {
            let ends = (lab.host("a"), lab.host("b"));
            let listener = &listeners[usize::from(case == CASES[1])];
            let to = listener.local_addr()?;
            let moved = |on| transfer(ends, to, listener, lasts, Towards::Server, on);
            Ok(vec![
                (OF_ONE, moved((1, 1))?.per_processor_s),
                (THROUGHPUT, moved((0, 1))?.per_s),
            ])
        })
    };
    let sides = Sides::baseline("veth by hand", || side(Connection::ByHand))?
        .and("lab's cable", || side(Connection::Cable))?
        .and("lab's switch", || side(Connection::Switch))?
        .and("relay", || side(Connection::Relay))?
        .and("relay, single frames", || side(Connection::Loss))?;
    bench.compare("throughput", (61, 7), &CASES, sides)?;
    for case in CASES {
        bench.limit(OF_ONE, case, "lab's cable", Limit::RatioAtLeast(0.97));
    }
    Ok(())
}

/// Two hosts, `a` and `b`.
fn connect(how: Connection) -> Result<Lab> {
    let [a, b] = &ADDRESSES;
    let network = Topology::new("pair");
    let network = match how {
        Connection::ByHand => network.host("a").host("b"),
        Connection::Cable => network.host("a").host("b").cable("a", b, a),
        Connection::Relay | Connection::Loss => {
            let once = Impairment::default().with_loss(1e-15);
            network.host("a").host("b").cable("a", b, a).impaired(once)
        }
        Connection::Switch => {
            let network = network.switch("w").host("a").link("w", a);
            network.host("b").link("w", b)
        }
    };
    let lab = Lab::new(&network)?;
    if how == Connection::Relay {
        lab.impair("b", "eth0", Impairment::default(), Impairment::default())?;
    }
    if how == Connection::ByHand {
        let [a, b] = ["a", "b"].map(|name| lab.host(name).pid().to_string());
        let link = ["link", "add", "eth0", "netns", &a, "type", "veth"];
        let peer = ["peer", "name", "eth0", "netns", &b];
        let status = Command::new("ip").args(link).args(peer).status()?;
        if !status.success() {
            bail!("ip link add: {status}");
        }
        for (name, [v4, v6]) in ["a", "b"].iter().zip(ADDRESSES) {
            lab.host(name).sh(&format!(
                "ip address add {v4} dev eth0; ip address add {v6} dev eth0 nodad; \
                 ip link set eth0 up"
            ))?;
        }
    }
    Ok(lab)
}
