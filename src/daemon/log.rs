//! Logs: structured, to stderr, a line an event.
//!
//! What others send gets into logs: names, texts of programs, errors. A line has a bounded length, and
//! nothing in it commands a terminal or begins another line.

use std::io::{self, Write};

use serde_json::Value;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::{Failure, exit};

/// The longest line in bytes; what is beyond is left out.
const LINE_BYTES: usize = 4096;
/// The longest text in a line of JSON, in characters, when all of it is longer than that.
const TEXT_CHARS: usize = 512;

/// Starts logging with the filter of `RUST_LOG`, or else `filter`; as JSON lines if `json`.
/// Errors: the filter is not one. Does nothing when the process logs already.
pub fn start(filter: &str, json: bool) -> Result<(), Failure> {
    let chosen = std::env::var("RUST_LOG")
        .ok()
        .filter(|text| !text.is_empty());
    let (filter, key) = match &chosen {
        Some(text) => (text.as_str(), "RUST_LOG"),
        None => (filter, "node.log"),
    };
    let filter =
        parse(filter).map_err(|message| Failure::new(exit::CONFIG, format!("{key}: {message}")))?;
    let ansi = io::IsTerminal::is_terminal(&io::stderr()) && !json;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines { json, ansi });
    // An error says that there is a subscriber, as in a lab that calls us as a library.
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_ansi(ansi).with_target(false).try_init()
    };
    Ok(())
}

/// Reads a filter.
///
/// # Errors
/// It is not one.
pub fn parse(filter: &str) -> Result<EnvFilter, String> {
    // At our end that library warns that its connection is closed, as it has to be.
    EnvFilter::try_new(format!("netlink_proto=error,{filter}"))
        .map_err(|error| format!("\"{filter}\": {error}"))
}

/// Where events go, each with one call.
#[derive(Debug, Clone, Copy)]
struct Lines {
    json: bool,
    ansi: bool,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl Write for Lines {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let text = super::plain(text.trim_end_matches('\n'));
        let line = if self.json {
            short_json(&text)
        } else {
            printable(&text, self.ansi)
        };
        io::stderr().write_all(format!("{line}\n").as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// A line for people: without controls, but for our own colours on a terminal, and not too long.
fn printable(text: &str, ansi: bool) -> String {
    let mut line = String::with_capacity(text.len());
    for (at, c) in text.char_indices() {
        if line.len() > LINE_BYTES {
            line.push_str("...");
            break;
        }
        match c {
            '\x1b' if ansi && is_colour(&text[at + 1..]) => line.push(c),
            '\n' | '\t' => line.push(' '),
            c if is_controlling(c) => line.extend(c.escape_default()),
            c => line.push(c),
        }
    }
    line
}

/// Whether a character does something to the text around it instead of being shown.
fn is_controlling(c: char) -> bool {
    // Line and paragraph separators, marks of direction (Unicode TR 36 §2.6).
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether what follows an escape only sets a colour.
fn is_colour(rest: &str) -> bool {
    let sets = |rest: &str| {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != ';')?;
        (end <= 8).then(|| rest[end..].starts_with('m'))
    };
    rest.strip_prefix('[').and_then(sets).unwrap_or_default()
}

/// A JSON line that is not too long: with its texts cut, where it was.
fn short_json(text: &str) -> String {
    if text.len() <= LINE_BYTES {
        return text.to_owned();
    }
    let Ok(Value::Object(mut fields)) = serde_json::from_str(text) else {
        return "{\"level\":\"WARN\",\"message\":\"a line that was too long is left out\"}"
            .to_owned();
    };
    for value in fields.values_mut() {
        if let Value::String(text) = value
            && let Some((end, _)) = text.char_indices().nth(TEXT_CHARS)
        {
            text.truncate(end);
            text.push_str("...");
        }
    }
    Value::Object(fields).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_bounded_and_commands_no_terminal() {
        let evil = format!("a\nb\x1b[2J\x1b]0;x\x07\u{202e}{}", "ü".repeat(9000));
        let line = printable(&evil, false);
        assert!(line.len() < LINE_BYTES + 16 && line.ends_with("..."));
        assert!(line.starts_with("a b\\u{1b}[2J") && !line.chars().any(is_controlling));
        let colours = "\x1b[2mtime\x1b[0m \x1b[32m INFO\x1b[0m";
        assert_eq!(printable(colours, true), colours);
        assert_eq!(printable("\x1b[2J", true), "\\u{1b}[2J");
    }

    #[test]
    fn a_long_line_of_json_is_json_still() {
        let long = serde_json::json!({ "level": "INFO", "text": "é".repeat(9000) }).to_string();
        let short = short_json(&long);
        assert!(short.len() < LINE_BYTES);
        let read: Value = serde_json::from_str(&short).unwrap();
        assert_eq!(read["level"], "INFO");
    }
}
