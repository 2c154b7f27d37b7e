//! Other builds of the data plane.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

/// Objects to upgrade to.
pub struct Objects {
    /// Two newer ones, taken in turn. The code is the same, so that all that differs is the change itself.
    pub newer: [PathBuf; 2],
    /// One that the kernel's verifier refuses.
    pub refused: PathBuf,
}

impl Objects {
    /// Makes them from the object that is built in.
    pub fn make(object: &Path, directory: &Path) -> Result<Self> {
        let object = fs::read(object)?;
        let newer = ["newer", "newest"].map(|name| directory.join(format!("{name}.o")));
        for (number, path) in newer.iter().enumerate() {
            let marker = format!("build {number}");
            fs::write(path, [&object[..], marker.as_bytes()].concat())?;
        }
        // `exit` becomes `r0 = 0`: programs that run off their end.
        let (exit, other) = ([0x95, 0, 0, 0, 0, 0, 0, 0], [0xb7, 0, 0, 0, 0, 0, 0, 0]);
        let words = object.chunks(8);
        let broken: Vec<u8> = words
            .flat_map(|word| if word == exit { &other[..] } else { word })
            .copied()
            .collect();
        ensure!(broken != object, "the object has no instruction to break");
        let refused = directory.join("refused.o");
        fs::write(&refused, broken)?;
        Ok(Self { newer, refused })
    }
}
