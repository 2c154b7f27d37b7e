//! A backend host: takes what the forwarder sent in tunnels out of them.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

use log::info;
use tokio::signal::unix::{SignalKind, signal};

use super::RunError;
use crate::config::Prefix;
use crate::dataplane::attach::{AttachError, Target, examine, host};
use crate::dataplane::bpf::StartError;
use crate::dataplane::bpf::decapsulate::Decapsulator;
use crate::io::netlink::{Change, Events, Netlink};

/// What `forwarder backend` was told.
#[derive(Clone, Debug)]
pub struct BackendOptions {
    /// Where tunnels come in.
    pub target: Target,
    /// VIPs; empty: the addresses on loopback, as they come and go.
    pub vips: BTreeSet<IpAddr>,
    /// Where tunnels may come from.
    pub sources: Vec<Prefix>,
    /// UDP destination port of GUE.
    pub gue_port: u16,
}

/// Runs until SIGINT or SIGTERM. When this returns nothing is attached any more.
pub async fn backend(options: BackendOptions) -> Result<(), RunError> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    host::check()?;
    let mut events = Events::open().map_err(RunError::Netlink)?;
    let mut netlink = Netlink::open().map_err(RunError::Netlink)?;
    let interfaces = examine(&mut netlink, std::slice::from_ref(&options.target), &[])?;
    let Some(interface) = interfaces.first() else {
        return Err(AttachError::Vanished {
            device: options.target.device,
        }
        .into());
    };
    if interface.1.frags {
        // There is no decapsulator for frames of several buffers.
        return Err(AttachError::mtu_too_big(&interface.0).into());
    }
    let mut decapsulator =
        Decapsulator::start(&mut netlink, interface, options.gue_port, &options.sources)?;
    info!("{}", decapsulator.attached());
    set_vips(&mut decapsulator, &mut netlink, &options)?;
    loop {
        tokio::select! {
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
            change = events.next() => {
                if matches!(change.map_err(RunError::Netlink)?, Change::Address | Change::Lost) {
                    set_vips(&mut decapsulator, &mut netlink, &options)?;
                }
            }
        }
    }
    let [taken, left] = decapsulator.counters().map_err(StartError::from)?;
    info!(
        "{} packets out of tunnels, {} left alone; detaching",
        taken.packets, left.packets
    );
    Ok(())
}

fn set_vips(
    decapsulator: &mut Decapsulator,
    netlink: &mut Netlink,
    options: &BackendOptions,
) -> Result<(), RunError> {
    let vips = if options.vips.is_empty() {
        on_loopback(netlink).map_err(RunError::Netlink)?
    } else {
        options.vips.clone()
    };
    if decapsulator.vips() != &vips {
        let names: Vec<_> = vips.iter().map(ToString::to_string).collect();
        info!(
            "VIPs: {}",
            if names.is_empty() {
                "none yet".into()
            } else {
                names.join(" ")
            }
        );
        decapsulator.set_vips(vips).map_err(StartError::from)?;
    }
    Ok(())
}

fn on_loopback(netlink: &mut Netlink) -> io::Result<BTreeSet<IpAddr>> {
    let loopback = netlink.link("lo")?.map(|link| link.ifindex);
    let addresses = netlink.addresses()?.into_iter();
    let own = addresses
        .filter(|own| Some(own.ifindex) == loopback)
        .map(|own| own.address);
    Ok(own.filter(|address| !address.is_loopback()).collect())
}
