// What holds for any bytes. The fuzz targets search for a counterexample; tests/golden.rs holds
// the corpus and every mutation of the golden packets against the same functions.

use core::net::IpAddr;

use hamp::node::{Config, JoinOptions, LinkId, LinkState, Node};
use hamp::proto::trust::{Credentials, Mode, SecretKey};
use hamp::time::{Duration, Instant};
use hamp::wire::frame::{self, Frame};
use hamp::wire::{AuthorityId, Certificate, Message, MessageOption, RevocationList, Roles};

/// Decoding never panics, and what was understood survives being encoded and decoded again.
pub(crate) fn decode(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        let encoded = message.encode();
        assert_eq!(encoded.len(), bytes.len(), "{message:?}");
        assert_eq!(Message::decode(&encoded).as_ref(), Ok(&message));
        let options = match &message {
            Message::Statement { statement, .. } => &statement.options[..],
            Message::Query { query, .. } => &query.options,
            Message::Hello { .. } | Message::Unknown { .. } => &[],
        };
        for option in options {
            if let MessageOption::Certificate(bytes) = option {
                trust(bytes);
            }
        }
    }
    match Frame::parse(bytes) {
        Ok(Frame::Message {
            mac,
            source,
            payload,
        }) => {
            let rebuilt = frame::message(mac, source, payload);
            let again = Frame::Message {
                mac,
                source,
                payload,
            };
            assert_eq!(Frame::parse(&rebuilt), Ok(again));
            decode(payload);
        }
        Ok(Frame::Request(request)) => {
            let own = "fe80::1".parse().ok();
            if let Some(reply) = frame::answer(&request, [2, 0, 0, 0, 0, 1], own) {
                assert!(
                    matches!(Frame::parse(&reply), Ok(Frame::Answer(_))),
                    "{request:?}"
                );
            }
        }
        Ok(Frame::Answer(_)) | Err(_) => {}
    }
}

const LINK: LinkId = LinkId(2);
const ADDRESSES: [&str; 4] = [
    "198.18.0.1/32",
    "198.18.4.0/24",
    "2001:2:0:1546::1/128",
    "2001:2:0:1546::8000/113",
];

/// What an authority signs has one spelling: bytes that are a certificate or a revocation list are
/// the encoding of what they say.
pub(crate) fn trust(bytes: &[u8]) {
    if let Ok(certificate) = Certificate::decode(bytes) {
        assert_eq!(certificate.encode(), bytes, "{certificate:?}");
        // The signature is over all but itself.
        assert!(certificate.signed().ends_with(&bytes[..bytes.len() - 64]));
    }
    if let Ok(list) = RevocationList::decode(bytes) {
        assert_eq!(list.encode(), bytes, "{list:?}");
        assert!(list.signed().ends_with(&bytes[..bytes.len() - 64]));
    }
}

/// A host never panics, never spins, never says more than a bounded number of frames to one input,
/// and all it says can be read. `bytes` are steps: a kind, a length (two bytes, as signed messages need),
/// and that many bytes.
pub(crate) fn node(bytes: &[u8]) {
    let config = Config {
        client: true,
        ..Config::default()
    };
    Driven::new(config).take_steps(bytes);
}

/// When the host's time begins, in milliseconds since 1970: that of the golden packets.
const WALL: u64 = 1_795_176_000_000;

/// The same of a host with a key that believes only signed messages, and hears some that are: whom it
/// knows has a certificate, and nobody serves more than that allows.
pub(crate) fn signed(bytes: &[u8]) {
    let authority = SecretKey::from_bytes(&[0xaa; 32]);
    let certified = |number: u8, router: bool| {
        let key = SecretKey::from_bytes(&[number; 32]);
        let draft = Certificate {
            roles: Roles {
                member: true,
                router,
            },
            serial: number.into(),
            authority: AuthorityId([0; 16]),
            key: key.public().to_bytes(),
            not_before: WALL,
            not_after: WALL + 60_000,
            limit: 8,
            prefixes: ["198.18.0.0/22", "2001:2:0:1546::/113"]
                .map(|prefix| prefix.parse().expect("a prefix"))
                .to_vec(),
            hosts: vec![],
            signature: [0; 64],
        };
        Credentials::new(key, authority.certify(draft)).expect("its own")
    };
    let config = Config {
        client: true,
        trust: Mode::Enforce,
        authorities: vec![authority.public()],
        credentials: Some(certified(1, true).into()),
        ..Config::default()
    };
    let mut host = Driven::new(config);
    host.node.set_wall(host.now, WALL);
    host.others = vec![certified(2, false), certified(3, true)];
    host.take_steps(bytes);
}

struct Driven {
    node: Node,
    now: Instant,
    /// Who signs what the host hears; nobody does if there are none.
    others: Vec<Credentials>,
    /// Of the host's last query.
    nonce: [u8; 8],
}

impl Driven {
    fn new(config: Config) -> Self {
        let mut host = Self {
            node: Node::new(config, [1; 32], 1),
            now: Instant::from_millis(1_000),
            others: Vec::new(),
            nonce: [0; 8],
        };
        host.act(|node, now| node.handle_link(now, LINK, Some(state())));
        host
    }

    fn take_steps(mut self, mut bytes: &[u8]) {
        while let [kind, high, low, rest @ ..] = bytes {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            let (input, rest) = rest.split_at(rest.len().min(length));
            bytes = rest;
            self.take_step(*kind, input);
        }
        self.pass(Duration::from_secs(10));
    }

    fn take_step(&mut self, kind: u8, input: &[u8]) {
        let number = input
            .iter()
            .fold(0u32, |all, byte| all << 8 | u32::from(*byte));
        let address = ADDRESSES[number as usize % ADDRESSES.len()]
            .parse()
            .expect("a prefix");
        match kind % 9 {
            0 => self.act(|node, now| node.handle_frame(now, LINK, input, false)),
            1 => self.act(|node, now| node.handle_frame(now, LINK, input, true)),
            // The two that get past the checksums: a message, and a request, of a neighbour.
            2..=4 => {
                let source: IpAddr = match kind % 9 {
                    2 => [10, 15, 46, 1].into(),
                    3 => "fe80::15:46ff:fe00:1".parse().expect("an address"),
                    _ => [10, 0, 0, 7].into(),
                };
                let said = self.vouched(kind / 9, input);
                let frame = frame::message([2, 0x15, 0x46, 0, 0, 1], source, &said);
                self.act(|node, now| node.handle_frame(now, LINK, &frame, false));
            }
            5 => {
                let mac = [2, 0, 0, 0, 0, input.first().copied().unwrap_or(9)];
                let frame = frame::request(mac, [10, 0, 0, 9].into(), [198, 18, 0, 1].into());
                let frame = frame.expect("one family");
                self.act(|node, now| node.handle_frame(now, LINK, &frame, number % 3 == 0));
            }
            6 => self.pass(Duration::from_millis((number % 5_000).into())),
            7 => self.act(|node, now| {
                let _ = node.join(now, address, JoinOptions::default());
            }),
            _ if number % 5 == 0 => self.act(|node, now| node.handle_link(now, LINK, None)),
            _ if number % 5 == 1 => {
                self.act(|node, now| node.handle_link(now, LINK, Some(state())));
            }
            _ if number % 5 == 2 => self.act(|node, now| node.shutdown(now)),
            // Frozen, then awake.
            _ if number % 5 == 3 => self.now += Duration::from_millis((number % 100_000).into()),
            _ => self.act(|node, now| {
                let _ = node.leave(now, address);
            }),
        }
    }

    /// The message as somebody with a key says it, and as an answer to what the host has asked;
    /// unchanged if nobody has a key, if it is no message, or for the last choice.
    fn vouched(&self, choice: u8, payload: &[u8]) -> Vec<u8> {
        let (signs, answers) = (usize::from(choice % 4), choice & 4 == 0);
        let Some(credentials) = self.others.get(signs) else {
            return payload.to_vec();
        };
        let Ok(mut message) = Message::decode(payload) else {
            return payload.to_vec();
        };
        match &mut message {
            Message::Statement {
                member, statement, ..
            } => {
                *member = credentials.member();
                statement.options.clear();
                if answers {
                    statement
                        .options
                        .push(MessageOption::Nonces(vec![self.nonce]));
                }
            }
            Message::Query { asker, query, .. } => {
                *asker = credentials.member();
                query.options.clear();
            }
            Message::Hello { member, .. } => *member = credentials.member(),
            Message::Unknown { .. } => {}
        }
        credentials.sign(message)
    }

    fn act(&mut self, input: impl FnOnce(&mut Node, Instant)) {
        input(&mut self.node, self.now);
        self.node.handle_timeout(self.now);
        let mut frames = 0;
        while let Some(transmit) = self.node.poll_transmit() {
            frames += 1;
            match Frame::parse(&transmit.frame) {
                Ok(Frame::Message { payload, .. }) => {
                    if let Ok(Message::Query { query, .. }) = Message::decode(payload) {
                        self.nonce = query.nonce;
                    }
                }
                Ok(_) => {}
                Err(why) => panic!("{why:?}: {transmit:?}"),
            }
        }
        assert!(frames <= 64, "{frames} frames for one input");
        while self.node.poll_event().is_some() {}
        // One pass does all that is due.
        let due = self.node.poll_timeout().is_some_and(|at| at <= self.now);
        assert!(
            !due,
            "still due: {:?}",
            self.node.links().collect::<Vec<_>>()
        );
        if self.node.trust().mode() == Mode::Enforce {
            self.nobody_exceeds_a_certificate();
        }
    }

    fn nobody_exceeds_a_certificate(&self) {
        for (id, peer) in self.node.links().flat_map(|(_, link)| link.peers()) {
            let standing = peer.standing().expect("a verified peer");
            assert_eq!(standing.member, id);
            assert!(self.node.trust().holds(self.now, standing).is_ok());
            let records = peer.records();
            assert!(records.prefixes().count() <= standing.limit);
            assert!(
                records
                    .prefixes()
                    .all(|(prefix, _)| standing.covers(&prefix))
            );
        }
    }

    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(at) = self.node.poll_timeout().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.act(|node, now| node.handle_timeout(now));
        }
        self.now = end;
    }
}

fn state() -> LinkState {
    LinkState {
        mac: [2, 0, 0, 0, 0, 1],
        ipv4: Some([10, 0, 0, 1].into()),
        ipv6: Some("fd00::1".parse().expect("an address")),
        mtu: 1500,
    }
}
