//! Keys, certificates and lists as documents, and as text for people.

use serde_json::{Value, json};

use crate::daemon::Printable;
use crate::daemon::trust::Kind;
use crate::proto::trust::PublicKey;
use crate::wire::{Certificate, MemberId, RevocationList};

/// A public key, as `hamp.key/1`.
pub(super) fn key(public: &PublicKey, kind: Kind) -> Value {
    let (owner, id) = match kind {
        Kind::AuthorityPublicKey => ("authority", format!("{:#}", public.authority())),
        _ => ("member", format!("{:#}", public.member())),
    };
    json!({
        "schema": "hamp.key/1",
        "owner": owner,
        "id": id,
        "public_key": public.to_string(),
    })
}

/// A certificate, as `hamp.certificate/1`, with its state at `now` in milliseconds since 1970.
pub(in crate::cli) fn certificate(certificate: &Certificate, now: u64) -> Value {
    let state = if now < certificate.not_before {
        "not yet valid"
    } else if now >= certificate.not_after {
        "expired"
    } else {
        "valid"
    };
    let roles = [
        (certificate.roles.member, "member"),
        (certificate.roles.router, "router"),
    ];
    let roles = roles.iter().filter(|(has, _)| *has).map(|(_, name)| *name);
    json!({
        "schema": "hamp.certificate/1",
        "serial": certificate.serial,
        "authority": format!("{:#}", certificate.authority),
        "member": format!("{:#}", MemberId::of_key(&certificate.key)),
        "public_key": hex(&certificate.key),
        "roles": roles.collect::<Vec<_>>(),
        "prefixes": certificate.prefixes.iter().map(crate::addr::shown).collect::<Vec<_>>(),
        "hosts": certificate.hosts.iter().map(crate::addr::shown).collect::<Vec<_>>(),
        "limit": certificate.limit,
        "not_before_unix_ms": certificate.not_before,
        "not_after_unix_ms": certificate.not_after,
        "state": state,
    })
}

/// A revocation list, as `hamp.revocation/1`.
pub(super) fn list(list: &RevocationList) -> Value {
    json!({
        "schema": "hamp.revocation/1",
        "authority": format!("{:#}", list.authority),
        "number": list.number,
        "made_unix_ms": list.made,
        "serials": list.serials,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A document for people: a line for each thing that it says.
pub(super) fn people(document: &Value) -> String {
    let text = |key: &str| document[key].as_str().unwrap_or_default().to_owned();
    let time = |key: &str| date(document[key].as_u64().unwrap_or_default());
    let words = |key: &str| {
        let all = document[key].as_array().into_iter().flatten();
        let all = all.map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
        all.collect::<Vec<_>>().join(" ")
    };
    let mut lines = Vec::new();
    match document["schema"].as_str() {
        Some("hamp.key/1") => {
            lines.push((text("owner") + " id", text("id")));
            lines.push(("public key".into(), text("public_key")));
            if document.get("private_file").is_some() {
                lines.push(("private file".into(), text("private_file")));
                lines.push(("public file".into(), text("public_file")));
            }
        }
        Some("hamp.certificate/1") => {
            lines.push(("serial".into(), document["serial"].to_string()));
            lines.push(("member id".into(), text("member")));
            lines.push(("public key".into(), text("public_key")));
            lines.push(("may be".into(), words("roles")));
            lines.push(("may serve".into(), words("prefixes")));
            let hosts = Some(words("hosts")).filter(|hosts| !hosts.is_empty());
            let any = || "any address that the link lets it have".to_owned();
            lines.push(("may be at".into(), hosts.unwrap_or_else(any)));
            lines.push(("at most".into(), format!("{} on a link", document["limit"])));
            lines.push(("from".into(), time("not_before_unix_ms")));
            lines.push(("until".into(), time("not_after_unix_ms")));
            lines.push(("state".into(), text("state")));
            lines.push(("authority".into(), text("authority")));
        }
        _ => {
            lines.push(("authority".into(), text("authority")));
            lines.push(("number".into(), document["number"].to_string()));
            lines.push(("made".into(), time("made_unix_ms")));
            lines.push(("revoked".into(), words("serials")));
        }
    }
    if document["signed"] == true {
        lines.push(("signature".into(), "good".into()));
    }
    if document.get("file").is_some() {
        lines.push(("file".into(), text("file")));
    }
    let lines = lines
        .into_iter()
        .map(|(name, value)| format!("{name:<12}  {}", Printable(&value)));
    lines
        .map(|line| line.trim_end().to_owned() + "\n")
        .collect()
}

/// `2026-11-21 15:30:05 UTC`, of milliseconds since 1970 (Hinnant's days from civil, inverted).
fn date(unix_ms: u64) -> String {
    let seconds = unix_ms / 1_000;
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * era + year + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // date -u -d @SECONDS
        for (seconds, expected) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399, "2000-02-28 23:59:59 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_735_689_599, "2024-12-31 23:59:59 UTC"),
            (4_102_444_800, "2100-01-01 00:00:00 UTC"),
        ] {
            assert_eq!(date(seconds * 1_000), expected);
        }
    }
}
