//! A story that never happened: two members on a link, one is killed, and everything that a page
//! can show. The frames are real.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use hamp::wire::frame::{self, Mac};
use hamp::wire::{Hello, MemberId, Message};
use testbed::Topology;
use testbed::capture::{Captured, Frame, Link, Stamp};
use testbed::report::Unsupported;
use testbed::report::{
    Attack, Check, Kind, Mark, Phase, Program, Request, Round, Run, Story, Takeover,
};

const HOSTS: [&str; 4] = ["s1", "s2", "s3", "client"];
const A4: &str = "198.18.0.1";
const A6: &str = "2001:2:0:1546::1";

fn mac(host: usize) -> Mac {
    [2, 0, 0, 0, 0, u8::try_from(host).expect("a few")]
}

/// So many milliseconds after the beginning.
pub(crate) fn at(ms: f64) -> Stamp {
    Stamp(1_000_000_000_000).plus(Duration::from_secs_f64(ms / 1e3))
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Frames on a link of four hosts.
#[derive(Default)]
pub(crate) struct Tape(Vec<Frame>);

impl Tape {
    /// A host sends, and these get it 0.1 ms later.
    fn sent(&mut self, ms: f64, from: usize, to: &[usize], bytes: &[u8]) {
        let frame = |ms, link, from_host| Frame {
            at: at(ms),
            link,
            from_host,
            length: bytes.len(),
            bytes: bytes.into(),
        };
        self.0.push(frame(ms, from, true));
        self.0
            .extend(to.iter().map(|to| frame(ms + 0.1, *to, false)));
    }

    /// A member says hello to all.
    pub(crate) fn hello(&mut self, ms: f64, from: usize, index: u32) {
        let member = MemberId([u8::try_from(from).expect("a few") + 0x11; 16]);
        let hello = Hello {
            chain: [0xab; 8],
            index,
            value: [1; 16],
        };
        let bytes = Message::Hello { member, hello }.encode();
        let source = ip(&format!("10.0.0.{}", from + 1));
        let frame = frame::message(mac(from), source, &bytes);
        let others: Vec<usize> = (0..HOSTS.len()).filter(|to| *to != from).collect();
        self.sent(ms, from, &others, &frame);
    }

    /// What a capture of the four links would hold.
    pub(crate) fn captured(self) -> Captured {
        let link = |(number, name): (usize, &&str)| Link {
            host: (*name).into(),
            interface: "eth0".into(),
            port: (*name).into(),
            mac: mac(number),
        };
        Captured {
            links: HOSTS.iter().enumerate().map(link).collect(),
            frames: self.0,
            lost: 0,
        }
    }

    /// The client asks a member for a connection, and gets one or not.
    pub(crate) fn syn(&mut self, ms: f64, member: usize, port: u16, answered: bool) {
        let segment = |from: usize, to: usize, ips: [[u8; 4]; 2], ports: [u16; 2], ack: bool| {
            let tcp = etherparse::PacketBuilder::ethernet2(mac(from), mac(to))
                .ipv4(ips[0], ips[1], 64)
                .tcp(ports[0], ports[1], 1, 1000)
                .syn();
            let tcp = if ack { tcp.ack(2) } else { tcp };
            let mut bytes = Vec::new();
            tcp.write(&mut bytes, &[]).expect("write to a Vec");
            bytes
        };
        let client = [10, 0, 0, 4];
        let bytes = segment(3, member, [client, [198, 18, 0, 1]], [port, 80], false);
        self.sent(ms, 3, &[member], &bytes);
        if answered {
            let own = [10, 0, 0, u8::try_from(member).expect("a few") + 1];
            let bytes = segment(member, 3, [own, client], [80, port], true);
            self.sent(ms + 0.3, member, &[3], &bytes);
        }
    }
}

fn captured(seconds: u32) -> Captured {
    let mut tape = Tape::default();
    let mut port = 20_000;
    for index in 0..seconds * 20 {
        let ms = f64::from(index) * 50.0;
        for member in 0..3 {
            if member > 0 || ms < 1000.0 {
                tape.hello(ms + member as f64, member, index);
            }
        }
        let owner = usize::from(ms > 1150.0);
        port += 1;
        tape.syn(ms + 7.0, owner, port, !(1000.0..1150.0).contains(&ms));
    }
    let own: Ipv6Addr = "fd00::2".parse().expect("an address");
    for (ms, address) in [(1160.0, A4), (1161.0, A6), (1300.0, A4), (1301.0, A6)] {
        let frame = frame::announcement(ip(address), mac(1), Some(own)).expect("of one family");
        tape.sent(ms, 1, &[0, 2, 3], &frame);
    }
    for (ms, source, address) in [(1200.0, "10.0.0.4", A4), (1201.0, "fd00::4", A6)] {
        let question = frame::request(mac(3), ip(source), ip(address)).expect("of one family");
        tape.sent(ms, 3, &[0, 1, 2], &question);
        let Ok(frame::Frame::Request(request)) = frame::Frame::parse(&question) else {
            panic!("not a question");
        };
        let answer = frame::answer(&request, mac(1), Some(own)).expect("of one family");
        tape.sent(ms + 0.5, 1, &[3], &answer);
    }
    tape.captured()
}

fn round(name: &str, seconds: u32, per_second: u32, marks: Vec<Mark>) -> Round {
    let mut requests = Vec::new();
    for index in 0..seconds * per_second {
        let ms = f64::from(index) * 1000.0 / f64::from(per_second);
        let lost = (1000.0..1150.0).contains(&ms);
        let owner = if ms < 1000.0 { "s1" } else { "s2" };
        requests.push(Request {
            host: "client".into(),
            service: ["dns", "http"][index as usize / 2 % 2].into(),
            family: if index % 2 == 0 { 4 } else { 6 },
            sent: at(ms),
            done: at(ms + 1.0),
            outcome: if lost {
                Err("no answer".into())
            } else {
                Ok(owner.into())
            },
        });
    }
    Round {
        name: name.into(),
        hello: Duration::from_millis(50),
        dead: Duration::from_millis(150),
        window: Duration::from_millis(350),
        anycast: vec![ip(A4), ip(A6)],
        members: HOSTS[..3].iter().map(|h| (*h).into()).collect(),
        stock: Vec::new(),
        marks,
        requests,
        captured: captured(seconds.min(20)),
    }
}

fn mark(name: &str, kind: Kind, host: Option<&str>, from: f64, to: f64) -> Mark {
    Mark {
        name: name.into(),
        kind,
        host: host.map(Into::into),
        from: at(from),
        settled: at(from + 350.0),
        to: at(to),
    }
}

fn run(hostile: &str) -> Run {
    let phase = |family| Phase {
        name: format!("kill s1{hostile}"),
        hello_ms: 50,
        from_ms: 1000.0,
        to_ms: 2500.0,
        family,
        service: "http".into(),
        from_host: "client".into(),
        requests: 75,
        ok: 67,
        failed: 8,
        by_member: BTreeMap::from([("s1".into(), 1), ("s2".into(), 66)]),
        gap_ms: 160.25,
        p50_ms: 0.5,
        p99_ms: 2.75,
    };
    let takeover = |family| Takeover {
        event: format!("kill s1{hostile}"),
        hello_ms: 50,
        family,
        at_ms: 1000.0,
        from: "s1".into(),
        to: "s2".into(),
        took_ms: 161.5,
        lost: 8,
        last_lost_ms: Some(148.0),
        window_ms: 350.0,
    };
    let failed = Check::at_most(format!("last-lost/kill{hostile}"), 400.0, 350.0, "ms");
    Run {
        schema: "hamp-lab.run/1",
        scenario: format!("made-up{hostile}"),
        seed: 42,
        started_unix_ms: 1_700_000_000_000,
        took_ms: 20_000,
        stall_ms: 0.4,
        privilege: "root".into(),
        quick: false,
        versions: BTreeMap::from([("linux".into(), format!("6.18{hostile}"))]),
        phases: vec![phase(4), phase(6)],
        takeovers: vec![takeover(4), takeover(6)],
        programs: vec![Program {
            command: format!("curl http://{A4}/{hostile}"),
            family: 4,
            answered_by: None,
            error: Some(format!("curl: (7){hostile}")),
        }],
        attacks: vec![Attack {
            mode: "enforce".into(),
            attack: format!("forged-join{hostile}"),
            about: format!("it joins{hostile}"),
            from_ms: 1000.0,
            to_ms: 2500.0,
            frames: 42,
            requests: 100,
            diverted: 0,
            lost: 1,
            moved: 0,
            refused: BTreeMap::from([(
                "client".into(),
                BTreeMap::from([(format!("unsigned{hostile}"), 42)]),
            )]),
            listed_ms: BTreeMap::from([("client".into(), None), ("s2".into(), Some(290.0))]),
            router_percent: Some(7.5),
        }],
        checks: vec![
            failed.noted(hostile),
            Check::at_most("one", 0.0, 1.0, "members"),
        ],
        unsupported: vec![Unsupported {
            what: "ssh".into(),
            reason: format!("one user{hostile}"),
        }],
        passed: false,
    }
}

/// A story of so many seconds and requests a second, with `hostile` in every name that is not a
/// host's.
pub(crate) fn story(seconds: u32, per_second: u32, hostile: &str) -> Story {
    let mut topology = Topology::new("made-up").switch("lan");
    for (number, host) in HOSTS.iter().enumerate() {
        topology = topology
            .host(host)
            .link("lan", &[format!("10.0.0.{}/24", number + 1)]);
        if number < 3 {
            topology = topology.hamp(format!("[member]\naddresses = [\"{A4}\", \"{A6}\"]\n"));
        }
    }
    let name = format!("kill s1{hostile}");
    let end = f64::from(seconds) * 1000.0;
    let many = (1..12).map(|n| {
        let from = 2500.0 + f64::from(n) * 40.0;
        mark(
            &format!("one of many events, number {n}"),
            Kind::Orderly,
            Some("s3"),
            from,
            from + 40.0,
        )
    });
    let marks = [
        mark("undisturbed", Kind::Quiet, None, 0.0, 1000.0),
        mark(&name, Kind::Fault, Some("s1"), 1000.0, 2500.0),
        mark("after", Kind::Orderly, Some("s1"), 2500.0, 2540.0),
    ];
    let first = marks.iter().cloned().chain(many).collect();
    let last = mark(
        "the last thing, right before the end",
        Kind::Fault,
        Some("s2"),
        end - 60.0,
        end,
    );
    let second = marks.iter().cloned().chain([last]).collect();
    Story {
        about: format!("nothing of this happened{hostile}"),
        topology,
        run: run(hostile),
        started: at(0.0),
        commands: vec![(
            "This run".into(),
            format!(
                "hamp-lab run made-up{hostile} {}",
                "--long-word ".repeat(20)
            ),
        )],
        rounds: vec![
            round("many marks", seconds, per_second, first),
            round("few marks", seconds, per_second, second),
        ],
    }
}
