//! The BPF file system.

use std::fs;

use anyhow::{Result, ensure};

use crate::command::{program, run};
use crate::kernel;

const PATH: &str = "/sys/fs/bpf";

pub fn find() -> Result<String, String> {
    let mounts =
        fs::read_to_string("/proc/mounts").map_err(|error| format!("/proc/mounts: {error}"))?;
    if mounted(&mounts) {
        Ok(PATH.into())
    } else {
        Err(format!("not mounted at {PATH}"))
    }
}

pub fn mount() -> Result<()> {
    ensure!(kernel::is_root(), "only root may mount it");
    run(&mut program("mount", ["-t", "bpf", "bpf", PATH]))
}

fn mounted(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(PATH) && fields.next() == Some("bpf")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bpf_mount_at_the_usual_place_counts() {
        assert!(mounted(
            "sysfs /sys sysfs rw 0 0\nnone /sys/fs/bpf bpf rw,mode=700 0 0\n"
        ));
        assert!(!mounted(
            "bpf /run/other bpf rw 0 0\ntmpfs /sys/fs/bpf tmpfs rw 0 0\n"
        ));
        assert!(!mounted(""));
    }
}
