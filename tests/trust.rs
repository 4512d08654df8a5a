//! Hosts with keys on one link, in virtual time: whom they believe, and until when.

mod net;
mod support;

use std::sync::Arc;
use std::time::Duration;

use std::net::IpAddr;

use hamp::node::{Change, Config, Event, JoinOptions, LinkState, Node, TroubleKind};
use hamp::proto::Reason;
use hamp::proto::trust::{
    CheckLimits, Credentials, Mode, PublicKey, SecretKey, Signed, Surroundings, Trust,
};
use hamp::time::Instant;
use hamp::wire::frame::{self, Frame};
use hamp::wire::{
    Authentication, AuthorityId, Certificate, MemberId, Message, MessageOption, Query,
    RevocationList, Roles,
};
use net::{LINK, Net, V4, V6, host_state};
use support::golden;

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);
/// When virtual time begins, in milliseconds since 1970.
const WALL: u64 = 1_700_000_000_000;

fn authority() -> SecretKey {
    SecretKey::from_bytes(&[0xaa; 32])
}

/// The key `number`, for the default class, for a year; otherwise as `change` makes it.
fn certified(number: u8, change: impl FnOnce(&mut Certificate)) -> Arc<Credentials> {
    let key = SecretKey::from_bytes(&[number; 32]);
    let mut draft = Certificate {
        roles: Roles {
            member: true,
            router: false,
        },
        serial: number.into(),
        authority: AuthorityId([0; 16]),
        key: key.public().to_bytes(),
        not_before: WALL,
        not_after: WALL + 365 * 86_400_000,
        limit: 1_000,
        prefixes: vec![
            "198.18.0.0/16".parse().unwrap(),
            "2001:2:0:1546::/112".parse().unwrap(),
        ],
        hosts: vec![],
        signature: [0; 64],
    };
    change(&mut draft);
    Arc::new(Credentials::new(key, authority().certify(draft)).unwrap())
}

/// Gives a host a key, the time, and the authority that it trusts.
fn equip(net: &mut Net, host: usize, credentials: Option<Arc<Credentials>>, mode: Mode) {
    net.act(host, |node, now| {
        node.set_wall(now, WALL + now.as_millis());
        node.set_authorities(now, vec![authority().public()]);
        node.set_credentials(now, credentials);
        node.set_trust_mode(now, mode);
    });
}

/// `members` hosts with keys that serve both addresses, then a client without; settled.
fn trusted_link(seed: u64, members: u8, mode: Mode) -> Net {
    let mut net = Net::new(seed);
    for number in 1..=members {
        let host = net.add(number, SECOND, false);
        equip(&mut net, host, Some(certified(number, |_| {})), mode);
        net.join(host, V4);
        net.join(host, V6);
    }
    let client = net.add(100, SECOND, true);
    equip(&mut net, client, None, mode);
    net.run_for(4 * SECOND);
    net
}

fn id(number: u8) -> MemberId {
    certified(number, |_| {}).member()
}

fn knows(net: &Net, host: usize) -> Vec<MemberId> {
    let served = net.link(host).peers();
    let served = served.filter(|(_, peer)| !peer.records().is_empty());
    served.map(|(id, _)| id).collect()
}

fn sorted(ids: impl IntoIterator<Item = MemberId>) -> Vec<MemberId> {
    let mut ids: Vec<_> = ids.into_iter().collect();
    ids.sort_unstable();
    ids
}

#[test]
fn members_with_keys_work_together_when_everybody_enforces() {
    let mut net = trusted_link(1, 3, Mode::Enforce);
    assert_eq!(knows(&net, 3), sorted([id(1), id(2), id(3)]));
    for host in 0..4 {
        let (_, peer) = net.link(host).peers().next().unwrap();
        assert!(peer.standing().is_some());
    }
    let owner = net.owner(V4);
    net.set_link(owner, false);
    net.run_for(4 * SECOND);
    assert!(net.owners(V4).iter().all(|host| *host != owner));
    assert_eq!(net.owners(V4).len(), 1);
    assert_eq!(knows(&net, 3).len(), 2);
}

//= docs/spec/trust.md#signatures
//= type=test
//# A node that has a key MUST sign every report, anchor and query that it sends, in every mode, and
//# put its certificate into it as the first option.
#[test]
fn who_has_a_key_signs_in_every_mode_and_keeps_to_what_every_link_carries() {
    for mode in Mode::ALL {
        let mut net = trusted_link(2, 2, mode);
        for n in 0..100 {
            net.join(0, &format!("198.18.7.{n}/32"));
        }
        net.run_for(2 * SECOND);
        let (mut signed, mut hellos) = (0, 0);
        for sent in net.sent() {
            //= docs/spec/membership.md#transport
            //= type=test
            //# A sender MUST NOT put a message into an IP packet of more than 1,280 bytes, whatever
            //# the link's MTU.
            assert!(sent.frame.len() <= 14 + 1280, "{}", sent.frame.len());
            let Frame::Message { payload, .. } = sent.parsed() else {
                continue;
            };
            let (options, authentication) = match Message::decode(payload).unwrap() {
                Message::Statement {
                    statement,
                    authentication,
                    ..
                } => (statement.options, authentication),
                Message::Query {
                    query,
                    authentication,
                    ..
                } => (query.options, authentication),
                other => {
                    hellos += usize::from(matches!(other, Message::Hello { .. }));
                    continue;
                }
            };
            // The third is a client without a key; before the first second nobody has one.
            if sent.host == 2 {
                assert_eq!(authentication, Authentication::None);
                continue;
            }
            let Authentication::Ed25519 { .. } = authentication else {
                assert_eq!(sent.at, Instant::from_millis(1_000), "before it had a key");
                continue;
            };
            signed += 1;
            assert!(matches!(&options[0], MessageOption::Certificate(bytes)
                if Certificate::decode(bytes).is_ok()));
        }
        assert!(signed > 10 && hellos > 10, "{signed} {hellos}");
    }
}

#[test]
fn a_mode_says_what_becomes_of_a_member_without_a_certificate() {
    for (mode, believed) in [
        (Mode::Off, true),
        (Mode::Count, true),
        (Mode::Enforce, false),
    ] {
        let mut net = trusted_link(3, 1, mode);
        let stranger = net.add(9, SECOND, false);
        net.join(stranger, V4);
        net.run_for(4 * SECOND);
        let stranger = net.link(stranger).member().identity().id;
        assert_eq!(knows(&net, 1).contains(&stranger), believed, "{mode:?}");
        assert!(knows(&net, 1).contains(&id(1)));
        let counters = net.node(1).counters();
        let found = (
            counters.doubted_for(Reason::Unsigned) > 0,
            counters.ignored_for(Reason::Unsigned) > 0,
        );
        let expected = match mode {
            Mode::Off => (false, false),
            Mode::Count => (true, false),
            Mode::Enforce => (false, true),
        };
        assert_eq!(found, expected, "{mode:?}");
    }
}

#[test]
fn a_switch_to_enforce_drops_who_was_never_verified_and_keeps_the_others() {
    let mut net = trusted_link(4, 2, Mode::Count);
    let stranger = net.add(9, SECOND, false);
    net.join(stranger, V4);
    net.run_for(4 * SECOND);
    let doubtful = net.link(stranger).member().identity().id;
    let client = 2;
    assert_eq!(knows(&net, client), sorted([id(1), id(2), doubtful]));
    let at = net.now();
    //= docs/spec/trust.md#modes
    //= type=test
    //# A node that switches to enforce mode MUST forget at once every member whose last statement was
    //# not verified, and query everybody.
    net.act(client, |node, now| node.set_trust_mode(now, Mode::Enforce));
    assert_eq!(knows(&net, client), sorted([id(1), id(2)]));
    let dropped = Event::Member {
        link: LINK,
        id: doubtful,
        change: Change::Distrusted,
    };
    assert!(net.events().contains(&(at, client, dropped)));
    net.run_for(SECOND);
    let everybody = net
        .messages_since(at)
        .into_iter()
        .any(|(_, host, message)| {
            host == client
                && matches!(message, Message::Query { query, .. }
                if query.target == MemberId::EVERYBODY && !query.anchor)
        });
    assert!(everybody);
    // And they stay, on the strength of what they say from now on.
    net.run_for(10 * SECOND);
    assert_eq!(knows(&net, client), sorted([id(1), id(2)]));
    net.act(client, |node, now| node.set_trust_mode(now, Mode::Off));
    net.run_for(4 * SECOND);
    assert_eq!(knows(&net, client).len(), 3);
}

//= docs/spec/trust.md#modes
//= type=test
//# In enforce mode, a node MUST forget a member when its certificate ends or is revoked, or when its
//# authority is trusted no more.
#[test]
fn a_member_is_forgotten_when_its_certificate_ends() {
    let mut net = trusted_link(5, 2, Mode::Enforce);
    let ends = net.now().as_millis() + 5_000;
    let short = certified(1, |c| c.not_after = WALL + ends);
    net.act(0, |node, now| node.set_credentials(now, Some(short)));
    net.run_for(Duration::from_millis(4_999));
    assert_eq!(knows(&net, 2), sorted([id(1), id(2)]));
    net.run_for(Duration::from_millis(1));
    assert_eq!(knows(&net, 2), [id(2)]);
    assert!(net.owners(V4).contains(&1));
    net.run_for(4 * SECOND);
    assert!(net.ignored(2, Reason::CertificateExpired) > 0);
    assert_eq!(knows(&net, 2), [id(2)]);
    // With the next one it is back.
    let next = certified(1, |c| c.serial = 50);
    net.act(0, |node, now| node.set_credentials(now, Some(next)));
    net.run_for(2 * SECOND);
    assert_eq!(knows(&net, 2), sorted([id(1), id(2)]));
}

//= docs/spec/trust.md#modes
//= type=test
//# In enforce mode, a node MUST forget a member when its certificate ends or is revoked, or when its
//# authority is trusted no more.
#[test]
fn a_member_is_forgotten_when_it_is_revoked_and_all_with_their_authority() {
    let mut net = trusted_link(6, 2, Mode::Enforce);
    let list = authority().revoke(RevocationList {
        authority: AuthorityId([0; 16]),
        number: 1,
        made: WALL,
        serials: vec![1],
        signature: [0; 64],
    });
    net.act(2, |node, now| node.revoke(now, &list)).unwrap();
    assert_eq!(knows(&net, 2), [id(2)]);
    net.run_for(3 * SECOND);
    assert_eq!(knows(&net, 2), [id(2)]);
    assert!(net.ignored(2, Reason::Revoked) > 0);
    let other = SecretKey::from_bytes(&[0xbb; 32]).public();
    net.act(2, |node, now| node.set_authorities(now, vec![other]));
    assert_eq!(knows(&net, 2), []);
    net.run_for(3 * SECOND);
    assert!(net.ignored(2, Reason::UnknownAuthority) > 0);
}

#[test]
fn a_certificate_is_renewed_without_anybody_being_forgotten() {
    let mut net = trusted_link(7, 2, Mode::Enforce);
    let ends = WALL + net.now().as_millis() + 5_000;
    let short = certified(1, |c| c.not_after = ends);
    net.act(0, |node, now| node.set_credentials(now, Some(short)));
    net.run_for(4 * SECOND);
    let since = net.now();
    let next = certified(1, |c| (c.serial, c.not_before) = (50, ends - 2_000));
    net.act(0, |node, now| node.set_credentials(now, Some(next)));
    net.run_for(6 * SECOND);
    assert_eq!(knows(&net, 2), sorted([id(1), id(2)]));
    let changes = net.events().into_iter().any(|(at, _, event)| {
        at >= since && matches!(event, Event::Member { change, .. } if change != Change::Changed)
    });
    assert!(!changes, "{:?}", net.events());
}

#[test]
fn a_key_is_rolled_over_while_the_member_serves() {
    let mut net = trusted_link(8, 1, Mode::Enforce);
    let since = net.now();
    net.act(0, |node, now| {
        node.set_credentials(now, Some(certified(21, |_| {})));
    });
    // Somebody serves all the time, by one id or by both.
    let mut both = false;
    for _ in 0..60 {
        net.run_for(Duration::from_millis(100));
        let known = knows(&net, 1);
        assert!(!known.is_empty(), "{:?}", net.now());
        both |= known.len() == 2;
    }
    assert!(both);
    assert_eq!(knows(&net, 1), [id(21)]);
    let withdrawn = net.events().into_iter().any(|(at, _, event)| {
        at >= since && matches!(event, Event::Withdraw { .. } | Event::Rejoined { .. })
    });
    assert!(!withdrawn);
}

#[test]
fn a_member_serves_and_others_use_what_its_certificate_allows_and_no_more() {
    let mut net = trusted_link(9, 1, Mode::Enforce);
    let modest = certified(1, |c| c.limit = 60);
    net.act(0, |node, now| node.set_credentials(now, Some(modest)));
    for n in 0..58 {
        net.join(0, &format!("198.18.7.{n}/32"));
    }
    net.run_for(3 * SECOND);
    let records = |net: &Net| net.link(1).peers().next().unwrap().1.records().len();
    assert_eq!(records(&net), 60);
    //= docs/spec/trust.md#roles
    //= type=test
    //# A member in enforce mode MUST serve nothing that others skip for its certificate.
    net.join(0, "198.18.0.58/32");
    net.run_for(2 * SECOND);
    assert_eq!(records(&net), 60);
    assert_eq!(
        net.link(0).member().records().len(),
        60,
        "of those served before"
    );
    let told = |net: &Net, host: usize, kind: TroubleKind| {
        let all = net.link(host).troubles(net.now());
        let all = all.filter(|(trouble, _)| trouble.kind == kind);
        all.map(|(trouble, _)| trouble.reason).collect::<Vec<_>>()
    };
    let excess = Some(Reason::TooManyRecords);
    assert_eq!(told(&net, 0, TroubleKind::NotCertified), [excess]);
    // One that does not enforce serves all of them, and others skip what is too much: in a delta,
    // and in a full report of several parts.
    net.act(0, |node, now| node.set_trust_mode(now, Mode::Off));
    net.run_for(2 * SECOND);
    assert_eq!(net.link(0).member().records().len(), 61);
    let late = net.add(50, SECOND, true);
    equip(&mut net, late, None, Mode::Enforce);
    net.run_for(2 * SECOND);
    for host in [1, late] {
        let (_, peer) = net.link(host).peers().next().unwrap();
        //= docs/spec/trust.md#roles
        //= type=test
        //# Of more records than the certificate's limit, a receiver in enforce mode MUST use the
        //# first in the order of the digest, and skip the others.
        assert_eq!(peer.records().len(), 60);
        assert!(peer.records().longest_match(V6.parse().unwrap()).is_none());
        assert_eq!(told(&net, host, TroubleKind::SkippedRecords), [excess]);
    }
}

#[test]
fn a_member_keeps_what_its_certificate_covers() {
    let mut net = trusted_link(9, 1, Mode::Enforce);
    let narrow = certified(1, |c| c.prefixes = vec!["198.18.0.0/24".parse().unwrap()]);
    net.act(0, |node, now| node.set_credentials(now, Some(narrow)));
    net.join(0, "198.18.7.1/32");
    net.run_for(2 * SECOND);
    // This host knows that it may not; one that does not enforce leaves it to others.
    assert_eq!(net.link(0).member().records().len(), 1);
    net.act(0, |node, now| node.set_trust_mode(now, Mode::Off));
    net.run_for(2 * SECOND);
    assert_eq!(net.link(0).member().records().len(), 3);
    //= docs/spec/trust.md#roles
    //= type=test
    //# In enforce mode a receiver MUST skip the records of a statement whose certificate has not the
    //# role member, and those that no prefix of the certificate covers, and use the others.
    let (_, peer) = net.link(1).peers().next().unwrap();
    let known: Vec<_> = peer
        .records()
        .prefixes()
        .map(|(p, _)| p.to_string())
        .collect();
    assert_eq!(known, ["198.18.0.1/32"]);
    assert!(net.ignored(1, Reason::PrefixNotAllowed) > 0);
    assert_eq!(net.link(1).ranks(V4.parse().unwrap()).len(), 1);
    assert!(net.link(1).ranks(V6.parse().unwrap()).is_empty());
}

/// Has a host state other addresses of its own from now on.
fn restate(net: &mut Net, host: usize, change: impl FnOnce(&mut LinkState)) {
    let mut state = net.state(host);
    change(&mut state);
    net.act(host, |node, now| node.handle_link(now, LINK, Some(state)));
    net.run_for(2 * SECOND);
}

/// What a host knows of the link of the tests: its subnets, and the gateway 10.0.0.254.
fn around(net: &mut Net, host: usize) {
    let own = net.state(host);
    let around = Surroundings {
        subnets: vec!["10.0.0.0/24".parse().unwrap(), "fd00::/64".parse().unwrap()],
        gateways: vec!["10.0.0.254".parse().unwrap()],
        own: vec![own.ipv4.unwrap().into(), own.ipv6.unwrap().into()],
    };
    net.act(host, |node, now| {
        node.handle_surroundings(now, LINK, around);
    });
}

fn troubles(net: &Net, host: usize) -> Vec<(TroubleKind, Option<[u8; 6]>, Option<IpAddr>)> {
    let told = net.link(host).troubles(net.now());
    told.map(|(told, _)| (told.kind, told.mac, told.address))
        .collect()
}

//= docs/spec/trust.md#addresses
//= type=test
//# A receiver MUST refuse a statement with the address of another verified member that lives at
//# another link-layer address, unless the certificate names that very address and the other's does
//# not; then it MUST forget the other.
//= docs/spec/trust.md#addresses
//= type=test
//# A receiver that refuses a statement for its addresses SHOULD tell people the link-layer address,
//# the member and the address.
//= docs/spec/trust.md#pins
//= type=test
//# In enforce mode, a router MUST NOT use a member as a next hop before its addresses are proved, nor
//# while one of them is contested.
#[test]
fn a_router_uses_no_member_whose_address_another_answers_for() {
    let mut net = Net::new(14);
    let member = net.add(1, SECOND, false);
    equip(&mut net, member, Some(certified(1, |_| {})), Mode::Enforce);
    net.join(member, V4);
    let text = "[node]\nhello_ms = 1000\n[router]\n";
    net.sim.configure("s2", text).unwrap();
    net.sim.start("s2").unwrap();
    let routes = |net: &Net| {
        net.sim
            .node("s2")
            .unwrap()
            .unwrap()
            .router()
            .unwrap()
            .routes()
            .count()
    };
    let router = certified(2, |draft| draft.roles.router = true);
    net.sim
        .act("s2", |node, now| {
            node.set_wall(now, WALL + now.as_millis());
            node.set_authorities(now, vec![authority().public()]);
            node.set_credentials(now, Some(router));
            node.set_trust_mode(now, Mode::Enforce);
        })
        .unwrap();
    net.run_for(4 * SECOND);
    assert_eq!(routes(&net), 1);
    // It states the address of a host that answers for itself from then on.
    let neighbour = [10, 0, 0, 3];
    let spoof = |net: &mut Net| {
        let request = frame::Request {
            mac: host_state(2).mac,
            source: host_state(2).ipv4.unwrap().into(),
            target: IpAddr::from(neighbour),
            destination: frame::BROADCAST,
        };
        net.inject(&frame::answer(&request, host_state(3).mac, None).unwrap());
    };
    let mut state = net.state(member);
    state.ipv4 = Some(neighbour.into());
    net.act(member, |node, now| node.handle_link(now, LINK, Some(state)));
    for _ in 0..40 {
        net.run_for(50 * MILLI);
        spoof(&mut net);
    }
    assert_eq!(routes(&net), 0);
}

#[test]
fn a_members_address_is_its_own_for_as_long_as_it_lives() {
    let mut net = trusted_link(11, 3, Mode::Enforce);
    let (one, two) = (net.state(0), net.state(1));
    restate(&mut net, 1, |state| state.ipv4 = one.ipv4);
    // The one whose address it is refuses it as well as those who only listen, and names it.
    for host in [0, 2, 3] {
        assert!(net.ignored(host, Reason::ForeignAddress) > 0, "host {host}");
        let told = (
            TroubleKind::ForeignAddress,
            Some(two.mac),
            one.ipv4.map(IpAddr::V4),
        );
        assert!(troubles(&net, host).contains(&told), "host {host}");
        let stated = net.link(host).peers().find(|(peer, _)| *peer == id(2));
        assert_ne!(stated.and_then(|(_, peer)| peer.ipv4()), one.ipv4);
    }
    // Renumbered, restarted, and with another link-layer address it is itself.
    restate(&mut net, 1, |_| {});
    net.run_for(4 * SECOND);
    assert!(knows(&net, 3).contains(&id(2)));
    restate(&mut net, 1, |state| {
        state.ipv4 = Some([10, 0, 0, 77].into());
    });
    assert!(knows(&net, 3).contains(&id(2)));
    // An address is free when who had it is gone.
    net.set_link(0, false);
    net.run_for(4 * SECOND);
    restate(&mut net, 1, |state| state.ipv4 = one.ipv4);
    net.run_for(4 * SECOND);
    let stated = net
        .link(3)
        .peers()
        .find(|(peer, _)| *peer == id(2))
        .unwrap();
    assert_eq!(stated.1.ipv4(), one.ipv4);
}

#[test]
fn a_certificate_that_names_an_address_wins_it_back() {
    let mut net = Net::new(12);
    for number in [1, 2] {
        let host = net.add(number, SECOND, false);
        let named = net.state(0).ipv4.map(|at| IpAddr::from(at).into());
        let credentials = certified(number, |draft| {
            draft.hosts = named.into_iter().filter(|_| number == 1).collect();
        });
        equip(&mut net, host, Some(credentials), Mode::Enforce);
        net.join(host, V4);
    }
    let client = net.add(100, SECOND, true);
    equip(&mut net, client, None, Mode::Enforce);
    net.set_link(0, false);
    net.run_for(4 * SECOND);
    let one = net.state(0);
    restate(&mut net, 1, |state| state.ipv4 = one.ipv4);
    net.run_for(2 * SECOND);
    assert_eq!(knows(&net, client), [id(2)]);
    net.set_link(0, true);
    net.run_for(4 * SECOND);
    assert_eq!(knows(&net, client), [id(1)]);
    // And says itself when it has another.
    let not_certified = |net: &Net| {
        troubles(net, 0)
            .iter()
            .any(|t| t.0 == TroubleKind::NotCertified)
    };
    assert!(!not_certified(&net));
    restate(&mut net, 0, |state| {
        state.ipv4 = Some([10, 0, 0, 79].into());
    });
    assert!(not_certified(&net));
    restate(&mut net, 0, |_| {});
    assert!(!not_certified(&net));
}

#[test]
fn a_member_has_no_address_of_the_gateway_or_of_another_link() {
    for (mode, bad) in [
        (Mode::Enforce, [10, 0, 0, 254]),
        (Mode::Enforce, [10, 0, 0, 255]),
        (Mode::Enforce, [192, 0, 2, 7]),
        (Mode::Count, [10, 0, 0, 254]),
    ] {
        let mut net = trusted_link(13, 2, mode);
        (0..3).for_each(|host| around(&mut net, host));
        assert_eq!(knows(&net, 2), sorted([id(1), id(2)]));
        restate(&mut net, 1, |state| state.ipv4 = Some(bad.into()));
        let stated = net.link(2).peers().find(|(peer, _)| *peer == id(2));
        let stated = stated.and_then(|(_, peer)| peer.ipv4());
        if mode == Mode::Count {
            assert_eq!(stated, Some(bad.into()));
            assert!(net.node(2).counters().doubted_for(Reason::ForeignAddress) > 0);
        } else {
            assert_ne!(stated, Some(bad.into()), "{bad:?}");
            assert!(net.ignored(2, Reason::ForeignAddress) > 0);
        }
        // What becomes a gateway later is one from then on.
        restate(&mut net, 1, |state| {
            state.ipv4 = Some([10, 0, 0, 78].into());
        });
        net.run_for(4 * SECOND);
        let late = Surroundings {
            subnets: vec!["0.0.0.0/0".parse().unwrap(), "::/0".parse().unwrap()],
            gateways: vec!["10.0.0.78".parse().unwrap()],
            own: vec![],
        };
        assert!(knows(&net, 2).contains(&id(2)));
        net.act(2, |node, now| node.handle_surroundings(now, LINK, late));
        assert_eq!(knows(&net, 2).contains(&id(2)), mode == Mode::Count);
    }
}

/// A member on its own, and the time.
fn alone() -> (Node, Instant) {
    let config = Config {
        credentials: Some(certified(1, |_| {})),
        trust: Mode::Enforce,
        authorities: vec![authority().public()],
        ..Config::default()
    };
    let mut node = Node::new(config, [9; 32], 1);
    let mut now = Instant::from_millis(1_000);
    node.set_wall(now, WALL);
    node.handle_link(now, LINK, Some(host_state(1)));
    node.join(
        now,
        V4.parse::<std::net::IpAddr>().unwrap().into(),
        JoinOptions::default(),
    )
    .unwrap();
    let end = now + 2 * SECOND;
    while let Some(at) = node.poll_timeout().filter(|at| *at <= end) {
        now = at;
        node.handle_timeout(now);
    }
    while node.poll_transmit().is_some() {}
    (node, end)
}

fn query(asker: MemberId, counter: u32, nonce: u32) -> Message {
    Message::Query {
        asker,
        query: Query {
            epoch: 1,
            counter,
            target: MemberId::EVERYBODY,
            nonce: (u64::from(nonce) << 32 | 0xff).to_be_bytes(),
            max_response: Duration::ZERO,
            refresh: false,
            anchor: true,
            interval: Duration::ZERO,
            options: Vec::new(),
        },
        authentication: Authentication::None,
    }
}

fn hear(node: &mut Node, now: Instant, number: u8, payload: &[u8]) {
    let state = host_state(number);
    let frame = frame::message(state.mac, state.ipv4.unwrap().into(), payload);
    node.handle_frame(now, LINK, &frame, false);
}

/// The nonces that the node answers within a second.
fn answered(node: &mut Node, mut now: Instant) -> Vec<[u8; 8]> {
    let end = now + SECOND;
    let mut nonces = Vec::new();
    loop {
        while let Some(transmit) = node.poll_transmit() {
            let Ok(Frame::Message { payload, .. }) = Frame::parse(&transmit.frame) else {
                continue;
            };
            if let Ok(Message::Statement { statement, .. }) = Message::decode(payload) {
                for option in statement.options {
                    if let MessageOption::Nonces(answered) = option {
                        nonces.extend(answered);
                    }
                }
            }
        }
        match node.poll_timeout() {
            Some(at) if at <= end => now = now.max(at),
            _ => return nonces,
        }
        node.handle_timeout(now);
    }
}

#[test]
fn a_flood_of_questions_leaves_room_for_those_of_members() {
    let (mut node, now) = alone();
    for n in 0..1_000 {
        hear(&mut node, now, 9, &query(MemberId([9; 16]), n, n).encode());
    }
    //= docs/spec/trust.md#queries
    //= type=test
    //# In enforce mode, a member MUST keep half of the nonces of an answer for queries that are signed
    //# as a statement has to be.
    let credentials = certified(2, |_| {});
    let signed = credentials.sign(query(credentials.member(), 1, 5_000));
    hear(&mut node, now, 2, &signed);
    let nonces = answered(&mut node, now);
    assert!(nonces.contains(&(5_000u64 << 32 | 0xff).to_be_bytes()));
    // The first at once, then half of 32 and one; over both families.
    assert_eq!(nonces.len(), 2 * (1 + 16 + 1));
    assert!(node.counters().doubted_for(Reason::Unsigned) > 0);
}

#[test]
fn a_signed_question_counts_once() {
    let (mut node, now) = alone();
    let credentials = certified(2, |_| {});
    let ask = |counter, nonce| credentials.sign(query(credentials.member(), counter, nonce));
    hear(&mut node, now, 2, &ask(5, 1));
    assert_eq!(answered(&mut node, now).len(), 2);
    let later = now + 2 * SECOND;
    //= docs/spec/trust.md#queries
    //= type=test
    //# In enforce mode, a member MUST refuse a signed query whose epoch and counter are not larger than
    //# the last ones of that sender.
    for (counter, nonce) in [(5, 2), (4, 3)] {
        hear(&mut node, later, 2, &ask(counter, nonce));
    }
    assert_eq!(node.counters().ignored_for(Reason::Replay), 2);
    hear(&mut node, later, 2, &ask(6, 4));
    assert_eq!(answered(&mut node, later).len(), 2);
}

/// Everybody meets the new member before the former one leaves, and whoever asks is answered.
//= docs/spec/trust.md#roll-over
//= type=test
//# A member that takes another key MUST report with it at once, and speak with both for at least 1 s;
//# then the former member MUST drain everything, and leave.
//= docs/spec/trust.md#roll-over
//= type=test
//# As long as a host is two members, it MUST answer a request by the better one of its ranks.
#[test]
fn a_key_is_rolled_over_without_a_request_lost() {
    for (mode, roller) in [
        (Mode::Off, 0),
        (Mode::Enforce, 0),
        (Mode::Enforce, 1),
        (Mode::Enforce, 2),
    ] {
        let mut net = trusted_link(9, 3, mode);
        let (old, new) = (id(roller as u8 + 1), id(roller as u8 + 11));
        let next = certified(roller as u8 + 11, |_| {});
        let rolled = net.now();
        net.act(roller, |node, now| node.set_credentials(now, Some(next)));
        let (mut met, mut left, mut asked) = (None, None, Vec::new());
        for step in 0..600u16 {
            // A first request, of somebody who has not asked before.
            let [high, low] = step.to_be_bytes();
            let mac = [2, 0, 0, 9, high, low];
            net.ask(mac, V4);
            asked.push(mac);
            net.run_for(10 * MILLI);
            let known = knows(&net, 3);
            met = met.or(known.contains(&new).then_some(net.now()));
            left = left.or((!known.contains(&old)).then_some(net.now()));
            assert!(known.len() >= 3, "{mode:?} {known:?}");
        }
        let (met, left) = (met.unwrap(), left.unwrap());
        assert!(met <= rolled + 500 * MILLI, "{mode:?}: met late");
        assert!(left >= rolled + SECOND && left <= rolled + 3 * SECOND);
        assert_eq!(knows(&net, 3).len(), 3);
        let gone = net
            .events()
            .into_iter()
            .filter_map(|(_, host, event)| match event {
                Event::Member { id, change, .. } if host == 3 && id == old => Some(change),
                _ => None,
            });
        assert_eq!(gone.last(), Some(Change::Left), "not by dying");
        let sent = net.sent_since(rolled);
        for mac in asked {
            let answers = sent.iter().filter(|sent| sent.frame[..6] == mac).count();
            assert_eq!(answers, 1, "{mode:?} host {roller}: {mac:x?}");
        }
    }
}

/// Everything of a flood is let in as fast as it comes, in no time.
#[test]
fn a_flood_in_a_members_name_costs_a_bounded_number_of_checks_and_no_member() {
    let mut net = trusted_link(10, 2, Mode::Enforce);
    let victim = certified(1, |_| {});
    let statement = net.messages_since(Instant::ZERO).into_iter().rev();
    let statement = statement
        .into_iter()
        .find_map(|(_, _, message)| match message {
            Message::Statement {
                member,
                mut statement,
                ..
            } if member == victim.member() => {
                statement.counter += 1_000;
                statement.options.clear();
                Some(statement)
            }
            _ => None,
        });
    let forged = Message::Statement {
        member: victim.member(),
        statement: statement.unwrap(),
        authentication: Authentication::None,
    };
    let mut payload = victim.sign(forged);
    let state = host_state(1);
    for n in 0..20_000u32 {
        // Another signature each time, from the victim's own addresses.
        let end = payload.len() - 4;
        payload[end..].copy_from_slice(&n.to_be_bytes());
        let frame = frame::message(state.mac, state.ipv4.unwrap().into(), &payload);
        net.act(2, |node, now| node.handle_frame(now, LINK, &frame, false));
    }
    let limits = CheckLimits::default();
    assert_eq!(
        net.ignored(2, Reason::BadSignature),
        u64::from(limits.failed)
    );
    assert_eq!(
        net.ignored(2, Reason::TooManyChecks),
        20_000 - u64::from(limits.failed)
    );
    // What others say counts at once, and what the victim says a little later.
    net.join(1, "198.18.0.2/32");
    net.join(0, "198.18.0.3/32");
    net.run_for(2 * SECOND);
    let records: Vec<_> = net
        .link(2)
        .peers()
        .map(|(_, peer)| peer.records().len())
        .collect();
    assert_eq!(records, [3, 3]);
}

//= docs/spec/trust.md#certificate
//= type=test
//# The signature MUST be the authority's, over "hamp certificate 1" and all bytes before the
//# signature.
#[test]
fn what_another_implementation_signs_is_believed() {
    // RFC 8032 §7.1, test 1: the authority of tests/golden/generate.py.
    let key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    let key: Vec<u8> = (0..32)
        .map(|at| u8::from_str_radix(&key[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let authority = PublicKey::from_bytes(key.as_slice().try_into().unwrap()).unwrap();
    let mut trust = Trust::new(Mode::Enforce, [authority], CheckLimits::default());
    let now = Instant::from_millis(1_000);
    trust.set_wall(now, 1_795_176_000_000);
    for name in ["report-signed", "anchor-signed", "query-signed"] {
        let frame = golden::read(name);
        let Ok(Frame::Message { mac, payload, .. }) = Frame::parse(&frame) else {
            panic!("{name}");
        };
        let message = Message::decode(payload).unwrap();
        let standing = trust.check(now, mac, &message, Some(&Signed::new(payload)));
        assert_eq!(standing.unwrap().member, message.sender(), "{name}");
    }
}
