//! Everything that touches the world: netlink, health checks, the service manager, the clock.

pub mod clock;
pub mod cloud;
pub mod descriptors;
pub mod ethtool;
pub mod health;
pub mod hook;
pub mod multicast;
pub mod netlink;
pub mod notify;
pub mod pair;
pub mod probe;
pub mod process;
pub mod routes;
pub mod sign;
pub mod sysctl;
pub mod users;
pub mod worker;
