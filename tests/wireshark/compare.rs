//! tshark's fields beside the documents of `hamp decode --json`.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::support::golden;

/// Runs tshark with the dissector on a capture and returns what it prints.
fn tshark(file: &Path, arguments: &[&str]) -> String {
    let script = golden::root().join("tools/wireshark/hamp.lua");
    let output = Command::new("tshark")
        // No name resolution, no preferences or plugins of whoever runs the test.
        .args(["-n", "-r"])
        .arg(file)
        .arg("-X")
        .arg(format!("lua_script:{}", script.display()))
        .args(arguments)
        .env("WIRESHARK_CONFIG_DIR", "/nonexistent")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    // An error in the script is an expert info of its own, and nothing that tshark fails for.
    let text = String::from_utf8(output.stdout).unwrap();
    for sign in ["Lua Error", "lua.error"] {
        assert!(!text.contains(sign) && !told.contains(sign), "{text}{told}");
    }
    text
}

/// The numbers of the frames that a display filter selects, one a line.
pub(crate) fn frames(file: &Path, filter: &str) -> String {
    tshark(file, &["-Y", filter, "-T", "fields", "-e", "frame.number"])
}

/// Every message of a capture as the dissector's tree.
pub(crate) fn dissected(file: &Path) -> Vec<Value> {
    let text = tshark(file, &["-Y", "hamp", "-T", "json", "--no-duplicate-keys"]);
    let packets: Vec<Value> = serde_json::from_str(&text).unwrap();
    let messages = packets.into_iter().map(|packet| {
        let layers = &packet["_source"]["layers"];
        let mut message = layers["hamp"].clone();
        message["frame"] = number(&layers["frame"]["frame.number"]);
        message
    });
    messages.collect()
}

/// Asserts that the dissector's tree says what the document says, key by key.
pub(crate) fn same(ours: &Value, theirs: &Value) {
    let malformed = find(theirs, "hamp.malformed") != Value::Null
        || find(theirs, "hamp.version.unknown") != Value::Null;
    assert_eq!(
        ours.get("error").is_some(),
        malformed,
        "{ours:#}\n{theirs:#}"
    );
    if malformed {
        return;
    }
    for (key, value) in ours.as_object().unwrap() {
        let Some(shown) = field(key, ours, theirs) else {
            continue;
        };
        assert_eq!(*value, shown, "{key}: {ours:#}\n{theirs:#}");
    }
}

/// What the dissector shows for a key of the document, in the document's manner; `None` for what is
/// not of the message.
fn field(key: &str, ours: &Value, theirs: &Value) -> Option<Value> {
    let is_query = ours["type"] == "query";
    let statement_or_query = |name: &str| {
        let group = if is_query { "query" } else { "statement" };
        number(&find(theirs, &format!("hamp.{group}.{name}")))
    };
    let at = |name: &str| find(theirs, name);
    Some(match key {
        "schema" | "frame" | "time_us" | "mac" | "source" | "interface_name" => return None,
        "member" => hex(&at("hamp.member")),
        "type" => kind(&at("hamp.type"), &at("hamp.authentication")),
        "type_number" => number(&at("hamp.type")),
        "authentication_number" => number(&at("hamp.authentication")),
        "body_bytes" => (hex(&at("hamp.body")).as_str().map_or(0, str::len) / 2).into(),
        "authentication" => match at("hamp.authentication").as_str() {
            Some("0") => "none".into(),
            Some("1") if at("hamp.signature") != Value::Null => "ed25519".into(),
            other => panic!("authentication {other:?}"),
        },
        "chain" => hex(&at("hamp.hello.chain")),
        "index" => number(&at("hamp.hello.index")),
        "value" => hex(&at("hamp.hello.value")),
        "epoch" | "counter" => statement_or_query(key),
        "interface" | "generation" => statement_or_query(key),
        "member_time_ms" => statement_or_query("time"),
        "digest" => hex(&at("hamp.statement.digest")),
        "ipv4" => address(&at("hamp.statement.ipv4"), "0.0.0.0"),
        "ipv6" => address(&at("hamp.statement.ipv6"), "::"),
        "hello_ms" => statement_or_query("hello_interval"),
        "dead_hellos" => statement_or_query(key),
        "stated_mac" => at("hamp.statement.mac"),
        "router" => flag(&at("hamp.statement.flags.router")),
        "chain_end" => hex(&at("hamp.chain.end")),
        "chain_base" => number(&at("hamp.chain.base")),
        "chain_length" => number(&at("hamp.chain.length")),
        "part" => number(&at("hamp.report.part")),
        "parts" => number(&at("hamp.report.parts")),
        "since_generation" => number(&at("hamp.report.base")),
        "records" => list(&at("hamp.record")).iter().map(record).collect(),
        "target" => hex(&at("hamp.query.target")),
        "nonce" => hex(&at("hamp.nonce")),
        "max_response_ms" => statement_or_query("max_response"),
        "interval_ms" => statement_or_query("interval"),
        "refresh" => flag(&at("hamp.query.flags.refresh")),
        "anchor" => flag(&at("hamp.query.flags.anchor")),
        "name" => list(&at("hamp.option"))
            .iter()
            .map(|option| find(option, "hamp.name"))
            .rfind(|name| *name != Value::Null)?,
        "answers" => {
            let options = list(&at("hamp.option"));
            let nonces = options
                .iter()
                .flat_map(|option| list(&find(option, "hamp.nonce")));
            nonces.map(|nonce| hex(&nonce)).collect()
        }
        "unknown_options" => {
            let options = list(&at("hamp.option")).into_iter();
            let unknown = options
                .filter(|one| one["hamp.option.kind"] != "1" && one["hamp.option.kind"] != "2")
                .filter(|one| find(one, "hamp.name") == Value::Null);
            unknown.map(|one| option(&one)).collect()
        }
        "certificate" | "certificate_error" => {
            let options = list(&at("hamp.option"));
            let mut options = options.iter();
            let good = |option: &&Value| {
                option["hamp.option.kind"] == "2"
                    && (key == "certificate") == is_certificate(option)
            };
            // Of several, the document shows the last; what is wrong, each says in its own words.
            let found = options.rfind(good)?;
            if key == "certificate_error" {
                return None;
            }
            certificate(found, &ours["certificate"])
        }
        "signature" => {
            assert_ne!(at("hamp.signature"), Value::Null);
            return None;
        }
        other => panic!("this test does not know the key {other}"),
    })
}

fn kind(kind: &Value, authentication: &Value) -> Value {
    match (kind.as_str(), authentication.as_str()) {
        (Some("1"), Some("0" | "1")) => "report",
        (Some("2"), Some("0")) => "hello",
        (Some("3"), Some("0" | "1")) => "anchor",
        (Some("4"), Some("0" | "1")) => "query",
        _ => "unknown",
    }
    .into()
}

fn record(theirs: &Value) -> Value {
    let text = |name: &str| theirs[format!("hamp.record.{name}")].clone();
    let value = |name: &str| number(&text(name));
    let whole = format!("/{}", if text("family") == "4" { 32 } else { 128 });
    let prefix = match text("prefix").as_str() {
        // An address is shown without its length.
        Some(prefix) => prefix.strip_suffix(&whole).unwrap_or(prefix).to_owned(),
        None => format!(
            "family {} {}/{}",
            value("family"),
            hex(&text("address")).as_str().unwrap_or_default(),
            value("prefix_length")
        ),
    };
    let scope = match value("scope").as_u64().unwrap() {
        0 => "link".to_owned(),
        1 => "site".to_owned(),
        2 => "global".to_owned(),
        other => format!("scope {other}"),
    };
    let flag = |name: &str| flag(&find(theirs, &format!("hamp.record.flags.{name}")));
    let serial = flag("serial") == true;
    serde_json::json!({
        "prefix": prefix,
        "preference": value("preference"),
        "draining": flag("draining"),
        "scope": scope,
        "lifetime_ms": value("lifetime"),
        "serial": if serial { value("serial") } else { Value::Null },
    })
}

fn is_certificate(option: &Value) -> bool {
    number(&option["hamp.option.length"]) != 0
        && find(option, "hamp.certificate.malformed") == Value::Null
}

fn certificate(option: &Value, ours: &Value) -> Value {
    let theirs = &option["hamp.certificate"];
    let at = |name: &str| find(theirs, &format!("hamp.certificate.{name}"));
    let mut roles = Vec::new();
    for role in ["member", "router"] {
        if flag(&at(&format!("roles.{role}"))) == true {
            roles.push(role);
        }
    }
    let mut shown = ours.clone();
    let prefixes = list(&at("prefix")).into_iter().map(|prefix| {
        let text = prefix.as_str().unwrap();
        let whole = if text.contains(':') { "/128" } else { "/32" };
        text.strip_suffix(whole).unwrap_or(text).to_owned()
    });
    // Not compared: the dissector computes no member id, and shows times for people.
    for (key, value) in [
        ("serial", number(&at("serial"))),
        ("authority", hex(&at("authority"))),
        ("public_key", hex(&at("key"))),
        ("roles", roles.into()),
        ("prefixes", prefixes.collect()),
        ("limit", number(&at("limit"))),
    ] {
        shown[key] = value;
    }
    shown
}

fn option(theirs: &Value) -> Value {
    serde_json::json!({
        "kind": number(&theirs["hamp.option.kind"]),
        "value": hex(&theirs["hamp.option.value"]),
    })
}

/// The value of a field anywhere in a tree, the topmost first.
fn find(tree: &Value, name: &str) -> Value {
    let Some(fields) = tree.as_object() else {
        return Value::Null;
    };
    if let Some(found) = fields.get(name) {
        return found.clone();
    }
    let mut below = fields.values().map(|inner| find(inner, name));
    below
        .find(|found| *found != Value::Null)
        .unwrap_or(Value::Null)
}

/// A field that occurs several times is an array, one that occurs once is not.
fn list(value: &Value) -> Vec<Value> {
    match value {
        Value::Null => vec![],
        Value::Array(values) => values.clone(),
        one => vec![one.clone()],
    }
}

fn number(text: &Value) -> Value {
    let text = text.as_str().unwrap_or_else(|| panic!("no number: {text}"));
    text.parse::<u64>().unwrap().into()
}

fn flag(text: &Value) -> Value {
    (number(text) == 1).into()
}

/// `01:02` as `0102`.
fn hex(text: &Value) -> Value {
    text.as_str().unwrap_or_default().replace(':', "").into()
}

fn address(text: &Value, none: &str) -> Value {
    if text == none {
        Value::Null
    } else {
        text.clone()
    }
}
