//! The decapsulator of backend hosts: one program and its own few maps.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use aya::Ebpf;
use aya::maps::PerCpuArray;
use aya::maps::lpm_trie::Key;
use forwarder_common::Counter;

use super::load::{self, LoadError, Options, Sizes};
use super::write::{address_key, hash, trie};
use super::{StartError, map};
use crate::config::Prefix;
use crate::core::key::Family;
use crate::dataplane::attach::{Attached, Attachment, Choice, Facts};
use crate::io::netlink::Netlink;

const PROGRAM: &str = "decapsulate";

/// A running decapsulator; detached when dropped.
#[derive(Debug)]
pub struct Decapsulator {
    attachment: Attachment,
    ebpf: Ebpf,
    vips: BTreeSet<IpAddr>,
}

impl Decapsulator {
    /// Loads the program, lets tunnels from `sources` in, and attaches it.
    pub fn start(
        netlink: &mut Netlink,
        (facts, choice): &(Facts, Choice),
        gue_port: u16,
        sources: &[Prefix],
    ) -> Result<Self, StartError> {
        let sizes = Sizes::least(facts.link.ifindex);
        let options = Options {
            hash_key: [0; 2],
            gue_port,
            pair_port: 0,
            sizes,
            interfaces: None,
            log_level: 0,
        };
        let mut ebpf = load::open(load::OBJECT, &options, &BTreeMap::new())?;
        load::load_program(&mut ebpf, PROGRAM)?;
        for source in sources {
            let length = u32::from(source.length());
            match address_key(source.address()) {
                Family::V4(key) => trie(
                    &mut ebpf,
                    "DECAP_SOURCES4",
                    Key::new(length, key),
                    Some(1_u32),
                )?,
                Family::V6(key) => trie(
                    &mut ebpf,
                    "DECAP_SOURCES6",
                    Key::new(length, key),
                    Some(1_u32),
                )?,
            }
        }
        let attachment =
            Attachment::attach(&mut ebpf, PROGRAM, netlink, facts, choice.native, None)?;
        Ok(Self {
            attachment,
            ebpf,
            vips: BTreeSet::new(),
        })
    }

    /// How it is attached.
    pub fn attached(&self) -> &Attached {
        self.attachment.attached()
    }

    /// The VIPs.
    pub fn vips(&self) -> &BTreeSet<IpAddr> {
        &self.vips
    }

    /// Takes packets for exactly these VIPs out of their tunnels.
    pub fn set_vips(&mut self, vips: BTreeSet<IpAddr>) -> Result<(), LoadError> {
        let added = vips.difference(&self.vips).map(|vip| (*vip, Some(1_u32)));
        let removed = self.vips.difference(&vips).map(|vip| (*vip, None));
        for (vip, entry) in added.chain(removed) {
            match address_key(vip) {
                Family::V4(key) => hash(&mut self.ebpf, "DECAP_VIPS4", key, entry)?,
                Family::V6(key) => hash(&mut self.ebpf, "DECAP_VIPS6", key, entry)?,
            }
        }
        self.vips = vips;
        Ok(())
    }

    /// Packets taken out of tunnels, and packets left alone.
    pub fn counters(&self) -> Result<[Counter; 2], LoadError> {
        let counters: PerCpuArray<_, Counter> = map(&self.ebpf, "DECAP_COUNTERS")?.try_into()?;
        Ok([
            super::stats::sum(&counters, 0)?,
            super::stats::sum(&counters, 1)?,
        ])
    }
}
