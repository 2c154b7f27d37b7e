//! Something about a host that somebody should know, and what to do about it.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// As it should be.
    Ok,
    /// Good to know.
    Note,
    /// It works, but not always, or slower than it could.
    Warning,
    /// It does not work.
    Error,
}

impl Display for Severity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        })
    }
}

/// What was looked at, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// What it is about: a device, a virtual server, or `host`.
    pub subject: String,
    /// A word for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub message: String,
    /// Commands that set it right, in order; empty: there is none.
    pub fix: Vec<String>,
    /// Whether the fix can be applied without being asked about: it can cut nobody off.
    pub safe: bool,
}

impl Finding {
    /// A finding without a fix.
    pub fn new(
        severity: Severity,
        subject: impl Into<String>,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self {
            severity,
            subject: subject.into(),
            code,
            message: message.into(),
            fix: Vec::new(),
            safe: false,
        }
    }

    /// The same with commands that are safe to run.
    pub fn safe_fix(self, fix: impl IntoIterator<Item = String>) -> Self {
        Self {
            fix: fix.into_iter().collect(),
            safe: true,
            ..self
        }
    }

    /// The same with commands that somebody should decide about.
    pub fn fix(self, fix: impl IntoIterator<Item = String>) -> Self {
        Self {
            fix: fix.into_iter().collect(),
            safe: false,
            ..self
        }
    }
}

/// Findings for people, by subject in the order of their first; the last line counts them.
pub fn report(findings: &[Finding]) -> String {
    let mut text = String::new();
    let mut subjects: Vec<&str> = Vec::new();
    for finding in findings {
        if !subjects.contains(&finding.subject.as_str()) {
            subjects.push(&finding.subject);
        }
    }
    for subject in subjects {
        text.push_str(&format!("{subject}\n"));
        for finding in findings.iter().filter(|each| each.subject == subject) {
            text.push_str(&format!(
                "  {:8} {}: {}\n",
                finding.severity, finding.code, finding.message
            ));
            for command in &finding.fix {
                text.push_str(&format!("             {command}\n"));
            }
        }
    }
    text + &summary(findings)
}

fn summary(findings: &[Finding]) -> String {
    let count = |severity| {
        let matching = findings.iter().filter(|each| each.severity == severity);
        matching.count()
    };
    let plural =
        |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    format!(
        "{}, {}, {} looked at",
        plural(count(Severity::Error), "error"),
        plural(count(Severity::Warning), "warning"),
        plural(findings.len(), "thing"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_of_a_subject_stand_together_with_their_fixes() {
        let ok = |subject: &str| Finding::new(Severity::Ok, subject, "mtu", "1500 bytes");
        let bad = Finding::new(Severity::Error, "eth0", "lro", "it is on")
            .safe_fix(["ethtool -K eth0 lro off".to_owned()]);
        assert_eq!(
            report(&[ok("eth0"), ok("host"), bad]),
            "eth0\n  ok       mtu: 1500 bytes\n  ERROR    lro: it is on\n             ethtool -K eth0 lro off\n\
             host\n  ok       mtu: 1500 bytes\n1 error, 0 warnings, 3 things looked at"
        );
    }
}
