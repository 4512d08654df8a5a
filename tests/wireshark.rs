//! The Wireshark dissector beside `hamp decode`: two readers of the same specification that share no
//! line, on golden packets, on damaged ones, and on what daemons say in a lab.

#[path = "support/capture.rs"]
mod capture;
#[path = "wireshark/compare.rs"]
mod compare;
#[path = "netns/daemon.rs"]
mod daemon;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use compare::{dissected, same};
use daemon::schema;
use hamp::wire::frame::{self, Frame};
use serde_json::Value;
use support::{Random, golden};
use testbed::capture::Capture;
use testbed::{Lab, Result, Topology, skippable, wait};

testbed::before_main!();

/// Longer than any wait here takes on a busy machine.
const LIMIT: Duration = Duration::from_secs(20);

/// A file that is gone at the end of the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str) -> Self {
        let file = format!("hamp-wireshark-{}-{name}.pcapng", std::process::id());
        Self(std::env::temp_dir().join(file))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A reason to skip, where there is no tshark.
fn need_tshark() -> Result<()> {
    match Command::new("tshark").arg("--version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(testbed::skip("no tshark: apt-get install -y tshark")),
    }
}

/// What `hamp decode --json` says of a capture.
fn decoded(file: &Path) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_hamp"))
        .args(["decode", "--json"])
        .arg(file)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let documents = text.lines().map(serde_json::from_str);
    documents.collect::<Result<_, _>>().unwrap()
}

/// Asserts that both say the same of each message of a capture; how many there are.
fn both_agree(file: &Path) -> usize {
    let (ours, theirs) = (decoded(file), dissected(file));
    for document in &ours {
        schema::check(document).unwrap_or_else(|error| panic!("{error}: {document:#}"));
    }
    assert_eq!(ours.len(), theirs.len(), "messages");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!(ours["frame"], theirs["frame"]);
        same(ours, theirs);
    }
    ours.len()
}

#[test]
fn golden_messages_are_read_alike() -> Result<()> {
    skippable(|| {
        need_tshark()?;
        let frames: Vec<_> = golden::all().into_iter().map(|(_, frame)| frame).collect();
        let file = Temporary::new("golden");
        std::fs::write(&file.0, capture::pcapng(&frames))?;
        let messages = golden::all()
            .iter()
            .filter(|(name, _)| !name.starts_with("linux-"))
            .count();
        assert_eq!(both_agree(&file.0), messages);
        let signed = golden::all();
        let signed = signed.iter().filter(|(name, _)| {
            ["report-signed", "anchor-signed", "query-signed"].contains(&name.as_str())
        });
        for (time, at) in [("before", "2026-11-19"), ("after", "2027-11-20")] {
            let filter = format!("hamp.certificate.not_{time} == \"{at} 12:00:00\"");
            let valid = compare::frames(&file.0, &filter);
            assert_eq!(valid.lines().count(), signed.clone().count(), "{filter}");
        }
        assert_eq!(compare::frames(&file.0, "hamp.certificate.expired"), "");
        Ok(())
    })
}

#[test]
fn damaged_messages_are_told_from_good_ones_alike() -> Result<()> {
    skippable(|| {
        need_tshark()?;
        let mut random = Random::new(0x1546_2026);
        let mut frames = Vec::new();
        for (_, frame) in golden::all() {
            let Ok(Frame::Message {
                mac,
                source,
                payload,
            }) = Frame::parse(&frame)
            else {
                continue;
            };
            // An empty datagram is not handed to a dissector.
            for length in (1..payload.len()).step_by(5) {
                let mut cut = payload[..length].to_vec();
                frames.push(frame::message(mac, source, &cut));
                // The same with a length field that is right, which lets the decoders go on.
                if let Some(stated) = cut.get_mut(2..4) {
                    stated.copy_from_slice(&u16::try_from(length)?.to_be_bytes());
                    frames.push(frame::message(mac, source, &cut));
                }
            }
            for _ in 0..30 {
                let damaged = random.damage(payload);
                if !damaged.is_empty() {
                    frames.push(frame::message(mac, source, &damaged));
                }
            }
        }
        let file = Temporary::new("damaged");
        std::fs::write(&file.0, capture::pcapng(&frames))?;
        assert_eq!(both_agree(&file.0), frames.len());
        Ok(())
    })
}

#[test]
fn what_a_receiver_would_not_use_is_marked() -> Result<()> {
    skippable(|| {
        need_tshark()?;
        let mut routed = golden::read("hello-ipv6");
        routed[21] = 254;
        let mut foreign = golden::read("report-ipv4");
        foreign[11] ^= 0xff;
        let (whole, cut) = (golden::read("report-ipv4"), golden::read("report-ipv4"));
        let file = Temporary::new("marked");
        let frames = [
            routed,
            foreign,
            golden::read("unknown-type"),
            golden::read("unknown-authentication"),
            golden::read("report-later-version"),
            whole,
        ];
        std::fs::write(&file.0, capture::pcapng(&frames))?;
        for (mark, marked) in [
            ("hamp.hop_limit", "1\n"),
            ("hamp.source", "2\n"),
            ("hamp.unknown", "3\n4\n"),
            ("hamp.later", "5\n"),
            ("hamp.malformed", ""),
        ] {
            assert_eq!(compare::frames(&file.0, mark), marked, "{mark}");
        }
        // What a capture cuts off is no fault of the sender.
        for length in [43, 44, 46, 62, 66, 100, 130, 152, 160, cut.len() - 1] {
            std::fs::write(&file.0, capture::cut(&cut, length))?;
            assert_eq!(compare::frames(&file.0, "hamp.cut"), "1\n", "{length}");
            assert_eq!(compare::frames(&file.0, "hamp.malformed"), "", "{length}");
        }
        Ok(())
    })
}

#[test]
fn the_documented_filters_are_filters() -> Result<()> {
    skippable(|| {
        need_tshark()?;
        let text = std::fs::read_to_string(golden::root().join("docs/wireshark.md"))?;
        let rows = text.lines().filter(|line| line.starts_with('|'));
        let code = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
        let filters: Vec<String> = code
            .filter(|code| code.starts_with("hamp"))
            .map(|code| format!("({code})"))
            .collect();
        assert!(filters.len() > 20, "{filters:?}");
        let file = Temporary::new("documented");
        std::fs::write(&file.0, capture::pcapng(&[golden::read("hello-ipv4")]))?;
        // tshark fails for what is no filter, or names a field that it does not know.
        assert_eq!(compare::frames(&file.0, &filters.join(" || ")), "1\n");
        Ok(())
    })
}

#[test]
fn what_daemons_say_is_read_alike_live_and_from_the_capture() -> Result<()> {
    skippable(|| {
        need_tshark()?;
        let topology = Topology::new("wireshark")
            .switch("sw")
            .host("one")
            .link("sw", &["10.15.46.1/24", "fd15:46::1/64"])
            .host("two")
            .link("sw", &["10.15.46.2/24", "fd15:46::2/64"])
            .host("ear")
            .link("sw", &["10.15.46.3/24", "fd15:46::3/64"]);
        let lab = Lab::new(&topology)?;
        let file = Temporary::new("lab");
        let recording = Capture::all(&lab, Some(&file.0))?;
        let ear = lab.host("ear");
        let listen = ["hamp", "decode", "--interface", "eth0", "--json"];
        let listener = ear.spawn("decode", &listen)?;
        wait::until_ok("the listener has its socket", LIMIT, || {
            let sockets = ear.sh("cat /proc/net/packet")?;
            ensure!(sockets.lines().count() > 1, "{sockets}");
            Ok(())
        })?;
        let members = ["one", "two"].map(|name| daemon::member(lab.host(name)));
        let [one, two] = members;
        let (one, two) = (one?, two?);
        daemon::serving(lab.host("two"), 3)?;
        daemon::report(
            lab.host("two"),
            &["join", "198.18.0.9", "--preference", "7"],
        )?;
        daemon::report(lab.host("one"), &["leave", "198.18.7.0/24"])?;
        for ended in [two, one] {
            ensure!(ended.terminate(LIMIT)?.success());
        }
        // Each kind of message was heard, and both last ones to leave.
        let heard = wait::until_ok("the listener heard it all", LIMIT, || {
            let text = ear.read(listener.log())?;
            let documents = text.lines().map(serde_json::from_str);
            let documents: Vec<Value> = documents.collect::<Result<_, _>>()?;
            for kind in ["report", "hello", "query"] {
                ensure!(documents.iter().any(|one| one["type"] == kind), "no {kind}");
            }
            let withdraws = |source: &str, prefix: &str| {
                let from = documents.iter().filter(|one| one["source"] == source);
                let mut records =
                    from.flat_map(|one| one["records"].as_array().into_iter().flatten());
                records.any(|one| one["prefix"] == prefix && one["lifetime_ms"] == 0)
            };
            for source in ["10.15.46.1", "10.15.46.2"] {
                ensure!(
                    withdraws(source, "2001:2:0:1546::1"),
                    "{source} has not left"
                );
            }
            Ok(documents)
        })?;
        listener.kill()?;
        recording.finish()?;
        let messages = both_agree(&file.0);
        ensure!(
            messages > heard.len(),
            "{messages} captured, {} heard",
            heard.len()
        );
        // What was heard live is in the capture, word for word.
        let of_the_message = |document: &Value| {
            let mut document = document.clone();
            let fields = document.as_object_mut().unwrap();
            for key in ["frame", "time_us", "interface_name"] {
                fields.remove(key);
            }
            document
        };
        let captured: Vec<Value> = decoded(&file.0).iter().map(of_the_message).collect();
        for document in &heard {
            schema::check(document).map_err(|error| anyhow::anyhow!("{error}"))?;
            ensure!(
                captured.contains(&of_the_message(document)),
                "not captured: {document:#}"
            );
        }
        Ok(())
    })
}
