//! Which compiler and linker build the eBPF object here; shared by the build script and `cargo xtask setup`.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The compilation target: little-endian BPF.
pub const TARGET: &str = "bpfel-unknown-none";
/// Oldest `bpf-linker` that is known to build the object.
pub const LINKER_VERSION: (u32, u32) = (0, 13);
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// How the BPF target is compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Compiler {
    /// A `rustc` that ships a prebuilt `core` for the BPF target.
    Prebuilt(PathBuf),
    /// rustup's nightly, which builds `core` from `rust-src`.
    Nightly,
}

/// The compiler to use, if there is one: `FORWARDER_EBPF_RUSTC`, Debian's `rustc-web` with its BPF `core`,
/// a rustup nightly with `rust-src`. Debian's comes first because its LLVM is the one `bpf-linker` is built
/// against here, while a nightly may move ahead of it any day.
///
/// # Errors
/// `FORWARDER_EBPF_RUSTC` names a compiler that is unfit; the text says why.
pub fn compiler(at_least: &str) -> Result<Option<Compiler>, String> {
    if let Some(given) = env::var_os("FORWARDER_EBPF_RUSTC") {
        let rustc = PathBuf::from(given);
        return match prebuilt(&rustc, at_least) {
            Ok(()) => Ok(Some(Compiler::Prebuilt(rustc))),
            Err(reason) => Err(format!(
                "FORWARDER_EBPF_RUSTC={}: {reason}",
                rustc.display()
            )),
        };
    }
    let debian = PathBuf::from(DEBIAN_RUSTC);
    if prebuilt(&debian, at_least).is_ok() {
        return Ok(Some(Compiler::Prebuilt(debian)));
    }
    Ok(nightly_has_source().then_some(Compiler::Nightly))
}

fn prebuilt(rustc: &Path, at_least: &str) -> Result<(), String> {
    let version = output(Command::new(rustc).arg("--version")).ok_or("it does not run")?;
    let enough = match (major_minor(&version), major_minor(at_least)) {
        (Some(found), Some(wanted)) => found >= wanted,
        _ => false,
    };
    if !enough {
        return Err(format!("it is `{version}`, {at_least} or newer is needed"));
    }
    let libraries =
        output(Command::new(rustc).args(["--target", TARGET, "--print", "target-libdir"]))
            .ok_or_else(|| format!("it does not know the target {TARGET}"))?;
    let has_core = Path::new(&libraries)
        .read_dir()
        .is_ok_and(|mut files| files.any(|file| file.is_ok_and(|file| is_core(&file.path()))));
    if has_core {
        Ok(())
    } else {
        Err(format!("it has no prebuilt `core` for {TARGET}"))
    }
}

fn is_core(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("libcore-") && name.ends_with(".rlib")
}

fn nightly_has_source() -> bool {
    output(Command::new("rustup").args(["run", "nightly", "rustc", "--print", "sysroot"]))
        .is_some_and(|root| {
            Path::new(&root)
                .join("lib/rustlib/src/rust/library/core")
                .is_dir()
        })
}

/// The first `bpf-linker` that is new enough, on `PATH` or where `cargo install` puts it.
pub fn linker() -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let cargo_home = env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    env::split_paths(&path)
        .chain(cargo_home.map(|home| home.join("bin")))
        .map(|dir| dir.join("bpf-linker"))
        .find(|linker| {
            output(Command::new(linker).arg("--version"))
                .and_then(|version| major_minor(&version))
                .is_some_and(|found| found >= LINKER_VERSION)
        })
}

/// Standard output of a command that succeeded, trimmed.
fn output(command: &mut Command) -> Option<String> {
    let output = command
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// `(1, 96)` of `rustc 1.96.0 (ac68faa20 2026-05-25)`: the first word that starts like a version.
fn major_minor(text: &str) -> Option<(u32, u32)> {
    text.split_whitespace().find_map(|word| {
        let mut numbers = word.split(['.', '-']).map(|part| part.parse().ok());
        Some((numbers.next()??, numbers.next()??))
    })
}
