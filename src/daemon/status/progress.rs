//! What came of a command to serve or to leave, and how far that is.

use serde_json::{Value, json};

use super::ranks;
use crate::addr::{Prefix, shown};
use crate::daemon::run::Daemon;
use crate::node::{Link, LinkId};
use crate::wire::MemberId;

/// Entries of a list at most: with all that thousands of prefixes would have, hellos would wait.
const LISTED: usize = 1024;

/// `hamp.done/1`: a command was taken.
pub(in crate::daemon) fn done(daemon: &Daemon, command: &str, prefixes: &[Prefix]) -> Value {
    let listed: Vec<String> = prefixes.iter().take(LISTED).map(shown).collect();
    json!({
        "schema": "hamp.done/1",
        "command": command,
        "prefix": if let [one] = prefixes { shown(one) } else { "all".to_owned() },
        "prefixes": listed,
        "dead_ms": super::millis(daemon.node.config().timing.dead_time()),
    })
}

/// The same, where nothing of it was to be done.
pub(in crate::daemon) fn unchanged(unchanged: bool, mut done: Value) -> Value {
    if unchanged {
        done["unchanged"] = true.into();
        done["prefix"] = "all".into();
    }
    done
}

/// `hamp.progress/1`: what is still to happen, and who has a prefix now.
pub(in crate::daemon) fn progress(daemon: &Daemon, prefix: Option<Prefix>) -> Value {
    let prefix = prefix.map(|prefix| prefix.trunc());
    let wanted = |one: &Prefix| prefix.is_none_or(|prefix| prefix == *one);
    let coming = daemon.node.joined().map(|(joined, _)| joined);
    let coming = coming
        .filter(wanted)
        .flat_map(|joined| coming_on(daemon, joined));
    let going = daemon.node.links().flat_map(|(id, link)| {
        let records = link.member().records().prefixes().map(|(record, _)| record);
        let left = records
            .filter(wanted)
            .filter(|one| !daemon.node.has_joined(one));
        left.map(move |one| {
            entry(
                "leave",
                &one,
                Some(daemon.kernel.name(id)),
                "another member is taking over",
            )
        })
    });
    let pending: Vec<Value> = coming.chain(going).take(LISTED).collect();
    let owners: Vec<Value> = prefix
        .iter()
        .flat_map(|prefix| owners(daemon, *prefix))
        .collect();
    let kept = daemon.kept.iter().filter(|(kept, _)| wanted(kept));
    let kept = kept.map(|(kept, why)| json!({ "prefix": shown(kept), "why": why }));
    let kept: Vec<Value> = kept.take(LISTED).collect();
    json!({
        "schema": "hamp.progress/1",
        "drained": daemon.is_drained(),
        "pending": pending,
        "owners": owners,
        "kept": kept,
    })
}

fn entry(command: &str, prefix: &Prefix, link: Option<&str>, why: &str) -> Value {
    json!({ "command": command, "prefix": shown(prefix), "link": link, "why": why })
}

/// On which links a joined prefix is not served yet.
fn coming_on(daemon: &Daemon, prefix: Prefix) -> Vec<Value> {
    let up = || {
        daemon
            .node
            .links()
            .filter(|(_, link)| link.state().is_some())
    };
    if up().next().is_none() {
        let mut interfaces = daemon.kernel.absent();
        interfaces.extend(daemon.kernel.down());
        let why = format!("no link is up ({})", interfaces.join(", "));
        return vec![entry("join", &prefix, None, &why)];
    }
    let missing = up().filter(|(id, _)| !daemon.kernel.serves(*id, &prefix));
    missing
        .map(|(id, link)| {
            let why = match link.member().phase() {
                "listening" => "this host still listens",
                _ if link.member().records().get(&prefix).is_none() => {
                    "this host's certificate does not allow it"
                }
                _ => "its gate is still closed",
            };
            entry("join", &prefix, Some(daemon.kernel.name(id)), why)
        })
        .collect()
}

/// Who acts for the first address of a prefix on each link that is up.
fn owners(daemon: &Daemon, prefix: Prefix) -> Vec<Value> {
    let speaks = |link: &Link| {
        link.state().is_some_and(|state| match prefix {
            Prefix::V4(_) => state.ipv4.is_some(),
            Prefix::V6(_) => state.ipv6.is_some(),
        })
    };
    let up = daemon.node.links().filter(|(_, link)| speaks(link));
    up.map(|(id, link)| {
        let ranks = link.ranks(prefix.network());
        let owner = ranks.first();
        json!({
            "link": daemon.kernel.name(id),
            "id": owner.map(|owner| format!("{:#}", owner.id)),
            "name": owner.and_then(|owner| ranks::name(daemon, id, owner.id)),
            "own": owner.is_some_and(|owner| owner.own),
            "elsewhere": daemon.node.stands_in(id, prefix.network()),
        })
    })
    .collect()
}

impl Daemon {
    /// A member as people call it: by its host's name, if it states one, and its id.
    pub(in crate::daemon) fn called(&self, link: LinkId, id: MemberId) -> String {
        match ranks::name(self, link, id) {
            Some(name) => format!("{name} ({id})"),
            None => id.to_string(),
        }
    }
}
