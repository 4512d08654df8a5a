//! Which connections of this host were rebound, for `hamp connections`.
//!
//! The shim's maps also hold connections that are over, until their ports are used again; the
//! kernel's own table of sockets says which of them are still there.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::Value;

use super::client;
use super::session::{Error, list};

/// A TCP connection that an unmodified program made to an anycast address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// This end.
    pub local: SocketAddr,
    /// What the program connected to.
    pub anycast: SocketAddr,
    /// The member that answered: the peer of every segment since.
    pub member: SocketAddr,
}

/// The rebound connections of this network namespace that still exist, in order.
pub fn connections() -> Result<Vec<Connection>, Error> {
    let sockets = sockets()?;
    let mut found = Vec::new();
    for n in ['4', '6'] {
        let [family, table] = words(client::TABLE);
        let from = list(["set", family, table, &format!("from{n}")])?;
        let owners = list(["map", family, table, &format!("owner{n}")])?;
        found.extend(join(&from, &owners)?);
    }
    found.retain(|connection| sockets.contains(&(connection.local, connection.anycast)));
    found.sort();
    Ok(found)
}

/// A table's named counters: what was counted, and how often (packets).
pub fn counters(table: &str) -> Result<Vec<(String, u64)>, Error> {
    let [family, table] = words(table);
    let listed = list(["counters", "table", family, table])?;
    let counters = listed["nftables"].as_array().into_iter().flatten();
    let counters = counters.filter_map(|entry| {
        let counter = &entry["counter"];
        Some((
            counter["name"].as_str()?.to_owned(),
            counter["packets"].as_u64()?,
        ))
    });
    Ok(counters.collect())
}

fn words(table: &str) -> [&str; 2] {
    let (family, name) = table.split_once(' ').unwrap_or(("inet", table));
    [family, name]
}

/// A map's key: my address (of IPv6 its last 32 bits), my port, the service.
type Key = (u32, u16, u16);

fn join(from: &Value, owners: &Value) -> Result<Vec<Connection>, Error> {
    let mut owner = HashMap::new();
    for pair in elements(owners, "map") {
        let parts = parts(&pair[0]).filter(|parts| parts.len() == 3);
        let (Some(parts), Some(anycast)) = (parts, address(&pair[1])) else {
            return Err(unexpected(pair));
        };
        let my = address(&parts[0]).map(last_bits);
        let my = my.or_else(|| u32::try_from(parts[0].as_u64()?).ok());
        match (my, port(&parts[1]), port(&parts[2])) {
            (Some(my), Some(port), Some(service)) => owner.insert((my, port, service), anycast),
            _ => return Err(unexpected(pair)),
        };
    }
    let mut connections = Vec::new();
    for element in elements(from, "set") {
        let (member, local) = ends(element).ok_or_else(|| unexpected(element))?;
        let key: Key = (last_bits(local.ip()), local.port(), member.port());
        // A connection may have begun between the two lists.
        if let Some(&anycast) = owner.get(&key) {
            connections.push(Connection {
                local,
                anycast: SocketAddr::new(anycast, member.port()),
                member,
            });
        }
    }
    Ok(connections)
}

/// The member and this end, as `from` has them.
fn ends(element: &Value) -> Option<(SocketAddr, SocketAddr)> {
    match parts(element)? {
        [member, service, local, local_port] => Some((
            SocketAddr::new(address(member)?, port(service)?),
            SocketAddr::new(address(local)?, port(local_port)?),
        )),
        _ => None,
    }
}

fn elements<'a>(listed: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let entries = listed["nftables"].as_array().into_iter().flatten();
    entries.flat_map(move |entry| entry[kind]["elem"].as_array().into_iter().flatten())
}

fn parts(element: &Value) -> Option<&[Value]> {
    element["elem"]["val"]["concat"]
        .as_array()
        .map(Vec::as_slice)
}

fn address(value: &Value) -> Option<IpAddr> {
    value.as_str()?.parse().ok()
}

fn port(value: &Value) -> Option<u16> {
    u16::try_from(value.as_u64()?).ok()
}

fn last_bits(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => address.to_bits(),
        // The cut is the point: these 32 bits are the key.
        IpAddr::V6(address) => address.to_bits() as u32,
    }
}

fn unexpected(element: &Value) -> Error {
    Error::Answer(format!("unexpected element {element}"))
}

/// Both ends of every TCP socket of this network namespace that has a peer and is not closed.
fn sockets() -> Result<HashSet<(SocketAddr, SocketAddr)>, Error> {
    let mut sockets = HashSet::new();
    for table in ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"] {
        match fs::read_to_string(table) {
            Ok(text) => sockets.extend(text.lines().skip(1).filter_map(socket)),
            // A kernel without IPv6.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(sockets)
}

/// A line of `/proc/net/tcp` or `tcp6`: addresses as 32-bit words in the host's byte order.
fn socket(line: &str) -> Option<(SocketAddr, SocketAddr)> {
    const TIME_WAIT: &str = "06";
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote, state) = (fields.next()?, fields.next()?, fields.next()?);
    (state != TIME_WAIT).then_some(())?;
    Some((end(local)?, end(remote)?))
}

fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let words = (0..address.len() / 8).map(|i| {
        let word = u32::from_str_radix(address.get(i * 8..i * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    });
    let bytes: Vec<u8> = words.collect::<Option<Vec<_>>>()?.concat();
    let address = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        // An IPv4 connection of a socket for both families.
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn listed(kind: &str, elements: &Value) -> Value {
        json!({ "nftables": [{ "metainfo": {} }, { kind: { "elem": elements } }] })
    }

    fn element(parts: &Value) -> Value {
        json!({ "elem": { "val": { "concat": parts }, "expires": 431_999 } })
    }

    #[test]
    fn connections_are_joined_from_set_and_map() {
        for (my, key, anycast, member) in [
            ("10.9.0.1", json!("10.9.0.1"), "198.18.0.1", "10.9.0.2"),
            ("fd09::1:0:2", json!(2), "2001:2:0:1546::1", "fd09::7"),
        ] {
            let over = element(&json!([member, 80, my, 41_000]));
            let from = listed(
                "set",
                &json!([element(&json!([member, 80, my, 40_000])), over]),
            );
            let owners = listed(
                "map",
                &json!([[element(&json!([key, 40_000, 80])), anycast]]),
            );
            let at = |address: &str, port| SocketAddr::new(address.parse().unwrap(), port);
            assert_eq!(
                join(&from, &owners).unwrap(),
                [Connection {
                    local: at(my, 40_000),
                    anycast: at(anycast, 80),
                    member: at(member, 80)
                }]
            );
        }
    }

    #[test]
    fn a_listing_of_another_shape_is_an_error() {
        let from = listed("set", &json!([element(&json!(["10.9.0.1", "http"]))]));
        let none = listed("map", &json!([]));
        assert!(matches!(join(&from, &none), Err(Error::Answer(_))));
        assert!(join(&json!({}), &json!({})).unwrap().is_empty());
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn sockets_are_read_from_the_kernels_tables() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(
            socket("  1: 0100090A:9C40 010012C6:0050 01 00000000:00000000 00:00000000"),
            Some((at("10.9.0.1:40000"), at("198.18.0.1:80")))
        );
        assert_eq!(
            socket(
                "  0: 0000000000000000FFFF00000100090A:9C40 0000000000000000FFFF0000010012C6:0050 01"
            ),
            Some((at("10.9.0.1:40000"), at("198.18.0.1:80")))
        );
        assert_eq!(
            socket("  1: 0100090A:9C40 010012C6:0050 06"),
            None,
            "TIME_WAIT"
        );
    }
}
