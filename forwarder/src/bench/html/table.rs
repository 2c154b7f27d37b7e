//! Tables on the page.

use std::fmt::Write as _;

use super::escape;
use crate::bench::report::Table;

/// All of them, each with a heading.
pub fn sections(text: &mut String, tables: &[Table]) {
    for table in tables {
        let heading: String = table
            .name
            .chars()
            .take(1)
            .flat_map(char::to_uppercase)
            .collect();
        let rest: String = table.name.chars().skip(1).collect();
        let _ = write!(
            text,
            "<h2>{heading}{}</h2>\n<p>{}</p>\n<table><tr><th>",
            escape(&rest),
            escape(&table.about)
        );
        for column in &table.columns {
            let _ = write!(text, "<th class=n>{}", escape(column));
        }
        for row in &table.rows {
            let _ = write!(text, "\n<tr><td>{}", escape(&row.name));
            for cell in row.cells(table.columns.len()) {
                let _ = write!(text, "<td class=n>{}", escape(&cell));
            }
        }
        text.push_str("</table>\n");
    }
}
