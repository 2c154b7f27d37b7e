//! How the nodes watch each other.

use std::net::IpAddr;
use std::time::Duration;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span};
use super::super::model::{Pair, PairPath, Partition, PartitionPolicy};
use super::super::schema;
use super::view::{View, entries};

const SHORTEST: Duration = Duration::from_millis(5);

impl<'d> View<'d, '_> {
    /// `None`: something is wrong; `Some(None)`: there is no pair.
    pub(super) fn pair(&mut self) -> Option<Option<Pair>> {
        let document = self.document;
        let Some(section) = &document.pair else {
            return Some(None);
        };
        let span = section.span;
        let section = &section.value;
        if self.nodes.0.len() != 2 {
            let message = "there is a [pair], but there are not two nodes";
            self.push(Code::PairWithoutPeer, span, message);
            return None;
        }
        let paths = self.paths(section, span);
        let interval = section.interval.as_ref()?;
        if interval.value < SHORTEST {
            let message = format!("{:?} is too short", interval.value);
            self.out.push(
                Diagnostic::new(Code::OutOfRange, interval.span, message).expected("at least 5ms"),
            );
        }
        let priority = self.pick(&section.priority).map(|priority| priority.0);
        let groups = self.groups(section, priority);
        let partition = self.partition(section);
        Some(Some(Pair {
            paths: paths?,
            key_file: section.key_file.as_ref()?.0.clone(),
            port: section.port.as_ref()?.value,
            interval: interval.value,
            multiplier: section.multiplier.as_ref()?.0,
            preempt: section.preempt.as_ref()?.value,
            failback_delay: section.failback_delay.as_ref()?.value,
            drain: section.drain.as_ref()?.value,
            partition: partition?,
            groups: groups?,
        }))
    }

    fn partition(&mut self, section: &'d schema::Pair) -> Option<Partition> {
        let policy = section.partition.as_ref()?;
        let gateways: Option<Vec<IpAddr>> = self.pick(&section.gateway).map(|list| {
            let each = list.value.0.iter();
            each.map(|address| address.value).collect()
        });
        match (policy.value, gateways) {
            (PartitionPolicy::Stay, _) => Some(Partition::Stay),
            (PartitionPolicy::Yield, _) => Some(Partition::Yield),
            (PartitionPolicy::Gateway, Some(gateways)) => Some(Partition::Gateway(gateways)),
            (PartitionPolicy::Etcd, _) => {
                if section.etcd.is_none() {
                    let message = "partition = \"etcd\" needs the servers, as etcd = …";
                    self.push(Code::MissingKey, policy.span, message);
                }
                self.etcd(section.etcd.as_ref()?).map(Partition::Etcd)
            }
            (PartitionPolicy::Gateway, None) => {
                if section.gateway.is_none() {
                    let message = "partition = \"gateway\" needs the gateways, as gateway = …";
                    self.push(Code::MissingKey, policy.span, message);
                }
                None
            }
        }
    }

    fn paths(&mut self, section: &'d schema::Pair, span: Span) -> Option<Vec<PairPath>> {
        let list = entries(&section.path);
        match list {
            [] => self.push(Code::PairPath, span, "the pair has no path"),
            [only] => {
                let message = "this is the only path between the nodes";
                self.push(Code::SinglePath, only.span, message);
            }
            _ => {}
        }
        let paths: Option<Vec<_>> = list.iter().map(|path| self.path(path)).collect();
        paths.filter(|paths| !paths.is_empty())
    }

    fn path(&mut self, path: &'d schema::Path) -> Option<PairPath> {
        let (own, peer) = (self.pick(&path.address), self.pick_peer(&path.address));
        let (own, peer) = (own?, peer?);
        self.check_address("a node's", own.value, own.span);
        let wrong = if own.value == peer.value {
            Some("both ends of the path are the same address")
        } else if own.value.is_ipv4() != peer.value.is_ipv4() {
            Some("the ends of the path are of different families")
        } else if self.is_vip(own.value) {
            Some("a VIP can't be a node's end of a path: it moves")
        } else {
            None
        };
        if let Some(message) = wrong {
            self.push(Code::PairPath, own.span, message);
        }
        wrong.is_none().then_some(PairPath {
            own: own.value,
            peer: peer.value,
        })
    }

    fn is_vip(&mut self, address: IpAddr) -> bool {
        let servers = entries(&self.document.virtual_server);
        servers.iter().any(|server| {
            let vip = self.pick(&server.address);
            vip.is_some_and(|vip| vip.value == address)
        })
    }
}
