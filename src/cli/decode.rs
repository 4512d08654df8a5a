//! `hamp decode`: the membership messages of a capture, or of an interface.

mod capture;
mod live;
mod message;
mod vouch;

pub use message::tell;

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::daemon::{Failure, exit};
use crate::proto::Reason;
use crate::wire::Message;
use crate::wire::frame::{Frame, Ignored};
use vouch::{Authorities, Signature};

/// What to decode, and how to show it.
#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("where from").required(true)))]
pub struct Options {
    /// The capture; - is standard input
    #[arg(group = "where from")]
    file: Option<PathBuf>,
    /// Listen on this interface instead, until interrupted
    #[arg(long, short, group = "where from", value_name = "NAME")]
    interface: Option<String>,
    /// Say of each message whether this authority vouches for it; may be given several times
    #[arg(long, value_name = "FILE")]
    authority: Vec<PathBuf>,
    /// What an authority has taken back; may be given several times
    #[arg(long, value_name = "FILE", requires = "authority")]
    revoked: Vec<PathBuf>,
    /// End after this many messages
    #[arg(long, short, value_name = "NUMBER", value_parser = super::number::in_range(0..=u64::MAX))]
    count: Option<u64>,
    /// Print a JSON document for each message instead
    #[arg(long)]
    json: bool,
}

/// A frame as it was captured.
struct Captured<'a> {
    /// Since 1970.
    at: Duration,
    /// The name of the interface, where a capture of several says it.
    interface: Option<&'a str>,
    bytes: &'a [u8],
}

/// Prints every message to `out`, one a line, or as JSON lines. Errors: no capture or one that is cut
/// off (what came before is printed), no interface or no privilege to listen. A reader that went
/// away is no error.
pub(super) fn decode(options: &Options, out: &mut impl Write) -> Result<(), Failure> {
    let mut printer = Printer {
        authorities: Authorities::load(&options.authority, &options.revoked)?,
        options,
        out,
        frames: 0,
        messages: 0,
        began: None,
        written: Ok(()),
    };
    let read = match (&options.file, &options.interface) {
        (Some(file), _) => {
            let failed = |error: io::Error| {
                Failure::new(exit::FAILED, format!("{}: {error}", file.display()))
            };
            let input: Box<dyn Read> = match file.to_str() {
                Some("-") => Box::new(io::stdin().lock()),
                _ => Box::new(File::open(file).map_err(failed)?),
            };
            capture::each_frame(BufReader::new(input), |frame| printer.see(&frame)).map_err(failed)
        }
        (None, Some(interface)) => live::each_frame(interface, |frame| printer.see(&frame)),
        (None, None) => Ok(()),
    };
    match printer.written.and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failure::io("stdout", &error)),
        Ok(()) => read,
    }
}

struct Printer<'a, W> {
    options: &'a Options,
    authorities: Option<Authorities>,
    out: &'a mut W,
    frames: u64,
    messages: u64,
    /// Time of the first frame.
    began: Option<Duration>,
    written: io::Result<()>,
}

impl<W: Write> Printer<'_, W> {
    /// Prints a frame's message; whether another one is wanted.
    fn see(&mut self, frame: &Captured<'_>) -> bool {
        self.frames += 1;
        let began = *self.began.get_or_insert(frame.at);
        if let Some(packet) = Packet::new(self.frames, began, frame, self.authorities.as_mut()) {
            self.messages += 1;
            let text = if self.options.json {
                packet.json()
            } else {
                packet.line()
            };
            self.written = writeln!(self.out, "{text}");
            // Nobody waits for the end of what has none, as an interface, or may have none, as a pipe.
            let piped = self.options.file.as_deref() == Some(Path::new("-"));
            if (piped || self.options.interface.is_some()) && self.written.is_ok() {
                self.written = self.out.flush();
            }
        }
        self.written.is_ok() && self.options.count.is_none_or(|count| self.messages < count)
    }
}

/// A message in its frame, or why there is none in a frame that should hold one.
struct Packet<'a> {
    number: u64,
    since: Duration,
    captured: &'a Captured<'a>,
    mac: String,
    source: Option<IpAddr>,
    message: Result<Message, Cow<'static, str>>,
    signature: Option<Signature>,
    /// What the authorities say, where some are given.
    vouched: Option<Result<(), Reason>>,
}

impl<'a> Packet<'a> {
    /// `None` for a frame that is not one of ours.
    fn new(
        number: u64,
        began: Duration,
        captured: &'a Captured<'a>,
        authorities: Option<&mut Authorities>,
    ) -> Option<Self> {
        let bytes = captured.bytes;
        let mut packet = Self {
            number,
            since: captured.at.saturating_sub(began),
            captured,
            mac: bytes.get(6..12).map(hex_pairs).unwrap_or_default(),
            source: None,
            message: Err("".into()),
            signature: None,
            vouched: None,
        };
        match Frame::parse(bytes) {
            Ok(Frame::Message {
                mac,
                source,
                payload,
            }) => {
                packet.source = Some(source);
                let message = Message::decode(payload);
                if let Ok(message) = &message {
                    packet.signature = Signature::of(message, payload);
                    packet.vouched = authorities.and_then(|authorities| {
                        authorities.check(millis(captured.at), mac, message, payload)
                    });
                }
                packet.message = message.map_err(|error| error.to_string().into());
            }
            Ok(_) | Err(Ignored::NotOurs) => return None,
            Err(_) if !is_to_our_port(bytes) => return None,
            Err(why) => packet.message = Err(format!("{why:?}").to_lowercase().into()),
        }
        Some(packet)
    }

    fn line(&self) -> String {
        let source = self
            .source
            .map_or_else(|| self.mac.clone(), |source| source.to_string());
        let what = match &self.message {
            Ok(message) => format!("{} {}", message.sender(), message::tell(message)),
            Err(why) => format!("not a message: {why}"),
        };
        let doubt = match (self.vouched, self.signature) {
            (Some(Ok(())), _) => ", trusted".to_owned(),
            (Some(Err(why)), _) => format!(", not trusted: {}", why.as_str()),
            (None, Some(Signature::Bad)) => ", which is wrong".to_owned(),
            (None, _) => String::new(),
        };
        let interface = self.captured.interface.map(|name| format!("{name} "));
        let interface = interface.unwrap_or_default();
        format!(
            "{:10.6} {interface}{source} {what}{doubt}",
            self.since.as_secs_f64()
        )
    }

    fn json(&self) -> String {
        let mut document = json!({
            "schema": "hamp.message/1",
            "frame": self.number,
            "time_us": u64::try_from(self.captured.at.as_micros()).unwrap_or(u64::MAX),
            "mac": self.mac,
            "source": self.source,
        });
        if let Some(name) = self.captured.interface {
            document["interface_name"] = name.into();
        }
        match &self.message {
            Ok(message) => {
                document["member"] = format!("{:#}", message.sender()).into();
                merge(
                    &mut document,
                    message::fields(message, millis(self.captured.at)),
                );
                if let Some(signature) = self.signature {
                    document["signature"] = signature.as_str().into();
                }
                if let Some(vouched) = self.vouched {
                    document["trusted"] = vouched.is_ok().into();
                    document["doubt"] = vouched.err().map(Reason::as_str).into();
                }
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

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
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

    fn options(file: &std::path::Path, json: bool) -> Options {
        Options {
            file: Some(file.to_owned()),
            interface: None,
            authority: vec![],
            revoked: vec![],
            count: None,
            json,
        }
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
            decode(&options(&file, json), &mut out).unwrap();
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
            decode(&options(&file, false), &mut Vec::new())
                .unwrap_err()
                .message
                .contains("not a capture")
        );
        std::fs::remove_file(&file).unwrap();
    }
}
