//! The real program between real clients and servers, in network namespaces.
//!
//! Each test builds a site of its own and needs root; without it every one of them fails and says so.

mod end_to_end {
    mod admission;
    mod announcement;
    mod death;
    mod faults;
    mod flood;
    mod groups;
    mod health;
    mod icmp;
    mod interfaces;
    mod loops;
    mod modes;
    mod operate;
    mod pair;
    mod pair_flows;
    mod partition;
    mod path_mtu;
    mod situations;
    mod snat;
    mod strangers;
    mod tunnel_checks;
    mod virtual_servers;
    mod world;
}
