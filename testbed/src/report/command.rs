//! The command line of this process, so that it can be typed again.

/// The command line with its words quoted for a shell; the program by its name alone.
pub fn command_line() -> String {
    let mut words = std::env::args();
    let program = words.next().unwrap_or_default();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let how = std::env::var("HAMP_LAB_PRIVILEGE").ok();
    let how = how.map(|how| format!("HAMP_LAB_PRIVILEGE={}", quoted(&how)));
    let words = std::iter::once(program).chain(words);
    let words = how.into_iter().chain(words.map(|word| quoted(&word)));
    words.collect::<Vec<_>>().join(" ")
}

/// A word as a POSIX shell reads it.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_when_a_shell_would_read_it_otherwise() {
        assert_eq!(quoted("--report"), "--report");
        assert_eq!(quoted("a b"), "'a b'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
