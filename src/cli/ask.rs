//! The daemon's answers as people read them.

use serde_json::Value;

use super::table::table;

/// A field as it is shown: `-` where there is none.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The first eight digits tell members apart.
fn short(value: &Value) -> String {
    cell(value).chars().take(8).collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn words(value: &Value) -> String {
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

fn seconds(millis: &Value) -> String {
    millis.as_u64().map_or_else(
        || "-".to_owned(),
        |ms| format!("{}.{} s", ms / 1000, ms % 1000 / 100),
    )
}

pub(super) fn status(status: &Value) -> String {
    let mut text = format!(
        "{}: {}, up {}, process {}\nserving  {}\nclass    {}\nhellos   every {} ms, dead after {} ms\n",
        cell(&status["name"]),
        words(&status["roles"]),
        seconds(&status["uptime_ms"]),
        status["pid"],
        prefixes(&status["serving"]),
        words(&status["class"]),
        status["hello_ms"],
        status["dead_ms"],
    );
    for (what, key) in [("absent", "absent_interfaces"), ("down", "down_interfaces")] {
        if list(&status[key]).next().is_some() {
            text += &format!("{what:8} {}\n", words(&status[key]));
        }
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

/// A table after an empty line; nothing where it has no rows.
fn section(table: String) -> String {
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
                .map(|rank| short(&rank["id"]))
                .collect();
            rows.push([
                cell(&link["link"]),
                cell(&prefix["prefix"]),
                short(&prefix["owner"]),
                ranks.join(" "),
            ]);
        }
    }
    text += &section(table(["LINK", "PREFIX", "OWNER", "RANKS"], &rows));
    if text.is_empty() {
        "no members\n".to_owned()
    } else {
        text
    }
}

fn member_table(links: &Value) -> String {
    let mut rows = Vec::new();
    for link in list(links) {
        for member in list(&link["members"]) {
            let own = member["own"] == true;
            rows.push([
                cell(&link["link"]),
                short(&member["id"]),
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
                prefixes(&member["serving"]),
            ]);
        }
    }
    table(
        ["LINK", "MEMBER", "MAC", "IPV4", "IPV6", "HEARD", "SERVES"],
        &rows,
    )
}

fn neighbour_table<'a>(neighbours: impl Iterator<Item = &'a Value>) -> String {
    let rows: Vec<[String; 6]> = neighbours
        .map(|entry| {
            [
                cell(&entry["link"]),
                cell(&entry["address"]),
                cell(&entry["mac"]),
                short(&entry["member"]),
                seconds(&entry["age_ms"]),
                cell(&entry["kernel_state"]),
            ]
        })
        .collect();
    table(
        ["LINK", "NEIGHBOUR", "MAC", "MEMBER", "AGE", "KERNEL"],
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

pub(super) fn done(answer: &Value) -> String {
    let doing = if answer["command"] == "join" {
        "joining"
    } else {
        "leaving"
    };
    format!("{doing} {}\n", cell(&answer["prefix"]))
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
