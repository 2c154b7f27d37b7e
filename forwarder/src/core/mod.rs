//! The pure part of the control plane: values in, values out. No clock, socket or map.

pub mod allocate;
pub mod allowance;
pub mod change;
pub mod cloud;
pub mod compile;
pub mod diagnosis;
pub mod difference;
pub mod facts;
pub mod health;
pub mod histogram;
pub mod history;
pub mod home;
pub mod key;
pub mod next_hop;
pub mod op;
pub mod overrides;
pub mod pair;
pub mod plan;
pub mod slots;
pub mod table;
pub mod tables;
pub mod time;
