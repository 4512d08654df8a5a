//! What a member's host is called: for people, and for nothing else.

use core::fmt;
use std::sync::Arc;

/// 1 to [`Name::MAX_BYTES`] bytes of printable UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// The longest name in bytes.
    pub const MAX_BYTES: usize = 64;

    /// The name that these bytes are, if they are one.
    //= docs/spec/membership.md#statement
    //# A receiver MUST ignore a name that is empty, is longer than 64 bytes, is not UTF-8 or holds a
    //# character that is not printable.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let text = core::str::from_utf8(bytes).ok()?;
        let fits = (1..=Self::MAX_BYTES).contains(&bytes.len());
        (fits && text.chars().all(is_printable)).then(|| Self(text.into()))
    }

    /// The name of a host that calls itself `text`: cut to what fits, with `?` for what cannot be
    /// printed; `None` where nothing is left.
    pub fn of(text: &str) -> Option<Self> {
        let printable = text.chars().map(|c| if is_printable(c) { c } else { '?' });
        let mut name = String::new();
        for c in printable {
            if name.len() + c.len_utf8() > Self::MAX_BYTES {
                break;
            }
            name.push(c);
        }
        Self::read(name.as_bytes())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character can stand in a line for people without changing the rest of it: no control,
/// format, separator, combining or unassigned character.
fn is_printable(c: char) -> bool {
    matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_printable() {
        //= docs/spec/membership.md#statement
        //= type=test
        //# A receiver MUST ignore a name that is empty, is longer than 64 bytes, is not UTF-8 or
        //# holds a character that is not printable.
        for good in ["web-1", "größe 2", "名前", "\"it's\\\"", &"x".repeat(64)] {
            assert_eq!(Name::read(good.as_bytes()).unwrap().as_str(), good);
        }
        let bad: [&[u8]; 9] = [
            b"",
            b"a\nb",
            b"\x1b[2J",
            b"\xff",
            "\u{202e}gro".as_bytes(),
            "a\u{200b}".as_bytes(),
            "a\u{2028}b".as_bytes(),
            "e\u{301}".as_bytes(),
            &[b'x'; 65],
        ];
        for bad in bad {
            assert_eq!(Name::read(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn what_a_host_calls_itself_is_made_to_fit() {
        assert_eq!(Name::of("a\tb").unwrap().as_str(), "a?b");
        assert_eq!(Name::of(&"ö".repeat(40)).unwrap().as_str(), "ö".repeat(32));
        assert_eq!(Name::of(""), None);
    }
}
