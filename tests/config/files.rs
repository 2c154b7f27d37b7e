//! What is wrong with the file itself, and what is too much.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use forwarder::config::{self, Code, ConfigErrors};

fn codes(errors: &ConfigErrors) -> Vec<Code> {
    errors
        .diagnostics()
        .iter()
        .map(|diagnostic| diagnostic.code)
        .collect()
}

fn refused(bytes: impl Into<Vec<u8>>) -> ConfigErrors {
    config::parse_bytes("f", bytes.into()).expect_err("a bad file")
}

#[test]
fn missing_files_and_directories_are_named() {
    let missing = config::check(Path::new("no/such/file.toml"), None).expect_err("no file");
    assert_eq!(codes(&missing), [Code::FileNotFound]);
    assert!(
        missing.to_string().contains("no/such/file.toml"),
        "{missing}"
    );
    let directory = config::check(Path::new("/"), None).expect_err("a directory");
    assert_eq!(codes(&directory), [Code::UnreadableFile]);
    assert!(directory.to_string().contains("directory"), "{directory}");
}

#[test]
fn pipes_and_devices_are_refused_without_waiting() {
    let pipe = std::env::temp_dir().join(format!("forwarder-pipe-{}", std::process::id()));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|made| made.success()));
    let (done, judged) = mpsc::channel();
    let path = pipe.clone();
    thread::spawn(move || done.send(config::check(&path, None)).is_ok());
    let judged = judged.recv_timeout(Duration::from_secs(20));
    std::fs::remove_file(&pipe).expect("the pipe");
    let errors = judged.expect("no waiting").expect_err("a pipe");
    assert_eq!(codes(&errors), [Code::UnreadableFile]);
    let zero = config::check(Path::new("/dev/zero"), None).expect_err("a device");
    assert_eq!(codes(&zero), [Code::UnreadableFile]);
}

#[test]
fn endless_files_are_given_up() {
    let errors = refused(vec![b'#'; config::MAX_FILE_SIZE + 1]);
    assert_eq!(codes(&errors), [Code::FileTooLarge]);
    // The limit itself is fine: this file only lacks what it must have.
    assert!(!codes(&refused(vec![b'#'; config::MAX_FILE_SIZE])).contains(&Code::FileTooLarge));
}

#[test]
fn binary_files_are_refused_with_the_line() {
    let errors = refused(*b"version = 1\n# \xff\n");
    assert_eq!(codes(&errors), [Code::NotText]);
    assert!(errors.to_string().contains("line 2"), "{errors}");
    let errors = refused(*b"version = 1\n\n\0");
    assert_eq!(codes(&errors), [Code::NotText]);
    assert!(errors.to_string().contains("line 3"), "{errors}");
    let utf16: Vec<u8> = "version = 1"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    assert_eq!(codes(&refused(utf16)), [Code::NotText]);
}

#[test]
fn a_byte_order_mark_and_dos_line_ends_are_fine() {
    let text = "\u{feff}version = 1\r\n[[interface]]\r\nname = \"a\"\r\ndevice = \"eth0\"\r\n";
    assert!(config::parse("f", text).is_ok());
    let errors = refused(text.replace("eth0", "eth 0"));
    assert!(errors.to_string().contains("f:4:10"), "{errors}");
}

#[test]
fn an_example_cut_anywhere_is_judged_without_panic() {
    let text = include_str!("../../examples/pair.toml");
    let mut refused = 0;
    for (end, _) in text.char_indices() {
        if let Err(errors) = config::parse("f", text.get(..end).expect("a boundary")) {
            refused += 1;
            assert!(!errors.is_empty());
        }
    }
    assert!(refused > text.len() / 4, "{refused}");
}

#[test]
fn deep_and_wide_files_are_refused_and_the_report_stays_short() {
    let deep = format!("x = {}", "[".repeat(200_000));
    assert!(refused(deep).to_string().len() < 100_000);
    let wide = "[[pool]]\nnmae = 1\n".repeat(100_000);
    let errors = refused(wide);
    assert!(errors.diagnostics().len() < 1_000);
    let report = errors.to_string();
    assert!(
        report.contains("more that are not shown"),
        "{}",
        report.len()
    );
    assert!(report.len() < 1_000_000);
    let long = format!("version = 1\nx = \"{}\"\n", "y".repeat(7_000_000));
    let report = refused(long).to_string();
    assert!(report.len() < 10_000, "{}", report.len());
}

const HEAD: &str = "version = 1\n[[interface]]\nname = \"a\"\ndevice = \"eth0\"\n";

#[test]
fn what_has_no_room_is_counted() {
    let mut interfaces = String::from("version = 1\n");
    for n in 0..65 {
        let _ = write!(
            interfaces,
            "[[interface]]\nname = \"i{n}\"\ndevice = \"eth{n}\"\n"
        );
    }
    let mut addresses = format!("{HEAD}address = [");
    for n in 0..300 {
        let _ = write!(addresses, "\"10.0.{}.{}/32\",", n / 200, n % 200 + 1);
    }
    addresses += "]\n";
    let mut pools = String::from(HEAD);
    let mut rules = String::from(HEAD);
    for n in 0..300 {
        let (high, low) = (n / 200, n % 200 + 1);
        let _ = write!(
            pools,
            "[[snat_pool]]\nname = \"{n}\"\naddresses = \"10.0.{high}.{low}\"\n"
        );
        let _ = write!(
            rules,
            "[[egress]]\nsource = \"10.0.{high}.{low}/32\"\ninterface = \"a\"\n"
        );
    }
    let mut prefixes = format!(
        "{HEAD}[[virtual_server]]\nname = \"v\"\naddress = \"10.0.0.1\"\nport = 1\nmode = \"dnat\"\npool = \"p\"\nallow = ["
    );
    for n in 0..17_000 {
        let _ = write!(prefixes, "\"10.{}.{}.0/24\",", n / 250, n % 250);
    }
    prefixes += "]\n[[pool]]\nname = \"p\"\n[[pool.backend]]\naddress = \"10.0.0.2\"\n";
    for (text, code, counts) in [
        (interfaces, Code::TooManyInterfaces, ["65", "64"]),
        (addresses, Code::TooManyAddresses, ["300", "256"]),
        (pools, Code::TooManySnatPools, ["300", "254"]),
        (rules, Code::TooManyEgress, ["300", "256"]),
        (prefixes, Code::TooManyPrefixes, ["17000", "16384"]),
    ] {
        let errors = refused(text);
        assert_eq!(codes(&errors), [code], "{errors}");
        for count in counts {
            assert!(errors.to_string().contains(count), "{errors}");
        }
    }
}
