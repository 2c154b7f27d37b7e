//! From a config file to a running node, and its loop.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use aya_log::EbpfLogger;
use log::{Level, info, warn};
use thiserror::Error;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until};

use super::change::{self, Request};
use super::checks::{self, Checks};
use super::cloud::Cloud;
use super::host::{FRESH_TICK, Host};
use super::keep::{Keep, down, read_object};
use super::notes::Notes;
use super::pair::{Member, PairError};
use super::running::Running;
use super::{FlowView, Node, drops, flows, metrics, status, trace};
use crate::admin::access::{Access, GroupError};
use crate::admin::api::{History, RunningConfig};
use crate::admin::metrics::Listener;
use crate::admin::server::{self, Command, Socket};
use crate::config::{self, ConfigErrors, Model};
use crate::core::compile::{Snapshot, State, virtual_server_ids};
use crate::core::difference::difference;
use crate::core::history::{self, Kind};
use crate::core::tables::Tables;
use crate::dataplane::attach::host::{self as requirements, HostError, Lock};
use crate::dataplane::attach::{AttachError, Choice, Facts, Target, examine};
use crate::dataplane::bpf::load::{self, Sizes};
use crate::dataplane::bpf::shape::Adoption;
use crate::dataplane::bpf::{Bpf, StartError};
use crate::dataplane::pin::PinError;
use crate::dataplane::pin::record::Record;
use crate::io::clock;
use crate::io::health::TlsError;
use crate::io::hook::{Hooks, Outcome};
use crate::io::multicast::Memberships;
use crate::io::netlink::{Events, Netlink};
use crate::io::notify::Manager;
use crate::io::pair::sync::Handle;
use crate::io::probe::Responder;
use crate::io::routes::Routes;
use crate::io::sign::Sign;

/// Between two full passes.
const TICK: Duration = Duration::from_secs(1);
/// Between two looks at the data-plane log.
const LOG_TICK: Duration = Duration::from_millis(50);

/// Events that are taken in at once, at most: everything else has its turn.
const EVENTS: usize = 4_096;

/// What `forwarder run` was told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The config file.
    pub config: PathBuf,
    /// This node's name.
    pub node: Option<String>,
    /// Where the admin socket is to be.
    pub socket: PathBuf,
    /// Data-plane log level; `None`: off, at no cost.
    pub log_dataplane: Option<Level>,
    /// Where to pin, so that forwarding goes on without the daemon; `None`: it ends with it.
    pub pin: Option<PathBuf>,
    /// An eBPF object to load in place of the embedded one.
    pub object: Option<PathBuf>,
}

/// The daemon cannot run.
#[derive(Debug, Error)]
pub enum RunError {
    /// The file has errors.
    #[error("{0}")]
    Config(#[from] ConfigErrors),
    /// The host lacks something.
    #[error(transparent)]
    Host(#[from] HostError),
    /// An interface cannot be used.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// The data plane does not start.
    #[error(transparent)]
    Start(#[from] StartError),
    /// Nothing can be pinned.
    #[error(transparent)]
    Pin(#[from] PinError),
    /// A health check cannot be made.
    #[error(transparent)]
    HealthCheck(#[from] TlsError),
    /// The first pass failed.
    #[error("the maps cannot be filled: {0}")]
    Fill(String),
    /// The kernel's tables cannot be read.
    #[error("netlink: {0}")]
    Netlink(#[source] io::Error),
    /// The admin socket cannot be made.
    #[error("the admin socket {} cannot be made: {source}", .path.display())]
    Socket {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A group of the configuration is not there.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The port for metrics cannot be had.
    #[error("metrics cannot be given at {address}: {source}")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// This node cannot be one of a pair.
    #[error(transparent)]
    Pair(#[from] PairError),
    /// The data-plane log cannot be read.
    #[error("the data plane's log cannot be read: {0}")]
    Log(String),
    /// The system refused something.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// For the programs that are told of the end.
const HOOKS: Duration = Duration::from_secs(10);
/// Between two looks whether the kernel still has what was put there.
const AUDIT: Duration = Duration::from_millis(500);

/// Runs until SIGINT or SIGTERM. When this returns nothing is attached any more, unless it is pinned.
pub async fn run(options: Options) -> Result<(), RunError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    // From here on a SIGHUP does not end the process.
    let mut hangup = signal(SignalKind::hangup())?;
    let mut manager = manager();
    let config = config::load(&options.config)?;
    if !config.warnings.is_empty() {
        warn!("{}", config.warnings);
    }
    let mut running = Running::new(config, options.node.clone())?;
    running.file = std::path::absolute(&options.config)?;
    checks::ready(&running.model)?;
    requirements::check()?;
    let _lock = lock(&options)?;

    let mut events = Events::open().map_err(RunError::Netlink)?;
    let mut netlink = Netlink::open().map_err(RunError::Netlink)?;
    let keep = options.pin.as_deref().map(Keep::open).transpose()?;
    let links = keep.as_ref().map_or(&[][..], |keep| &keep.links);
    let interfaces = examine(&mut netlink, &targets(&running.model), links)?;
    let host = Host::read(netlink).map_err(RunError::Netlink)?;
    let access = Access::new(&running.model.admin)?;
    let socket =
        Socket::bind(&options.socket, access).map_err(|source| socket_error(&options, source))?;
    let metrics = listen(running.model.metrics).await?;

    let (changes, mut steps) = change::start();
    let goes_on = !links.is_empty();
    let (outcomes, mut ended) = mpsc::unbounded_channel();
    let node = start(
        &options,
        running,
        changes,
        outcomes,
        host,
        &interfaces,
        keep,
    );
    let mut node = node.inspect_err(|_| {
        if goes_on {
            warn!("what was attached before goes on forwarding");
        }
    })?;
    let mut log = logger(&mut node, options.log_dataplane)?;
    let mut wanted = node.bpf.wanted().map_err(StartError::from)?;
    attach(&mut node, &interfaces)?;
    let (changed_role, mut roles) = mpsc::unbounded_channel();
    let sign = match &node.model.pair {
        Some(pair) => Sign::of(&pair.groups),
        None => Sign::always(),
    };
    node.pair = Member::start(
        &node.model,
        &node.running.hash,
        &options.socket,
        &mut node.bpf,
        changed_role.clone(),
        sign.clone(),
    )?;
    node.hooks.set(&node.model.hooks)?;
    node.tell_hooks_of_all("started", "the daemon has started");
    let (table, vips) = (node.model.route_table, node.route_vips());
    node.routes = Some(Routes::start(table, vips, &sign)?);
    let filter = node.bpf.probe_filter()?;
    node.responder = Some(Responder::start(node.model.probes.clone(), &sign, filter)?);
    node.cloud.ready(&sign, &options.socket);
    let mut moved = node.start_cloud()?;
    node.inform_pair();
    let told = node.pair.as_ref().map(|pair| pair.flows.handle.clone());
    let (sender, mut commands) = mpsc::channel(16);
    let scraped = async {
        match metrics {
            Some(metrics) => metrics.serve(sender.clone()).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(scraped);
    info!("forwarding; admin socket {}", options.socket.display());
    manager.ready();

    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut fresh_tick = interval(FRESH_TICK);
    fresh_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut log_tick = interval(LOG_TICK);
    log_tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut audit = interval_at(Instant::now() + AUDIT, AUDIT);
    audit.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let serve = socket.serve(sender.clone());
    tokio::pin!(serve);
    // A pass over thousands of backends takes a while: between two of them everything else has its turn, and
    // what happens meanwhile shares the next one.
    let (mut waits, mut next_pass) = (false, Instant::now());
    loop {
        let changed = tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            _ = hangup.recv() => {
                info!("SIGHUP: reading the file again");
                // With so many waiting the last of them will see the file as it is now.
                let _ = node.changes.try_send(Request::Again);
                false
            }
            step = steps.recv() => { step.into_iter().for_each(|step| node.step(step)); false }
            served = &mut serve => { served?; false }
            () = &mut scraped => false,
            change = events.next() => {
                note(&mut node.host, change?) | note_pending(&mut node.host, &mut events)?
            }
            wanted = wanted.next() => {
                wanted?.into_iter().for_each(|(ifindex, address)| node.host.resolve(ifindex, address));
                false
            }
            results = node.checks.next() => {
                let changed = node.checked(results);
                // What waits for a pass shares it.
                if waits { !changed.is_empty() } else { node.change_few(&changed) }
            }
            () = news(&told) => true,
            Some(turn) = roles.recv() => { node.role_changed(turn); false }
            Some(event) = moved.recv() => { node.moved(&event); false }
            Some(outcome) = ended.recv() => { node.hook_ended(&outcome); false }
            // What is found out is at work before it is told.
            command = commands.recv(), if !waits => { node.answer(command); false }
            _ = tick.tick() => {
                manager.alive();
                node.watch_pair();
                node.watch_cloud();
                log::logger().flush();
                manager.status(&status::summary(&node));
                true
            }
            _ = fresh_tick.tick() => {
                let changed = note_pending(&mut node.host, &mut events)?;
                node.host.keep_all_fresh();
                changed
            }
            _ = audit.tick() => node.audit(),
            () = sleep_until(next_pass), if waits => false,
            _ = log_tick.tick(), if log.is_some() => {
                log.as_mut().into_iter().for_each(EbpfLogger::flush);
                false
            }
        };
        waits |= changed;
        let begin = Instant::now();
        if waits && begin >= next_pass {
            node.pass();
            waits = false;
            next_pass = Instant::now() + begin.elapsed();
        }
    }
    manager.stopping();
    let lingers = node.lingers();
    if let Some(pair) = &mut node.pair {
        pair.leave(lingers).await;
        while let Ok(turn) = roles.try_recv() {
            node.role_changed(turn);
        }
        node.tell_hooks_of_all("stopped", "the daemon is stopping");
        node.hooks.finish(HOOKS).await;
    } else if node.keep.is_some()
        && let Some(routes) = &mut node.routes
    {
        routes.stay();
    }
    if node.keep.is_some() {
        info!("stopping: forwarding goes on without the daemon; `forwarder uninstall` ends it");
    } else {
        info!("stopping: detaching from every interface");
        node.bpf.detach();
    }
    Ok(())
}

/// Waits until the active peer makes something else of its backends.
async fn news(told: &Option<Handle>) {
    match told {
        Some(told) => told.news().await,
        None => std::future::pending().await,
    }
}

fn manager() -> Manager {
    Manager::from_environment().unwrap_or_else(|error| {
        warn!("the service manager cannot be told anything: NOTIFY_SOCKET: {error}");
        Manager::default()
    })
}

fn lock(options: &Options) -> Result<Lock, RunError> {
    server::make_directory(&options.socket).map_err(|source| socket_error(options, source))?;
    let mut path = options.socket.clone().into_os_string();
    path.push(".lock");
    Ok(Lock::take(&PathBuf::from(path))?)
}

fn socket_error(options: &Options, source: io::Error) -> RunError {
    let path = options.socket.clone();
    RunError::Socket { path, source }
}

async fn listen(address: Option<SocketAddr>) -> Result<Option<Listener>, RunError> {
    let Some(address) = address else {
        return Ok(None);
    };
    let bound = Listener::bind(address).await;
    bound
        .map(Some)
        .map_err(|source| RunError::Metrics { address, source })
}

pub(super) fn targets(model: &Model) -> Vec<Target> {
    model.interfaces.iter().map(Target::from).collect()
}

/// Loads programs and fills the maps; nothing is attached yet.
fn start(
    options: &Options,
    running: Running,
    changes: mpsc::Sender<Request>,
    outcomes: mpsc::UnboundedSender<Outcome>,
    host: Host,
    interfaces: &[(Facts, Choice)],
    mut keep: Option<Keep>,
) -> Result<Node, RunError> {
    let kept = keep.as_ref().map(|keep| keep.overrides(&running.hash));
    let overrides = kept.unwrap_or_default();
    let model = overrides.apply(&running.model);
    let limits = &model.limits;
    let kept_key = keep.as_ref().and_then(Keep::hash_key);
    let mut load = load::Options {
        hash_key: match model.hash_key.or(kept_key) {
            Some(key) => key,
            None => random_key()?,
        },
        interfaces: None,
        gue_port: model.gue_port.get(),
        pair_port: model.pair.as_ref().map_or(0, |pair| pair.port.get()),
        sizes: Sizes {
            // Twice: new ones come before old ones go.
            virtual_servers: limits.virtual_servers.saturating_mul(2),
            virtual_server_ids: virtual_server_ids(limits),
            backends: limits.backends,
            flows: limits.flows,
            embryonic: limits.embryonic_flows,
            slots: limits.table_slots,
            highest_ifindex: host.highest_ifindex(),
        },
        log_level: options.log_dataplane.map_or(0, |level| level as u8),
    };
    let choices: Vec<Choice> = interfaces.iter().map(|(_, choice)| *choice).collect();
    let object = read_object(options.object.as_deref()).map_err(StartError::from)?;
    let adoption = match &keep {
        Some(keep) => keep.adopt(&object, &mut load)?,
        None => Adoption::default(),
    };
    let mut bpf = Bpf::load(&object, &load, &choices, &adoption)?;
    let state = match &keep {
        Some(keep) => keep.restore(limits),
        None => State::new(limits),
    };
    let mut actual = Tables::default();
    if adoption.control {
        actual.slots = state.tables();
        actual = bpf
            .read(&actual)
            .map_err(|error| RunError::Fill(error.to_string()))?;
    }
    if let Some(keep) = &mut keep {
        let record = Record {
            hash_key: load.hash_key,
            snapshot: Snapshot::of(&state),
            overrides: overrides.clone(),
            config_hash: running.hash.clone(),
        };
        keep.pin(&bpf, record)?;
        if adoption.control {
            // From the first change on, only this record explains the maps that both generations use.
            keep.finish()?;
        }
    }
    let mut checks = Checks::start(&model)?;
    checks.assume_down(&down(&model, &state, &actual));
    let mut node = Node {
        checks,
        keep,
        not_attached: BTreeMap::new(),
        running,
        overrides,
        followed: None,
        model,
        generation: 1,
        config_error: None,
        changes,
        history: history::History::default(),
        started: clock::monotonic(),
        started_at: clock::wall(),
        reloaded_at: clock::wall(),
        bpf,
        hash_key: load.hash_key,
        host,
        pair: None,
        responder: None,
        hooks: Hooks::new(outcomes),
        routes: None,
        cloud: Cloud::default(),
        memberships: memberships(),
        actual,
        state,
        notes: Notes::default(),
        settle_at: Duration::ZERO,
        failure: None,
        maps_answer: true,
    };
    node.pass();
    if let Some(failure) = node.failure.take() {
        return Err(RunError::Fill(failure));
    }
    if let Some(keep) = &mut node.keep {
        keep.finish()?;
    }
    Ok(node)
}

fn attach(node: &mut Node, interfaces: &[(Facts, Choice)]) -> Result<(), RunError> {
    let pins = node.keep.as_ref().map(|keep| &keep.pins);
    node.bpf.attach(&mut node.host.netlink, interfaces, pins)?;
    let attached = node.bpf.attached();
    let lines: Vec<_> = attached
        .map(|each| (each.device.clone(), each.to_string()))
        .collect();
    for (device, line) in lines {
        info!(interface = device.as_str(); "{line}");
        let text = line.strip_prefix(&format!("{device}: ")).unwrap_or(&line);
        node.remember(Kind::Interface, device, text);
    }
    let file = node.running.file.display().to_string();
    node.remember(Kind::Config, file, "started");
    for each in difference(&node.running.model, &node.model) {
        let text = format!("{}, as before the start", each.details.join(", "));
        info!("{} {}: {text}", each.kind, each.name);
        node.remember(Kind::Override, each.name, &text);
    }
    Ok(())
}

fn logger(
    node: &mut Node,
    level: Option<Level>,
) -> Result<Option<EbpfLogger<&'static dyn log::Log>>, RunError> {
    let Some(_) = level else { return Ok(None) };
    EbpfLogger::init(node.bpf.ebpf())
        .map(Some)
        .map_err(|error| RunError::Log(error.to_string()))
}

fn note(host: &mut Host, change: crate::io::netlink::Change) -> bool {
    host.note(change).unwrap_or_else(|error| {
        warn!("netlink: {error}");
        true
    })
}

/// Takes in what has arrived: what comes of all of it counts, not of each part.
fn note_pending(host: &mut Host, events: &mut Events) -> io::Result<bool> {
    let mut changed = false;
    for _ in 0..EVENTS {
        let Some(change) = events.pending()? else {
            break;
        };
        changed |= note(host, change);
    }
    Ok(changed)
}

fn memberships() -> Option<Memberships> {
    Memberships::open()
        .inspect_err(|error| {
            warn!("IPv6 VIPs may stay unanswered on cards that filter multicast (CAP_NET_RAW): {error}");
        })
        .ok()
}

/// A hash key for a node of its own.
pub(super) fn random_key() -> io::Result<[u64; 2]> {
    let mut key = [0; 2];
    for word in &mut key {
        let mut bytes = [0; 8];
        io::Read::read_exact(&mut File::open("/dev/urandom")?, &mut bytes)?;
        *word = u64::from_ne_bytes(bytes);
    }
    Ok(key)
}

impl Node {
    fn answer(&mut self, command: Option<Command>) {
        // An asker that went away needs no answer.
        match command {
            Some(Command::Status(reply)) => drop(reply.send(status::status(self))),
            Some(Command::Flows(reply)) => drop(reply.send(Ok(FlowView::of(self)))),
            Some(Command::Snat(reply)) => drop(reply.send(flows::snat(self))),
            Some(Command::Drops(reply)) => drop(reply.send(drops::drops(self))),
            Some(Command::Metrics(reply)) => drop(reply.send(metrics::sample(self))),
            Some(Command::History(reply)) => {
                let events = self.history.events().map(Into::into).collect();
                drop(reply.send(Ok(History { events })));
            }
            Some(Command::Config(reply)) => {
                let running = &self.running;
                drop(reply.send(Ok(RunningConfig {
                    file: running.file.clone(),
                    hash: running.hash.clone(),
                    text: running.text.clone(),
                })));
            }
            Some(Command::Pair(request, reply)) => self.ask_pair(&request, reply),
            Some(Command::Trace(packet, reply)) => drop(reply.send(trace::trace(self, &packet))),
            Some(Command::Plan(config, reply)) => self.queue(Request::Plan(config, reply)),
            Some(Command::Reload(config, reply)) => self.queue(Request::Reload(config, reply)),
            Some(Command::Override(wanted, reply)) => {
                drop(reply.send(self.set_override(&wanted)));
            }
            None => (),
        }
    }

    fn queue(&self, request: Request) {
        if let Err(full) = self.changes.try_send(request)
            && let Request::Plan(_, reply) | Request::Reload(_, reply) = full.into_inner()
        {
            let _ = reply.send(Err("too many changes at once; try again".to_owned()));
        }
    }
}
