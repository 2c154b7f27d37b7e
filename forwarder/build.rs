//! Builds the eBPF object from `forwarder-ebpf` and hands its path to the crate as `FORWARDER_OBJECT`.
//!
//! The compiler is chosen in this order: an object given by `FORWARDER_EBPF_OBJECT`; the compiler given
//! by `FORWARDER_EBPF_RUSTC`; a rustup nightly that has `rust-src`; Debian's `rustc-web` with
//! `libstd-rust-web-dev-bpf`. One target directory serves debug, release, check and clippy alike.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

const TARGET: &str = "bpfel-unknown-none";
const BIN: &str = "forwarder-xdp";
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_CORE: &str = "/usr/lib/rustlib/bpfel-unknown-none/lib";
const HELP: &str = "No compiler for the BPF target was found.
  Debian 12:  apt-get install rustc-web libstd-rust-web-dev-bpf
  elsewhere:  rustup toolchain install nightly --component rust-src
  then:       cargo xtask setup   (installs bpf-linker, says what is missing)";

fn main() -> Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    for name in ["FORWARDER_EBPF_OBJECT", "FORWARDER_EBPF_RUSTC"] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    let object = match env::var_os("FORWARDER_EBPF_OBJECT") {
        Some(given) => PathBuf::from(given),
        None => build()?,
    };
    ensure!(object.is_file(), "the eBPF object {} is not there", object.display());
    println!("cargo:rerun-if-changed={}", object.display());
    println!("cargo:rustc-env=FORWARDER_OBJECT={}", object.display());
    Ok(())
}

/// How the BPF target is compiled here.
enum Toolchain {
    /// A compiler that ships a prebuilt `core` for the BPF target.
    Prebuilt(PathBuf),
    /// rustup's nightly, which builds `core` from `rust-src`.
    Nightly,
}

fn toolchain() -> Result<Toolchain> {
    if let Some(rustc) = env::var_os("FORWARDER_EBPF_RUSTC") {
        return Ok(Toolchain::Prebuilt(rustc.into()));
    }
    if nightly_has_source() {
        return Ok(Toolchain::Nightly);
    }
    if Path::new(DEBIAN_CORE).is_dir() && Path::new(DEBIAN_RUSTC).is_file() {
        return Ok(Toolchain::Prebuilt(DEBIAN_RUSTC.into()));
    }
    bail!("{HELP}")
}

fn nightly_has_source() -> bool {
    Command::new("rustc")
        .args(["+nightly", "--print", "sysroot"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .is_some_and(|root| {
            Path::new(root.trim()).join("lib/rustlib/src/rust/library/core").is_dir()
        })
}

fn build() -> Result<PathBuf> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?)
        .parent()
        .context("the crate lies in a workspace")?
        .to_path_buf();
    for part in ["forwarder-ebpf", "forwarder-common", "Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", root.join(part).display());
    }
    let target = target_directory()?.join("ebpf");
    let flags = [
        "-Cdebuginfo=2",
        "-Clinker=bpf-linker",
        "-Clink-arg=--btf",
        // Headers lie at odd offsets; without this every wide load becomes bytes and shifts.
        "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
        &format!("--cfg=bpf_target_arch=\"{}\"", env::var("CARGO_CFG_TARGET_ARCH")?),
    ]
    .join("\x1f");

    let mut cargo = match toolchain()? {
        Toolchain::Prebuilt(rustc) => {
            let mut cargo = Command::new(env::var_os("CARGO").context("cargo sets CARGO")?);
            // aya-ebpf alone asks for an unstable feature (inline assembly for BPF).
            cargo.arg("build").env("RUSTC", rustc).env("RUSTC_BOOTSTRAP", "aya_ebpf");
            cargo
        }
        Toolchain::Nightly => {
            let mut cargo = Command::new("cargo");
            cargo.args(["+nightly", "build", "-Zbuild-std=core"]).env_remove("RUSTC");
            cargo
        }
    };
    let status = cargo
        .current_dir(&root)
        .args(["--locked", "--release", "--package", "forwarder-ebpf", "--bin", BIN])
        .args(["--target", TARGET])
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env_remove("RUSTFLAGS")
        .env_remove("RUSTUP_TOOLCHAIN")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("CARGO_MAKEFLAGS")
        .env_remove("MAKEFLAGS")
        .status()
        .context("cargo could not be started for the eBPF build")?;
    ensure!(status.success(), "the eBPF programs did not build (bpf-linker missing? `cargo xtask setup` installs it)");
    Ok(target.join(TARGET).join("release").join(BIN))
}

/// The workspace's target directory: `OUT_DIR` is `<target>/[<triple>/]<profile>/build/<crate>/out`.
fn target_directory() -> Result<PathBuf> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    out.ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file())
        .map(Path::to_path_buf)
        .context("OUT_DIR does not lie in a cargo target directory")
}
