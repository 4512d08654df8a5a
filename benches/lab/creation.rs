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
    label: "of it: start hosts",
    ..CREATE
};
const LINKS: Metric = Metric {
    name: "create_links_ms",
    label: "of it: make links",
    ..CREATE
};
const ADDRESSES: Metric = Metric {
    name: "create_addresses_ms",
    label: "of it: give addresses",
    ..CREATE
};

const SMALL: &str = "3 hosts";
const LARGE: [(&str, usize); 2] = [("100 hosts, 1 switch", 1), ("100 hosts, 10 switches", 10)];

/// Labs beside shell scripts.
pub(crate) fn compare(bench: &mut Bench) -> Result<()> {
    side_by_side(bench, SMALL, &network(3, 1), (15, 7))?;
    bench.limit(BOTH, SMALL, "lab", Limit::ValueAtMost(300.0));
    let hosts = usize::try_from(bench.amount("hosts_of_large_lab", 100, 100))?;
    for (case, switches) in LARGE {
        side_by_side(bench, case, &network(hosts, switches), (7, 1))?;
        bench.limit(BOTH, case, "lab", Limit::ValueAtMost(10_000.0));
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
    case: &'static str,
    network: &Topology,
    rounds: (usize, usize),
) -> Result<()> {
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
        Ok(figures)
    };
    let sides = Sides::baseline("ip commands", || shell(Style::Commands))?
        .and("ip -batch", || shell(Style::Batch))?
        .and("lab", || Ok(lab))?;
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
