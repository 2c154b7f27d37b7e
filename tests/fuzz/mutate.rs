//! Fuzzing that is the same on every machine: the committed corpus as it is, then seeded mutations of
//! it. Included by the tests of more than one crate.

use std::path::{Path, PathBuf};

/// Bytes that are often a boundary.
const EDGES: [u8; 12] = [
    0, 1, 2, 0x0f, 0x45, 0x7f, 0x80, 0xfe, 0xff, b'"', b'\n', b'{',
];
/// Longest range that is taken out, doubled or put in.
const RANGE: usize = 64;

/// A corpus and where in the sequence of mutations it is.
pub struct Corpus {
    state: u64,
    pub files: Vec<(PathBuf, Vec<u8>)>,
}

impl Corpus {
    /// The files of a directory of the repository, in the order of their names.
    pub fn read(directories: &[&str]) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut files = Vec::new();
        for directory in directories {
            let entries = std::fs::read_dir(root.join(directory)).expect("the corpus");
            for entry in entries {
                let path = entry.expect("an entry").path();
                if path.is_file() {
                    let bytes = std::fs::read(&path).expect("a file");
                    files.push((path, bytes));
                }
            }
        }
        files.sort();
        assert!(!files.is_empty(), "no corpus in {directories:?}");
        Self {
            state: 0x9e37_79b9_7f4a_7c15,
            files,
        }
    }

    /// xorshift64*.
    fn next(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// A number below `limit`, which is not 0.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// A mutation of one of the files.
    pub fn mutation(&mut self) -> Vec<u8> {
        let which = self.below(self.files.len());
        let mut bytes = self.files[which].1.clone();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes);
        }
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let end = (at + self.below(RANGE)).min(bytes.len());
        match self.below(8) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            3 => {
                let new: Vec<u8> = (0..end - at).map(|_| self.next() as u8).collect();
                bytes.splice(at..at, new);
            }
            4 => {
                let other = self.below(self.files.len());
                let other = &self.files[other].1;
                let from = at.min(other.len());
                let rest = other[from..].to_vec();
                bytes.splice(at.., rest);
            }
            5 if at < bytes.len() => bytes[at] = EDGES[self.below(EDGES.len())],
            6 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            _ if at < bytes.len() => bytes[at] = self.next() as u8,
            _ => bytes.push(self.next() as u8),
        }
    }
}
