//! `hamp status --check`: a line and an exit code for monitoring and scripts.

use serde_json::Value;

use super::Report;
use super::ask::{cell, list, span, status, words};
use super::told::{pending, place};
use crate::daemon::control::{Request, ask, is_absence};
use crate::daemon::{Failure, Printable, exit};

/// A certificate that ends so soon is worth a warning, in milliseconds.
const ENDS_SOON: u64 = 14 * 24 * 60 * 60 * 1000;
/// Things that are wrong, and are told, at most.
const NAMED: usize = 5;

#[derive(Debug, clap::Args)]
pub(super) struct Status {
    /// Say in one line whether all is well: exit code 0 if so, 1 if something is wrong, 69 without a
    /// daemon, 77 without the privilege to ask it
    #[arg(long, conflicts_with = "json")]
    check: bool,
    #[command(flatten)]
    report: Report,
}

impl Status {
    /// What to print, and the exit code.
    pub(super) fn run(&self) -> Result<(String, u8), Failure> {
        if !self.check {
            let told = self.report.ask(&Request::Status, status)?;
            return Ok((told, exit::OK));
        }
        Ok(match ask(self.report.control.name(), &Request::Status) {
            Ok(status) => judge(&status),
            Err(failure) => {
                // It is what is to be checked that is not there.
                let code = match is_absence(&failure) {
                    true => exit::MISSING,
                    false => failure.code,
                };
                (line("UNKNOWN", &failure.message), code)
            }
        })
    }
}

fn line(state: &str, text: &str) -> String {
    let text = Printable(text).to_string().replace(['\n', '\t', '|'], " ");
    format!("HAMP {state}: {text}\n")
}

fn judge(status: &Value) -> (String, u8) {
    let mut wrong = wrong(status);
    let count = |key: &str| list(&status[key]).count();
    let members = list(&status["links"]).flat_map(|link| list(&link["members"]));
    let others = members.filter(|member| member["own"] == false).count();
    if wrong.is_empty() {
        let text = format!(
            "{} on {}, serves {}, knows {others} other members",
            words(&status["roles"]),
            words(
                &list(&status["links"])
                    .map(|link| link["link"].clone())
                    .collect()
            ),
            count("serving"),
        );
        return (line("OK", &text), exit::OK);
    }
    if wrong.len() > NAMED {
        let more = wrong.len() - NAMED;
        wrong.truncate(NAMED);
        wrong.push(format!("and {more} more"));
    }
    (line("WARNING", &wrong.join("; ")), exit::FAILED)
}

/// All that is not as it was meant to be.
fn wrong(status: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    if status["drained"] == true {
        wrong.push("it is drained and serves nothing (hamp undrain)".to_owned());
    }
    for (key, what) in [
        ("absent_interfaces", "does not exist"),
        ("down_interfaces", "is down or has no address"),
    ] {
        let links = list(&status[key]).map(|link| format!("{} {what}", cell(link)));
        wrong.extend(links);
    }
    wrong.extend(list(&status["left"]).map(|one| {
        let prefix = cell(one);
        format!("{prefix} is configured and was left (hamp join {prefix})")
    }));
    // Where no link is up, it is the links that are wrong.
    let coming = list(&status["pending"]).filter(|one| !one["link"].is_null());
    wrong.extend(coming.map(pending));
    let troubles = list(&status["troubles"]);
    wrong.extend(troubles.map(|one| format!("{}: {}", place(&one["link"]), cell(&one["text"]))));
    let router = &status["router"];
    if router["refused"].as_u64() > Some(0) {
        wrong.push(format!("the kernel refuses {} routes", router["refused"]));
    }
    for (family, on) in router["forwarding"].as_object().into_iter().flatten() {
        if on == false {
            wrong.push(format!("this router's kernel forwards no {family}"));
        }
    }
    let links = list(&status["links"]);
    let entries = links.flat_map(|link| list(&link["neighbours"]));
    let lost = entries.filter(|one| one["verified"] == true && one["kernel_state"].is_null());
    wrong.extend(lost.map(|one| format!("the kernel has no entry for {}", cell(&one["address"]))));
    let own = &status["trust"]["own"];
    match own["ends_in_ms"].as_u64() {
        _ if own["revoked"] == true => wrong.push("the certificate is revoked".to_owned()),
        Some(0) => wrong.push("the certificate has ended".to_owned()),
        Some(left) if left < ENDS_SOON => {
            wrong.push(format!(
                "the certificate ends in {}",
                span(&own["ends_in_ms"])
            ));
        }
        _ => {}
    }
    wrong
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_that_is_wrong_is_one_line() {
        let good = json!({ "roles": ["member"], "links": [{ "link": "eth0" }], "serving": [1] });
        let (told, code) = judge(&good);
        assert_eq!(code, 0);
        assert_eq!(
            told,
            "HAMP OK: member on eth0, serves 1, knows 0 other members\n"
        );
        let pending = json!([{ "command": "join", "prefix": "A", "link": "eth0", "why": "w" }]);
        for (key, value) in [
            ("drained", json!(true)),
            ("left", json!(["198.18.0.1"])),
            ("absent_interfaces", json!(["eth1"])),
            ("down_interfaces", json!(["eth1"])),
            ("pending", pending),
            (
                "troubles",
                json!([{ "link": "eth0", "text": "evil\n|\u{1b}[2J" }]),
            ),
            ("router", json!({ "refused": 3 })),
            ("router", json!({ "forwarding": { "ipv4": false } })),
            ("trust", json!({ "own": { "ends_in_ms": 3_600_000 } })),
            ("trust", json!({ "own": { "ends_in_ms": 0 } })),
            (
                "trust",
                json!({ "own": { "ends_in_ms": 1_u64 << 40, "revoked": true } }),
            ),
        ] {
            let mut status = good.clone();
            status[key] = value;
            let (told, code) = judge(&status);
            assert_eq!(code, 1, "{key}");
            assert!(told.starts_with("HAMP WARNING: "), "{told}");
            assert_eq!(told.lines().count(), 1, "{told}");
            assert!(!told.trim_end().contains(['|', '\u{1b}']), "{told}");
        }
    }
}
