//! `core/` decides, it does not look: no clock, socket, file, thread or map there.

use crate::workspace::File;

const PURE: &str = "forwarder/src/core/";
const IMPURE: [&str; 16] = [
    "Instant::now",
    "SystemTime",
    "UNIX_EPOCH",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixDatagram",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "tokio::",
    "libc::",
    "aya::",
    "unsafe",
];

pub fn check(files: &[File]) -> Vec<String> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with(PURE)) {
        for (number, line) in file.text.lines().enumerate() {
            // Comments may speak of what the code must not do.
            let code = line.split("//").next().unwrap_or_default();
            for word in IMPURE.into_iter().filter(|word| code.contains(word)) {
                findings.push(format!(
                    "{}:{}: `{word}` in core/: take it as a value",
                    file.path,
                    number + 1
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::file;

    #[test]
    fn every_way_out_is_found_in_core_alone() {
        for word in IMPURE {
            let text = format!("let x = {word};\n// {word} in a comment\n");
            let findings = check(&[
                file("forwarder/src/core/plan.rs", text.as_str()),
                file("forwarder/src/io/clock.rs", text.as_str()),
            ]);
            assert_eq!(findings.len(), 1, "{word}");
            assert!(findings[0].starts_with("forwarder/src/core/plan.rs:1:"));
        }
        assert!(
            check(&[file(
                "forwarder/src/core/x.rs",
                "use std::io; use std::net::IpAddr;"
            )])
            .is_empty()
        );
    }
}
