//! Relative links in Markdown lead to a file, and their fragments to a heading.

use crate::workspace::File;

/// `exists` says whether a path relative to the root is there (directories too).
pub fn check(files: &[File], exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        for (number, target) in targets(&file.text) {
            if let Some(wrong) = broken(file, target, files, exists) {
                findings.push(format!("{}:{number}: `{target}`: {wrong}", file.path));
            }
        }
    }
    findings
}

fn broken(
    file: &File,
    target: &str,
    files: &[File],
    exists: &dyn Fn(&str) -> bool,
) -> Option<&'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (path, fragment) = target
        .split_once('#')
        .map_or((target, None), |(path, to)| (path, Some(to)));
    let path = if path.is_empty() {
        Some(file.path.clone())
    } else {
        resolve(&file.path, path)
    };
    let Some(path) = path else {
        return Some("it leaves the repository");
    };
    if !exists(&path) {
        return Some("there is no such file");
    }
    let linked = files
        .iter()
        .find(|file| file.path == path && path.ends_with(".md"))?;
    let found =
        fragment.is_none_or(|fragment| headings(&linked.text).any(|heading| heading == fragment));
    (!found).then_some("there is no such heading")
}

/// The targets of inline links and images outside of code, with their line numbers.
fn targets(text: &str) -> impl Iterator<Item = (usize, &str)> {
    prose(text).flat_map(|(number, line)| {
        let starts = line
            .match_indices("](")
            .map(|(at, mark)| &line[at + mark.len()..]);
        starts.filter_map(move |rest| Some((number, rest.split([')', ' ']).next()?)))
    })
}

/// Lines outside of fenced code, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

/// The fragments of a text's headings, as code hosts make them.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            let kept = title
                .chars()
                .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
}

/// `to`, seen from the file `from`, as a path from the root.
fn resolve(from: &str, to: &str) -> Option<String> {
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in to.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    fn findings(text: &str) -> Vec<String> {
        let files = [
            file("docs/a.md", text),
            file("README.md", "# Five minutes: `run` it\n"),
        ];
        let there = ["docs/a.md", "README.md", "docs"];
        check(&files, &|path| there.contains(&path))
    }

    #[test]
    fn good_links_pass() {
        let text = "# Top\n[a](../README.md) [b](../README.md#five-minutes-run-it) [c](#top) ![d](../docs/)
[e](https://example.net/x) [f](mailto:a@example.net)\n```\n[code](nowhere)\n```\n";
        assert_eq!(findings(text), Vec::<String>::new());
    }

    #[test]
    fn broken_links_are_named_with_their_line() {
        let text = "\n[a](b.md)\n[c](../README.md#gone)\n[d](../../x)\n";
        assert_eq!(
            findings(text),
            [
                "docs/a.md:2: `b.md`: there is no such file",
                "docs/a.md:3: `../README.md#gone`: there is no such heading",
                "docs/a.md:4: `../../x`: it leaves the repository",
            ]
        );
    }
}
