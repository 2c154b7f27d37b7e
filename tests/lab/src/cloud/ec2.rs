//! The compute API: actions, with the conditions that the real one has.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::attachment;
use super::state::{Interface, State, Things};

/// A refusal: status, code and message.
pub type Refused = (u16, &'static str, String);
pub type Parameters = BTreeMap<String, String>;

pub fn bad(code: &'static str, text: impl Into<String>) -> Refused {
    (400, code, text.into())
}

/// The values of a numbered parameter.
fn numbered<'p>(parameters: &'p Parameters, name: &str) -> Vec<&'p str> {
    let of = |number: usize| parameters.get(&format!("{name}.{number}"));
    (1..).map_while(of).map(String::as_str).collect()
}

pub fn need<'p>(parameters: &'p Parameters, name: &'static str) -> Result<&'p str, Refused> {
    let found = parameters.get(name).map(String::as_str);
    found.ok_or_else(|| bad("MissingParameter", name))
}

fn flag(parameters: &Parameters, name: &str) -> bool {
    parameters.get(name).is_some_and(|value| value == "true")
}

fn interface<'t>(
    things: &'t Things,
    parameters: &Parameters,
) -> Result<(String, &'t Interface), Refused> {
    let id = need(parameters, "NetworkInterfaceId")?;
    match things.interfaces.get(id) {
        Some(found) => Ok((id.to_owned(), found)),
        None => Err(bad("InvalidNetworkInterfaceID.NotFound", id)),
    }
}

/// Does what an action says: all of it or nothing. The answer's content.
pub fn act(things: &mut Things, action: &str, parameters: &Parameters) -> Result<String, Refused> {
    match action {
        "AssignPrivateIpAddresses" => assign(things, parameters),
        "AssignIpv6Addresses" => assign_ipv6(things, parameters),
        "UnassignIpv6Addresses" => unassign_ipv6(things, parameters),
        "AssociateAddress" => associate(things, parameters),
        "ReplaceRoute" => replace_route(things, parameters),
        "AttachNetworkInterface" => attachment::attach(things, parameters),
        "DetachNetworkInterface" => attachment::detach(things, parameters),
        _ => Err(bad("InvalidAction", action)),
    }
}

fn assign(things: &mut Things, parameters: &Parameters) -> Result<String, Refused> {
    let (id, to) = interface(things, parameters)?;
    let allow = flag(parameters, "AllowReassignment");
    let mut addresses = Vec::new();
    for text in numbered(parameters, "PrivateIpAddress") {
        let address: IpAddr = text
            .parse()
            .map_err(|_| bad("InvalidParameterValue", text))?;
        if !address.is_ipv4() || !to.may_have(address) {
            let text = format!("Address {address} does not fall within the subnet's address range");
            return Err(bad("InvalidParameterValue", text));
        }
        let all = things.interfaces.values();
        if all.clone().any(|each| each.primary.contains(&address)) {
            let text = format!("{address} is a primary address");
            return Err(bad("InvalidParameterValue", text));
        }
        let others = things.holders(address);
        if others.iter().any(|holder| *holder != id) && !allow {
            let text = format!("{address} is already assigned");
            return Err(bad("InvalidParameterValue", text));
        }
        addresses.push(address);
    }
    let prefixes = numbered(parameters, "Ipv4Prefix");
    let new = addresses
        .iter()
        .filter(|address| !to.has(**address))
        .count();
    let more = prefixes
        .iter()
        .filter(|prefix| !to.prefixes.contains(**prefix));
    if to.slots() + new + more.count() > to.limit {
        return Err(bad("PrivateIpAddressLimitExceeded", id));
    }
    if addresses.is_empty() && prefixes.is_empty() {
        return Err(bad("MissingParameter", "PrivateIpAddress"));
    }
    let prefixes: Vec<String> = prefixes.into_iter().map(str::to_owned).collect();
    for (other, each) in &mut things.interfaces {
        let here = *other == id;
        for address in &addresses {
            match here {
                true => each.secondary.insert(*address),
                false => each.secondary.remove(address),
            };
        }
        for prefix in &prefixes {
            match here {
                true => each.prefixes.insert(prefix.clone()),
                false => each.prefixes.remove(prefix),
            };
        }
    }
    // Elastic IP addresses go along.
    for allocation in things.allocations.values_mut() {
        if let Some((at, private)) = &mut allocation.at
            && addresses.contains(private)
        {
            at.clone_from(&id);
        }
    }
    Ok(format!("<networkInterfaceId>{id}</networkInterfaceId>"))
}

fn ipv6(parameters: &Parameters) -> Result<Vec<IpAddr>, Refused> {
    let texts = numbered(parameters, "Ipv6Addresses");
    if texts.is_empty() {
        return Err(bad("MissingParameter", "Ipv6Addresses"));
    }
    let parse = |text: &str| text.parse().map_err(|_| bad("InvalidParameterValue", text));
    texts.into_iter().map(parse).collect()
}

/// There is no leave to take what somebody has.
fn assign_ipv6(things: &mut Things, parameters: &Parameters) -> Result<String, Refused> {
    let (id, to) = interface(things, parameters)?;
    let addresses = ipv6(parameters)?;
    for address in &addresses {
        if !to.may_have(*address) {
            return Err(bad(
                "InvalidParameterValue",
                format!("{address} is not of the subnet"),
            ));
        }
        if things.holders(*address).iter().any(|holder| *holder != id) {
            let text = format!("{address} is already assigned");
            return Err(bad("InvalidParameterValue", text));
        }
    }
    let to = things.interfaces.get_mut(&id);
    to.into_iter()
        .for_each(|to| to.secondary.extend(&addresses));
    Ok(format!("<networkInterfaceId>{id}</networkInterfaceId>"))
}

fn unassign_ipv6(things: &mut Things, parameters: &Parameters) -> Result<String, Refused> {
    let (id, from) = interface(things, parameters)?;
    let addresses = ipv6(parameters)?;
    if !addresses
        .iter()
        .all(|address| from.secondary.contains(address))
    {
        return Err(bad("InvalidParameterValue", "not assigned"));
    }
    if let Some(from) = things.interfaces.get_mut(&id) {
        from.secondary
            .retain(|address| !addresses.contains(address));
    }
    Ok(format!("<networkInterfaceId>{id}</networkInterfaceId>"))
}

fn associate(things: &mut Things, parameters: &Parameters) -> Result<String, Refused> {
    let (id, to) = interface(things, parameters)?;
    let private: IpAddr = match parameters.get("PrivateIpAddress") {
        Some(text) => text
            .parse()
            .map_err(|_| bad("InvalidParameterValue", text))?,
        None => to.primary[0],
    };
    if !to.has(private) {
        let text = format!("{private} is not assigned to {id}");
        return Err(bad("InvalidParameterValue", text));
    }
    let allocation = need(parameters, "AllocationId")?;
    let allow = flag(parameters, "AllowReassociation");
    let wanted = Some((id, private));
    let Some(found) = things.allocations.get(allocation) else {
        return Err(bad("InvalidAllocationID.NotFound", allocation));
    };
    let mut others = things
        .allocations
        .iter()
        .filter(|(other, _)| *other != allocation);
    let taken = others.any(|(_, other)| other.at == wanted);
    if !allow && (taken || (found.at.is_some() && found.at != wanted)) {
        return Err(bad("Resource.AlreadyAssociated", allocation));
    }
    for (other, each) in &mut things.allocations {
        if *other == allocation {
            each.number += u64::from(each.at != wanted);
            each.at.clone_from(&wanted);
        } else if each.at == wanted {
            each.at = None;
        }
    }
    Ok("<return>true</return>".to_owned())
}

fn replace_route(things: &mut Things, parameters: &Parameters) -> Result<String, Refused> {
    let (id, _) = interface(things, parameters)?;
    let table = need(parameters, "RouteTableId")?;
    let to = need(parameters, "DestinationCidrBlock")
        .or_else(|_| need(parameters, "DestinationIpv6CidrBlock"))?;
    let Some(found) = things.tables.get_mut(table) else {
        return Err(bad("InvalidRouteTableID.NotFound", table));
    };
    match found.routes.get_mut(to) {
        Some(at) => *at = id,
        None => return Err(bad("InvalidRoute.NotFound", to)),
    }
    Ok("<return>true</return>".to_owned())
}

/// Filters of a question: names and values.
fn filters(parameters: &Parameters) -> Vec<(&str, Vec<&str>)> {
    let name = |number: usize| parameters.get(&format!("Filter.{number}.Name"));
    let names = (1..).map_while(|number| name(number).map(|name| (number, name)));
    names
        .map(|(number, name)| {
            (
                name.as_str(),
                numbered(parameters, &format!("Filter.{number}.Value")),
            )
        })
        .collect()
}

/// What is there, as far as the filters let it through.
pub fn describe(state: &State, action: &str, parameters: &Parameters) -> Result<String, Refused> {
    let things = state.shown();
    let filters = filters(parameters);
    let matches = |of: &dyn Fn(&str) -> Option<Vec<String>>| -> Result<bool, Refused> {
        for (name, values) in &filters {
            let Some(has) = of(name) else {
                return Err(bad(
                    "InvalidParameterValue",
                    format!("The filter '{name}' is invalid"),
                ));
            };
            if !has.iter().any(|has| values.contains(&has.as_str())) {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let tag = |tags: &BTreeMap<String, String>, name: &str| {
        let key = name.strip_prefix("tag:")?;
        Some(tags.get(key).cloned().into_iter().collect())
    };
    let mut text = String::new();
    match action {
        "DescribeNetworkInterfaces" => {
            for (id, each) in &things.interfaces {
                let all = |v4: bool| {
                    let all = each.primary.iter().chain(&each.secondary);
                    let all = all.filter(|address| address.is_ipv4() == v4);
                    all.map(ToString::to_string).collect()
                };
                let of = |name: &str| match name {
                    "network-interface-id" => Some(vec![id.clone()]),
                    "vpc-id" => Some(vec!["vpc-1".to_owned()]),
                    "addresses.private-ip-address" => Some(all(true)),
                    "ipv6-addresses.ipv6-address" => Some(all(false)),
                    name => tag(&each.tags, name),
                };
                if matches(&of)? {
                    text += &interface_item(id, each);
                }
            }
            Ok(format!("<networkInterfaceSet>{text}</networkInterfaceSet>"))
        }
        "DescribeAddresses" => {
            for (id, each) in &things.allocations {
                let of = |name: &str| match name {
                    "allocation-id" => Some(vec![id.clone()]),
                    "public-ip" => Some(vec![each.public.to_string()]),
                    name => tag(&each.tags, name),
                };
                if matches(&of)? {
                    let at = each.at.as_ref().map(|(eni, private)| {
                        format!(
                            "<associationId>eipassoc-{}</associationId><networkInterfaceId>{eni}</networkInterfaceId>\
                             <privateIpAddress>{private}</privateIpAddress>",
                            each.number
                        )
                    });
                    let kind = if each.carrier {
                        "carrierIp"
                    } else {
                        "publicIp"
                    };
                    text += &format!(
                        "<item><{kind}>{}</{kind}><allocationId>{id}</allocationId>{}</item>",
                        each.public,
                        at.unwrap_or_default()
                    );
                }
            }
            Ok(format!("<addressesSet>{text}</addressesSet>"))
        }
        "DescribeRouteTables" => {
            for (id, each) in &things.tables {
                let of = |name: &str| match name {
                    "route-table-id" => Some(vec![id.clone()]),
                    name => tag(&each.tags, name),
                };
                if matches(&of)? {
                    let routes = each.routes.iter().map(|(to, eni)| {
                        let block = if to.contains(':') { "Ipv6CidrBlock" } else { "CidrBlock" };
                        format!(
                            "<item><destination{block}>{to}</destination{block}><networkInterfaceId>{eni}</networkInterfaceId></item>"
                        )
                    });
                    let routes: String = routes.collect();
                    text += &format!(
                        "<item><routeTableId>{id}</routeTableId><routeSet>{routes}</routeSet></item>"
                    );
                }
            }
            Ok(format!("<routeTableSet>{text}</routeTableSet>"))
        }
        "DescribeInstanceTypes" => super::instance_type::describe(things, parameters)
            .ok_or_else(|| bad("InvalidInstanceType", "no such type")),
        _ => Err(bad("InvalidAction", action)),
    }
}

fn interface_item(id: &str, each: &Interface) -> String {
    let all = || each.primary.iter().chain(&each.secondary);
    let private: String = all()
        .filter(|address| address.is_ipv4())
        .map(|address| format!("<item><privateIpAddress>{address}</privateIpAddress></item>"))
        .collect();
    let ipv6: String = all()
        .filter(|address| address.is_ipv6())
        .map(|address| format!("<item><ipv6Address>{address}</ipv6Address></item>"))
        .collect();
    let prefixes = each.prefixes.iter();
    let prefixes: String = prefixes
        .map(|prefix| format!("<item><ipv4Prefix>{prefix}</ipv4Prefix></item>"))
        .collect();
    format!(
        "<item><networkInterfaceId>{id}</networkInterfaceId><subnetId>{}</subnetId><vpcId>vpc-1</vpcId>\
         <macAddress>{}</macAddress><sourceDestCheck>{}</sourceDestCheck><privateIpAddressesSet>{private}</privateIpAddressesSet>\
         <ipv6AddressesSet>{ipv6}</ipv6AddressesSet><ipv4PrefixSet>{prefixes}</ipv4PrefixSet>{}</item>",
        each.subnet,
        each.mac,
        each.checks,
        attachment::item(id, each)
    )
}
