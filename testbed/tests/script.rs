//! A script in both worlds.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::Topology;
use testbed::load::Service;
use testbed::report::Kind;
use testbed::script::compare::compare;
use testbed::script::events::events;
use testbed::script::{Action, Manner, Script, World};

fn main() -> ExitCode {
    testbed::harness::main(&[
        ("kernel", || story(World::Kernel)),
        ("simulated", || story(World::Virtual(1))),
        ("both", both),
    ])
}

/// How far apart an event may be in the two worlds: hellos every 200 ms, not in step, and programs
/// that start.
const TOLERANCE: Duration = Duration::from_millis(300);

fn link() -> Topology {
    let member = |preference: u16| {
        format!(
            "[node]\nhello_ms = 200\n[member]\naddresses = [\"198.18.0.1\", \"2001:2:0:1546::1\"]\n\
             preference = {preference}\n"
        )
    };
    let who = ["hamp-lab", "who"];
    Topology::new("script")
        .switch("lan")
        .host("s1")
        .link("lan", &["10.15.46.11/24", "fd15:46::11/64"])
        .hamp(member(300))
        .program("who", &who)
        .host("s2")
        .link("lan", &["10.15.46.12/24", "fd15:46::12/64"])
        .hamp(member(200))
        .program("who", &who)
        .host("client")
        .link("lan", &["10.15.46.100/24", "fd15:46::100/64"])
        .hamp("[node]\nhello_ms = 200\n[client]\nenabled = true\n")
        .host("stock")
        .link("lan", &["10.15.46.101/24", "fd15:46::101/64"])
        .route("198.18.0.0/16", "eth0")
        .route("2001:2:0:1546::/112", "eth0")
}

fn script() -> Script {
    let (v4, v6) = ("198.18.0.1", "2001:2:0:1546::1");
    let mut script = Script::new(link());
    for address in [v4, v6] {
        let address = address.parse().unwrap();
        script = script
            .asks("client", address, Service::Http, 50)
            .asks("client", address, Service::Dns, 50)
            .asks("stock", address, Service::Dns, 50);
    }
    let s1 = || "s1".to_owned();
    script
        .at(
            1000,
            "leave s1",
            Kind::Orderly,
            vec![
                Action::Leave(s1(), v4.parse().unwrap()),
                Action::Leave(s1(), v6.parse().unwrap()),
            ],
        )
        .at(
            4000,
            "join s1",
            Kind::Orderly,
            vec![
                Action::Join(s1(), v4.parse().unwrap()),
                Action::Join(s1(), v6.parse().unwrap()),
            ],
        )
        .at(
            7000,
            "kill s2",
            Kind::Fault,
            vec![Action::Kill("s2".into())],
        )
        .at(
            9000,
            "start s2",
            Kind::Orderly,
            vec![Action::Start("s2".into())],
        )
        .until(12_000)
}

fn story(world: World) -> Result<()> {
    let round = script().play(world, &Manner::default(), |mark| println!("{}", mark.name))?;
    for mark in &round.marks {
        let inside = |at| at >= mark.from && at < mark.to;
        let sent = round.requests.iter().filter(|r| inside(r.sent));
        let lost: Vec<_> = sent.clone().filter(|r| r.outcome.is_err()).collect();
        let allowed = |sent| mark.kind == Kind::Fault && sent < mark.from.plus(round.window);
        ensure!(sent.count() > 100, "{}: too few requests", mark.name);
        ensure!(
            lost.iter().all(|r| allowed(r.sent)),
            "{}: {lost:?}",
            mark.name
        );
        ensure!(
            mark.kind != Kind::Fault || !lost.is_empty(),
            "{}: nothing was lost, so nothing was hit",
            mark.name
        );
    }
    for event in events(&round) {
        println!("{:?} {} {}", event.at, event.host, event.what);
    }
    let last = round.requests.last().context("nothing was asked")?;
    ensure!(last.outcome.as_deref() == Ok("s1"), "{last:?}");
    Ok(())
}

fn both() -> Result<()> {
    let script = script();
    let simulated = script.play(World::Virtual(1), &Manner::default(), |_| {})?;
    let real = script.play(World::Kernel, &Manner::default(), |_| {})?;
    for event in events(&simulated) {
        println!("{:?} {} {}", event.at, event.host, event.what);
    }
    let difference = compare(&simulated, &real, TOLERANCE);
    println!("{difference:#?}");
    let same = difference.missing.is_empty() && difference.order.is_empty();
    ensure!(same && difference.common >= 20, "not the same story");
    ensure!(difference.latest < TOLERANCE, "not at the same times");
    Ok(())
}
