//! Whose certificate is believed for what, in each mode and at each time.

use core::time::Duration;

use super::*;
use crate::addr::Prefix;
use crate::proto::record_set::RecordSet;
use crate::wire::{
    ChainParameters, Query, Record, RecordAddress, Roles, Scope, Statement, StatementKind,
};

const MAC: Mac = [2, 0, 0, 0, 0, 1];
/// When the tests happen, in milliseconds since 1970, and on the host's clock.
const WALL: u64 = 1_700_000_000_000;
const NOW: Instant = Instant::from_millis(5_000);

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn authority() -> SecretKey {
    SecretKey::from_bytes(&[1; 32])
}

fn draft(key: &SecretKey) -> Certificate {
    Certificate {
        roles: Roles {
            member: true,
            router: false,
        },
        serial: 7,
        authority: AuthorityId([0; 16]),
        key: key.public().to_bytes(),
        not_before: WALL - 1_000,
        not_after: WALL + 60_000,
        limit: 2,
        prefixes: vec![prefix("198.18.0.0/16"), prefix("2001:2:0:1546::/112")],
        hosts: vec![],
        signature: [0; 64],
    }
}

fn credentials(change: impl FnOnce(&mut Certificate)) -> Credentials {
    let key = SecretKey::from_bytes(&[2; 32]);
    let mut draft = draft(&key);
    change(&mut draft);
    Credentials::new(key, authority().certify(draft)).unwrap()
}

fn statement(prefixes: &[&str]) -> Statement {
    let records: Vec<Record> = prefixes
        .iter()
        .map(|text| Record {
            address: RecordAddress::Prefix(prefix(text)),
            draining: false,
            scope: Scope::Link,
            preference: 100,
            lifetime: Duration::from_secs(3),
            serial: None,
        })
        .collect();
    Statement {
        kind: StatementKind::Full { part: 0, parts: 1 },
        interface: 1,
        epoch: 1,
        counter: 1,
        time: Duration::ZERO,
        generation: 1,
        digest: records.iter().cloned().collect::<RecordSet>().digest(),
        ipv4: Some([10, 0, 0, 1].into()),
        ipv6: None,
        mac: MAC,
        hello_interval: Duration::from_secs(1),
        dead_hellos: 3,
        router: false,
        chain: ChainParameters {
            end: [0; 16],
            base: 0,
            length: 1024,
        },
        records,
        options: Vec::new(),
    }
}

fn report(member: MemberId, prefixes: &[&str]) -> Message {
    Message::Statement {
        member,
        statement: statement(prefixes),
        authentication: Authentication::None,
    }
}

fn trust() -> Trust {
    let mut trust = Trust::new(
        Mode::Enforce,
        [authority().public()],
        CheckLimits::default(),
    );
    trust.set_wall(NOW, WALL);
    trust
}

fn check(trust: &mut Trust, payload: &[u8]) -> Result<Arc<Standing>, Reason> {
    let message = Message::decode(payload).map_err(|_| Reason::MalformedMessage)?;
    trust.check(NOW, MAC, &message, Some(&Signed::new(payload)))
}

/// What becomes of a report of `prefixes` under the certificate that `change` makes.
fn verdict(change: impl FnOnce(&mut Certificate), prefixes: &[&str]) -> Result<(), Reason> {
    let credentials = credentials(change);
    let payload = credentials.sign(report(credentials.member(), prefixes));
    let mut trust = trust();
    let first = check(&mut trust, &payload)?;
    // From memory as from the certificate.
    assert_eq!(check(&mut trust, &payload).as_ref(), Ok(&first));
    permitted(&first, &payload)
}

fn permitted(standing: &Standing, payload: &[u8]) -> Result<(), Reason> {
    match Message::decode(payload) {
        Ok(Message::Statement { statement, .. }) => standing.permits(&statement),
        _ => Ok(()),
    }
}

#[test]
fn a_certified_member_may_say_what_its_certificate_says_and_no_more() {
    let served = &["198.18.0.1/32", "2001:2:0:1546::1/128"];
    assert_eq!(verdict(|_| {}, served), Ok(()));
    assert_eq!(verdict(|_| {}, &[]), Ok(()));
    //= docs/spec/trust.md#roles
    //= type=test
    //# In enforce mode a receiver MUST skip the records of a statement whose certificate has not the
    //# role member, and those that no prefix of the certificate covers, and use the others.
    let outside = ["198.19.0.1/32", "198.18.0.0/15", "2001:2:0:1547::1/128"];
    for outside in outside {
        assert_eq!(
            verdict(|_| {}, &["198.18.0.1/32", outside]),
            Err(Reason::PrefixNotAllowed),
            "{outside}"
        );
    }
    assert_eq!(
        verdict(|c| c.limit = 1, served),
        Err(Reason::TooManyRecords)
    );
    let router = |c: &mut Certificate| {
        c.roles = Roles {
            member: false,
            router: true,
        };
    };
    assert_eq!(verdict(router, served), Err(Reason::WrongRole));
    assert_eq!(verdict(router, &[]), Ok(()));
    //= docs/spec/trust.md#roles
    //= type=test
    //# In enforce mode a receiver MUST ignore the router flag of a statement unless the certificate
    //# has the role router.
    for (certified, expected) in [(false, Err(Reason::WrongRole)), (true, Ok(()))] {
        let credentials = credentials(|c| c.roles.router = certified);
        let mut message = report(credentials.member(), &[]);
        if let Message::Statement { statement, .. } = &mut message {
            statement.router = true;
        }
        let payload = credentials.sign(message);
        let found = check(&mut trust(), &payload).unwrap();
        assert_eq!(permitted(&found, &payload), expected);
    }
}

#[test]
fn a_certificate_has_its_time() {
    //= docs/spec/trust.md#certificate
    //= type=test
    //# A receiver MUST refuse a certificate before its first millisecond and from its end on.
    for (from, to, expected) in [
        (WALL, WALL + 1, Ok(())),
        (WALL + 1, WALL + 2, Err(Reason::CertificateNotYet)),
        (WALL - 1, WALL, Err(Reason::CertificateExpired)),
    ] {
        let dated = |c: &mut Certificate| (c.not_before, c.not_after) = (from, to);
        assert_eq!(verdict(dated, &["198.18.0.1/32"]), expected);
    }
    // Who does not know the time trusts no certificate.
    let credentials = credentials(|_| {});
    let payload = credentials.sign(report(credentials.member(), &[]));
    let mut ignorant = Trust::new(
        Mode::Enforce,
        [authority().public()],
        CheckLimits::default(),
    );
    assert_eq!(
        check(&mut ignorant, &payload),
        Err(Reason::CertificateNotYet)
    );
}

#[test]
fn nobody_speaks_without_an_authority_behind_it() {
    let credentials = credentials(|_| {});
    let member = credentials.member();
    let good = credentials.sign(report(member, &["198.18.0.1/32"]));
    let mut trust = trust();
    assert!(check(&mut trust, &good).is_ok());
    //= docs/spec/trust.md#signatures
    //= type=test
    //# In enforce mode, a receiver MUST refuse a report or an anchor that is not signed, whose
    //# signature is not that of its certificate's key, or whose certificate no authority that it
    //# trusts has signed.
    let unsigned = report(member, &["198.18.0.1/32"]).encode();
    assert_eq!(check(&mut trust, &unsigned), Err(Reason::Unsigned));
    let other = SecretKey::from_bytes(&[9; 32]);
    let self_made = Credentials::new(other.clone(), other.certify(draft(&other))).unwrap();
    let payload = self_made.sign(report(self_made.member(), &[]));
    assert_eq!(check(&mut trust, &payload), Err(Reason::UnknownAuthority));
    let forged = Certificate {
        authority: authority().public().authority(),
        ..other.certify(draft(&other))
    };
    let forger = Credentials::new(other.clone(), forged).unwrap();
    let payload = forger.sign(report(forger.member(), &[]));
    assert_eq!(check(&mut trust, &payload), Err(Reason::BadCertificate));
    //= docs/spec/trust.md#signatures
    //= type=test
    //# A receiver MUST refuse a message whose member id is not that of its certificate's key.
    let payload = credentials.sign(report(MemberId([3; 16]), &[]));
    assert_eq!(check(&mut trust, &payload), Err(Reason::ForeignKey));
    // Another's certificate, and one's own signature.
    let mut message = report(member, &[]);
    if let Message::Statement {
        statement,
        authentication,
        ..
    } = &mut message
    {
        let certificate = credentials.certificate().encode();
        statement.options = vec![MessageOption::Certificate(certificate)];
        *authentication = Authentication::Ed25519 { signature: [0; 64] };
    }
    let mut payload = message.encode();
    let (text, trailer) = payload.split_last_chunk_mut::<64>().unwrap();
    *trailer = other.sign(text);
    assert_eq!(check(&mut trust, &payload), Err(Reason::BadSignature));
    // No certificate, or not in its place.
    for options in [
        vec![],
        vec![
            MessageOption::Nonces(vec![[1; 8]]),
            MessageOption::Certificate(credentials.certificate().encode()),
        ],
    ] {
        let mut message = report(member, &[]);
        if let Message::Statement {
            statement,
            authentication,
            ..
        } = &mut message
        {
            statement.options = options;
            *authentication = Authentication::Ed25519 { signature: [0; 64] };
        }
        let payload = message.encode();
        assert_eq!(check(&mut trust, &payload), Err(Reason::NoCertificate));
    }
}

#[test]
fn every_bit_of_a_signed_message_counts() {
    let credentials = credentials(|_| {});
    let query = Message::Query {
        asker: credentials.member(),
        query: Query {
            epoch: 1,
            counter: 1,
            target: MemberId::EVERYBODY,
            nonce: [5; 8],
            max_response: Duration::from_millis(100),
            refresh: false,
            anchor: false,
            interval: Duration::ZERO,
            options: Vec::new(),
        },
        authentication: Authentication::None,
    };
    for message in [report(credentials.member(), &["198.18.0.1/32"]), query] {
        let payload = credentials.sign(message);
        //= docs/spec/trust.md#signatures
        //= type=test
        //# The signature MUST be over all bytes of the message before it.
        for bit in 0..payload.len() * 8 {
            let mut damaged = payload.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // Checked by a host that has seen nothing, and by one that knows the certificate.
            let mut trust = trust();
            assert!(check(&mut trust, &damaged).is_err(), "bit {bit}");
            assert!(check(&mut trust, &payload).is_ok());
            assert!(check(&mut trust, &damaged).is_err(), "bit {bit}");
        }
    }
}

#[test]
fn what_is_revoked_counts_no_more_and_lists_only_grow() {
    let credentials = credentials(|_| {});
    let payload = credentials.sign(report(credentials.member(), &[]));
    let mut trust = trust();
    let standing = check(&mut trust, &payload).unwrap();
    let list = |number, serials: &[u64]| {
        authority().revoke(RevocationList {
            authority: AuthorityId([0; 16]),
            number,
            made: WALL,
            serials: serials.to_vec(),
            signature: [0; 64],
        })
    };
    assert_eq!(trust.revoke(&list(1, &[6, 8])), Ok(true));
    assert_eq!(trust.holds(NOW, &standing), Ok(()));
    assert_eq!(trust.revoke(&list(2, &[6, 7])), Ok(true));
    assert_eq!(trust.revoke(&list(2, &[6, 7])), Ok(false));
    //= docs/spec/trust.md#revocation
    //= type=test
    //# A receiver MUST refuse a certificate whose serial is on its authority's list.
    assert_eq!(trust.holds(NOW, &standing), Err(Reason::Revoked));
    assert_eq!(check(&mut trust, &payload), Err(Reason::Revoked));
    //= docs/spec/trust.md#revocation
    //= type=test
    //# A receiver MUST refuse a list that its authority has not signed, and one whose number is
    //# smaller than that of the one it has.
    let older = ListError::Older {
        number: 1,
        known: 2,
    };
    assert_eq!(trust.revoke(&list(1, &[])), Err(older));
    let forged = RevocationList {
        serials: vec![],
        ..list(3, &[7])
    };
    assert_eq!(trust.revoke(&forged), Err(ListError::BadSignature));
    let stranger = RevocationList {
        authority: AuthorityId([3; 16]),
        ..list(3, &[])
    };
    let unknown = ListError::UnknownAuthority(AuthorityId([3; 16]));
    assert_eq!(trust.revoke(&stranger), Err(unknown));
    // An authority that is trusted no longer takes its certificates with it.
    trust.set_authorities([SecretKey::from_bytes(&[4; 32]).public()]);
    assert_eq!(trust.holds(NOW, &standing), Err(Reason::UnknownAuthority));
}

#[test]
fn two_authorities_can_be_trusted_at_once() {
    let (old, new) = (authority(), SecretKey::from_bytes(&[4; 32]));
    let key = SecretKey::from_bytes(&[2; 32]);
    let under = |authority: &SecretKey| {
        let certificate = authority.certify(draft(&key));
        let credentials = Credentials::new(key.clone(), certificate).unwrap();
        credentials.sign(report(credentials.member(), &[]))
    };
    let mut trust = trust();
    assert_eq!(
        check(&mut trust, &under(&new)),
        Err(Reason::UnknownAuthority)
    );
    trust.set_authorities([old.public(), new.public()]);
    assert!(check(&mut trust, &under(&old)).is_ok());
    assert!(check(&mut trust, &under(&new)).is_ok());
    trust.set_authorities([new.public()]);
    assert!(check(&mut trust, &under(&new)).is_ok());
    assert_eq!(
        check(&mut trust, &under(&old)),
        Err(Reason::UnknownAuthority)
    );
}

#[test]
fn a_flood_of_strangers_is_bounded_and_leaves_the_known_alone() {
    let credentials = credentials(|_| {});
    let good = credentials.sign(report(credentials.member(), &["198.18.0.1/32"]));
    let mut trust = trust();
    assert!(check(&mut trust, &good).is_ok());
    // The same sender's name and certificate, from elsewhere and without its key.
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let message = Message::decode(&forged).unwrap();
    let mut made = 0;
    for n in 0..20_000u64 {
        let [.., a, b] = n.to_be_bytes();
        // NOTE: a message of its own each time; what one computes is kept with it.
        let signed = Signed::new(&forged);
        //= docs/spec/trust.md#checks
        //= type=test
        //# A receiver MUST bound how many signatures it checks in a second, for one sender and for
        //# all, and MUST NOT let senders that it has not verified use up what it has for those that
        //# it has.
        match trust.check(NOW, [2, 0, 0, 9, a, b], &message, Some(&signed)) {
            Err(Reason::BadSignature) => made += 1,
            other => assert_eq!(other, Err(Reason::TooManyChecks)),
        }
    }
    // Each is two checks, of two seconds'.
    let limit = CheckLimits::default().strangers;
    assert_eq!(made, limit);
    assert!(check(&mut trust, &good).is_ok());
}

#[test]
fn a_query_that_is_sent_again_from_elsewhere_moves_nobody() {
    let credentials = credentials(|_| {});
    let good = credentials.sign(report(credentials.member(), &[]));
    let mut trust = trust();
    assert!(check(&mut trust, &good).is_ok());
    let query = credentials.sign(Message::Query {
        asker: credentials.member(),
        query: Query {
            epoch: 1,
            counter: 1,
            target: MemberId::EVERYBODY,
            nonce: [5; 8],
            max_response: Duration::ZERO,
            refresh: false,
            anchor: false,
            interval: Duration::ZERO,
            options: Vec::new(),
        },
        authentication: Authentication::None,
    });
    let message = Message::decode(&query).unwrap();
    for n in 0..10 {
        let signed = Signed::new(&query);
        let elsewhere = [2, 0, 0, 9, 9, n];
        assert!(trust.check(NOW, elsewhere, &message, Some(&signed)).is_ok());
    }
    let macs: Vec<_> = trust
        .known
        .values()
        .map(|known| known.macs.clone())
        .collect();
    assert_eq!(macs, [vec![MAC]]);
}

#[test]
fn the_memory_of_certificates_is_bounded() {
    let mut trust = trust();
    let key = SecretKey::from_bytes(&[2; 32]);
    for n in 0..CERTIFICATES as u64 + 10 {
        let standing = Arc::new(Standing::of(&draft(&key)));
        let known = Known {
            standing,
            key: key.public(),
            macs: vec![],
            share: trust.limiter.share(NOW),
            used: Instant::from_micros(n),
        };
        trust.remember(&n.to_be_bytes(), known);
    }
    assert_eq!(trust.known.len(), CERTIFICATES);
    assert!(!trust.known.contains_key(&9u64.to_be_bytes()[..]));
    assert!(trust.known.contains_key(&10u64.to_be_bytes()[..]));
}

#[test]
fn keys_and_credentials_are_never_printed() {
    let credentials = credentials(|_| {});
    let shown = format!("{credentials:?} {:?}", SecretKey::from_bytes(&[2; 32]));
    assert!(
        !shown.contains("2, 2") && !shown.contains("0202"),
        "{shown}"
    );
}

#[test]
fn credentials_need_a_certificate_for_their_own_key() {
    let other = SecretKey::from_bytes(&[3; 32]);
    let certificate = authority().certify(draft(&SecretKey::from_bytes(&[2; 32])));
    let refused = Credentials::new(other, certificate);
    assert_eq!(refused.err(), Some(ForeignCertificate));
}

#[test]
fn a_key_of_small_order_is_none() {
    // The neutral element, which "verifies" the same signature for many texts.
    let mut neutral = [0; 32];
    neutral[0] = 1;
    assert_eq!(PublicKey::from_bytes(&neutral), None);
}
