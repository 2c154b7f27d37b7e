//! The tests that `docs/tests.md` names exist.

use std::collections::BTreeSet;

use crate::workspace::File;

const PAGE: &str = "docs/tests.md";

pub fn check(files: &[File]) -> Vec<String> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    let functions: BTreeSet<&str> = rust.flat_map(|file| functions(&file.text)).collect();
    let page = files.iter().filter(|file| file.path == PAGE);
    page.flat_map(|page| names(&page.text))
        .filter(|name| !functions.contains(name))
        .map(|name| format!("{PAGE}: there is no test {name}"))
        .collect()
}

fn functions(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix("fn ")?.split('(').next())
}

/// Words in backquotes that can be functions, in the last column of the tables.
fn names(text: &str) -> impl Iterator<Item = &str> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    let tests = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    let quoted = tests.flat_map(|tests| tests.split('`').skip(1).step_by(2));
    quoted.filter(|word| {
        word.contains('_')
            && word
                .chars()
                .all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter))
    })
}

#[cfg(test)]
mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_test_that_is_gone_is_found() {
        let page = "| B1 | x `not_this` | `is_there`, `is_gone`; `cargo xtask bench` |\n";
        let files = [file(PAGE, page), file("a.rs", "    fn is_there() {\n")];
        let found = check(&files);
        assert_eq!(found, ["docs/tests.md: there is no test is_gone"]);
    }
}
