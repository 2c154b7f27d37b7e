//! The cargo command that builds the eBPF object; shared by the build script and `cargo xtask mutants`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::toolchain::{self, Compiler, LINKER_VERSION, TARGET};

/// The binary that becomes the object.
pub const BIN: &str = "forwarder-xdp";
/// The binary that `forwarder bench` measures with.
pub const BENCH: &str = "forwarder-bench";
const NO_COMPILER: &str = "no compiler for the BPF target was found
  `cargo xtask setup` installs it on Debian 12 and says elsewhere what is missing, in short:
  Debian 12:  apt-get install rustc-web libstd-rust-web-dev-bpf
  elsewhere:  rustup toolchain install nightly --component rust-src
  or:         FORWARDER_EBPF_RUSTC=a rustc that ships `core` for bpfel-unknown-none";

/// What builds the object on this machine.
pub struct Builder {
    compiler: Compiler,
    /// Path of `bpf-linker`.
    pub linker: PathBuf,
}

impl Builder {
    /// Finds compiler (at least that version of Rust) and linker.
    ///
    /// # Errors
    /// One is missing; the text says how to get it.
    pub fn find(at_least: &str) -> Result<Self> {
        let Some(compiler) = toolchain::compiler(at_least).map_err(anyhow::Error::msg)? else {
            bail!(NO_COMPILER);
        };
        let (major, minor) = LINKER_VERSION;
        let linker = toolchain::linker().with_context(|| {
            format!("bpf-linker {major}.{minor} or newer is missing\n  `cargo xtask setup` installs it, or says how")
        })?;
        Ok(Self { compiler, linker })
    }

    /// Builds the object of the workspace at `root` for a machine of `architecture`, in `target`, with nothing
    /// of an outer build left in the environment.
    ///
    /// # Errors
    /// A path is not UTF-8.
    pub fn command(&self, root: &Path, target: &Path, architecture: &str) -> Result<Command> {
        let mut cargo = match &self.compiler {
            Compiler::Prebuilt(rustc) => {
                let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
                let mut cargo = Command::new(cargo);
                // aya-ebpf alone asks for an unstable feature (inline assembly for BPF).
                cargo
                    .arg("build")
                    .env("RUSTC", rustc)
                    .env("RUSTC_BOOTSTRAP", "aya_ebpf");
                cargo
            }
            Compiler::Nightly => {
                let mut cargo = Command::new("rustup");
                cargo
                    .args(["run", "nightly", "cargo", "build", "-Zbuild-std=core"])
                    .env_remove("RUSTC");
                cargo
            }
        };
        let outer = [
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTDOC",
        ];
        let jobs = ["CARGO_MAKEFLAGS", "MAKEFLAGS", "MFLAGS"];
        for name in outer.into_iter().chain(jobs) {
            cargo.env_remove(name);
        }
        cargo
            .current_dir(root)
            .args(["--locked", "--release"])
            .args(["--package", "forwarder-ebpf", "--bin", BIN, "--bin", BENCH])
            .args(["--target", TARGET])
            .arg("--target-dir")
            .arg(target)
            .env("CARGO_ENCODED_RUSTFLAGS", self.flags(architecture)?);
        Ok(cargo)
    }

    /// Compiler flags in cargo's encoding.
    fn flags(&self, architecture: &str) -> Result<String> {
        let linker = self
            .linker
            .to_str()
            .context("the path of bpf-linker is not UTF-8")?;
        Ok([
            // The verifier wants types and line numbers: debug information becomes BTF.
            "-Cdebuginfo=2",
            "-Clink-arg=--btf",
            &format!("-Clinker={linker}"),
            // Headers lie at odd offsets; without this every wide load becomes bytes and shifts.
            "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
            &format!("--cfg=bpf_target_arch=\"{architecture}\""),
        ]
        .join("\x1f"))
    }
}

/// Where the object lies in the target directory that it was built in. [`BENCH`] lies beside it.
pub fn object(target: &Path) -> PathBuf {
    target.join(TARGET).join("release").join(BIN)
}
