//! Backend hosts: what each needs so that the packets that are forwarded to it are answered.

mod facts;
mod needs;
mod script;
mod step;
mod windows;

pub use facts::{Facts, apply, read};
pub use needs::{Needs, Service, needs};
pub use script::script;
pub use step::{Check, Step, TunnelEnd, findings, steps};
pub use windows::script as windows_script;
