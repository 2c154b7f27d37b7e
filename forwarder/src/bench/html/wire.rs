//! Whole chains on the page.

use std::fmt::Write as _;

use super::escape;
use super::plot::bars;
use crate::bench::report::Report;
use crate::bench::statistic::Spread;

/// Plots and tables of `bench wire`, if it ran.
pub fn sections(text: &mut String, report: &Report) {
    packets(text, report);
    connections(text, report);
    if !report.missing.is_empty() {
        let missing: Vec<_> = report.missing.iter().map(|why| escape(why)).collect();
        let _ = writeln!(text, "<p>Not measured: {}.</p>", missing.join("; "));
    }
}

fn packets(text: &mut String, report: &Report) {
    let rows = |ipv6: bool| -> Vec<(String, Spread)> {
        let family = if ipv6 { "ipv6" } else { "ipv4" };
        let mut rows: Vec<(String, Spread)> = report
            .chains
            .iter()
            .filter_map(|chain| {
                let mut parts = chain.name.split('/');
                let (what, is, flows) = (parts.next()?, parts.next()?, parts.next()?);
                let wanted = is == family
                    && !matches!(flows, "1" | "100k")
                    && !matches!(what, "generator" | "drop");
                let label = if ipv6 { ", IPv6" } else { "" };
                wanted.then(|| (format!("{what}{label}"), chain.net))
            })
            .collect();
        rows.sort_by(|(_, a), (_, b)| a.median.total_cmp(&b.median));
        rows
    };
    if report.chains.is_empty() {
        return;
    }
    text.push_str(
        "<h2>Forwarding a packet, drivers and all</h2>\n<p>Nanoseconds of CPU time for a smallest packet that comes in by \
         one veth device and leaves by another (<code>+tx</code> and the MAC swap: by the same), of 1,000 flows, net \
         of making it, getting it there and dropping it. None is lost. A veth device is no network card.</p>\n",
    );
    text.push_str(&bars(&rows(false)));
    text.push_str(&bars(&rows(true)));
    text.push_str(
        "<details><summary>Every chain</summary>\n<table><tr><th>in the middle<th class=n>+ forwarder, ns<th class=n>T−G, ns<th \
         class=n>whole chain, ns<th class=n>Mpps per CPU",
    );
    for chain in &report.chains {
        let _ = write!(
            text,
            "\n<tr><td>{}<td class=n>{:.0} ± {:.0}<td class=n>{:.0} ± {:.0}<td class=n>{:.0} ± {:.0}<td class=n>{:.2}",
            escape(&chain.name),
            chain.net.median,
            chain.net.mad,
            chain.without_generator.median,
            chain.without_generator.mad,
            chain.whole.median,
            chain.whole.mad,
            chain.mpps
        );
    }
    text.push_str("</table></details>\n");
}

fn connections(text: &mut String, report: &Report) {
    if report.connections.is_empty() {
        return;
    }
    let micro = |cost: Spread| Spread {
        median: cost.median / 1e3,
        mad: cost.mad / 1e3,
    };
    let rows: Vec<_> = report
        .connections
        .iter()
        .filter(|way| way.name != crate::bench::wire::DIRECT)
        .map(|way| (way.name.clone(), micro(way.net)))
        .collect();
    text.push_str(
        "<h2>A TCP connection</h2>\n<p>Microseconds of CPU time for a connection with a request and an answer of 64 bytes, \
         net of the same over a direct link.</p>\n",
    );
    text.push_str(&bars(&rows));
    text.push_str(
        "<table><tr><th>in the middle<th class=n>connection, µs<th class=n>with client and server, µs<th class=n>one more \
         request, µs<th class=n>connections per second and CPU",
    );
    for way in &report.connections {
        let (net, whole, request) = (micro(way.net), micro(way.whole), micro(way.request));
        let _ = write!(
            text,
            "\n<tr><td>{}<td class=n>{:.1} ± {:.1}<td class=n>{:.1} ± {:.1}<td class=n>{:.1} ± {:.1}<td class=n>{:.0}",
            escape(&way.name),
            net.median,
            net.mad,
            whole.median,
            whole.mad,
            request.median,
            request.mad,
            way.per_second
        );
    }
    text.push_str("</table>\n");
}
