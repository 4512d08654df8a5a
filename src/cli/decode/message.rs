//! A message in words and as JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::config::shown;
use crate::wire::{Hello, MemberId, Message, Query, RecordAddress, Statement, StatementKind};

/// The message in one line.
pub fn tell(message: &Message) -> String {
    match message {
        Message::Statement { statement, .. } => tell_statement(statement),
        Message::Hello {
            hello: Hello { chain, index, .. },
            ..
        } => {
            format!("hello {index} of chain {}", hex(&chain[..4]))
        }
        Message::Query { query, .. } => {
            let target = if query.target == MemberId::EVERYBODY {
                "everybody".to_owned()
            } else {
                query.target.to_string()
            };
            let refresh = if query.refresh { ", records too" } else { "" };
            format!(
                "query to {target}, answers within {} ms{refresh}",
                millis(query.max_response)
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
    format!(
        "{what}, generation {}, epoch {}, hello {} ms x {}{records}",
        statement.generation,
        statement.epoch,
        millis(statement.hello_interval),
        statement.dead_hellos,
    )
}

/// The message's keys in a JSON document.
pub(super) fn fields(message: &Message) -> Value {
    match message {
        Message::Statement { statement, .. } => statement_fields(statement),
        Message::Hello { hello, .. } => json!({
            "type": "hello",
            "chain": hex(&hello.chain),
            "index": hello.index,
        }),
        Message::Query { query, .. } => query_fields(query),
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

fn query_fields(query: &Query) -> Value {
    json!({
        "type": "query",
        "epoch": query.epoch,
        "counter": query.counter,
        "target": format!("{:#}", query.target),
        "nonce": hex(&query.nonce),
        "max_response_ms": millis(query.max_response),
        "refresh": query.refresh,
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

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
