//! A message in words and as JSON.

use serde_json::{Value, json};

use super::millis;
use crate::addr::shown;
use crate::cli::trust;
use crate::wire::{
    Authentication, Certificate, Hello, MemberId, Message, MessageOption, Query, RecordAddress,
    Scope, Statement, StatementKind,
};

/// The message in one line.
pub fn tell(message: &Message) -> String {
    match message {
        Message::Statement {
            statement,
            authentication,
            ..
        } => {
            let extras = tell_extras(&statement.options, authentication);
            tell_statement(statement) + &extras
        }
        Message::Hello {
            hello: Hello { chain, index, .. },
            ..
        } => {
            format!("hello {index} of chain {}", hex(&chain[..4]))
        }
        Message::Query {
            query,
            authentication,
            ..
        } => {
            let target = if query.target == MemberId::EVERYBODY {
                "everybody".to_owned()
            } else {
                query.target.to_string()
            };
            let refresh = if query.refresh { ", refresh" } else { "" };
            let anchor = if query.anchor {
                ", an anchor is enough"
            } else {
                ""
            };
            format!(
                "query to {target}, answers within {} ms{refresh}{anchor}{}",
                millis(query.max_response),
                tell_extras(&query.options, authentication)
            )
        }
        Message::Unknown {
            kind,
            authentication,
            body,
            ..
        } => {
            format!(
                "unknown type {kind}, authentication {authentication}, {} bytes",
                body.len()
            )
        }
    }
}

fn tell_statement(statement: &Statement) -> String {
    let what = match statement.kind {
        StatementKind::Full { parts: 1, .. } => "report".to_owned(),
        StatementKind::Full { part, parts } => format!("report {}/{parts}", u32::from(part) + 1),
        StatementKind::Delta { base } => format!("change since generation {base}"),
        StatementKind::Anchor => "anchor".to_owned(),
    };
    let records: Vec<String> = statement
        .records
        .iter()
        .map(|record| {
            let address = address(&record.address);
            if record.is_withdrawal() {
                return format!("-{address}");
            }
            let leaving = if record.draining { " leaving" } else { "" };
            format!("+{address} preference {}{leaving}", record.preference)
        })
        .collect();
    let records = if records.is_empty() {
        String::new()
    } else {
        format!(": {}", records.join(", "))
    };
    let router = if statement.router { " of a router" } else { "" };
    format!(
        "{what}{router}, generation {}, epoch {}, hello {} ms x {}{records}",
        statement.generation,
        statement.epoch,
        millis(statement.hello_interval),
        statement.dead_hellos,
    )
}

/// What a message carries beside its fields.
fn tell_extras(options: &[MessageOption], authentication: &Authentication) -> String {
    let mut told = String::new();
    for option in options {
        match option {
            MessageOption::Nonces(nonces) if nonces.len() == 1 => told += ", answers a query",
            MessageOption::Nonces(nonces) => {
                told += &format!(", answers {} queries", nonces.len());
            }
            MessageOption::Certificate(bytes) => told += &tell_certificate(bytes),
            MessageOption::Name(name) => told += &format!(", named {name}"),
            MessageOption::Unknown { kind, .. } => told += &format!(", option {kind}"),
        }
    }
    if let Authentication::Ed25519 { .. } = authentication {
        told += ", signed";
    }
    told
}

fn tell_certificate(bytes: &[u8]) -> String {
    match Certificate::decode(bytes) {
        Ok(read) => format!(", certificate {} of {}", read.serial, read.authority),
        Err(error) => format!(", no certificate ({error})"),
    }
}

/// The message's keys in a JSON document; it was captured at `at_ms` milliseconds since 1970.
pub(super) fn fields(message: &Message, at_ms: u64) -> Value {
    match message {
        Message::Statement {
            statement,
            authentication,
            ..
        } => {
            let fields = statement_fields(statement);
            with_extras(fields, at_ms, &statement.options, authentication)
        }
        Message::Hello { hello, .. } => json!({
            "type": "hello",
            "chain": hex(&hello.chain),
            "index": hello.index,
            "value": hex(&hello.value),
        }),
        Message::Query {
            query,
            authentication,
            ..
        } => with_extras(query_fields(query), at_ms, &query.options, authentication),
        Message::Unknown {
            kind,
            authentication,
            body,
            ..
        } => json!({
            "type": "unknown",
            "type_number": kind,
            "authentication_number": authentication,
            "body_bytes": body.len(),
        }),
    }
}

/// Adds the options and what vouches for the message.
fn with_extras(
    mut fields: Value,
    at_ms: u64,
    options: &[MessageOption],
    authentication: &Authentication,
) -> Value {
    let (mut answers, mut unknown) = (Vec::new(), Vec::new());
    for option in options {
        match option {
            MessageOption::Nonces(nonces) => answers.extend(nonces.iter().map(|nonce| hex(nonce))),
            MessageOption::Certificate(bytes) => match Certificate::decode(bytes) {
                Ok(read) => fields["certificate"] = trust::certificate(&read, at_ms),
                Err(error) => fields["certificate_error"] = error.to_string().into(),
            },
            MessageOption::Name(name) => fields["name"] = name.as_str().into(),
            MessageOption::Unknown { kind, value } => {
                unknown.push(json!({ "kind": kind, "value": hex(value) }));
            }
        }
    }
    fields["answers"] = answers.into();
    fields["unknown_options"] = unknown.into();
    fields["authentication"] = match authentication {
        Authentication::None => "none".into(),
        Authentication::Ed25519 { .. } => "ed25519".into(),
    };
    fields
}

fn query_fields(query: &Query) -> Value {
    json!({
        "type": "query",
        "epoch": query.epoch,
        "counter": query.counter,
        "target": format!("{:#}", query.target),
        "nonce": hex(&query.nonce),
        "max_response_ms": millis(query.max_response),
        "refresh": query.refresh,
        "anchor": query.anchor,
        "interval_ms": millis(query.interval),
    })
}

fn statement_fields(statement: &Statement) -> Value {
    let records: Vec<Value> = statement
        .records
        .iter()
        .map(|record| {
            json!({
                "prefix": address(&record.address),
                "preference": record.preference,
                "draining": record.draining,
                "scope": scope(record.scope),
                "lifetime_ms": millis(record.lifetime),
                "serial": record.serial,
            })
        })
        .collect();
    let mut fields = json!({
        "type": if statement.kind == StatementKind::Anchor { "anchor" } else { "report" },
        "interface": statement.interface,
        "epoch": statement.epoch,
        "counter": statement.counter,
        "member_time_ms": millis(statement.time),
        "generation": statement.generation,
        "digest": hex(&statement.digest),
        "ipv4": statement.ipv4,
        "ipv6": statement.ipv6,
        "hello_ms": millis(statement.hello_interval),
        "dead_hellos": statement.dead_hellos,
        "stated_mac": super::hex_pairs(&statement.mac),
        "router": statement.router,
        "chain_end": hex(&statement.chain.end),
        "chain_base": statement.chain.base,
        "chain_length": statement.chain.length,
        "records": records,
    });
    match statement.kind {
        StatementKind::Full { part, parts } => {
            fields["part"] = part.into();
            fields["parts"] = parts.into();
        }
        StatementKind::Delta { base } => fields["since_generation"] = base.into(),
        StatementKind::Anchor => {}
    }
    fields
}

fn scope(scope: Scope) -> String {
    match scope {
        Scope::Link => "link".to_owned(),
        Scope::Site => "site".to_owned(),
        Scope::Global => "global".to_owned(),
        Scope::Unknown(number) => format!("scope {number}"),
    }
}

fn address(address: &RecordAddress) -> String {
    match address {
        RecordAddress::Prefix(prefix) => shown(prefix),
        RecordAddress::Unknown {
            family,
            prefix_len,
            address,
        } => {
            format!("family {family} {}/{prefix_len}", hex(address))
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
