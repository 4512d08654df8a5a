//! `hamp decode` on captures of the golden packets, in both file formats.

#[path = "netns/schema.rs"]
mod schema;
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapPacket, PcapWriter};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::InterfaceDescriptionBlock;
use pcap_file::pcapng::{PcapNgBlock, PcapNgWriter};
use serde_json::Value;
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

fn pcap(frames: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = PcapWriter::new(Vec::new()).unwrap();
    for (_, frame) in frames {
        let length = u32::try_from(frame.len()).unwrap();
        let packet = PcapPacket::new(Duration::from_secs(5), length, frame.as_slice()).unwrap();
        writer.write_packet(&packet).unwrap();
    }
    writer.into_inner()
}

fn pcapng(frames: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut writer = PcapNgWriter::new(Vec::new()).unwrap();
    let link = InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: 0,
        options: vec![],
    };
    writer.write_block(&link.into_block()).unwrap();
    for (_, frame) in frames {
        let packet = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_secs(5),
            original_len: u32::try_from(frame.len()).unwrap(),
            data: frame.into(),
            options: vec![],
        };
        writer.write_block(&packet.into_block()).unwrap();
    }
    writer.into_inner()
}

#[test]
fn every_golden_message_is_a_line_and_a_document() {
    let frames = golden::all();
    let messages = frames
        .iter()
        .filter(|(name, _)| !name.starts_with("linux-"))
        .count();
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
    let mut frames = golden::all();
    for (_, frame) in &mut frames {
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
