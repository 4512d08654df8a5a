//! What the independent encoder tells, a host believes: the golden packets in the order in which their
//! member would say them, and what its key and certificate are good for.

mod net;
mod support;

use std::time::Duration;

use hamp::proto::Reason;
use hamp::proto::trust::{CheckLimits, Credentials, Mode, PublicKey, SecretKey, Signed, Trust};
use hamp::time::Instant;
use hamp::wire::frame::Frame;
use hamp::wire::{
    Authentication, AuthorityId, Certificate, MemberId, Message, MessageOption, RevocationList,
    Roles,
};
use net::{LINK, Net};
use support::golden;

/// 20 November 2026, when the story begins, in milliseconds since 1970.
const EPOCH: u64 = 1_795_176_000_000;
const DAY: u64 = 86_400_000;

/// RFC 8032 §7.1, tests 1 to 3: the secret keys of the authority, the member and the router.
const KEYS: [&str; 3] = [
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
];

fn key(number: usize) -> SecretKey {
    let digits = KEYS[number].as_bytes().chunks(2);
    let bytes: Vec<u8> = digits
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect();
    SecretKey::from_bytes(&bytes.try_into().unwrap())
}

fn payload(name: &str) -> Vec<u8> {
    let frame = golden::read(name);
    match Frame::parse(&frame) {
        Ok(Frame::Message { payload, .. }) => payload.to_vec(),
        other => panic!("{name}: {other:?}"),
    }
}

/// What a host knows that its only peer serves; `None` without a peer.
fn served(net: &Net) -> Option<Vec<String>> {
    let (_, peer) = net.link(0).peers().next()?;
    let prefixes = peer.records().prefixes();
    Some(prefixes.map(|(prefix, _)| prefix.to_string()).collect())
}

#[test]
fn a_host_believes_the_story() {
    let mut net = Net::new(1);
    let host = net.add(100, Duration::from_secs(1), true);
    net.run_for(Duration::from_secs(1));
    let began = net.now();
    let (one, two, six) = ("198.18.0.1/32", "198.18.0.2/32", "2001:2:0:1546::1/128");
    let many: Vec<String> = (0..20).map(|n| format!("198.18.1.{n}/32")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (at_ms, name, prefixes) in [
        (0, "report-ipv4", &[one, six][..]),
        (0, "report-ipv6", &[one, six]),
        (2_000, "hello-ipv4", &[one, six]),
        (2_000, "hello-ipv6", &[one, six]),
        (2_500, "anchor", &[one, six]),
        (3_000, "report-delta", &[one, two, six]),
        (3_500, "report-leave", &[two]),
        (
            4_000,
            "report-all-fields",
            &["198.18.4.0/24", "198.18.4.0/32", "2001:2:0:1546::8000/113"],
        ),
        (4_500, "report-later-version", &[one]),
        (5_000, "report-part-1", &[one]),
        (5_000, "report-part-2", &many),
        (5_500, "report-part-257", &many),
        (6_000, "report-router", &[]),
    ] {
        net.run_for((began + Duration::from_millis(at_ms)).saturating_duration_since(net.now()));
        let ignored = |net: &Net| -> Vec<(Reason, u64)> {
            let counted = net.node(host).counters().ignored();
            counted.collect()
        };
        let before = ignored(&net);
        let frame = golden::read(name);
        net.act(host, |node, now| {
            node.handle_frame(now, LINK, &frame, false);
        });
        assert_eq!(
            served(&net).as_deref(),
            Some(&prefixes.iter().map(ToString::to_string).collect::<Vec<_>>()[..]),
            "{name}"
        );
        // The second family's copy and a record of a later version are told as such, and nothing
        // else is ignored.
        let told = ["report-ipv6", "hello-ipv6", "report-later-version"];
        let told = told.contains(&name);
        assert_eq!(before != ignored(&net), told, "{name}: {:?}", ignored(&net));
    }
    // Silent from now on, it is dead three seconds later.
    net.run_for(Duration::from_millis(2_900));
    assert!(served(&net).is_some());
    net.run_for(Duration::from_millis(200));
    assert_eq!(served(&net), None);
}

fn trust() -> Trust {
    let authority = golden::trust("authority-key").try_into().unwrap();
    let authority = PublicKey::from_bytes(&authority).unwrap();
    let mut trust = Trust::new(Mode::Enforce, [authority], CheckLimits::default());
    trust.set_wall(Instant::from_millis(0), EPOCH);
    trust
}

/// Checks a message a second after the last one, so that nothing is refused for its rate.
fn check(trust: &mut Trust, second: u64, payload: &[u8]) -> Result<MemberId, Reason> {
    let message = Message::decode(payload).map_err(|_| Reason::MalformedMessage)?;
    let now = Instant::from_millis(second * 1_000);
    let signed = Signed::new(payload);
    let standing = trust.check(now, [2, 0x15, 0x46, 0, 0, 1], &message, Some(&signed))?;
    Ok(standing.member)
}

#[test]
fn its_signatures_hold_and_no_other_bytes_do() {
    let mut trust = trust();
    let mut second = 0;
    for (name, signer) in [
        ("report-signed", 1),
        ("anchor-signed", 1),
        ("query-signed", 2),
    ] {
        let good = payload(name);
        let member = key(signer).public().member();
        assert_eq!(check(&mut trust, 0, &good), Ok(member), "{name}");
        for at in 0..good.len() {
            second += 1;
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            let checked = check(&mut trust, second, &bad);
            assert!(checked.is_err(), "{name}, byte {at}: {checked:?}");
            assert_ne!(checked, Err(Reason::TooManyChecks), "{name}, byte {at}");
        }
    }
    assert_eq!(
        check(&mut trust, 0, &payload("report-ipv4")),
        Err(Reason::Unsigned)
    );
}

#[test]
fn we_sign_as_the_independent_encoder_did() {
    for (name, certificate, signer) in [
        ("report-signed", "certificate-member", 1),
        ("anchor-signed", "certificate-member", 1),
        ("query-signed", "certificate-router", 2),
    ] {
        let golden = payload(name);
        let mut message = Message::decode(&golden).unwrap();
        assert_eq!(message.sender(), key(signer).public().member(), "{name}");
        match &mut message {
            Message::Statement {
                statement: hamp::wire::Statement { options, .. },
                authentication,
                ..
            }
            | Message::Query {
                query: hamp::wire::Query { options, .. },
                authentication,
                ..
            } => {
                *authentication = Authentication::None;
                let first = options.remove(0);
                assert_eq!(
                    first,
                    MessageOption::Certificate(golden::trust(certificate))
                );
            }
            other => panic!("{name}: {other:?}"),
        }
        let certificate = Certificate::decode(&golden::trust(certificate)).unwrap();
        let credentials = Credentials::new(key(signer), certificate).unwrap();
        assert_eq!(credentials.sign(message), golden, "{name}");
    }
}

#[test]
fn we_certify_and_revoke_as_the_independent_encoder_did() {
    let authority = key(0);
    assert_eq!(
        authority.public().to_bytes()[..],
        golden::trust("authority-key")
    );
    let draft = |owner: usize, router: bool, hosts: &[&str]| Certificate {
        roles: Roles {
            member: !router,
            router,
        },
        serial: owner as u64 + 1,
        authority: AuthorityId([0; 16]),
        key: key(owner).public().to_bytes(),
        not_before: EPOCH - DAY,
        not_after: EPOCH + 365 * DAY,
        limit: if router { 0 } else { 4 },
        prefixes: if router {
            vec![]
        } else {
            ["198.18.0.0/24", "2001:2:0:1546::/112"]
                .map(|prefix| prefix.parse().unwrap())
                .to_vec()
        },
        hosts: hosts.iter().map(|net| net.parse().unwrap()).collect(),
        signature: [0; 64],
    };
    let hosts = &["10.15.46.1/32", "2001:db8:1546::/64"];
    for (name, owner, router, hosts) in [
        ("certificate-member", 1, false, &[][..]),
        ("certificate-router", 2, true, &[]),
        ("certificate-hosts", 1, false, hosts),
    ] {
        let ours = authority.certify(draft(owner, router, hosts));
        assert_eq!(ours.encode(), golden::trust(name), "{name}");
        assert_eq!(
            Certificate::decode(&golden::trust(name)),
            Ok(ours),
            "{name}"
        );
    }
    let list = authority.revoke(RevocationList {
        authority: AuthorityId([0; 16]),
        number: 7,
        made: EPOCH,
        serials: vec![2, 9],
        signature: [0; 64],
    });
    assert_eq!(list.encode(), golden::trust("revocation-list"));
    assert_eq!(
        RevocationList::decode(&golden::trust("revocation-list")),
        Ok(list)
    );
}

#[test]
fn its_revocation_list_ends_what_the_certificate_allowed() {
    let mut trust = trust();
    let bytes = golden::trust("revocation-list");
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        let taken = RevocationList::decode(&bad).map(|list| trust.revoke(&list));
        assert!(!matches!(taken, Ok(Ok(_))), "byte {at}");
    }
    let (report, query) = (payload("report-signed"), payload("query-signed"));
    assert!(check(&mut trust, 1, &report).is_ok());
    assert_eq!(
        trust.revoke(&RevocationList::decode(&bytes).unwrap()),
        Ok(true)
    );
    assert_eq!(check(&mut trust, 2, &report), Err(Reason::Revoked));
    assert!(
        check(&mut trust, 3, &query).is_ok(),
        "the router's is another"
    );
}
