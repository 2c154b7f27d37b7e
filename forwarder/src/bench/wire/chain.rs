//! Packets through whole chains: made, forwarded and counted by one thread, so that its CPU time is what they cost.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use forwarder_common::bench::{PORT_BITS, SINK_MAC, Sink, Template, WORDS6};

use super::meter::Meter;
use crate::bench::bed::{self, BENCH};
use crate::bench::flows::PORT;
use crate::bench::hold::Hold;
use crate::bench::{check, scene};
use crate::dataplane::bpf::load;
use crate::io::clock;
use crate::packet::{self, Kind, Packet};

/// Packets that are sent at once: well below a veth device's ring of 256, so that none can be lost in it.
pub const BATCH: u32 = 64;
/// Packets that were sent are lost if so long none has arrived.
const ARRIVED: Duration = Duration::from_secs(1);
/// Flows that are established together: fewer than the daemon has room for half-open ones.
const AT_ONCE: u32 = 8_192;
/// How often a run is repeated in which packets were lost: to a busy machine, which happens.
const TRIES: usize = 10;

/// What comes out of a chain.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Bytes of outer headers.
    pub outer: usize,
    /// Source of the first flow's packet.
    pub source: IpAddr,
    /// Where it may go to.
    pub destinations: Vec<IpAddr>,
}

/// A chain and what goes through it.
pub struct Chain {
    /// The name in reports.
    pub name: String,
    /// Family.
    pub ipv6: bool,
    /// Device that packets are sent by.
    pub from: u32,
    /// Device where they are sent back by, once, so that their flows are established.
    pub reflect: u32,
    /// Packet of flow 0.
    pub frame: Vec<u8>,
    /// How many flows.
    pub flows: u32,
    /// `XDP_TX`, or `XDP_DROP` where only making the packets is measured.
    pub action: u32,
    /// What comes out; `None`: nothing.
    pub expected: Option<Expected>,
}

/// The generator and the sinks.
pub struct Ends {
    ebpf: Ebpf,
    _hold: Hold,
}

impl Ends {
    /// Loads the programs.
    pub fn new() -> Result<Self> {
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("PLAIN_LRU", 1)
            .load(BENCH)?;
        for name in ["generate4", "generate6", "sink", "redirect", "mac_swap"] {
            load::load_program(&mut ebpf, name)?;
        }
        // Its thread moves to another network.
        let hold = || Hold::new(&mut ebpf, &["generate4", "generate6"]);
        let hold = thread::scope(|scope| scope.spawn(hold).join());
        let hold = hold.map_err(|_| anyhow::anyhow!("a thread panicked"))??;
        Ok(Self { ebpf, _hold: hold })
    }

    /// Attaches one of the programs to a device of the thread's network, for as long as this lives.
    pub fn attach(&mut self, program: &str, ifindex: u32) -> Result<()> {
        load::program(&mut self.ebpf, program)?
            .attach_to_if_index(ifindex, aya::programs::xdp::XdpMode::Driver)
            .with_context(|| format!("{program} at device {ifindex}"))?;
        Ok(())
    }

    /// Where `redirect` sends what comes in by a device; called in the network of both.
    pub fn redirect(&mut self, from: u32, to: u32) -> Result<()> {
        let map = self.ebpf.map_mut("OUT").context("OUT")?;
        let mut out: aya::maps::DevMap<_> = map.try_into()?;
        Ok(out.set(from, to, None, 0)?)
    }

    fn sink(&mut self) -> Result<Array<&mut aya::maps::MapData, Sink>> {
        let map = self.ebpf.map_mut("SINK").context("SINK")?;
        Ok(map.try_into()?)
    }

    /// Sends packets; says what it took and what the sink has.
    fn send(&mut self, chain: &Chain, run: Run, meter: &Meter) -> Result<Sent> {
        let Run {
            turn,
            packets,
            reflect,
        } = run;
        let sink = Sink {
            reflect,
            ..Sink::default()
        };
        self.sink()?.set(0, sink, 0)?;
        let map = self.ebpf.map_mut("TEMPLATE").context("TEMPLATE")?;
        let mut template: Array<_, Template> = map.try_into()?;
        template.set(0, self::template(chain, turn), 0)?;
        let name = if chain.ipv6 { "generate6" } else { "generate4" };
        let program: &Xdp = self.ebpf.program(name).context("the program")?.try_into()?;
        let context = context(chain);
        let before = meter.now();
        let result = program.test_run(TestRunOptions {
            data_in: Some(&chain.frame),
            ctx_in: Some(&context),
            repeat: packets,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        });
        let time = meter.now() - before;
        result.with_context(|| format!("{} does not run", chain.name))?;
        let times = if reflect == 0 { 1 } else { 2 };
        let wanted = match chain.expected {
            Some(_) => u64::from(packets) * times,
            None => 0,
        };
        let (mut begin, mut packets) = (clock::monotonic(), 0);
        loop {
            let sink = self.sink()?.get(&0, 0)?;
            let now = clock::monotonic();
            if sink.packets != packets {
                (begin, packets) = (now, sink.packets);
            }
            if packets >= wanted || now - begin > ARRIVED {
                let lost = wanted.saturating_sub(packets);
                return Ok(Sent { time, lost, sink });
            }
            super::pause();
        }
    }

    /// Sends packets, again if some were lost; CPU time per packet, nanoseconds.
    pub fn cost(&mut self, chain: &Chain, packets: u32, meter: &Meter) -> Result<f64> {
        let time = self.send_all(chain, Run::of(packets), meter)?;
        Ok(time.as_nanos() as f64 / f64::from(packets))
    }

    /// Checks that packets come out as they should; then sends one of each flow, and back.
    pub fn establish(&mut self, chain: &Chain, meter: &Meter) -> Result<()> {
        let mut problem = None;
        for _ in 0..TRIES {
            let sent = self.send(chain, Run::of(1), meter)?;
            problem = arrived(chain, &sent).err();
            if problem.is_none() {
                break;
            }
        }
        if let Some(problem) = problem {
            return Err(problem.context(chain.name.clone()));
        }
        if chain.reflect == 0 {
            return self.cost(chain, chain.flows.max(BATCH), meter).map(drop);
        }
        // A flow is established by its second packet there, after one back; until then others may push it out.
        for turn in (0..chain.flows).step_by(AT_ONCE as usize) {
            let packets = AT_ONCE.min(chain.flows - turn).max(BATCH);
            for reflect in [chain.reflect, 0] {
                let run = Run {
                    turn,
                    packets,
                    reflect,
                };
                self.send_all(chain, run, meter)?;
            }
        }
        Ok(())
    }

    /// Sends packets, again if some were lost; what it took when none was.
    fn send_all(&mut self, chain: &Chain, run: Run, meter: &Meter) -> Result<Duration> {
        let mut lost = 0;
        for _ in 0..TRIES {
            let sent = self.send(chain, run, meter)?;
            if sent.lost == 0 {
                return Ok(sent.time);
            }
            lost = sent.lost;
        }
        let way = if run.reflect == 0 {
            ""
        } else {
            " there and back"
        };
        bail!(
            "{}: {lost} of {} packets{way} are lost, every time",
            chain.name,
            run.packets
        )
    }
}

/// What is sent.
#[derive(Clone, Copy)]
struct Run {
    /// The first packet is of the flow that has this turn.
    turn: u32,
    packets: u32,
    /// Where they are sent back by; 0: nowhere.
    reflect: u32,
}

impl Run {
    fn of(packets: u32) -> Self {
        Self {
            turn: 0,
            packets,
            reflect: 0,
        }
    }
}

struct Sent {
    time: Duration,
    lost: u64,
    sink: Sink,
}

fn arrived(chain: &Chain, sent: &Sent) -> Result<()> {
    let Some(expected) = &chain.expected else {
        return Ok(());
    };
    ensure!(sent.lost == 0, "the first packet does not arrive");
    let bytes: Vec<u8> = sent
        .sink
        .frame
        .as_flattened()
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    let length = (sent.sink.length as usize).min(bytes.len());
    let (source, destination) = check::arrived(&bytes[..length], expected.outer)?;
    ensure!(source == expected.source, "it comes from {source}");
    ensure!(
        expected.destinations.contains(&destination),
        "it goes to {destination}"
    );
    Ok(())
}

fn template(chain: &Chain, turn: u32) -> Template {
    let step = bed::step(chain.flows);
    let next = u64::from(turn) * u64::from(step) % u64::from(chain.flows);
    let mut head = chain.frame.clone();
    head.resize(head.len().max(14 + WORDS6 * 4), 0);
    let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    Template {
        macs: [word(0), word(4), word(8)],
        ethertype: word(12) & u32::from_ne_bytes([0xff, 0xff, 0, 0]),
        words: std::array::from_fn(|at| word(14 + at * 4)),
        length: chain.frame.len() as u32,
        flows: chain.flows,
        step,
        next: next as u32,
        source: if chain.flows > 1 << PORT_BITS {
            u32::MAX
        } else {
            0
        },
        destination: 0,
        destination_number: 0,
        ports: if chain.flows == 1 {
            0
        } else {
            u32::from_ne_bytes([0xff, 0xff, 0, 0])
        },
        action: chain.action,
    }
}

/// `struct xdp_md`: the packet and the device that it is at.
fn context(chain: &Chain) -> Vec<u8> {
    let length = chain.frame.len() as u32;
    let words = [0, length, 0, chain.from, 0, 0];
    words
        .iter()
        .flat_map(|word: &u32| word.to_ne_bytes())
        .collect()
}

/// A smallest datagram of flow 0 to a VIP, from the generator to `mac`.
pub fn frame(vip: IpAddr, port: u16, mac: [u8; 6]) -> Result<Vec<u8>> {
    let ipv6 = vip.is_ipv6();
    let packet = Packet {
        kind: Kind::Udp(PORT, port),
        source: scene::client(ipv6),
        destination: vip,
        ttl: 64,
        df: true,
        length: Some(if ipv6 { 66 } else { 50 }),
        fragment: None,
        vlans: Vec::new(),
        to: None,
    };
    let mut frame = packet::build(&packet, mac).map_err(anyhow::Error::msg)?;
    frame[..6].copy_from_slice(&mac);
    frame[6..12].copy_from_slice(&SINK_MAC);
    Ok(frame)
}
