//! Kernel modules with what they depend on, uncompressed, in the order in which they load.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::command::program;

/// A module's name and content.
pub type Module = (String, Vec<u8>);

/// The modules `wanted` of a kernel's module directory.
pub fn collect(directory: &Path, wanted: &[&str]) -> Result<Vec<Module>> {
    let mut modules = Vec::new();
    for name in wanted {
        add(directory, name, &mut modules)?;
    }
    Ok(modules)
}

fn add(directory: &Path, name: &str, modules: &mut Vec<Module>) -> Result<()> {
    if modules.iter().any(|(known, _)| known == name) {
        return Ok(());
    }
    let path = find(directory, name)?
        .with_context(|| format!("{} has no module {name}", directory.display()))?;
    let module = read(&path)?;
    for needed in depends(&module) {
        add(directory, &needed, modules)?;
    }
    modules.push((name.to_owned(), module));
    Ok(())
}

/// The file of a module; `-` and `_` are the same in module names.
fn find(directory: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&path, name)? {
                return Ok(Some(found));
            }
        } else if let Some((stem, _)) = entry.file_name().to_string_lossy().split_once(".ko")
            && stem.replace('-', "_") == name
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|extension| extension.to_str()) {
        Some("ko") => return Ok(fs::read(path)?),
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => bail!("{}: an unknown compression", path.display()),
    };
    let output = program(tool, ["-dc"])
        .arg(path)
        .output()
        .with_context(|| format!("{tool} does not start"))?;
    if !output.status.success() {
        bail!("{tool} can't unpack {}", path.display());
    }
    Ok(output.stdout)
}

/// Modules that must be loaded first, from the module's own `depends=` entry.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|part| part == KEY) else {
        return Vec::new();
    };
    let value = module[at + KEY.len()..]
        .split(|byte| *byte == 0)
        .next()
        .unwrap_or_default();
    String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(|name| name.replace('-', "_"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_names_what_it_depends_on() {
        let module = b"\x7fELF...\0license=GPL\0depends=udp_tunnel,ip6-udp-tunnel\0retpoline=Y\0";
        assert_eq!(depends(module), ["udp_tunnel", "ip6_udp_tunnel"]);
        assert!(depends(b"\0depends=\0").is_empty());
        assert!(depends(b"nothing").is_empty());
    }
}
