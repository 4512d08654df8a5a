//! What happens in a lab that is up, for who watches it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use hamp::addr::Class;
use hamp::daemon::config::Config;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::holder::programs;
use crate::Lab;
use crate::capture::{Capture, Frame, Link};
use crate::lab::HAMP;

/// Requests are counted until nobody has asked for this long.
pub(super) const IDLE: Duration = Duration::from_secs(10);
/// How long hamp on a host may take to answer.
const ANSWER: Duration = Duration::from_secs(2);

/// A lab at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Milliseconds since all of it runs.
    pub up_ms: u64,
    /// Its nodes in the order of the file.
    pub hosts: Vec<HostLook>,
}

/// A node at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostLook {
    /// What it is called.
    pub name: String,
    /// `host`, `router` or `switch`.
    pub kind: String,
    /// What was started in it.
    pub programs: Vec<Program>,
    /// Whether its hamp answers; absent if it runs none.
    pub answers: Option<bool>,
    /// What it serves.
    pub serving: Vec<String>,
    /// Whom it takes for the owner of each anycast address.
    pub owners: Vec<Owner>,
    /// Requests to anycast addresses that have come to it: first segments of TCP, and datagrams of
    /// UDP.
    pub requests: u64,
}

/// A program of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// What it is called.
    pub name: String,
    /// How it ended, if it did.
    pub ended: Option<String>,
}

/// Who owns an anycast address or prefix, as one host sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The address or prefix.
    pub prefix: String,
    /// The host, or if it is none of the lab the first digits of its id.
    pub owner: String,
}

/// Counts requests while somebody wants to know.
#[derive(Default)]
pub(super) struct Counting(Mutex<Option<Count>>);

struct Count {
    capture: Capture,
    classes: Vec<Class>,
    counts: BTreeMap<String, u64>,
    asked: Instant,
}

impl Counting {
    /// Requests by host since the first call.
    pub(super) fn counts(&self, lab: &Lab) -> Result<BTreeMap<String, u64>> {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = match &mut *count {
            Some(count) => count,
            none => none.insert(Count {
                capture: Capture::all(lab, None)?,
                classes: classes(lab),
                counts: BTreeMap::new(),
                asked: Instant::now(),
            }),
        };
        count.asked = Instant::now();
        for frame in count.capture.take() {
            let link = &count.capture.links()[frame.link];
            if is_request(&frame, link, &count.classes) {
                *count.counts.entry(link.host.clone()).or_default() += 1;
            }
        }
        Ok(count.counts.clone())
    }

    /// Stops to count if nobody asks any more.
    pub(super) fn rest(&self) {
        let mut count = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if count
            .as_ref()
            .is_some_and(|count| count.asked.elapsed() > IDLE)
        {
            *count = None;
        }
    }
}

/// What counts as anycast in a lab: the classes of all its hosts.
fn classes(lab: &Lab) -> Vec<Class> {
    let topology = lab.topology();
    let texts = (0..topology.nodes.len()).filter_map(|node| topology.hamp_config(node).ok()?);
    let configs = texts.filter_map(|text| Config::parse(&text, "hamp.toml").ok());
    let mut classes: Vec<_> = configs.map(|config| config.class()).collect();
    classes.dedup();
    classes
}

/// Whether a frame that comes to the host at the end of this link begins something with an anycast
/// address.
fn is_request(frame: &Frame, link: &Link, classes: &[Class]) -> bool {
    let to_it = frame.bytes.first().is_some_and(|first| first & 1 == 1)
        || frame.bytes.get(..6) == Some(&link.mac);
    if frame.from_host || !to_it {
        return false;
    }
    let Ok(packet) = SlicedPacket::from_ethernet(&frame.bytes) else {
        return false;
    };
    let to: IpAddr = match &packet.net {
        Some(NetSlice::Ipv4(ip)) => ip.header().destination_addr().into(),
        Some(NetSlice::Ipv6(ip)) => ip.header().destination_addr().into(),
        _ => return false,
    };
    let begins = match &packet.transport {
        Some(TransportSlice::Tcp(tcp)) => tcp.syn() && !tcp.ack(),
        Some(TransportSlice::Udp(_)) => true,
        _ => false,
    };
    begins && classes.iter().any(|class| class.contains(to))
}

/// Asks every host.
pub(super) fn snapshot(lab: &Lab, counts: &BTreeMap<String, u64>, up: Duration) -> Snapshot {
    let nodes = &lab.topology().nodes;
    let answers: Vec<Option<Option<Value>>> = std::thread::scope(|scope| {
        let asked = nodes.iter().map(|node| {
            let ask = || {
                let argv = ["hamp", "members", "--json"];
                let output = lab
                    .host(&node.name)
                    .run_for(&argv, ANSWER)
                    .ok()?
                    .ok()
                    .ok()?;
                serde_json::from_str(&output).ok()
            };
            node.hamp.as_ref().map(|_| scope.spawn(ask))
        });
        let asked: Vec<_> = asked.collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Option<Value>>| {
            thread.join().unwrap_or_default()
        };
        asked.into_iter().map(|thread| thread.map(join)).collect()
    });
    let names = names(
        answers
            .iter()
            .zip(nodes)
            .filter_map(|(answer, node)| Some((node.name.as_str(), answer.as_ref()?.as_ref()?))),
    );
    let hosts = nodes.iter().zip(&answers).map(|(node, answer)| {
        let said = answer.as_ref().and_then(Option::as_ref);
        HostLook {
            name: node.name.clone(),
            kind: node.kind.name().into(),
            programs: programs(node)
                .into_iter()
                .map(|name| Program {
                    ended: lab
                        .program(&node.name, &name, |process| process.exited())
                        .flatten()
                        .map(crate::process::ended),
                    name,
                })
                .filter(|program| program.name != HAMP || program.ended.is_some())
                .collect(),
            answers: answer.as_ref().map(Option::is_some),
            serving: said.map(serving).unwrap_or_default(),
            owners: said.map(|said| owners(said, &names)).unwrap_or_default(),
            requests: counts.get(&node.name).copied().unwrap_or_default(),
        }
    });
    Snapshot {
        up_ms: u64::try_from(up.as_millis()).unwrap_or(u64::MAX),
        hosts: hosts.collect(),
    }
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value[key].as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().into()
}

/// Hosts by their member ids: each knows its own.
fn names<'a>(answers: impl Iterator<Item = (&'a str, &'a Value)>) -> BTreeMap<String, String> {
    let mut names = BTreeMap::new();
    for (host, answer) in answers {
        for member in list(answer, "links").flat_map(|link| list(link, "members")) {
            if member["own"] == true {
                names.insert(text(&member["id"]), host.into());
            }
        }
    }
    names
}

/// What a host serves, by its own members.
fn serving(answer: &Value) -> Vec<String> {
    let members = list(answer, "links").flat_map(|link| list(link, "members"));
    let own = members.filter(|member| member["own"] == true);
    let mut all: Vec<_> = own
        .flat_map(|member| list(member, "serving"))
        .map(|record| text(&record["prefix"]))
        .collect();
    all.sort();
    all.dedup();
    all
}

fn owners(answer: &Value, names: &BTreeMap<String, String>) -> Vec<Owner> {
    let prefixes = list(answer, "links").flat_map(|link| list(link, "prefixes"));
    prefixes
        .map(|prefix| {
            let id = text(&prefix["owner"]);
            let short = || id.chars().take(8).collect();
            Owner {
                prefix: text(&prefix["prefix"]),
                owner: names.get(&id).cloned().unwrap_or_else(short),
            }
        })
        .collect()
}
