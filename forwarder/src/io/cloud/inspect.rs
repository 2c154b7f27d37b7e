//! What the cloud says of this instance: asked once, for somebody who looks it over.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use roxmltree::{Document, Node};

use super::credentials::Provider;
use super::environment::Environment;
use super::http::Client;
use super::metadata::Metadata;
use super::query::{Parameters, Query, child, items, public};
use crate::config::Prefix;
use crate::config::instance_type::{InstanceLimits, LimitsTable};
use crate::config::model::Cloud;

/// The API may take so long.
const DEADLINE: Duration = Duration::from_secs(10);

/// This instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Instance {
    /// Its type.
    pub of: String,
    /// Its network interfaces by MAC address.
    pub interfaces: BTreeMap<String, NetworkInterface>,
    /// What an instance of its type may have, if the API tells.
    pub limits: Option<InstanceLimits>,
    /// Why the API tells nothing; `None`: it does.
    pub silent: Option<String>,
}

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkInterface {
    /// Its id.
    pub id: String,
    /// Its addresses, the primary one of IPv4 first.
    pub addresses: Vec<IpAddr>,
    /// Its prefixes.
    pub prefixes: Vec<Prefix>,
    /// Whether packets from or to other addresses are refused; `None`: the API did not tell.
    pub checks: Option<bool>,
}

impl NetworkInterface {
    /// Whether it has an address, by itself or in a prefix.
    pub fn has(&self, address: IpAddr) -> bool {
        let mut prefixes = self.prefixes.iter();
        self.addresses.contains(&address) || prefixes.any(|prefix| prefix.contains(address))
    }
}

/// The region of a file's cloud, or the instance's.
pub(super) async fn region(cloud: Option<&Cloud>, metadata: &Metadata) -> Result<String, String> {
    match cloud.and_then(|cloud| cloud.region.clone()) {
        Some(region) => Ok(region),
        None => metadata.need("meta-data/placement/region").await,
    }
}

/// The API of a region, reached as the file says.
pub(super) fn connect(
    cloud: Option<&Cloud>,
    region: String,
    provider: Arc<Provider>,
) -> Result<Query, String> {
    let server = cloud.and_then(|cloud| cloud.endpoint.clone());
    let server = server.unwrap_or_else(|| public("ec2", &region));
    let proxy = cloud.and_then(|cloud| cloud.proxy.clone());
    let authorities = cloud.and_then(|cloud| cloud.ca_file.as_deref());
    let client = Client::new(server, proxy, authorities)?;
    Ok(Query::new(client, region, provider))
}

/// What the metadata service says of these MAC addresses, and what the API adds if it may be asked.
///
/// # Errors
/// When the metadata service does not answer: this is no instance, or it may not be asked.
pub async fn instance(cloud: Option<&Cloud>, macs: &[String]) -> Result<Instance, String> {
    let environment = Environment::of_process();
    let metadata = Arc::new(Metadata::new(&environment)?);
    let mut instance = Instance {
        of: metadata.need("meta-data/instance-type").await?,
        ..Instance::default()
    };
    for mac in macs {
        let path = |what: &str| format!("meta-data/network/interfaces/macs/{mac}/{what}");
        let Some(id) = metadata.get(&path("interface-id")).await? else {
            continue;
        };
        let mut found = NetworkInterface {
            id,
            ..NetworkInterface::default()
        };
        for what in ["local-ipv4s", "ipv6s"] {
            let text = metadata.get(&path(what)).await?.unwrap_or_default();
            found.addresses.extend(parsed::<IpAddr>(&text));
        }
        let text = metadata
            .get(&path("ipv4-prefix"))
            .await?
            .unwrap_or_default();
        found.prefixes.extend(text.lines().filter_map(prefix));
        instance.interfaces.insert(mac.clone(), found);
    }
    if let Err(why) = ask(cloud, environment, metadata, &mut instance).await {
        instance.silent = Some(why);
    }
    Ok(instance)
}

async fn open(
    cloud: Option<&Cloud>,
    environment: Environment,
    metadata: Arc<Metadata>,
) -> Result<Query, String> {
    let region = region(cloud, &metadata).await?;
    connect(
        cloud,
        region,
        Arc::new(Provider::new(environment, metadata)),
    )
}

async fn ask(
    cloud: Option<&Cloud>,
    environment: Environment,
    metadata: Arc<Metadata>,
    instance: &mut Instance,
) -> Result<(), String> {
    let query = open(cloud, environment, metadata).await?;
    if !instance.interfaces.is_empty() {
        ask_checks(&query, &mut instance.interfaces).await?;
    }
    let limits = describe_types(&query, std::slice::from_ref(&instance.of)).await?;
    instance.limits = limits.get(&instance.of).copied();
    Ok(())
}

async fn ask_checks(
    query: &Query,
    interfaces: &mut BTreeMap<String, NetworkInterface>,
) -> Result<(), String> {
    let ids = (1..).zip(interfaces.values());
    let parameters = ids.map(|(number, each)| {
        let name = format!("NetworkInterfaceId.{number}");
        (name, each.id.clone())
    });
    let mut checks = BTreeMap::new();
    let (action, set) = ("DescribeNetworkInterfaces", "networkInterfaceSet");
    describe(query, action, set, parameters.collect(), |item| {
        let id = child(item, "networkInterfaceId");
        let check = child(item, "sourceDestCheck").and_then(|text| text.parse::<bool>().ok());
        checks.extend(id.map(str::to_owned).zip(check));
    })
    .await?;
    for each in interfaces.values_mut() {
        each.checks = checks.get(&each.id).copied();
    }
    Ok(())
}

/// What instances of these types may have.
///
/// # Errors
/// When the API does not tell.
pub async fn limits(cloud: &Cloud, types: &[String]) -> Result<LimitsTable, String> {
    let environment = Environment::of_process();
    let metadata = Arc::new(Metadata::new(&environment)?);
    let query = open(Some(cloud), environment, metadata).await?;
    describe_types(&query, types).await
}

async fn describe_types(query: &Query, types: &[String]) -> Result<LimitsTable, String> {
    let parameters = (1..).zip(types);
    let parameters = parameters.map(|(number, of)| (format!("InstanceType.{number}"), of.clone()));
    let mut table = LimitsTable::new();
    let (action, set) = ("DescribeInstanceTypes", "instanceTypeSet");
    describe(query, action, set, parameters.collect(), |item| {
        table.extend(type_limits(item));
    })
    .await?;
    Ok(table)
}

fn type_limits(item: Node<'_, '_>) -> Option<(String, InstanceLimits)> {
    let name = child(item, "instanceType")?.to_owned();
    let mut children = item.children();
    let network = children.find(|child| child.has_tag_name("networkInfo"))?;
    let number = |name: &str| child(network, name)?.parse().ok();
    let limits = InstanceLimits {
        interfaces: number("maximumNetworkInterfaces")?,
        ipv4: number("ipv4AddressesPerInterface")?,
        ipv6: number("ipv6AddressesPerInterface")?,
    };
    Some((name, limits))
}

/// Every item of an answer that has one page: what is asked for is named.
async fn describe(
    query: &Query,
    action: &str,
    set: &str,
    parameters: Parameters,
    mut take: impl FnMut(Node<'_, '_>),
) -> Result<(), String> {
    let answer = query.ask(action, parameters, DEADLINE).await;
    let text = answer.map_err(|refusal| format!("{action}: {}", refusal.text))?;
    let document = Document::parse(&text).map_err(|error| format!("{action}: {error}"))?;
    items(document.root_element(), set)
        .into_iter()
        .for_each(&mut take);
    Ok(())
}

fn parsed<T: std::str::FromStr>(text: &str) -> Vec<T> {
    let lines = text.lines().filter_map(|line| line.trim().parse().ok());
    lines.collect()
}

fn prefix(text: &str) -> Option<Prefix> {
    let (address, length) = text.trim().split_once('/')?;
    Prefix::of(address.parse().ok()?, length.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_type_may_have() {
        let text = "<item><instanceType>m6i.xlarge</instanceType><networkInfo>\
             <maximumNetworkInterfaces>4</maximumNetworkInterfaces><ipv4AddressesPerInterface>15</ipv4AddressesPerInterface>\
             <ipv6AddressesPerInterface>15</ipv6AddressesPerInterface><ipv6Supported>true</ipv6Supported></networkInfo></item>";
        let document = Document::parse(text).expect("XML");
        let limits = InstanceLimits {
            interfaces: 4,
            ipv4: 15,
            ipv6: 15,
        };
        let found = type_limits(document.root_element());
        assert_eq!(found, Some(("m6i.xlarge".to_owned(), limits)));
        let less = text.replace("4</max", "many</max");
        let document = Document::parse(&less).expect("XML");
        assert_eq!(type_limits(document.root_element()), None);
    }
}
