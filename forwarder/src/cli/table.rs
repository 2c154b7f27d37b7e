//! Tables for people.

use std::io::IsTerminal as _;

/// Rows under a heading, columns aligned.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    /// Columns whose cells are numbers: aligned to the right.
    numbers: &'static [usize],
}

impl Table {
    /// A table with these headings; `numbers`: columns aligned to the right.
    pub fn new(headings: &[&str], numbers: &'static [usize]) -> Self {
        Self {
            rows: vec![headings.iter().map(ToString::to_string).collect()],
            numbers,
        }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// The table as text, every line indented by two; empty when it has no rows.
    pub fn render(&self, bold: bool) -> String {
        if self.rows.len() < 2 {
            return String::new();
        }
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            self.rows
                .iter()
                .filter_map(|row| row.get(column))
                .map(|cell| cell.chars().count())
                .max()
        };
        let widths: Vec<usize> = (0..columns)
            .map(|column| width(column).unwrap_or(0))
            .collect();
        let mut text = String::new();
        for (at, row) in self.rows.iter().enumerate() {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                let pad = " ".repeat(widths[column] - cell.chars().count());
                let (left, right) = if self.numbers.contains(&column) {
                    (pad, String::new())
                } else {
                    (String::new(), pad)
                };
                line.push_str(&format!("  {left}{cell}{right}"));
            }
            let line = line.trim_end();
            if at == 0 && bold {
                text.push_str(&format!("\x1b[1m{line}\x1b[0m\n"));
            } else {
                text.push_str(&format!("{line}\n"));
            }
        }
        text
    }
}

/// Whether headings may be bold: on a terminal, and unless `NO_COLOR` is set.
pub fn bold() -> bool {
    std::io::stdout().is_terminal()
        && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// A count in at most four digits and a unit.
pub fn short(count: u64) -> String {
    const UNITS: [&str; 7] = ["", "k", "M", "G", "T", "P", "E"];
    let (mut whole, mut rest, mut unit) = (count, 0, 0);
    while whole >= 10_000 || (unit > 0 && whole >= 1_000) {
        (whole, rest, unit) = (whole / 1_000, whole % 1_000, unit + 1);
    }
    if unit == 0 || whole >= 100 {
        format!("{whole}{}", UNITS[unit])
    } else {
        format!("{whole}.{}{}", rest / 100, UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["NAME", "PACKETS"], &[1]);
        assert_eq!(table.render(false), "");
        table.row(["a".into(), "1".into()]);
        table.row(["longer".into(), "1000".into()]);
        assert_eq!(
            table.render(false),
            "  NAME    PACKETS\n  a             1\n  longer     1000\n"
        );
        assert!(
            table
                .render(true)
                .starts_with("\x1b[1m  NAME    PACKETS\x1b[0m\n")
        );
    }

    #[test]
    fn counts_are_short() {
        assert_eq!(short(0), "0");
        assert_eq!(short(9_999), "9999");
        assert_eq!(short(12_345), "12.3k");
        assert_eq!(short(999_999), "999k");
        assert_eq!(short(1_000_000), "1.0M");
        assert_eq!(short(u64::MAX), "18.4E");
    }
}
