//! A TOML text whose errors name the place.
//!
//! The text is parsed once, into values that know where they stand. Reading a type from it, or
//! from one of its tables, and checking what was read afterwards then say file, line and key; for
//! a key that nobody knows also the nearest known one.

use std::fmt;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, ValueDeserializer};

use super::Error;
use super::error::in_words;

/// A parsed TOML text.
#[derive(Debug)]
pub struct Document<'a> {
    text: &'a str,
    file: &'a str,
    root: Spanned<DeTable<'a>>,
}

/// One step of a [`Path`].
#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// Into a table.
    Key(String),
    /// Into an array, from 0.
    Index(usize),
}

/// Where a value stands: `host.s1.links[0].to`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Path(Vec<Step>);

impl Path {
    /// The path of these keys.
    pub fn of(keys: &[&str]) -> Self {
        Self(keys.iter().map(|key| Step::Key((*key).into())).collect())
    }

    /// One key further.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.0.push(Step::Key(key.into()));
        self
    }

    /// Into an array.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.0.push(Step::Index(index));
        self
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if at == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

impl<'a> Document<'a> {
    /// Parses `text`; `file` is its name in errors.
    ///
    /// # Errors
    /// It is not TOML.
    pub fn parse(text: &'a str, file: &'a str) -> Result<Self, Error> {
        let (root, errors) = DeTable::parse_recoverable(text);
        let document = Self { text, file, root };
        match errors.first() {
            Some(error) => Err(document.explain(error)),
            None => Ok(document),
        }
    }

    /// Reads all of it.
    ///
    /// # Errors
    /// It is not what `T` wants.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let read = T::deserialize(Deserializer::from(self.root.clone()));
        read.map_err(|error| self.explain(&error))
    }

    /// Reads a value of it, which the caller may have changed.
    ///
    /// # Errors
    /// It is not what `T` wants.
    pub fn read_value<T: DeserializeOwned>(&self, value: Spanned<DeValue<'a>>) -> Result<T, Error> {
        let read = T::deserialize(ValueDeserializer::from(value));
        read.map_err(|error| self.explain(&error))
    }

    /// The value at a path.
    pub fn value(&self, path: &Path) -> Option<&Spanned<DeValue<'a>>> {
        let (first, rest) = path.0.split_first()?;
        let Step::Key(key) = first else {
            return None;
        };
        let first = self.root.get_ref().get(key.as_str())?;
        rest.iter().try_fold(first, |at, step| match step {
            Step::Key(key) => at.get_ref().get(key.as_str()),
            Step::Index(index) => at.get_ref().get(*index),
        })
    }

    /// Byte at which a key, or an element of an array, begins. Of a path that leads nowhere, as far
    /// as it leads; `None` if its first key is not there.
    pub fn position(&self, path: &Path) -> Option<usize> {
        let mut table = Some(self.root.get_ref());
        let mut value: Option<&Spanned<DeValue<'_>>> = None;
        let mut found = None;
        for step in &path.0 {
            let next = match step {
                Step::Key(key) => {
                    let Some((name, next)) =
                        table.and_then(|table| table.get_key_value(key.as_str()))
                    else {
                        break;
                    };
                    found = Some(name.span().start);
                    next
                }
                Step::Index(index) => {
                    let Some(next) = value.and_then(|value| value.get_ref().get(*index)) else {
                        break;
                    };
                    found = Some(next.span().start);
                    next
                }
            };
            value = Some(next);
            table = next.get_ref().as_table();
        }
        found
    }

    /// What is wrong with the value at a path.
    pub fn error(&self, path: &Path, message: impl Into<String>) -> Error {
        Error {
            file: self.file.into(),
            line: self.position(path).map(|at| self.line(at)),
            key: (!path.0.is_empty()).then(|| path.to_string()),
            message: message.into(),
        }
    }

    /// The parser's error, with the key and, for an unknown one, the nearest known key.
    fn explain(&self, error: &toml::de::Error) -> Error {
        let at = error.span().map(|span| span.start.min(self.text.len()));
        let mut message = error.message().trim().to_owned();
        let mut key = at.and_then(|at| self.path_at(at));
        if message.starts_with("unknown field") {
            let mut words = message.split('`').skip(1).step_by(2).map(str::to_owned);
            let unknown = words.next().unwrap_or_default();
            let nearest = nearest(&unknown, words);
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
            file: self.file.into(),
            line: at.map(|at| self.line(at)),
            key: key.map(|key| key.to_string()),
            message: in_words(&message.replace('\n', " ")),
        }
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count()
    }

    /// The path of the innermost value around byte `at`.
    fn path_at(&self, at: usize) -> Option<Path> {
        let mut path = Path::default();
        in_table(self.root.get_ref(), at, &mut path).then_some(path)
    }
}

/// Extends `path` to what stands at byte `at`, if it stands in this table. The tables of headers
/// are not within one another, so all are looked at.
fn in_table(table: &DeTable<'_>, at: usize, path: &mut Path) -> bool {
    table.iter().any(|(key, value)| {
        path.0.push(Step::Key(key.get_ref().to_string()));
        let found = key.span().contains(&at) || in_value(value, at, path);
        if !found {
            path.0.pop();
        }
        found
    })
}

fn in_value(value: &Spanned<DeValue<'_>>, at: usize, path: &mut Path) -> bool {
    let inside = match value.get_ref() {
        DeValue::Table(table) => in_table(table, at, path),
        DeValue::Array(items) => items.iter().enumerate().any(|(index, item)| {
            path.0.push(Step::Index(index));
            let found = in_value(item, at, path);
            if !found {
                path.0.pop();
            }
            found
        }),
        _ => false,
    };
    inside || value.span().contains(&at)
}

/// The known word that is most like `unknown`.
pub fn nearest(unknown: &str, known: impl Iterator<Item = String>) -> Option<String> {
    known.min_by_key(|known| distance(unknown, known))
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
