//! The file as one node sees it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Diagnostics, Span, Spanned};
use super::super::model::{self, Model, SharedPorts};
use super::super::schema::{self, Document};
use super::super::suggest::nearest;
use super::super::value::{Many, Name, PerNode, did_you_mean, is_link_local, unusable};
use super::group::with_groups;
use super::interface::Interface;
use super::nodes::Nodes;
use super::snat_pool::SnatPool;

/// Sections of one kind by name.
pub(super) type Index<'d, T> = BTreeMap<&'d str, &'d T>;

/// Everything that the checks of one node share.
pub(super) struct View<'d, 'o> {
    pub(super) document: &'d Document,
    pub(super) nodes: &'d Nodes<'d>,
    pub(super) node: Option<usize>,
    pub(super) out: &'o mut Diagnostics,
    pub(super) pool_names: Index<'d, schema::Pool>,
    pub(super) health_check_names: Index<'d, schema::HealthCheck>,
    pub(super) interface_names: Index<'d, schema::Interface>,
    pub(super) snat_pool_names: Index<'d, schema::SnatPool>,
    pub(super) group_names: Index<'d, schema::Group>,
    /// As far as they are without errors.
    pub(super) interfaces: Vec<Interface<'d>>,
    pub(super) snat_pools: Vec<SnatPool>,
}

/// The entries of an array of tables.
pub(super) fn entries<T>(list: &Option<Spanned<Many<T>>>) -> &[Spanned<T>] {
    list.as_ref().map_or(&[], |list| &list.value.0)
}

impl<'d, 'o> View<'d, 'o> {
    pub(super) fn new(
        document: &'d Document,
        nodes: &'d Nodes<'d>,
        node: Option<usize>,
        out: &'o mut Diagnostics,
    ) -> Self {
        let interface_names = index(&document.interface, "interface", |i| i.name.as_ref(), out);
        index(
            &document.virtual_server,
            "virtual server",
            |v| v.name.as_ref(),
            out,
        );
        View {
            document,
            nodes,
            node,
            interface_names,
            pool_names: index(&document.pool, "pool", |p| p.name.as_ref(), out),
            group_names: document.pair.as_ref().map_or_else(BTreeMap::new, |pair| {
                index(&pair.group, "group", |g| g.name.as_ref(), out)
            }),
            snat_pool_names: index(&document.snat_pool, "SNAT pool", |p| p.name.as_ref(), out),
            health_check_names: index(
                &document.health_check,
                "health check",
                |h| h.name.as_ref(),
                out,
            ),
            interfaces: Vec::new(),
            snat_pools: Vec::new(),
            out,
        }
    }

    /// Runs every check; a model comes out where nothing that it needs was wrong.
    pub(super) fn model(&mut self) -> Option<Model> {
        self.check_counts();
        let interfaces = self.build_interfaces();
        let snat_pools = self.build_snat_pools();
        let health_checks: Option<Vec<_>> = entries(&self.document.health_check)
            .iter()
            .map(|check| self.health_check(check))
            .collect();
        let pools = self.build_pools();
        let virtual_servers: Vec<_> = entries(&self.document.virtual_server)
            .iter()
            .map(|server| self.virtual_servers(server, &pools))
            .collect();
        let egress = self.build_egress();
        self.check_vips(&pools);
        let checks = self.backend_checks(&pools);
        self.check_groups();
        self.check_snat_overlap();
        self.check_unused();
        let automap_ports = self.automap_ports();
        let metrics = self.metrics();
        let pair = self.pair();
        let probes = self.probes();
        let hooks = self.hooks();
        let cloud = self.cloud();
        let virtual_servers: Vec<Vec<_>> = virtual_servers.into_iter().collect::<Option<_>>()?;
        let virtual_servers: Vec<_> = virtual_servers.into_iter().flatten().collect();
        let (egress, parts) = egress?;
        let model = Model {
            node: self.node.map(|index| self.nodes.model(index)),
            pair: pair?,
            hash_key: self.document.hash_key.as_ref().map(|key| key.value.0),
            limits: self.limits()?,
            interfaces: interfaces?,
            pools: pools.into_models(checks)?,
            snat_pools: with_groups([snat_pools?, parts].concat(), &virtual_servers),
            virtual_servers,
            egress,
            health_checks: health_checks?,
            gue_port: self.document.tunnel.as_ref()?.gue_port.as_ref()?.value,
            automap_ports: automap_ports?,
            admin: self.admin()?,
            metrics: metrics?,
            probes: probes?,
            hooks: hooks?,
            route_table: self.route_table()?,
            cloud: cloud?,
        };
        if let Some(section) = &self.document.cloud {
            self.check_cloud_limits(&section.value, &model);
        }
        Some(model)
    }

    pub(super) fn push(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.out.push(Diagnostic::new(code, span, message));
    }

    /// This node's value.
    pub(super) fn pick<'v, T>(
        &mut self,
        value: &'v Option<Spanned<PerNode<T>>>,
    ) -> Option<&'v Spanned<T>> {
        let (span, values) = match &value.as_ref()?.value {
            PerNode::Same(value) => return Some(value),
            PerNode::ByNode { span, values } => (*span, values),
        };
        let known: Vec<&str> = self.nodes.0.iter().map(|(name, _)| *name).collect();
        for (name, _) in values {
            if known.contains(&name.as_str()) {
                continue;
            }
            let message = format!("there is no node \"{}\"", super::super::value::short(name));
            let diagnostic = Diagnostic::new(Code::UnknownNode, name.span, message);
            self.out.push(
                match (nearest(name, known.iter().copied()), known.is_empty()) {
                    (Some(near), _) => diagnostic.help(did_you_mean(near)),
                    (None, true) => diagnostic.help("name the nodes in [[node]] sections"),
                    (None, false) => diagnostic.expected(known.join(" or ")),
                },
            );
        }
        let node = self.nodes.name(self.node?);
        self.value_of(node, span, values)
    }

    fn value_of<'v, T>(
        &mut self,
        node: &str,
        span: Span,
        values: &'v [(Spanned<String>, Option<Spanned<T>>)],
    ) -> Option<&'v Spanned<T>> {
        match values.iter().find(|(name, _)| name.value == node) {
            Some((_, value)) => value.as_ref(),
            None => {
                let message = format!("there is no value for node \"{node}\"");
                self.push(Code::NodeWithoutValue, span, message);
                None
            }
        }
    }

    /// The other node's value.
    pub(super) fn pick_peer<'v, T>(
        &mut self,
        value: &'v Option<Spanned<PerNode<T>>>,
    ) -> Option<&'v Spanned<T>> {
        match &value.as_ref()?.value {
            PerNode::Same(value) => Some(value),
            PerNode::ByNode { span, values } => {
                let peer = self.nodes.name(1 - self.node?.min(1));
                self.value_of(peer, *span, values)
            }
        }
    }

    /// Reports an address that no host here can have.
    pub(super) fn check_address(&mut self, what: &str, address: IpAddr, span: Span) {
        let why = unusable(address).or(is_link_local(address).then_some("a link-local address"));
        if let Some(why) = why {
            let message = format!("{address} can't be {what}: it is {why}");
            self.push(Code::UnusableAddress, span, message);
        } else if let Some(name) = self
            .interfaces
            .iter()
            .find(|interface| interface.is_broadcast(address))
            .map(|interface| interface.model.name.clone())
        {
            let message = format!(
                "{address} can't be {what}: it is the broadcast address of interface \"{name}\""
            );
            self.push(Code::UnusableAddress, span, message);
        }
    }

    /// Looks a name up among the sections of one kind.
    pub(super) fn known<T>(
        names: &Index<'d, T>,
        name: &Spanned<Name>,
        code: Code,
        what: &str,
        out: &mut Diagnostics,
    ) -> Option<&'d T> {
        if let Some(found) = names.get(name.0.as_str()) {
            return Some(found);
        }
        let message = format!("there is no {what} \"{}\"", name.0);
        let mut diagnostic = Diagnostic::new(code, name.span, message);
        if !out.is_full() {
            let mut candidates: Vec<&str> = names.keys().copied().collect();
            candidates.sort_unstable();
            if let Some(near) = nearest(&name.0, candidates.iter().copied()) {
                diagnostic = diagnostic.help(did_you_mean(near));
            } else if candidates.is_empty() {
                diagnostic = diagnostic.help(format!("the file defines no {what} at all"));
            } else if candidates.len() <= 8 {
                diagnostic = diagnostic.expected(format!("one of {}", candidates.join(", ")));
            }
        }
        out.push(diagnostic);
        None
    }

    /// The node's share of a range of ports.
    pub(super) fn share(&mut self, ports: &Spanned<model::PortRange>) -> Option<SharedPorts> {
        let all = ports.value;
        let own = match self.node {
            Some(index) if self.nodes.0.len() == 2 => {
                if all.low == all.high {
                    let message = format!("two nodes can't share {all}");
                    self.push(Code::RangeTooSmall, ports.span, message);
                }
                super::snat_pool::half(all, index)?
            }
            _ => all,
        };
        Some(SharedPorts { own, all })
    }

    fn admin(&self) -> Option<model::Admin> {
        let admin = self.document.admin.as_ref()?;
        let name = |name: &Option<Spanned<Name>>| name.as_ref().map(|name| name.0.clone());
        Some(model::Admin {
            group: name(&admin.group),
            read_group: name(&admin.read_group),
        })
    }

    /// Where metrics are given over TCP; the outer `None`: something is wrong with it.
    fn metrics(&mut self) -> Option<Option<SocketAddr>> {
        let listen = &self.document.metrics.as_ref()?.listen;
        match listen {
            None => Some(None),
            Some(_) => self.pick(listen).map(|listen| Some(listen.value)),
        }
    }

    fn automap_ports(&mut self) -> Option<SharedPorts> {
        let ports = self.document.automap.as_ref()?.ports.as_ref()?;
        self.check_automap_ports(ports);
        self.share(ports)
    }
}

fn index<'d, T>(
    list: &'d Option<Spanned<Many<T>>>,
    what: &str,
    name: impl Fn(&'d T) -> Option<&'d Spanned<Name>>,
    out: &mut Diagnostics,
) -> Index<'d, T> {
    let mut names: BTreeMap<&str, (&T, Span)> = BTreeMap::new();
    for entry in entries(list) {
        let Some(Spanned {
            value: Name(text),
            span,
        }) = name(&entry.value)
        else {
            continue;
        };
        match names.entry(text) {
            Entry::Vacant(vacant) => {
                vacant.insert((&entry.value, *span));
            }
            Entry::Occupied(first) => out.push(
                Diagnostic::new(
                    Code::DuplicateName,
                    *span,
                    format!("the {what} \"{text}\" is defined twice"),
                )
                .note(first.get().1, "first defined here"),
            ),
        }
    }
    names
        .into_iter()
        .map(|(name, (entry, _))| (name, entry))
        .collect()
}
