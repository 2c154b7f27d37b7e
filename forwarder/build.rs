//! Builds the eBPF object from `forwarder-ebpf` and hands its path to the crate as `FORWARDER_OBJECT`.
//!
//! `FORWARDER_EBPF_OBJECT` gives a finished object instead, `FORWARDER_EBPF_RUSTC` the compiler. One target
//! directory of its own serves debug, release, check and clippy alike, so the object is built once.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fmt, fs};

use anyhow::{Context as _, Result, bail, ensure};

use crate::toolchain::{Compiler, LINKER_VERSION, TARGET};

#[path = "build/toolchain.rs"]
mod toolchain;

const BIN: &str = "forwarder-xdp";
const NO_COMPILER: &str = "no compiler for the BPF target was found
  `cargo xtask setup` installs it on Debian 12 and says elsewhere what is missing, in short:
  Debian 12:  apt-get install rustc-web libstd-rust-web-dev-bpf
  elsewhere:  rustup toolchain install nightly --component rust-src
  or:         FORWARDER_EBPF_RUSTC=a rustc that ships `core` for bpfel-unknown-none";

fn main() -> ExitCode {
    let Err(error) = object() else {
        return ExitCode::SUCCESS;
    };
    for line in format!("{error:#}").lines() {
        println!("cargo::error={line}");
    }
    // Cargo fails on these lines alone; a failing script makes it show the compiler's output too.
    if error.is::<DidNotCompile>() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

fn object() -> Result<()> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=build");
    for name in ["FORWARDER_EBPF_OBJECT", "FORWARDER_EBPF_RUSTC"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let object = match env::var_os("FORWARDER_EBPF_OBJECT") {
        Some(given) => {
            let given = PathBuf::from(given);
            ensure!(
                given.is_absolute(),
                "FORWARDER_EBPF_OBJECT={}: give an absolute path",
                given.display()
            );
            println!("cargo::rerun-if-changed={}", given.display());
            given
        }
        None => build()?,
    };
    // A copy of our own: another profile's build may replace the shared one while this crate is compiled.
    let copy = PathBuf::from(env::var("OUT_DIR")?).join(BIN);
    let bytes = fs::read(&object)
        .with_context(|| format!("the eBPF object {} can't be read", object.display()))?;
    ensure!(
        bytes.starts_with(b"\x7fELF"),
        "{} is no ELF object",
        object.display()
    );
    fs::write(&copy, bytes).with_context(|| format!("{} can't be written", copy.display()))?;
    println!("cargo::rustc-env=FORWARDER_OBJECT={}", copy.display());
    Ok(())
}

fn build() -> Result<PathBuf> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?)
        .parent()
        .context("the crate lies in a workspace")?
        .to_path_buf();
    for part in [
        "forwarder-ebpf",
        "forwarder-common",
        "Cargo.toml",
        "Cargo.lock",
    ] {
        println!("cargo::rerun-if-changed={}", root.join(part).display());
    }
    let Some(compiler) =
        toolchain::compiler(&env::var("CARGO_PKG_RUST_VERSION")?).map_err(anyhow::Error::msg)?
    else {
        bail!(NO_COMPILER);
    };
    let (major, minor) = LINKER_VERSION;
    let linker = toolchain::linker().with_context(|| {
        format!("bpf-linker {major}.{minor} or newer is missing\n  `cargo xtask setup` installs it, or says how")
    })?;
    let target = target_directory()?.join("ebpf");
    let status = cargo(&compiler)?
        .current_dir(&root)
        .args([
            "--locked",
            "--release",
            "--package",
            "forwarder-ebpf",
            "--bin",
            BIN,
        ])
        .args(["--target", TARGET])
        .arg("--target-dir")
        .arg(&target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&linker)?)
        .status()
        .context("cargo could not be started for the eBPF programs")?;
    ensure!(status.success(), DidNotCompile { linker });
    Ok(target.join(TARGET).join("release").join(BIN))
}

/// The compiler or the linker failed and said why on standard error.
#[derive(Debug)]
struct DidNotCompile {
    linker: PathBuf,
}

impl fmt::Display for DidNotCompile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the eBPF programs did not build, see the messages below
  if it was the linker: {} must be built against an LLVM no older than the compiler's",
            self.linker.display()
        )
    }
}

impl std::error::Error for DidNotCompile {}

/// `cargo build` with the compiler set and nothing of the outer build left in the environment.
fn cargo(compiler: &Compiler) -> Result<Command> {
    let mut cargo = match compiler {
        Compiler::Prebuilt(rustc) => {
            let mut cargo = Command::new(env::var_os("CARGO").context("cargo sets CARGO")?);
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
    Ok(cargo)
}

/// Compiler flags in cargo's encoding.
fn flags(linker: &Path) -> Result<String> {
    let linker = linker
        .to_str()
        .context("the path of bpf-linker is not UTF-8")?;
    Ok([
        // The verifier wants types and line numbers: debug information becomes BTF.
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        &format!("-Clinker={linker}"),
        // Headers lie at odd offsets; without this every wide load becomes bytes and shifts.
        "-Clink-arg=--cpu-features=+allows-misaligned-mem-access",
        &format!(
            "--cfg=bpf_target_arch=\"{}\"",
            env::var("CARGO_CFG_TARGET_ARCH")?
        ),
    ]
    .join("\x1f"))
}

/// The workspace's target directory: `OUT_DIR` is `<target>/[<triple>/]<profile>/build/<crate>/out`.
fn target_directory() -> Result<PathBuf> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    out.ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file())
        .map(Path::to_path_buf)
        .context("OUT_DIR does not lie in a cargo target directory")
}
