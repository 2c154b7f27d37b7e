//! Secrets in what is shown of a file: a key's name and place help, its value would only leak.

use super::suggest::nearest;

/// Keys whose values are secrets.
const SECRETS: [&str; 1] = ["hash_key"];
/// A key with such a word in its name is taken for a secret, too, unless it names a file.
const WORDS: [&str; 4] = ["key", "secret", "password", "token"];
/// A secret of its own accord, wherever it stands: so many characters, nearly all of them hexadecimal digits
/// and not all of those decimal.
const DIGITS: usize = 16;

/// Whether the value of a key is none of the reader's business; also where the name is mistyped.
pub(super) fn is_secret(key: &str) -> bool {
    let key = key.rsplit('.').next().unwrap_or(key);
    let key = key.trim_matches(['"', '\'', ' ']).to_ascii_lowercase();
    let mut words = key.split(['_', '-']);
    !key.ends_with("file")
        && (words.any(|word| WORDS.contains(&word)) || nearest(&key, SECRETS).is_some())
}

/// A line of the file, character by character, with what may be secret blotted out.
pub(super) fn masked_line(line: &str) -> String {
    let assigned = line.match_indices('=').find(|(at, _)| {
        let before = line[..*at].trim_end();
        let name = before.rsplit([' ', '\t', ',', '{']).next();
        is_secret(name.unwrap_or(before))
    });
    let Some((at, _)) = assigned else {
        return masked(line);
    };
    let (shown, hidden) = line.split_at(at + 1);
    let stays = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
    let hidden = hidden.chars().map(|c| if stays(c) { c } else { '*' });
    shown.chars().chain(hidden).collect()
}

/// Text with long hexadecimal numbers blotted out.
pub(super) fn masked(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let of_word = |c: char| c.is_ascii_alphanumeric() == first.is_ascii_alphanumeric();
        let end = rest.find(|c| !of_word(c)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let digits = run.bytes().filter(u8::is_ascii_hexdigit).count();
        let decimal = run.bytes().filter(u8::is_ascii_digit).count();
        if run.len() >= DIGITS && digits * 4 >= run.len() * 3 && digits > decimal {
            out.extend(run.chars().map(|_| '*'));
        } else {
            out.push_str(run);
        }
        rest = after;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, sections};

    const DIGITS: &str = "00112233445566778899aabbccddeefg";

    /// Whatever is wrong with the line or beside it, and however the key is spelt.
    #[test]
    fn a_secret_is_never_shown() {
        let half = &DIGITS[..15];
        for line in [
            format!("hash_key = \"{DIGITS}\""),
            format!("hash_key = \"{half}\""),
            format!("hash_key = {DIGITS}"),
            format!("hash_key = {half}-{half}"),
            format!("hash_key = \"{half} {half}"),
            format!("hash_key = [\"{half}\"]"),
            format!("\"hash_key\" = \"{half}\""),
            format!("hash_kye = \"{half}\""),
            format!("Hash-Key=\"{half}\""),
            format!("hashkey = \"{half}\""),
            format!("pair = {{ peer_key = \"{half}\", port = \"x\" }}"),
            format!("secret = '{half}'"),
            format!("hash_key = \"{half}\"\nhash_key = \"{half}\""),
            DIGITS.to_owned(),
            format!("\"{DIGITS}\""),
            format!("hash_key = \"\"\"\n{DIGITS}"),
            format!("node = \"{DIGITS}\""),
        ] {
            // At the first line, it is also what an error about the whole file shows.
            for text in [
                format!("{line}\nversion = 1\n"),
                format!("version = 1\n{line}\n"),
            ] {
                let errors = config::parse("f.toml", &text).expect_err("a bad file");
                let said = errors.to_string();
                assert!(!said.contains(&DIGITS[..9]), "{text}\n{said}");
                assert!(said.contains("--> f.toml:"), "{said}");
            }
        }
    }

    #[test]
    fn what_is_no_secret_is_shown() {
        for section in sections() {
            for key in section.keys {
                let secret = key.about.contains("secret") && !key.name.ends_with("_file");
                assert_eq!(is_secret(key.name), secret, "{}", key.name);
                let line = format!("{} = {}", key.name, key.example);
                assert_eq!(masked_line(&line) != line, secret, "{line}");
            }
        }
        for line in [
            "address = \"2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff\" # feed",
            "name = \"a-rather-long-name-of-a-virtual-server\"",
            "ca_file = \"/etc/ssl/certs/ca-certificates.crt\"",
            "virtual_servers = 99999999999999999999",
            "é = ü == \"ß\"",
            "",
        ] {
            assert_eq!(masked_line(line), line);
        }
    }
}
