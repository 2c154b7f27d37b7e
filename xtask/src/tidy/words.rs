//! Words that have no place in the repository: unfinished work, skipped tests, one machine's paths.

use crate::workspace::File;

/// Written in two parts, so that this list does not find itself.
const FORBIDDEN: [(&str, &str); 8] = [
    (concat!("/wor", "k/"), "a path of one machine"),
    (concat!("/tmp/", "w"), "a path of one machine"),
    (concat!("/tmp/", "bash_jobs"), "a path of one machine"),
    (concat!("to", "do!("), "unfinished"),
    (concat!("unimpl", "emented!("), "unfinished"),
    (
        concat!("#[ig", "nore"),
        "a test that does not run tests nothing",
    ),
    (
        concat!("FIX", "ME"),
        "unfinished: mend it or write down the limit",
    ),
    (
        concat!("XX", "X"),
        "unfinished: mend it or write down the limit",
    ),
];

pub fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files {
        for (number, line) in file.text.lines().enumerate() {
            for (word, why) in FORBIDDEN {
                if has_word(line, word) {
                    findings.push(format!("{}:{}: `{word}`: {why}", file.path, number + 1));
                }
            }
        }
    }
    findings
}

/// Whether `line` has `word` with nothing alphanumeric joined to an end of it that is so itself.
fn has_word(line: &str, word: &str) -> bool {
    let joined = |a: Option<char>, b: Option<char>| {
        a.is_some_and(char::is_alphanumeric) && b.is_some_and(char::is_alphanumeric)
    };
    line.match_indices(word).any(|(at, _)| {
        let (before, after) = (&line[..at], &line[at + word.len()..]);
        !joined(before.chars().next_back(), word.chars().next())
            && !joined(word.chars().next_back(), after.chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn every_word_is_found_with_its_line() {
        for (word, _) in FORBIDDEN {
            let findings = check(&[file("a.md", format!("fine\nsome {word} here\n"))]);
            assert_eq!(findings.len(), 1, "{word}");
            assert!(findings[0].starts_with("a.md:2:"), "{}", findings[0]);
        }
    }

    #[test]
    fn parts_of_longer_words_are_fine() {
        let marker = FORBIDDEN[7].0;
        assert!(
            check(&[file(
                "a.sh",
                format!("mktemp /run/a.{marker}{marker} {marker}y")
            )])
            .is_empty()
        );
        assert!(check(&[file("a.rs", "/tmp/where /tmp/wide network/working")]).is_empty());
    }
}
