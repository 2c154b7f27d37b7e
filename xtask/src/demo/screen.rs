//! How the demo looks.

use std::io::IsTerminal as _;
use std::time::Duration;

use super::case::Outcome;
use super::failover::{self, Failover};
use super::loss::{Loss, Request};

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

const PICTURE: &str = r"
                       outside ┌───────────┐ inside
  ┌────────┐   ┌────────┐ eth0 │ forwarder │ eth1  ┌── b1  192.0.2.11
  │ client ├───┤ router ├──────┤    XDP    ├───────┤       2001:db8:2::11
  └────────┘   └───┬────┘      └───────────┘       ├── b2  192.0.2.12
 198.51.100.7      │                VIPs           │       2001:db8:2::12
2001:db8:100::7    │         203.0.113.11 … .16    ├── b3  192.0.2.13
                   │      2001:db8:113::11 … ::16  │       2001:db8:2::13
                   └───────────────────────────────┘
                    answers of the dsr modes go this way, past the forwarder
";

const PAIR: &str = r"
                 ┌─────┐
              ┌──┤ lb1 ├──┐
  client ─────┤  └─╥─╥─┘  ├───── b1, b2, b3
              │  ┌─╨─╨─┐  │
              └──┤ lb2 ├──┘
                 └─────┘
";

/// Writes to the terminal, with colours where they are wanted.
pub struct Screen {
    colours: bool,
}

#[derive(Clone, Copy)]
enum Colour {
    Bold,
    Dim,
    Red,
    Green,
    Cyan,
}

impl Screen {
    pub fn new() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            colours: wanted && std::io::stdout().is_terminal(),
        }
    }

    fn paint(&self, colour: Colour, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match colour {
            Colour::Bold => "1",
            Colour::Dim => "2",
            Colour::Red => "31",
            Colour::Green => "32",
            Colour::Cyan => "36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }

    fn mark(&self, ok: bool) -> String {
        if ok {
            self.paint(Colour::Green, "✔")
        } else {
            self.paint(Colour::Red, "✘")
        }
    }

    pub fn title(&self, text: &str) {
        println!("\n{}", self.paint(Colour::Bold, text));
    }

    pub fn note(&self, text: &str) {
        println!("  {}", self.paint(Colour::Dim, text));
    }

    pub fn picture(&self) {
        println!("{}", self.paint(Colour::Cyan, PICTURE));
    }

    pub fn header(&self) {
        let line = format!(
            "    {:9} {:6} {:8} {:>9}  {:19}  {}",
            "mode", "family", "protocol", "answered", "by", "client as seen"
        );
        println!("{}", self.paint(Colour::Dim, &line));
    }

    /// One case that has finished.
    pub fn case(&self, outcome: &Outcome) {
        let answered = format!("{}/{}", outcome.answered, outcome.requests);
        let clients: Vec<_> = outcome.clients.iter().map(ToString::to_string).collect();
        println!(
            "  {} {:9} {:6} {:8} {:>9}  {:19}  {}",
            self.mark(outcome.ok()),
            outcome.mode,
            outcome.family,
            outcome.protocol,
            answered,
            spread(outcome),
            clients.join(" "),
        );
        if let Some(error) = &outcome.first_error {
            println!("      {}", self.paint(Colour::Red, error));
        }
    }

    /// What a command printed.
    pub fn command(&self, line: &str, output: &str) {
        println!("  {} {line}", self.paint(Colour::Cyan, "$"));
        for line in output.lines() {
            println!("  {line}");
        }
    }

    /// Who answered over time, a column each 100 ms.
    pub fn timeline(&self, names: &[&str], requests: &[Request], death: Duration) {
        let columns = requests.last().map_or(0, |last| column(last.begun) + 1);
        for name in names {
            let line = strip(columns, requests, |request| {
                request.answered_by.as_deref() == Some(name)
            });
            println!("  {name:9} {}", self.paint(Colour::Green, &line));
        }
        let line = strip(columns, requests, |request| request.answered_by.is_none());
        println!("  {:9} {}", "no answer", self.paint(Colour::Red, &line));
        let before = " ".repeat(column(death));
        println!(
            "  {:9} {before}{}",
            "",
            self.paint(Colour::Dim, "↑ cable cut; 100 ms a column")
        );
    }

    pub fn loss(&self, loss: &Loss, victim: &str) {
        println!(
            "  {} {} requests failed; {} ms after the death of {victim} all were answered again",
            self.mark(loss.recovered()),
            loss.failed_requests,
            loss.recovered_ms
        );
    }

    pub fn pair(&self) {
        println!("{}", self.paint(Colour::Cyan, PAIR));
        let modes = failover::MODES.map(|(mode, _)| mode).join(" and ");
        self.note(&format!(
            "they watch each other every {:?}; the third unanswered echo is one too many",
            failover::INTERVAL
        ));
        self.note(&format!(
            "through {modes} each: a download, chatty connections, and a datagram each millisecond"
        ));
    }

    /// What happened to the active node, and what clients noticed.
    pub fn failover(&self, failover: &Failover) {
        println!("\n  {}", self.paint(Colour::Bold, &failover.what));
        for ((mode, _), shares) in failover::MODES.iter().zip(&failover.shares) {
            let line: String = shares.iter().copied().map(bar).collect();
            println!("  {mode:9} {}", self.paint(Colour::Green, &line));
        }
        let before = " ".repeat(failover::BEFORE as usize);
        let step = failover::STEP;
        println!(
            "  {:9} {before}{}",
            "",
            self.paint(Colour::Dim, &format!("↑ now; {step:?} a column"))
        );
        println!(
            "  {} {} ms without an answer, {} datagrams lost; {} of {} connections went on, {} resets; {:.1} MB downloaded meanwhile",
            self.mark(failover.ok()),
            failover.gap_ms,
            failover.lost,
            failover.connections,
            failover.of,
            failover.resets,
            failover.downloaded as f64 / 1e6
        );
    }

    pub fn summary(&self, ok: bool, text: &str) {
        println!("\n{} {}", self.mark(ok), self.paint(Colour::Bold, text));
    }
}

fn spread(outcome: &Outcome) -> String {
    let parts = outcome.spread.iter();
    let parts = parts.map(|(name, count)| format!("{name} {count}"));
    parts.collect::<Vec<_>>().join("  ")
}

fn column(time: Duration) -> usize {
    (time.as_millis() / 100) as usize
}

/// How much of a hundred.
fn bar(share: Option<u32>) -> char {
    match share {
        None => ' ',
        Some(0) => '·',
        Some(share) => BARS[(share as usize * BARS.len() / 100).min(BARS.len() - 1)],
    }
}

/// A bar per column: how many of the column's requests are counted.
fn strip(columns: usize, requests: &[Request], counts: impl Fn(&Request) -> bool) -> String {
    let column_bar = |at: usize| {
        let here = || {
            requests
                .iter()
                .filter(|request| column(request.begun) == at)
        };
        let (all, some) = (
            here().count(),
            here().filter(|request| counts(request)).count(),
        );
        if some == 0 {
            '·'
        } else {
            BARS[(some * BARS.len() / all).min(BARS.len() - 1)]
        }
    };
    (0..columns).map(column_bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strip_shows_shares() {
        let request = |ms, name: &str| Request {
            begun: Duration::from_millis(ms),
            answered_by: Some(name.to_owned()),
        };
        let requests = [
            request(10, "b1"),
            request(20, "b2"),
            request(110, "b1"),
            request(250, "b2"),
        ];
        let b1 = |request: &Request| request.answered_by.as_deref() == Some("b1");
        assert_eq!(strip(3, &requests, b1), "▅█·");
    }
}
