//! Whole hosts in virtual time: programs that speak UDP and TCP to anycast addresses.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use testbed::load::{Service, Stream};
use testbed::report::Request;
use testbed::sim::Sim;
use testbed::topology::Topology;

const V4: &str = "198.18.0.1";
const V6: &str = "2001:2:0:1546::1";
const SECOND: Duration = Duration::from_secs(1);
/// Three hellos of 200 ms.
const DEAD: Duration = Duration::from_millis(600);
const EVERY: Duration = Duration::from_millis(20);
const MEMBER: &str = "[node]\nhello_ms = 200\n[member]\naddresses = [\"198.18.0.1\", \
                      \"2001:2:0:1546::1\"]\n[client]\n";
const CLIENT: &str = "[node]\nhello_ms = 200\n[client]\n";

/// Three servers, a client that runs hamp, and one that never heard of it.
fn lan() -> Topology {
    let mut lan = Topology::new("lan").switch("sw");
    for n in 1..=3 {
        let addresses = [format!("10.0.0.{n}/24"), format!("fd00::{n}/64")];
        let host = lan.host(&format!("s{n}")).link("sw", &addresses);
        lan = host.hamp(MEMBER).program("who", &["hamp-lab", "who"]);
    }
    lan.host("client")
        .link("sw", &["10.0.0.100/24", "fd00::100/64"])
        .hamp(CLIENT)
        .host("stock")
        .link("sw", &["10.0.0.200/24", "fd00::200/64"])
        .route("198.18.0.0/16", "eth0")
        .route("2001:2:0:1546::/112", "eth0")
}

fn stream(service: Service, to: &str) -> Stream {
    Stream {
        service,
        to: SocketAddr::new(to.parse().expect("an address"), service.port()),
        every: EVERY,
        offset: Duration::from_millis(7),
    }
}

/// The network with its clients asking: the one with hamp by all means, the stock one by UDP.
fn asking(seed: u64) -> Result<Sim> {
    let mut sim = Sim::whole(&lan(), seed)?;
    sim.run_for(3 * SECOND);
    for to in [V4, V6] {
        sim.ask("client", stream(Service::Dns, to))?;
        sim.ask("client", stream(Service::Http, to))?;
        sim.ask("stock", stream(Service::Dns, to))?;
    }
    Ok(sim)
}

fn failed(requests: &[Request]) -> impl Iterator<Item = &Request> {
    requests.iter().filter(|request| request.outcome.is_err())
}

#[test]
fn all_requests_are_answered_by_the_owner_of_their_address() -> Result<()> {
    let mut sim = asking(1)?;
    sim.run_for(5 * SECOND);
    sim.stop_asking();
    sim.run_for(2 * SECOND);
    let owner = |family| sim.owner(if family == 4 { V4 } else { V6 });
    // Six streams, 50 requests a second each, and none is missing.
    assert_eq!(sim.requests().len(), 6 * 5 * 50);
    for request in sim.requests() {
        let answered = request.outcome.as_deref().ok();
        assert_eq!(answered, owner(request.family)?, "{request:?}");
    }
    Ok(())
}

#[test]
fn a_killed_owner_costs_requests_for_the_dead_time_and_no_longer() -> Result<()> {
    for target in [V4, V6] {
        let mut sim = asking(2)?;
        sim.run_for(SECOND);
        assert_eq!(failed(sim.requests()).count(), 0);
        let owner = sim.owner(target)?.expect("an owner").to_owned();
        let fault = sim.now();
        sim.kill(&owner)?;
        sim.run_for(4 * SECOND);
        sim.stop_asking();
        sim.run_for(2 * SECOND);
        let from = Duration::from_micros(fault.as_micros());
        let mut count = 0;
        for request in failed(sim.requests()) {
            let sent = Duration::from_nanos(request.sent.0);
            // A connection's first answer may be one retransmission away.
            let limit = from + DEAD + EVERY;
            assert!(
                (from - EVERY..limit).contains(&sent),
                "{request:?}, killed at {from:?}"
            );
            count += 1;
        }
        assert!(count > 0, "a death goes by without a loss");
        let last = sim.requests().last().expect("requests");
        assert!(last.outcome.as_ref().is_ok_and(|name| *name != owner));
    }
    Ok(())
}

#[test]
fn frozen_hamp_serves_until_its_lease_ends_and_killed_hamp_comes_back_in_a_new_life() -> Result<()>
{
    let mut sim = asking(6)?;
    sim.run_for(SECOND);
    let owner = sim.owner(V4)?.expect("an owner").to_owned();
    let fault = sim.now();
    sim.freeze(&owner)?;
    sim.run_for(3 * SECOND);
    let answered_by = |sim: &Sim, name: &str, since: Duration| {
        let mut all = sim
            .requests()
            .iter()
            .filter(|r| Duration::from_nanos(r.sent.0) >= since);
        all.any(|r| r.family == 4 && r.outcome.as_deref() == Ok(name))
    };
    let fault = Duration::from_micros(fault.as_micros());
    assert!(
        answered_by(&sim, &owner, fault),
        "its lease holds for a while"
    );
    assert!(
        !answered_by(&sim, &owner, fault + DEAD),
        "and then it does not"
    );
    sim.thaw(&owner)?;
    sim.run_for(3 * SECOND);
    assert_eq!(sim.owner(V4)?, Some(owner.as_str()));

    sim.kill_hamp(&owner)?;
    assert!(sim.kill_hamp(&owner).is_err(), "it is dead");
    sim.run_for(2 * SECOND);
    assert!(sim.owner(V4)?.is_some_and(|other| other != owner));
    sim.start(&owner)?;
    sim.run_for(2 * SECOND);
    assert_eq!(sim.owner(V4)?, Some(owner.as_str()));
    Ok(())
}

#[test]
fn a_leave_costs_nothing() -> Result<()> {
    let mut sim = asking(3)?;
    sim.run_for(SECOND);
    for target in [V4, V6] {
        let owner = sim.owner(target)?.expect("an owner").to_owned();
        sim.leave(&owner, target)?;
        sim.run_for(3 * SECOND);
    }
    sim.stop_asking();
    sim.run_for(2 * SECOND);
    assert_eq!(
        failed(sim.requests()).collect::<Vec<_>>(),
        Vec::<&Request>::new()
    );
    Ok(())
}

#[test]
fn two_runs_have_the_same_requests() -> Result<()> {
    let run = |seed| -> Result<_> {
        let mut sim = asking(seed)?;
        sim.run_for(SECOND);
        sim.kill("s1")?;
        sim.run_for(2 * SECOND);
        sim.start("s1")?;
        sim.run_for(2 * SECOND);
        let owners = sim.owners(V4)?.len();
        assert_eq!(owners, 1);
        Ok((sim.digest(), sim.requests().to_vec()))
    };
    let first = run(4)?;
    assert_eq!(first, run(4)?);
    assert_ne!(first.0, run(5)?.0);
    Ok(())
}

#[test]
fn a_router_carries_requests_between_two_links() -> Result<()> {
    let two = Topology::new("two")
        .switch("x")
        .switch("y")
        .router("r")
        .link("x", &["10.0.0.1/24"])
        .link("y", &["10.0.1.1/24"])
        .host("server")
        .link("y", &["10.0.1.2/24"])
        .route("default", "10.0.1.1")
        .program("who", &["hamp-lab", "who"])
        .host("client")
        .link("x", &["10.0.0.2/24"])
        .route("default", "10.0.0.1");
    let mut sim = Sim::whole(&two, 5)?;
    sim.run_for(SECOND);
    for service in [Service::Dns, Service::Http] {
        sim.ask("client", stream(service, "10.0.1.2"))?;
    }
    sim.run_for(SECOND);
    sim.stop_asking();
    sim.run_for(SECOND);
    assert_eq!(sim.requests().len(), 2 * 50);
    assert!(
        sim.requests()
            .iter()
            .all(|r| r.outcome.as_deref() == Ok("server"))
    );
    Ok(())
}
