//! Whatever is no cost of a packet or connection: a table of it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::shown;
use crate::bench::bars::rounded;
use crate::bench::statistic::Spread;

/// Some things that were measured alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// What they are about.
    pub name: String,
    /// What was done, for people.
    pub about: String,
    /// Units, or more. The first is that of a row's value.
    pub columns: Vec<String>,
    /// Of each: what was measured.
    pub rows: Vec<Row>,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What it is.
    pub name: String,
    /// What counts: less is better.
    pub value: Spread,
    /// Whatever else is known.
    #[serde(default)]
    pub more: Vec<f64>,
}

impl Table {
    /// Of these.
    pub fn new(name: &str, about: &str, columns: &[&str], rows: Vec<Row>) -> Self {
        Self {
            name: name.to_owned(),
            about: about.to_owned(),
            columns: columns.iter().map(|&column| column.to_owned()).collect(),
            rows,
        }
    }

    /// What can be compared with another run's.
    pub fn costs(&self) -> impl Iterator<Item = (String, Spread, String)> + '_ {
        let unit = self.columns.first().cloned().unwrap_or_default();
        let cost = move |row: &Row| {
            let name = format!("{}/{}", self.name, row.name);
            (name, row.value, unit.clone())
        };
        self.rows.iter().map(cost)
    }
}

impl Row {
    /// With a value, and more.
    pub fn new(name: impl Into<String>, value: Spread, more: &[f64]) -> Self {
        Self {
            name: name.into(),
            value: shown(value),
            more: more.iter().copied().map(rounded).collect(),
        }
    }

    /// Every column, as people read it.
    pub fn cells(&self, columns: usize) -> Vec<String> {
        let first = match self.value.mad {
            0.0 => number(self.value.median),
            mad => format!("{} ± {}", number(self.value.median), number(mad)),
        };
        let more = self.more.iter().map(|value| number(*value));
        let mut cells: Vec<String> = std::iter::once(first).chain(more).collect();
        cells.resize(columns, String::new());
        cells
    }
}

/// Three digits, or all before the point.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// All of them.
pub fn markdown(text: &mut String, tables: &[Table]) {
    for table in tables {
        let _ = write!(text, "\n{}\n\n| {} |", table.about, table.name);
        for column in &table.columns {
            let _ = write!(text, " {column} |");
        }
        let _ = writeln!(text, "\n|---|{}", "---:|".repeat(table.columns.len()));
        for row in &table.rows {
            let cells = row.cells(table.columns.len());
            let _ = writeln!(text, "| {} | {} |", row.name, cells.join(" | "));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let shown = [0.0, 12.0, 0.123, 12.345, 1234.5].map(number);
        assert_eq!(shown, ["0", "12", "0.12", "12.3", "1234"]);
        let spread = Spread {
            median: 7.0,
            mad: 0.5,
        };
        assert_eq!(
            Row::new("a", spread, &[3.0]).cells(3),
            ["7 ± 0.50", "3", ""]
        );
    }
}
