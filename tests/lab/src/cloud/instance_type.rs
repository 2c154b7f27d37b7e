//! What instances of a type may have.

use std::collections::BTreeMap;

use super::state::Things;

/// The type of every instance.
pub const TYPE: &str = "x9.huge";
/// Network interfaces that it may have.
pub const INTERFACES: usize = 4;

/// The answer to `DescribeInstanceTypes`; `None`: there is no such type.
pub fn describe(things: &Things, parameters: &BTreeMap<String, String>) -> Option<String> {
    let asked = parameters
        .iter()
        .filter(|(name, _)| name.starts_with("InstanceType."));
    let asked: Vec<&str> = asked.map(|(_, of)| of.as_str()).collect();
    if asked.iter().any(|of| *of != TYPE) {
        return None;
    }
    let limit = things.interfaces.values().map(|each| each.limit).min();
    let limit = limit.unwrap_or_default();
    Some(format!(
        "<instanceTypeSet><item><instanceType>{TYPE}</instanceType><hypervisor>nitro</hypervisor><networkInfo>\
         <maximumNetworkInterfaces>{INTERFACES}</maximumNetworkInterfaces>\
         <ipv4AddressesPerInterface>{limit}</ipv4AddressesPerInterface>\
         <ipv6AddressesPerInterface>{limit}</ipv6AddressesPerInterface>\
         </networkInfo></item></instanceTypeSet>"
    ))
}
