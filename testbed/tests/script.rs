//! A script in both worlds: judged in each, and compared.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use testbed::load::Service;
use testbed::report::{Check, Kind, Round};
use testbed::script::compare::compare;
use testbed::script::events::events;
use testbed::script::{Action, Manner, Script, World};
use testbed::{Topology, judge};

const V4: &str = "198.18.0.1";
const V6: &str = "2001:2:0:1546::1";
/// Between hellos; three that are missed are a death.
const HELLO: Duration = Duration::from_millis(200);
/// A member dies at any moment between two hellos, which differs from world to world by chance; the
/// rest is for a busy machine.
const TOLERANCE: Duration = Duration::from_millis(200 + 150);

fn main() -> ExitCode {
    testbed::harness::main(&[
        ("in_the_kernel_and_in_virtual_time", both),
        ("in_virtual_time_with_any_seed", seeds),
        ("a_difference_is_found", differences),
    ])
}

/// Two members, a client that runs hamp and one that does not.
fn link() -> Topology {
    let hello = HELLO.as_millis();
    let member = |preference: u16| {
        format!(
            "[node]\nhello_ms = {hello}\n[member]\naddresses = [\"{V4}\", \"{V6}\"]\n\
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
        .hamp(format!(
            "[node]\nhello_ms = {hello}\n[client]\nenabled = true\n"
        ))
        .host("stock")
        .link("lan", &["10.15.46.101/24", "fd15:46::101/64"])
        .route("198.18.0.0/16", "eth0")
        .route("2001:2:0:1546::/112", "eth0")
}

/// A leave, a return, a death and an unplugged cable.
fn script() -> Script {
    let mut script = Script::new(link());
    for address in [V4, V6] {
        let address = address.parse().expect("an address");
        script = script
            .asks("client", address, Service::Http, 50)
            .asks("client", address, Service::Dns, 50)
            .asks("stock", address, Service::Dns, 50);
    }
    let both = |what: fn(String, std::net::IpAddr) -> Action, host: &str| -> Vec<Action> {
        let addresses = [V4, V6].map(|address| address.parse().expect("an address"));
        addresses.map(|address| what(host.into(), address)).into()
    };
    script
        .at(1_000, "leave s1", Kind::Orderly, both(Action::Leave, "s1"))
        .at(3_500, "join s1", Kind::Orderly, both(Action::Join, "s1"))
        .at(
            6_000,
            "kill s2",
            Kind::Fault,
            vec![Action::Kill("s2".into())],
        )
        .at(
            7_500,
            "start s2",
            Kind::Orderly,
            vec![Action::Start("s2".into())],
        )
        .at(
            10_000,
            "unplug s1",
            Kind::Fault,
            vec![Action::Unplug("s1".into(), "eth0".into())],
        )
        .until(11_500)
}

/// What must hold in any world.
fn judged(round: &Round) -> Result<()> {
    let mut checks = judge::losses(round);
    checks.push(judge::second_actor(round, &[]));
    checks.push(judge::undisturbed_members(round, &[]));
    checks.push(judge::handover_overlap(round));
    checks.push(judge::whole(round));
    checks.extend(judge::resolution(round, 1));
    let members = ["10.15.46.11", "10.15.46.12", "fd15:46::11", "fd15:46::12"];
    let members = members.map(|address| address.parse().expect("an address"));
    checks.extend(judge::segments(round, &members, &[], |_| false).checks());
    let failed: Vec<&Check> = checks.iter().filter(|check| !check.passed).collect();
    ensure!(failed.is_empty(), "{}: {failed:#?}", round.name);
    // A script in which nothing is hit would pass all that.
    for mark in round.marks.iter().filter(|mark| mark.kind == Kind::Fault) {
        let sent: Vec<_> = judge::requests_of(round, mark).collect();
        let lost = sent.iter().filter(|request| request.outcome.is_err());
        ensure!(
            lost.count() > 0,
            "{}: nothing was lost in {:?}",
            round.name,
            mark.name
        );
        let settled = sent.iter().filter(|request| request.sent >= mark.settled);
        let answered = settled.filter_map(|request| request.outcome.as_ref().ok());
        let who: BTreeSet<_> = answered.collect();
        ensure!(who.len() == 1, "{}: {:?}: {who:?}", round.name, mark.name);
    }
    Ok(())
}

fn play(world: World) -> Result<Round> {
    script().play(world, &Manner::default(), |_| {})
}

fn both() -> Result<()> {
    let (real, simulated) = (play(World::Kernel)?, play(World::Virtual(1))?);
    judged(&real)?;
    judged(&simulated)?;
    let difference = compare(&real, &simulated, TOLERANCE);
    println!("{difference:#?}");
    ensure!(difference.missing.is_empty(), "{:#?}", difference.missing);
    ensure!(difference.order.is_empty(), "{:#?}", difference.order);
    // Reports, announcements and answers of six streams over five steps.
    ensure!(difference.common >= 35, "{} events", difference.common);
    ensure!(
        difference.latest <= TOLERANCE,
        "{:?}: {}",
        difference.latest,
        difference.latest_event
    );
    Ok(())
}

fn seeds() -> Result<()> {
    for seed in 1..=4 {
        let round = play(World::Virtual(seed))?;
        judged(&round).with_context(|| format!("seed {seed}"))?;
        let again = play(World::Virtual(seed))?;
        ensure!(
            events(&round) == events(&again) && round.captured.frames.len() > 1000,
            "seed {seed} does not repeat itself"
        );
    }
    Ok(())
}

fn differences() -> Result<()> {
    let one = play(World::Virtual(1))?;
    let none = compare(&one, &one, TOLERANCE);
    ensure!(none.missing.is_empty() && none.order.is_empty() && none.latest.is_zero());
    let mut other = one.clone();
    let last = other.requests.last_mut().context("no requests")?;
    last.outcome = Ok("somebody".into());
    ensure!(compare(&one, &other, TOLERANCE).missing.len() == 1);
    let mut late = one.clone();
    let from_s2 = late
        .captured
        .links
        .iter()
        .position(|link| link.host == "s2");
    for frame in &mut late.captured.frames {
        if Some(frame.link) == from_s2 {
            frame.at = frame.at.plus(Duration::from_millis(500));
        }
    }
    ensure!(compare(&one, &late, TOLERANCE).latest >= Duration::from_millis(400));
    Ok(())
}
