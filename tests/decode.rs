//! `hamp decode` on captures of the golden packets, in both file formats.

#[path = "support/capture.rs"]
mod capture;
#[path = "netns/schema.rs"]
mod schema;
mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use capture::{pcap, pcapng};
use hamp::daemon::trust as files;
use hamp::wire::frame::{self, Frame};
use serde_json::{Value, json};
use support::golden;

fn decode(file: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hamp"));
    command
        .arg("decode")
        .arg(file)
        .args(arguments)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn place(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("hamp-{name}-{}", std::process::id()))
}

fn frames() -> Vec<Vec<u8>> {
    golden::all().into_iter().map(|(_, frame)| frame).collect()
}

#[test]
fn every_golden_message_is_a_line_and_a_document() {
    let names: Vec<_> = golden::all().into_iter().map(|(name, _)| name).collect();
    let messages = names.iter().filter(|name| !name.starts_with("linux-"));
    let messages = messages.count();
    let frames = frames();
    let files = [
        (place("pcap"), pcap(&frames)),
        (place("pcapng"), pcapng(&frames)),
    ];
    let mut told = Vec::new();
    for (file, bytes) in &files {
        std::fs::write(file, bytes).unwrap();
        let lines = text(&decode(file, &[]));
        assert_eq!(lines.lines().count(), messages, "{lines}");
        told.push(lines);
        let documents = text(&decode(file, &["--json"]));
        for line in documents.lines() {
            let document: Value = serde_json::from_str(line).unwrap();
            schema::check(&document).unwrap_or_else(|error| panic!("{error}: {document:#}"));
            assert!(document.get("error").is_none(), "{document:#}");
        }
        std::fs::remove_file(file).unwrap();
    }
    assert_eq!(told[0], told[1], "both formats say the same");
}

#[test]
fn damaged_messages_and_captures_are_told_not_fatal() {
    let mut random = support::Random::new(7);
    let mut frames = frames();
    for frame in &mut frames {
        *frame = random.damage(frame);
    }
    let capture = pcap(&frames);
    let file = place("damaged");
    std::fs::write(&file, &capture).unwrap();
    for line in text(&decode(&file, &["--json"])).lines() {
        let document: Value = serde_json::from_str(line).unwrap();
        schema::check(&document).unwrap_or_else(|error| panic!("{error}: {document:#}"));
    }
    for end in [0, 3, 20, 30, capture.len() - 1] {
        std::fs::write(&file, &capture[..end]).unwrap();
        let cut = decode(&file, &[]);
        assert_eq!(cut.status.code(), Some(1), "cut after {end}: {cut:?}");
        let said = String::from_utf8_lossy(&cut.stderr);
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn it_ends_after_as_many_messages_as_wanted() {
    let file = place("counted");
    std::fs::write(&file, pcap(&frames())).unwrap();
    assert_eq!(text(&decode(&file, &["--count", "3"])).lines().count(), 3);
    std::fs::remove_file(&file).unwrap();
}

#[test]
fn what_comes_through_a_pipe_is_printed_before_its_end() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_hamp"))
        .args(["decode", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut capture = child.stdin.take().unwrap();
    capture.write_all(&pcap(&frames()[..2])).unwrap();
    capture.flush().unwrap();
    let stdout = child.stdout.take().unwrap();
    let (line, printed) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut text = String::new();
        BufReader::new(stdout).read_line(&mut text).unwrap();
        line.send(text).unwrap();
    });
    let first = printed.recv_timeout(Duration::from_secs(20));
    drop(capture);
    child.wait().unwrap();
    reader.join().unwrap();
    assert!(first.unwrap().contains("0.000000"));
}

#[test]
fn a_capture_comes_through_standard_input_too() {
    let file = place("piped");
    std::fs::write(&file, pcap(&frames())).unwrap();
    let piped = Command::new(env!("CARGO_BIN_EXE_hamp"))
        .args(["decode", "-"])
        .stdin(std::fs::File::open(&file).unwrap())
        .output()
        .unwrap();
    assert_eq!(text(&piped), text(&decode(&file, &[])));
    std::fs::remove_file(&file).unwrap();
}

/// Runs the command where nobody may open packet sockets, root neither.
fn without_privilege(arguments: &[&str]) -> Output {
    let hamp = env!("CARGO_BIN_EXE_hamp");
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set", "-net_raw", "--inh-caps", "-all", hamp]);
        command
    } else {
        Command::new(hamp)
    };
    command.args(arguments).output().unwrap()
}

#[test]
fn what_is_missing_to_listen_is_named() {
    for (arguments, code, said) in [
        (&["decode", "-i", "lo"][..], 77, "  try: run it as root"),
        (
            &["decode", "-i", "no-such"],
            1,
            "no-such: no such interface",
        ),
        (&["decode"], 2, "--interface"),
        (&["decode", "-i", "lo", "file"], 2, "cannot be used with"),
    ] {
        let output = without_privilege(arguments);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(told.contains(said), "{arguments:?}: {told}");
    }
}

/// The documents of a capture's messages, with these options.
fn told(name: &str, bytes: &[u8], options: &[&str]) -> Vec<Value> {
    let file = place(name);
    std::fs::write(&file, bytes).unwrap();
    let lines = text(&decode(&file, &[&["--json"], options].concat()));
    std::fs::remove_file(&file).unwrap();
    let documents = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap());
    documents.collect()
}

#[test]
fn it_says_who_vouches_for_what() {
    let golden = |name: &str| golden::read(name);
    let signed = golden("report-signed");
    let Ok(Frame::Message {
        mac,
        source,
        payload,
    }) = Frame::parse(&signed)
    else {
        panic!("no message")
    };
    let mut payload = payload.to_vec();
    *payload.last_mut().unwrap() ^= 1;
    let capture = pcap(&[
        golden("report-signed"),
        golden("query-signed"),
        golden("report-ipv4"),
        golden("hello-signed"),
        frame::message(mac, source, &payload),
    ]);
    let pick = |documents: &[Value], key: &str| -> Vec<Value> {
        let values = documents.iter().map(|document| document[key].clone());
        values.collect()
    };
    let plain = told("unchecked", &capture, &[]);
    assert_eq!(
        pick(&plain, "signature"),
        [
            json!("good"),
            json!("good"),
            Value::Null,
            Value::Null,
            json!("bad")
        ]
    );
    assert_eq!(pick(&plain, "trusted"), vec![Value::Null; 5]);
    assert_eq!(plain[0]["certificate"]["state"], "valid");

    let (authority, list) = (place("authority"), place("list"));
    let key = golden::trust("authority-key");
    files::create(&authority, files::Kind::AuthorityPublicKey, &key).unwrap();
    let revoked = golden::trust("revocation-list");
    files::create(&list, files::Kind::RevocationList, &revoked).unwrap();
    let (authority, list) = (authority.to_str().unwrap(), list.to_str().unwrap());
    let checked = told("checked", &capture, &["--authority", authority]);
    assert_eq!(
        pick(&checked, "trusted"),
        [
            json!(true),
            json!(true),
            json!(false),
            Value::Null,
            json!(false)
        ]
    );
    assert_eq!(checked[2]["doubt"], "unsigned");
    assert_eq!(checked[4]["doubt"], "bad_signature");
    let options = ["--authority", authority, "--revoked", list];
    let revoked = told("revoked", &capture, &options);
    assert_eq!(revoked[0]["doubt"], "revoked");
    assert_eq!(revoked[1]["trusted"], true);
    for document in plain.iter().chain(&checked).chain(&revoked) {
        schema::check(document).unwrap_or_else(|error| panic!("{error}: {document:#}"));
    }
    let file = place("said");
    std::fs::write(&file, &capture).unwrap();
    let lines = text(&decode(&file, &options));
    let mut lines = lines.lines();
    for end in [", not trusted: revoked", ", signed, trusted"] {
        let line = lines.next().unwrap();
        assert!(line.ends_with(end), "{line}");
    }
    let wrong = decode(&file, &["--authority", list]);
    assert_eq!(wrong.status.code(), Some(78), "{wrong:?}");
    for file in [&file, Path::new(authority), Path::new(list)] {
        std::fs::remove_file(file).unwrap();
    }
}
