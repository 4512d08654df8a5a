//! `hamp decode`: the membership messages of a capture.

mod message;

pub use message::tell;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::PcapNgReader;
use pcap_file::pcapng::blocks::block_common::Block;
use serde_json::{Value, json};

use crate::daemon::{Failure, exit};
use crate::wire::Message;
use crate::wire::frame::{Frame, Ignored};

/// First bytes of every pcapng file.
const PCAPNG: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// Prints every message of a capture to `out`, one a line, or as JSON lines. Errors: no capture, or
/// one that is cut off; what came before is printed. A reader that went away is no error.
pub(super) fn decode(file: &Path, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    let failed =
        |error: io::Error| Failure::new(exit::FAILED, format!("{}: {error}", file.display()));
    let input: Box<dyn Read> = match file.to_str() {
        Some("-") => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(file).map_err(failed)?),
    };
    let mut number = 0u64;
    let mut began = None;
    let mut written = Ok(());
    let read = each_frame(BufReader::new(input), |at, bytes| {
        number += 1;
        let began = *began.get_or_insert(at);
        if let Some(packet) = Packet::new(number, at, at.saturating_sub(began), bytes) {
            let text = if json { packet.json() } else { packet.line() };
            written = writeln!(out, "{text}");
        }
        written.is_ok()
    });
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::io("stdout", &error)),
        Ok(()) => read.map_err(failed),
    }
}

/// Calls `see` with the time and the bytes of each Ethernet frame of a capture, while it says so.
fn each_frame(
    mut input: impl Read,
    mut see: impl FnMut(Duration, &[u8]) -> bool,
) -> io::Result<()> {
    let mut magic = [0; 4];
    input
        .read_exact(&mut magic)
        .map_err(|_| io::Error::other("not a capture: too short"))?;
    let input = io::Cursor::new(magic).chain(input);
    let bad = |error: &dyn std::fmt::Display| io::Error::other(format!("not a capture: {error}"));
    let damaged =
        |error: &dyn std::fmt::Display| io::Error::other(format!("cut off or damaged: {error}"));
    let no_ethernet = || io::Error::other("only Ethernet captures are decoded");
    if magic == PCAPNG {
        let mut reader = PcapNgReader::new(input).map_err(|error| bad(&error))?;
        while let Some(block) = reader.next_block() {
            let (block, state) = block.map_err(|error| damaged(&error))?;
            if state
                .interfaces()
                .iter()
                .any(|one| one.linktype != DataLink::ETHERNET)
            {
                return Err(no_ethernet());
            }
            let goes_on = match block {
                Block::EnhancedPacket(packet) => see(packet.timestamp, &packet.data),
                Block::SimplePacket(packet) => see(Duration::ZERO, &packet.data),
                _ => true,
            };
            if !goes_on {
                break;
            }
        }
    } else {
        let mut reader = PcapReader::new(input).map_err(|error| bad(&error))?;
        if reader.header().datalink != DataLink::ETHERNET {
            return Err(no_ethernet());
        }
        while let Some(packet) = reader.next_packet() {
            let packet = packet.map_err(|error| damaged(&error))?;
            if !see(packet.timestamp(), packet.data()) {
                break;
            }
        }
    }
    Ok(())
}

/// A message in its frame, or why there is none in a frame that should hold one.
struct Packet {
    number: u64,
    at: Duration,
    since: Duration,
    mac: String,
    source: Option<IpAddr>,
    message: Result<Message, Cow<'static, str>>,
}

impl Packet {
    /// `None` for a frame that is not one of ours.
    fn new(number: u64, at: Duration, since: Duration, bytes: &[u8]) -> Option<Self> {
        let mac = bytes.get(6..12).map(hex_pairs).unwrap_or_default();
        let (source, message) = match Frame::parse(bytes) {
            Ok(Frame::Message {
                source, payload, ..
            }) => {
                let message = Message::decode(payload);
                (
                    Some(source),
                    message.map_err(|error| error.to_string().into()),
                )
            }
            Ok(_) | Err(Ignored::NotOurs) => return None,
            Err(_) if !is_to_our_port(bytes) => return None,
            Err(why) => (None, Err(format!("{why:?}").to_lowercase().into())),
        };
        Some(Self {
            number,
            at,
            since,
            mac,
            source,
            message,
        })
    }

    fn line(&self) -> String {
        let source = self
            .source
            .map_or_else(|| self.mac.clone(), |source| source.to_string());
        let what = match &self.message {
            Ok(message) => format!("{} {}", message.sender(), message::tell(message)),
            Err(why) => format!("not a message: {why}"),
        };
        format!("{:10.6} {source} {what}", self.since.as_secs_f64())
    }

    fn json(&self) -> String {
        let mut document = json!({
            "schema": "hamp.message/1",
            "frame": self.number,
            "time_us": u64::try_from(self.at.as_micros()).unwrap_or(u64::MAX),
            "mac": self.mac,
            "source": self.source,
        });
        match &self.message {
            Ok(message) => {
                document["member"] = format!("{:#}", message.sender()).into();
                merge(&mut document, message::fields(message));
            }
            Err(why) => document["error"] = why.as_ref().into(),
        }
        document.to_string()
    }
}

/// Whether a frame that does not parse looks like UDP to our port.
fn is_to_our_port(bytes: &[u8]) -> bool {
    let at = match bytes.get(12..14) {
        Some([0x08, 0x00]) if bytes.get(23) == Some(&17) => {
            14 + 4 * usize::from(bytes.get(14).copied().unwrap_or(0) & 15)
        }
        Some([0x86, 0xdd]) if bytes.get(20) == Some(&17) => 54,
        _ => return false,
    };
    bytes.get(at + 2..at + 4) == Some(&crate::wire::PORT.to_be_bytes())
}

fn merge(document: &mut Value, fields: Value) {
    if let (Value::Object(document), Value::Object(fields)) = (document, fields) {
        document.extend(fields);
    }
}

fn hex_pairs(bytes: &[u8]) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Hello, MemberId, frame};
    use pcap_file::pcap::{PcapPacket, PcapWriter};

    fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
        let mut writer = PcapWriter::new(Vec::new()).unwrap();
        for (second, frame) in frames.iter().enumerate() {
            let at = Duration::from_secs(1_000 + second as u64);
            let packet = PcapPacket::new(at, frame.len() as u32, frame.as_slice()).unwrap();
            writer.write_packet(&packet).unwrap();
        }
        writer.into_inner()
    }

    fn hello() -> Vec<u8> {
        let hello = Hello {
            chain: [0xab; 8],
            index: 7,
            value: [1; 16],
        };
        let bytes = Message::Hello {
            member: MemberId([0x11; 16]),
            hello,
        }
        .encode();
        frame::message([2, 0, 0, 0, 0, 1], "192.0.2.1".parse().unwrap(), &bytes)
    }

    #[test]
    fn messages_are_told_and_other_frames_are_not() {
        let mut broken = hello();
        let length = broken.len();
        broken[length - 1] ^= 1;
        let arp = frame::request(
            [2; 6],
            "192.0.2.1".parse().unwrap(),
            "192.0.2.2".parse().unwrap(),
        );
        let file = std::env::temp_dir().join(format!("hamp-decode-{}.pcap", std::process::id()));
        std::fs::write(&file, capture(&[arp.unwrap(), hello(), broken, vec![0; 3]])).unwrap();
        let told = |json: bool| {
            let mut out = Vec::new();
            decode(&file, json, &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        let text = told(false);
        assert_eq!(
            text,
            "  1.000000 192.0.2.1 11111111 hello 7 of chain abababab\n  \
             2.000000 02:00:00:00:00:01 not a message: checksum\n"
        );
        let json = told(true);
        let first: Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
        assert_eq!(first["schema"], "hamp.message/1");
        assert_eq!(
            (&first["type"], &first["index"]),
            (&json!("hello"), &json!(7))
        );
        std::fs::write(&file, b"no capture at all").unwrap();
        assert!(
            decode(&file, false, &mut Vec::new())
                .unwrap_err()
                .message
                .contains("not a capture")
        );
        std::fs::remove_file(&file).unwrap();
    }
}
