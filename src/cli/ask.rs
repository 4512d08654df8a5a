//! The daemon's answers as people read them.

use serde_json::Value;

use super::table::table;
use super::told;

/// A field as it is shown: `-` where there is none.
pub(super) fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The first eight digits tell members apart.
pub(super) fn short(value: &Value) -> String {
    cell(value).chars().take(8).collect()
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(super) fn words(value: &Value) -> String {
    let words: Vec<String> = list(value).map(cell).collect();
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(" ")
    }
}

/// Prefixes of records, draining ones marked.
fn prefixes(records: &Value) -> String {
    let prefixes: Vec<String> = list(records)
        .map(|record| {
            let draining = record["draining"].as_bool().unwrap_or(false);
            format!(
                "{}{}",
                cell(&record["prefix"]),
                if draining { " (leaving)" } else { "" }
            )
        })
        .collect();
    if prefixes.is_empty() {
        "-".to_owned()
    } else {
        prefixes.join(" ")
    }
}

pub(super) fn seconds(millis: &Value) -> String {
    millis.as_u64().map_or_else(
        || "-".to_owned(),
        |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    )
}

pub(super) fn status(status: &Value) -> String {
    let mut text = format!(
        "{}: {}, up {}, process {}\nserving  {}{}\nclass    {}\nhellos   every {} ms, dead after {} ms\n",
        cell(&status["name"]),
        words(&status["roles"]),
        seconds(&status["uptime_ms"]),
        status["pid"],
        prefixes(&status["serving"]),
        if status["drained"] == true {
            " (drained: hamp undrain)"
        } else {
            ""
        },
        words(&status["class"]),
        status["hello_ms"],
        status["dead_ms"],
    );
    let router = &status["router"];
    if !router.is_null() {
        text += &format!(
            "router   {} memberships, {} routes, {} in the kernel, {} stale, {} refused{}\n",
            router["memberships"],
            router["routes"],
            router["kernel_routes"],
            router["stale"],
            router["refused"],
            if router["recovered"] == true {
                ""
            } else {
                "; recovering"
            },
        );
    }
    for (family, on) in router["forwarding"].as_object().into_iter().flatten() {
        if on == false {
            text += &format!("router   its kernel forwards no {family}\n");
        }
    }
    let (mode, own) = (cell(&status["trust"]["mode"]), &status["trust"]["own"]);
    text += &match own["ends_in_ms"].as_u64() {
        _ if own["revoked"] == true => format!("trust    {mode}; the certificate IS REVOKED\n"),
        Some(0) => format!("trust    {mode}; the certificate HAS ENDED\n"),
        Some(_) => format!(
            "trust    {mode}; certificate ends in {}\n",
            span(&own["ends_in_ms"])
        ),
        None => format!("trust    {mode}\n"),
    };
    for (what, key) in [("absent", "absent_interfaces"), ("down", "down_interfaces")] {
        if list(&status[key]).next().is_some() {
            text += &format!("{what:8} {}\n", words(&status[key]));
        }
    }
    if list(&status["left"]).next().is_some() {
        let left = words(&status["left"]);
        text += &format!("left     {left} (configured: hamp join)\n");
    }
    for one in list(&status["pending"]) {
        text += &format!("pending  {}\n", told::pending(one));
    }
    for trouble in list(&status["troubles"]) {
        text += &format!(
            "trouble  {}: {}\n",
            told::place(&trouble["link"]),
            cell(&trouble["text"])
        );
    }
    let rows: Vec<[String; 6]> = list(&status["links"])
        .map(|link| {
            [
                cell(&link["link"]),
                if link["up"] == true { "up" } else { "down" }.to_owned(),
                short(&link["id"]),
                cell(&link["phase"]),
                cell(&link["ipv4"]),
                cell(&link["ipv6"]),
            ]
        })
        .collect();
    text += &section(table(
        ["LINK", "STATE", "ID", "PHASE", "IPV4", "IPV6"],
        &rows,
    ));
    text += &section(router_table(&status["links"]));
    text += &section(member_table(&status["links"]));
    let links = list(&status["links"]);
    text += &section(neighbour_table(
        links.flat_map(|link| list(&link["neighbours"])),
    ));
    let mut rows: Vec<[String; 3]> = Vec::new();
    for (kind, counters) in status["counters"].as_object().into_iter().flatten() {
        for (name, count) in counters.as_object().into_iter().flatten() {
            match count.as_object() {
                None => rows.push([kind.clone(), name.clone(), cell(count)]),
                Some(table) => rows.extend(
                    table
                        .iter()
                        .filter(|(_, count)| **count != 0)
                        .map(|(counter, count)| [name.clone(), counter.clone(), cell(count)]),
                ),
            }
        }
    }
    text += &section(table(["COUNTER", "WHAT", "PACKETS"], &rows));
    text
}

/// Who asks and who forwards, where this host is a router.
fn router_table(links: &Value) -> String {
    let who = |router: &Value| match router["own"].as_bool() {
        Some(true) => "this host".to_owned(),
        Some(false) => short(&router["id"]),
        None => "-".to_owned(),
    };
    let routed = list(links).filter(|link| !link["routing"].is_null());
    let rows: Vec<[String; 4]> = routed
        .map(|link| {
            let routing = &link["routing"];
            [
                cell(&link["link"]),
                who(&routing["querier"]),
                who(&routing["forwarder_ipv4"]),
                who(&routing["forwarder_ipv6"]),
            ]
        })
        .collect();
    table(
        ["LINK", "QUERIER", "FORWARDER IPV4", "FORWARDER IPV6"],
        &rows,
    )
}

/// A table after an empty line; nothing where it has no rows.
pub(super) fn section(table: String) -> String {
    if table.is_empty() {
        table
    } else {
        format!("\n{table}")
    }
}

pub(super) fn members(answer: &Value) -> String {
    let mut text = member_table(&answer["links"]);
    let mut rows = Vec::new();
    for link in list(&answer["links"]) {
        for prefix in list(&link["prefixes"]) {
            let ranks: Vec<String> = list(&prefix["ranks"])
                .map(|rank| {
                    let draining = if rank["draining"] == true {
                        " (leaving)"
                    } else {
                        ""
                    };
                    let who = called(&rank["name"], &rank["id"]);
                    format!("{who}:{}{draining}", rank["preference"])
                })
                .collect();
            rows.push([
                cell(&link["link"]),
                cell(&prefix["prefix"]),
                called(&prefix["owner_name"], &prefix["owner"]),
                ranks.join(" "),
            ]);
        }
    }
    text += &section(table(
        ["LINK", "PREFIX", "OWNER", "RANKS:PREFERENCE"],
        &rows,
    ));
    let mut rows = Vec::new();
    for prefix in list(&answer["table"]) {
        for member in list(&prefix["members"]) {
            rows.push([
                cell(&prefix["prefix"]),
                short(&member["id"]),
                cell(&member["link"]),
                cell(&member["preference"]),
                cell(&member["scope"]),
            ]);
        }
    }
    let header = ["ROUTED", "MEMBER", "LINK", "PREFERENCE", "SCOPE"];
    text += &section(table(header, &rows));
    if text.is_empty() {
        "no members\n".to_owned()
    } else {
        text
    }
}

/// The preferences of records, each once.
fn preferences(records: &Value) -> String {
    let all = list(records).filter_map(|record| record["preference"].as_u64());
    let different: std::collections::BTreeSet<u64> = all.collect();
    let words: Vec<String> = different.iter().rev().map(u64::to_string).collect();
    if words.is_empty() {
        "-".to_owned()
    } else {
        words.join(" ")
    }
}

/// A member as it is told from others at a glance: its name, or else its id.
fn called(name: &Value, id: &Value) -> String {
    name.as_str().map_or_else(|| short(id), str::to_owned)
}

fn member_table(links: &Value) -> String {
    let mut rows = Vec::new();
    for link in list(links) {
        for member in list(&link["members"]) {
            let own = member["own"] == true;
            rows.push([
                cell(&link["link"]),
                short(&member["id"]),
                cell(&member["name"]),
                if own {
                    "this host".to_owned()
                } else {
                    cell(&member["mac"])
                },
                cell(&member["ipv4"]),
                cell(&member["ipv6"]),
                if own {
                    "-".to_owned()
                } else {
                    seconds(&member["heard_ms"])
                },
                preferences(&member["serving"]),
                prefixes(&member["serving"]),
            ]);
        }
    }
    table(
        [
            "LINK",
            "MEMBER",
            "NAME",
            "MAC",
            "IPV4",
            "IPV6",
            "HEARD",
            "PREFERENCE",
            "SERVES",
        ],
        &rows,
    )
}

fn neighbour_table<'a>(neighbours: impl Iterator<Item = &'a Value>) -> String {
    let rows: Vec<[String; 9]> = neighbours
        .map(|entry| {
            [
                cell(&entry["link"]),
                cell(&entry["address"]),
                cell(&entry["mac"]),
                short(&entry["member"]),
                cell(&entry["name"]),
                cell(&entry["preference"]),
                seconds(&entry["age_ms"]),
                cell(&entry["kernel_state"]),
                entry["why"].as_str().unwrap_or_default().to_owned(),
            ]
        })
        .collect();
    table(
        [
            "LINK",
            "NEIGHBOUR",
            "MAC",
            "MEMBER",
            "NAME",
            "PREFERENCE",
            "AGE",
            "KERNEL",
            "NOT THE OWNER",
        ],
        &rows,
    )
}

pub(super) fn neighbours(answer: &Value) -> String {
    let text = neighbour_table(list(&answer["neighbours"]));
    if text.is_empty() {
        "no neighbour entries\n".to_owned()
    } else {
        text
    }
}

pub(super) fn connections(answer: &Value) -> String {
    let rows: Vec<[String; 3]> = list(&answer["connections"])
        .map(|one| {
            [
                cell(&one["local"]),
                cell(&one["anycast"]),
                cell(&one["member"]),
            ]
        })
        .collect();
    let text = table(["LOCAL", "ANYCAST", "MEMBER"], &rows);
    if text.is_empty() {
        "no connections\n".to_owned()
    } else {
        text
    }
}

/// Milliseconds in the unit that people would use.
pub(super) fn span(millis: &Value) -> String {
    let Some(millis) = millis.as_u64() else {
        return "-".to_owned();
    };
    let (days, hours) = (millis / 86_400_000, millis / 3_600_000);
    match (days, hours) {
        (2.., _) => format!("{days} days"),
        (_, 2..) => format!("{hours} hours"),
        _ => format!("{} s", millis / 1000),
    }
}

pub(super) fn trust(trust: &Value) -> String {
    let mode = cell(&trust["mode"]);
    let what = match mode.as_str() {
        "off" => "nothing is checked",
        "count" => "what nobody vouches for is counted, and used",
        _ => "what nobody vouches for is refused",
    };
    let mut text = format!("mode       {mode}: {what}\n");
    let own = &trust["own"];
    text += &if own.is_null() {
        "this host  has no key: nobody who enforces hears it\n".to_owned()
    } else {
        let end = match own["ends_in_ms"].as_u64() {
            _ if own["revoked"] == true => "IS REVOKED".to_owned(),
            Some(0) => "has ended".to_owned(),
            _ => format!("ends in {}", span(&own["ends_in_ms"])),
        };
        // A router alone serves nothing: prefixes and their number would mean nothing.
        let may = if list(&own["prefixes"]).next().is_some() {
            let prefixes = words(&own["prefixes"]);
            let at = Some(words(&own["hosts"])).filter(|hosts| !hosts.is_empty());
            let at = at.map_or(String::new(), |hosts| format!(" at {hosts}"));
            format!(" of {prefixes}, {} addresses{at}", own["address_limit"])
        } else {
            String::new()
        };
        format!(
            "this host  {}: {}{may}; certificate {} of {} {end}\n",
            short(&own["id"]),
            words(&own["roles"]),
            own["serial"],
            short(&own["authority"]),
        )
    };
    for authority in list(&trust["authorities"]) {
        text += &format!("authority  {}: ", short(&authority["id"]));
        text += &match authority["list_number"].as_u64() {
            Some(number) => format!("list {number} revokes {}\n", authority["revoked"]),
            None => "no revocation list\n".to_owned(),
        };
    }
    let members: Vec<[String; 5]> = list(&trust["members"])
        .map(|member| {
            let own = list(&member["addresses"]).map(|own| match own["state"].as_str() {
                Some("used") => cell(&own["address"]),
                _ => format!("{} ({})", cell(&own["address"]), cell(&own["state"])),
            });
            let verified = if member["verified"] == true {
                "yes"
            } else {
                "no"
            };
            [
                cell(&member["link"]),
                short(&member["id"]),
                verified.to_owned(),
                span(&member["ends_in_ms"]),
                own.collect::<Vec<_>>().join(", "),
            ]
        })
        .collect();
    let names = ["LINK", "MEMBER", "VERIFIED", "ENDS IN", "ITS ADDRESSES"];
    text += &section(table(names, &members));
    let mut counts: Vec<[String; 3]> = Vec::new();
    for what in ["doubted", "refused"] {
        for (reason, count) in trust[what].as_object().into_iter().flatten() {
            counts.push([what.to_owned(), reason.clone(), cell(count)]);
        }
    }
    text += &section(table(["WHAT", "REASON", "MESSAGES"], &counts));
    text
}

pub(super) fn reloaded(answer: &Value) -> String {
    let mut text = trust(&answer["trust"]);
    if list(&answer["needs_restart"]).next().is_some() {
        text += &format!(
            "\nchanged in the file, but only with a restart: {}\n",
            words(&answer["needs_restart"])
        );
    }
    text
}

pub(super) fn routes(answer: &Value) -> String {
    let mut rows = Vec::new();
    for route in list(&answer["routes"]) {
        let hops: Vec<String> = list(&route["hops"])
            .map(|hop| format!("{}%{}", cell(&hop["via"]), cell(&hop["link"])))
            .collect();
        rows.push([
            cell(&route["prefix"]),
            cell(&route["scope"]),
            cell(&route["state"]),
            hops.join(" "),
        ]);
    }
    let text = table(["PREFIX", "SCOPE", "STATE", "NEXT HOPS"], &rows);
    if text.is_empty() {
        return "no routes\n".to_owned();
    }
    let refusals: Vec<[String; 2]> = list(&answer["refusals"])
        .map(|one| [cell(&one["what"]), cell(&one["errno"])])
        .collect();
    text + &section(table(["REFUSED", "ERRNO"], &refusals))
}

pub(super) fn cleaned(answer: &Value) -> String {
    format!(
        "removed: tables {}; addresses {}; {} routes, {} neighbour entries; put back: {}\n",
        words(&answer["tables"]),
        words(&answer["addresses"]),
        answer["routes"],
        answer["neighbours"],
        words(&answer["settings"]),
    )
}
