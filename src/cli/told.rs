//! Sentences of commands: what came of one, what is still to happen, and where a trouble is.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ask::{cell, list};

/// Prefixes that are named in one sentence, at most.
const NAMED: usize = 5;

/// A join or a leave that is still to happen, and what it waits for.
pub(super) fn pending(one: &Value) -> String {
    let state = match one["command"] == "join" {
        true => "not served yet",
        false => "still served",
    };
    let on = one["link"].as_str();
    let on = on.map_or(String::new(), |link| format!(" on {link}"));
    format!(
        "{} {state}{on}: {}",
        cell(&one["prefix"]),
        cell(&one["why"])
    )
}

/// Where a trouble is: on a link, or else on the whole host.
pub(super) fn place(link: &Value) -> String {
    link.as_str().unwrap_or("this host").to_owned()
}

/// What is said of a command that was taken, and not waited for.
pub(super) fn started(done: &Value) -> String {
    if let Some(nothing) = nothing(done) {
        return nothing;
    }
    let doing = match done["command"].as_str() {
        Some("join") => "joining",
        Some("leave") => "leaving",
        Some("drain") => "draining",
        _ => "serving again",
    };
    format!("{doing} {}\n", what(done))
}

/// What is said of a command that was carried out.
pub(super) fn finished(done: &Value) -> String {
    if let Some(nothing) = nothing(done) {
        return nothing;
    }
    let what = what(done);
    match done["command"].as_str() {
        Some("join") => format!("{what} is served\n"),
        Some("undrain") => format!("{what}: served again\n"),
        Some("drain") => format!(
            "{what}: left, until hamp undrain, also after a restart{}\n",
            takers(&done["owners"])
        ),
        _ => format!("left {what}{}\n", takers(&done["owners"])),
    }
}

/// What is said of a command that changed nothing of what is served.
fn nothing(done: &Value) -> Option<String> {
    let none = list(&done["prefixes"]).next().is_none();
    let text = match (done["command"].as_str()?, done["unchanged"] == true) {
        ("drain", true) => "drained already: hamp undrain ends it",
        ("undrain", true) => "not drained: nothing to do",
        ("drain", false) if none => {
            "drained, until hamp undrain, also after a restart; it served nothing"
        }
        ("undrain", false) if none => "no longer drained; there is nothing to serve",
        ("leave", false) if none => "nothing was served: nothing to leave",
        _ => return None,
    };
    Some(format!("{text}\n"))
}

fn what(done: &Value) -> String {
    match done["prefix"].as_str() {
        Some("all") => format!("{} prefixes", list(&done["prefixes"]).count()),
        prefix => prefix.unwrap_or_default().to_owned(),
    }
}

/// Who has now what was left, link by link. Prefixes are only named where not all are with the same.
fn takers(owners: &Value) -> String {
    let mut links: BTreeMap<&str, BTreeMap<Who, Vec<String>>> = BTreeMap::new();
    for owner in list(owners) {
        let who = match owner["name"].as_str().or(owner["id"].as_str()) {
            Some(name) => Who::Member(name.to_owned()),
            None if owner["elsewhere"] == true => Who::Router,
            None => Who::Nobody,
        };
        let link = links.entry(owner["link"].as_str().unwrap_or("-"));
        let prefixes = link.or_default().entry(who).or_default();
        prefixes.extend(owner["prefix"].as_str().map(str::to_owned));
    }
    let mut text = String::new();
    for (link, by) in &links {
        for (who, prefixes) in by {
            let what = match prefixes.as_slice() {
                [] | [_] if by.len() == 1 => "it".to_owned(),
                _ if by.len() == 1 => "them".to_owned(),
                some => named(some),
            };
            text += &match who {
                Who::Member(name) => format!("; {name} has {what} on {link}"),
                Who::Router if what == "it" => {
                    format!("; on {link} this host answers for members elsewhere")
                }
                Who::Router => {
                    format!("; on {link} this host answers for members of {what} elsewhere")
                }
                Who::Nobody => format!("; nobody serves {what} on {link}"),
            };
        }
    }
    text
}

/// Who acts for what was left.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Member(String),
    Router,
    Nobody,
}

fn named(prefixes: &[String]) -> String {
    let text = prefixes[..prefixes.len().min(NAMED)].join(", ");
    match prefixes.len().saturating_sub(NAMED) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn who_took_over_is_told_with_no_more_words_than_it_needs() {
        let one =
            |prefix: &str, name: Value| json!({ "link": "eth0", "prefix": prefix, "name": name });
        let both = json!([one("A", json!("two")), one("B", json!("two"))]);
        assert_eq!(takers(&both), "; two has them on eth0");
        let parted = json!([one("A", json!("two")), one("B", Value::Null)]);
        assert_eq!(
            takers(&parted),
            "; two has A on eth0; nobody serves B on eth0"
        );
        assert_eq!(
            takers(&json!([one("A", Value::Null)])),
            "; nobody serves it on eth0"
        );
        assert_eq!(takers(&json!([])), "");
    }

    #[test]
    fn a_command_that_changes_nothing_says_so() {
        let done = |command: &str, unchanged: bool| {
            finished(
                &json!({ "command": command, "prefix": "all", "prefixes": [], "unchanged": unchanged }),
            )
        };
        assert!(done("drain", true).starts_with("drained already"));
        assert!(done("drain", false).ends_with("it served nothing\n"));
        assert_eq!(done("undrain", true), "not drained: nothing to do\n");
        assert!(done("undrain", false).starts_with("no longer drained"));
        assert!(done("leave", false).starts_with("nothing was served"));
    }
}
