//! A copy of what the client's rules know of connections, for the day that somebody flushes them.
//!
//! The maps grow with packets, so nobody but the kernel knows what is in them. A copy is taken when the
//! host's connections to the class have changed, and loaded again with the rules. What began since
//! the last copy is lost, and so is a connection whose member sends something before the rules are
//! back: the kernel resets it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::Value;

use super::client;
use super::connections::{elements, sockets, words};
use super::session::{Error, list};
use crate::addr::Class;

/// More connections than these are not copied: listing them takes too long.
const MOST: usize = 4096;
/// Elements in one transaction.
const AT_ONCE: usize = 100;
/// What a connection is made of, by kind and name.
const PARTS: [(&str, &str); 6] = [
    ("map", "owner"),
    ("set", "flow"),
    ("map", "peer"),
    ("set", "from"),
    ("map", "alias"),
    ("map", "own"),
];

/// Connections of this host to the class, both ends as its sockets have them.
pub type Sockets = BTreeSet<(SocketAddr, SocketAddr)>;

/// The connections that there are now.
pub fn present(class: &Class) -> Result<Sockets, Error> {
    let to_class = |(_, remote): &(SocketAddr, SocketAddr)| class.contains(remote.ip());
    Ok(sockets()?.into_iter().filter(to_class).collect())
}

/// What the rules know of connections, as transactions that add it; `None`: it is too much.
pub fn take(sockets: &Sockets) -> Result<Option<Vec<String>>, Error> {
    if sockets.len() > MOST {
        return Ok(None);
    }
    let mut texts = Vec::new();
    if sockets.is_empty() {
        return Ok(Some(texts));
    }
    let [family, table] = words(client::TABLE);
    for n in ['4', '6'] {
        for (kind, name) in PARTS {
            let name = format!("{name}{n}");
            let listed = list([kind, family, table, &name])?;
            let all: Vec<String> = elements(&listed, kind).filter_map(element).collect();
            for some in all.chunks(AT_ONCE) {
                let some = some.join(", ");
                texts.push(format!(
                    "add element {} {name} {{ {some} }}\n",
                    client::TABLE
                ));
            }
        }
    }
    Ok(Some(texts))
}

/// An element as it is added: of a set, or with what a map has for it.
fn element(listed: &Value) -> Option<String> {
    let (key, value) = match listed.as_array() {
        Some(pair) => (pair.first()?, Some(word(pair.get(1)?)?)),
        None => (listed, None),
    };
    let key = &key["elem"];
    let parts = key["val"]["concat"].as_array()?.iter().map(word);
    let parts: Vec<String> = parts.collect::<Option<_>>()?;
    let expires = key["expires"].as_u64()?.max(1);
    let value = value.map(|value| format!(" : {value}")).unwrap_or_default();
    Some(format!("{} timeout {expires}s{value}", parts.join(" . ")))
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(word) => Some(word.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn elements_are_written_as_they_are_added() {
        let key = json!({ "elem": { "val": { "concat": ["10.0.0.1", 4000, 80] }, "expires": 90 } });
        assert_eq!(element(&key).unwrap(), "10.0.0.1 . 4000 . 80 timeout 90s");
        let pair = json!([key, "198.18.0.1"]);
        let added = "10.0.0.1 . 4000 . 80 timeout 90s : 198.18.0.1";
        assert_eq!(element(&pair).unwrap(), added);
        assert_eq!(element(&json!({ "elem": 1 })), None);
    }
}
