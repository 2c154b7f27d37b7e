//! A reader of the Prometheus text format that takes nothing that the format does not allow, written
//! from its description alone.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, bail, ensure};

/// Label names and values.
pub type Labels = BTreeMap<String, String>;

/// A page that was read.
#[derive(Debug, Default)]
pub struct Page {
    /// Type by name of the family.
    pub types: BTreeMap<String, String>,
    /// Values of each series.
    pub series: BTreeMap<(String, Labels), f64>,
}

impl Page {
    pub fn read(text: &str) -> Result<Self> {
        ensure!(text.ends_with('\n'), "the last line does not end");
        let mut page = Self::default();
        let mut helped = BTreeSet::new();
        let mut current = String::new();
        let mut done = BTreeSet::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# ") {
                let (what, rest) = rest.split_once(' ').context("a bare #")?;
                let (name, rest) = rest.split_once(' ').context("no name")?;
                ensure!(is_name(name, true), "{line}");
                match what {
                    "HELP" => ensure!(helped.insert(name.to_owned()), "helped twice: {line}"),
                    "TYPE" => {
                        ensure!(["counter", "gauge", "histogram"].contains(&rest), "{line}");
                        let new = page.types.insert(name.to_owned(), rest.to_owned());
                        ensure!(new.is_none(), "typed twice: {line}");
                        ensure!(done.insert(current), "{line}");
                        current = name.to_owned();
                    }
                    _ => bail!("{line}"),
                }
                continue;
            }
            let (name, labels, value) = sample(line).with_context(|| line.to_owned())?;
            ensure!(
                family(&page, &name) == Some(current.as_str()),
                "not in its place: {line}"
            );
            let new = page.series.insert((name, labels), value);
            ensure!(new.is_none(), "twice: {line}");
        }
        let typed: BTreeSet<String> = page.types.keys().cloned().collect();
        ensure!(typed == helped, "HELP and TYPE are not of the same");
        page.histograms()?;
        Ok(page)
    }

    /// The value of a series, given by the labels that matter; 0 if there are several.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let mut found = self.all(name, labels);
        match (found.next(), found.next()) {
            (Some(value), None) => Ok(value),
            (None, _) => bail!("no {name} {labels:?}"),
            _ => bail!("several {name} {labels:?}"),
        }
    }

    /// Values of all series with these labels.
    pub fn all(&self, name: &str, labels: &[(&str, &str)]) -> impl Iterator<Item = f64> {
        self.series.iter().filter_map(move |((each, has), value)| {
            let fits = |(key, value): &(&str, &str)| has.get(*key).is_some_and(|v| v == value);
            (each == name && labels.iter().all(fits)).then_some(*value)
        })
    }

    /// Buckets do not fall, and the last is the count.
    fn histograms(&self) -> Result<()> {
        for name in self
            .types
            .iter()
            .filter(|(_, kind)| *kind == "histogram")
            .map(|(n, _)| n)
        {
            let bucket = format!("{name}_bucket");
            let mut last: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
            for ((each, labels), value) in &self.series {
                if *each == bucket {
                    let mut labels = labels.clone();
                    let bound = labels.remove("le").context("no le")?;
                    let bound = bound.replace("+Inf", "inf").parse::<f64>()?;
                    last.entry(labels).or_default().push((bound, *value));
                }
            }
            for (labels, mut buckets) in last {
                buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
                ensure!(
                    buckets.is_sorted_by(|one, other| one.1 <= other.1),
                    "{name} {labels:?}"
                );
                let count = self.series.get(&(format!("{name}_count"), labels.clone()));
                ensure!(
                    buckets.last().map(|last| last.1) == count.copied(),
                    "{name}"
                );
                ensure!(buckets.last().is_some_and(|last| last.0.is_infinite()));
                ensure!(self.series.contains_key(&(format!("{name}_sum"), labels)));
            }
        }
        Ok(())
    }
}

/// The family that a sample's name belongs to.
fn family<'p>(page: &'p Page, name: &str) -> Option<&'p str> {
    if let Some((family, kind)) = page.types.get_key_value(name) {
        return (kind != "histogram").then_some(family);
    }
    let suffixes = ["_bucket", "_sum", "_count"];
    let base = suffixes
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))?;
    let (family, kind) = page.types.get_key_value(base)?;
    (kind == "histogram").then_some(family)
}

/// `name{label="value",…} value`, one space, no timestamp.
fn sample(line: &str) -> Result<(String, Labels, f64)> {
    let end = line.find(['{', ' ']).context("no end of the name")?;
    let (name, mut rest) = line.split_at(end);
    ensure!(is_name(name, true), "a bad name");
    let mut labels = Labels::new();
    if let Some(inner) = rest.strip_prefix('{') {
        rest = inner;
        loop {
            let (key, after) = rest.split_once("=\"").context("no label")?;
            ensure!(is_name(key, false), "a bad label name");
            let (value, after) = quoted(after)?;
            ensure!(
                labels.insert(key.to_owned(), value).is_none(),
                "a label twice"
            );
            match after.split_at_checked(1).context("no end of the labels")? {
                (",", after) => rest = after,
                ("}", after) => {
                    rest = after;
                    break;
                }
                _ => bail!("no comma"),
            }
        }
    }
    let value = rest.strip_prefix(' ').context("no space")?;
    ensure!(!value.contains(' '), "more than a value");
    let value: f64 = value.parse()?;
    ensure!(value.is_finite() && value >= 0.0, "no value of ours");
    Ok((name.to_owned(), labels, value))
}

/// A value up to its closing quote, and what follows.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match characters.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, same @ ('"' | '\\'))) => value.push(same),
                _ => bail!("a bad escape"),
            },
            other => value.push(other),
        }
    }
    bail!("no closing quote")
}

fn is_name(text: &str, colons: bool) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_' || colons && c == ':';
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

#[test]
fn what_the_format_does_not_allow_is_refused() {
    let good = "# HELP a A.\n# TYPE a gauge\na{b=\"c\\\"\\\\\\n\"} 1\na{b=\"d\"} 0.5\n";
    let page = Page::read(good).expect("good");
    assert_eq!(page.value("a", &[("b", "c\"\\\n")]).ok(), Some(1.0));
    for (from, to) in [
        ("a{b=\"d\"}", "a{b=\"c\\\"\\\\\\n\"}"),
        ("# HELP a A.\n", ""),
        ("# TYPE a gauge\n", "# TYPE a gauge\n# TYPE a gauge\n"),
        ("a{b=\"d\"}", "b{b=\"d\"}"),
        (" 0.5\n", " 0.5"),
        (" 0.5", " much"),
        (" 0.5", "  0.5"),
        ("\"d\"", "\"d"),
        ("\\n", "\\t"),
        ("b=\"d\"", "1=\"d\""),
        ("b=\"d\"", "b=\"d\","),
    ] {
        assert!(good.contains(from));
        let bad = good.replacen(from, to, 1);
        assert!(Page::read(&bad).is_err(), "{bad}");
    }
}
