// What holds for any bytes. The fuzz targets search for a counterexample; tests/golden.rs holds
// the corpus and every mutation of the golden packets against the same functions.

use core::net::IpAddr;

use hamp::node::{Config, JoinOptions, LinkId, LinkState, Node};
use hamp::time::{Duration, Instant};
use hamp::wire::frame::{self, Frame};
use hamp::wire::{Certificate, Message, RevocationList};

/// Decoding never panics, and what was understood survives being encoded and decoded again.
pub(crate) fn decode(bytes: &[u8]) {
    if let Ok(message) = Message::decode(bytes) {
        let encoded = message.encode();
        assert_eq!(encoded.len(), bytes.len(), "{message:?}");
        assert_eq!(Message::decode(&encoded).as_ref(), Ok(&message));
    }
    // One meaning has one spelling: what is signed is what was read.
    if let Ok(certificate) = Certificate::decode(bytes) {
        assert_eq!(certificate.encode(), bytes);
    }
    if let Ok(list) = RevocationList::decode(bytes) {
        assert_eq!(list.encode(), bytes);
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

/// A host never panics, never spins, never says more than a bounded number of frames to one input,
/// and all it says can be read. `bytes` are steps: a kind, a length (two bytes, as signed messages need),
/// and that many bytes.
pub(crate) fn node(mut bytes: &[u8]) {
    let state = LinkState {
        mac: [2, 0, 0, 0, 0, 1],
        ipv4: Some([10, 0, 0, 1].into()),
        ipv6: Some("fd00::1".parse().expect("an address")),
        mtu: 1500,
    };
    let config = Config {
        client: true,
        ..Config::default()
    };
    let mut host = Driven {
        node: Node::new(config, [1; 32], 1),
        now: Instant::from_millis(1_000),
    };
    host.act(|node, now| node.handle_link(now, LINK, Some(state)));
    while let [kind, high, low, rest @ ..] = bytes {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (input, rest) = rest.split_at(rest.len().min(length));
        bytes = rest;
        let number = input
            .iter()
            .fold(0u32, |all, byte| all << 8 | u32::from(*byte));
        let address = ADDRESSES[number as usize % ADDRESSES.len()]
            .parse()
            .expect("a prefix");
        match kind % 9 {
            0 => host.act(|node, now| node.handle_frame(now, LINK, input, false)),
            1 => host.act(|node, now| node.handle_frame(now, LINK, input, true)),
            // The two that get past the checksums: a message, and a request, of a neighbour.
            2..=4 => {
                let source: IpAddr = match kind % 9 {
                    2 => [10, 15, 46, 1].into(),
                    3 => "fe80::15:46ff:fe00:1".parse().expect("an address"),
                    _ => [10, 0, 0, 7].into(),
                };
                let frame = frame::message([2, 0x15, 0x46, 0, 0, 1], source, input);
                host.act(|node, now| node.handle_frame(now, LINK, &frame, false));
            }
            5 => {
                let mac = [2, 0, 0, 0, 0, input.first().copied().unwrap_or(9)];
                let frame = frame::request(mac, [10, 0, 0, 9].into(), [198, 18, 0, 1].into());
                let frame = frame.expect("one family");
                host.act(|node, now| node.handle_frame(now, LINK, &frame, number % 3 == 0));
            }
            6 => host.pass(Duration::from_millis((number % 5_000).into())),
            7 => host.act(|node, now| {
                let _ = node.join(now, address, JoinOptions::default());
            }),
            _ if number % 5 == 0 => host.act(|node, now| node.handle_link(now, LINK, None)),
            _ if number % 5 == 1 => host.act(|node, now| node.handle_link(now, LINK, Some(state))),
            _ if number % 5 == 2 => host.act(|node, now| node.shutdown(now)),
            // Frozen, then awake.
            _ if number % 5 == 3 => host.now += Duration::from_millis((number % 100_000).into()),
            _ => host.act(|node, now| {
                let _ = node.leave(now, address);
            }),
        }
    }
    host.pass(Duration::from_secs(10));
}

struct Driven {
    node: Node,
    now: Instant,
}

impl Driven {
    fn act(&mut self, input: impl FnOnce(&mut Node, Instant)) {
        input(&mut self.node, self.now);
        self.node.handle_timeout(self.now);
        let mut frames = 0;
        while let Some(transmit) = self.node.poll_transmit() {
            frames += 1;
            assert!(Frame::parse(&transmit.frame).is_ok(), "{transmit:?}");
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
