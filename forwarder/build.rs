//! Builds the eBPF objects from `forwarder-ebpf` and hands their paths to the crate as `FORWARDER_OBJECT` and
//! `FORWARDER_BENCH_OBJECT`.
//!
//! `FORWARDER_EBPF_OBJECT` gives a finished object instead (the benchmark's, `forwarder-bench`, lies beside it), `FORWARDER_EBPF_RUSTC` the compiler. One target
//! directory of its own serves debug, release, check and clippy alike, so the object is built once.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fmt, fs};

use anyhow::{Context as _, Result, ensure};

use sha2::{Digest as _, Sha256};

use crate::ebpf::{BENCH, BIN, Builder};

#[path = "build/ebpf.rs"]
mod ebpf;
#[path = "build/toolchain.rs"]
mod toolchain;

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
    let own = copy(&object, BIN)?;
    let hash: String = Sha256::digest(fs::read(&own)?)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    println!("cargo::rustc-env=FORWARDER_OBJECT={}", own.display());
    println!("cargo::rustc-env=FORWARDER_OBJECT_HASH={hash}");
    println!(
        "cargo::rustc-env=FORWARDER_BENCH_OBJECT={}",
        copy(&object.with_file_name(BENCH), BENCH)?.display()
    );
    Ok(())
}

/// A copy of our own: another profile's build may replace the shared one while this crate is compiled.
fn copy(object: &Path, name: &str) -> Result<PathBuf> {
    let copy = PathBuf::from(env::var("OUT_DIR")?).join(name);
    let bytes = fs::read(object)
        .with_context(|| format!("the eBPF object {} can't be read", object.display()))?;
    ensure!(
        bytes.starts_with(b"\x7fELF"),
        "{} is no ELF object",
        object.display()
    );
    fs::write(&copy, bytes).with_context(|| format!("{} can't be written", copy.display()))?;
    Ok(copy)
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
    let builder = Builder::find(&env::var("CARGO_PKG_RUST_VERSION")?)?;
    let target = target_directory()?.join("ebpf");
    let status = builder
        .command(&root, &target, &env::var("CARGO_CFG_TARGET_ARCH")?)?
        .status()
        .context("cargo could not be started for the eBPF programs")?;
    let linker = builder.linker;
    ensure!(status.success(), DidNotCompile { linker });
    Ok(ebpf::object(&target))
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

/// The workspace's target directory: `OUT_DIR` is `<target>/[<triple>/]<profile>/build/<crate>/out`.
fn target_directory() -> Result<PathBuf> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    out.ancestors()
        .find(|dir| dir.join("CACHEDIR.TAG").is_file())
        .map(Path::to_path_buf)
        .context("OUT_DIR does not lie in a cargo target directory")
}
