//! Plots as SVG.

use std::fmt::Write as _;

use crate::bench::statistic::Spread;

const WIDTH: f64 = 900.0;
const COLOURS: [&str; 6] = [
    "#2563a8", "#2a9d6f", "#c9781f", "#a63d57", "#6b4fa0", "#7a8594",
];

/// Values of one kind, over positions.
pub struct Line {
    /// What they are of.
    pub label: String,
    /// Position and value.
    pub points: Vec<(usize, f64)>,
}

/// A round number at or above the value, to end an axis with.
fn ceiling(value: f64) -> f64 {
    let magnitude = 10_f64.powf(value.max(1.0).log10().floor());
    let steps = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let step = steps.into_iter().find(|step| step * magnitude >= value);
    step.unwrap_or(10.0) * magnitude
}

/// Horizontal bars with their values and how far these scatter; nothing, not even a frame, of nothing.
pub fn bars(rows: &[(String, Spread)]) -> String {
    const ROW: f64 = 22.0;
    const LEFT: f64 = 230.0;
    const RIGHT: f64 = 90.0;
    if rows.is_empty() {
        return String::new();
    }
    let most = rows.iter().map(|(_, cost)| cost.median + cost.mad);
    let most = ceiling(most.fold(1.0, f64::max));
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let height = ROW * rows.len() as f64 + 16.0;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\">");
    for (row, (label, cost)) in rows.iter().enumerate() {
        let y = 8.0 + ROW * row as f64;
        let width = (cost.median * scale).max(1.0);
        let (low, high) = (
            LEFT + (cost.median - cost.mad).max(0.0) * scale,
            LEFT + (cost.median + cost.mad) * scale,
        );
        let colour = COLOURS[usize::from(label.contains("IPv6"))];
        let _ = write!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>\
             <rect x=\"{LEFT}\" y=\"{}\" width=\"{width:.1}\" height=\"14\" rx=\"2\" fill=\"{colour}\"/>\
             <path d=\"M{low:.1} {}H{high:.1}\" stroke=\"#1c2430\" stroke-width=\"1.5\"/>\
             <text x=\"{:.1}\" y=\"{}\">{:.1}</text>",
            LEFT - 8.0,
            y + 13.0,
            y + 2.0,
            y + 9.0,
            high.max(LEFT + width) + 6.0,
            y + 13.0,
            cost.median
        );
    }
    svg + "</svg>\n"
}

/// Parts of an axis that ends with a [`ceiling`]: so many that each is round, too.
fn parts(ceiling: f64) -> usize {
    let magnitude = 10_f64.powf(ceiling.max(1.0).log10().floor());
    match (ceiling / magnitude).round() as u32 {
        3 | 6 => 3,
        1 | 5 => 5,
        _ => 4,
    }
}

/// Lines over named positions, with their labels on the right.
pub fn lines(positions: &[&str], lines: &[Line]) -> String {
    const HEIGHT: f64 = 320.0;
    const LEFT: f64 = 56.0;
    const RIGHT: f64 = 170.0;
    const TOP: f64 = 16.0;
    const BOTTOM: f64 = 36.0;
    let values = lines.iter().flat_map(|line| &line.points);
    let most = ceiling(values.map(|(_, value)| *value).fold(1.0, f64::max));
    let gaps = positions.len().saturating_sub(1).max(1) as f64;
    let x = |position: usize| LEFT + (WIDTH - LEFT - RIGHT) * position as f64 / gaps;
    let y = |value: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * value / most;
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\">");
    let parts = parts(most);
    for step in 0..=parts {
        let value = most * step as f64 / parts as f64;
        let at = y(value);
        let _ = write!(
            svg,
            "<path d=\"M{LEFT} {at:.1}H{:.1}\" stroke=\"#e3e7ec\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value:.0} ns</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0
        );
    }
    for (position, name) in positions.iter().enumerate() {
        let unit = if *name == "1" { "flow" } else { "flows" };
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{name} {unit}</text>",
            x(position),
            HEIGHT - 12.0
        );
    }
    let places = spread_out(lines.iter().map(|line| {
        let last = line.points.last();
        last.map_or(0.0, |(_, value)| y(*value))
    }));
    for ((line, colour), place) in lines.iter().zip(COLOURS).zip(places) {
        let path: Vec<String> = line
            .points
            .iter()
            .map(|(position, value)| format!("{:.1} {:.1}", x(*position), y(*value)))
            .collect();
        for point in &path {
            let (x, y) = point.split_once(' ').unwrap_or_default();
            let _ = write!(
                svg,
                "<circle cx=\"{x}\" cy=\"{y}\" r=\"3\" fill=\"{colour}\"/>"
            );
        }
        let end = path.last().map_or("", String::as_str);
        let value = line.points.last().map_or(0.0, |(_, value)| *value);
        // A line may end before the last position: its label would stand across others there.
        let _ = write!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <path d=\"M{end}L{:.1} {place:.1}\" stroke=\"{colour}\" stroke-width=\"1\" stroke-dasharray=\"1 4\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" style=\"fill:{colour}\">{} {value:.0}</text>",
            path.join("L"),
            WIDTH - RIGHT + 10.0,
            WIDTH - RIGHT + 14.0,
            place + 4.0,
            line.label
        );
    }
    svg + "</svg>\n"
}

/// Places for labels near the places given, none on top of another.
fn spread_out(places: impl Iterator<Item = f64>) -> Vec<f64> {
    const GAP: f64 = 15.0;
    let mut places: Vec<(usize, f64)> = places.enumerate().collect();
    places.sort_by(|a, b| b.1.total_cmp(&a.1));
    for next in 1..places.len() {
        places[next].1 = places[next].1.min(places[next - 1].1 - GAP);
    }
    places.sort_by_key(|(line, _)| *line);
    places.into_iter().map(|(_, place)| place).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_in_round_numbers() {
        for (value, end) in [(0.3, 1.0), (17.0, 20.0), (61.0, 80.0), (801.0, 1000.0)] {
            assert_eq!(ceiling(value), end);
        }
        for (end, part) in [
            (1.0, 0.2),
            (20.0, 5.0),
            (300.0, 100.0),
            (500.0, 100.0),
            (80.0, 20.0),
        ] {
            assert_eq!(end / parts(end) as f64, part);
        }
    }

    #[test]
    fn labels_keep_their_distance() {
        let places = spread_out([100.0, 101.0, 40.0, 99.0].into_iter());
        assert_eq!(places, [86.0, 101.0, 40.0, 71.0]);
    }
}
