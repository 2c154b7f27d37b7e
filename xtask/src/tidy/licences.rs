//! Licences and sources of the dependencies, against the allow lists of `deny.toml`.

use anyhow::{Context as _, Result};
use serde::Deserialize;

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// Where it comes from; the workspace's own have none.
    source: Option<String>,
}

/// `rules` is the text of `deny.toml`, `metadata` what `cargo metadata` prints.
pub fn check(rules: &str, metadata: &str) -> Result<Vec<String>> {
    let allowed = list(rules, "allow").context("deny.toml has no list `allow`")?;
    let registries =
        list(rules, "allow-registry").context("deny.toml has no list `allow-registry`")?;
    let metadata: Metadata =
        serde_json::from_str(metadata).context("cargo metadata prints something unknown")?;
    let mut findings = Vec::new();
    for Package {
        name,
        version,
        license,
        source,
    } in metadata.packages
    {
        let license = license.unwrap_or_default();
        if !permitted(&license, &allowed) {
            findings.push(format!(
                "{name} {version}: licence `{license}` is not in deny.toml"
            ));
        }
        let known = |source: &str| {
            registries
                .iter()
                .any(|registry| source == format!("registry+{registry}"))
        };
        if let Some(source) = source.filter(|source| !known(source)) {
            findings.push(format!("{name} {version}: comes from {source}"));
        }
    }
    Ok(findings)
}

/// The strings of the array `key` in a TOML text, at the start of a line.
fn list<'a>(text: &'a str, key: &str) -> Option<Vec<&'a str>> {
    let start = text.match_indices(key).find_map(|(at, _)| {
        let line_start = at == 0 || text[..at].ends_with('\n');
        text[at + key.len()..]
            .trim_start()
            .strip_prefix('=')
            .filter(|_| line_start)
    })?;
    let (items, _) = start.trim_start().strip_prefix('[')?.split_once(']')?;
    Some(items.split('"').skip(1).step_by(2).collect())
}

/// Whether an SPDX expression can be met with allowed licences alone. `AND` binds closer than `OR`.
fn permitted(expression: &str, allowed: &[&str]) -> bool {
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<_> = spaced.split_whitespace().collect();
    let mut rest = tokens.as_slice();
    any(&mut rest, allowed).unwrap_or(false) && rest.is_empty()
}

fn any(rest: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    let mut met = all(rest, allowed)?;
    while let Some(tail) = rest.strip_prefix(&["OR"]) {
        *rest = tail;
        met |= all(rest, allowed)?;
    }
    Some(met)
}

fn all(rest: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    let mut met = one(rest, allowed)?;
    while let Some(tail) = rest.strip_prefix(&["AND"]) {
        *rest = tail;
        met &= one(rest, allowed)?;
    }
    Some(met)
}

fn one(rest: &mut &[&str], allowed: &[&str]) -> Option<bool> {
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    if *first == "(" {
        let met = any(rest, allowed)?;
        *rest = rest.strip_prefix(&[")"])?;
        return Some(met);
    }
    let mut licence = (*first).to_owned();
    if let ["WITH", exception, tail @ ..] = *rest {
        licence = format!("{licence} WITH {exception}");
        *rest = tail;
    }
    Some(allowed.contains(&licence.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_by_what_is_allowed() {
        let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"];
        for good in [
            "MIT",
            "MIT/GPL-2.0",
            "GPL-2.0 OR MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR Apache-2.0",
        ] {
            assert!(permitted(good, &allowed), "{good}");
        }
        for bad in [
            "",
            "GPL-2.0",
            "MIT AND GPL-2.0",
            "(MIT",
            "MIT)",
            "MIT MIT",
            "MIT OR",
            "Apache-2.0 WITH x",
        ] {
            assert!(!permitted(bad, &allowed), "{bad}");
        }
    }

    #[test]
    fn licences_and_sources_are_checked() {
        let rules = "allow = [\n  \"MIT\",\n]\nallow-registry = [\"https://a.example/index\"]\n";
        let metadata = r#"{"packages": [
            {"name": "own", "version": "1.0.0", "license": "MIT", "source": null},
            {"name": "fine", "version": "1.0.0", "license": "MIT", "source": "registry+https://a.example/index"},
            {"name": "bad", "version": "2.0.0", "license": "GPL-3.0", "source": "git+https://b.example/x"}
        ]}"#;
        let findings = check(rules, metadata).expect("well formed");
        assert_eq!(findings.len(), 2);
        assert!(
            findings
                .iter()
                .all(|finding| finding.starts_with("bad 2.0.0:"))
        );
        assert!(check("allow-registry = []", metadata).is_err());
    }
}
