//! A router, and members that say what real ones say.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hamp::addr;
use hamp::node::{Config, Limits, LinkId, LinkState, Node, RouterConfig};
use hamp::proto::Timing;
use hamp::proto::member::{Identity, Member, Speech};
use hamp::proto::random::Random;
use hamp::time::Instant;
use hamp::wire::{Authentication, MemberId, Message, Record, RecordAddress, Scope, frame};

const LINK: LinkId = LinkId(2);

/// Frames, and when they arrive.
pub(crate) type Frames = Vec<(Instant, Vec<u8>)>;

pub(crate) struct Site {
    pub(crate) router: Node,
    /// What each member says to report everything once.
    pub(crate) reports: Vec<Frames>,
    members: Vec<Member>,
    now: Instant,
    random: Random,
}

fn state(number: u8) -> LinkState {
    LinkState {
        mac: [2, 0, 0, 0, 0, number],
        ipv4: Some(Ipv4Addr::new(10, 0, 0, number)),
        ipv6: None,
        mtu: 1500,
    }
}

/// Lets the router hear frames, and do what follows.
pub(crate) fn hear(router: &mut Node, frames: &Frames) {
    for (now, frame) in frames {
        router.handle_frame(*now, LINK, frame, false);
        while router.poll_event().is_some() {}
        while router.poll_transmit().is_some() {}
    }
}

impl Site {
    /// `count` members that serve the same first `addresses` of the class, and a router that knows
    /// nothing of them yet.
    pub(crate) fn new(count: usize, addresses: usize) -> Self {
        let mut now = Instant::from_millis(1_000);
        let config = Config {
            limits: Limits::ROUTER,
            router: Some(RouterConfig::default()),
            ..Config::default()
        };
        let mut router = Node::new(config, [9; 32], 1);
        router.handle_link(now, LINK, Some(state(250)));
        let mut random = Random::new(1);
        let mut members: Vec<Member> = (1..=count).map(|n| member(now, n, addresses)).collect();
        // Past the listening, up to the end of the report that follows it, before its repetition.
        now += Duration::from_millis(500);
        let mut reports = vec![Frames::new(); count];
        for (member, report) in members.iter_mut().zip(&mut reports) {
            let mut at = now;
            for _ in 0..64 {
                member.handle_timeout(at, &mut random);
                say(member, at, report);
                at += Duration::from_millis(10);
            }
            // What is repeated within the second after is left out.
            let whole = parts(addresses);
            assert!(report.len() >= whole, "{} of {whole} parts", report.len());
            report.truncate(whole);
            report.iter_mut().for_each(|(at, _)| *at = now);
        }
        now += Duration::from_millis(640);
        Self {
            router,
            reports,
            members,
            now,
            random,
        }
    }

    /// The router hears all reports.
    pub(crate) fn report_all(&mut self) {
        for report in &self.reports {
            hear(&mut self.router, report);
        }
    }

    /// The next hellos of a member, each at its time.
    pub(crate) fn hellos(&mut self, member: usize, count: u32) -> Frames {
        let member = &mut self.members[member];
        let mut frames = Frames::new();
        // Repetitions of the report are over.
        let until = self.now + Duration::from_millis(1_800);
        while self.now < until {
            member.handle_timeout(self.now, &mut self.random);
            say(member, self.now, &mut Frames::new());
            self.now += Duration::from_millis(10);
        }
        while frames.len() < count as usize {
            member.handle_timeout(self.now, &mut self.random);
            let mut said = Frames::new();
            say(member, self.now, &mut said);
            frames.extend(said);
            self.now += Duration::from_millis(10);
        }
        frames.truncate(count as usize);
        frames
    }
}

fn member(now: Instant, number: usize, addresses: usize) -> Member {
    let number = u8::try_from(number).expect("few members");
    let state = state(number);
    let identity = Identity {
        id: MemberId([number; 16]),
        interface: 2,
        mac: state.mac,
        ipv4: state.ipv4,
        ipv6: None,
        mtu: 1500,
        sealing: 0,
    };
    let mut member = Member::new(identity, Timing::default(), [number; 32], 1);
    for low in 0..addresses {
        let [_, _, high, low] = u32::try_from(low).expect("a class").to_be_bytes();
        let address = IpAddr::from([198, 18, high, low]);
        member.join(
            now,
            Record {
                address: RecordAddress::Prefix(addr::host(address)),
                draining: false,
                scope: Scope::Global,
                preference: 100,
                lifetime: Duration::from_secs(3),
                serial: None,
            },
        );
    }
    member
}

fn say(member: &mut Member, now: Instant, frames: &mut Frames) {
    while member.poll_event().is_some() {}
    while let Some(speech) = member.poll_transmit() {
        let identity = *member.identity();
        let member = identity.id;
        let message = match speech {
            Speech::Hello(hello) => Message::Hello { member, hello },
            Speech::Statement(statement) => Message::Statement {
                member,
                statement,
                authentication: Authentication::None,
            },
        };
        let source = identity.ipv4.expect("an address").into();
        frames.push((now, frame::message(identity.mac, source, &message.encode())));
    }
}

/// In how many parts a report of so many addresses comes: 16 bytes each in what 1500 leave.
fn parts(addresses: usize) -> usize {
    let room: usize = 1500 - (48 + 160 + 4 + 8 * 32);
    addresses.div_ceil(room / 16)
}
