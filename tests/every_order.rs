//! Every order of a small network's events: three hosts on one link, and at every moment of their
//! first seconds all that can go wrong. Frames are lost, doubled, or come late, before or after any
//! other; hosts end, begin, leave, join and are parted.
//!
//! The network without faults is one way of events. Each event of it is a place for a deviation,
//! after which there is another way of events with places of its own, and so on up to a number of
//! deviations: all of these ways are gone, to their ends. Ways that come to the same state (of
//! all machines, frames on their way and timers) are gone on with once.
//!
//! A failure prints the deviations and the command that goes this one way again.

mod invariants;

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;

use hamp::addr::Prefix;
use hamp::node::{Config, Heard, JoinOptions, LinkId, LinkState, Node};
use hamp::proto::Timing;
use hamp::proto::router::RouterConfig;
use hamp::time::{Duration, Instant};
use hamp::wire::Roles;
use invariants::{Bounds, Station, Watch};
use testbed::sim::{WALL, keys};

const LINK: LinkId = LinkId(2);
const LATENCY: Duration = Duration::from_millis(1);
/// Late, so that others come before; and late by more than a hello.
const LATE: [Duration; 2] = [Duration::from_millis(30), Duration::from_millis(1300)];
const HOSTS: usize = 3;
/// The last one is a router.
const MEMBERS: usize = 2;

/// What can go wrong at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Deviation {
    /// The frame that would arrive does not.
    Lose,
    /// It arrives twice.
    Twice,
    /// It arrives later.
    Late(usize),
    /// A host ends without a word.
    Kill(usize),
    /// A host that has ended begins again.
    Start(usize),
    /// A member leaves.
    Leave(usize),
    /// It joins again.
    Join(usize),
    /// A host is parted from the others.
    Cut(usize),
    /// Nobody is parted any more.
    Heal,
}

/// A frame on its way to one host.
#[derive(Clone)]
struct Flight {
    at: Instant,
    serial: u64,
    from: usize,
    to: usize,
    frame: Rc<(u64, Heard)>,
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Next {
    Arrival(usize),
    Timer(usize),
}

/// A network in some state.
#[derive(Clone)]
struct World {
    now: Instant,
    nodes: Vec<Option<Node>>,
    lives: Vec<u64>,
    serving: Vec<bool>,
    enforces: bool,
    cut: Option<usize>,
    flight: Vec<Flight>,
    serial: u64,
    /// How many events have happened.
    place: u32,
    /// When the last one did.
    last: Option<Instant>,
    watch: Watch,
}

fn prefix() -> Prefix {
    "198.18.0.1/32".parse().unwrap()
}

fn timing() -> Timing {
    Timing {
        hello: Duration::from_secs(1),
        dead_hellos: 3,
    }
}

impl World {
    fn new(enforces: bool) -> Self {
        let bounds = Bounds::new(timing(), LATENCY, Duration::ZERO);
        let mut world = Self {
            now: Instant::ZERO,
            nodes: vec![None; HOSTS],
            lives: vec![0; HOSTS],
            serving: (0..HOSTS).map(|host| host < MEMBERS).collect(),
            enforces,
            cut: None,
            flight: Vec::new(),
            serial: 0,
            place: 0,
            last: None,
            watch: Watch::new(bounds, &[prefix()]),
        };
        world.watch.set_strict(enforces);
        for host in 0..HOSTS {
            // Not at one moment, so that the order of what they say is not that of their numbers.
            world.now = Instant::from_millis(170 * host as u64);
            world.start(host);
        }
        world
    }

    fn start(&mut self, host: usize) {
        let router = host >= MEMBERS;
        let mut config = Config {
            name: format!("h{host}"),
            timing: timing(),
            router: router.then(RouterConfig::default),
            ..Config::default()
        };
        if self.enforces {
            let member = !router;
            let trust = keys::enforcing(host as u64, Roles { member, router });
            config.credentials = trust.credentials;
            config.authorities = trust.authorities;
            config.trust = trust.mode;
        }
        self.lives[host] += 1;
        let epoch = 1000 * self.lives[host] + self.now.as_millis();
        let secret = [host as u8 + 1; 32];
        let mut node = Node::new(config, secret, epoch);
        node.set_wall(self.now, WALL);
        if self.serving[host] {
            node.join(self.now, prefix(), JoinOptions::default())
                .unwrap();
        }
        let state = LinkState {
            mac: [2, 0, 0, 0, 0, host as u8 + 1],
            ipv4: Some([10, 0, 0, host as u8 + 1].into()),
            ipv6: None,
            mtu: 1500,
        };
        node.handle_link(self.now, LINK, Some(state));
        self.nodes[host] = Some(node);
        self.drain(host);
    }

    /// Sends what a host has to say to all others.
    fn drain(&mut self, host: usize) {
        let Some(node) = &mut self.nodes[host] else {
            return;
        };
        while node.poll_event().is_some() {}
        while let Some(transmit) = node.poll_transmit() {
            let mut hasher = DefaultHasher::new();
            transmit.frame.hash(&mut hasher);
            let frame = Rc::new((hasher.finish(), Heard::read(&transmit.frame)));
            for to in (0..HOSTS).filter(|to| *to != host) {
                self.serial += 1;
                self.flight.push(Flight {
                    at: self.now + LATENCY,
                    serial: self.serial,
                    from: host,
                    to,
                    frame: Rc::clone(&frame),
                });
            }
        }
    }

    fn next(&self) -> Option<(Instant, Next)> {
        let flights = self.flight.iter().enumerate();
        let arrival =
            flights.map(|(index, flight)| (flight.at, flight.serial, Next::Arrival(index)));
        let timers = self.nodes.iter().enumerate().filter_map(|(host, node)| {
            let due = node.as_ref()?.poll_timeout()?;
            Some((due.max(self.now), u64::MAX, Next::Timer(host)))
        });
        let first = arrival
            .chain(timers)
            .min_by_key(|(at, serial, _)| (*at, *serial));
        first.map(|(at, _, next)| (at, next))
    }

    /// What can go wrong before, or with, what happens next.
    fn deviations(&self) -> Vec<Deviation> {
        let Some((at, next)) = self.next() else {
            return Vec::new();
        };
        let mut all = Vec::new();
        if let Next::Arrival(index) = next
            && self.hears(&self.flight[index])
        {
            all.extend([Deviation::Lose, Deviation::Twice]);
            all.extend((0..LATE.len()).map(Deviation::Late));
        }
        // Between events of one moment a fault is no other than before them, with frames lost.
        if self.last == Some(at) {
            return all;
        }
        for host in 0..HOSTS {
            match (&self.nodes[host], self.serving[host]) {
                (None, _) => all.push(Deviation::Start(host)),
                (Some(_), true) => all.extend([Deviation::Kill(host), Deviation::Leave(host)]),
                (Some(_), false) if host < MEMBERS => {
                    all.extend([Deviation::Kill(host), Deviation::Join(host)]);
                }
                (Some(_), false) => all.push(Deviation::Kill(host)),
            }
            if self.cut.is_none() {
                all.push(Deviation::Cut(host));
            }
        }
        all.extend(self.cut.map(|_| Deviation::Heal));
        all
    }

    fn apply(&mut self, deviation: Deviation) {
        let Some((at, next)) = self.next() else {
            return;
        };
        self.now = self.now.max(at);
        let now = self.now;
        let mut until = now;
        if let (Deviation::Lose | Deviation::Twice | Deviation::Late(_), Next::Arrival(index)) =
            (deviation, next)
        {
            let flight = self.flight.remove(index);
            self.serial += 1;
            let delay = match deviation {
                Deviation::Late(which) => LATE[which],
                _ => LATE[0],
            };
            let later = Flight {
                at: now + delay,
                serial: self.serial,
                ..flight.clone()
            };
            until = later.at;
            if deviation == Deviation::Twice {
                self.flight.push(flight);
            }
            if deviation != Deviation::Lose {
                self.flight.push(later);
                let bounds = Bounds::new(timing(), LATENCY, delay + LATENCY);
                self.watch.set_bounds(bounds.max(self.watch.bounds()));
            }
        }
        match deviation {
            Deviation::Kill(host) => self.nodes[host] = None,
            Deviation::Start(host) => self.start(host),
            Deviation::Leave(host) => {
                self.serving[host] = false;
                if let Some(node) = &mut self.nodes[host] {
                    node.leave(now, prefix()).unwrap();
                }
                self.drain(host);
            }
            Deviation::Join(host) => {
                self.serving[host] = true;
                if let Some(node) = &mut self.nodes[host] {
                    node.join(now, prefix(), JoinOptions::default()).unwrap();
                }
                self.drain(host);
            }
            Deviation::Cut(host) => self.cut = Some(host),
            Deviation::Heal => self.cut = None,
            Deviation::Lose | Deviation::Twice | Deviation::Late(_) => {}
        }
        self.watch.disturb(until);
        self.last = None;
        self.place += 1;
    }

    /// Whether a frame comes through to somebody who lives.
    fn hears(&self, flight: &Flight) -> bool {
        let parted = self.cut == Some(flight.from) || self.cut == Some(flight.to);
        self.nodes[flight.to].is_some() && !parted
    }

    /// Lets the next thing happen, as it should.
    fn step(&mut self) -> Result<(), String> {
        let Some((at, next)) = self.next() else {
            return Ok(());
        };
        self.now = at;
        self.last = Some(at);
        self.place += 1;
        let host = match next {
            Next::Arrival(index) => {
                let flight = self.flight.remove(index);
                if self.hears(&flight)
                    && let Some(node) = &mut self.nodes[flight.to]
                {
                    node.handle_heard(at, LINK, &flight.frame.1, false);
                }
                flight.to
            }
            Next::Timer(host) => {
                if let Some(node) = &mut self.nodes[host] {
                    node.handle_timeout(at);
                }
                host
            }
        };
        self.drain(host);
        self.look()
    }

    fn look(&mut self) -> Result<(), String> {
        let stations: Vec<_> = (0..HOSTS)
            .map(|host| {
                let node = self.nodes[host].as_ref();
                Station {
                    number: host,
                    place: (0, u32::from(self.cut == Some(host))),
                    link: node.and_then(|node| {
                        let (id, link) = node.links().next()?;
                        Some((node, id, link))
                    }),
                }
            })
            .collect();
        self.watch.look(self.now, &stations)
    }

    /// Lets everything happen as it should until all is settled.
    fn settle(&mut self) -> Result<(), String> {
        let end = self.watch.settles().max(self.now);
        while self.next().is_some_and(|(at, _)| at <= end) {
            self.step()?;
        }
        Ok(())
    }

    /// Names the state: all machines, frames and timers.
    fn hash(&self) -> u64 {
        struct Into(DefaultHasher);
        impl fmt::Write for Into {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.write(text.as_bytes());
                Ok(())
            }
        }
        let mut into = Into(DefaultHasher::new());
        write!(into, "{:?}{:?}{:?}", self.nodes, self.serving, self.watch).unwrap();
        let mut hasher = into.0;
        (self.now, self.cut, &self.lives).hash(&mut hasher);
        let mut flight: Vec<_> = self.flight.iter().collect();
        flight.sort_by_key(|flight| (flight.at, flight.serial));
        for flight in flight {
            (flight.at, flight.from, flight.to, flight.frame.0).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// All ways up to a number of deviations.
struct Explorer {
    /// Nothing goes wrong after this.
    until: Instant,
    ways: u64,
    seen: BTreeSet<u64>,
    met: u64,
    trail: Vec<(u32, Deviation)>,
}

impl Explorer {
    fn go(&mut self, mut world: World, budget: usize) {
        while budget > 0 && world.next().is_some_and(|(at, _)| at <= self.until) {
            for deviation in world.deviations() {
                let mut branch = world.clone();
                self.trail.push((world.place, deviation));
                branch.apply(deviation);
                self.go(branch, budget - 1);
                self.trail.pop();
            }
            let stepped = world.step();
            self.fails(stepped);
        }
        if self.seen.insert(world.hash()) {
            self.ways += 1;
            let settled = world.settle();
            self.fails(settled);
        } else {
            self.met += 1;
        }
    }

    fn fails(&self, result: Result<(), String>) {
        if let Err(why) = result {
            let trail: Vec<_> = self
                .trail
                .iter()
                .map(|(place, d)| format!("{place}:{d:?}"))
                .collect();
            panic!(
                "{why}\nagain: HAMP_TRAIL='{}' cargo test -p hamp --test every_order {}",
                trail.join(","),
                std::thread::current().name().unwrap_or_default()
            );
        }
    }
}

/// Every way with at most `budget` deviations in the first `until`, or with `HAMP_DEVIATIONS` of
/// them in `HAMP_UNTIL_MS`; with `HAMP_TRAIL`, that one.
fn explore(enforces: bool, until: Duration, budget: usize) {
    if let Ok(trail) = std::env::var("HAMP_TRAIL") {
        return again(World::new(enforces), &trail);
    }
    let number = |name: &str, default: u64| {
        let set = std::env::var(name).ok();
        set.map_or(default, |text| {
            text.parse().unwrap_or_else(|_| panic!("{name}={text}"))
        })
    };
    let until_ms = number("HAMP_UNTIL_MS", until.as_millis() as u64);
    let mut explorer = Explorer {
        until: Instant::from_millis(until_ms),
        ways: 0,
        seen: BTreeSet::new(),
        met: 0,
        trail: Vec::new(),
    };
    let deviations = number("HAMP_DEVIATIONS", budget as u64) as usize;
    explorer.go(World::new(enforces), deviations);
    println!("{} ways, {} met others", explorer.ways, explorer.met);
    assert!(explorer.ways > 100);
}

/// Goes one way again, and says what happens on it.
fn again(mut world: World, trail: &str) {
    for step in trail.split(',') {
        let (place, name) = step.split_once(':').expect("PLACE:DEVIATION,...");
        let place: u32 = place.parse().expect("a place");
        while world.place < place {
            println!("{} {:?}", world.now, world.next());
            world.step().unwrap();
        }
        let mut all = world.deviations().into_iter();
        let deviation = all.find(|deviation| format!("{deviation:?}") == name);
        println!("{} {:?}: {name}", world.now, world.next());
        world.apply(deviation.expect("a deviation of this place"));
    }
    world.settle().unwrap();
}

const ONCE: Duration = Duration::from_secs(4);
const TWICE: Duration = Duration::from_millis(800);

#[test]
fn whatever_goes_wrong_once_the_tables_are_right_in_time() {
    explore(false, ONCE, 1);
}

#[test]
fn whatever_goes_wrong_twice_the_tables_are_right_in_time() {
    explore(false, TWICE, 2);
}

#[test]
fn whatever_goes_wrong_once_for_hosts_that_enforce_the_tables_are_right_in_time() {
    explore(true, ONCE, 1);
}

#[test]
fn whatever_goes_wrong_twice_for_hosts_that_enforce_the_tables_are_right_in_time() {
    explore(true, TWICE / 2, 2);
}
