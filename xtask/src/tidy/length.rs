//! Short files: each has one reason to change.

use crate::workspace::File;

/// Longest Rust file allowed, in lines.
const LIMIT: usize = 600;

pub fn check(files: &[File]) -> Vec<String> {
    let long = rust(files).filter(|(_, lines)| *lines > LIMIT);
    long.map(|(path, lines)| {
        format!("{path}: {lines} lines, at most {LIMIT}: split it by what changes together")
    })
    .collect()
}

/// The median length of the Rust files.
pub fn median(files: &[File]) -> usize {
    let mut lengths: Vec<_> = rust(files).map(|(_, lines)| lines).collect();
    lengths.sort_unstable();
    lengths.get(lengths.len() / 2).copied().unwrap_or(0)
}

/// The length of the longest Rust file.
pub fn longest(files: &[File]) -> usize {
    rust(files).map(|(_, lines)| lines).max().unwrap_or(0)
}

fn rust(files: &[File]) -> impl Iterator<Item = (&str, usize)> {
    let rust = files.iter().filter(|file| file.path.ends_with(".rs"));
    rust.map(|file| (file.path.as_str(), file.text.lines().count()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn only_long_rust_files_are_named() {
        let files = [
            file("a.rs", "x\n".repeat(600)),
            file("b.rs", "x\n".repeat(601)),
            file("c.md", "x\n".repeat(900)),
            file("d.rs", "x\n"),
        ];
        let findings = check(&files);
        assert_eq!(findings.len(), 1);
        assert!(findings[0].starts_with("b.rs: 601 lines"));
        assert_eq!((median(&files), longest(&files)), (600, 601));
        assert_eq!(median(&[]), 0);
    }
}
