//! `hamp why`: one page for one address, which link, way, entry and member, and why.

use serde_json::Value;

use super::ask::{cell, list, seconds, section, short};
use super::table::table;

pub(super) fn why(why: &Value) -> String {
    let address = cell(&why["address"]);
    let mut text = format!("{address}: ");
    let others = list(&why["links"])
        .flat_map(|link| list(&link["ranks"]).chain(list(&link["unranked"])))
        .filter(|one| one["own"] != true);
    text += match why["served_here"] == true {
        true if others.count() == 0 => "served by this host, and nobody else that it knows\n",
        true => "served by this host, and by those below\n",
        false if why["drained"] == true => {
            "not served by this host, which is drained (hamp undrain)\n"
        }
        false => "not served by this host\n",
    };
    text += &match (why["leaves_by"].as_str(), why["source"].as_str()) {
        _ if why["stays"] == true => "way      it stays on this host\n".to_owned(),
        (Some(link), Some(source)) => format!("way      by {link}, from {source}\n"),
        (None, Some(source)) => format!("way      from {source}, by no link of hamp's\n"),
        _ => format!("way      none: {}\n", cell(&why["no_way"])),
    };
    if let Some(route) = why["route"].as_str() {
        text += &format!("router   its table has a route for {route}\n");
    }
    for link in list(&why["links"]) {
        text += &format!("\n{}", cell(&link["link"]));
        if link["up"] == false {
            text += ": down\n";
            continue;
        }
        let entry = &link["entry"];
        text += &if entry.is_null() {
            match why["client"] == true {
                true => ": no neighbour entry: nothing here asked for it lately\n".to_owned(),
                false => {
                    ": this host is no client ([client]): its kernel resolves the address itself\n"
                        .to_owned()
                }
            }
        } else {
            let whose = match (entry["name"].as_str(), entry["member"].as_str()) {
                (Some(name), _) => format!("{name} ({})", short(&entry["member"])),
                (None, Some(_)) => short(&entry["member"]),
                (None, None) => "somebody whom hamp has not verified".to_owned(),
            };
            format!(
                ": leads to {whose} at {}, for {} now; the kernel's entry is {}\n",
                cell(&entry["mac"]),
                seconds(&entry["age_ms"]),
                cell(&entry["kernel_state"]),
            )
        };
        if let Some(why) = entry["why"].as_str() {
            text += &format!("  not to rank 1: {why}\n");
        }
        let ranked = list(&link["ranks"]).enumerate();
        let mut rows: Vec<[String; 5]> = ranked
            .map(|(at, one)| row((at + 1).to_string(), one))
            .collect();
        rows.extend(list(&link["unranked"]).map(|one| row("-".to_owned(), one)));
        text += &match rows.is_empty() {
            true => "  no member on this link serves it\n".to_owned(),
            false => section(table(
                ["RANK", "MEMBER", "NAME", "PREFERENCE", "WHY"],
                &rows,
            )),
        };
    }
    text
}

fn row(rank: String, one: &Value) -> [String; 5] {
    let member = match one["own"] == true {
        true => "this host".to_owned(),
        false => short(&one["id"]),
    };
    [
        rank,
        member,
        cell(&one["name"]),
        cell(&one["preference"]),
        cell(&one["why"]),
    ]
}
