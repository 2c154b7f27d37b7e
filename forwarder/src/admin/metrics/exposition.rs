//! The Prometheus text exposition format, version 0.0.4.

use std::fmt::{Display, Write as _};

use super::catalogue::Metric;
use crate::core::histogram::{BOUNDS, Histogram};

/// What the HTTP answer is said to be.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics being written.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

/// The samples of one metric being written.
#[derive(Debug)]
pub struct Family<'p> {
    text: &'p mut String,
    metric: &'static Metric,
}

impl Page {
    /// Begins a metric; each at most once.
    pub fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let help = metric.help.replace('\\', "\\\\").replace('\n', "\\n");
        let (name, kind) = (metric.name, metric.kind.word());
        self.text += &format!("# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family {
            text: &mut self.text,
            metric,
        }
    }

    /// The page.
    pub fn finish(self) -> String {
        self.text
    }
}

impl Family<'_> {
    /// A sample, with a value for each of the metric's labels.
    pub fn sample<const N: usize>(&mut self, labels: [&str; N], value: impl Display) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// A sample of each state: 1 for the one that holds, 0 for the others. The state is the last label.
    pub fn states<const N: usize>(&mut self, labels: [&str; N], states: &[&str], holds: &str) {
        let mut all: Vec<&str> = labels.to_vec();
        all.push("");
        for state in states {
            if let Some(last) = all.last_mut() {
                *last = state;
            }
            self.write("", &all, None, u8::from(*state == holds));
        }
    }

    /// A histogram.
    pub fn histogram<const N: usize>(&mut self, labels: [&str; N], histogram: &Histogram) {
        for (bound, count) in BOUNDS.iter().zip(histogram.cumulative()) {
            self.line("_bucket", labels, Some(&bound.to_string()), count);
        }
        self.line("_bucket", labels, Some("+Inf"), histogram.count());
        self.line("_sum", labels, None, histogram.sum().as_secs_f64());
        self.line("_count", labels, None, histogram.count());
    }

    fn line<const N: usize>(
        &mut self,
        suffix: &str,
        labels: [&str; N],
        bound: Option<&str>,
        value: impl Display,
    ) {
        self.write(suffix, &labels, bound, value);
    }

    fn write(&mut self, suffix: &str, labels: &[&str], bound: Option<&str>, value: impl Display) {
        debug_assert_eq!(labels.len(), self.metric.labels.len());
        self.text.push_str(self.metric.name);
        self.text.push_str(suffix);
        let named = self
            .metric
            .labels
            .iter()
            .copied()
            .zip(labels.iter().copied());
        let mut before = '{';
        for (name, value) in named.chain(bound.map(|bound| ("le", bound))) {
            self.text.push(before);
            self.text.push_str(name);
            self.text.push_str("=\"");
            escape(self.text, value);
            self.text.push('"');
            before = ',';
        }
        if before == ',' {
            self.text.push('}');
        }
        // Writing to a string does not fail.
        let _ = writeln!(self.text, " {value}");
    }
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::catalogue;
    use super::*;

    #[test]
    fn writes_the_format() {
        let mut page = Page::default();
        page.family(&catalogue::PROBLEMS).sample([], 3);
        page.family(&catalogue::CONFIG_INFO)
            .sample(["a\"b\\c\nd"], 1);
        page.family(&catalogue::ROLE)
            .states([], &["single", "active"], "active");
        let mut histogram = Histogram::default();
        histogram.observe(Duration::from_millis(2));
        page.family(&catalogue::HEALTH_CHECK_DURATION)
            .histogram(["web"], &histogram);
        let text = page.finish();
        for line in [
            "forwarder_problems 3",
            r#"forwarder_config_info{sha256="a\"b\\c\nd"} 1"#,
            "# TYPE forwarder_role gauge",
            r#"forwarder_role{role="single"} 0"#,
            r#"forwarder_role{role="active"} 1"#,
            r#"forwarder_health_check_duration_seconds_bucket{pool="web",le="0.001"} 0"#,
            r#"forwarder_health_check_duration_seconds_bucket{pool="web",le="0.0025"} 1"#,
            r#"forwarder_health_check_duration_seconds_bucket{pool="web",le="+Inf"} 1"#,
            r#"forwarder_health_check_duration_seconds_sum{pool="web"} 0.002"#,
            r#"forwarder_health_check_duration_seconds_count{pool="web"} 1"#,
        ] {
            assert!(
                text.lines().any(|each| each == line),
                "no {line} in\n{text}"
            );
        }
    }
}
