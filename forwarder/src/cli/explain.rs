//! `forwarder explain`.

use std::process::ExitCode;

use anyhow::{Result, bail};
use forwarder_common::Reason;
use serde::Serialize;

use super::table::{Look, Table};
use super::{Output, emit};
use crate::config::Code;

/// Arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Explain {
    /// The code, such as unknown-key or drop-no-next-hop [default: list them all]
    code: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
}

/// A code in words.
#[derive(Debug, Serialize)]
struct Explanation {
    code: &'static str,
    kind: String,
    meaning: &'static str,
    next: &'static str,
}

/// Every code and reason there is.
fn explanations() -> Vec<Explanation> {
    let codes = Code::ALL.iter().map(|code| Explanation {
        code: code.name(),
        kind: format!("config {}", code.severity()),
        meaning: code.about(),
        next: code.next(),
    });
    let reasons = Reason::ALL.iter().map(|reason| Explanation {
        code: reason.name(),
        kind: format!("packet, {:?}", reason.outcome()).to_lowercase(),
        meaning: reason.meaning(),
        next: reason.next(),
    });
    codes.chain(reasons).collect()
}

pub fn explain(arguments: &Explain) -> Result<ExitCode> {
    let mut all = explanations();
    if let Some(code) = &arguments.code {
        all.retain(|each| each.code == code);
        if all.is_empty() {
            bail!("there is no code {code}{}", like(code));
        }
    }
    emit(arguments.output, &all, || match all.as_slice() {
        [one] => format!(
            "{} ({})\n  {}\n  next: {}",
            one.code, one.kind, one.meaning, one.next
        ),
        all => {
            let mut table = Table::new(&["CODE", "KIND", "MEANING"], &[]);
            for each in all {
                table.row([each.code.into(), each.kind.clone(), each.meaning.into()]);
            }
            table.render(Look::of_output())
        }
    })?;
    Ok(ExitCode::SUCCESS)
}

/// A code that is spelled much like this one.
fn like(code: &str) -> String {
    let all = explanations().into_iter();
    let closest = all.min_by_key(|each| strsim::damerau_levenshtein(each.code, code));
    match closest {
        Some(each) if strsim::damerau_levenshtein(each.code, code) <= code.len() / 3 => {
            format!("; did you mean {}?", each.code)
        }
        _ => "; without a code all are listed".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_explained_once() {
        let all = explanations();
        assert_eq!(all.len(), Code::ALL.len() + Reason::COUNT);
        for each in &all {
            let same = all.iter().filter(|other| other.code == each.code).count();
            assert_eq!(same, 1, "{}", each.code);
            assert!(each.meaning.ends_with('.'), "{}", each.code);
            assert!(each.next.len() > 10, "{}", each.code);
            assert_ne!(each.next, each.meaning);
        }
    }

    #[test]
    fn a_wrong_code_is_met_with_the_nearest() {
        assert_eq!(like("unknown-kee"), "; did you mean unknown-key?");
        assert_eq!(like("xyz"), "; without a code all are listed");
    }
}
