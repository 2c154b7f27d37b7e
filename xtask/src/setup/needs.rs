//! The one table of what is needed, why, by which task, and where it comes from.

use super::{bpffs, find, linker};

/// What a need serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Building the eBPF object and the daemon.
    Build,
    /// `cargo xtask test`.
    Test,
    /// `cargo xtask demo`.
    Demo,
    /// The machines of `cargo xtask vmtest` and `cargo xtask verifier`.
    Machines,
    /// What `cargo xtask bench` compares the forwarder with.
    Rivals,
    /// The same, of `cargo xtask bench failover`.
    Keepalived,
}

use Purpose::{Build, Demo, Keepalived, Machines, Rivals, Test};

/// How a need is met.
#[derive(Clone, Copy, Debug)]
pub enum Get {
    /// Packages of Debian 12.
    Packages(&'static [&'static str]),
    /// Packages of Debian 12's backports; the system's own package sources stay as they are.
    Backports(&'static [&'static str]),
    /// rustup components for the toolchain in use.
    Components(&'static [&'static str]),
    /// `bpf-linker`, built by cargo.
    Linker,
    /// A BPF file system at its usual place.
    Bpffs,
}

/// One thing that must be there.
#[derive(Debug)]
pub struct Need {
    pub name: &'static str,
    /// What it is for.
    pub why: &'static str,
    pub purposes: &'static [Purpose],
    /// What was found, or the reason why it does not do.
    pub find: fn() -> Result<String, String>,
    pub get: Get,
    /// How to get it where it can't be installed for the user.
    pub elsewhere: &'static str,
}

impl Need {
    pub fn serves(&self, purposes: &[Purpose]) -> bool {
        self.purposes
            .iter()
            .any(|purpose| purposes.contains(purpose))
    }

    /// How to get it on Debian 12.
    pub fn on_debian(&self) -> String {
        match self.get {
            Get::Packages(packages) => {
                format!(
                    "as root: apt-get install --no-install-recommends {}",
                    packages.join(" ")
                )
            }
            Get::Backports(packages) => {
                format!(
                    "as root, with bookworm-backports among the package sources: apt-get install \
                     --no-install-recommends -t bookworm-backports {}",
                    packages.join(" ")
                )
            }
            Get::Linker => format!(
                "LLVM_PREFIX={} cargo {}",
                linker::LLVM_PREFIX,
                linker::INSTALL.join(" ")
            ),
            Get::Components(_) | Get::Bpffs => self.elsewhere.to_owned(),
        }
    }
}

pub const NEEDS: &[Need] = &[
    Need {
        name: "compiler for BPF",
        why: "the XDP programs: a rustc with `core` for BPF",
        purposes: &[Build, Test, Demo],
        find: find::compiler,
        get: Get::Packages(&["rustc-web", "libstd-rust-web-dev-bpf"]),
        elsewhere: "rustup toolchain install nightly --profile minimal --component rust-src",
    },
    Need {
        name: "LLVM 22",
        why: "building bpf-linker",
        purposes: &[Build, Test, Demo],
        find: find::llvm,
        get: Get::Packages(&["llvm-22-dev", "libzstd-dev", "zlib1g-dev", "g++"]),
        elsewhere: "not needed if bpf-linker comes as a finished binary",
    },
    Need {
        name: "bpf-linker",
        why: "linking the XDP programs and writing their BTF",
        purposes: &[Build, Test, Demo],
        find: find::linker,
        get: Get::Linker,
        elsewhere: "unpack a finished binary, 0.13 or newer, from https://github.com/aya-rs/bpf-linker/releases into a \
            directory on PATH; or build it against an LLVM (21, 22 or 23) no older than that of \
            `rustc +nightly -vV`: LLVM_PREFIX=/usr/lib/llvm-NN cargo install bpf-linker --locked \
            --no-default-features --features llvm-NN",
    },
    Need {
        name: "rustfmt and clippy",
        why: "the formatting and lint steps of the tests",
        purposes: &[Test],
        find: find::components,
        get: Get::Components(&["rustfmt", "clippy"]),
        elsewhere: "rustup component add rustfmt clippy",
    },
    Need {
        name: "ip (iproute2)",
        why: "namespaces and links of the tests and the demo",
        purposes: &[Test, Demo],
        find: || find::program("ip", "-V"),
        get: Get::Packages(&["iproute2"]),
        elsewhere: "install your system's iproute2",
    },
    Need {
        name: "ethtool",
        why: "network devices of the tests and the demo",
        purposes: &[Test, Demo],
        find: || find::program("ethtool", "--version"),
        get: Get::Packages(&["ethtool"]),
        elsewhere: "install your system's ethtool",
    },
    Need {
        name: "sysctl (procps)",
        why: "the tests of the scripts for backends",
        purposes: &[Test],
        find: || find::program("sysctl", "--version"),
        get: Get::Packages(&["procps"]),
        elsewhere: "install your system's procps",
    },
    Need {
        name: "scapy",
        why: "the tests' second opinion on packet bytes",
        purposes: &[Test],
        find: find::scapy,
        get: Get::Packages(&["python3-scapy"]),
        elsewhere: "install your system's scapy for /usr/bin/python3",
    },
    Need {
        name: "etcd",
        why: "a witness for the tests of a pair that is cut apart",
        purposes: &[Test],
        find: || find::program("etcd", "--version"),
        get: Get::Packages(&["etcd-server"]),
        elsewhere: "install your system's etcd, 3.4 or newer",
    },
    Need {
        name: "systemd",
        why: "the service's test boots one",
        purposes: &[Test],
        find: || find::program("/lib/systemd/systemd", "--version"),
        get: Get::Packages(&["systemd"]),
        elsewhere: "install your system's systemd, 252 or newer",
    },
    Need {
        name: "BIRD 2",
        why: "the test of routes that a routing daemon announces",
        purposes: &[Test],
        find: || find::program("/usr/sbin/bird", "--version"),
        get: Get::Packages(&["bird2"]),
        elsewhere: "install your system's BIRD 2, as /usr/sbin/bird",
    },
    Need {
        name: "QEMU 10",
        why: "other kernels; 7.2 corrupts 6.12 guests' memory",
        purposes: &[Machines],
        find: find::qemu,
        get: Get::Backports(&["qemu-system-x86"]),
        elsewhere: "install your system's QEMU for x86-64, 10 or newer",
    },
    Need {
        name: "nftables",
        why: "`bench wire` measures its NAT beside the forwarder's",
        purposes: &[Rivals],
        find: || find::program("nft", "-v"),
        get: Get::Packages(&["nftables"]),
        elsewhere: "install your system's nftables",
    },
    Need {
        name: "HAProxy",
        why: "`bench wire` measures it beside the forwarder",
        purposes: &[Rivals],
        find: || find::program("haproxy", "-v"),
        get: Get::Packages(&["haproxy"]),
        elsewhere: "install your system's haproxy; its service is not needed",
    },
    Need {
        name: "keepalived",
        why: "`bench failover --against keepalived` measures it beside the forwarder",
        purposes: &[Keepalived],
        find: || find::program("keepalived", "-v"),
        get: Get::Packages(&["keepalived"]),
        elsewhere: "install your system's keepalived; its service is not needed",
    },
    Need {
        name: "conntrackd",
        why: "the same, telling the standby of connections",
        purposes: &[Keepalived],
        find: || find::program("conntrackd", "-v"),
        get: Get::Packages(&["conntrackd", "conntrack"]),
        elsewhere: "install your system's conntrack tools; their service is not needed",
    },
    Need {
        name: "BPF file system",
        why: "pinned maps and links, in /sys/fs/bpf",
        purposes: &[Test, Demo],
        find: bpffs::find,
        get: Get::Bpffs,
        elsewhere: "as root: mount -t bpf bpf /sys/fs/bpf",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_select_needs() {
        let names = |purposes: &[Purpose]| -> Vec<_> {
            NEEDS
                .iter()
                .filter(|need| need.serves(purposes))
                .map(|need| need.name)
                .collect()
        };
        assert_eq!(
            names(&[Build]),
            ["compiler for BPF", "LLVM 22", "bpf-linker"]
        );
        assert_eq!(
            names(&[Build, Test, Machines, Rivals, Keepalived]).len(),
            NEEDS.len()
        );
        assert!(!names(&[Demo]).contains(&"scapy"));
        assert!(names(&[]).is_empty());
    }

    #[test]
    fn advice_is_a_command() {
        let advice: Vec<_> = NEEDS.iter().map(Need::on_debian).collect();
        assert_eq!(
            advice[0],
            "as root: apt-get install --no-install-recommends rustc-web libstd-rust-web-dev-bpf"
        );
        assert!(
            advice[2].starts_with(
                "LLVM_PREFIX=/usr/lib/llvm-22 cargo install bpf-linker --version 0.13.0"
            )
        );
    }
}
