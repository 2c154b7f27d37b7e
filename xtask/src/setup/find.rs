//! Looking for what is needed: each finder returns what it found, or why that does not do.

use std::path::Path;

use super::linker::LLVM_PREFIX;
use crate::command::{output, program as run};
use crate::toolchain::{self, Compiler};
use crate::vmtest::QEMU;

const PYTHON: &str = "/usr/bin/python3";

/// The compiler that the build script will use.
pub fn compiler() -> Result<String, String> {
    match toolchain::compiler(env!("CARGO_PKG_RUST_VERSION"))? {
        Some(Compiler::Prebuilt(rustc)) => Ok(rustc.display().to_string()),
        Some(Compiler::Nightly)
            if toolchain::linker().is_some() || !super::apt::Apt::new().can_install() =>
        {
            Ok("rustup's nightly with rust-src".into())
        }
        // Today's nightly may have a newer LLVM than the one that bpf-linker is going to be built against.
        Some(Compiler::Nightly) => Err("rustup's nightly has no bpf-linker to go with it".into()),
        None => Err(
            "neither Debian's rustc-web with its BPF core nor a rustup nightly with rust-src"
                .into(),
        ),
    }
}

/// The libraries that `bpf-linker` is built with.
pub fn llvm() -> Result<String, String> {
    if toolchain::linker().is_some() {
        return Ok("not needed, bpf-linker is built".into());
    }
    let config = format!("{LLVM_PREFIX}/bin/llvm-config");
    for file in [
        &config,
        "/usr/include/zstd.h",
        "/usr/include/zlib.h",
        "/usr/bin/g++",
    ] {
        if !Path::new(file).exists() {
            return Err(format!("no {file}"));
        }
    }
    Ok(LLVM_PREFIX.into())
}

pub fn linker() -> Result<String, String> {
    let (major, minor) = toolchain::LINKER_VERSION;
    toolchain::linker()
        .map(|linker| linker.display().to_string())
        .ok_or_else(|| {
            format!("no bpf-linker {major}.{minor} or newer on PATH or where cargo installs")
        })
}

pub fn components() -> Result<String, String> {
    let rustfmt = program("rustfmt", "--version")?;
    let clippy = program("cargo-clippy", "--version")?;
    Ok(format!("{rustfmt}, {clippy}"))
}

pub fn qemu() -> Result<String, String> {
    const OLDEST: u32 = 10;
    let version = program(QEMU, "--version")?;
    if qemu_major(&version).is_some_and(|major| major >= OLDEST) {
        Ok(version)
    } else {
        Err(format!("`{version}`, {OLDEST} or newer is needed"))
    }
}

/// `10` of `QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)`.
fn qemu_major(version: &str) -> Option<u32> {
    let number = version.split_once("version ")?.1;
    number.split('.').next()?.parse().ok()
}

pub fn scapy() -> Result<String, String> {
    let version = "import scapy; print(scapy.VERSION)";
    output(&mut run(PYTHON, ["-c", version]))
        .map(|version| format!("scapy {version} for {PYTHON}"))
        .ok_or_else(|| format!("{PYTHON} can't import it"))
}

/// The first line a program says about its version. A user's `PATH` may lack the directory of root's programs.
pub fn program(name: &str, version: &str) -> Result<String, String> {
    let text = output(&mut run(name, [version]))
        .or_else(|| output(&mut run(&format!("/usr/sbin/{name}"), [version])))
        .ok_or_else(|| format!("`{name} {version}` does not run"))?;
    Ok(text.lines().next().unwrap_or(name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emulator_s_version_is_read() {
        let new = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)";
        assert_eq!(qemu_major(new), Some(10));
        assert_eq!(qemu_major("QEMU emulator version 7.2.17"), Some(7));
        assert_eq!(qemu_major("nonsense"), None);
    }
}
