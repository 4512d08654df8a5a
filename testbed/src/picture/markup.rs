//! Text that cannot break out of its place in HTML or SVG, and numbers that are short.

use std::fmt::{self, Display, Formatter};

/// A text between tags or between double quotes.
pub(crate) struct Text<T>(pub(crate) T);

impl<T: AsRef<str>> Display for Text<T> {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        for c in self.0.as_ref().chars() {
            match c {
                '&' => out.write_str("&amp;")?,
                '<' => out.write_str("&lt;")?,
                '>' => out.write_str("&gt;")?,
                '"' => out.write_str("&quot;")?,
                '\'' => out.write_str("&#39;")?,
                '\n' | '\t' => write!(out, "{c}")?,
                // XML has no way to write control characters, nor U+FFFE and U+FFFF.
                c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => {
                    out.write_str("\u{fffd}")?;
                }
                c => write!(out, "{c}")?,
            }
        }
        Ok(())
    }
}

/// A length or a share with at most `digits` decimals, and none that say nothing.
pub(crate) fn short(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    if text == "-0" {
        "0".into()
    } else {
        text.into()
    }
}

/// At most `most` characters, the last one an ellipsis if some are missing.
pub(crate) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.into();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}\u{2026}", kept.trim_end())
}

/// Lines of at most `most` characters, broken at spaces where there are some; at most `lines`.
pub(crate) fn wrap(text: &str, most: usize, lines: usize) -> Vec<String> {
    let mut done: Vec<String> = Vec::new();
    let mut line = String::new();
    let mut pieces = text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    pieces.reverse();
    while let Some(word) = pieces.pop() {
        let (have, more) = (line.chars().count(), word.chars().count());
        let gap = usize::from(have > 0);
        if have + gap + more <= most {
            if gap == 1 {
                line.push(' ');
            }
            line.push_str(&word);
        } else if have == 0 {
            line = word.chars().take(most).collect();
            pieces.push(word.chars().skip(most).collect());
        } else {
            done.push(std::mem::take(&mut line));
            pieces.push(word);
        }
    }
    done.push(line);
    if done.len() > lines {
        let rest = done.split_off(lines.saturating_sub(1)).join(" ");
        done.push(cut(&rest, most));
    }
    done
}

/// JSON inside a `script` element, which ends at the first `</script`.
pub(crate) fn json(value: &impl serde::Serialize) -> String {
    let text = serde_json::to_string(value).unwrap_or_default();
    text.replace('&', "\\u0026")
        .replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_breaks_out() {
        let text = Text("</script>\"'&\u{0}\u{1b}\n").to_string();
        assert_eq!(text, "&lt;/script&gt;&quot;&#39;&amp;\u{fffd}\u{fffd}\n");
        assert_eq!(json(&"</script>"), "\"\\u003c/script\\u003e\"");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(short(1.500, 3), "1.5");
        assert_eq!(short(-0.0001, 2), "0");
        assert_eq!(short(100.0, 0), "100");
    }

    #[test]
    fn texts_are_wrapped_at_spaces_and_cut_at_the_end() {
        assert_eq!(wrap("one two three", 7, 3), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij", 4, 3), ["abcd", "efgh", "ij"]);
        assert_eq!(
            wrap("one two three four", 7, 2),
            ["one two", "three\u{2026}"]
        );
        assert_eq!(cut("abcdef", 4), "abc\u{2026}");
    }
}
