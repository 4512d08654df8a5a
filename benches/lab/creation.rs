//! Creating and removing labs of 3 and of 100 hosts.

use std::time::{Duration, Instant};

use anyhow::Result;
use testbed::{Lab, Topology};

use crate::shell::{Shell, Style};
use crate::side_by_side::{Bench, Better, Limit, Measured, Metric, Sides, Unit};

const CREATE: Metric = Metric {
    name: "create_ms",
    label: "create",
    unit: Unit::Milliseconds,
    better: Better::Lower,
    noise_limit: 0.15,
    part_of: None,
};
const REMOVE: Metric = Metric {
    name: "remove_ms",
    label: "remove",
    ..CREATE
};
const BOTH: Metric = Metric {
    name: "create_and_remove_ms",
    label: "create and remove",
    ..CREATE
};
/// What the time goes on, of ours alone.
const HOSTS: Metric = Metric {
    name: "create_hosts_ms",
    label: "start hosts",
    part_of: Some(CREATE.name),
    ..CREATE
};
const LINKS: Metric = Metric {
    name: "create_links_ms",
    label: "make links",
    part_of: Some(CREATE.name),
    ..CREATE
};
const ADDRESSES: Metric = Metric {
    name: "create_addresses_ms",
    label: "give addresses",
    part_of: Some(CREATE.name),
    ..CREATE
};
const CARRIER: Metric = Metric {
    name: "create_carrier_ms",
    label: "wait for carriers",
    part_of: Some(CREATE.name),
    ..CREATE
};

/// How many switches the hosts of a large lab are plugged into.
const SWITCHES: [usize; 2] = [1, 10];

/// Labs beside shell scripts.
pub(crate) fn compare(bench: &mut Bench) -> Result<()> {
    let small = usize::try_from(bench.amount("hosts_of_small_lab", 3, 3))?;
    let limit = Limit::ValueAtMost(300.0);
    side_by_side(bench, (small, 1), (15, 7), limit)?;
    let large = usize::try_from(bench.amount("hosts_of_large_lab", 100, 20))?;
    for switches in SWITCHES {
        let limit = Limit::ValueAtMost(10_000.0);
        side_by_side(bench, (large, switches), (9, 3), limit)?;
    }
    Ok(())
}

/// So many hosts, spread over switches that are plugged into each other in a row.
fn network(hosts: usize, switches: usize) -> Topology {
    let none: [&str; 0] = [];
    let mut network = Topology::new("network");
    for switch in 0..switches {
        network = network.switch(&format!("w{switch}"));
        if let Some(before) = switch.checked_sub(1) {
            network = network.link(&format!("w{before}"), &none);
        }
    }
    for host in 0..hosts {
        let addresses = [
            format!("10.15.0.{}/24", host + 1),
            format!("fd15:46::{:x}/64", host + 1),
        ];
        network = network
            .host(&format!("h{host}"))
            .link(&format!("w{}", host % switches), &addresses);
    }
    network
}

fn side_by_side(
    bench: &mut Bench,
    (hosts, switches): (usize, usize),
    rounds: (usize, usize),
    limit: Limit,
) -> Result<()> {
    let plural = if switches == 1 { "" } else { "es" };
    let case = &format!("{hosts} hosts, {switches} switch{plural}");
    let network = &network(hosts, switches);
    let shell = |style: Style| {
        let shell = Shell::new(network, style)?;
        Ok(move |_: &str| {
            let (create, remove) = (timed(|| shell.create())?.1, timed(|| shell.remove())?.1);
            Ok(figures(create, remove))
        })
    };
    let lab = |_: &str| -> Result<Measured> {
        let (lab, create) = timed(|| Lab::new(network))?;
        let took = lab.took();
        let (_, remove) = timed(|| {
            drop(lab);
            Ok(())
        })?;
        let mut figures = figures(create, remove);
        figures.push((HOSTS, millis(took.hosts)));
        figures.push((LINKS, millis(took.links)));
        figures.push((ADDRESSES, millis(took.addresses)));
        figures.push((CARRIER, millis(took.carrier)));
        Ok(figures)
    };
    let sides = Sides::baseline("ip commands", || shell(Style::Commands))?
        .and("ip -batch", || shell(Style::Batch))?
        .and("lab", || Ok(lab))?;
    bench.limit(BOTH, case, "lab", limit);
    bench.compare(case, rounds, &[case], sides)
}

fn figures(create: Duration, remove: Duration) -> Measured {
    vec![
        (CREATE, millis(create)),
        (REMOVE, millis(remove)),
        (BOTH, millis(create + remove)),
    ]
}

fn timed<T>(body: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let before = Instant::now();
    Ok((body()?, before.elapsed()))
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
