//! Aligned tables for people.

use std::iter::repeat_n;

/// Rows under a header, columns aligned, two spaces between; nothing without rows.
pub(super) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].len()]).max().unwrap_or(0)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut text = String::new();
    let mut line = |cells: [&str; N]| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(widths) {
            // Not by the formatter, whose widths end at 65,535: a member may serve thousands.
            let padding = width.saturating_sub(cell.chars().count());
            line.push_str(cell);
            line.extend(repeat_n(' ', padding + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    };
    line(header);
    for row in rows {
        line(std::array::from_fn(|column| row[column].as_str()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            ["198.18.0.1".to_owned(), "1".to_owned()],
            ["x".to_owned(), "22".to_owned()],
        ];
        assert_eq!(
            table(["PREFIX", "N"], &rows),
            "PREFIX      N\n198.18.0.1  1\nx           22\n"
        );
        assert_eq!(table(["A"], &[]), "");
        let wide = [["x".repeat(70_000), "1".to_owned()]];
        assert_eq!(table(["A", "N"], &wide).lines().count(), 2);
    }
}
