//! What is wrong with a file, said so that its author finds the place.

use std::fmt;

/// What is wrong with a configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Error {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1, if one line is at fault.
    pub line: Option<usize>,
    /// The key at fault, as `table.key`.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(key) = &self.key {
            write!(f, ": {key}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// The parser's error, with the key and, for an unknown one, the nearest known key.
pub(super) fn explain(text: &str, file: &str, error: &toml::de::Error) -> Error {
    let at = error.span().map(|span| span.start.min(text.len()));
    let line = at.map(|at| 1 + text[..at].matches('\n').count());
    let mut message = error.message().trim().to_owned();
    let mut key = at.and_then(|at| key_at(text, at));
    if message.starts_with("unknown field") {
        let mut words = message.split('`').skip(1).step_by(2).map(str::to_owned);
        let unknown = words.next().unwrap_or_default();
        let nearest = words.min_by_key(|known| distance(&unknown, known));
        message = format!("unknown key \"{unknown}\"");
        if let Some(nearest) = nearest {
            message += &format!("; the nearest known key is \"{nearest}\"");
        }
        key = None;
    } else if let Some(missing) = message.strip_prefix("missing field ") {
        message = format!("missing key {}", missing.replace('`', "\""));
        key = None;
    }
    Error {
        file: file.to_owned(),
        line,
        key,
        message: message.replace('\n', " "),
    }
}

/// `table.key` of the entry that holds byte `at`: the last key and the last table header before.
fn key_at(text: &str, at: usize) -> Option<String> {
    let end = text[at..]
        .find('\n')
        .map_or(text.len(), |length| at + length);
    let (mut table, mut key) = (None, None);
    for line in text[..end].lines().map(str::trim_start) {
        if let Some(header) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            if !header.0.contains('"') {
                (table, key) = (Some(header.0.trim()), None);
            }
        } else if let Some((name, _)) = line.split_once('=') {
            let name = name.trim();
            let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            if !name.is_empty() && name.chars().all(plain) {
                key = Some(name);
            }
        }
    }
    let key = key?;
    Some(table.map_or_else(|| key.to_owned(), |table| format!("{table}.{key}")))
}

/// The line, from 1, that sets `table.key`.
pub(super) fn line_of(text: &str, wanted: &str) -> Option<usize> {
    let mut at = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let (_, key) = wanted.rsplit_once('.')?;
        if line.trim_start().starts_with(key) && key_at(text, at).as_deref() == Some(wanted) {
            return Some(number + 1);
        }
        at += line.len();
    }
    None
}

/// Levenshtein's distance between two keys.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
