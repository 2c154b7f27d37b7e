//! Writes a cpio archive in the "newc" form, which the kernel unpacks as its first root file system
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::collections::BTreeSet;

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const SECRET: u32 = 0o100_600;
const CHARACTER_DEVICE: u32 = 0o020_600;

/// An archive that grows.
#[derive(Default)]
pub struct Archive {
    bytes: Vec<u8>,
    entries: u32,
    directories: BTreeSet<String>,
}

impl Archive {
    /// A directory, and those above it.
    pub fn directory(&mut self, path: &str) {
        let path = path.trim_start_matches('/');
        if path.is_empty() || self.directories.contains(path) {
            return;
        }
        self.parents(path);
        self.directories.insert(path.to_owned());
        self.entry(path, DIRECTORY, (0, 0), &[]);
    }

    /// A file that can be read and run, and the directories above it.
    pub fn file(&mut self, path: &str, content: &[u8]) {
        let path = path.trim_start_matches('/');
        self.parents(path);
        self.entry(path, PROGRAM, (0, 0), content);
    }

    /// A file that nobody but root can read, and the directories above it.
    pub fn secret(&mut self, path: &str, content: &[u8]) {
        let path = path.trim_start_matches('/');
        self.parents(path);
        self.entry(path, SECRET, (0, 0), content);
    }

    /// A character device, and the directories above it.
    pub fn device(&mut self, path: &str, number: (u32, u32)) {
        let path = path.trim_start_matches('/');
        self.parents(path);
        self.entry(path, CHARACTER_DEVICE, number, &[]);
    }

    /// The finished archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.directory(parent);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        self.entries += 1;
        let (user, group, links, time) = (0, 0, 1, 0);
        let (disk_major, disk_minor, check) = (0, 0, 0);
        self.bytes.extend(b"070701");
        for field in [
            self.entries,
            mode,
            user,
            group,
            links,
            time,
            content.len() as u32,
            disk_major,
            disk_minor,
            device.0,
            device.1,
            name.len() as u32 + 1,
            check,
        ] {
            self.bytes.extend(format!("{field:08x}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    /// Names and contents begin at multiples of four.
    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_carry_their_lengths() {
        let mut archive = Archive::default();
        archive.file("bin/x", b"hello");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        assert!(text.starts_with("07070100000001000041ed"), "{text}");
        // Header 110, "bin" and NUL; the file's header is next, at a multiple of four.
        assert_eq!(&bytes[116..122], b"070701");
        assert!(text.contains("00000005"), "{text}");
        assert_eq!(text.matches("070701").count(), 3);
        assert!(text.contains("hello\0\0\0"), "{text}");
        assert!(text.ends_with("TRAILER!!!\0\0\0\0"), "{text}");
    }

    #[test]
    fn a_directory_is_written_once() {
        let mut archive = Archive::default();
        archive.file("/a/b/x", b"");
        archive.file("/a/b/y", b"");
        archive.directory("/a");
        // a, a/b, x, y.
        assert_eq!(archive.entries, 4);
    }
}
