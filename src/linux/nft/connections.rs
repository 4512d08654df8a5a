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
    /// The member that answered: the peer of every segment since. The anycast address itself of a
    /// plain connection.
    pub member: SocketAddr,
}

impl Connection {
    /// Whether the anycast address is what both ends see.
    pub fn is_plain(&self) -> bool {
        self.anycast == self.member
    }
}

/// The connections to anycast addresses of this network namespace that still exist, in order.
pub fn connections() -> Result<Vec<Connection>, Error> {
    let Some(kept) = client::Kept::earlier() else {
        return Ok(Vec::new());
    };
    let sockets = sockets()?;
    let [family, table] = words(client::TABLE);
    let mut found = Vec::new();
    for n in ['4', '6'] {
        let from = list(["set", family, table, &format!("from{n}")])?;
        let owners = list(["map", family, table, &format!("owner{n}")])?;
        let own = list(["map", family, table, &format!("own{n}")])?;
        found.extend(join(&from, &owners, &own, |local| {
            Key::new(local, |address| kept.stands_for(address))
        })?);
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

/// A table's family and name.
pub(super) fn words(table: &str) -> [&str; 2] {
    let (family, name) = table.split_once(' ').unwrap_or(("inet", table));
    [family, name]
}

/// A map's key: my address, or what stands for it; my port on the wire; the service.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key(Vec<Value>);

impl Key {
    fn new((local, service): (SocketAddr, u16), stands_for: impl Fn(Ipv6Addr) -> [u64; 2]) -> Self {
        let mut parts: Vec<Value> = match local.ip() {
            IpAddr::V4(address) => vec![address.to_string().into()],
            IpAddr::V6(address) => stands_for(address).map(Value::from).to_vec(),
        };
        parts.extend([local.port(), service].map(Value::from));
        Self(parts)
    }

    /// A map's elements by their keys.
    fn all(map: &Value) -> Result<HashMap<Self, &Value>, Error> {
        let pairs = elements(map, "map").map(|pair| {
            let key = parts(&pair[0]).ok_or_else(|| unexpected(pair))?;
            Ok((Self(key.to_vec()), &pair[1]))
        });
        pairs.collect()
    }
}

fn join(
    from: &Value,
    owners: &Value,
    own: &Value,
    key: impl Fn((SocketAddr, u16)) -> Key,
) -> Result<Vec<Connection>, Error> {
    let (owners, own) = (Key::all(owners)?, Key::all(own)?);
    let mut connections = Vec::new();
    for element in elements(from, "set") {
        let (member, mut local) = ends(element).ok_or_else(|| unexpected(element))?;
        let key = key((local, member.port()));
        if let Some(value) = own.get(&key) {
            local.set_port(port(value).ok_or_else(|| unexpected(value))?);
        }
        // A connection may have begun between the lists.
        if let Some(value) = owners.get(&key) {
            let anycast = address(value).ok_or_else(|| unexpected(value))?;
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

pub(super) fn elements<'a>(listed: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
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

fn unexpected(element: &Value) -> Error {
    Error::Answer(format!("unexpected element {element}"))
}

/// Both ends of every TCP socket of this network namespace that has a peer and is not closed.
pub(super) fn sockets() -> Result<HashSet<(SocketAddr, SocketAddr)>, Error> {
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

    fn numbers(address: Ipv6Addr) -> [u64; 2] {
        [7, u64::from(address.segments()[0])]
    }

    #[test]
    fn connections_are_joined_from_the_set_and_the_maps() {
        for (my, key, anycast, member) in [
            ("10.9.0.1", json!(["10.9.0.1"]), "198.18.0.1", "10.9.0.2"),
            ("fd09::2", json!([7, 0xfd09]), "2001:2:0:1546::1", "fd09::7"),
        ] {
            let key = |wire: u16| {
                let mut key = key.as_array().unwrap().clone();
                key.extend([wire.into(), 80.into()]);
                element(&key.into())
            };
            let ends = |wire: u16| element(&json!([member, 80, my, wire]));
            let from = listed("set", &json!([ends(40_000), ends(16_400), ends(41_000)]));
            let owners = json!([[key(40_000), anycast], [key(16_400), anycast]]);
            let owners = listed("map", &owners);
            let own = listed("map", &json!([[key(16_400), 40_001]]));
            let at = |address: &str, port| SocketAddr::new(address.parse().unwrap(), port);
            let expected = [40_000, 40_001].map(|port| Connection {
                local: at(my, port),
                anycast: at(anycast, 80),
                member: at(member, 80),
            });
            let found = join(&from, &owners, &own, |local| Key::new(local, numbers));
            assert_eq!(found.unwrap(), expected);
        }
    }

    #[test]
    fn a_listing_of_another_shape_is_an_error() {
        let from = listed("set", &json!([element(&json!(["10.9.0.1", "http"]))]));
        let none = listed("map", &json!([]));
        let key = |local| Key::new(local, numbers);
        let joined = join(&from, &none, &none, key);
        assert!(matches!(joined, Err(Error::Answer(_))));
        let nothing = json!({});
        assert!(join(&nothing, &nothing, &nothing, key).unwrap().is_empty());
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
