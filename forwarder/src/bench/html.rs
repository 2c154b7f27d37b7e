//! The report as one page: tables and plots (SVG), nothing from elsewhere.

mod plot;
mod table;
mod wire;

use std::fmt::Write as _;

use forwarder_common::Mode;

use super::report::{Measured, Report};
use plot::{Line, bars, lines};

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;max-width:62em;margin:2em auto;padding:0 1em;color:#1c2430}\
h1{font-size:1.6em;margin-bottom:.2em}h2{font-size:1.15em;margin:2em 0 .4em}h3{font-size:1em;margin:1.6em 0 .3em}p{margin:.4em 0;color:#4a5666}\
table{border-collapse:collapse;width:100%}td,th{padding:.25em .6em;border-bottom:1px solid #e3e7ec;text-align:left}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.n,.holds,.missed,.open{white-space:nowrap}.holds{color:#17734a}.missed{color:#b3261e;font-weight:600}\
.open{color:#8a6d00}svg{width:100%;height:auto;background:#fafbfc;border:1px solid #e3e7ec;border-radius:6px}\
svg text{font:12px system-ui,sans-serif;fill:#1c2430}details summary{cursor:pointer;margin:1em 0}";

/// The page.
pub fn page(report: &Report) -> String {
    let mut text = format!(
        "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>forwarder bench</title>\
         <style>{STYLE}</style>\n<h1>forwarder bench</h1>\n<p>forwarder {} · Linux {} · {} ({} CPUs) · load {:.2} · \
         {} rounds · configuration {}</p>\n<p>CPU time: median of the rounds, and how far the rounds are off it. Times \
         are this machine's; ratios within a run mean more.</p>\n",
        escape(&report.version),
        escape(&report.kernel),
        escape(&report.cpu),
        report.cpus,
        report.load,
        report.rounds,
        escape(&report.config.chars().take(12).collect::<String>()),
    );
    verdicts(&mut text, report);
    wire::sections(&mut text, report);
    table::sections(&mut text, &report.tables);
    if !report.cases.is_empty() {
        text.push_str(
            "<h2>Programs alone</h2>\n<p>Nanoseconds per packet in the XDP programs (<code>BPF_PROG_TEST_RUN</code>), \
             net of the wrapper that puts the packet back. No driver, no network: what a network card adds is not in \
             here.</p>\n",
        );
        modes(&mut text, report);
        flows(&mut text, report);
        others(&mut text, report);
        every(&mut text, report);
    }
    text + "</html>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn verdicts(text: &mut String, report: &Report) {
    text.push_str("<h2>Bars</h2>\n<p>Each is a ratio, or a number with its unit in the name. Where the rounds scatter by more than what is missing, it is not told \
         whether a bar holds.</p>\n<table><tr><th>bar<th class=n>measured<th class=n>bound<th>");
    for bar in &report.bars {
        let class = match (bar.certain, bar.holds) {
            (true, true) => "holds",
            (true, false) => "missed",
            (false, _) => "open",
        };
        let note = match &bar.note {
            Some(note) => format!("<br><small>{}</small>", escape(note)),
            None => String::new(),
        };
        let _ = write!(
            text,
            "\n<tr><td>{}{note}<td class=n>{}<td class=n>{}<td class={class}>{}",
            escape(&bar.name),
            bar.measured(),
            bar.limit(),
            bar.verdict().to_lowercase()
        );
    }
    text.push_str("</table>\n");
}

/// A case by the parts of its name.
fn find<'a>(
    report: &'a Report,
    what: &str,
    ipv6: bool,
    packet: &str,
    flows: &str,
) -> Option<&'a Measured> {
    let name = if ipv6 {
        format!("{what}/ipv6/{packet}/80B/{flows}")
    } else {
        format!("{what}/ipv4/{packet}/64B/{flows}")
    };
    report.cases.iter().find(|case| case.name == name)
}

const FORWARDING: [Mode; 5] = [
    Mode::L2Dsr,
    Mode::IpipDsr,
    Mode::GueDsr,
    Mode::Dnat,
    Mode::FullNat,
];

fn modes(text: &mut String, report: &Report) {
    let mut rows = Vec::new();
    for (name, label) in [
        ("wrapped-mac-swap", "MAC swap, XDP_TX"),
        ("constant-ipip", "constant IPIP header"),
    ] {
        if let Some(case) = find(report, name, false, "tcp", "1") {
            rows.push((label.to_owned(), case.net));
        }
    }
    for mode in FORWARDING {
        for ipv6 in [false, true] {
            for packet in ["tcp", "reply"] {
                let Some(case) = find(report, mode.name(), ipv6, packet, "1") else {
                    continue;
                };
                let family = if ipv6 { "IPv6" } else { "IPv4" };
                let back = if packet == "reply" { ", reply" } else { "" };
                rows.push((format!("{}, {family}{back}", mode.name()), case.net));
            }
        }
    }
    text.push_str(
        "<h3>Modes: an established TCP flow, smallest packets</h3>\n<p>Everything is in it: counters, reasons, \
         admission, fragments, every header that the kernel would look at.</p>\n",
    );
    text.push_str(&bars(&rows));
}

fn flows(text: &mut String, report: &Report) {
    const COUNTS: [&str; 4] = ["1", "1k", "100k", "1M"];
    let line = |label: String, what: &str, packet: &str| {
        let at = |(position, flows): (usize, &&str)| {
            Some((
                position,
                find(report, what, false, packet, flows)?.net.median,
            ))
        };
        Line {
            label,
            points: COUNTS.iter().enumerate().filter_map(at).collect(),
        }
    };
    let mut all: Vec<Line> = FORWARDING
        .iter()
        .map(|mode| line(mode.name().to_owned(), mode.name(), "tcp"))
        .collect();
    all.push(line("plain LRU map".to_owned(), "plain-lru", "tcp"));
    all.retain(|line| line.points.len() > 1);
    text.push_str(
        "<h3>Number of flows, IPv4</h3>\n<p>Modes without flow state stay flat until the lookup table leaves the \
         cache; NAT pays for memory as soon as its flows do.</p>\n",
    );
    text.push_str(&lines(&COUNTS, &all));
}

fn others(text: &mut String, report: &Report) {
    let known = FORWARDING.map(Mode::name);
    let is_other = |case: &&Measured| {
        let what = case.name.split('/').next().unwrap_or_default();
        case.reason.is_some() && case.name.contains("/ipv4/") && !known.contains(&what)
    };
    let rows: Vec<_> = report
        .cases
        .iter()
        .filter(is_other)
        .map(|case| {
            let parts: Vec<&str> = case.name.split('/').collect();
            let flows = parts.last().filter(|flows| **flows != "1");
            let flows = flows.map_or(String::new(), |flows| format!(", {flows} flows"));
            (format!("{}{flows}", parts[0]), case.net)
        })
        .collect();
    text.push_str("<h3>Everything else, IPv4: features, what passes, what is dropped</h3>\n");
    text.push_str(&bars(&rows));
}

fn every(text: &mut String, report: &Report) {
    text.push_str(
        "<details><summary>Every case</summary>\n<table><tr><th>case<th class=n>net, ns<th class=n>with the wrapper, \
         ns<th>reason",
    );
    for case in &report.cases {
        let _ = write!(
            text,
            "\n<tr><td>{}<td class=n>{:.1} ± {:.1}<td class=n>{:.1} ± {:.1}<td>{}",
            escape(&case.name),
            case.net.median,
            case.net.mad,
            case.raw.median,
            case.raw.mad,
            case.reason.as_deref().unwrap_or("")
        );
    }
    text.push_str("</table></details>\n");
}
