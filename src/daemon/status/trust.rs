//! Whose word counts, and what came of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::daemon::run::Daemon;
use crate::proto::Reason;
use crate::proto::pin::State;
use crate::proto::view::Peer;
use crate::time::Instant;
use crate::wire::Certificate;

/// The reasons that come of checking, or of believing only what was proved.
const OF_TRUST: [Reason; 18] = [
    Reason::Unchallenged,
    Reason::StatementBehind,
    Reason::StatementAhead,
    Reason::StaleTime,
    Reason::Unsigned,
    Reason::NoCertificate,
    Reason::BadCertificate,
    Reason::UnknownAuthority,
    Reason::CertificateNotYet,
    Reason::CertificateExpired,
    Reason::Revoked,
    Reason::ForeignKey,
    Reason::BadSignature,
    Reason::TooManyChecks,
    Reason::WrongRole,
    Reason::PrefixNotAllowed,
    Reason::TooManyRecords,
    Reason::ForeignAddress,
];

/// `hamp.trust/1`: the mode, this host's certificate, the authorities, and who is verified.
pub(in crate::daemon) fn trust(daemon: &Daemon, now: Instant) -> Value {
    let node = &daemon.node;
    let wall = node.trust().wall(now);
    let own = node.config().credentials.as_ref().map(|own| {
        let (held, member) = (own.certificate(), format!("{:#}", own.member()));
        let mut told = certificate(held, &member, wall);
        told["revoked"] = node.trust().has_revoked(held).into();
        told
    });
    let authorities: Vec<Value> = node
        .trust()
        .authorities()
        .map(|(id, list, revoked)| {
            json!({ "id": format!("{id:#}"), "list_number": list, "revoked": revoked })
        })
        .collect();
    let members: Vec<Value> = node
        .links()
        .flat_map(|(id, link)| link.peers().map(move |peer| (id, link, peer)))
        .map(|(name, link, (id, peer))| {
            let own = link.pins().filter(|(_, pin)| pin.member == id);
            let own = own.map(|(address, pin)| {
                let state = match pin.state {
                    State::New | State::Asked { .. } => "asked for",
                    State::Proved { .. } => "used",
                    State::Contested { .. } => "contested",
                };
                json!({ "address": address, "state": state })
            });
            json!({
                "addresses": own.collect::<Vec<_>>(),
                "link": daemon.kernel.name(name),
                "id": format!("{id:#}"),
                "verified": peer.standing().is_some(),
                "ends_in_ms": ends_in(peer, wall),
            })
        })
        .collect();
    let counters = node.counters();
    let named = |counts: &mut dyn Iterator<Item = (Reason, u64)>| -> BTreeMap<&str, u64> {
        counts.map(|(reason, n)| (reason.as_str(), n)).collect()
    };
    json!({
        "schema": "hamp.trust/1",
        "mode": node.trust().mode().as_str(),
        "wall_ms": wall,
        "own": own,
        "authorities": authorities,
        "members": members,
        "doubted": named(&mut counters.doubted()),
        "refused": named(&mut counters.ignored().filter(|(reason, _)| OF_TRUST.contains(reason))),
    })
}

/// Time until the end of the certificate that a member is believed for.
pub(super) fn ends_in(peer: &Peer, wall: u64) -> Option<u64> {
    let standing = peer.standing()?;
    Some(standing.expires.saturating_sub(wall))
}

fn certificate(certificate: &Certificate, member: &str, wall: u64) -> Value {
    let roles = [
        ("member", certificate.roles.member),
        ("router", certificate.roles.router),
    ];
    let roles: Vec<&str> = roles
        .iter()
        .filter(|role| role.1)
        .map(|role| role.0)
        .collect();
    json!({
        "id": member,
        "authority": format!("{:#}", certificate.authority),
        "serial": certificate.serial,
        "roles": roles,
        "prefixes": certificate.prefixes,
        "hosts": certificate.hosts,
        "address_limit": certificate.limit,
        "not_before_ms": certificate.not_before,
        "not_after_ms": certificate.not_after,
        "ends_in_ms": certificate.not_after.saturating_sub(wall),
    })
}
