//! What is wrong with a file, said so that its author finds the place.

use std::path::Path;
use std::{fmt, fs};

use super::{Document, KeyPath};

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

impl Error {
    /// What is wrong with the value of a key in a file that was read without an error, found out
    /// only when the value was used.
    pub fn at(file: &Path, key: &KeyPath, message: impl Into<String>) -> Self {
        let (name, message) = (file.display().to_string(), message.into());
        // Read again for the line alone: it may be another by now, or gone.
        let text = fs::read_to_string(file).unwrap_or_default();
        match Document::parse(&text, &name) {
            Ok(document) => document.error(key, message),
            Err(_) => Self {
                file: name,
                line: None,
                key: Some(key.to_string()),
                message,
            },
        }
    }
}

/// What a parser says of a value, in the words of the file's language.
pub(super) fn in_words(message: &str) -> String {
    let kind = message.strip_prefix("invalid type: ");
    let kind = kind.or_else(|| message.strip_prefix("invalid value: "));
    let Some((found, expected)) = kind.and_then(|kind| kind.split_once(", expected ")) else {
        return match message.strip_prefix("unknown variant ") {
            Some(rest) => format!("this is {}", rest.replace(", expected", "; it has to be")),
            None => message.to_owned(),
        }
        .replace('`', "\"");
    };
    let found = match found {
        "sequence" => "an array".to_owned(),
        "map" => "a table".to_owned(),
        found => format!("the {}", found.replace('`', "")),
    };
    let expected = match expected {
        "u8" => "a whole number from 0 to 255".to_owned(),
        "u16" => "a whole number from 0 to 65535".to_owned(),
        "u32" => "a whole number from 0 to 4294967295".to_owned(),
        "u64" | "usize" => "a whole number from 0".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "an array: [...]".to_owned(),
        "a map" => "a table".to_owned(),
        other if other.starts_with("struct ") => "a table".to_owned(),
        other => other.replace('`', "\""),
    };
    format!("this is {found}; it has to be {expected}")
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
