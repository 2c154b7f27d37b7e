//! What is asked of the cloud: to move things, and where they are.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use roxmltree::{Document, Node};

use super::bucket::Bucket;
use super::credentials::Provider;
use super::environment::Environment;
use super::inspect;
use super::metadata::Metadata;
use super::query::{Parameters, Query, Refusal, child, items};
use crate::config::Prefix;
use crate::config::model::{Cloud, Which};
use crate::core::cloud::work::{DEADLINE, Outcome};
use crate::core::cloud::{Attachment, Call, Holdings, Known};

/// Looking may take so long.
const LOOK: Duration = Duration::from_secs(10);
/// Answers come in pages; no more are read.
const PAGES: usize = 20;

/// Refusals: what is to be detached is so already, or on its way.
const DETACHED: [&str; 2] = ["InvalidAttachmentID.NotFound", "IncorrectState"];
/// A refusal: what is to be attached is so somewhere.
const IN_USE: &str = "InvalidNetworkInterface.InUse";

/// A filter's name and values.
type Filter = (&'static str, Vec<String>);

/// What was found out, and where things are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// What was found out beforehand.
    pub known: Known,
    /// Where things are.
    pub holdings: Holdings,
}

/// A cloud's API.
pub trait Api: Send + Sync + 'static {
    /// Moves something.
    fn call(&self, call: &Call) -> impl Future<Output = Outcome> + Send;

    /// What would become of it; moves nothing.
    fn rehearse(&self, call: &Call) -> impl Future<Output = Outcome> + Send;

    /// Looks where everything is.
    fn look(&self) -> impl Future<Output = Result<Found, String>> + Send;
}

/// Amazon's.
pub struct Aws {
    query: Query,
    region: String,
    provider: Arc<Provider>,
    metadata: Arc<Metadata>,
    cloud: Cloud,
    /// MAC addresses of interfaces, by their names in the file.
    macs: BTreeMap<String, String>,
}

impl Aws {
    /// Asks the instance for the region, if the file has none; nothing else yet.
    pub async fn new(
        cloud: Cloud,
        macs: BTreeMap<String, String>,
        environment: Environment,
    ) -> Result<Self, String> {
        let metadata = Arc::new(Metadata::new(&environment)?);
        let provider = Arc::new(Provider::new(environment, Arc::clone(&metadata)));
        let region = inspect::region(Some(&cloud), &metadata).await?;
        Ok(Self {
            query: inspect::connect(Some(&cloud), region.clone(), Arc::clone(&provider))?,
            region,
            provider,
            metadata,
            cloud,
            macs,
        })
    }

    /// The bucket that gets copies of the journal, if one does.
    pub fn bucket(&self) -> Result<Option<Bucket>, String> {
        let bucket = self.cloud.journal_bucket.as_ref();
        let new = |bucket| {
            let (region, provider) = (self.region.clone(), Arc::clone(&self.provider));
            Bucket::new(bucket, &self.cloud, region, provider)
        };
        bucket.map(new).transpose()
    }

    /// This node's network interfaces by the names of the file, and the network that they are in.
    async fn interfaces(&self) -> Result<(BTreeMap<String, String>, Option<String>), String> {
        let (mut interfaces, mut network) = (BTreeMap::new(), None);
        for (name, mac) in &self.macs {
            let of = |what: &str| format!("meta-data/network/interfaces/macs/{mac}/{what}");
            if let Some(id) = self.metadata.get(&of("interface-id")).await? {
                interfaces.insert(name.clone(), id);
                if network.is_none() {
                    network = self.metadata.get(&of("vpc-id")).await?;
                }
            }
        }
        Ok((interfaces, network))
    }

    /// Every item of an answer, all pages of it.
    async fn describe(
        &self,
        action: &str,
        set: &str,
        filters: &[(&str, Vec<String>)],
        mut take: impl FnMut(Node<'_, '_>),
    ) -> Result<(), String> {
        let mut page = None;
        for _ in 0..PAGES {
            let mut parameters = filter(filters);
            parameters.extend(page.map(|token| ("NextToken".to_owned(), token)));
            let answer = self.query.ask(action, parameters, LOOK).await;
            let text = answer.map_err(|refusal| format!("{action}: {}", refusal.text))?;
            let document = Document::parse(&text).map_err(|error| format!("{action}: {error}"))?;
            let root = document.root_element();
            items(root, set).into_iter().for_each(&mut take);
            page = child(root, "nextToken").map(str::to_owned);
            if page.is_none() {
                break;
            }
        }
        Ok(())
    }

    async fn look_at_interfaces(
        &self,
        filters: &[(&str, Vec<String>)],
        found: &mut Holdings,
    ) -> Result<(), String> {
        let (action, set) = ("DescribeNetworkInterfaces", "networkInterfaceSet");
        self.describe(action, set, filters, |item| note_interface(item, found))
            .await
    }

    async fn addresses(&self, known: &Known, network: Option<String>) -> Result<Holdings, String> {
        let mut found = Holdings::default();
        let own: Vec<String> = known.interfaces.values().cloned().collect();
        if !own.is_empty() {
            let filters = [("network-interface-id", own)];
            self.look_at_interfaces(&filters, &mut found).await?;
        }
        // Others have what is not here. Prefixes can't be asked for.
        let away = self.cloud.addresses.iter().map(|each| each.what);
        let away: Vec<IpAddr> = away
            .filter(|address| !found.addresses.contains_key(address))
            .collect();
        for (filter, v4) in [
            ("addresses.private-ip-address", true),
            ("ipv6-addresses.ipv6-address", false),
        ] {
            let of_family = away.iter().filter(|address| address.is_ipv4() == v4);
            let texts: Vec<String> = of_family.map(ToString::to_string).collect();
            if !texts.is_empty() {
                let mut filters = vec![(filter, texts)];
                filters.extend(network.clone().map(|network| ("vpc-id", vec![network])));
                self.look_at_interfaces(&filters, &mut found).await?;
            }
        }
        Ok(found)
    }

    async fn elastic_ips(&self, found: &mut Found) -> Result<(), String> {
        let whiches = self.cloud.elastic_ips.iter().map(|each| &each.which);
        // A carrier IP address is asked for as a public one, and answered under a name of its own.
        for (which, filters) in selections(whiches, "allocation-id", "public-ip") {
            let note = |item: Node<'_, '_>| note_allocation(item, which.as_ref(), found);
            self.describe("DescribeAddresses", "addressesSet", &[filters], note)
                .await?;
        }
        Ok(())
    }

    /// Network interfaces that move, and what they are attached to.
    async fn moving(&self, found: &mut Found) -> Result<(), String> {
        if self.cloud.interfaces.is_empty() {
            return Ok(());
        }
        found.known.instance = Some(self.metadata.need("meta-data/instance-id").await?);
        let whiches = self.cloud.interfaces.iter().map(|each| &each.which);
        let (action, set) = ("DescribeNetworkInterfaces", "networkInterfaceSet");
        for (which, filters) in selections(whiches, "network-interface-id", "") {
            let note = |item: Node<'_, '_>| note_moving(item, which.as_ref(), found);
            self.describe(action, set, &[filters], note).await?;
        }
        Ok(())
    }

    /// What a network interface is attached to by now.
    async fn attachment(&self, interface: &str) -> Option<Attachment> {
        let filters = [("network-interface-id", vec![interface.to_owned()])];
        let mut found = Found::default();
        let (action, set) = ("DescribeNetworkInterfaces", "networkInterfaceSet");
        let note = |item: Node<'_, '_>| note_moving(item, None, &mut found);
        let asked = self.describe(action, set, &filters, note).await;
        asked.ok()?;
        found.holdings.attachments.remove(interface)
    }

    async fn routes(&self, found: &mut Found) -> Result<(), String> {
        let whiches = self.cloud.routes.iter().map(|each| &each.table);
        for (which, filters) in selections(whiches, "route-table-id", "") {
            let Found { known, holdings } = &mut *found;
            self.describe("DescribeRouteTables", "routeTableSet", &[filters], |item| {
                let Some(id) = child(item, "routeTableId") else {
                    return;
                };
                let which = which.clone().unwrap_or_else(|| Which::Id(id.to_owned()));
                let tables = known.tables.entry(which).or_default();
                if !tables.iter().any(|table| table == id) {
                    tables.push(id.to_owned());
                }
                for route in items(item, "routeSet") {
                    let to = child(route, "destinationCidrBlock");
                    let to = to.or_else(|| child(route, "destinationIpv6CidrBlock"));
                    let to = to.and_then(prefix);
                    let at = child(route, "networkInterfaceId");
                    if let (Some(to), Some(at)) = (to, at) {
                        holdings.routes.insert((id.to_owned(), to), at.to_owned());
                    }
                }
            })
            .await?;
        }
        Ok(())
    }
}

impl Api for Aws {
    async fn call(&self, call: &Call) -> Outcome {
        let asked = self.query.ask(call.action(), call.parameters(), DEADLINE);
        match (call, asked.await) {
            // Somebody was faster: what is to follow can follow.
            (Call::Detach { .. }, Err(refusal)) if DETACHED.contains(&refusal.code.as_str()) => {
                Outcome::Done
            }
            // It is not detached yet, the answer to an earlier try was lost, or what was known is old.
            (Call::Attach { interface, to, .. }, Err(refusal)) if refusal.code == IN_USE => {
                match self.attachment(interface).await {
                    Some(at) if at.instance != *to => Outcome::Held(at),
                    Some(at) if !at.leaving => Outcome::Done,
                    _ => Outcome::Again(refusal.text),
                }
            }
            (_, asked) => outcome(asked),
        }
    }

    async fn rehearse(&self, call: &Call) -> Outcome {
        let mut parameters = call.parameters();
        parameters.push(("DryRun".to_owned(), "true".to_owned()));
        match self.query.ask(call.action(), parameters, LOOK).await {
            Err(refusal) if refusal.code == "DryRunOperation" => Outcome::Done,
            asked => outcome(asked),
        }
    }

    async fn look(&self) -> Result<Found, String> {
        let (interfaces, network) = self.interfaces().await?;
        let mut found = Found::default();
        found.known.interfaces = interfaces;
        let known = found.known.clone();
        let [mut elastic, mut routes, mut moving] = [(); 3].map(|()| Found::default());
        let (holdings, asked, also, too) = tokio::join!(
            self.addresses(&known, network),
            self.elastic_ips(&mut elastic),
            self.routes(&mut routes),
            self.moving(&mut moving),
        );
        found.holdings = holdings?;
        asked?;
        also?;
        too?;
        found.known.allocations = elastic.known.allocations;
        found.known.ambiguous = elastic.known.ambiguous;
        found.holdings.elastic = elastic.holdings.elastic;
        found.known.tables = routes.known.tables;
        found.holdings.routes = routes.holdings.routes;
        found.known.moving = moving.known.moving;
        found.known.instance = moving.known.instance;
        found.holdings.attachments = moving.holdings.attachments;
        Ok(found)
    }
}

fn outcome(asked: Result<String, Refusal>) -> Outcome {
    match asked {
        Ok(_) => Outcome::Done,
        Err(Refusal { text, again, .. }) if again => Outcome::Again(text),
        Err(refusal) => Outcome::Refused(refusal.text),
    }
}

/// One question for all ids, one for all addresses, and one for each tag: what it is for, and its filter.
fn selections<'a>(
    whiches: impl Iterator<Item = &'a Which>,
    id: &'static str,
    public: &'static str,
) -> Vec<(Option<Which>, Filter)> {
    let (mut ids, mut publics, mut selections) = (Vec::new(), Vec::new(), Vec::new());
    for which in whiches.collect::<BTreeSet<_>>() {
        match which {
            Which::Id(id) => ids.push(id.clone()),
            Which::Public(address) => publics.push(address.to_string()),
            // The tag's key is part of the filter's name.
            Which::Tag(key, value) => {
                let values = vec![key.clone(), value.clone()];
                selections.push((Some(which.clone()), ("tag", values)));
            }
        }
    }
    let whole = [(id, ids), (public, publics)].into_iter();
    let whole = whole.filter(|(_, values)| !values.is_empty());
    selections.extend(whole.map(|filter| (None, filter)));
    selections
}

fn filter(filters: &[(&str, Vec<String>)]) -> Parameters {
    let mut parameters = Vec::new();
    for (number, (name, values)) in (1..).zip(filters) {
        let (name, values) = match (*name, values.split_first()) {
            ("tag", Some((key, values))) => (format!("tag:{key}"), values),
            (name, _) => (name.to_owned(), values.as_slice()),
        };
        parameters.push((format!("Filter.{number}.Name"), name));
        for (value, text) in (1..).zip(values) {
            parameters.push((format!("Filter.{number}.Value.{value}"), text.clone()));
        }
    }
    parameters
}

/// The address that an item has under a name.
fn public(item: Node<'_, '_>, name: &str) -> Option<Which> {
    let text = child(item, name)?;
    text.parse().ok().map(Which::Public)
}

/// `which`: what it was asked for by, if that was a tag.
fn note_allocation(item: Node<'_, '_>, which: Option<&Which>, found: &mut Found) {
    let Some(id) = child(item, "allocationId") else {
        return;
    };
    let Found { known, holdings } = found;
    let names = [
        Some(Which::Id(id.to_owned())),
        public(item, "publicIp"),
        public(item, "carrierIp"),
        which.cloned(),
    ];
    for which in names.into_iter().flatten() {
        let before = known.allocations.insert(which.clone(), id.to_owned());
        if before.is_some_and(|before| before != id) {
            known.ambiguous.insert(which);
        }
    }
    let at = child(item, "networkInterfaceId").filter(|at| !at.is_empty());
    let private = child(item, "privateIpAddress").and_then(|text| text.parse().ok());
    if let (Some(at), Some(private)) = (at, private) {
        let place = (at.to_owned(), private);
        holdings.elastic.insert(id.to_owned(), place);
    }
}

/// `which`: what it was asked for by, if that was a tag.
fn note_moving(item: Node<'_, '_>, which: Option<&Which>, found: &mut Found) {
    let Some(id) = child(item, "networkInterfaceId") else {
        return;
    };
    let Found { known, holdings } = found;
    let which = which.cloned().unwrap_or_else(|| Which::Id(id.to_owned()));
    let same = known.moving.entry(which).or_default();
    if !same.iter().any(|one| one == id) {
        same.push(id.to_owned());
    }
    let mut children = item.children();
    let at = children.find(|child| child.has_tag_name("attachment"));
    let of = |name| at.and_then(|at| child(at, name)).map(str::to_owned);
    if let (Some(attachment), Some(instance)) = (of("attachmentId"), of("instanceId")) {
        let at = Attachment {
            id: attachment,
            instance,
            leaving: of("status").is_some_and(|status| status.starts_with("detach")),
        };
        holdings.attachments.insert(id.to_owned(), at);
    }
}

fn note_interface(item: Node<'_, '_>, found: &mut Holdings) {
    let Some(id) = child(item, "networkInterfaceId") else {
        return;
    };
    let private = items(item, "privateIpAddressesSet").into_iter();
    let private = private.filter_map(|each| child(each, "privateIpAddress"));
    let ipv6 = items(item, "ipv6AddressesSet").into_iter();
    let ipv6 = ipv6.filter_map(|each| child(each, "ipv6Address"));
    for address in private.chain(ipv6).filter_map(|text| text.parse().ok()) {
        found.addresses.insert(address, id.to_owned());
    }
    let prefixes = items(item, "ipv4PrefixSet").into_iter();
    let prefixes = prefixes.filter_map(|each| child(each, "ipv4Prefix"));
    for prefix in prefixes.filter_map(prefix) {
        found.prefixes.insert(prefix, id.to_owned());
    }
}

fn prefix(text: &str) -> Option<Prefix> {
    let (address, length) = text.split_once('/')?;
    Prefix::of(address.parse().ok()?, length.parse().ok()?)
}
