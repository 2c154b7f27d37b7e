//! The root file system of a test machine: the first process, programs, what they need, and the plan.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::cpio::Archive;
use super::kernels::Kernel;
use super::modules;
use crate::command::{output, program};

/// Programs of the host that are in every one.
const PROGRAMS: [&str; 1] = ["ip"];
/// Where programs of the host lie.
const DIRECTORIES: [&str; 4] = ["/bin", "/sbin", "/usr/bin", "/usr/sbin"];
/// The device that `/dev/console` is.
const CONSOLE: (u32, u32) = (5, 1);

/// What goes into a root file system.
#[derive(Default)]
pub struct Content {
    /// The first process.
    pub init: PathBuf,
    /// Programs: where they go, and where they are.
    pub programs: Vec<(String, PathBuf)>,
    /// Kernel modules; what they depend on comes by itself.
    pub modules: Vec<&'static str>,
    /// Files: where they go, and what is in them.
    pub files: Vec<(String, Vec<u8>)>,
    /// The same of those that nobody else may read.
    pub secrets: Vec<(String, Vec<u8>)>,
    /// The commands for the first process, one a line.
    pub plan: String,
}

/// Writes the archive for a kernel.
pub fn write(kernel: &Kernel, content: &Content, to: &Path) -> Result<()> {
    let mut archive = Archive::default();
    for directory in ["proc", "sys", "tmp", "run", "modules"] {
        archive.directory(directory);
    }
    archive.device("dev/console", CONSOLE);
    let mut programs = vec![("init".to_owned(), content.init.clone())];
    programs.extend(content.programs.iter().cloned());
    for name in PROGRAMS {
        programs.push((format!("bin/{name}"), find(name)?));
    }
    let mut libraries = BTreeSet::new();
    for (path, program) in &programs {
        archive.file(path, &read(program)?);
        libraries.extend(libraries_of(program)?);
    }
    for library in &libraries {
        archive.file(library, &read(Path::new(library))?);
    }
    let modules = modules::collect(&kernel.modules, &content.modules)?;
    for (index, (name, module)) in modules.iter().enumerate() {
        archive.file(&format!("modules/{index:02}-{name}.ko"), module);
    }
    for (path, bytes) in &content.files {
        archive.file(path, bytes);
    }
    for (path, bytes) in &content.secrets {
        archive.secret(path, bytes);
    }
    archive.file("plan", content.plan.as_bytes());
    fs::write(to, archive.finish()).with_context(|| format!("{} can't be written", to.display()))
}

pub fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} can't be read", path.display()))
}

fn find(name: &str) -> Result<PathBuf> {
    DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("the tests need the program `{name}`, which is not here"))
}

/// The shared libraries of a program, as the loader finds them here.
fn libraries_of(binary: &Path) -> Result<Vec<String>> {
    let listed = output(program("ldd", [""; 0]).arg(binary))
        .with_context(|| format!("ldd can't tell the libraries of {}", binary.display()))?;
    Ok(paths(&listed))
}

/// The absolute paths in what `ldd` prints.
fn paths(listed: &str) -> Vec<String> {
    let words = listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')));
    words.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_paths_that_ldd_prints() {
        let listed = "\tlinux-vdso.so.1 (0x00007ffd)\n\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x7f)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        assert_eq!(
            paths(listed),
            [
                "/lib/x86_64-linux-gnu/libc.so.6",
                "/lib64/ld-linux-x86-64.so.2"
            ]
        );
    }
}
