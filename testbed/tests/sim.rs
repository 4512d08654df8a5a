//! The simulator: what is set is what happens, exactly, and twice the same.

#[path = "../../tests/netns/schema.rs"]
mod schema;

use std::time::Duration;

use anyhow::Result;
use hamp::node::{Change, Event};
use hamp::proto::What;
use hamp::time::Instant;
use testbed::capture::Frame;
use testbed::sim::{Happened, SWITCHING, Sim};
use testbed::{Impairment, Topology};

const SERVE: &str = "[member]\naddresses = [\"198.18.0.1\", \"2001:2:0:1546::1\"]\n[client]\n";
const V4: &str = "198.18.0.1";
const V6: &str = "2001:2:0:1546::1";
const SECOND: Duration = Duration::from_secs(1);
const DEAD: Duration = Duration::from_secs(3);
/// What a takeover may take beyond the dead time.
const SLACK: Duration = Duration::from_millis(1);

/// `members` members on one switch, and a host that runs nothing.
fn lan(members: u8) -> Topology {
    let mut lan = Topology::new("lan").switch("sw");
    for n in 1..=members {
        let addresses = [format!("10.0.0.{n}/24"), format!("fd00::{n}/64")];
        lan = lan
            .host(&format!("s{n}"))
            .link("sw", &addresses)
            .hamp(SERVE);
    }
    lan.host("probe").link("sw", &["10.0.0.200/24"])
}

fn settled(members: u8, seed: u64) -> Result<Sim> {
    let mut sim = Sim::new(&lan(members), seed)?;
    sim.start_within(SECOND)?;
    sim.run_for(4 * SECOND);
    Ok(sim)
}

/// Two hosts without hamp on one cable, of which the first sends by `how`.
fn cable(how: Impairment, seed: u64) -> Result<Sim> {
    let cable = Topology::new("cable")
        .host("a")
        .host("b")
        .cable("a", &["10.0.0.2/30"], &["10.0.0.1/30"])
        .impaired_in(how);
    let mut sim = Sim::new(&cable, seed)?;
    sim.record();
    Ok(sim)
}

/// A frame of `length` bytes from `a` to all, with a number in it.
fn numbered(number: u32, length: usize) -> Vec<u8> {
    let mut frame = vec![0; length];
    frame[..6].fill(0xff);
    frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 1]);
    frame[14..18].copy_from_slice(&number.to_be_bytes());
    frame
}

/// Sends `count` frames of 1000 bytes from `a`, `gap` apart; when each that arrived did, after its
/// sending, and its number.
fn stream(how: Impairment, seed: u64, count: u32, gap: Duration) -> Result<Vec<(Duration, u32)>> {
    let mut sim = cable(how, seed)?;
    for number in 0..count {
        sim.send("a", "eth0", numbered(number, 1000))?;
        sim.run_for(gap);
    }
    sim.run_for(10 * SECOND);
    let frames = &sim.frames().expect("recorded").frames;
    let number = |frame: &Frame| u32::from_be_bytes(frame.bytes[14..18].try_into().unwrap());
    let arrived = frames.iter().filter(|frame| !frame.from_host);
    Ok(arrived
        .map(|frame| {
            let sent = gap * number(frame);
            (Duration::from_nanos(frame.at.0) - sent, number(frame))
        })
        .collect())
}

/// Whether `seen` of `count` may come of probability `p`: within 5 standard deviations.
fn likely(seen: usize, count: u32, p: f64) -> bool {
    let mean = f64::from(count) * p;
    (seen as f64 - mean).abs() <= 5.0 * (mean * (1.0 - p)).sqrt()
}

#[test]
fn two_runs_with_one_seed_are_the_same_and_another_seed_is_another_run() -> Result<()> {
    let run = |seed| -> Result<_> {
        let mut sim = settled(5, seed)?;
        sim.record();
        let lossy = Impairment {
            loss: 0.2,
            jitter: Duration::from_millis(5),
            ..Impairment::delay_ms(10)
        };
        sim.impair("s2", "eth0", lossy, lossy)?;
        sim.run_for(5 * SECOND);
        sim.freeze("s1")?;
        sim.run_for(5 * SECOND);
        sim.thaw("s1")?;
        sim.leave("s3", V4)?;
        sim.run_for(5 * SECOND);
        let frames = sim.frames().expect("recorded").frames.clone();
        let frames: Vec<_> = frames
            .into_iter()
            .map(|f| (f.at, f.link, f.bytes))
            .collect();
        Ok((sim.digest(), sim.totals(), sim.events().to_vec(), frames))
    };
    let first = run(7)?;
    assert!(first == run(7)?);
    let other = run(8)?;
    assert_ne!(first.0, other.0);
    assert_ne!(first.3, other.3);
    Ok(())
}

#[test]
fn a_constant_delay_is_exact() -> Result<()> {
    for delay in [0, 1, 25, 400] {
        let arrived = stream(Impairment::delay_ms(delay), 1, 50, SECOND / 100)?;
        let expected: Vec<_> = (0..50).map(|n| (Duration::from_millis(delay), n)).collect();
        assert_eq!(arrived, expected);
    }
    Ok(())
}

#[test]
fn jitter_spreads_evenly_around_the_delay() -> Result<()> {
    let how = Impairment {
        jitter: Duration::from_millis(10),
        ..Impairment::delay_ms(30)
    };
    let arrived = stream(how, 2, 10_000, SECOND / 10)?;
    let ms = |(took, _): &(Duration, u32)| took.as_secs_f64() * 1e3;
    assert!(
        arrived
            .iter()
            .map(ms)
            .all(|took| (20.0..=40.0).contains(&took))
    );
    for quarter in 0..4 {
        let from = 20.0 + 5.0 * f64::from(quarter);
        let seen = arrived
            .iter()
            .map(ms)
            .filter(|took| (from..from + 5.0).contains(took));
        assert!(likely(seen.count(), 10_000, 0.25), "quarter {quarter}");
    }
    // Frames that are close together stay in order.
    let how = Impairment {
        jitter: Duration::from_millis(30),
        ..Impairment::delay_ms(30)
    };
    let arrived = stream(how, 3, 1000, SECOND / 1000)?;
    assert!(arrived.iter().map(|(_, number)| *number).eq(0..1000));
    Ok(())
}

#[test]
fn loss_and_duplication_are_those_set() -> Result<()> {
    for p in [0.0, 0.01, 0.3, 1.0] {
        let loss = Impairment {
            loss: p,
            ..Impairment::default()
        };
        let lost = 10_000 - stream(loss, 4, 10_000, SECOND / 1000)?.len();
        assert!(likely(lost, 10_000, p), "{lost} of 10,000 lost at {p}");
        let duplicate = Impairment {
            duplicate: p,
            ..Impairment::default()
        };
        let more = stream(duplicate, 5, 10_000, SECOND / 1000)?.len() - 10_000;
        assert!(likely(more, 10_000, p), "{more} of 10,000 twice at {p}");
    }
    Ok(())
}

#[test]
fn reordered_frames_overtake_the_others() -> Result<()> {
    let how = Impairment {
        reorder: 0.1,
        ..Impairment::delay_ms(50)
    };
    let arrived = stream(how, 6, 10_000, SECOND / 1000)?;
    let delay = Duration::from_millis(50);
    let early = arrived.iter().filter(|(took, _)| took.is_zero()).count();
    assert!(likely(early, 10_000, 0.1), "{early}");
    assert_eq!(
        arrived.iter().filter(|(took, _)| *took == delay).count(),
        10_000 - early
    );
    assert!(!arrived.is_sorted_by_key(|(_, number)| *number));
    Ok(())
}

#[test]
fn a_rate_carries_what_it_says_and_its_queue_bounds_the_wait() -> Result<()> {
    // 1000 bytes take 1 ms at 8 Mbit/s. Half of that load passes untouched.
    let rate = |queue_bytes| Impairment {
        rate_bps: Some(8_000_000),
        queue_bytes,
        ..Impairment::default()
    };
    let calm = stream(rate(0), 7, 100, SECOND / 500)?;
    assert!(calm.iter().all(|(took, _)| *took == SECOND / 1000));
    // Twice the load: one frame per ms comes out, and the wait grows to the queue's 20 ms.
    let full = stream(rate(20_000), 7, 4000, SECOND / 2000)?;
    let longest = full.iter().map(|(took, _)| *took).max().unwrap();
    assert!(longest <= Duration::from_millis(20), "{longest:?}");
    assert!(longest >= Duration::from_millis(19), "{longest:?}");
    let bits = full.len() as f64 * 8000.0;
    assert!((bits / 2.0 - 8e6).abs() < 8e6 * 0.02, "{bits} bits in 2 s");
    Ok(())
}

#[test]
fn impairments_are_of_one_direction() -> Result<()> {
    let mut sim = settled(2, 1)?;
    sim.record();
    let plain = Impairment::default();
    sim.impair("s1", "eth0", plain, Impairment::delay_ms(70))?;
    sim.impair("s2", "eth0", Impairment::delay_ms(7), plain)?;
    sim.run_for(2 * SECOND);
    let captured = sim.frames().expect("recorded").clone();
    let delay = |from: &str, to: &str| {
        let of = |frame: &&Frame, host: &str, out: bool| {
            captured.links[frame.link].host == host && frame.from_host == out
        };
        let mut sent = captured.frames.iter().filter(|f| of(f, from, true));
        let first = sent.next().expect("a hello");
        let mut heard = captured.frames.iter().filter(|f| of(f, to, false));
        let came = heard.find(|f| f.bytes == first.bytes).expect("heard");
        Duration::from_nanos(came.at.0 - first.at.0)
    };
    assert_eq!(delay("s1", "s2"), SWITCHING + Duration::from_millis(77));
    assert_eq!(delay("s1", "probe"), SWITCHING + Duration::from_millis(70));
    assert_eq!(delay("s2", "s1"), SWITCHING);
    Ok(())
}

/// When `host` was told of a change of a member, first after `since`.
fn told(sim: &Sim, host: &str, change: Change, since: Instant) -> Option<Instant> {
    let is = |happened: &&Happened| {
        let member = matches!(happened.event, Event::Member { change: c, .. } if c == change);
        happened.at >= since && sim.name(happened.host) == host && member
    };
    sim.events().iter().find(is).map(|happened| happened.at)
}

#[test]
fn a_killed_owner_is_replaced_within_the_dead_time_and_comes_back_in_a_new_life() -> Result<()> {
    let mut sim = settled(3, 11)?;
    let owner = sim.owner(V4)?.expect("an owner").to_owned();
    let epoch = |sim: &Sim| -> Result<u64> {
        let node = sim.node(&owner)?.expect("it runs");
        Ok(node.links().next().expect("a link").1.member().epoch())
    };
    let before = epoch(&sim)?;
    let fault = sim.now();
    sim.kill(&owner)?;
    assert!(sim.kill(&owner).is_err(), "it is dead");
    assert!(sim.owner(V4)?.is_none());
    assert!(sim.run_while_not(DEAD + SLACK, |sim| sim.owner(V4).unwrap().is_some()));
    assert_ne!(sim.owner(V4)?, Some(owner.as_str()));
    // Its last hello was sent up to a second before.
    assert!(sim.now() >= fault + (DEAD - SECOND));
    sim.start(&owner)?;
    assert!(sim.start(&owner).is_err(), "it runs");
    assert!(epoch(&sim)? > before);
    sim.run_for(2 * SECOND);
    assert_eq!(
        sim.owner(V4)?,
        Some(owner.as_str()),
        "ranks are what they were"
    );
    Ok(())
}

#[test]
fn a_frozen_host_finds_what_its_socket_kept_and_rejoins() -> Result<()> {
    let mut sim = settled(3, 12)?;
    let frozen = sim.owner(V6)?.expect("an owner").to_owned();
    sim.freeze(&frozen)?;
    assert!(!sim.acts(&frozen)?);
    assert!(sim.freeze(&frozen).is_err() && sim.join(&frozen, "198.18.0.9").is_err());
    let counted = |sim: &Sim| sim.node(&frozen).unwrap().unwrap().counters().clone();
    let before = counted(&sim);
    // Long enough for more frames than the socket keeps.
    sim.run_for(200 * SECOND);
    assert_eq!(counted(&sim), before, "it does nothing");
    let since = sim.now();
    sim.thaw(&frozen)?;
    let all = |c: &hamp::proto::Counters| -> u64 {
        let used = c.received().map(|(_, count)| count);
        used.chain(c.ignored().map(|(_, count)| count)).sum()
    };
    assert_eq!(
        all(&counted(&sim)) - all(&before),
        testbed::sim::BACKLOG as u64
    );
    sim.run_for(3 * SECOND);
    let rejoined = sim.events().iter().any(|happened| {
        happened.at >= since
            && sim.name(happened.host) == frozen
            && matches!(happened.event, Event::Rejoined { .. })
    });
    assert!(rejoined);
    assert_eq!(sim.owner(V6)?, Some(frozen.as_str()));
    Ok(())
}

#[test]
fn a_partition_has_an_owner_on_each_side_and_heals_to_one() -> Result<()> {
    let mut sim = settled(4, 13)?;
    sim.partition(&["s1", "s2"])?;
    sim.run_for(DEAD + SLACK);
    let owners = sim.owners(V4)?;
    assert_eq!(owners.len(), 2, "{owners:?}");
    let first_side = |name: &&&str| matches!(**name, "s1" | "s2");
    assert_eq!(owners.iter().filter(first_side).count(), 1);
    sim.heal();
    let healed = sim.now();
    // The next hello of a forgotten member is of nobody known: it is asked, and reports.
    assert!(sim.run_while_not(2 * SECOND, |sim| sim.owner(V4).unwrap().is_some()));
    assert!(told(&sim, "s1", Change::Joined, healed).is_some());
    Ok(())
}

#[test]
fn a_pulled_cable_is_seen_at_both_ends_and_loses_what_is_on_it() -> Result<()> {
    let mut sim = settled(3, 14)?;
    let owner = sim.owner(V4)?.expect("an owner").to_owned();
    sim.carrier(&owner, "eth0", false)?;
    let node = sim.node(&owner)?.expect("it runs");
    assert!(node.links().all(|(_, link)| link.state().is_none()));
    sim.run_for(DEAD + SLACK);
    assert_ne!(sim.owner(V4)?.expect("another owner"), owner);
    sim.carrier(&owner, "eth0", true)?;
    sim.run_for(2 * SECOND);
    assert_eq!(sim.owner(V4)?, Some(owner.as_str()));

    let mut sim = cable(Impairment::delay_ms(100), 1)?;
    sim.send("a", "eth0", numbered(1, 100))?;
    sim.run_for(SECOND / 20);
    sim.carrier("b", "eth0", false)?;
    sim.run_for(SECOND);
    assert!(
        sim.frames()
            .expect("recorded")
            .frames
            .iter()
            .all(|f| f.from_host)
    );
    Ok(())
}

#[test]
fn switches_learn_and_several_are_one_link() -> Result<()> {
    let three = Topology::new("three")
        .switch("x")
        .switch("y")
        .link("x", &[""; 0])
        .switch("z")
        .link("y", &[""; 0])
        .host("a")
        .link("x", &["10.0.0.1/24"])
        .hamp(SERVE)
        .host("b")
        .link("y", &["10.0.0.2/24"])
        .hamp(SERVE)
        .host("c")
        .link("z", &["10.0.0.3/24"])
        .hamp(SERVE);
    let mut sim = Sim::new(&three, 15)?;
    sim.run_for(4 * SECOND);
    for host in ["a", "b", "c"] {
        let (_, link) = sim
            .node(host)?
            .expect("it runs")
            .links()
            .next()
            .expect("a link");
        assert_eq!(link.peers().count(), 2, "{host}");
    }
    sim.owner(V4)?.expect("one owner on the whole link");

    // From a through three switches to c, whose place is known: nobody else gets it.
    sim.record();
    let mac = |name: &str| {
        three
            .plugs(three.position(name).unwrap())
            .next()
            .unwrap()
            .1
            .mac
    };
    let mut frame = numbered(1, 100);
    frame[..6].copy_from_slice(&mac("c"));
    frame[6..12].copy_from_slice(&mac("a"));
    let sent = sim.now();
    sim.send("a", "eth0", frame.clone())?;
    sim.run_for(Duration::from_micros(100));
    let captured = sim.frames().expect("recorded");
    let got = captured
        .frames
        .iter()
        .filter(|f| !f.from_host && *f.bytes == *frame);
    let got: Vec<_> = got
        .map(|f| (f.at.0, captured.links[f.link].host.as_str()))
        .collect();
    let arrives = Duration::from_micros(sent.as_micros()) + 3 * SWITCHING;
    assert_eq!(got, [(arrives.as_nanos() as u64, "c")]);
    Ok(())
}

#[test]
fn two_routers_on_one_cable_are_a_link() -> Result<()> {
    let pair = Topology::new("pair")
        .router("left")
        .hamp(SERVE)
        .router("right")
        .hamp(SERVE)
        .cable("left", &["10.0.0.2/30"], &["10.0.0.1/30"]);
    let mut sim = Sim::new(&pair, 16)?;
    sim.run_for(4 * SECOND);
    let owner = sim.owner(V4)?.expect("one owner").to_owned();
    sim.leave(&owner, V4)?;
    sim.run_for(2 * SECOND);
    assert_ne!(sim.owner(V4)?.expect("the other"), owner);
    assert_eq!(sim.owners(V6)?, Vec::<&str>::new(), "no IPv6 on the link");
    Ok(())
}

#[test]
fn a_hosts_own_question_is_answered_by_the_owner() -> Result<()> {
    let mut sim = settled(3, 17)?;
    let client = ["s1", "s2", "s3"]
        .into_iter()
        .find(|host| sim.owner(V4).unwrap() != Some(host))
        .expect("not all own it");
    sim.resolve(client, "eth0", V4.parse()?)?;
    sim.run_for(SECOND / 10);
    let (_, link) = sim
        .node(client)?
        .expect("it runs")
        .links()
        .next()
        .expect("a link");
    assert_eq!(link.neighbours().count(), 1);
    Ok(())
}

#[test]
fn mistakes_are_named() -> Result<()> {
    let mut sim = settled(1, 1)?;
    let message = |result: Result<()>| format!("{:#}", result.unwrap_err());
    assert!(message(sim.kill("s9")).contains("no host \"s9\""));
    assert!(message(sim.kill("sw")).contains("sw is a switch"));
    assert!(message(sim.carrier("s1", "eth7", true)).contains("s1 has no interface \"eth7\""));
    assert!(message(sim.join("s1", "10.0.0.1")).contains("not in the anycast class"));
    assert!(message(sim.start("probe")).contains("no hamp.toml"));
    let plain = Impairment::default();
    let wrong = plain.with_loss(2.0);
    assert!(message(sim.impair("s1", "eth0", plain, wrong)).contains("loss"));
    let text = "[node]\ninterfaces = [\"eth5\"]";
    let wrong = Topology::new("w")
        .switch("sw")
        .host("h")
        .link("sw", &["10.0.0.1/8"])
        .hamp(text);
    assert!(format!("{:#}", Sim::new(&wrong, 1).unwrap_err()).contains("h has no eth5"));
    Ok(())
}

/// Two hosts that serve the same, of which the second has this clock.
fn with_clock(ppm: i32, ahead_ms: u64) -> Topology {
    let lan = Topology::new("clocks").switch("sw");
    let lan = lan.host("a").link("sw", &["10.0.0.1/24"]).hamp(SERVE);
    let lan = lan.host("b").link("sw", &["10.0.0.2/24"]).hamp(SERVE);
    lan.clock(ppm, ahead_ms)
}

/// How many hellos `host` sends while `span` passes.
fn hellos(sim: &mut Sim, host: &str, span: Duration) -> Result<u64> {
    let sent = |sim: &Sim| -> Result<u64> {
        let node = sim.node(host)?.expect("it runs");
        let sent = node
            .counters()
            .sent()
            .find(|(what, _)| *what == What::Hello);
        Ok(sent.map_or(0, |(_, count)| count))
    };
    let before = sent(sim)?;
    sim.run_for(span);
    Ok(sent(sim)? - before)
}

#[test]
fn a_host_lives_by_its_own_clock() -> Result<()> {
    for (ppm, expected) in [(0, 1000), (200, 1000), (100_000, 1100), (-100_000, 900)] {
        let mut sim = Sim::new(&with_clock(ppm, 0), 1)?;
        sim.run_for(10 * SECOND);
        assert_eq!(hellos(&mut sim, "b", 1000 * SECOND)?, expected, "{ppm} ppm");
    }
    Ok(())
}

#[test]
fn a_clock_can_be_steered_and_never_jumps() -> Result<()> {
    let mut sim = Sim::new(&with_clock(100_000, 0), 1)?;
    sim.run_for(10 * SECOND);
    assert_eq!(hellos(&mut sim, "b", 100 * SECOND)?, 110);
    let shown = sim.act("b", |_, now| now)?;
    assert_eq!(shown, Instant::from_millis(121_000));
    sim.set_clock("b", -100_000)?;
    assert_eq!(sim.act("b", |_, now| now)?, shown);
    assert_eq!(hellos(&mut sim, "b", 100 * SECOND)?, 90);
    assert_eq!(sim.act("b", |_, now| now)?, shown + 90 * SECOND);
    // What is planned by a slow clock comes earlier when it is fast.
    sim.set_clock("b", 100_000)?;
    assert_eq!(hellos(&mut sim, "b", 100 * SECOND)?, 110);
    assert!(sim.set_clock("b", 100_001).is_err());
    assert_eq!(sim.now(), Instant::from_millis(310_000));
    Ok(())
}

#[test]
fn a_host_that_has_run_for_a_year_is_no_other_member() -> Result<()> {
    let mut sim = Sim::new(&with_clock(0, 365 * 86_400_000), 1)?;
    sim.run_for(4 * SECOND);
    let first = sim.owner(V4)?.expect("one of them").to_owned();
    sim.kill(&first)?;
    sim.run_for(DEAD + SLACK);
    let second = sim.owner(V4)?.expect("the other");
    assert_ne!(first, second);
    Ok(())
}

#[test]
fn a_lab_in_the_kernel_has_no_clocks_of_its_own() {
    let refused = testbed::Lab::new(&with_clock(1, 0)).map(drop).unwrap_err();
    assert!(format!("{refused:#}").contains("b has a clock of its own"));
}

#[test]
fn many_members_are_simulated_by_one_command_twice_the_same() -> Result<()> {
    let run = |seed: &str| -> Result<serde_json::Value> {
        let arguments = [
            "simulate",
            "--hosts=200",
            "--links=20",
            "--minutes=1",
            "--json",
        ];
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hamp-lab"));
        let output = command.args(arguments).args(["--seed", seed]).output()?;
        assert!(output.status.success(), "{output:?}");
        let document = serde_json::from_slice(&output.stdout)?;
        schema::check(&document).map_err(anyhow::Error::msg)?;
        Ok(document)
    };
    let first = run("1")?;
    // A hello a second on each of two families, heard by nine others, and what comes before.
    assert!(first["deliveries"].as_u64().expect("a number") > 60 * 2 * 9 * 55);
    assert_eq!(first["disputed"], 0);
    assert_eq!(first["digest"], run("1")?["digest"]);
    assert_ne!(first["digest"], run("2")?["digest"]);
    Ok(())
}

#[test]
fn time_that_never_ends_is_no_overflow() {
    let topology = Topology::new("empty").host("a");
    let mut sim = Sim::new(&topology, 1).unwrap();
    sim.run_for(Duration::from_secs(1));
    assert!(!sim.run_while_not(Duration::MAX, |_| false));
    sim.run_for(Duration::MAX);
    sim.run_until(Instant::from_micros(u64::MAX));
}
