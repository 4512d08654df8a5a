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
