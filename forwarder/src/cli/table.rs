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

    /// The table as text, every line indented by two; empty when it has no rows. Where it is wider
    /// than the look allows, its last column is wrapped, then the widest others are cut.
    pub fn render(&self, look: Look) -> String {
        if self.rows.len() < 2 {
            return String::new();
        }
        let mut widths = self.widths();
        if let Some(room) = look.width {
            fit(&mut widths, room, self.numbers);
        }
        let mut text = String::new();
        for (at, row) in self.rows.iter().enumerate() {
            for line in lines(row, &widths, self.numbers) {
                if at == 0 && look.bold {
                    text.push_str(&format!("\x1b[1m{line}\x1b[0m\n"));
                } else {
                    text.push_str(&format!("{line}\n"));
                }
            }
        }
        text
    }

    fn widths(&self) -> Vec<usize> {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        (0..columns).map(width).collect()
    }
}

/// Nothing is made narrower than this.
const LEAST: usize = 12;

/// Makes columns that are not numbers narrower until all have room: the last one first, as it is
/// wrapped, then always the widest.
fn fit(widths: &mut [usize], room: usize, numbers: &[usize]) {
    let total = |widths: &[usize]| widths.iter().map(|width| width + 2).sum::<usize>();
    let last = widths.len().saturating_sub(1);
    let over = total(widths).saturating_sub(room);
    if !numbers.contains(&last)
        && let Some(width) = widths.last_mut()
    {
        *width = width
            .saturating_sub(over)
            .max(LEAST.min(*width) * 2)
            .min(*width);
    }
    while total(widths) > room {
        let text = (0..widths.len()).filter(|column| !numbers.contains(column));
        let widest = text
            .filter(|column| widths[*column] > LEAST)
            .max_by_key(|c| widths[*c]);
        match widest {
            Some(column) => widths[column] -= 1,
            None => return,
        }
    }
}

/// A row: one line, or more where its last cell is wrapped.
fn lines(row: &[String], widths: &[usize], numbers: &[usize]) -> Vec<String> {
    let last = row.len().saturating_sub(1);
    let mut line = String::new();
    let mut more = Vec::new();
    for (column, (cell, width)) in row.iter().zip(widths).enumerate() {
        let mut parts = if column == last && !numbers.contains(&column) {
            wrap(cell, *width)
        } else {
            vec![cut(cell, *width)]
        };
        let rest = parts.split_off(1);
        let cell = parts.pop().unwrap_or_default();
        let pad = " ".repeat(width.saturating_sub(cell.chars().count()));
        let indent = line.chars().count() + 2;
        more.extend(rest.into_iter().map(|part| format!("{:indent$}{part}", "")));
        if numbers.contains(&column) {
            line.push_str(&format!("  {pad}{cell}"));
        } else {
            line.push_str(&format!("  {cell}{pad}"));
        }
    }
    more.insert(0, line.trim_end().to_owned());
    more
}

fn cut(cell: &str, width: usize) -> String {
    if cell.chars().count() <= width {
        return cell.to_owned();
    }
    let kept: String = cell.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// Text in lines; a word that is longer than a line is cut.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let length = lines.last().map_or(0, |line| line.chars().count());
        if length > 0 && length + 1 + word.chars().count() > width {
            lines.push(cut(word, width));
        } else if let Some(line) = lines.last_mut() {
            if length > 0 {
                line.push(' ');
            }
            line.push_str(&cut(word, width));
        }
    }
    lines
}

/// What a table may look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Whether headings may be bold.
    pub bold: bool,
    /// Columns that there are; `None`: as many as it takes.
    pub width: Option<usize>,
}

impl Look {
    /// Bold headings on a terminal unless `NO_COLOR` is set, and no wider than it; elsewhere every
    /// row is one line, whatever its length.
    pub fn of_output() -> Self {
        if !std::io::stdout().is_terminal() {
            return Self::default();
        }
        let size = terminal_size::terminal_size();
        Self {
            bold: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            width: size.map(|(width, _)| usize::from(width.0).max(40)),
        }
    }
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
        let plain = Look::default();
        assert_eq!(table.render(plain), "");
        table.row(["a".into(), "1".into()]);
        table.row(["longer".into(), "1000".into()]);
        assert_eq!(
            table.render(plain),
            "  NAME    PACKETS\n  a             1\n  longer     1000\n"
        );
        assert!(
            table
                .render(Look {
                    bold: true,
                    width: None
                })
                .starts_with("\x1b[1m  NAME    PACKETS\x1b[0m\n")
        );
    }

    #[test]
    fn a_narrow_terminal_gets_narrow_tables() {
        let mut table = Table::new(&["NAME", "PACKETS", "WHY"], &[1]);
        table.row([
            "a-very-long-name-of-a-thing".into(),
            "1".into(),
            "connection refused by somebody who is not there".into(),
        ]);
        let wide = table.render(Look::default());
        assert_eq!(wide.lines().count(), 2);
        for width in 60..100 {
            let text = table.render(Look {
                bold: false,
                width: Some(width),
            });
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{text}");
            let words: Vec<&str> = text.split_whitespace().collect();
            assert!(words.ends_with(&["not", "there"]), "{text}");
        }
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
