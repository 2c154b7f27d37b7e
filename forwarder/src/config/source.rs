//! Reading the file: bounded, UTF-8, no NUL.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::code::Code;
use super::diagnostic::{Diagnostic, Span};

/// The largest file that is read, in bytes.
pub const MAX_FILE_SIZE: usize = 8 * 1024 * 1024;

/// Reads `path` whole.
pub(super) fn read(path: &Path) -> Result<String, Diagnostic> {
    let unreadable = |error: std::io::Error| {
        let code = match error.kind() {
            std::io::ErrorKind::NotFound => Code::FileNotFound,
            _ => Code::UnreadableFile,
        };
        Diagnostic::new(code, Span::FILE, format!("can't read the file: {error}"))
    };
    // Without O_NONBLOCK a named pipe would keep us waiting for its writer.
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .map_err(unreadable)?;
    let kind = file.metadata().map_err(unreadable)?.file_type();
    if !kind.is_file() {
        let message = if kind.is_dir() {
            "this is a directory"
        } else {
            "this is a pipe or a device, not a file"
        };
        return Err(
            Diagnostic::new(Code::UnreadableFile, Span::FILE, message).expected("one TOML file")
        );
    }
    let mut bytes = Vec::new();
    // One byte more than allowed tells "exactly the limit" from "beyond it".
    file.take(MAX_FILE_SIZE as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    decode(bytes)
}

/// The checks on the bytes of a file, before any of it is parsed.
pub(super) fn decode(bytes: Vec<u8>) -> Result<String, Diagnostic> {
    if bytes.len() > MAX_FILE_SIZE {
        return Err(Diagnostic::new(
            Code::FileTooLarge,
            Span::FILE,
            format!("the file is larger than {} MiB", MAX_FILE_SIZE >> 20),
        ));
    }
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return Err(Diagnostic::new(
            Code::NotText,
            Span::FILE,
            format!("the file holds a NUL byte on line {}", line(&bytes, at)),
        )
        .expected("UTF-8 text (was the file written completely, and not as UTF-16?)"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Diagnostic::new(
            Code::NotText,
            Span::FILE,
            format!(
                "the file is not UTF-8 on line {}",
                line(error.as_bytes(), at)
            ),
        )
        .expected("UTF-8 text")
    })
}

fn line(bytes: &[u8], at: usize) -> usize {
    1 + bytes.iter().take(at).filter(|&&byte| byte == b'\n').count()
}
