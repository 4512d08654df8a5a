//! Random networks and whatever can happen to them: hosts and routers on several links, whose frames
//! are lost, doubled, delayed and reordered, which are parted, unplugged, frozen, killed and started,
//! join and leave, and have clocks of their own; and a stranger on every link who says what it likes.
//! The invariants of docs/spec/invariants.md are watched all the time.
//!
//! `HAMP_SEED=N cargo test --test network_random` runs one seed again, `HAMP_SEEDS=N` runs N.

mod eve;
mod invariants;
mod support;

use std::net::IpAddr;
use std::time::Duration;

use eve::Adversary;
use hamp::addr::Prefix;
use hamp::node::LinkId;
use hamp::proto::Timing;
use hamp::proto::random::Random;
use hamp::wire::frame::Frame;
use hamp::wire::{Message, MessageOption, Roles};
use invariants::{Bounds, Station, Watch};
use testbed::sim::seeds::RandomTest;
use testbed::sim::{SWITCHING, Sim, keys};
use testbed::{Impairment, Topology};

const PREFIXES: [&str; 3] = ["198.18.0.1/32", "198.18.7.0/24", "2001:2:0:1546::1/128"];
/// How often the network is looked at.
const LOOK: Duration = Duration::from_millis(20);
/// The most that a disturbed frame takes: delay and jitter.
const DELAY: Duration = Duration::from_millis(150);

/// A host, and what the test has done to it.
struct Host {
    name: String,
    /// The links of its interfaces.
    links: Vec<usize>,
    plugged: Vec<bool>,
    alive: bool,
    frozen: bool,
    group: u32,
}

/// A random network.
struct Network {
    sim: Sim,
    random: Random,
    hosts: Vec<Host>,
    links: usize,
    groups: u32,
    watch: Watch,
    /// Whether cables are bad at the moment.
    impaired: bool,
    /// Who enforces, and is attacked by somebody who may do anything.
    adversary: Option<Adversary>,
    /// What was done, for people.
    story: Vec<String>,
}

fn prefixes() -> Vec<Prefix> {
    PREFIXES.iter().map(|text| text.parse().unwrap()).collect()
}

impl Network {
    fn new(seed: u64, enforces: bool) -> Self {
        let mut random = Random::new(seed);
        let mut below = |bound: u64| random.next_u64() % bound;
        let hello = [1000, 1000, 200, 50][below(4) as usize];
        let dead = 2 + below(3);
        let links = 1 + below(3) as usize;
        let members = 2 + below(5) as usize;
        let watchers = 1 + below(2) as usize;
        let dual = below(2) == 0;
        let mut net = Topology::new("random");
        for link in 0..links {
            net = net.switch(&format!("l{link}"));
        }
        let mut hosts = Vec::new();
        for host in 0..members + watchers {
            let watches = host >= members;
            let name = if watches {
                format!("r{host}")
            } else {
                format!("s{host}")
            };
            let first = below(links as u64) as usize;
            let mut on: Vec<usize> = (0..links)
                .filter(|l| watches || *l == first || below(4) == 0)
                .collect();
            on.sort_unstable();
            net = net.host(&name);
            for link in &on {
                let mut own = vec![format!("10.0.{link}.{}/24", host + 1)];
                own.extend(dual.then(|| format!("fd00:{link}::{}/64", host + 1)));
                net = net.link(&format!("l{link}"), &own);
            }
            let served: Vec<_> = PREFIXES
                .iter()
                .filter(|_| !watches && below(2) == 0)
                .collect();
            let ppm = below(401) as i32 - 200;
            let text = format!(
                "[node]\nhello_ms = {hello}\ndead_hellos = {dead}\n[member]\naddresses = {served:?}\n\
                 [client]\nenabled = {watches}\n[router]\nenabled = {watches}\n"
            );
            net = net.hamp(text).clock(ppm, below(1000) * 1000);
            hosts.push(Host {
                name,
                plugged: vec![true; on.len()],
                links: on,
                alive: true,
                frozen: false,
                group: 0,
            });
        }
        for link in 0..links {
            net = net
                .host(&format!("eve{link}"))
                .link(&format!("l{link}"), &[format!("10.0.{link}.66/24")]);
        }
        let mut sim = Sim::new(&net, seed).unwrap();
        sim.record();
        for (number, host) in (1..).zip(&hosts).filter(|_| enforces) {
            let router = host.name.starts_with('r');
            let member = !router;
            let trust = keys::enforcing(number, Roles { member, router });
            sim.trust(&host.name, trust).unwrap();
        }
        sim.forget_events();
        sim.start_within(Duration::from_secs(2)).unwrap();
        let timing = Timing {
            hello: Duration::from_millis(hello),
            dead_hellos: dead as u8,
        };
        let mut bounds = Bounds::new(timing, 2 * SWITCHING, DELAY);
        // Clocks are 400 ppm apart at most, who wakes up waits a tenth of a hello for what its sockets
        // hold, and the network is looked at now and then only.
        bounds.present += bounds.present / 1000 + LOOK;
        if enforces {
            // Whoever holds back, drops and repeats what a member said gains no more than that.
            bounds.absent += timing.dead_time();
        }
        bounds.absent += bounds.absent / 1000 + timing.hello / 10 + LOOK;
        let mut watch = Watch::new(bounds, &prefixes());
        watch.set_strict(enforces);
        let adversary = enforces.then(Adversary::new);
        if let Some(adversary) = &adversary {
            let own = eve::OWN.parse().unwrap();
            (0..links).for_each(|link| watch.allow(link, adversary.id(), own));
        }
        Self {
            sim,
            adversary,
            hosts,
            links,
            groups: 0,
            watch,
            impaired: false,
            story: vec![format!("{timing:?}")],
            random,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.random.next_u64() % bound as u64) as usize
    }

    fn chance(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    /// Lets time pass, and looks.
    fn run_for(&mut self, span: Duration) {
        let end = self.sim.now() + span;
        while self.sim.now() < end {
            self.sim.run_for(LOOK);
            if self.impaired {
                self.watch.disturb(self.sim.now() + DELAY);
            }
            self.look();
            if self.adversary.is_some() && self.chance(5) {
                self.attack();
            }
        }
    }

    /// The adversary says something.
    fn attack(&mut self) {
        let link = self.below(self.links);
        let frames = &self.sim.frames().unwrap().frames;
        let Some(adversary) = self.adversary.as_ref().filter(|_| !frames.is_empty()) else {
            return;
        };
        // What was said lately, or long ago.
        let back = if self.random.next_u64().is_multiple_of(2) {
            50
        } else {
            frames.len() as u64
        };
        let back = self.random.next_u64() % back.min(frames.len() as u64);
        let frame = &frames[frames.len() - 1 - back as usize];
        let heard = frame.bytes.to_vec();
        // Who asks on one link, has another answer and brings the answer back, all by addresses that are
        // not its own, is out of scope: where that can be done, nothing that is said on a link is safe.
        let captured = &self.sim.frames().unwrap().links[frame.link];
        let from = self.hosts.iter().find(|host| host.name == captured.host);
        let from = from.and_then(|host| {
            let at: usize = captured.interface.strip_prefix("eth")?.parse().ok()?;
            host.links.get(at).copied()
        });
        if from != Some(link) && is_query(&heard) {
            return;
        }
        let mac = [2, 0x66, 0, 0, 0, link as u8];
        let address = IpAddr::from([10, 0, link as u8, 66]);
        let said = adversary.say(&mut self.random, &heard, (mac, address));
        self.sim.send(&format!("eve{link}"), "eth0", said).unwrap();
    }

    fn look(&mut self) {
        let mut stations = Vec::new();
        for (number, host) in self.hosts.iter().enumerate() {
            let node = self.sim.node(&host.name).unwrap();
            let node = node.filter(|_| host.alive && !host.frozen);
            for (at, link) in host.links.iter().enumerate() {
                let own = node.and_then(|node| {
                    // Interfaces are numbered from 2; one that was unplugged since the start is no link.
                    let wanted = LinkId(at as u32 + 2);
                    let (id, link) = node.links().find(|(id, _)| *id == wanted)?;
                    Some((node, id, link))
                });
                stations.push(Station {
                    number: number * self.links + link,
                    place: (*link, host.group),
                    link: own.filter(|(.., own)| own.state().is_some()),
                });
            }
        }
        let held = self.watch.look(self.sim.now(), &stations);
        held.unwrap_or_else(|why| {
            for host in &self.hosts {
                if let Some(node) = self.sim.node(&host.name).unwrap() {
                    let ignored: Vec<_> = node.counters().ignored().collect();
                    println!("{} refused {ignored:?}", host.name);
                    for (at, link) in node.links() {
                        let own = link.member();
                        println!("  {at:?} {} epoch {}", own.identity().id, own.epoch());
                        for (id, peer) in link.peers() {
                            println!(
                                "    {id} {:?} {} records, heard {}",
                                peer.version(),
                                peer.records().len(),
                                peer.heard()
                            );
                        }
                    }
                }
            }
            if std::env::var_os("HAMP_FRAMES").is_some() {
                self.tell_frames();
            }
            let (now, story, links) = (self.sim.now(), self.story.join("\n"), self.links);
            panic!("{story}\n{now}: {why} (numbers are host * {links} + link)")
        });
    }

    /// Prints every message of the last seconds.
    fn tell_frames(&self) {
        let captured = self.sim.frames().unwrap();
        let since = self.sim.now().as_micros().saturating_sub(4_000_000) * 1000;
        for frame in captured.frames.iter().filter(|frame| frame.at.0 >= since) {
            let place = &captured.links[frame.link];
            let way = if frame.from_host { "->" } else { "<-" };
            let said = match Frame::parse(&frame.bytes) {
                Ok(Frame::Message {
                    payload, source, ..
                }) => match Message::decode(payload) {
                    Ok(Message::Hello { hello, .. }) => format!("{source} hello {}", hello.index),
                    Ok(Message::Statement { statement, .. }) => format!(
                        "{source} {:?} {} {} nonces {:?}",
                        statement.kind,
                        statement.epoch,
                        statement.counter,
                        statement
                            .options
                            .iter()
                            .filter(|o| matches!(o, MessageOption::Nonces(_)))
                            .collect::<Vec<_>>()
                    ),
                    Ok(Message::Query { query, .. }) => format!(
                        "{source} query {} {:?} anchor {}",
                        query.target, query.nonce, query.anchor
                    ),
                    other => format!("{source} {other:?}").chars().take(80).collect(),
                },
                other => format!("{other:?}").chars().take(80).collect(),
            };
            println!(
                "{:.3} {} {} {way} {said}",
                frame.at.0 as f64 / 1e9,
                place.host,
                place.interface
            );
        }
    }

    /// Something happens to a host or to its cables.
    fn disturb(&mut self) {
        let host = self.below(self.hosts.len());
        let prefix = PREFIXES[self.below(PREFIXES.len())];
        let at = self.below(self.hosts[host].links.len());
        let kind = self.below(12);
        let about = &mut self.hosts[host];
        let (name, interface) = (about.name.clone(), format!("eth{at}"));
        let acts = about.alive && !about.frozen;
        let now = self.sim.now();
        self.story.push(format!(
            "{now} {name} {interface} {prefix} {kind} {} {}",
            about.alive, about.frozen
        ));
        match kind {
            0 if about.alive => {
                self.sim.kill(&name).unwrap();
                (about.alive, about.frozen) = (false, false);
            }
            0..=2 if !about.alive => {
                self.sim.start(&name).unwrap();
                about.alive = true;
            }
            1 | 2 if about.frozen => {
                self.sim.thaw(&name).unwrap();
                about.frozen = false;
            }
            1 if about.alive => {
                self.sim.freeze(&name).unwrap();
                about.frozen = true;
            }
            3 => {
                about.plugged[at] = !about.plugged[at];
                self.sim
                    .carrier(&name, &interface, about.plugged[at])
                    .unwrap();
            }
            4 | 5 if acts && name.starts_with('s') => {
                let served = self.sim.node(&name).unwrap().unwrap().joined();
                let wanted: Prefix = prefix.parse().unwrap();
                if served
                    .map(|(prefix, _)| prefix)
                    .any(|prefix| prefix == wanted)
                {
                    self.sim.leave(&name, prefix).unwrap();
                } else {
                    self.sim.join(&name, prefix).unwrap();
                }
            }
            6 => {
                self.groups += 1;
                about.group = self.groups;
                self.sim.partition(&[&name]).unwrap();
            }
            7 => {
                self.sim.heal();
                self.hosts.iter_mut().for_each(|host| host.group = 0);
            }
            8 => {
                let ppm = self.below(401) as i32 - 200;
                self.sim.set_clock(&name, ppm).unwrap();
            }
            9..=11 => self.impair(&name, &interface),
            _ => {}
        }
        self.watch.disturb(self.sim.now() + DELAY);
    }

    /// A cable becomes bad, in one direction or both.
    fn impair(&mut self, name: &str, interface: &str) {
        let mut draw = || {
            let mut how = Impairment::delay_ms(self.below(75) as u64);
            if self.chance(2) {
                how.jitter = Duration::from_millis(self.below(75) as u64).min(how.delay);
                how.reorder =
                    self.below(20) as f64 / 100.0 * f64::from(u8::from(!how.delay.is_zero()));
            }
            how.loss = self.below(50) as f64 / 100.0;
            how.duplicate = self.below(30) as f64 / 100.0;
            how
        };
        let (to, from) = (draw(), draw());
        self.sim.impair(name, interface, to, from).unwrap();
        self.impaired = true;
    }

    /// Every cable that is in is as good as new.
    fn repair(&mut self) {
        for host in &self.hosts {
            for at in 0..host.links.len() {
                let good = Impairment::default();
                self.sim
                    .impair(&host.name, &format!("eth{at}"), good, good)
                    .unwrap();
            }
        }
        self.impaired = false;
        self.watch.disturb(self.sim.now() + DELAY);
    }

    /// A stranger on every link says something that it has overheard, damaged. Without keys it is a
    /// hello: whatever else it says could be true.
    fn garble(&mut self) {
        let frames = &self.sim.frames().unwrap().frames;
        let Some(last) = frames.len().checked_sub(1) else {
            return;
        };
        let which = self.random.next_u64() % (last as u64 + 1);
        let frame = frames[which as usize].bytes.to_vec();
        if !is_hello(&frame) {
            return;
        }
        let mut damaged = support::Random::new(self.random.next_u64()).damage(&frame);
        if let Some(destination) = damaged.first_chunk_mut::<6>() {
            destination.copy_from_slice(&frame[..6]);
        }
        for link in 0..self.links {
            let said = self
                .sim
                .send(&format!("eve{link}"), "eth0", damaged.clone());
            said.unwrap();
        }
    }
}

fn is_query(frame: &[u8]) -> bool {
    let Ok(Frame::Message { payload, .. }) = Frame::parse(frame) else {
        return false;
    };
    matches!(Message::decode(payload), Ok(Message::Query { .. }))
}

fn is_hello(frame: &[u8]) -> bool {
    let Ok(Frame::Message { payload, .. }) = Frame::parse(frame) else {
        return false;
    };
    matches!(Message::decode(payload), Ok(Message::Hello { .. }))
}

fn run(name: &'static str, count: u64, enforces: bool) {
    let test = RandomTest {
        package: "hamp",
        file: "network_random",
        name,
    };
    test.run(count, |seed| {
        let mut net = Network::new(seed, enforces);
        let span = net.random.span(Duration::from_secs(4));
        net.run_for(Duration::from_secs(2) + span);
        for _ in 0..3 {
            for _ in 0..net.below(12) {
                net.disturb();
                if !enforces && net.chance(3) {
                    net.garble();
                }
                let most = [10, 300, 2000][net.below(3)];
                let span = net.random.span(Duration::from_millis(most));
                net.run_for(span);
            }
            net.repair();
            let settles = net.watch.settles().saturating_duration_since(net.sim.now());
            net.run_for(settles + LOOK);
        }
    });
}

#[test]
fn whatever_happens_to_a_network_the_invariants_hold() {
    run("whatever_happens", 50, false);
}

#[test]
fn whatever_an_adversary_says_to_hosts_that_enforce_the_invariants_hold() {
    run("whatever_an_adversary_says", 50, true);
}
