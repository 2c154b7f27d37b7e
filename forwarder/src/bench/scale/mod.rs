//! What the daemon needs for large configurations, many flows and many health checks, and how long changes take it.

mod shape;
mod site;
mod usage;

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use self::shape::{Changed, INTERVAL, Shape};
use self::site::{Running, Site};
use super::bars::{self, Bar, Promise};
use super::cases::TX;
use super::measure::rounds;
use super::report::{Report, Row, Table};
use super::scene::{self, MAC};
use super::statistic::Spread;
use super::wire::chain::{BATCH, Chain, Ends, Expected, frame};
use super::wire::meter::Meter;
use super::wire::router::Side;
use super::{Effort, wire};
use crate::core::table::{self, Filling, Member};
use crate::io::clock;

/// Everything has happened by then, or never will.
const PATIENCE: Duration = Duration::from_secs(120);
const MIB: f64 = 1_048_576.0;

const BACKEND_CHANGED: Promise = Promise::at_most(
    "one backend changed in a pool of 1,000: ms of CPU, from the command to the maps",
    1.0,
);
const RELOAD_TOUCHES: Promise = Promise::at_most(
    "reload that changes 1 of 4,096 virtual servers: map elements touched",
    1.0,
);
const RELOAD_TAKES: Promise =
    Promise::at_most("reload that changes 1 of 4,096 virtual servers: ms", 50.0);

/// What is promised of large configurations.
pub fn promises() -> impl Iterator<Item = Promise> {
    [BACKEND_CHANGED, RELOAD_TOUCHES, RELOAD_TAKES].into_iter()
}

/// Names of everything that there is to measure.
pub const NAMES: [&str; 5] = [
    "start",
    "change",
    "reload",
    "memory of flows",
    "health checks",
];

/// Measures a daemon, whose program `binary` is, of many sizes; only that whose name contains `only`.
///
/// # Errors
/// Something that is needed is missing, or the daemon does not do as it is told.
pub fn scale(
    effort: Effort,
    only: &str,
    binary: &Path,
    progress: &mut dyn FnMut(usize, usize, &str),
) -> Result<Report> {
    let scale = Scale {
        effort,
        binary,
        site: Site::new()?,
        configs: Vec::new(),
        bars: Vec::new(),
    };
    scale.run(only, progress)
}

struct Scale<'a> {
    effort: Effort,
    binary: &'a Path,
    site: Site,
    configs: Vec<String>,
    bars: Vec<Bar>,
}

impl Scale<'_> {
    fn run(mut self, only: &str, progress: &mut dyn FnMut(usize, usize, &str)) -> Result<Report> {
        type Step<'a> = fn(&mut Scale<'a>) -> Result<Table>;
        let steps: [(&str, Step<'_>); NAMES.len()] = [
            ("configurations of many sizes", Self::loads),
            ("one backend of a pool of 1,000", Self::changes),
            ("reloads", Self::reloads),
            ("memory of flows", Self::flows),
            ("health checks", Self::checks),
        ];
        let mut tables = Vec::new();
        for (at, (name, (what, step))) in NAMES.iter().zip(steps).enumerate() {
            if name.contains(only) {
                progress(at, NAMES.len(), what);
                tables.push(step(&mut self)?);
            }
        }
        let hash = scene::hash(self.configs.iter().map(String::as_str));
        Ok(Report {
            bars: bars::complete(self.bars, promises()),
            tables,
            ..Report::here(rounds(self.effort), hash)
        })
    }

    fn start(&mut self, shape: Shape) -> Result<Running> {
        let config = shape.config(Changed::default());
        let running = self.site.start(self.binary, &config)?;
        self.configs.push(config);
        Ok(running)
    }

    fn times(&self, quick: usize, full: usize) -> usize {
        match self.effort {
            Effort::Correctness => 1,
            Effort::Quick => quick,
            Effort::Full => full,
        }
    }

    /// Starting with so many virtual servers and backends.
    fn loads(&mut self) -> Result<Table> {
        let sizes: &[(u16, u16)] = match self.effort {
            Effort::Correctness => &[(2, 10)],
            _ => &[
                (1, 10),
                (1, 1_000),
                (100, 10),
                (100, 1_000),
                (4_096, 10),
                (4_096, 1_000),
            ],
        };
        let mut rows = Vec::new();
        for &(servers, backends) in sizes {
            let shape = Shape {
                servers,
                pools: 1,
                backends,
                checked: false,
            };
            let (mut times, mut memory) = (Vec::new(), [0.0; 3]);
            for _ in 0..self.times(1, 3) {
                let begin = clock::monotonic();
                let running = self.start(shape)?;
                times.push((clock::monotonic() - begin).as_secs_f64() * 1e3);
                let process = running.process();
                let cpu = process.cpu()?.as_secs_f64() * 1e3;
                memory = [cpu, process.resident()? / MIB, process.maps()? / MIB];
            }
            let name = format!("{servers} virtual servers, a pool of {backends}");
            rows.push(Row::new(name, Spread::of(times.into_iter()), &memory));
        }
        Ok(Table::new(
            "start",
            "From the start of the process until the daemon forwards and answers, from a file of that size; its CPU time, its memory, and that of its maps.",
            &["ms", "CPU, ms", "own MiB", "maps MiB"],
            rows,
        ))
    }

    /// One backend of a large pool.
    fn changes(&mut self) -> Result<Table> {
        let backends = if self.effort == Effort::Correctness {
            10
        } else {
            1_000
        };
        let running = self.start(Shape {
            servers: 1,
            pools: 1,
            backends,
            checked: false,
        })?;
        let process = running.process();
        let (mut times, mut costs, mut asked) = (Vec::new(), Vec::new(), Vec::new());
        let pool = shape::name(0);
        for round in 0..self.times(20, 60) {
            let (begin, cpu) = (clock::monotonic(), process.cpu()?);
            let weight = 2 + (round % 2) as u8;
            let change = running.weight(&pool, "b7", weight)?;
            times.push((clock::monotonic() - begin).as_secs_f64() * 1e3);
            costs.push((process.cpu()? - cpu).as_secs_f64() * 1e3);
            ensure!(
                !change.ops.is_empty() && change.ops.len() <= 2,
                "one backend changed, and {} map elements",
                change.ops.len()
            );
            // The same weight again: what asking for it costs, and looking that nothing else is to be done.
            let cpu = process.cpu()?;
            let again = running.weight(&pool, "b7", weight)?;
            asked.push((process.cpu()? - cpu).as_secs_f64() * 1e3);
            ensure!(again.ops.is_empty(), "nothing changed, and map elements");
        }
        let of = |values: Vec<f64>| Spread::of(values.into_iter());
        let (times, costs, asked) = (of(times), of(costs), of(asked));
        let (anew, changed): (Vec<f64>, Vec<f64>) =
            (0..self.times(5, 11)).map(|_| filled(backends)).unzip();
        let (anew, changed) = (of(anew), of(changed));
        self.bars.push(BACKEND_CHANGED.held(costs));
        Ok(Table::new(
            "change",
            "One backend's weight changes in a pool of 1,000 that a virtual server has, by the socket: the pool's lookup table changes, and its slots. \
             CPU time is all of the daemon's, from the command to the answer.",
            &["ms"],
            vec![
                Row::new("until the answer", times, &[]),
                Row::new("CPU time", costs, &[]),
                Row::new("CPU time where nothing is to be done", asked, &[]),
                Row::new(
                    "CPU time of changing the lookup table, of that",
                    changed,
                    &[],
                ),
                Row::new(
                    "CPU time of computing the lookup table anew, beside that",
                    anew,
                    &[],
                ),
            ],
        ))
    }

    /// Files of thousands of lines.
    fn reloads(&mut self) -> Result<Table> {
        let shapes = match self.effort {
            Effort::Correctness => [(4, 2, 3); 2],
            _ => [(4_096, 64, 64), (1_000, 10, 300)],
        };
        let mut rows = Vec::new();
        for (number, (servers, pools, backends)) in shapes.into_iter().enumerate() {
            let shape = Shape {
                servers,
                pools,
                backends,
                checked: false,
            };
            let running = self.start(shape)?;
            let lines = shape.config(Changed::default()).lines().count();
            let size = format!("{servers} virtual servers, {lines} lines");
            let server = |server| Changed {
                server,
                ..Changed::default()
            };
            let backend = |backend| Changed {
                backend,
                ..Changed::default()
            };
            let wanted: [(&str, &dyn Fn(bool) -> Changed); 3] = [
                ("one virtual server changed", &server),
                ("one backend changed", &backend),
                ("nothing changed", &|_| Changed::default()),
            ];
            for (what, changed) in wanted {
                let (mut times, mut costs, mut elements) = (Vec::new(), Vec::new(), Vec::new());
                for round in 0..self.times(4, 11) {
                    let config = shape.config(changed(round % 2 == 0));
                    let (begin, cpu) = (clock::monotonic(), running.process().cpu()?);
                    let change = running.reload(&config)?;
                    times.push((clock::monotonic() - begin).as_secs_f64() * 1e3);
                    costs.push((running.process().cpu()? - cpu).as_secs_f64() * 1e3);
                    elements.push(change.ops.len() as f64);
                }
                running.reload(&shape.config(Changed::default()))?;
                let of = |values: Vec<f64>| Spread::of(values.into_iter());
                let (times, elements) = (of(times), of(elements));
                if (number, what) == (0, "one virtual server changed") {
                    self.bars.push(RELOAD_TOUCHES.held(elements));
                    self.bars.push(RELOAD_TAKES.held(times));
                }
                rows.push(Row::new(
                    format!("{size}: {what}"),
                    times,
                    &[of(costs).median, elements.median],
                ));
            }
        }
        Ok(Table::new(
            "reload",
            "From the command to the answer; the daemon's CPU time, and how many elements of maps it has changed.",
            &["ms", "CPU, ms", "map elements"],
            rows,
        ))
    }

    /// What flows of NAT take.
    fn flows(&mut self) -> Result<Table> {
        let flows = match self.effort {
            Effort::Correctness => BATCH,
            _ => 100_000,
        };
        let running = self.start(Shape {
            servers: 1,
            pools: 1,
            backends: 10,
            checked: false,
        })?;
        let router = &self.site.router;
        let establish = || -> Result<[f64; 2]> {
            let mut ends = Ends::new()?;
            ends.attach("sink", router.left)?;
            ends.attach("sink", router.right)?;
            let backends = (0..10).map(shape::backend);
            let chain = Chain {
                name: "flows".to_owned(),
                ipv6: false,
                from: router.left,
                reflect: router.right,
                frame: frame(shape::vip(0), 80, MAC)?,
                flows,
                action: TX,
                expected: Some(Expected {
                    outer: 0,
                    source: router.own(Side::Right, false),
                    destinations: backends.collect(),
                }),
            };
            let before = running.process().maps()?;
            ends.establish(&chain, &Meter::here())?;
            Ok([before, running.process().maps()?])
        };
        let [before, after] = self.site.ends.run(establish)?;
        let value = Spread {
            median: (after - before) / f64::from(flows),
            mad: 0.0,
        };
        let row = Row::new(
            "an established flow, IPv4",
            value,
            &[before / MIB, after / MIB],
        );
        Ok(Table::new(
            "memory of flows",
            "Maps before and after 100,000 flows of full-nat were established, each with two entries, there and back. Half-open ones take nothing more: their room is taken at the start.",
            &["bytes", "maps before, MiB", "after, MiB"],
            vec![row],
        ))
    }

    /// Health checks of thousands of backends.
    fn checks(&mut self) -> Result<Table> {
        let (pools, backends) = match self.effort {
            Effort::Correctness => (2, 10),
            _ => (10, 1_000),
        };
        let window = match self.effort {
            Effort::Correctness => Duration::from_millis(100),
            Effort::Quick => Duration::from_secs(INTERVAL),
            Effort::Full => Duration::from_secs(3 * INTERVAL),
        };
        let begin = clock::monotonic();
        let running = self.start(Shape {
            servers: 10,
            pools,
            backends,
            checked: true,
        })?;
        let is_up = || -> Result<bool> {
            let status = running.status()?;
            let mut all = status.pools.iter().flat_map(|pool| &pool.backends);
            Ok(all.all(|backend| backend.health == "up"))
        };
        while !is_up()? {
            ensure!(
                clock::monotonic() - begin < PATIENCE,
                "backends do not get up"
            );
            wire::pause_for(Duration::from_millis(250));
        }
        let first = (clock::monotonic() - begin).as_secs_f64();
        let process = running.process();
        let (begin, cpu) = (clock::monotonic(), process.cpu()?);
        wire::pause_for(window);
        let (time, cpu) = (clock::monotonic() - begin, process.cpu()? - cpu);
        let count = f64::from(pools) * f64::from(backends);
        let percent = cpu.as_secs_f64() / time.as_secs_f64() * 100.0;
        let checks = time.as_secs_f64() * count / INTERVAL as f64;
        let own = process.resident()? / MIB;
        let spread = |median| Spread { median, mad: 0.0 };
        Ok(Table::new(
            "health checks",
            &format!(
                "TCP checks of 10,000 backends every {INTERVAL} s, all of which are up; from the start until all were checked they are spread over an interval."
            ),
            &["% of a CPU", "µs a check", "own MiB", "s until all are up"],
            vec![Row::new(
                format!("{count} backends"),
                spread(percent),
                &[cpu.as_secs_f64() * 1e6 / checks, own, first],
            )],
        ))
    }
}

/// Milliseconds that a lookup table takes to be computed, and to be computed otherwise when a backend gets three times
/// its weight.
fn filled(backends: u16) -> (f64, f64) {
    let mut members: Vec<Member> = (0..backends)
        .map(|number| Member {
            address: Ipv4Addr::from_bits(0x0a40_0000 + u32::from(number)).into(),
            port: 0,
            weight: 1,
            backend: u32::from(number),
        })
        .collect();
    let mut filling = Filling::new(table::size(members.len()));
    let begin = clock::thread_cpu();
    std::hint::black_box(filling.set(&members));
    let anew = clock::thread_cpu() - begin;
    for member in members.iter_mut().skip(7).take(1) {
        member.weight = 3;
    }
    let begin = clock::thread_cpu();
    std::hint::black_box(filling.set(&members));
    let changed = clock::thread_cpu() - begin;
    (anew.as_secs_f64() * 1e3, changed.as_secs_f64() * 1e3)
}
