//! Random faults on one link in virtual time: whatever happens, one member owns each address
//! again a dead time later, and nobody acts without a lease (O8).
//!
//! `HAMP_SEED=N cargo test --test first_link_random` runs one seed again, `HAMP_SEEDS=N` runs N.

mod net;

use std::collections::BTreeMap;
use std::time::Duration;

use hamp::node::Event;
use hamp::time::Instant;
use net::{Net, V4, V6};
use testbed::sim::seeds::RandomTest;

const MEMBERS: u8 = 5;
const SLACK: Duration = Duration::from_millis(100);

/// Runs `check` for many seeds; a failure names the command that runs its seed again.
fn for_each_seed(name: &'static str, check: impl Fn(u64) + std::panic::RefUnwindSafe) {
    let (package, file) = ("hamp", "first_link_random");
    let test = RandomTest {
        package,
        file,
        name,
    };
    test.run(40, check);
}

/// One random fault or repair.
fn disturb(net: &mut Net) {
    let host = usize::try_from(net.random.next_u64() % u64::from(MEMBERS)).unwrap();
    let serves = |net: &Net| net.node(host).joined().next().is_some();
    match net.random.next_u64() % 4 {
        // Freeze, or wake up.
        0 | 1 if net.is_frozen(host) => net.thaw(host),
        0 | 1 => net.freeze(host),
        2 if !net.is_frozen(host) => {
            let plugged = net.is_plugged(host);
            net.set_link(host, !plugged);
        }
        3 if !net.is_frozen(host) && serves(net) => {
            net.leave(host, V4);
            net.leave(host, V6);
        }
        3 if !net.is_frozen(host) => {
            net.join(host, V4);
            net.join(host, V6);
        }
        _ => {}
    }
}

/// The hosts that run, are plugged in and serve: somebody owns the addresses if there is one.
fn able(net: &Net) -> usize {
    let serves = |host: usize| net.node(host).joined().next().is_some();
    let all = 0..net.count();
    all.filter(|host| !net.is_frozen(*host) && net.is_plugged(*host) && serves(*host))
        .count()
}

#[test]
fn after_any_fault_one_member_owns_each_address_within_the_dead_time() {
    for_each_seed("after_any_fault", |seed| {
        let hello = if seed % 2 == 0 {
            Duration::from_secs(1)
        } else {
            Duration::from_millis(50)
        };
        let mut net = Net::first_link(seed, MEMBERS, hello);
        for step in 0..30 {
            disturb(&mut net);
            // A fault within the dead time of another is one more disturbance.
            if net.random.next_u64().is_multiple_of(3) {
                let span = net.random.span(3 * hello);
                net.run_for(span);
                disturb(&mut net);
            }
            // A joiner listens, and a leaver drains, before the ranks are final.
            let settle = (3 * hello).max(Duration::from_millis(1000)) + SLACK;
            net.run_for(settle);
            for target in [V4, V6] {
                let owners = net.owners(target).len();
                assert_eq!(
                    owners,
                    able(&net).min(1),
                    "seed {seed}, step {step}, {target}"
                );
            }
        }
    });
}

#[test]
fn no_frozen_or_silent_member_holds_a_lease_when_its_rank_has_passed_on() {
    for_each_seed("no_frozen_or_silent_member", |seed| {
        let hello = Duration::from_secs(1);
        let mut net = Net::first_link(seed, MEMBERS, hello);
        for _ in 0..30 {
            disturb(&mut net);
            let span = net.random.span(5 * hello);
            net.run_for(span);
        }
        // Each host's lease ends a dead time after its last renewal; whoever takes over because
        // of a death does so no earlier than that.
        let mut leases: BTreeMap<usize, Instant> = BTreeMap::new();
        for (at, host, event) in &net.events() {
            match event {
                Event::Lease { lasts, .. } => {
                    leases.insert(*host, *at + *lasts);
                }
                Event::Member {
                    id,
                    change: hamp::node::Change::Dead,
                    ..
                } => {
                    let dead = (0..net.count()).find(|host| {
                        let link = net.link(*host);
                        link.member().identity().id == *id
                    });
                    let dead = dead.unwrap();
                    let lease = leases.get(&dead).copied().unwrap_or_default();
                    // Who sees its cable pulled acts for nobody, though its last hello was lost
                    // on that cable and its lease is younger than what the others heard.
                    let since = *at - 3 * hello;
                    let mut pulled = net.pulled.iter();
                    if pulled.any(|(when, who)| *who == dead && (since..*at).contains(when)) {
                        continue;
                    }
                    assert!(lease <= *at + SLACK, "seed {seed}: host {host} at {at}");
                }
                _ => {}
            }
        }
    });
}

#[test]
fn loss_delays_agreement_but_never_prevents_it() {
    for_each_seed("loss_delays", |seed| {
        let mut net = Net::first_link(seed, MEMBERS, Duration::from_millis(200));
        net.set_loss(5 + u32::try_from(seed % 40).unwrap());
        for _ in 0..10 {
            disturb(&mut net);
            let span = net.random.span(Duration::from_secs(2));
            net.run_for(span);
        }
        net.set_loss(0);
        net.run_for(Duration::from_secs(5));
        for target in [V4, V6] {
            assert_eq!(
                net.owners(target).len(),
                able(&net).min(1),
                "seed {seed}, {target}"
            );
        }
    });
}

#[test]
fn the_same_seed_gives_the_same_frames() {
    let run = |seed| {
        let mut net = Net::first_link(seed, MEMBERS, Duration::from_millis(100));
        net.set_loss(10);
        for _ in 0..20 {
            disturb(&mut net);
            net.run_for(Duration::from_millis(300));
        }
        net.sent()
            .into_iter()
            .map(|sent| (sent.at, sent.host, sent.frame))
            .collect::<Vec<_>>()
    };
    assert!(run(5) == run(5));
    assert!(run(5) != run(6));
}
