//! What `forwarder bench` measures with: a wrapper that puts the packet back before each run, and programs
//! to compare with. The packet path itself is not in here: the wrapper tail-calls the one that daemons load.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
#[path = "bench/baselines.rs"]
mod baselines;
#[cfg(target_arch = "bpf")]
#[path = "../object.rs"]
mod object;
#[cfg(target_arch = "bpf")]
#[path = "bench/wire.rs"]
mod wire;
#[cfg(target_arch = "bpf")]
#[path = "bench/word.rs"]
mod word;
#[cfg(target_arch = "bpf")]
#[path = "bench/wrapper.rs"]
mod wrapper;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
