//! What the intruder tries, one attack after the other.

use serde_json::{Value, json};

use super::keys::KEYS;
use super::{A4, A6};

/// Link-layer address of `one`, the member that is preferred.
pub(super) const ONE: &str = "02:00:00:00:00:11";
/// Link-layer address of `two`, which is next.
pub(super) const TWO: &str = "02:00:00:00:00:12";
/// Own addresses of `one`.
const ONES: [&str; 2] = ["10.15.46.11", "fd15:46::11"];
/// Link-layer address of `near`.
const NEAR: &str = "02:00:00:00:00:90";
/// Link-layer address of `router` on the members' link.
const ROUTER: &str = "02:00:00:00:00:fe";
/// Own addresses of `two`.
const TWOS: [&str; 2] = ["10.15.46.12", "fd15:46::12"];
/// Addresses of the intruder on the members' link.
const LAN: [&str; 3] = ["02:00:00:00:00:66", "10.15.46.1", "fd15:46::1"];
/// Likewise on the link without members.
const OTHER: [&str; 3] = ["02:00:00:00:01:66", "10.15.47.1", "fd15:47::1"];

/// What an attack has to work with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Hello interval of all hosts, in milliseconds.
    pub(super) hello: u64,
    /// Dead time of all hosts, in milliseconds.
    pub(super) dead: u64,
    /// Frames in a second of a flood.
    pub(super) rate: u64,
}

/// Where an order goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// To the intruder, with a cable on both links.
    Intruder,
    /// To the switch in front of `one`, which is the intruder's too.
    Tap,
}

/// What must be seen of an attack where nothing is verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Harm {
    /// The intruder answers requests that were not for it.
    Diverted,
    /// Requests get no answer, or that of another member than before.
    Disturbed,
    /// A dead member is not gone after two dead times.
    Undead,
    /// Nothing: what the attack would need is not to be had, signatures or not.
    None,
}

/// An attack.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attack {
    /// What it is called, in identifiers too.
    pub(super) name: &'static str,
    /// What it is, in a sentence.
    pub(super) about: &'static str,
    /// Whether the quick form has it.
    pub(super) quick: bool,
    /// What the tools are told, at once.
    pub(super) orders: fn(Times) -> Vec<(At, Value)>,
    /// How long it lasts beyond its orders' time, in dead times: until `one` is killed, if it is.
    pub(super) kill_after: Option<f64>,
    /// What it does where nothing is verified.
    pub(super) off: Harm,
    /// Where everything is verified: hosts, and reasons of which one must have been counted there.
    pub(super) refused: &'static [(&'static str, &'static [&'static str])],
    /// Whether it is a flood, for which the router's processor is watched and no frame is kept.
    pub(super) flood: bool,
    /// Whether the intruder takes frames for `one` on the link without members.
    pub(super) poses: bool,
    /// Whether `desk` asks anew who answers, once it has begun: entries last for a minute.
    pub(super) anew: bool,
}

impl Attack {
    const PLAIN: Self = Self {
        name: "",
        about: "",
        quick: false,
        orders: |_| Vec::new(),
        kill_after: None,
        off: Harm::Diverted,
        refused: &[],
        flood: false,
        poses: false,
        anew: false,
    };
}

/// How long most last, in dead times.
const LASTS: u64 = 2;

/// An order to the intruder on the members' link.
fn on_lan(times: Times, order: &str, more: Value) -> (At, Value) {
    (At::Intruder, with("eth0", LAN, times, order, more))
}

/// An order to the intruder on the other link.
fn on_other(times: Times, order: &str, more: Value) -> (At, Value) {
    (At::Intruder, with("eth1", OTHER, times, order, more))
}

fn with(link: &str, own: [&str; 3], times: Times, order: &str, more: Value) -> Value {
    let [mac, ipv4, ipv6] = own;
    let mut words = json!({
        "order": order, "link": link, "mac": mac, "ipv4": ipv4, "ipv6": ipv6,
        "hello_ms": times.hello, "ms": LASTS * times.dead,
    });
    if let (Value::Object(words), Value::Object(more)) = (&mut words, more) {
        words.extend(more);
    }
    words
}

/// What the members serve.
fn prefixes() -> Value {
    json!([format!("{A4}/32"), format!("{A6}/128")])
}

/// All of them, in order.
pub(super) const ALL: &[Attack] = &[
    Attack {
        name: "forged-join",
        about: "the intruder reports as a member of the highest preference",
        quick: true,
        orders: |times| vec![on_lan(times, "join", json!({ "prefixes": prefixes() }))],
        refused: &[("near", &["unsigned"]), ("router", &["unsigned"])],
        ..Attack::PLAIN
    },
    Attack {
        name: "forged-leave",
        about: "it says in the members' names that they serve nothing any more",
        quick: true,
        orders: |times| vec![on_lan(times, "leave", json!({ "of": [ONE, TWO] }))],
        off: Harm::Disturbed,
        refused: &[
            ("near", &["unsigned"]),
            ("router", &["unsigned"]),
            ("router", &["bad_signature", "too_many_checks"]),
        ],
        ..Attack::PLAIN
    },
    Attack {
        name: "forged-forwarder",
        about: "it reports as a router, whose addresses are the lowest, and answers for the members",
        orders: |times| {
            let ms = 5 * times.dead;
            let router = json!({ "router": true, "queries": true, "ms": ms });
            vec![
                on_other(times, "join", router.clone()),
                on_lan(times, "join", router),
                on_other(times, "proxy", json!({ "targets": [A4, A6], "ms": ms })),
            ]
        },
        anew: true,
        refused: &[("router", &["unsigned"]), ("desk", &["unsigned"])],
        ..Attack::PLAIN
    },
    Attack {
        name: "forged-querier",
        about: "it asks everybody for everything, a hundred times a second",
        orders: |times| vec![on_lan(times, "querier", json!({}))],
        off: Harm::None,
        refused: &[("one", &["unsigned", "rate_limited"])],
        ..Attack::PLAIN
    },
    Attack {
        name: "other-prefix",
        about: "it reports as a member with a certificate, which is for another prefix",
        orders: |times| vec![on_lan(times, "join", keyed("other-prefix", false))],
        refused: &[
            ("near", &["prefix_not_allowed"]),
            ("router", &["prefix_not_allowed"]),
        ],
        ..Attack::PLAIN
    },
    Attack {
        name: "expired",
        about: "it reports as a member with a certificate, which has expired",
        orders: |times| vec![on_lan(times, "join", keyed("expired", false))],
        refused: &[
            ("near", &["certificate_expired"]),
            ("router", &["certificate_expired"]),
        ],
        ..Attack::PLAIN
    },
    Attack {
        name: "revoked",
        about: "it reports as a member with a certificate, which was taken back",
        orders: |times| vec![on_lan(times, "join", keyed("revoked", false))],
        refused: &[("near", &["revoked"]), ("router", &["revoked"])],
        ..Attack::PLAIN
    },
    Attack {
        name: "wrong-role",
        about: "a member's key and certificate, for the shared addresses, speak for a router",
        orders: |times| {
            let ms = 5 * times.dead;
            let mut words = keyed("member", true);
            words["ms"] = json!(ms);
            vec![
                on_other(times, "join", words),
                on_other(times, "proxy", json!({ "targets": [A4, A6], "ms": ms })),
            ]
        },
        anew: true,
        refused: &[("router", &["wrong_role"]), ("desk", &["wrong_role"])],
        ..Attack::PLAIN
    },
    Attack {
        name: "foreign-id",
        about: "a member's key and certificate speak in one's name",
        orders: |times| {
            let mut words = keyed("member", false);
            words["as"] = json!(ONE);
            vec![on_lan(times, "join", words)]
        },
        refused: &[("near", &["foreign_key"]), ("router", &["foreign_key"])],
        ..Attack::PLAIN
    },
    Attack {
        name: "foreign-address",
        about: "a member's key and certificate, for the shared addresses, state two's",
        orders: |times| {
            let mut words = keyed("member", false);
            (words["ipv4"], words["ipv6"]) = (json!(TWOS[0]), json!(TWOS[1]));
            vec![on_lan(times, "join", words)]
        },
        off: Harm::Disturbed,
        refused: &[
            ("near", &["foreign_address"]),
            ("router", &["foreign_address"]),
            ("two", &["foreign_address"]),
        ],
        ..Attack::PLAIN
    },
    Attack {
        name: "own-address",
        about: "it says by ARP and neighbour discovery that one's own addresses are its own",
        orders: |times| {
            let ms = 4 * times.dead;
            let more = json!({ "targets": ONES, "of": ONE, "to": [NEAR, ROUTER], "ms": ms });
            vec![on_lan(times, "claim", more)]
        },
        ..Attack::PLAIN
    },
    Attack {
        name: "first-answer",
        about: "it answers near's SYNs before one does, from its own address and from one's",
        orders: |times| {
            let more = json!({
                "to": "lan", "asker": NEAR, "targets": [A4, A6], "of": ONES, "ms": 4 * times.dead,
            });
            vec![(At::Tap, with("one", LAN, times, "outrun", more))]
        },
        off: Harm::Disturbed,
        ..Attack::PLAIN
    },
    Attack {
        name: "relay",
        about: "what one says goes to the link without members as well, from one's address",
        orders: |times| vec![on_lan(times, "relay", json!({ "to": "eth1", "of": [ONE] }))],
        refused: &[("router", &["unchallenged"]), ("desk", &["unchallenged"])],
        poses: true,
        ..Attack::PLAIN
    },
    Attack {
        name: "replay-alive",
        about: "all that one has said is said again, frame by frame, while it lives",
        orders: |times| vec![on_lan(times, "replay", json!({ "of": [ONE] }))],
        off: Harm::None,
        refused: &[
            ("near", &["replay", "statement_behind", "index_behind"]),
            ("router", &["replay", "statement_behind", "index_behind"]),
        ],
        ..Attack::PLAIN
    },
    Attack {
        name: "replay-dead",
        about: "one is killed; what it has said is said again, frame by frame",
        orders: |times| {
            let ms = 6 * times.dead;
            vec![on_lan(times, "replay", json!({ "of": [ONE], "ms": ms }))]
        },
        kill_after: Some(0.5),
        off: Harm::Undead,
        refused: &[("near", &["unchallenged"]), ("router", &["unchallenged"])],
        ..Attack::PLAIN
    },
    Attack {
        name: "withheld",
        about: "one's reports are held back, then all of it; it is killed, and they are handed on",
        orders: |times| {
            let dead = times.dead;
            let more = json!({
                "to": "lan", "of": [ONE], "ms": 9 * dead, "hold_ms": 3 * dead,
                "wait_ms": 3 * dead + dead * 8 / 10, "every": dead * 8 / 10,
            });
            vec![(At::Tap, with("one", LAN, times, "hold", more))]
        },
        kill_after: Some(3.4),
        off: Harm::Undead,
        refused: &[
            ("near", &["statement_behind", "unchallenged"]),
            ("router", &["statement_behind", "unchallenged"]),
        ],
        ..Attack::PLAIN
    },
    Attack {
        name: "far-ahead",
        about: "one's clock is put ahead in its name, and hellos come of the times ahead",
        orders: |times| vec![on_lan(times, "ahead", json!({ "of": [ONE] }))],
        off: Harm::Disturbed,
        refused: &[
            ("near", &["index_ahead"]),
            ("router", &["index_ahead"]),
            ("router", &["unsigned"]),
        ],
        ..Attack::PLAIN
    },
    Attack {
        name: "flood-garbage",
        about: "frames to the protocol's port that are no messages",
        orders: |times| vec![flood(times, "garbage")],
        off: Harm::None,
        refused: &[("router", &["malformed_message"])],
        flood: true,
        ..Attack::PLAIN
    },
    Attack {
        name: "flood-unsigned",
        about: "reports of ever new members that nobody has signed",
        orders: |times| vec![flood(times, "unsigned")],
        refused: &[("router", &["unsigned"])],
        flood: true,
        ..Attack::PLAIN
    },
    Attack {
        name: "flood-signed",
        about: "reports with a member's certificate and signatures that are none, from its own address",
        orders: |times| vec![flood(times, "signed")],
        off: Harm::None,
        refused: &[
            ("router", &["bad_signature"]),
            ("router", &["too_many_checks"]),
        ],
        flood: true,
        ..Attack::PLAIN
    },
    Attack {
        name: "flood-victim",
        about: "the same in the member's name, and from the member's address",
        orders: |times| vec![flood(times, "victim")],
        off: Harm::None,
        refused: &[
            ("router", &["bad_signature"]),
            ("router", &["too_many_checks"]),
        ],
        flood: true,
        ..Attack::PLAIN
    },
];

/// What makes a liar sign: a key and a certificate of this name.
fn keyed(name: &str, router: bool) -> Value {
    let mut words = json!({
        "key": format!("{KEYS}/{name}.key"),
        "certificate": format!("{KEYS}/{name}.cert"),
        "router": router,
    });
    if !router {
        words["prefixes"] = prefixes();
    }
    words
}

fn flood(times: Times, kind: &str) -> (At, Value) {
    let more = json!({
        "kind": kind, "rate": times.rate, "prefixes": prefixes(), "of": [ONE], "ms": 2 * times.dead,
    });
    on_lan(times, "flood", more)
}
