//! Building `bpf-linker`.

use anyhow::Result;

use crate::{command, setup::find};

/// Debian 12's LLVM 22, the major version of its `rustc-web`.
pub const LLVM_PREFIX: &str = "/usr/lib/llvm-22";
pub const INSTALL: [&str; 8] = [
    "install",
    "bpf-linker",
    "--version",
    "0.13.0",
    "--locked",
    "--no-default-features",
    "--features",
    "llvm-22",
];

/// Builds it against Debian's LLVM 22 into cargo's own `bin`: about a minute.
pub fn install() -> Result<()> {
    find::llvm()
        .map_err(|reason| anyhow::anyhow!("it can't be built without LLVM 22: {reason}"))?;
    command::run(command::cargo(INSTALL).env("LLVM_PREFIX", LLVM_PREFIX))
}
