//! What moves by calls of the cloud's API.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::super::code::Code;
use super::super::diagnostic::{Diagnostic, Span, Spanned};
use super::super::model::{
    Cloud, DEFAULT_GROUP, ElasticIp, JournalBucket, Movable, MovingInterface, Route, Which,
};
use super::super::prefix::Prefix;
use super::super::schema;
use super::super::section::Wrong;
use super::super::value::{Name, OneOrMany, Tag, is_link_local};
use super::view::{View, entries};

const SHORTEST: Duration = Duration::from_secs(1);
/// The only length of prefixes that network interfaces have.
const PREFIX: u8 = 28;

/// Groups of addresses that the file has at the active node.
type Movables = BTreeMap<IpAddr, String>;

impl<'d> View<'d, '_> {
    /// `None`: something is wrong; `Some(None)`: there is no cloud.
    pub(super) fn cloud(&mut self) -> Option<Option<Cloud>> {
        let document = self.document;
        let Some(section) = &document.cloud else {
            return Some(None);
        };
        let section = &section.value;
        let refresh = section.refresh.as_ref()?;
        if refresh.value < SHORTEST {
            let message = format!("{:?} is too short", refresh.value);
            let diagnostic = Diagnostic::new(Code::OutOfRange, refresh.span, message);
            self.out.push(diagnostic.expected("at least 1s"));
        }
        let groups = self.movable();
        let (addresses, prefixes) = self.cloud_addresses(section, &groups);
        let elastic = entries(&section.elastic_ip).iter();
        let elastic: Vec<_> = elastic.map(|each| self.elastic_ip(each, &groups)).collect();
        let routes = entries(&section.route).iter();
        let routes: Vec<_> = routes.map(|each| self.cloud_routes(each)).collect();
        let routes: Option<Vec<_>> = routes.into_iter().collect();
        let interfaces = entries(&section.interface).iter();
        let interfaces: Vec<_> = interfaces.map(|each| self.moving_interface(each)).collect();
        self.check_moving(section);
        section.provider.as_ref()?;
        let prefix = section.journal_prefix.as_ref()?;
        let bucket = section.journal_bucket.as_ref().map(|name| JournalBucket {
            name: name.value.0.clone(),
            prefix: prefix.value.0.clone(),
            endpoint: section
                .journal_endpoint
                .as_ref()
                .map(|url| url.value.0.clone()),
        });
        Some(Some(Cloud {
            region: section.region.as_ref().map(|region| region.0.clone()),
            endpoint: section.endpoint.as_ref().map(|url| url.value.0.clone()),
            proxy: section.proxy.as_ref().map(|url| url.value.0.clone()),
            ca_file: section.ca_file.as_ref().map(|path| path.value.0.clone()),
            refresh: refresh.value,
            journal: section.journal.as_ref().map(|path| path.value.0.clone()),
            instance_type: self
                .pick(&section.instance_type)
                .map(|of| of.value.to_string()),
            limits_file: section
                .limits_file
                .as_ref()
                .map(|path| path.value.0.clone()),
            journal_bucket: bucket,
            addresses: addresses?,
            prefixes: prefixes?,
            elastic_ips: elastic.into_iter().collect::<Option<_>>()?,
            routes: routes?.into_iter().flatten().collect(),
            interfaces: interfaces.into_iter().collect::<Option<_>>()?,
        }))
    }

    /// Every address that the file has at the active node, with its group.
    fn movable(&mut self) -> Movables {
        let group = |name: Option<&Spanned<Name>>| {
            name.map_or(DEFAULT_GROUP.to_owned(), |name| name.0.clone())
        };
        let mut all = Movables::new();
        let (mut automap, mut pools) = (DEFAULT_GROUP.to_owned(), BTreeMap::new());
        for server in entries(&self.document.virtual_server) {
            let of = group(server.group.as_ref());
            if let Some(snat) = &server.snat {
                match snat.0.as_str() {
                    "automap" => automap.clone_from(&of),
                    name => drop(pools.insert(name, of.clone())),
                }
            }
            if let Some(vip) = self.pick(&server.address) {
                all.insert(vip.value, of);
            }
        }
        for pool in &self.snat_pools {
            let of = pools.get(pool.model.name.as_str());
            let of = of.map_or(DEFAULT_GROUP, |group| group);
            let addresses = pool.addresses.iter();
            all.extend(addresses.map(|address| (address.value, of.to_owned())));
        }
        let floating = self.interfaces.iter().flat_map(|each| each.floating);
        all.extend(floating.map(|address| (address.value, automap.clone())));
        all
    }

    #[expect(clippy::type_complexity, reason = "two lists of one kind")]
    fn cloud_addresses(
        &mut self,
        section: &'d schema::Cloud,
        groups: &Movables,
    ) -> (Option<Vec<Movable<IpAddr>>>, Option<Vec<Movable<Prefix>>>) {
        let (mut addresses, mut prefixes) = (Some(Vec::new()), Some(Vec::new()));
        let mut seen: BTreeMap<IpAddr, Span> = BTreeMap::new();
        for entry in entries(&section.address) {
            let name = entry.interface.as_ref();
            let interface = name.and_then(|name| self.interface_name(name));
            if entry.private.is_none() && entry.prefix.is_none() {
                let message = "neither `private` nor `prefix` says what moves";
                self.push(Code::CloudAddress, entry.span, message);
            }
            for address in list(entry.private.as_ref()) {
                let group = self.group_at(address, groups);
                self.check_subnet(interface.as_deref(), address.value, address.span);
                if let Some(first) = seen.insert(address.value, address.span) {
                    let message = format!("{} moves twice", address.value);
                    let diagnostic = Diagnostic::new(Code::CloudAddress, address.span, message);
                    self.out.push(diagnostic.note(first, "first given here"));
                }
                add(&mut addresses, address.value, interface.clone(), group);
            }
            for prefix in list(entry.prefix.as_ref()) {
                let group = self.group_in(prefix, groups);
                self.check_subnet(interface.as_deref(), prefix.value.address(), prefix.span);
                add(&mut prefixes, prefix.value, interface.clone(), group);
            }
        }
        (addresses, prefixes)
    }

    /// The API refuses an address of another subnet, with all others of its call.
    fn check_subnet(&mut self, interface: Option<&str>, address: IpAddr, span: Span) {
        let mut found = self.interfaces.iter();
        let found = found.find(|each| Some(each.model.name.as_str()) == interface);
        let own = found.map_or(&[][..], |found| &found.model.addresses);
        // Some hosts have their address alone, without its subnet.
        let whole = |subnet: &Prefix| match subnet.address() {
            IpAddr::V4(_) => subnet.length() == 32,
            IpAddr::V6(_) => subnet.length() == 128,
        };
        let subnets = own.iter().map(|own| own.subnet);
        let mut subnets = subnets
            .filter(|subnet| subnet.address().is_ipv4() == address.is_ipv4() && !whole(subnet))
            .filter(|subnet| !is_link_local(subnet.address()))
            .peekable();
        if subnets.peek().is_some() && !subnets.any(|subnet| subnet.contains(address)) {
            let name = interface.unwrap_or_default();
            let message = format!(
                "{address} is in no subnet of \"{name}\": a private address moves within one"
            );
            self.push(Code::CloudAddress, span, message);
        }
    }

    /// The group of an address.
    fn group_at(&mut self, address: &Spanned<IpAddr>, groups: &Movables) -> Option<String> {
        let group = groups.get(&address.value).cloned();
        let own = self.own_addresses();
        if group.is_none() || own.iter().any(|(own, _)| *own == address.value) {
            let why = match group {
                None => "no virtual server, floating address or SNAT pool has it",
                Some(_) => "it is an own address of this node, which stays",
            };
            let message = format!("{} can't move: {why}", address.value);
            self.push(Code::CloudAddress, address.span, message);
            return None;
        }
        group
    }

    /// The group of all that is in a prefix.
    fn group_in(&mut self, prefix: &Spanned<Prefix>, groups: &Movables) -> Option<String> {
        let mut inside = groups
            .iter()
            .filter(|(address, _)| prefix.value.contains(**address))
            .map(|(_, group)| group);
        let first = inside.next();
        let why = if prefix.value.length() != PREFIX || !prefix.value.address().is_ipv4() {
            "prefixes of network interfaces are IPv4 and /28"
        } else if first.is_none() {
            "nothing of the file is in it"
        } else if inside.any(|group| Some(group) != first) {
            "what is in it is in several groups"
        } else {
            return first.cloned();
        };
        let message = format!("{} can't move: {why}", prefix.value);
        self.push(Code::CloudAddress, prefix.span, message);
        None
    }

    fn elastic_ip(
        &mut self,
        section: &'d Spanned<schema::ElasticIp>,
        groups: &Movables,
    ) -> Option<ElasticIp> {
        let id = section.allocation.as_ref();
        let id = id.map(|id| (id.span, Which::Id(id.value.0.clone())));
        let public = section.public.as_ref();
        let public = public.map(|public| (public.span, Which::Public(public.value)));
        let given = id.into_iter().chain(public);
        let given = given.chain(tagged(section.tag.as_ref())).collect();
        let which = self.which(&["allocation", "public", "tag"], given, section);
        let interface = section.interface.as_ref();
        let interface = interface.and_then(|name| self.interface_name(name));
        let private = self.pick(&section.private).cloned()?;
        let peer = match self.nodes.0.len() {
            2 => self.pick_peer(&section.private)?.value,
            _ => private.value,
        };
        if private.value.is_ipv6() {
            let message = "an Elastic IP address is of IPv4, and so is its private address";
            self.push(Code::CloudAddress, private.span, message);
        }
        let group = self.group_at(&private, groups);
        Some(ElasticIp {
            which: which?,
            interface: interface?,
            private: private.value,
            peer,
            group: group?,
        })
    }

    fn moving_interface(
        &mut self,
        section: &'d Spanned<schema::CloudInterface>,
    ) -> Option<MovingInterface> {
        let id = section.id.as_ref();
        let id = id.map(|id| (id.span, Which::Id(id.value.0.clone())));
        let given = id.into_iter().chain(tagged(section.tag.as_ref()));
        let which = self.which(&["id", "tag"], given.collect(), section);
        let interface = section.interface.as_ref();
        let interface = interface.and_then(|name| self.interface_name(name));
        let group = self.cloud_group(section.group.as_ref());
        Some(MovingInterface {
            device_index: self.pick(&section.device_index)?.value.0,
            which: which?,
            interface: interface?,
            group: group?,
        })
    }

    /// What is at a network interface that moves moves with it, and it moves once.
    fn check_moving(&mut self, section: &'d schema::Cloud) {
        let mut moving: BTreeMap<&str, Span> = BTreeMap::new();
        let names = entries(&section.interface).iter();
        for name in names.filter_map(|each| each.interface.as_ref()) {
            if let Some(first) = moving.insert(name.0.as_str(), name.span) {
                let message = format!("\"{}\" moves twice", name.0);
                let diagnostic = Diagnostic::new(Code::CloudAddress, name.span, message);
                self.out.push(diagnostic.note(first, "first given here"));
            }
        }
        let addresses = entries(&section.address).iter();
        let elastic = entries(&section.elastic_ip).iter();
        let routes = entries(&section.route).iter();
        let others = addresses
            .map(|each| each.interface.as_ref())
            .chain(elastic.map(|each| each.interface.as_ref()))
            .chain(routes.map(|each| each.interface.as_ref()));
        for name in others.flatten() {
            if let Some(whole) = moving.get(name.0.as_str()) {
                let message = format!("what is at \"{}\" moves along with it", name.0);
                let diagnostic = Diagnostic::new(Code::CloudAddress, name.span, message);
                self.out
                    .push(diagnostic.note(*whole, "the whole of it moves"));
            }
        }
    }

    fn cloud_group(&mut self, group: Option<&Spanned<Name>>) -> Option<String> {
        match group {
            None => Some(DEFAULT_GROUP.to_owned()),
            Some(name) if name.0 == DEFAULT_GROUP => Some(DEFAULT_GROUP.to_owned()),
            Some(name) => {
                let (names, code) = (&self.group_names, Code::UnknownGroup);
                View::known(names, name, code, "group", self.out).map(|_| name.0.clone())
            }
        }
    }

    fn cloud_routes(&mut self, section: &'d Spanned<schema::CloudRoute>) -> Option<Vec<Route>> {
        let interface = section.interface.as_ref();
        let interface = interface.and_then(|name| self.interface_name(name));
        let group = self.cloud_group(section.group.as_ref());
        let tables = list(section.table.as_ref()).iter();
        let tables: Vec<_> = tables
            .map(|id| (id.span, Which::Id(id.value.0.clone())))
            .collect();
        let whiches: Option<Vec<Which>> = match (tables.as_slice(), &section.tag) {
            ([_, _, ..], None) => Some(tables.into_iter().map(|(_, which)| which).collect()),
            _ => {
                let given = tables.into_iter().chain(tagged(section.tag.as_ref()));
                let which = self.which(&["table", "tag"], given.collect(), section);
                which.map(|which| vec![which])
            }
        };
        let (whiches, interface, group) = (whiches?, interface?, group?);
        let destinations = list(section.destination.as_ref()).iter();
        let routes = destinations.flat_map(|destination| {
            whiches.iter().map(|which| Route {
                table: which.clone(),
                destination: destination.value,
                interface: interface.clone(),
                group: group.clone(),
            })
        });
        Some(routes.collect())
    }

    /// Exactly one of them.
    fn which<T: Wrong>(
        &mut self,
        keys: &[&str],
        given: Vec<(Span, Which)>,
        section: &Spanned<T>,
    ) -> Option<Which> {
        match given.as_slice() {
            [(_, which)] => return Some(which.clone()),
            [_, (span, _), ..] => {
                self.push(Code::CloudWhich, *span, "it is said already which is meant");
            }
            [] if keys.iter().any(|key| section.is_wrong(key)) => {}
            [] => {
                let message = format!("none of {} says which", keys.join(", "));
                self.push(Code::CloudWhich, section.span, message);
            }
        }
        None
    }
}

fn tagged(tag: Option<&Spanned<Tag>>) -> Option<(Span, Which)> {
    let tag = tag?;
    Some((
        tag.span,
        Which::Tag(tag.value.0.clone(), tag.value.1.clone()),
    ))
}

fn add<T>(
    all: &mut Option<Vec<Movable<T>>>,
    what: T,
    interface: Option<String>,
    group: Option<String>,
) {
    match (all.as_mut(), interface, group) {
        (Some(list), Some(interface), Some(group)) => list.push(Movable {
            what,
            interface,
            group,
        }),
        _ => *all = None,
    }
}

fn list<T>(values: Option<&Spanned<OneOrMany<T>>>) -> &[Spanned<T>] {
    values.map_or(&[], |values| &values.value.0)
}
